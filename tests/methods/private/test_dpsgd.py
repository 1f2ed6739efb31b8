"""DP-SGD: what it computes equals the hand-computed step, alone and beside other methods; else it is refused."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonde.core import Batch, Budget, Engine, Loss, Method, Notice, Refused, Run, Settled, Term, fit
from sonde.data import Loader
from sonde.data.rows import Rows
from sonde.methods import AGEM, DPSGD, EMA, EWC, PGD, SAM, Backprop, DarkReplay, Descend, FitInputs, MixUp, Replay, sgd
from sonde.objectives import Classify
from sonde.privacy import noise_for, spent
from tests.support import GAN, L2, Call, Joint, blobs, gan_rows, mlp, weights


def private(**settings: object) -> DPSGD:
    """No noise unless asked for, and everything repeatable."""
    return DPSGD(**{"max_grad_norm": 0.3, "noise_multiplier": 0.0, "insecure_seed": 1, **settings})  # type: ignore[arg-type]


def run_of(*methods: Method, net: nn.Module | None = None, engine: Engine | None = None) -> Run:
    torch.manual_seed(0)
    objective = Classify(mlp(4, 8, 3) if net is None else net)
    torch.manual_seed(0)
    for p in objective.parameters():
        nn.init.normal_(p, std=0.7)
    return Run(objective, [*methods, Descend(partial(torch.optim.SGD, lr=0.5))], engine)


def batch_of(n: int = 12) -> Batch:
    x, y = blobs(n)
    return Batch(x, y, torch.arange(n))


def by_hand(run: Run, batch: Batch, bound: float, lot: float, reach: Tensor | None = None) -> dict[str, Tensor]:
    """sum_i min(1, C / |g_i|) g_i / L, a backward pass a record."""
    params = dict(run.objective.named_parameters())
    total = {k: torch.zeros_like(p) for k, p in params.items()}
    assert batch.records is not None
    for record in batch.records.unique():
        rows = batch[batch.records == record]
        loss = run.objective("model", rows).terms["task"]
        grads = torch.autograd.grad((loss.weight * loss.value).mean(), list(params.values()))
        length = torch.stack([g.norm() for g in grads]).norm()
        for k, g in zip(params, grads, strict=True):
            total[k] += g * min(1.0, bound / float(length)) / lot
    return total


def same(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float = 1e-6) -> None:
    assert a.keys() == b.keys()
    for k in a:
        torch.testing.assert_close(a[k], b[k], rtol=1e-5, atol=tolerance)


# ---------------------------------------------------------------- the step
def test_each_record_is_clipped_and_the_mean_is_over_the_expected_records() -> None:
    run, batch = run_of(private()), replace(batch_of(), denominator=20.0)
    same(run.gradient("model", batch), by_hand(run, batch, 0.3, 20.0))


def test_without_noise_and_bound_it_is_backpropagation() -> None:
    run, plain, batch = run_of(private(max_grad_norm=math.inf)), run_of(), batch_of()
    same(run.gradient("model", batch), plain.gradient("model", batch))


def test_no_record_moves_the_sum_by_more_than_the_bound() -> None:
    run, batch = run_of(private(max_grad_norm=0.05)), replace(batch_of(), denominator=1.0)
    whole = run.gradient("model", batch)
    for i in range(len(batch)):
        others = replace(batch[torch.arange(len(batch)) != i], denominator=1.0)
        without = run.gradient("model", others)
        moved = torch.stack([(whole[k] - without[k]).norm() for k in whole]).norm()
        assert moved <= 0.05 + 1e-6


def test_noise_has_the_promised_size_and_covers_every_parameter() -> None:
    method = private(noise_multiplier=2.0, max_grad_norm=0.3)
    run, batch = run_of(method), replace(batch_of(), denominator=10.0)
    clean = run_of(private(max_grad_norm=0.3)).gradient("model", batch)
    draws = []
    for _ in range(400):
        noisy = run.gradient("model", batch)
        draws.append(torch.cat([(noisy[k] - clean[k]).flatten() for k in clean]))
    noise = torch.stack(draws)
    assert noise.std().item() == pytest.approx(2.0 * 0.3 / 10.0, rel=0.01)
    assert (noise.std(0) / (2.0 * 0.3 / 10.0) - 1).abs().max() < 0.2  # each parameter by itself
    assert abs(noise.mean().item()) < 4 * 0.06 / math.sqrt(noise.numel())
    assert method.queries == 400


def test_noise_is_drawn_apart_from_the_training_seed() -> None:
    found = []
    for _ in range(2):
        run = run_of(DPSGD(noise_multiplier=1.0))
        torch.manual_seed(0)
        before = torch.get_rng_state()
        found.append(run.gradient("model", batch_of()))
        assert torch.equal(before, torch.get_rng_state())
    assert all(not torch.equal(found[0][k], found[1][k]) for k in found[0])


@pytest.mark.parametrize("clipping", ["flat", "per_layer", "adaptive"])
@pytest.mark.parametrize("repeated", [False, True], ids=["a row a record", "several"])
def test_microbatches_give_the_same_step(clipping: str, repeated: bool) -> None:
    batch = replace(batch_of(13), denominator=9.0)
    if repeated:
        batch = replace(batch, records=torch.tensor([4, 1, 4, 4, 2, 9, 9, 3, 1, 7, 8, 8, 8]))
    whole, parts = (run_of(private(clipping=clipping, microbatch=size)) for size in (0, 4))
    same(parts.gradient("model", batch), whole.gradient("model", batch))
    values = [r.losses["model"].terms["task"].value.sort()[0] for r in (parts, whole)]
    torch.testing.assert_close(values[0], values[1])


def test_an_empty_draw_is_noise_and_is_counted() -> None:
    method = private(noise_multiplier=1.0)
    run = run_of(method)
    grads = run.gradient("model", replace(batch_of()[:0], denominator=8.0))
    assert all(g.any() for g in grads.values()) and grads.keys() == run.params("model").keys()
    assert method.queries == 1
    adaptive = private(noise_multiplier=1.0, clipping="adaptive")
    run_of(adaptive).gradient("model", replace(batch_of()[:0], denominator=8.0))
    assert adaptive.clipping.bound != 0.3  # moved, as by any other draw


def test_rows_of_one_record_are_clipped_together() -> None:
    batch = replace(batch_of(), records=torch.tensor([0, 1, 1, 2, 0, 3, 4, 5, 5, 5, 6, 7]))
    run = run_of(private(max_grad_norm=0.1))
    same(run.gradient("model", batch), by_hand(run, batch, 0.1, 12.0))


def test_per_layer_bounds_make_the_whole_bound() -> None:
    run, batch = run_of(private(clipping="per_layer", max_grad_norm=0.2)), replace(batch_of()[:1], denominator=1.0)
    grads = run.gradient("model", batch)
    share = 0.2 / math.sqrt(len(grads))
    assert all(g.norm() <= share + 1e-6 for g in grads.values())
    plain = run_of().gradient("model", batch)
    for k, g in plain.items():
        same({k: grads[k]}, {k: g * min(1.0, share / float(g.norm()))})


def test_the_adaptive_bound_finds_the_median_length() -> None:
    method = private(clipping="adaptive", max_grad_norm=20.0)
    run, batch = run_of(method), batch_of(64)
    lengths = torch.stack(
        [
            torch.stack([g.norm() for g in run_of().gradient("model", batch[i : i + 1]).values()]).norm()
            for i in range(64)
        ]
    )
    for _ in range(200):
        run.gradient("model", batch)
    low, high = lengths.quantile(0.4), lengths.quantile(0.6)
    assert low <= method.clipping.bound <= high


def test_the_adaptive_bound_is_paid_for_out_of_the_same_noise() -> None:
    method = private(clipping="adaptive", noise_multiplier=1.5)
    gradient, count = method.clipping.noise(1.5), 2 * method.clipping.count_noise  # sensitivity 1/2
    assert gradient**-2 + count**-2 == pytest.approx(1.5**-2)


# ---------------------------------------------------------------- beside other methods
def test_penalties_are_added_after_the_noise_and_are_not_clipped() -> None:
    batch = batch_of()
    run = run_of(private(max_grad_norm=0.01), L2(3.0))
    alone = by_hand(run, batch, 0.01, 12.0)
    same(run.gradient("model", batch), {k: alone[k] + 3.0 * p.detach() for k, p in run.params("model").items()})


def test_a_penalty_in_microbatches_is_added_once() -> None:
    batch = batch_of()
    a, b = (run_of(private(max_grad_norm=0.01, microbatch=size), L2(3.0)) for size in (0, 5))
    same(a.gradient("model", batch), b.gradient("model", batch))


@pytest.mark.parametrize("evaluating", [False, True], ids=["attacked while training", "attacked while evaluating"])
def test_an_attack_leaves_nothing_in_the_gradient(evaluating: bool) -> None:
    class Attack(PGD):
        def batch(self, run: Run, batch: Batch) -> Batch:
            run.objective.train(not evaluating)
            attacked = super().batch(run, batch)
            run.objective.train()
            return attacked

    attack = Attack(0.3, step=0.1, steps=3, bounds=(-100.0, 100.0))
    run, batch = run_of(attack, private(max_grad_norm=0.1)), batch_of()
    attacked = run.chain("batch", batch, run)
    assert not torch.equal(attacked.x, batch.x) and attacked.records is not None
    same(run.gradient("model", attacked), by_hand(run, attacked, 0.1, 12.0))


def test_an_attack_inside_the_loss_is_not_captured() -> None:
    class Attacked(Method):
        """The loss at a point one step uphill, found while the gradient's own pass is being watched."""

        def loss(self, at, loss: Loss) -> Loss:  # type: ignore[no-untyped-def]
            fixed = {k: p.detach() for k, p in at.params.items()}
            x = at.batch.x.detach().clone().requires_grad_()
            (up,) = torch.autograd.grad(at.run.forward(at.turn, fixed, replace(at.batch, x=x)).total(), x)
            return at.evaluate(replace(at.batch, x=at.batch.x + 0.1 * up.sign()))

    run, batch = run_of(Attacked(), private(max_grad_norm=0.1)), batch_of()
    x = batch.x.clone().requires_grad_()
    (up,) = torch.autograd.grad(run.objective("model", replace(batch, x=x)).total(), x)
    same(run.gradient("model", batch), by_hand(run, replace(batch, x=batch.x + 0.1 * up.sign()), 0.1, 12.0))


