"""Pruning: the cubic schedule, exact counts, zeros that stay, and lottery tickets over stages."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Budget, Event, Method, Refused, Run, Settled, SondeError, Stepped, fit, read_state, write_state
from sonde.data.rows import Rows
from sonde.methods import EMA, L1, SAM, SWA, Descend, EarlyStopping, LotteryTicket, Prune, Validate, adamw, sgd
from sonde.methods.compress._masks import largest, smallest_out
from sonde.objectives import Classify
from tests.support import GAN, PLAIN_SGD, Halves, blobs, gan_rows, mlp, trained, weights


def share_of_zeros(tensors: dict[str, Tensor]) -> float:
    matrices = [v for v in tensors.values() if v.dim() > 1]
    return sum(int((v == 0).sum()) for v in matrices) / sum(v.numel() for v in matrices)


class Sparsity(Method):
    """Keeps the share of zeros, and the pattern, after every step."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.zeros: list[dict[str, Tensor]] = []

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Stepped):
            state = {k: v for k, v in run.objective.state_dict().items() if v.dim() > 1}
            self.shares.append(share_of_zeros(state))
            self.zeros.append({k: v == 0 for k, v in state.items()})


def big() -> nn.Sequential:
    return mlp(4, 100, 3)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_share_of_zeros_follows_the_cubic_schedule(scope: str) -> None:
    seen = Sparsity()
    trained(Prune(0.8, start=0.1, end=0.7, every_steps=5, scope=scope), seen, net=big(), steps=40)  # type: ignore[arg-type]
    for step, share in enumerate(seen.shares, 1):
        t = min(1.0, max(0.0, (step // 5 * 5 / 40 - 0.1) / 0.6))
        assert share == pytest.approx(0.8 * (1 - (1 - t) ** 3), abs=1 / 300)
    assert seen.shares[-1] == pytest.approx(0.8, abs=1 / 700)


def test_what_is_pruned_stays_pruned() -> None:
    for rule in (sgd(0.1), adamw(0.01, weight_decay=0.1)):
        seen = Sparsity()
        trained(Prune(0.7, every_steps=3), seen, rule, net=big(), steps=40)
        for before, after in zip(seen.zeros, seen.zeros[1:], strict=False):
            assert all((after[k] | ~before[k]).all() for k in before)


def test_the_smallest_weights_go() -> None:
    net = big()
    kept = {k: v.clone() for k, v in net.state_dict().items()}
    trained(Prune(0.6), Descend(partial(torch.optim.SGD, lr=0.0)), net=net)
    sizes = torch.cat([v.abs().flatten() for v in kept.values() if v.dim() > 1])
    edge = sizes.kthvalue(round(0.6 * len(sizes))).values
    for k, v in net.state_dict().items():
        assert torch.equal(v, kept[k] * (kept[k].abs() > edge) if v.dim() > 1 else kept[k])


def test_by_layer_every_layer_has_its_share() -> None:
    net = big()
    trained(Prune(0.5, scope="layer"), net=net)
    for layer in (net[0], net[2]):
        assert int((layer.weight == 0).sum()) == layer.weight.numel() // 2


def test_of_equal_weights_exactly_as_many_as_asked_go() -> None:
    assert largest(torch.ones(10), 4).sum() == 6
    assert largest(torch.tensor([0.0, 0, 1, 1, 1, 2]), 4).tolist() == [False, False, False, False, True, True]
    assert largest(torch.rand(10), 0).all()
    masks = smallest_out({"a": torch.ones(3, 3), "b": torch.zeros(2, 2)}, 4 / 13, "global")
    assert masks["a"].all() and not masks["b"].any()


def test_against_torchs_own_pruning() -> None:
    from torch.nn.utils import prune

    net, g = big(), torch.Generator().manual_seed(1)
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=g)
    masks = smallest_out({k: p for k, p in net.named_parameters() if p.dim() > 1}, 0.37, "global")
    prune.global_unstructured([(net[0], "weight"), (net[2], "weight")], prune.L1Unstructured, amount=0.37)
    for i in (0, 2):
        assert torch.equal(masks[f"{i}.weight"], net[i].weight_mask.bool())


@pytest.mark.parametrize("others", [[SAM(0.3)], [L1(0.001)], [EMA(0.9)], [SWA(0.5)]], ids=lambda o: type(o[0]).__name__)
def test_zeros_are_exact_beside_other_methods(others: list[Method]) -> None:
    run = trained(*others, Prune(0.7), net=big(), steps=40)
    assert share_of_zeros(run.weights()) >= 0.7 - 1 / 700
    zeros = {k: v == 0 for k, v in run.objective.state_dict().items() if v.dim() > 1}
    assert all((run.weights()[k][z] == 0).all() for k, z in zeros.items())


def test_a_probe_does_not_move_what_is_pruned() -> None:
    method = Prune(0.7)
    run = trained(method, SAM(0.3), net=big(), steps=40)
    grads = run.gradient("model", Rows(*blobs(), batch_size=64).take(torch.arange(64)), record=False)
    assert all(not grads[k][~m].any() for k, m in method.masks.items())


def test_without_sparsity_nothing_changes() -> None:
    found = []
    for extra in ([], [Prune(0.0)], [LotteryTicket(0.0)]):
        torch.manual_seed(0)
        found.append(weights(trained(*extra).objective))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_second_stage_keeps_the_masks() -> None:
    seen = Sparsity()
    run = Run(Classify(big()), [Prune(0.6, every_steps=2), seen, sgd(0.1)])
    for _ in range(2):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=20))
    assert seen.shares[19:] == [pytest.approx(0.6, abs=1 / 700)] * 21


