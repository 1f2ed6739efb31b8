"""Accountants: closed forms, monotone in everything, equal to Opacus and dp-accounting where these compute the same."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from sonde.core import SondeError
from sonde.privacy import ACCOUNTANTS, gdp, noise_for, rdp, rounded_up, spent, steps_within
from tests.support import LAW

NOISES = st.floats(0.3, 50)
RATES = st.floats(1e-5, 1)
STEPS = st.integers(1, 100_000)
DELTAS = st.floats(1e-12, 0.1)
QUICK = st.sampled_from(["rdp", "gdp"])

# noise multiplier, sampling rate, steps: what Opacus and dp-accounting are compared on
GRID = [
    (noise, rate, steps)
    for noise in (0.4, 0.7, 1.1, 3.0, 12.0)
    for rate in (1e-4, 256 / 60000, 0.05, 0.4, 0.93)
    for steps in (1, 300, 20_000)
]
TIGHT = [  # slower: a few of them
    (1.1, 256 / 60000, 1), (1.1, 256 / 60000, 10_000), (0.6, 0.004, 3000), (4.0, 0.1, 1000), (10.0, 0.5, 500),
    (2.0, 1.0, 10),
]  # fmt: skip


def epsilon(history: Any, delta: float = 1e-5, accountant: str = "rdp") -> float:
    return spent(history, delta, accountant).epsilon


# ---------------------------------------------------------------- closed forms and an oracle
@LAW
@given(NOISES, STEPS)
def test_a_full_batch_is_the_gaussian_mechanism(noise: float, steps: int) -> None:
    assert rdp.rdp([(noise, 1.0, steps)]) == pytest.approx(steps * rdp.ORDERS / (2 * noise**2), rel=1e-12)
    assert gdp.mu([(noise, 1.0, steps)]) == pytest.approx(math.sqrt(steps) / noise, rel=1e-12)


@pytest.mark.parametrize("noise, rate", [(0.5, 0.01), (1.0, 1e-4), (1.3, 0.3), (4.0, 0.8)])
def test_renyi_divergence_equals_the_integral_that_defines_it(noise: float, rate: float) -> None:
    found = rdp.rdp([(noise, rate, 1)])

    def moment(z: float, alpha: float) -> float:  # E over N(0, noise^2) of ratio^alpha, less 1 and a term of mean 0
        u = rate * math.expm1((2 * z - 1) / (2 * noise**2))
        density = math.exp(-z * z / 2 / noise**2) / math.sqrt(2 * math.pi) / noise
        return density * (math.expm1(alpha * math.log1p(u)) - alpha * u)

    for alpha in (1.5, 2.0, 3.7, 10.9):
        wide = 12 * noise
        kinks = [0.0, min(alpha, wide)]
        integral, _ = quad(moment, -wide, alpha + wide, (alpha,), points=kinks, limit=400, epsabs=0, epsrel=1e-11)
        want = math.log1p(integral) / (alpha - 1)
        assert found[np.isclose(rdp.ORDERS, alpha)] == pytest.approx(want, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("noise", [0.5, 1.0, 5.0])
def test_the_tight_accountants_give_the_gaussian_mechanism_its_analytic_epsilon(noise: float) -> None:
    pytest.importorskip("dp_accounting")
    value = epsilon([(noise, 1.0, 1)], accountant="gdp")
    # Balle and Wang, 2018, theorem 8
    phi = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))  # noqa: E731
    delta = phi(0.5 / noise - value * noise) - math.exp(value) * phi(-0.5 / noise - value * noise)
    assert delta == pytest.approx(1e-5, rel=1e-6)
    assert value <= epsilon([(noise, 1.0, 1)], accountant="pld") <= value * 1.001
    assert value <= epsilon([(noise, 1.0, 1)])


# ---------------------------------------------------------------- laws
@LAW
@given(NOISES, RATES, STEPS, DELTAS, QUICK, st.floats(1.01, 3))
def test_epsilon_grows_with_steps_and_rate_and_falls_with_noise_and_delta(
    noise: float, rate: float, steps: int, delta: float, accountant: str, factor: float
) -> None:
    value = epsilon([(noise, rate, steps)], delta, accountant)
    slack = 1e-9 * (1 + value)  # rounding of sums whose terms nearly cancel

    def other(noise: float = noise, rate: float = rate, steps: int = steps, delta: float = delta) -> float:
        return epsilon([(noise, rate, steps)], delta, accountant)

    assert 0 <= value < math.inf
    assert other(steps=math.ceil(steps * factor)) >= value - slack
    if accountant == "rdp" or rate * factor < 1:  # gdp is exact at rate 1 and a limit below it
        assert other(rate=min(1.0, rate * factor)) >= value - slack
    assert other(noise=noise * factor) <= value + slack
    assert other(delta=min(0.5, delta * factor)) <= value + slack


@LAW
@given(st.lists(st.tuples(NOISES, RATES, st.integers(0, 1000)), max_size=4), QUICK, st.randoms())
def test_a_history_composes_in_any_order_and_any_parts(history: list[Any], accountant: str, random: Any) -> None:
    whole = spent(history, 1e-5, accountant)
    parts = [(s, q, k) for s, q, n in history for k in (n // 3, n - n // 3)]
    random.shuffle(parts)
    again = spent(parts, 1e-5, accountant)
    assert again.epsilon == pytest.approx(whole.epsilon, rel=1e-9) and again.steps == whole.steps
    for entry in history:
        assert epsilon([entry], accountant=accountant) <= whole.epsilon * (1 + 1e-9)


@LAW
@given(NOISES, RATES, STEPS)
def test_amplification_never_makes_it_worse_than_the_full_batch(noise: float, rate: float, steps: int) -> None:
    assert epsilon([(noise, rate, steps)]) <= epsilon([(noise, 1.0, steps)]) * (1 + 1e-9)


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_a_mixed_history_lies_between_its_extremes(accountant: str) -> None:
    if accountant == "pld":
        pytest.importorskip("dp_accounting")
    mixed = epsilon([(1.0, 0.01, 500), (2.0, 0.01, 500)], accountant=accountant)
    low, high = (epsilon([(noise, 0.01, 1000)], accountant=accountant) for noise in (2.0, 1.0))
    assert low < mixed < high


# ---------------------------------------------------------------- the ends
@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_what_was_not_spent_is_nothing_and_no_noise_is_no_privacy(accountant: str) -> None:
    if accountant == "pld":
        pytest.importorskip("dp_accounting")
    for nothing in ([], [(1.0, 0.5, 0)], [(1.0, 0.0, 9)], [(math.inf, 0.5, 9)], [(0.0, 0.0, 9)], [(0.0, 0.5, 0)]):
        assert epsilon(nothing, accountant=accountant) == 0
    for noise in (0.0, 1e-200):
        assert epsilon([(noise, 0.5, 1)], accountant=accountant) == math.inf
    assert epsilon([(1e9, 0.5, 3)], accountant=accountant) < 0.2
    if accountant != "gdp":  # whose e^(1 / noise^2) is no number here
        assert 1e3 < epsilon([(0.01, 0.5, 3)], accountant=accountant) < math.inf


def test_epsilon_is_at_hand_in_an_instant() -> None:
    taken = []
    for steps in range(1000, 1005):
        rdp._step.cache_clear()
        start = time.process_time()
        spent([(0.7, 0.31, steps), (1.4, 1 / steps, steps)], 1e-6)
        taken.append(time.process_time() - start)
    assert min(taken) < 0.02


# ---------------------------------------------------------------- parity
@pytest.mark.filterwarnings("ignore")
def test_rdp_is_that_of_opacus() -> None:
    accountants = pytest.importorskip("opacus.accountants", exc_type=ImportError)
    other = accountants.RDPAccountant()
    for history in [*([entry] for entry in GRID), GRID[20:23], GRID[::9]]:
        other.history = history
        want = other.get_epsilon(1e-5)  # one below 0 stands for 0
        assert epsilon(history) == pytest.approx(max(0.0, want), rel=1e-6)


def test_rdp_is_that_of_dp_accounting_at_whole_orders() -> None:
    """At the others it adds the terms of the series without their signs, a looser bound; and it says 0 where the total
    variation is below delta, which the conversion alone does not see."""
    accounting = pytest.importorskip("dp_accounting")
    renyi = pytest.importorskip("dp_accounting.rdp")
    orders, compared = rdp.ORDERS[rdp.ORDERS == np.floor(rdp.ORDERS)], 0
    for noise, rate, steps in GRID:
        event = accounting.PoissonSampledDpEvent(rate, accounting.GaussianDpEvent(noise))
        other = renyi.RdpAccountant(list(orders)).compose(event, steps)
        (want, order), (value, own) = (
            other.get_epsilon_and_optimal_order(1e-5),
            rdp.epsilon([(noise, rate, steps)], 1e-5),
        )
        assert want == 0 or value <= want * (1 + 1e-9)  # more orders, never more epsilon
        if want and own in orders:
            assert value == pytest.approx(want, rel=1e-6) and own == order
            compared += 1
    assert compared > len(GRID) / 4


@pytest.mark.filterwarnings("ignore")
def test_gdp_is_that_of_opacus_on_samples() -> None:
    accountants = pytest.importorskip("opacus.accountants", exc_type=ImportError)
    other, compared = accountants.GaussianAccountant(), 0
    for entry in GRID:
        value = epsilon([entry], accountant="gdp")
        if 0 < value < 300:  # outside, the other's root is not bracketed, or its exponential overflows
            other.history, compared = [entry], compared + 1
            assert value == pytest.approx(other.get_epsilon(1e-5), rel=1e-6, abs=1e-9)
    assert compared > len(GRID) / 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", TIGHT, ids=str)
def test_pld_agrees_with_opacus_prv_within_its_error(entry: tuple[float, float, int]) -> None:
    """Both bound one number from above. PRV's bound is the estimate plus its `eps_error` of 0.01 and a margin of delta;
    ours is within a part in a thousand of the truth: so ours is at most theirs, and less by no more than 0.02."""
    pytest.importorskip("dp_accounting")
    accountants = pytest.importorskip("opacus.accountants", exc_type=ImportError)
    other = accountants.PRVAccountant()
    other.history = [entry]
    want, value = other.get_epsilon(1e-5), epsilon([entry], accountant="pld")
    assert want - 0.02 <= value <= want
    assert value <= epsilon([entry])  # rdp is a bound of the same thing


def test_gdp_understates_what_pld_bounds_and_says_so() -> None:
    pytest.importorskip("dp_accounting")
    history = [(0.6, 0.004, 300)]
    limit, bound = (spent(history, 1e-5, accountant) for accountant in ("gdp", "pld"))
    assert limit.epsilon < 0.8 * bound.epsilon
    assert not limit.bound and bound.bound and "LARGER" in str(limit) and "LARGER" not in str(bound)


# ---------------------------------------------------------------- words
def test_spent_says_everything_its_number_rests_on() -> None:
    said = str(spent([(1.1, 0.01, 100), (1.3, 0.02, 1), (1.1, 0.01, 50)], 1e-5))
    for words in (
        "epsilon 1.", "delta 1e-05", "an upper bound by RDP", "add or remove one record", "Poisson",
        "probability 0.01 or 0.02", "150 steps of noise multiplier 1.1 and 1 step of noise multiplier 1.3",
    ):  # fmt: skip
        assert words in said
    assert "every record in every step" in str(spent([(1.0, 1.0, 1)], 1e-5))
    assert "nothing is protected" in str(spent([(0.0, 1.0, 1)], 1e-5))
    assert spent([(1.0, 1.0, 1)], 1e-5, "gdp").claim == "exact"


def test_a_delta_too_large_for_the_records_is_said() -> None:
    assert not spent([(1.0, 0.1, 10)], 1e-5, records=60_000).notes
    (note,) = spent([(1.0, 0.1, 10)], 1e-3, records=60_000).notes
    assert "Delta 0.001 is larger than 1 / 60000" in note


def test_an_order_at_the_end_of_the_list_is_said() -> None:
    assert "pld gives a smaller epsilon" in str(spent([(100.0, 0.01, 10)], 1e-5))


# ---------------------------------------------------------------- planning
@LAW
@given(st.floats(0.3, 20), st.floats(1e-8, 1e-3), RATES, STEPS, QUICK)
def test_planned_noise_spends_the_target_and_no_more(
    target: float, delta: float, rate: float, steps: int, accountant: str
) -> None:
    try:
        noise = noise_for(target, delta, rate, steps, accountant)
    except SondeError as error:
        assert "no noise reaches" in error.cause and accountant == "rdp"
        return
    assert 0.999 * target <= epsilon([(noise, rate, steps)], delta, accountant) <= target


def test_noise_planned_by_pld_is_the_least() -> None:
    pytest.importorskip("dp_accounting")
    noise = noise_for(2.0, 1e-5, 0.05, 200, "pld")
    assert 0.999 * 2.0 <= epsilon([(noise, 0.05, 200)], 1e-5, "pld") <= 2.0
    assert noise < noise_for(2.0, 1e-5, 0.05, 200)
    small = noise_for(0.05, 1e-5, 0.01, 100, "pld")  # rdp cannot show it
    assert epsilon([(small, 0.01, 100)], 1e-5, "pld") <= 0.05


def test_what_was_spent_before_asks_for_more_noise() -> None:
    before = [(1.0, 0.01, 500)]
    noise = noise_for(3.0, 1e-5, 0.01, 1000, before=before)
    assert noise > noise_for(3.0, 1e-5, 0.01, 1000)
    assert 0.999 * 3.0 <= epsilon([*before, (noise, 0.01, 1000)]) <= 3.0
    with pytest.raises(SondeError, match="earlier steps spent a part"):
        noise_for(1.0, 1e-5, 0.01, 1000, before=[(0.5, 0.1, 1000)])


@LAW
@given(st.floats(0.5, 20), st.floats(0.5, 5), st.floats(1e-4, 1), QUICK)
def test_steps_within_are_the_last_that_fit(target: float, noise: float, rate: float, accountant: str) -> None:
    steps = steps_within(target, 1e-5, noise, rate, accountant)
    assert epsilon([(noise, rate, steps)], accountant=accountant) <= target
    assert epsilon([(noise, rate, steps + 1)], accountant=accountant) > target


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf])
def test_a_target_that_is_none_is_refused(target: float) -> None:
    with pytest.raises(SondeError, match="target epsilon is"):
        noise_for(target, 1e-5, 0.1, 10)


def test_impossible_targets_say_why_and_what_to_do() -> None:
    with pytest.raises(SondeError, match=r"no noise reaches epsilon 0.05 .* the least is 0.103[\s\S]*accountant='pld'"):
        noise_for(0.05, 1e-5, 0.01, 100)
    with pytest.raises(SondeError, match="protects nothing"):
        noise_for(1e9, 1e-5, 0.5, 10)
    for rate, steps in ((0.0, 10), (0.1, 0)):
        with pytest.raises(SondeError, match="no record is drawn"):
            noise_for(1.0, 1e-5, rate, steps)
    with pytest.raises(SondeError, match="any number of steps"):
        steps_within(1.0, 1e-5, math.inf, 0.1)
    assert steps_within(0.5, 1e-5, 0.5, 1.0) == 0


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 2.0, math.nan])
def test_a_delta_outside_its_range_is_refused(delta: float) -> None:
    with pytest.raises(SondeError, match="delta is"):
        spent([(1.0, 0.1, 1)], delta)


@pytest.mark.parametrize(
    "entry, cause",
    [
        ((-1.0, 0.1, 1), "noise multiplier is -1"),
        ((math.nan, 0.1, 1), "noise multiplier is nan"),
        ((1.0, 1.1, 1), "sampling rate is 1.1"),
        ((1.0, -0.1, 1), "sampling rate is -0.1"),
        ((1.0, 0.1, 1.5), "1.5 is no number of steps"),
        ((1.0, 0.1, -1), "-1 is no number of steps"),
        ((1.0, 0.1), "no part of a history"),
        (("much", 0.1, 1), "no part of a history"),
    ],
)
def test_a_history_that_is_none_is_refused(entry: Any, cause: str) -> None:
    with pytest.raises(SondeError, match=cause):
        spent([entry], 1e-5)


def test_an_accountant_that_is_none_is_refused() -> None:
    with pytest.raises(SondeError, match=r"no accountant 'prv'[\s\S]*rdp, gdp, pld"):
        spent([(1.0, 0.1, 1)], 1e-5, "prv")


def test_pld_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    with pytest.raises(SondeError, match=r"dp-accounting, which is not installed\n  pip install 'sonde\[private\]'"):
        spent([(1.234, 0.1234, 7)], 1e-5, "pld")


# ---------------------------------------------------------------- pure mechanisms beside the steps
EVERY = st.sampled_from(["rdp", "gdp"])


@LAW
@given(NOISES, RATES, st.integers(1, 5000), st.lists(st.floats(1e-4, 2), max_size=6), EVERY)
def test_pure_mechanisms_add_something_and_at_most_their_sum(
    noise: float, rate: float, steps: int, pure: list[float], accountant: str
) -> None:
    alone, both = (spent([(noise, rate, steps)], 1e-5, accountant, None, p).epsilon for p in ((), pure))
    assert alone - 1e-9 <= both
    if accountant == "rdp":
        assert both <= alone + sum(pure) + 1e-9
    assert spent([], 1e-5, "rdp", None, pure).epsilon <= sum(pure) + 1e-12


def test_a_pure_mechanism_has_the_renyi_divergence_of_randomised_response() -> None:
    e = 0.7
    p = math.exp(e) / (1 + math.exp(e))
    for alpha, found in zip(rdp.ORDERS, rdp.rdp((), [e]), strict=True):
        exact = math.log(p**alpha * (1 - p) ** (1 - alpha) + (1 - p) ** alpha * p ** (1 - alpha)) / (alpha - 1)
        assert found == pytest.approx(exact, rel=1e-9) and found <= alpha * e * e / 2 + 1e-12


def test_a_pure_mechanism_is_gdp_by_the_corner_of_its_trade_off() -> None:
    from scipy.stats import norm

    mu = gdp.mu((), [1.3])
    for alpha in np.linspace(0, 1, 101):
        pure = max(0.0, 1 - math.exp(1.3) * alpha, math.exp(-1.3) * (1 - alpha))
        assert norm.cdf(norm.ppf(1 - alpha) - mu) <= pure + 1e-12
    assert norm.cdf(-mu / 2) == pytest.approx(1 / (1 + math.exp(1.3)))


def test_pld_with_pure_mechanisms_is_a_bound_and_no_looser_than_rdp() -> None:
    history, pure = [(1.1, 0.01, 300)], (0.05,) * 6
    alone, both = spent(history, 1e-5, "pld"), spent(history, 1e-5, "pld", None, pure)
    assert alone.epsilon < both.epsilon <= spent(history, 1e-5, "rdp", None, pure).epsilon
    # randomised response six times, whose loss is 0.05 times a sum of signs, beside the steps: never below the truth
    assert both.epsilon >= spent([*history, (1 / 0.05, 1.0, 5)], 1e-5, "pld").epsilon * 0.97


def test_planned_noise_leaves_room_for_pure_mechanisms() -> None:
    noise = noise_for(2.0, 1e-5, 0.01, 500, pure=(0.1,) * 5)
    assert 1.99 < spent([(noise, 0.01, 500)], 1e-5, pure=(0.1,) * 5).epsilon <= 2.0
    assert noise > noise_for(2.0, 1e-5, 0.01, 500)
    with pytest.raises(SondeError, match="beside the steps spent a part"):
        noise_for(0.5, 1e-5, 0.01, 500, pure=(3.0,))


def test_pure_mechanisms_are_said_and_checked() -> None:
    said = str(spent([(1.1, 0.01, 100)], 1e-5, pure=(0.03, 0.04)))
    assert "2 pure mechanisms that cost as one of epsilon 0.05" in said
    assert spent([(1.0, 1.0, 5)], 1e-5, "gdp", None, (0.1,)).claim == "upper bound"
    with pytest.raises(SondeError, match="pure mechanism"):
        spent([], 1e-5, pure=(-1.0,))


@LAW
@given(st.floats(1e-6, 1e6))
def test_a_bound_is_rounded_up(epsilon: float) -> None:
    shown = float(rounded_up(epsilon))
    assert epsilon * (1 - 1e-9) <= shown <= epsilon * 1.011
