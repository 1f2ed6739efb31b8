"""Robust training: moved rows stay in their ball and bounds, raise the loss, and touch nothing but themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sonde.core import Backprop, Batch, Budget, Engine, Method, Read, Refused, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.methods import DPSGD, FGSM, PGD, TRADES, FitInputs, GaussianNoise, LabelSmoothing, MixUp, Shift, sgd
from sonde.methods.robust.trades import divergence
from sonde.nets import TabM
from sonde.objectives import Classify, Regress
from tests.support import GAN, LAW, Watch, gan_rows, mlp

ATTACKS: list[Method] = [FGSM(0.1), PGD(0.1, 0.04, 5), PGD(0.8, 0.3, 5, norm="l2"), TRADES(6.0, 0.1, 0.04, 5)]
MOVING: list[Method] = [*ATTACKS, GaussianNoise(0.1)]


def named(method: Method) -> str:
    return type(method).__name__ + (f"-{method.norm}" if isinstance(method, PGD) else "")


each_attack = pytest.mark.parametrize("method", ATTACKS, ids=named)
each = pytest.mark.parametrize("method", MOVING, ids=named)


def net() -> nn.Module:
    """Small, with all that a mode or a leak could disturb: BatchNorm and dropout."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.5), mlp(12, 3))


def pictures(n: int = 24) -> Batch:
    g = torch.Generator().manual_seed(2)
    y = torch.arange(n) % 3
    return Batch((torch.rand(n, 1, 4, 4, generator=g) + y[:, None, None, None]) / 3, y, torch.arange(n) + 50)


def run_with(*methods: Method, objective: nn.Module | None = None, **engine: str) -> Run:
    objective = Classify(net()) if objective is None else objective
    return Run(objective, [*methods, sgd(0.1)], Engine(device="cpu", **engine))  # type: ignore[arg-type]


def moved(method: Method, batch: Batch, run: Run | None = None, seed: int = 3) -> Tensor:
    """The numbers that the method puts in the place of the batch's, or beside them."""
    run = run_with(method) if run is None else run
    torch.manual_seed(seed)
    out = method.batch(run, batch)
    v = out.fields.get("trades", out.x)
    return v["numeric"] if isinstance(v, dict) else v


def losses(run: Run, batch: Batch) -> Tensor:
    """One cross-entropy a row, in evaluation mode."""
    run.objective.eval()
    with torch.no_grad():
        loss = run.objective("model", batch)
    run.objective.train()
    return loss.terms["task"].value


def gain(method: Method, run: Run, batch: Batch, v: Tensor) -> float:
    """How much larger at v than at the batch's rows is the mean of what the method makes large."""
    if not isinstance(method, TRADES):
        return (losses(run, replace(batch, x=v)) - losses(run, batch)).mean().item()
    run.objective.eval()
    with torch.no_grad():
        log_p, log_q = (run.objective.net(x).log_softmax(1) for x in (batch.x, v))
    run.objective.train()
    return divergence(log_p, log_q).mean().item()


# ---------------------------------------------------------------- the ball and the bounds
@LAW
@given(
    radius=st.floats(0.001, 2.0),
    step=st.floats(0.001, 3.0),
    steps=st.integers(1, 4),
    norm=st.sampled_from(["linf", "l2"]),
    shift=st.floats(-3, 3),
    seed=st.integers(0, 99),
)
def test_a_moved_row_stays_in_its_ball_and_in_the_bounds(
    radius: float, step: float, steps: int, norm: str, shift: float, seed: int
) -> None:
    batch = pictures(6)
    batch = replace(batch, x=batch.x + shift)
    method = PGD(radius, step, steps, norm, bounds=(shift, shift + 1.0 + 1e-6))  # type: ignore[arg-type]
    v = moved(method, batch, seed=seed)
    offset = (v - batch.x).flatten(1)
    length = offset.abs().amax(1) if norm == "linf" else offset.norm(dim=1)
    assert (length <= radius + 1e-6).all()  # coordinates of up to 4 are rounded to 2^-22
    assert (v >= method.bounds[0]).all() and (v <= method.bounds[1] + 1e-6).all()
    assert not torch.equal(v, batch.x)


