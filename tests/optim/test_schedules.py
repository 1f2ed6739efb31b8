"""Schedules: closed forms, and equal to torch's where both define the same."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from sonde.core import Budget, Run, Stepped, fit
from sonde.data.rows import Rows
from sonde.methods import sgd
from sonde.names import catalogue, parse
from sonde.objectives import Classify
from sonde.optim.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    Linear,
    OneCycle,
    Product,
    Schedule,
    Sequence,
    StepDecay,
    WarmUp,
    WarmUpStableDecay,
)
from tests.support import LAW, Call, blobs, mlp

SHARES = st.floats(0, 1)
SIMPLE: st.SearchStrategy[Schedule] = (
    st.builds(Constant, warmup=SHARES)
    | st.builds(Cosine, warmup=SHARES, floor=SHARES)
    | st.builds(OneCycle, rise=SHARES)
    | st.builds(StepDecay, at=st.lists(SHARES, max_size=3).map(tuple), factor=SHARES)
    | st.builds(Linear, start=SHARES, end=SHARES)
    | st.builds(Exponential, end=st.floats(1e-6, 1))
    | st.builds(CosineRestarts, cycles=st.integers(1, 6), longer=st.floats(0.3, 3), floor=SHARES)
    | st.builds(InverseSqrt, warmup=SHARES)
    | st.builds(WarmUpStableDecay, warmup=SHARES, decay=SHARES, floor=SHARES, shape=st.sampled_from(["linear", "sqrt"]))
)
SCHEDULES: st.SearchStrategy[Schedule] = st.recursive(
    SIMPLE,
    lambda inner: (
        st.builds(WarmUp, inner, SHARES) | st.builds(Sequence, inner, inner, SHARES) | st.builds(Product, inner, inner)
    ),
    max_leaves=4,
)
TOTALS = st.integers(1, 120)


def drawn(schedule: Schedule, total: int) -> list[float]:
    return [schedule(t, total) for t in range(total + 1)]


# ---------------------------------------------------------------- laws
@LAW
@given(SCHEDULES, st.integers(1, 200))
def test_a_factor_lies_between_zero_and_one(schedule: Schedule, total: int) -> None:
    assert all(0 <= f <= 1 + 1e-12 for f in drawn(schedule, total))


@LAW
@given(st.builds(Cosine, warmup=SHARES, floor=SHARES) | st.builds(OneCycle, rise=SHARES), st.integers(1, 200))
def test_a_schedule_that_rises_and_falls_does_so_once(schedule: Schedule, total: int) -> None:
    factors = drawn(schedule, total)
    peak = factors.index(max(factors))
    rising, falling = factors[: peak + 1], factors[peak:]
    assert all(a <= b + 1e-12 for a, b in zip(rising, rising[1:], strict=False))
    assert all(a >= b - 1e-12 for a, b in zip(falling, falling[1:], strict=False))


@LAW
@given(SCHEDULES, st.integers(1, 100), st.integers(0, 99))
def test_a_schedule_is_a_function_of_the_step_alone(schedule: Schedule, total: int, step: int) -> None:
    first = schedule(step, total)
    drawn(schedule, total)
    assert schedule(step, total) == first


# ---------------------------------------------------------------- closed forms
@pytest.mark.parametrize("total", [1, 7, 100])
def test_the_cosine_ends_at_its_floor(total: int) -> None:
    assert Cosine(floor=0.1)(0, total) == 1
    assert Cosine(floor=0.1)(total, total) == pytest.approx(0.1)
    assert Cosine(floor=0.1)(2 * total, total) == pytest.approx(0.1)  # it stays there
    if total % 2 == 0:
        assert Cosine(floor=0.1)(total // 2, total) == pytest.approx(0.55)


def test_a_warm_up_is_linear_and_meets_the_rest_without_a_dip() -> None:
    assert [Constant(warmup=0.4)(t, 10) for t in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    factors = drawn(Cosine(warmup=0.5), 10)
    assert factors[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert factors[5:] == pytest.approx([0.5 * (1 + math.cos(math.pi * t / 5)) for t in range(6)])


def test_one_cycle_starts_and_ends_where_it_says() -> None:
    cycle = OneCycle(rise=0.25, divide=20, end=1e3)
    assert cycle(0, 40) == pytest.approx(1 / 20)
    assert cycle(10, 40) == pytest.approx(1)
    assert cycle(40, 40) == cycle(99, 40) == pytest.approx(1e-3)


def test_steps_multiply_at_their_shares() -> None:
    assert drawn(StepDecay(at=(0.5, 0.75), factor=0.5), 4) == [1, 1, 0.5, 0.25, 0.25]


def close(schedule: Schedule, total: int, closed: list[float]) -> None:
    assert drawn(schedule, total) == pytest.approx(closed, rel=1e-9, abs=1e-9)


@LAW
@given(TOTALS, SHARES, SHARES)
def test_a_line(total: int, start: float, end: float) -> None:
    close(Linear(start, end), total, [start + (end - start) * t / total for t in range(total + 1)])


@LAW
@given(TOTALS, st.floats(1e-4, 1))
def test_an_exponential(total: int, end: float) -> None:
    close(Exponential(end), total, [end ** (t / total) for t in range(total + 1)])


@LAW
@given(st.integers(1, 20), st.integers(1, 5), st.integers(1, 3), SHARES)
def test_a_cosine_with_restarts(first: int, cycles: int, longer: int, floor: float) -> None:
    lengths = [first * longer**i for i in range(cycles)]
    closed = [floor + (1 - floor) * (1 + math.cos(math.pi * t / n)) / 2 for n in lengths for t in range(n)]
    close(CosineRestarts(cycles, longer, floor), sum(lengths), [*closed, floor])


@LAW
@given(st.integers(1, 50), st.integers(1, 4))
def test_an_inverse_square_root(warm: int, times: int) -> None:
    total = warm * times
    closed = [min((t + 1) / warm, (warm / (t + 1)) ** 0.5) for t in range(total + 1)]
    close(InverseSqrt(1 / times), total, closed)


@LAW
@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), SHARES)
def test_warm_up_stable_decay(warm: int, stable: int, decay: int, floor: float) -> None:
    total = warm + stable + decay
    closed = [(t + 1) / warm for t in range(warm)] + stable * [1.0]
    closed += [1 - (1 - floor) * t / decay for t in range(decay + 1)]
    close(WarmUpStableDecay(warm / total, decay / total, floor), total, closed)


@LAW
@given(SIMPLE, SIMPLE, st.integers(0, 30), st.integers(1, 30))
def test_compositions(a: Schedule, b: Schedule, before: int, after: int) -> None:
    total = before + after
    rest = drawn(b, after)
    close(Sequence(a, b, before / total), total, [a(t, before) for t in range(before)] + rest)
    close(WarmUp(b, before / total), total, [(t + 1) / before * rest[0] for t in range(before)] + rest)
    close(Product(a, b), total, [a(t, total) * b(t, total) for t in range(total + 1)])


def test_a_schedule_is_typed_as_it_is_nested() -> None:
    typed = parse("methods", "adamw(lr=0.1, schedule=warm_up(sequence(constant, linear(end=0.1), at=0.3), share=0.1))")
    assert typed().schedule == WarmUp(Sequence(Constant(), Linear(end=0.1), at=0.3), share=0.1)


def test_only_schedules_are_offered_as_schedules() -> None:
    assert {"cosine_restarts", "warm_up_stable_decay"} <= {e.name for e in catalogue("optim")}
    assert not {"lion", "muon", "soap", "rule"} & {e.name for e in catalogue("optim")}


# ---------------------------------------------------------------- parity
def of_torch(make: object, steps: int) -> list[float]:
    """The learning rates of a torch scheduler over an optimiser of rate 1."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimiser), []  # type: ignore[operator]
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("total, floor", [(10, 0.0), (37, 0.2), (1, 0.0)])
def test_the_cosine_equals_torch(total: int, floor: float) -> None:
    reference = of_torch(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=total, eta_min=floor), total + 1)
    assert drawn(Cosine(floor=floor), total) == pytest.approx(reference, abs=1e-12)