def test_two_gradients_of_a_step_are_two_queries() -> None:
    method = private(noise_multiplier=1.0, max_grad_norm=1.0)
    run = run_of(method, SAM(0.05))
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=5))
    assert method.queries == 10 and method.spent.steps == 10


def test_averaging_weights_costs_nothing() -> None:
    runs = []
    for extra in ([], [EMA(0.9)]):
        method = private(noise_multiplier=1.0)
        fit(run := run_of(method, *extra), Rows(*blobs(), batch_size=16), Budget(steps=6))
        runs.append((weights(run.objective), method.spent))
    assert torch.equal(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]


class ChangesRecords(Method):
    """Adds the first rows once more under ids that were not drawn."""

    def batch(self, run: Run, batch: Batch) -> Batch:
        more = replace(batch[:2], records=torch.tensor([10_000, 10_001]))
        both = [torch.cat([a, b]) for a, b in ((batch.x, more.x), (batch.y, more.y), (batch.records, more.records))]  # type: ignore[list-item]
        return Batch(both[0], both[1], both[2], denominator=batch.denominator)


@pytest.mark.parametrize(
    ("methods", "reason"),
    [
        ([MixUp(3)], "rows of this batch mix records"),
        ([Joint()], r"the loss terms \['spread'\]"),
        ([ChangesRecords()], "records that were not drawn for this step"),
        ([Replay(8)], "Replay keeps training rows"),
        ([DarkReplay(8)], "DarkReplay keeps training rows"),
        ([AGEM(8)], "AGEM keeps training rows"),
        ([FitInputs()], "FitInputs reads training records"),
        ([EWC(1.0)], "EWC reads training records"),
        ([Backprop(microbatch=2)], "both replace how the gradient is estimated"),
    ],
    ids=lambda v: "" if isinstance(v, str) else type(v[0]).__name__,
)
def test_what_the_noise_does_not_cover_is_refused(methods: list[Method], reason: str) -> None:
    class Reads(nn.Linear):
        def fit_input(self, x: Tensor) -> None: ...

    with pytest.raises(Refused, match=reason) as refused:
        run = run_of(*methods, private(noise_multiplier=1.0), net=Reads(4, 3))
        before = weights(run.objective)
        try:
            fit(run, Rows(*blobs(), batch_size=16), Budget(steps=2))
        finally:  # a stage may end before what reads at its end is refused; nothing that was read is in the weights
            assert type(methods[0]) is EWC or torch.equal(weights(run.objective), before)
    assert refused.value.remedy