@LAW
@given(radius=st.floats(0.001, 1.0), seed=st.integers(0, 99))
def test_fgsm_and_trades_stay_in_their_box(radius: float, seed: int) -> None:
    batch = pictures(6)
    for method in (FGSM(radius), TRADES(6.0, radius, 0.5 * radius, 3)):
        v = moved(method, batch, seed=seed)
        assert ((v - batch.x).abs() <= radius + 1e-6).all() and (v >= 0).all() and (v <= 1).all()


@each
def test_without_a_radius_the_rows_are_the_same_bits(method: Method) -> None:
    still = {
        FGSM: FGSM(0.0),
        PGD: PGD(0.0),
        TRADES: TRADES(6.0, 0.0),
        GaussianNoise: GaussianNoise(0.0),
    }[type(method)]
    batch, run, before = pictures(), run_with(still), torch.get_rng_state()
    out = still.batch(run, batch)
    assert torch.equal(out.x, batch.x) and torch.equal(before, torch.get_rng_state())
    plain = run_with()
    torch.manual_seed(5)
    fit(run, Rows(batch.x, batch.y, 8), Budget(steps=4))
    torch.manual_seed(5)
    fit(plain, Rows(batch.x, batch.y, 8), Budget(steps=4))
    same = [torch.equal(a, b) for a, b in zip(run.objective.parameters(), plain.objective.parameters(), strict=True)]
    assert all(same)


@each
def test_inputs_outside_the_bounds_are_named(method: Method) -> None:
    batch = pictures()
    bad = batch.x.clone()
    bad[3, 0, 1, 1] = 1.5
    with pytest.raises(SondeError, match=r"expects inputs in \[0, 1\], but record 53 holds 1\.5"):
        method.batch(run_with(method), replace(batch, x=bad))
    bad[3, 0, 1, 1] = torch.nan
    with pytest.raises(SondeError, match="record 53 holds nan"):
        method.batch(run_with(method), replace(batch, x=bad))
    with pytest.raises(SondeError, match="row 3 of the batch holds nan"):
        method.batch(run_with(method), replace(batch, x=bad, records=None))


# ---------------------------------------------------------------- what it finds
@each_attack
def test_the_loss_there_is_larger_than_here(method: Method) -> None:
    run, batch = run_with(method), pictures()
    fit(run, Rows(batch.x, batch.y, 8), Budget(steps=20))
    assert gain(method, run, batch, moved(method, batch, run)) > 0.003


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_equals_the_loop_written_by_hand(norm: str) -> None:
    """The oracle: one row at a time, from the same start, with the parameters' graph kept."""
    radius, step, steps = (0.15, 0.05, 6) if norm == "linf" else (0.9, 0.3, 6)
    method = PGD(radius, step, steps, norm)  # type: ignore[arg-type]
    run, batch = run_with(method), pictures(7)
    found = moved(method, batch, run)
    torch.manual_seed(3)
    x = batch.x
    if norm == "linf":
        start = x + radius * (2 * torch.rand_like(x) - 1)
    else:
        direction = torch.randn_like(x)
        direction = direction / direction.flatten(1).norm(dim=1)[:, None, None, None]
        start = x + radius * direction * (torch.rand(7) ** (1 / 16))[:, None, None, None]
    start = start.clamp(0, 1)
    run.objective.eval()
    for i in range(7):
        v = start[i : i + 1]
        for _ in range(steps):
            v = v.detach().requires_grad_()
            loss = F.cross_entropy(run.objective.net(v), batch.y[i : i + 1])
            (g,) = torch.autograd.grad(loss, v)
            v = v + step * (g.sign() if norm == "linf" else g / g.norm())
            offset = v - x[i : i + 1]
            offset = offset.clamp(-radius, radius) if norm == "linf" else offset * min(1, radius / offset.norm().item())
            v = (x[i : i + 1] + offset).clamp(0, 1)
        torch.testing.assert_close(found[i : i + 1], v.detach(), atol=1e-6, rtol=0)