def test_in_a_game_all_players_are_pruned() -> None:
    game = GAN()
    run = Run(game, [Prune(0.5, every_steps=1), sgd(0.01)])
    fit(run, gan_rows(), Budget(steps=10))
    assert share_of_zeros(game.state_dict()) == pytest.approx(0.5, abs=0.02)


def test_a_method_that_would_ship_unpruned_weights_is_refused() -> None:
    for later in (EMA(0.9), SWA()):
        for method in (Prune(), LotteryTicket()):
            name = type(later).__name__
            with pytest.raises(
                Refused, match=f"{name} comes after .* weights that are not pruned\n  put {name} before"
            ):
                trained(method, later)


def test_early_stopping_is_refused_in_any_order() -> None:
    for method in (Prune(), LotteryTicket()):
        for pair in ([EarlyStopping(), method], [method, EarlyStopping()]):
            with pytest.raises(Refused):
                Run(Classify(big()), [Validate(Halves()), *pair, sgd(0.1)])
    with pytest.raises(Refused, match="leave EarlyStopping out: Prune needs the whole stage"):
        Run(Classify(big()), [Validate(Halves()), Prune(), EarlyStopping(), sgd(0.1)])


class Stop(Method):
    """Ends the stage, or leaves it open, after a step."""

    def __init__(self, step: int, why: str) -> None:
        self.step, self.why = step, why

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Settled) and run.step == self.step:
            run.stop = self.why


def test_a_stage_that_ends_before_the_schedule_does_says_so() -> None:
    with pytest.warns(UserWarning, match=r"the stage ended early: .* of the weights are pruned, not 80.0%"):
        trained(Prune(0.8), Stop(20, "enough"), net=big(), steps=40)