def test_a_source_without_records_is_refused() -> None:
    loader = Loader([(torch.zeros(4, 4), torch.zeros(4, dtype=torch.int64))])
    with pytest.raises(Refused):
        fit(run_of(private()), loader, Budget(steps=1))


@pytest.mark.parametrize(
    "engine", [Engine("cpu", precision="16-mixed"), Engine("cpu", compile=True)], ids=["float16", "compiled"]
)
def test_what_hides_or_loses_gradients_is_refused(engine: Engine) -> None:
    with pytest.raises(Refused):
        run_of(private(), engine=engine)


def test_bfloat16_is_clipped_in_float32() -> None:
    run, exact = (
        run_of(private(max_grad_norm=0.1), engine=Engine("cpu", precision="bf16-mixed")),
        run_of(private(max_grad_norm=0.1)),
    )
    a, b = run.gradient("model", batch_of()), exact.gradient("model", batch_of())
    assert run.methods[0].by_record.way == "layers"  # type: ignore[attr-defined]
    for k in a:
        assert a[k].dtype == torch.float32
        assert (a[k] - b[k]).norm() <= 0.03 * b[k].norm() + 1e-4
    for i in range(4):
        one = run.gradient("model", replace(batch_of()[i : i + 1], denominator=1.0))
        assert torch.stack([g.norm() for g in one.values()]).norm() <= 0.1 * (1 + 1e-5)