def test_fgsm_is_the_papers_step() -> None:
    """From a start that may leave [0, 1], one long step, and only then back into ball and bounds (algorithm 3)."""
    batch, run = pictures(), run_with()
    torch.manual_seed(0)
    delta = 0.1 * (2 * torch.rand_like(batch.x) - 1)
    assert ((batch.x + delta) < 0).any() or ((batch.x + delta) > 1).any()
    v = (batch.x + delta).requires_grad_()
    run.objective.eval()
    (up,) = torch.autograd.grad(run.objective("model", replace(batch, x=v)).terms["task"].value.sum(), v)
    run.objective.train()
    delta = (delta + 0.125 * up.sign()).clamp(-0.1, 0.1)
    torch.manual_seed(0)
    torch.testing.assert_close(FGSM(0.1).batch(run, batch).x, (batch.x + delta).clamp(0, 1))


def test_trades_adds_beta_times_the_divergence_to_the_attacked_copy() -> None:
    run = run_with(method := TRADES(2.5, 0.1, 0.03, 4), objective=Classify(mlp(16, 8, 3)))
    batch = replace(pictures(), x=pictures().x.flatten(1))
    torch.manual_seed(0)
    out = method.batch(run, batch)
    loss = run.loss("model", run.params("model"), out)
    p, q = (run.objective.net(v).softmax(1) for v in (batch.x, out.fields["trades"]))
    expected = F.cross_entropy(run.objective.net(batch.x), batch.y) + 2.5 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(loss.total(), expected)
    assert loss.terms["trades"].kind == "example"
    assert torch.equal(out.x, batch.x)


def test_the_noise_has_the_deviation_asked_for() -> None:
    batch = Batch(torch.full((4000, 8), 0.5), torch.zeros(4000, dtype=torch.int64))
    offset = moved(GaussianNoise(0.25), batch) - batch.x
    assert abs(offset.std().item() - 0.25) < 0.005 and abs(offset.mean().item()) < 0.005
    assert offset.abs().max() > 0.5  # not clipped to the bounds


# ---------------------------------------------------------------- what it leaves alone
@each
def test_nothing_leaks(method: Method) -> None:
    """No gradient, no running statistic, no mode, no hook."""
    run, batch = run_with(method), pictures()
    for p in run.objective.parameters():
        p.grad = torch.ones_like(p)
    run.objective.net[4].eval()  # a user may have frozen one layer
    buffers = {k: b.clone() for k, b in run.objective.named_buffers()}
    modes = [m.training for m in run.objective.modules()]
    before = batch.x.clone()
    out = method.batch(run, batch)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in run.objective.parameters())
    assert all(torch.equal(b, buffers[k]) for k, b in run.objective.named_buffers())
    assert [m.training for m in run.objective.modules()] == modes
    assert not any(m._forward_hooks or m._backward_hooks for m in run.objective.modules())
    assert torch.equal(batch.x, before)
    assert not out.x.requires_grad and not any(f.requires_grad for f in out.fields.values())
    assert all(p.requires_grad for p in run.objective.parameters())


@each_attack
def test_an_attack_that_fails_half_way_leaves_no_mode_behind(method: Method) -> None:
    run = run_with(method, objective=Classify(mlp(5, 3)))
    with pytest.raises(RuntimeError, match="shapes"):
        method.batch(run, pictures())
    assert all(m.training for m in run.objective.modules())


@each
def test_a_row_depends_on_itself_alone(method: Method) -> None:
    run, batch = run_with(method), pictures()
    other = torch.cat([batch.x[:1], 1 - batch.x[1:]])
    assert torch.equal(moved(method, batch, run)[0], moved(method, replace(batch, x=other), run)[0])
    assert torch.equal(method.batch(run, batch).records, batch.records)