@pytest.mark.parametrize("total, rise", [(40, 0.25), (100, 0.3), (20, 0.5)])
def test_one_cycle_equals_torch(total: int, rise: float) -> None:
    # torch counts the phases in steps between its first and its last; here they are shares of all steps.
    reference = of_torch(
        lambda o: lr_scheduler.OneCycleLR(
            o,
            max_lr=1.0,
            total_steps=total + 1,
            pct_start=(rise * total + 1) / (total + 1),
            div_factor=25,
            final_div_factor=1e4 / 25,
            cycle_momentum=False,
        ),
        total,
    )
    assert drawn(OneCycle(rise=rise, divide=25, end=1e4), total)[:total] == pytest.approx(reference, abs=1e-9)


def test_steps_equal_torch() -> None:
    reference = of_torch(lambda o: lr_scheduler.MultiStepLR(o, milestones=[10, 15], gamma=0.1), 21)
    assert drawn(StepDecay(at=(0.5, 0.75)), 20) == pytest.approx(reference)


def test_the_warm_up_equals_torch() -> None:
    reference = of_torch(lambda o: lr_scheduler.LinearLR(o, start_factor=0.2, total_iters=4), 10)
    assert drawn(Constant(warmup=0.5), 10)[:10] == pytest.approx(reference)


