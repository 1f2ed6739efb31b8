"""A run: slots and chains, probes that leave no trace, games whose players stay apart, evaluation that restores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonde.core import (
    Backprop,
    Batch,
    Budget,
    Engine,
    Event,
    Gradient,
    Loss,
    Method,
    Objective,
    Params,
    Read,
    Refused,
    Run,
    SondeError,
    Stepped,
    Term,
    fit,
)
from sonde.data.rows import Rows
from sonde.methods import EMA, FitInputs, Validate, adamw, sgd
from sonde.objectives import Classify
from tests.support import GAN, SAM, Call, Halves, Watch, blobs, gan_rows, mlp, trained, weights


# ---------------------------------------------------------------- assembly
def test_two_update_rules_are_refused_in_words() -> None:
    with pytest.raises(Refused, match="Descend and SAM both replace how parameters are moved; a run has one"):
        Run(Classify(mlp(4, 3)), [sgd(0.1), SAM()])


def test_two_estimators_are_refused_in_words() -> None:
    with pytest.raises(Refused, match="Backprop and Backprop both replace how the gradient is estimated"):
        Run(Classify(mlp(4, 3)), [Backprop(), Backprop(4), sgd(0.1)])


def test_a_run_without_an_update_rule_is_refused_and_told_of_one() -> None:
    with pytest.raises(SondeError, match=r"no update rule\n  add one to the methods, e\.g\. sonde\.methods\.adamw"):
        Run(Classify(mlp(4, 3)), [EMA(0.9)])


def test_an_unknown_device_is_refused_with_a_remedy() -> None:
    with pytest.raises(SondeError, match=r"device 'gpu' cannot be used(.|\n)*use --device auto, or cpu"):
        Run(Classify(mlp(4, 3)), [sgd(0.1)], Engine(device="gpu"))


class Widen(Method):
    """Replaces the output layer in `setup`, as adapters and parametrisations do."""

    def setup(self, run: Run) -> None:
        net = run.objective.net
        assert isinstance(net, nn.Sequential)
        net[-1] = nn.Linear(8, 3)


def test_parameters_that_a_method_brings_in_its_setup_are_trained_wherever_it_stands() -> None:
    for methods in ([Widen(), sgd(0.1)], [sgd(0.1), Widen()]):
        torch.manual_seed(0)
        run = Run(Classify(mlp(4, 8, 3)), methods)
        before = run.params("model")["net.2.weight"].detach().clone()
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=1))
        assert not torch.equal(before, run.params("model")["net.2.weight"])


def test_frozen_parameters_are_not_the_players() -> None:
    net = mlp(4, 8, 3)
    net[0].requires_grad_(False)
    frozen = weights(net[0])
    run = trained(net=net)
    assert set(run.params("model")) == {"net.2.weight", "net.2.bias"}
    assert torch.equal(frozen, weights(net[0]))


# ---------------------------------------------------------------- nested inputs
class TwoTables(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Embedding(5, 3)

    def forward(self, x: dict[str, dict[str, Tensor]]) -> Tensor:
        return self.left(x["table"]["numeric"]) + self.right(x["table"]["categorical"]).sum(1)


@pytest.mark.parametrize("methods", [[], [Backprop(microbatch=5)], [SAM()]], ids=["whole", "microbatches", "sam"])
def test_nested_inputs_train(methods: list[Method]) -> None:
    x, y = blobs()
    nested = {"table": {"numeric": x[:, :2], "categorical": torch.randint(5, (64, 2))}}
    run = trained(*methods, net=TwoTables(), source=Rows(nested, y, batch_size=16), steps=40)
    losses = [run.loss("model", run.params("model"), b).total() for b in [Batch(nested, y)]]
    assert losses[0].item() < 0.8


# ---------------------------------------------------------------- probes
def normed() -> nn.Sequential:
    return mlp(4, 8, 3, between=nn.BatchNorm1d)


def tracked(run: Run) -> int:
    return int(run.objective.state_dict()["net.1.num_batches_tracked"])


class Probe(Method):
    """An update rule that asks for several gradients before the one it uses."""

    def __init__(self, probes: int) -> None:
        self.probes, self.inner = probes, sgd(0.1)

    def setup(self, run: Run) -> None:
        self.inner.setup(run)

    def update(self, run: Run, turn: str, gradient: Gradient) -> None:
        for _ in range(self.probes):
            gradient(record=False)
        self.inner.update(run, turn, gradient)


@pytest.mark.parametrize("probes", [0, 1, 3])
@pytest.mark.parametrize("engine", ["32", "bf16-mixed"])
def test_only_the_recorded_evaluation_moves_running_statistics(probes: int, engine: str) -> None:
    run = Run(Classify(normed()), [Probe(probes)], Engine(device="cpu", precision=engine))  # type: ignore[arg-type]
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=7))
    assert tracked(run) == 7


def test_probing_changes_nothing_about_training() -> None:
    def after(probes: int) -> Tensor:
        torch.manual_seed(0)
        return weights(trained(Probe(probes), net=normed()).objective)

    assert torch.equal(after(0), after(2))


def test_a_probe_reaches_no_observer() -> None:
    run = Run(Classify(normed()), [sgd(0.1)])
    x, y = blobs(16)
    run.gradient("model", Batch(x, y), record=False)
    assert run.losses == {} and tracked(run) == 0
    run.gradient("model", Batch(x, y))
    assert set(run.losses) == {"model"} and tracked(run) == 1


def test_sharpness_aware_steps_move_statistics_once_and_differ_from_plain_ones() -> None:
    torch.manual_seed(0)
    sharp = trained(SAM(0.5), net=normed())
    torch.manual_seed(0)
    none = trained(SAM(0.0), net=normed())
    torch.manual_seed(0)
    plain = trained(sgd(0.1, momentum=0), net=normed())
    assert tracked(sharp) == 10
    assert torch.equal(weights(none.objective), weights(plain.objective))  # a ball of radius 0
    assert not torch.equal(weights(sharp.objective), weights(plain.objective))


def test_the_loss_can_be_evaluated_at_other_parameters() -> None:
    run = Run(Classify(normed()), [sgd(0.1)])
    x, y = blobs(16)
    elsewhere = {k: torch.zeros_like(p) for k, p in run.params("model").items()}
    assert run.loss("model", elsewhere, Batch(x, y)).total().item() == pytest.approx(torch.tensor(3.0).log().item())
    assert tracked(run) == 0 and not run.losses


# ---------------------------------------------------------------- games
def test_a_turn_leaves_no_gradient_with_the_other_player() -> None:
    run = Run(GAN(), [sgd(0.1)])
    batch = next(iter(gan_rows().batches(run)))
    run.gradient("discriminator", batch)
    assert all(p.grad is not None for p in run.params("discriminator").values())
    assert all(p.grad is None for p in run.params("generator").values())
    kept = {k: p.grad.clone() for k, p in run.params("discriminator").items() if p.grad is not None}
    run.gradient("generator", batch)
    assert all(torch.equal(p.grad, kept[k]) for k, p in run.params("discriminator").items())  # type: ignore[arg-type]


def test_a_game_equals_its_turns_written_by_hand() -> None:
    torch.manual_seed(0)
    run = fit(Run(GAN(), [sgd(0.1, momentum=0)]), gan_rows(), Budget(steps=6))
    torch.manual_seed(0)
    byhand = GAN()
    optimisers = {k: torch.optim.SGD(m.parameters(), lr=0.1, fused=True) for k, m in byhand.players().items()}
    for step, batch in enumerate(gan_rows().batches(None)):
        if step == 6:
            break
        for turn in ("discriminator", "generator"):
            for optimiser in optimisers.values():
                optimiser.zero_grad()
            byhand(turn, batch).total().backward()
            optimisers[turn].step()
    assert torch.equal(weights(run.objective), weights(byhand))


def test_observers_hear_of_the_turns_of_the_step_alone() -> None:
    watch = Watch()
    fit(Run(GAN(every=3), [watch, sgd(0.1)]), gan_rows(), Budget(steps=6))
    turns = [tuple(e.losses) for e in watch.of(Stepped)]  # type: ignore[attr-defined]
    alone, both = ("discriminator",), ("discriminator", "generator")
    assert turns == [alone, alone, both, alone, alone, both]


class Shared(Objective):
    """Two players over one trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def players(self) -> dict[str, nn.Module]:
        return {"a": nn.ModuleList([self.trunk, self.a]), "b": nn.ModuleList([self.trunk, self.b])}

    def forward(self, turn: str, batch: Batch) -> Loss:
        logits = getattr(self, turn)(self.trunk(batch.x))
        return Loss({"task": Term(F.cross_entropy(logits, batch.y, reduction="none"))})