@each
def test_it_goes_with_other_methods(method: Method) -> None:
    batch = pictures()
    shift, smoothing = Shift(0.1), LabelSmoothing(0.1)
    after = [] if isinstance(method, TRADES | GaussianNoise) else [MixUp(3)]
    run = run_with(Backprop(microbatch=5), shift, method, *after, smoothing)
    fit(run, Rows(batch.x, batch.y, 8), Budget(steps=4))
    assert all(p.isfinite().all() for p in run.objective.parameters())


@pytest.mark.parametrize("attack", [FGSM(0.1), PGD(0.1), GaussianNoise(0.1)], ids=lambda m: type(m).__name__)
def test_what_bends_the_rows_afterwards_is_refused(attack: Method) -> None:
    name = type(attack).__name__
    with pytest.raises(Refused, match=f"Shift after {name} .*\n  put Shift before {name}"):
        run_with(attack, Shift(0.1))
    run_with(Shift(0.1), attack)


@each_attack
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_it_attacks_under_mixed_precision(method: Method, precision: str) -> None:
    run, batch = run_with(method, precision=precision), pictures()
    v = moved(method, batch, run)
    assert v.dtype == torch.float32
    assert gain(method, run, batch, v) > 0.001


def test_the_attacked_player_is_chosen_by_its_turn() -> None:
    source = gan_rows()
    batch = next(source.batches(None))
    low, high = source.whole.x.min().item(), source.whole.x.max().item()
    run = run_with(method := PGD(0.5, 0.2, 5, bounds=(low, high), turn="discriminator"), objective=GAN())
    v = moved(method, batch, run)
    before, after = (run.objective("discriminator", replace(batch, x=x)).total() for x in (batch.x, v))
    assert after > before
    fit(run, source, Budget(steps=3))
    with pytest.raises(SondeError, match="attacks the turn 'model', which nobody takes\n  choose from discriminator"):
        run_with(PGD(), objective=GAN())
    blind = PGD(0.5, 0.2, 5, bounds=(low, high), turn="generator")
    with pytest.raises(SondeError, match="no `example` term depends on the inputs"):
        blind.batch(run_with(blind, objective=GAN()), batch)