# ---------------------------------------------------------------- models
def test_batch_norm_becomes_group_norm_in_one_line_and_activations_may_work_in_place() -> None:
    net = nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)),
        nn.Conv2d(1, 8, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(32, 3),
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = run_of(private(), net=net)
    notes = [str(w.message) for w in said if issubclass(w.category, Notice)]
    assert len(notes) == 1 and "BatchNorm2d became GroupNorm" in notes[0] and "\n" not in notes[0]
    assert run.notes == notes
    assert not any(isinstance(m, nn.BatchNorm2d) for m in run.objective.modules())
    same(run.gradient("model", batch_of()), by_hand(run, batch_of(), 0.3, 12.0))


def test_tied_weights_and_layers_called_twice_are_clipped_as_one() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 3)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.b(self.a(self.a(x).tanh()).tanh()))

    run = run_of(private(max_grad_norm=0.2), net=Twice())
    same(run.gradient("model", batch_of()), by_hand(run, batch_of(), 0.2, 12.0))


def test_an_unknown_use_of_a_parameter_is_found_and_differentiated_otherwise() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(F.linear(self.a(x).tanh(), self.a.weight))  # not a call of the layer

    run = run_of(private(max_grad_norm=0.2), net=Hidden())
    with pytest.warns(UserWarning, match="gradient of net.a.weight; the loss of each row is differentiated by vmap"):
        found = run.gradient("model", batch_of())
    same(found, by_hand(run, batch_of(), 0.2, 12.0))


def test_rows_that_touch_are_bounded_all_the_same() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x - 0.5 * x.mean(0))  # each row sees all others

    run = run_of(private(max_grad_norm=0.2), net=Centred())
    with pytest.warns(UserWarning, match="differentiated by vmap"):
        found = run.gradient("model", batch_of())
    same(found, by_hand(run, batch_of(), 0.2, 12.0))  # each record by itself: its influence is bounded