def test_a_shared_trunk_is_updated_in_both_turns() -> None:
    run = Run(Shared(), [sgd(0.1)])
    assert set(run.params("a")) == {"trunk.weight", "trunk.bias", "a.weight", "a.bias"}
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=40))
    assert all(loss.total().item() < 0.5 for loss in run.losses.values())


# ---------------------------------------------------------------- evaluation
class Zero(Method):
    """Ships zeros."""

    def weights(self, run: Run, weights: Params) -> Params:
        return {k: torch.zeros_like(v) for k, v in weights.items()}


@pytest.mark.parametrize("extra", [list, lambda: [Zero()], lambda: [EMA(0.9)]], ids=["last", "zeros", "ema"])
def test_evaluating_restores_weights_and_modes(extra: Callable[[], list[Method]]) -> None:
    run = trained(*extra(), net=normed())
    run.objective.net[1].eval()  # type: ignore[index]  # a frozen normalisation stays frozen
    modes = [m.training for m in run.objective.modules()]
    before = weights(run.objective)
    with run.evaluating() as objective:
        shipped = weights(objective)
        assert not any(m.training for m in objective.modules()) and not torch.is_grad_enabled()
        objective("model", Batch(*blobs()))
    assert torch.equal(before, weights(run.objective))
    assert modes == [m.training for m in run.objective.modules()]
    assert torch.equal(shipped, torch.cat([v.flatten().double() for v in run.weights().values()]))
    assert extra is list or not torch.equal(shipped, before)