@each
def test_gradients_per_record_see_the_rows_it_makes_and_nothing_else(method: Method) -> None:
    """Without noise, and with a bound that no record reaches, private training takes the plain step."""
    batch = pictures(8)
    grads = []
    for private in ([], [DPSGD(max_grad_norm=1e6, noise_multiplier=0.0)]):
        torch.manual_seed(1)
        run = run_with(method, *private, objective=Classify(nn.Sequential(nn.Flatten(), mlp(16, 8, 3))))
        torch.manual_seed(2)
        grads.append(run.gradient("model", replace(method.batch(run, batch), denominator=8.0)))
    for name, g in grads[0].items():
        torch.testing.assert_close(grads[1][name], g, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- tables
def table(n: int = 40) -> Rows:
    g = torch.Generator().manual_seed(6)
    numeric = torch.randn(n, 3, generator=g) * torch.tensor([1.0, 100.0, 0.0]) + 7
    numeric[::5, 0] = torch.nan
    codes = torch.randint(3, (n, 2), generator=g)
    return Rows({"numeric": numeric, "categorical": codes}, torch.randint(2, (n,), generator=g), batch_size=8)


def tabm() -> Classify:
    torch.manual_seed(0)
    return Classify(TabM(outputs=2, numeric=3, cardinalities=(3, 3), widths=(8,), members=4, bins=8))


TABLE: list[Method] = [
    FGSM(0.5),
    PGD(0.5, 0.2, 5),
    PGD(0.5, 0.2, 5, "l2"),
    TRADES(6.0, 0.5, 0.2, 5),
    GaussianNoise(0.5),
]


@pytest.mark.parametrize("method", TABLE, ids=named)
def test_a_table_is_moved_in_standard_deviations_within_the_range_of_its_columns(method: Method) -> None:
    method.load_state_dict({"units": {}})
    source, watch = table(), Watch()
    run = run_with(FitInputs(), method, watch, objective=tabm())
    fit(run, source, Budget(steps=6))
    assert [e.reader for e in watch.of(Read)] == ["FitInputs", type(method).__name__]  # type: ignore[attr-defined]
    x = source.whole.x["numeric"]
    batch = next(source.batches(None))
    v = moved(method, batch, run)
    std = torch.stack([c[c.isfinite()].double().std(correction=0) for c in x.T])
    offset = (v - batch.x["numeric"]) / std.clamp_min(1e-9)
    assert torch.equal(v.isnan(), batch.x["numeric"].isnan())
    assert torch.equal(v[:, 2], batch.x["numeric"][:, 2])  # a constant column has no unit
    assert torch.equal(method.batch(run, batch).x["categorical"], batch.x["categorical"])
    offset = offset.nan_to_num(0)
    assert 0.01 < offset.abs().max()
    if not isinstance(method, GaussianNoise):
        length = offset.norm(dim=1) if named(method).endswith("l2") else offset.abs()
        assert length.max() <= 0.5 + 1e-4
        low, high = (getattr(x.nan_to_num(7.0), f"a{m}")(0) for m in ("min", "max"))
        known = v.nan_to_num(7.0)
        assert (known >= low).all() and (known <= high).all()


def test_given_units_read_nothing() -> None:
    source, watch = table(), Watch()
    run = run_with(method := PGD(0.5, 0.2, 3, scale=(1.0, 10.0, 0.0)), watch, objective=tabm())
    fit(run, source, Budget(steps=2))
    assert not watch.of(Read) and not method.units
    with pytest.raises(SondeError, match="scale has 2 units, but the table 3 numeric columns"):
        fit(run_with(PGD(scale=(1.0, 1.0)), objective=tabm()), source, Budget(steps=1))


# ---------------------------------------------------------------- refusals
@each
def test_what_has_no_small_changes_is_refused_in_words(method: Method) -> None:
    run = run_with(method)
    cases = {
        "a torch.int64 tensor": torch.zeros(4, 3, dtype=torch.int64),
        "a table without numeric columns": {"numeric": torch.zeros(4, 0), "categorical": torch.zeros(4, 2).long()},
        "made of several parts": {"left": torch.zeros(4, 2)},
    }
    for words, x in cases.items():
        with pytest.raises(SondeError, match=f"moves numbers by small amounts, but x is {words}"):
            method.batch(run, Batch(x, torch.zeros(4, dtype=torch.int64)))


def test_numbers_that_make_no_attack_are_refused() -> None:
    for make in (
        lambda: PGD(radius=-1),
        lambda: PGD(radius=float("nan")),
        lambda: PGD(step=0.0),
        lambda: PGD(steps=0),
        lambda: PGD(norm="l1"),  # type: ignore[arg-type]
        lambda: PGD(bounds=(1.0, 0.0)),
        lambda: PGD(scale=(-1.0,)),
        lambda: FGSM(overstep=0.0),
        lambda: TRADES(beta=-1.0),
        lambda: GaussianNoise(sigma=-0.1),
    ):
        with pytest.raises(SondeError):
            make()


def test_trades_is_refused_where_it_would_be_wrong() -> None:
    with pytest.raises(Refused, match="MixUp comes after TRADES"):
        run_with(TRADES(), MixUp(3))
    regress = run_with(method := TRADES(), objective=Regress(nn.Sequential(nn.Flatten(), nn.Linear(16, 1))))
    with pytest.raises(SondeError, match="TRADES compares class probabilities, and this objective has none"):
        method.batch(regress, replace(pictures(), y=torch.zeros(24, 1)))
    run = run_with(TRADES(6.0, 0.1))
    with pytest.raises(Refused, match="rows that it has not attacked"):
        run.gradient("model", pictures())


def test_the_radius_grows_to_its_own_in_the_warmup() -> None:
    run, batch = run_with(), pictures()
    reached = []
    for done in (0, 10, 20, 50):
        run.done, run.total = done, 100
        torch.manual_seed(0)
        reached.append(float((PGD(0.2, 0.2, 3, warmup=0.2).batch(run, batch).x - batch.x).abs().max()))
    assert reached == pytest.approx([0.0, 0.1, 0.2, 0.2])
