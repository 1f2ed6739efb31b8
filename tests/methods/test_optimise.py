"""Update rules and what feeds them: torch's optimisers where decay belongs, clipping, statistics of the inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Grads, Method, Read, Run, fit
from sonde.data.rows import Rows
from sonde.methods import Clip, Descend, FitInputs, adam, adamw, sgd
from sonde.objectives import Classify, Regress
from tests.support import PLAIN_SGD, Watch, blobs, mlp, trained, weights

RULES: dict[str, tuple[Callable[[], Descend], Callable[..., torch.optim.Optimizer]]] = {
    "sgd": (lambda: sgd(0.1), partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True)),
    "plain sgd": (lambda: sgd(0.1, momentum=0.0), partial(torch.optim.SGD, lr=0.1)),
    "heavy ball": (lambda: sgd(0.1, nesterov=False), partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
    "decayed sgd": (lambda: sgd(0.1, weight_decay=0.1), partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True)),
    "adam": (lambda: adam(0.01, betas=(0.8, 0.99)), partial(torch.optim.Adam, lr=0.01, betas=(0.8, 0.99))),
    "adamw": (lambda: adamw(0.01, weight_decay=0.1), partial(torch.optim.AdamW, lr=0.01, weight_decay=0.0)),
}
DECAY = {"decayed sgd": 0.1, "adamw": 0.1}


# ---------------------------------------------------------------- parity
@pytest.mark.parametrize("rule", RULES)
def test_an_update_rule_is_torchs_with_decay_on_matrices_alone(rule: str) -> None:
    ours, theirs = RULES[rule]
    torch.manual_seed(0)
    net = mlp(4, 8, 3).double()
    byhand = copy.deepcopy(net)
    x, y = blobs(64)
    source = Rows(x.double(), y, batch_size=16)
    fit(Run(Classify(net), [ours()]), source, Budget(steps=20))
    optimiser = theirs(
        [
            {"params": [p for p in byhand.parameters() if p.dim() > 1], "weight_decay": DECAY.get(rule, 0.0)},
            {"params": [p for p in byhand.parameters() if p.dim() <= 1]},
        ]
    )
    for _, batch in zip(range(20), source.batches(None), strict=False):
        optimiser.zero_grad()
        nn.functional.cross_entropy(byhand(batch.x), batch.y).backward()
        optimiser.step()
    torch.testing.assert_close(weights(net), weights(byhand), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", [1e-3, 0.5, 2.0, 1e3])
def test_clipping_equals_torchs(norm: float) -> None:
    run = Run(Classify(mlp(4, 8, 3)), [Clip(norm), sgd(0.1)])
    grads = {k: torch.randn_like(p) for k, p in run.params("model").items()}
    params = [nn.Parameter(p.detach().clone()) for p in run.params("model").values()]
    for p, g in zip(params, grads.values(), strict=True):
        p.grad = g.clone()
    nn.utils.clip_grad_norm_(params, norm)
    clipped = Clip(norm).grads(run, "model", grads)
    for p, g in zip(params, clipped.values(), strict=True):  # torch adds 1e-6 to the length
        torch.testing.assert_close(g, p.grad, rtol=2e-6, atol=1e-9)


def test_a_short_gradient_is_left_alone_and_a_long_one_keeps_its_direction() -> None:
    run = Run(Classify(mlp(4, 8, 3)), [Clip(1.0), sgd(0.1)])
    g = {"a": torch.tensor([0.3, 0.4], dtype=torch.float64), "b": torch.zeros(2, dtype=torch.float64)}
    assert torch.equal(Clip(1.0).grads(run, "model", g)["a"], g["a"])
    clipped = Clip(0.1).grads(run, "model", g)["a"]
    assert clipped.norm().item() == pytest.approx(0.1)
    torch.testing.assert_close(clipped / clipped.norm(), g["a"] / g["a"].norm())
    assert g["a"].tolist() == [0.3, 0.4]  # the argument is not changed
    assert Clip(1.0).grads(run, "model", {}) == {}


# ---------------------------------------------------------------- behaviour
class Only(Method):
    """An estimator that gives a gradient for the named parameter, in the steps where it is due."""

    def __init__(self, due: Callable[[int], list[str]]) -> None:
        self.due = due

    def estimate(self, run: Run, turn: str, batch: Batch, record: bool) -> Grads:
        return {k: torch.ones_like(run.params(turn)[k]) for k in self.due(run.step)}


def test_a_parameter_that_a_step_does_not_reach_is_not_moved_by_an_earlier_gradient() -> None:
    estimator = Only(lambda step: ["net.bias"] if step == 0 else ["net.weight"])
    run = Run(Classify(nn.Linear(4, 3)), [estimator, Descend(PLAIN_SGD)])
    before = run.params("model")["net.bias"].detach().clone()
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=3))
    torch.testing.assert_close(run.params("model")["net.bias"], before - 0.1)


@pytest.mark.parametrize("rule", [sgd, adamw])
def test_a_gradient_laid_out_otherwise_moves_the_same_weights(rule: Callable[..., Descend]) -> None:
    """torch's fused optimisers pair parameter and gradient by place in memory, whatever their strides say."""

    class Relaid(Method):
        """A gradient transform whose result is channels last."""

        def grads(self, run: Run, turn: str, grads: Grads) -> Grads:
            return {k: g.to(memory_format=torch.channels_last) if g.dim() == 4 else g for k, g in grads.items()}

    results = []
    for extra in ([], [Relaid()]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5 * 4, 2))
        source = Rows(torch.randn(16, 3, 4, 4), torch.arange(16) % 2, batch_size=8)
        fit(Run(Classify(net), [*extra, rule(0.1)]), source, Budget(steps=3))
        results.append(weights(net))
    assert torch.equal(*results)


