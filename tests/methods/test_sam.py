"""SAM: the paper's two gradients, under several rules and estimators, and weights that are never left elsewhere."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Backprop, Batch, Budget, Grads, Method, NonFinite, Run, fit
from sonde.data.rows import Rows
from sonde.methods import SAM, Descend, Distil, PCGrad, adamw, sgd
from sonde.objectives import Classify
from tests.support import GAN, PLAIN_SGD, blobs, gan_rows, mlp, trained, weights


def doubles() -> Rows:
    x, y = blobs()
    return Rows(x.double(), y, batch_size=16)


def by_hand(net: nn.Module, batch: Batch, rho: float, adaptive: bool = False) -> list[Tensor]:
    """The gradient at the worst point, written out."""
    loss = lambda: nn.functional.cross_entropy(net(batch.x), batch.y)  # noqa: E731
    params = list(net.parameters())
    g = torch.autograd.grad(loss(), params)
    size = [p.detach().abs() if adaptive else torch.ones_like(p) for p in params]
    length = torch.cat([(s * v).flatten() for s, v in zip(size, g, strict=True)]).norm()
    eps = [rho * s * s * v / length for s, v in zip(size, g, strict=True)]
    start = [p.detach().clone() for p in params]
    with torch.no_grad():
        for p, e in zip(params, eps, strict=True):
            p += e
    worst = torch.autograd.grad(loss(), params)
    with torch.no_grad():
        for p, s in zip(params, start, strict=True):
            p.copy_(s)
    return list(worst)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_step_equals_the_algorithm_of_the_paper(adaptive: bool) -> None:
    net = mlp(4, 8, 3).double()
    reference = mlp(4, 8, 3).double()
    reference.load_state_dict(net.state_dict())
    trained(SAM(0.3, adaptive), Descend(PLAIN_SGD), net=net, steps=6, source=doubles())
    for batch, _ in zip(doubles().batches(None), range(6), strict=False):
        for p, g in zip(reference.parameters(), by_hand(reference, batch, 0.3, adaptive), strict=True):
            p.data -= 0.1 * g
    torch.testing.assert_close(weights(net), weights(reference), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [partial(sgd, 0.1), partial(adamw, 0.01)], ids=["sgd", "adamw"])
def test_a_ball_without_radius_is_no_ball(rule: partial[Descend]) -> None:
    found = []
    for extra in ([], [SAM(0.0)]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        found.append(weights(trained(*extra, rule(), net=net).objective))
    assert torch.equal(*found)


def test_the_adaptive_ball_does_not_see_how_layers_are_scaled() -> None:
    x, y = blobs()
    batch, rises = Batch(x.double(), y), []
    for scale in (1.0, 7.0):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)).double()
        net[0].weight.data *= scale
        net[2].weight.data /= scale
        run = Run(Classify(net), [SAM(0.5, adaptive=True), sgd(0.1)])
        at = run._hooks["gradient"][0].gradient(run, "model", partial(run.gradient, "model", batch))
        rises.append(at()["net.0.weight"] * scale)
    torch.testing.assert_close(*rises, rtol=1e-10, atol=1e-12)


def test_microbatches_give_the_whole_batchs_step() -> None:
    found = []
    for estimator in ([], [Backprop(microbatch=5)]):
        torch.manual_seed(0)
        found.append(weights(trained(SAM(0.3), *estimator, net=mlp(4, 8, 3).double(), source=doubles()).objective))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_it_asks_whatever_estimates_the_gradient() -> None:
    torch.manual_seed(0)
    run = trained(SAM(0.3), PCGrad(), Distil(mlp(4, 3)))
    assert run.step == 10 and weights(run.objective).isfinite().all()


def test_running_statistics_move_once_a_step_and_dropout_draws_once() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4)
    trained(SAM(0.3), net=nn.Sequential(norm, nn.Dropout(0.5), nn.Linear(4, 3)), steps=7)
    assert int(norm.num_batches_tracked) == 7
    states = []
    for extra in ([], [SAM(0.3)]):
        torch.manual_seed(0)
        trained(*extra, net=nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3)), steps=7)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_in_a_game_each_player_climbs_alone() -> None:
    torch.manual_seed(0)
    moved: list[set[str]] = []

    class Spy(Method):
        def estimate(self, run: Run, turn: str, batch: Batch, record: bool) -> Grads:
            moved.append({k for k, p in run.objective.named_parameters() if not torch.equal(p, start[k])})
            return Backprop().estimate(run, turn, batch, record)

    game = GAN()
    start = {k: p.detach().clone() for k, p in game.named_parameters()}
    run = Run(game, [SAM(0.1), Spy(), Descend(partial(torch.optim.SGD, lr=0.0))])
    fit(run, gan_rows(), Budget(steps=1))
    assert [not m for m in moved] == [True, False, True, False]
    assert all(k.startswith("discriminator") for k in moved[1])
    assert all(k.startswith("generator") for k in moved[3])


class Breaks(Method):
    """The gradient of the second evaluation, or of the first, is not a number."""

    def __init__(self, call: int, error: bool = False) -> None:
        self.call, self.calls, self.error = call, 0, error

    def grads(self, run: Run, turn: str, grads: Grads) -> Grads:
        self.calls += 1
        if self.calls == self.call and self.error:
            raise NonFinite("broken", "mend it")
        return {k: g * float("nan") for k, g in grads.items()} if self.calls == self.call else grads


@pytest.mark.parametrize("call", [1, 2])
def test_a_gradient_that_is_no_number_leaves_the_weights_where_they_were(call: int) -> None:
    net = mlp(4, 8, 3)
    before = weights(net)
    run = Run(Classify(net), [SAM(0.5), Breaks(call, error=True), sgd(0.1)])
    with pytest.raises(NonFinite):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=3))
    assert torch.equal(weights(net), before)


def test_without_checks_nan_reaches_the_rule_and_not_the_restored_weights() -> None:
    net = mlp(4, 8, 3)
    before = weights(net)
    run = Run(Classify(net), [SAM(0.5), Breaks(1), Descend(partial(torch.optim.SGD, lr=0.0))], checks=False)
    gradient = run._hooks["gradient"][0].gradient(run, "model", partial(run.gradient, "model", Batch(*blobs())))
    assert all(g.isnan().any() for g in gradient().values())
    assert torch.equal(weights(net), before)


def test_the_weights_are_back_bit_for_bit() -> None:
    net = mlp(4, 8, 3)
    before = weights(net)
    trained(SAM(0.7), Descend(partial(torch.optim.SGD, lr=0.0)), net=net)
    assert torch.equal(weights(net), before)


def test_where_the_gradient_is_zero_nothing_moves() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.Flatten())
    run = Run(Classify(net), [SAM(0.5), sgd(0.1)])
    assert run._hooks["gradient"][0].ascent(run.params("model"), {}) == {}  # type: ignore[attr-defined]
    zero = {k: torch.zeros_like(p) for k, p in run.params("model").items()}
    for adaptive in (False, True):
        eps = SAM(0.5, adaptive).ascent(run.params("model"), zero)
        assert all(not e.any() for e in eps.values())


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf")])
def test_an_impossible_radius_is_refused(rho: float) -> None:
    with pytest.raises(ValueError, match="rho is a radius"):
        SAM(rho)