def test_evaluating_restores_after_an_error_too() -> None:
    run = trained(Zero(), net=normed())
    before = weights(run.objective)
    with pytest.raises(KeyError), run.evaluating():
        raise KeyError
    assert torch.equal(before, weights(run.objective)) and run.objective.training and torch.is_grad_enabled()


class Noisy(nn.Linear):
    """Draws noise in evaluation too, as a sampled latent does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x))


@pytest.mark.parametrize("every", [1, 2])
def test_measuring_changes_nothing_about_training(every: int) -> None:
    def after(methods: list[Method]) -> Tensor:
        torch.manual_seed(0)
        return weights(trained(*methods, EMA(0.9), net=Noisy(4, 3), steps=12).objective)

    assert torch.equal(after([]), after([Validate(Halves(), every_epochs=every)]))


def test_reads_of_raw_records_are_announced() -> None:
    watch = Watch()
    run = Run(Classify(mlp(4, 3)), [watch, sgd(0.1)])
    rows = list(zip(range(2), run.read(Rows(*blobs()), FitInputs()), strict=False))
    assert watch.of(Read) == [Read("FitInputs")] and len(rows) == 2


# ---------------------------------------------------------------- state
def test_the_state_of_other_methods_is_refused_with_both_lists() -> None:
    a, b = trained(EMA(0.9)), Run(Classify(mlp(4, 8, 3)), [adamw(0.1)])
    with pytest.raises(ValueError, match="methods EMA, Descend; this one has Descend"):
        b.load_state_dict(a.state_dict())


def test_events_are_told_in_the_order_of_the_list() -> None:
    heard: list[str] = []

    class Hear(Method):
        def __init__(self, name: str) -> None:
            self.name = name

        def on(self, run: Run, event: Event) -> None:
            heard.append(self.name)

    trained(Hear("a"), Hear("b"), Call(Stepped, 1, lambda run: heard.append("c")), steps=1)
    assert heard[:2] == ["a", "b"] and heard.index("c") > 3
