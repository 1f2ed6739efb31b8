"""Quantiles of one column that hide who is in it, by the exponential mechanism.

Exponential mechanism: McSherry and Talwar, Mechanism design via differential privacy, 2007: an answer r is drawn with
density proportional to m(r) exp(eps u(r) / (2 D)), where adding or removing a record changes the utility u by at most D
and the base measure m knows nothing of the data. That is eps-DP. For a quantile it is due to Smith, Privacy-preserving
statistical estimation with optimal convergence rates, 2011, section 3.1. Many quantiles are found by halving (Kaplan,
Schnapp and Stemmer, Differentially private approximate quantiles, 2022): first the median, then the medians of the rows
below it and of those above it, and so on. A record is on one side of each, so a level of the tree costs what one median
costs. Deliberate differences from the papers:

- Nothing need be known of the range. The median is drawn from all numbers up to 2^63, on a scale that is logarithmic
  for both signs (1/1024 to 2/1024 is as likely beforehand as 1 million to 2 million), and for each side of it the
  first power of 2 that few of its records exceed is found by the sparse vector technique (Dwork and Roth, The
  algorithmic foundations of differential privacy, 2014, section 3.6; with the noise of Lyu, Su and Li, 2017, theorem 5,
  for counts, which a record moves all one way): what lies far beyond the data is never asked about.
- Zero is an answer of its own, since many columns are mostly zero. Records that are exactly zero are told apart by a
  number in [0, 1) of each, which has nothing to do with the data, so that halving goes on within them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# n records, C answers to draw from

LARGEST = 2.0**63
UNIT = 2.0**-10  # below it the scale is linear
SPLITS = 16  # at how many places the records that are zero can be divided
BOUNDS: Floats = np.concatenate([[0.0], 2.0 ** np.arange(-30, 64)])  # of how far a side reaches
FEW = 10.0  # records that may lie beyond a side's bound, times epsilon: five times the noise
DEEPEST = 5


@dataclass(frozen=True)
class Plan:
    """How the privacy of one column is divided, from public numbers alone.

    levels: of halving, so that there are 2**levels - 1 quantiles. level: epsilon of each of them. bound: epsilon of the
    bounds, 0 where they are public.
    """

    levels: int
    level: float
    bound: float

    @property
    def pure(self) -> tuple[float, ...]:
        """The epsilons of the pure mechanisms, one after the other."""
        return (*(self.bound,) * (self.bound > 0), *(self.level,) * self.levels)

    @staticmethod
    def of(epsilon: float, rows: int, bounded: bool = False) -> Plan:
        """The plan for a column that costs sqrt(sum of squared epsilons) = epsilon.

        As many levels as leave a part of the deepest enough records to find its median among. rows: taken as public.
        """

        def plan(levels: int) -> Plan:
            level = epsilon / math.sqrt(levels + (0 if bounded else 4))
            return Plan(levels, level, 0.0 if bounded else 2 * level)

        fitting = [p for p in map(plan, range(2, DEEPEST + 1)) if rows / 2**p.levels * p.level >= 8]
        return fitting[-1] if fitting else plan(2)


def probabilities(utility: Floats, mass: Floats, epsilon: float, sensitivity: float) -> Floats:
    """The exponential mechanism's probabilities (C,): of mass m_c exp(epsilon u_c / (2 sensitivity)).

    >>> probabilities(np.array([0.0, -1.0]), np.array([1.0, 1.0]), epsilon=2.0, sensitivity=1.0).round(3).tolist()
    [0.731, 0.269]
    """
    with np.errstate(divide="ignore"):
        logits = np.log(mass) + epsilon * utility / (2 * sensitivity)
    weights = np.exp(logits - logits.max())
    shares: Floats = weights / weights.sum()
    return shares


def scale(x: Floats) -> Floats:
    """Where numbers stand on the scale on which an answer is drawn evenly: the logarithm of both signs."""
    held = np.clip(x, -LARGEST, LARGEST)
    found: Floats = np.sign(held) * np.log2(1 + np.abs(held) / UNIT)
    return found


def unscale(s: Floats) -> Floats:
    """The inverse of `scale`."""
    found: Floats = np.sign(s) * (np.exp2(np.abs(s)) - 1) * UNIT
    return found


@dataclass(frozen=True)
class Answers:
    """Where a median can be: even pieces [left, right] of the scale, and zero at SPLITS divisions of its records.

    Adding or removing a record changes `utility`, minus half the difference of the numbers below and above, by 1/2.
    """

    left: Floats
    right: Floats
    part: Floats
    mass: Floats
    utility: Floats

    @staticmethod
    def of(s: Floats, u: Floats, low: float, high: float) -> Answers:
        """s: (n,) records on the scale, sorted, within [low, high]. u: (n,) in [0, 1)."""
        n = len(s)
        left, right = np.concatenate([[low], s]), np.concatenate([s, [high]])
        below = np.arange(n + 1)
        part, mass = np.zeros(n + 1), right - left
        if low <= 0 <= high:
            places = (np.arange(SPLITS) + 0.5) / SPLITS
            zeros = np.sort(u[s == 0])
            at = np.searchsorted(s, 0.0) + np.searchsorted(zeros, places)
            left, right = (np.concatenate([v, np.zeros(SPLITS)]) for v in (left, right))
            below, part = np.concatenate([below, at]), np.concatenate([part, places])
            mass = np.concatenate([mass, np.ones(SPLITS)])  # all of them: as likely beforehand as 16 doublings
        return Answers(left, right, part, mass, -np.abs(2.0 * below - n) / 2)


def _median(
    s: Floats, u: Floats, low: float, high: float, epsilon: float, rng: np.random.Generator
) -> tuple[float, float]:
    """A private median on the scale, and the part of the records equal to it that counts as below."""
    if not high > low:
        return low, 0.5
    answers = Answers.of(s, u, low, high)
    shares = probabilities(answers.utility, answers.mass, epsilon, 0.5)
    chosen = int(rng.choice(len(shares), p=shares))
    left, right = answers.left[chosen], answers.right[chosen]
    return float(left + rng.random() * (right - left)), float(answers.part[chosen])


def beyond(distances: Floats) -> NDArray[np.int64]:
    """How many of the distances exceed each of BOUNDS. A record more adds 1 to some, and takes from none."""
    found: NDArray[np.int64] = len(distances) - np.searchsorted(np.sort(distances), BOUNDS, side="right")
    return found


def _bound(distances: Floats, epsilon: float, rng: np.random.Generator) -> float:
    """The first of BOUNDS that few of the distances seem to exceed."""
    few = FEW / epsilon + rng.laplace(scale=2 / epsilon)
    noisy = beyond(distances) + rng.laplace(scale=2 / epsilon, size=len(BOUNDS))
    return float(BOUNDS[int(np.argmax(noisy <= few))] if (noisy <= few).any() else BOUNDS[-1])


def private_quantiles(
    x: Floats, plan: Plan, rng: np.random.Generator, low: float | None = None, high: float | None = None
) -> Floats:
    """Lowest value, 2**levels - 1 quantiles at even steps, and highest value of a column, rising.

    x: (n,) one number a record; what is not finite (missing) is left out. low, high: public bounds, if both are known;
    else they are found. The answer is differentially private at the costs `plan.pure`, if one record more or less is to
    be hidden and rng's numbers are secret. Nothing else about the data enters it, its length included.

    >>> rng = np.random.default_rng(0)
    >>> private_quantiles(rng.normal(50, 10, 20_000), Plan.of(1.0, 20_000), rng)[[8, 16, 24]].round()
    array([43., 50., 57.])
    """
    x = np.asarray(x, np.float64)
    x = x[np.isfinite(x)]
    u = rng.random(len(x))
    public = low is not None and high is not None
    s = scale(x)
    ends = scale(np.array([low, high] if public else [-LARGEST, LARGEST], np.float64))
    s = np.clip(s, *ends)
    order = np.lexsort((u, s))
    s, u = s[order], u[order]
    middle, part = _median(s, u, float(ends[0]), float(ends[1]), plan.level, rng)
    is_below = (s < middle) | ((s == middle) & (u < part))
    sides = []
    for side, sign in ((is_below, -1.0), (~is_below, 1.0)):
        end = float(ends[0 if sign < 0 else 1])
        if not public:
            centre = float(unscale(np.array(middle)))
            reach = _bound(np.abs(unscale(s[side]) - centre), plan.bound, rng)
            end = float(scale(np.array(centre + sign * reach)))
        low_s, high_s = (end, middle) if sign < 0 else (middle, end)
        held = np.clip(s[side], low_s, high_s)
        sides.append((low_s, high_s, _halved(held, u[side], low_s, high_s, plan.levels - 1, plan.level, rng)))
    (bottom, _, lower), (_, top, upper) = sides
    return unscale(np.array([bottom, *lower, middle, *upper, top]))


def _halved(
    s: Floats, u: Floats, low: float, high: float, levels: int, epsilon: float, rng: np.random.Generator
) -> list[float]:
    if levels == 0:
        return []
    order = np.lexsort((u, s))
    s, u = s[order], u[order]
    middle, part = _median(s, u, low, high, epsilon, rng)
    below = (s < middle) | ((s == middle) & (u < part))
    left = _halved(s[below], u[below], low, middle, levels - 1, epsilon, rng)
    return [*left, middle, *_halved(s[~below], u[~below], middle, high, levels - 1, epsilon, rng)]