def test_a_net_of_biases_alone_has_an_optimiser() -> None:
    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :3] + self.bias

    assert trained(adamw(0.1), net=Shift()).step == 10


@pytest.mark.parametrize("make, words", [(lambda: Clip(0.0), "above 0; got 0.0"), (lambda: Clip(-1), "got -1")])
def test_impossible_settings_are_refused(make: Callable[[], Method], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


# ---------------------------------------------------------------- statistics of the inputs
class Normalised(nn.Module):
    """Standardises its input by the training rows'."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.net, self.shown = nn.Linear(4, 3), []

    def fit_input(self, x: Any) -> None:
        assert not torch.is_grad_enabled()
        self.shown.append(x)
        self.mean.copy_((x["a"] if isinstance(x, dict) else x).mean(0))

    def forward(self, x: Any) -> Tensor:
        return self.net((x["a"] if isinstance(x, dict) else x) - self.mean)


@pytest.mark.parametrize("nested", [False, True])
def test_modules_that_ask_see_every_training_row_once_before_the_first_step(nested: bool) -> None:
    x, y = blobs()
    net, watch = Normalised(), Watch()
    trained(FitInputs(), watch, net=net, source=Rows({"a": x} if nested else x, y, batch_size=24))
    (shown,) = net.shown
    seen = shown["a"] if nested else shown
    assert seen.shape == x.shape and torch.equal(seen.sort(0).values, x.sort(0).values)
    torch.testing.assert_close(net.mean, x.mean(0))
    assert watch.of(Read) == [Read("FitInputs")]


def test_targets_are_shown_too() -> None:
    x, _ = blobs()
    y = 50 + 9 * torch.randn(64, 1)
    objective = Regress(nn.Linear(4, 1))
    fit(Run(objective, [FitInputs(), sgd(0.01)]), Rows(x, y, batch_size=16), Budget(steps=1))
    torch.testing.assert_close(objective.mean, y.mean(0))
    torch.testing.assert_close(objective.std, y.std(0, correction=0))


def test_no_more_rows_are_read_than_asked_for() -> None:
    net = Normalised()
    trained(FitInputs(rows=20), net=net)
    assert len(net.shown[0]) == 32  # whole batches of 16


def test_nothing_is_read_when_nobody_asks_or_when_a_run_goes_on() -> None:
    watch = Watch()
    trained(FitInputs(), watch)
    assert not watch.of(Read)
    net = Normalised()
    run = Run(Classify(net), [FitInputs(), sgd(0.1)])
    for _ in range(2):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=2))
    assert len(net.shown) == 1


def test_a_method_that_guards_records_can_refuse_the_read() -> None:
    class Guard(Method):
        def on(self, run: Run, event: object) -> None:
            if isinstance(event, Read):
                raise ValueError(f"{event.reader} reads raw records")

    with pytest.raises(ValueError, match="FitInputs reads raw records"):
        trained(Guard(), FitInputs(), net=Normalised())


def test_reading_does_not_change_what_training_draws() -> None:
    def after(*methods: Method) -> Tensor:
        torch.manual_seed(0)
        net = mlp(4, 8, 3, between=lambda n: nn.Dropout(0.5))
        net.append(Asks())
        return weights(trained(*methods, net=net).objective)

    class Asks(nn.Identity):
        def fit_input(self, x: Tensor) -> None:
            pass

    assert torch.equal(after(), after(FitInputs()))


def rows_without_end() -> Iterator[Batch]:
    while True:
        yield Batch(*blobs(16))


def test_a_source_without_passes_is_read_up_to_the_limit() -> None:
    class Endless:
        steps_per_epoch = None

        def batches(self, run: Run | None, start: int = 0) -> Iterator[Batch]:
            return rows_without_end()

    net = Normalised()
    trained(FitInputs(rows=40), net=net, source=Endless(), steps=2)
    assert len(net.shown[0]) == 48