@pytest.mark.parametrize(
    "given",
    [{"sparsity": 1.0}, {"sparsity": -0.1}, {"start": 0.8, "end": 0.7}, {"end": 1.5}, {"every_steps": 0}],
    ids=str,
)
def test_impossible_settings_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sparsity is a share|start and end|every_steps"):
        Prune(**given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scope is one of global, layer; got 'net'"):
        Prune(scope="net")  # type: ignore[arg-type]


# ---------------------------------------------------------------- lottery tickets
class Steps(Method):
    """Keeps the weights after every step of every stage."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], dict[str, Tensor]] = {}

    def gradient(self, run: Run, turn: str, gradient):  # type: ignore[no-untyped-def]
        self.seen[run.stage, run.done] = {k: v.clone() for k, v in run.objective.state_dict().items()}
        return gradient


def tickets(*methods: Method, stages: int = 3, net: nn.Module | None = None) -> Run:
    torch.manual_seed(0)
    run = Run(Classify(big() if net is None else net), [*methods, sgd(0.1)])
    for _ in range(stages):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=8))
    return run


@pytest.mark.parametrize("k", [0, 3])
def test_survivors_start_again_from_where_they_were(k: int) -> None:
    steps = Steps()
    run = tickets(LotteryTicket(0.5, steps=k), steps)
    early = steps.seen[0, k]
    for stage, left in ((1, 0.5), (2, 0.25)):
        start = steps.seen[stage, 0]
        assert 1 - share_of_zeros(start) == pytest.approx(left, abs=1 / 700)
        assert all(torch.equal(v, torch.where(v == 0, 0.0, early[n])) for n, v in start.items())
    assert 1 - share_of_zeros(run.weights()) == pytest.approx(0.25, abs=1 / 700)


def test_the_smallest_trained_weights_lose() -> None:
    method, steps = LotteryTicket(0.5), Steps()
    run = Run(Classify(big()), [method, steps, sgd(0.1)])
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=8))
    trained_to = {k: p.detach().clone() for k, p in run.params("model").items() if p.dim() > 1}
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=8))
    expected = smallest_out(trained_to, 0.5, "global")
    assert all(torch.equal(method.masks[k], m) for k, m in expected.items())


def test_pruning_nothing_is_training_again_from_the_start() -> None:
    """Every round then ends where the first did: weights, BatchNorm and the rule's momentum begin anew."""
    found = []
    net = mlp(4, 8, 3, between=nn.BatchNorm1d)
    run = Run(Classify(net), [LotteryTicket(0.0), sgd(0.1)])
    for _ in range(2):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=8))
        found.append({k: v.clone() for k, v in net.state_dict().items()})
    assert all(torch.equal(v, found[1][k]) for k, v in found[0].items())


@pytest.mark.parametrize("at", [4, 8, 12, 16, 20])
def test_rounds_go_on_bit_for_bit_after_an_interruption(at: int, tmp_path: Path) -> None:
    whole = tickets(LotteryTicket(0.4, steps=2), Stop(99, "interrupted"))
    half = Run(Classify(big()), [LotteryTicket(0.4, steps=2), Stop(99, "interrupted"), sgd(0.1)])
    torch.manual_seed(0)
    half = Run(Classify(big()), [LotteryTicket(0.4, steps=2), Stop(at, "interrupted"), sgd(0.1)])
    while half.stage < 3 and not half.interrupted:
        fit(half, Rows(*blobs(), batch_size=16), Budget(steps=8))
    write_state(tmp_path / "kept", half.state_dict())
    rest = Run(Classify(big()), [LotteryTicket(0.4, steps=2), Stop(99, "interrupted"), sgd(0.1)])
    rest.load_state_dict(read_state(tmp_path / "kept")[0])
    while rest.stage < 3:
        fit(rest, Rows(*blobs(), batch_size=16), Budget(steps=8))
    assert torch.equal(weights(rest.objective), weights(whole.objective))


def test_a_step_that_the_first_stage_does_not_reach_is_refused() -> None:
    with pytest.raises(SondeError, match="LotteryTicket rewinds to step 50, and the first stage ended at step 8"):
        tickets(LotteryTicket(0.5, steps=50))


def test_averages_before_it_ship_tickets() -> None:
    run = tickets(EMA(0.9), LotteryTicket(0.5), stages=2)
    assert share_of_zeros(run.weights()) >= 0.5 - 1 / 700


@pytest.mark.parametrize("given", [{"share": 1.0}, {"share": -0.2}, {"steps": -1}], ids=str)
def test_impossible_tickets_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="share is of the weights|steps is the step"):
        LotteryTicket(**given)  # type: ignore[arg-type]


def test_plain_sgd_too() -> None:
    assert share_of_zeros(trained(Prune(0.5), Descend(PLAIN_SGD), net=big()).weights()) == pytest.approx(0.5, abs=0.01)