@pytest.mark.parametrize("total, end", [(10, 0.01), (37, 0.5)])
def test_the_exponential_equals_torch(total: int, end: float) -> None:
    reference = of_torch(lambda o: lr_scheduler.ExponentialLR(o, gamma=end ** (1 / total)), total + 1)
    assert drawn(Exponential(end), total) == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("first, longer, cycles", [(5, 1, 4), (4, 2, 3), (3, 3, 2)])
def test_restarts_equal_torch(first: int, longer: int, cycles: int) -> None:
    total = sum(first * longer**i for i in range(cycles))
    reference = of_torch(
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=first, T_mult=longer, eta_min=0.1), total
    )
    assert drawn(CosineRestarts(cycles, longer, floor=0.1), total)[:total] == pytest.approx(reference, abs=1e-12)


def test_the_line_equals_torch() -> None:
    reference = of_torch(lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=12), 13)
    assert drawn(Linear(end=0.2), 12) == pytest.approx(reference)


def test_a_sequence_equals_torch() -> None:
    def theirs(o: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        parts = [lr_scheduler.ConstantLR(o, factor=1.0, total_iters=0), lr_scheduler.CosineAnnealingLR(o, T_max=12)]
        return lr_scheduler.SequentialLR(o, parts, milestones=[8])

    assert drawn(Sequence(Constant(), Cosine(), at=0.4), 20)[:20] == pytest.approx(of_torch(theirs, 20), abs=1e-12)


# ---------------------------------------------------------------- in a run
def test_the_rate_of_a_run_is_the_schedule_of_its_stage() -> None:
    rule = sgd(0.2, schedule=Cosine())
    rates: list[float] = []

    class Note(Call):
        def on(self, run: Run, event: object) -> None:
            if isinstance(event, Stepped):
                rates.append(rule.optimisers["model"].param_groups[0]["lr"])

    run = Run(Classify(mlp(4, 3)), [rule, Note(Stepped, 1, lambda run: None)])
    for _ in range(2):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=5))
    assert rates == pytest.approx(2 * [0.2 * Cosine()(t, 5) for t in range(5)])