def test_a_game_pays_for_the_player_that_reads_records() -> None:
    class Private(GAN):
        def forward(self, turn: str, batch: Batch) -> Loss:
            loss = super().forward(turn, batch)
            if turn == "discriminator":
                return loss
            return Loss({"fool": Term(loss.terms["fool"].value.mean(), "penalty")})  # noise and parameters alone

    method = private(noise_multiplier=1.0, max_grad_norm=1.0)
    run = Run(Private(), [method, sgd(0.05)])
    before = weights(run.objective.generator)
    fit(run, gan_rows(), Budget(steps=4))
    assert method.queries == 4 and not torch.equal(weights(run.objective.generator), before)


# ---------------------------------------------------------------- what it costs
def test_the_noise_is_planned_for_the_steps_and_the_budget_is_kept() -> None:
    method = DPSGD(1.0, target_epsilon=3.0, target_delta=1e-3, insecure_seed=1)
    run = run_of(method)
    fit(run, Rows(*blobs(256), batch_size=32), Budget(epochs=3))
    assert run.step == 24 and method.noise_multiplier == noise_for(3.0, 1e-3, 32 / 256, 24)
    assert 2.9 < method.spent.epsilon <= 3.0
    assert method.spent == spent([(method.noise_multiplier, 32 / 256, 24)], 1e-3, "rdp", 256)
    with pytest.raises(Refused, match="planned for one stage"):
        fit(run, Rows(*blobs(256), batch_size=32), Budget(epochs=1))


def test_the_noise_is_planned_for_every_gradient_of_a_step() -> None:
    method = DPSGD(1.0, target_epsilon=3.0, target_delta=1e-3, insecure_seed=1)
    fit(run_of(method, SAM(0.05)), Rows(*blobs(256), batch_size=32), Budget(steps=10))
    assert method.spent.steps == 20 and method.spent.epsilon <= 3.0


def test_no_noise_can_be_planned_for_a_time() -> None:
    with pytest.raises(Refused, match="time budget"):
        fit(run_of(DPSGD(target_epsilon=3.0)), Rows(*blobs(256), batch_size=32), Budget(seconds=1.0))


def test_stages_draw_other_records_and_add_up() -> None:
    method = private(noise_multiplier=1.0)
    run, drawn = run_of(method), []

    class Keep(Method):
        def batch(self, run: Run, batch: Batch) -> Batch:
            drawn.append(batch.records.tolist())  # type: ignore[union-attr]
            return batch

    run = run_of(method, Keep())
    for _ in range(2):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=3))
    assert drawn[:3] != drawn[3:] and method.queries == 6


def test_a_resumed_run_ends_with_the_same_bits_and_the_same_account() -> None:
    def made() -> tuple[Run, DPSGD]:
        method = private(noise_multiplier=1.0, clipping="adaptive")
        return run_of(method), method

    source = Rows(*blobs(), batch_size=16)
    (whole, a), (rest, b) = made(), made()
    fit(whole, source, Budget(steps=8))
    stopper = Call(Settled, 3, lambda run: setattr(run, "stop", "interrupted"))
    half = run_of(private(noise_multiplier=1.0, clipping="adaptive"), stopper)
    fit(half, source, Budget(steps=8))
    state = half.state_dict()
    state["methods"] = [m for m in state["methods"] if m["method"] != "Call"]
    rest.load_state_dict(state)
    fit(rest, source, Budget(steps=8))
    assert torch.equal(weights(rest.objective), weights(whole.objective)) and b.spent == a.spent


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise_multiplier": None},
        {"target_epsilon": 1.0},
        {"max_grad_norm": 0.0},
        {"noise_multiplier": -1.0},
        {"clipping": "global"},
        {"target_delta": 1.0},
        {"accountant": "none"},
    ],
    ids=str,
)
def test_settings_that_promise_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Exception, match="give|positive|0 or more|one of|between"):
        private(**wrong)
