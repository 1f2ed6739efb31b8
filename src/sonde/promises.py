"""What private training promises, in words for whoever reads a report or a model's card, and what it does not.

Entry: differential privacy.
"""

from __future__ import annotations

import math
from typing import Any

from sonde.core import Run
from sonde.privacy import Spent, rounded_up, spent_by
from sonde.privacy.spending import METHODS
from sonde.report.facts import Aspect, Privacy
from sonde.report.plain import to_plain
from sonde.report.words import power, share

VAGUE = 10.0  # an epsilon from which a bound tells next to nothing: odds of 22,000 to one

UNCOVERED = (
    Aspect(
        "This page and the logs",
        "The training loss and its curve, the counts of classes, values and missing entries, and the simpler models "
        "beside the net are computed from training rows without noise. Share the model, not these.",
    ),
    Aspect(
        "Validation and test rows",
        "They are not protected. Early stopping, the best checkpoint and whatever is chosen by their scores read them "
        "as they are: right only where those rows need no protection.",
    ),
    Aspect(
        "Choosing settings",
        "Every run on these records spends privacy of its own. Trying several and keeping the best costs more than "
        "the epsilon of the one that was kept.",
    ),
    Aspect(
        "Names read from the data",
        "The names of columns, categories and classes, what kind each column is, and the number of rows are taken as "
        "public: the model holds them as they were found.",
    ),
    Aspect(
        "Checkpoints",
        "They hold the stream of noise and the seed of the sampling, with which the noise can be taken away. They are "
        "as secret as the data: guard or delete them.",
    ),
    Aspect(
        "Arithmetic",
        "The noise comes from a fast generator, started from the system's entropy, that is no cipher; and sums in "
        "floating point are not the real numbers of the proofs.",
    ),
)

INSECURE = "insecure_seed was given: who knows it can take the noise away, so that nothing is promised to anybody"


def privacy_of(run: Run) -> Privacy | None:
    """What the run has spent so far and what that means; None where no method is private."""
    found = spent_by(run.methods)
    if found is None:
        return None
    records = max((int(getattr(m, "records", 0) or 0) for m in run.methods if hasattr(m, "spent")), default=0)
    insecure = any(getattr(m, "insecure_seed", None) is not None for m in run.methods)
    return told(found, records, insecure)


def told(spent: Spent, records: int, insecure: bool = False) -> Privacy:
    """What was spent on so many records, as a report says it. insecure: noise that a given seed repeats."""
    return Privacy(
        epsilon=spent.epsilon,
        delta=spent.delta,
        accountant=spent.accountant,
        claim=spent.claim,
        sampling=spent.sampling,
        neighbours=spent.neighbours,
        steps=spent.steps,
        history=spent.history,
        pure=spent.pure,
        records=records,
        insecure=insecure,
        notes=spent.notes,
        sentence=f"{INSECURE}; without it: {spent}" if insecure else str(spent),
        shown=_shown(spent, insecure),
        promise=_promise(spent, records, insecure),
        rests=_rests(spent, records),
        uncovered=UNCOVERED,
    )


def numbers(privacy: Privacy) -> dict[str, Any]:
    """The numbers and the sentence as plain data, for files that hold more than the report's words."""
    plain = to_plain(privacy)
    return {k: v for k, v in plain.items() if k not in ("shown", "promise", "rests", "uncovered")}


def in_a_line(privacy: Privacy) -> str:
    """What was spent, for a person at a terminal."""
    if privacy.insecure:
        return f"none: {INSECURE}"
    if not math.isfinite(privacy.epsilon):
        return "none: there was no noise"
    claim = {"upper bound": "an upper bound", "approximation": "an approximation, NOT a bound", "exact": "exact"}
    return (
        f"{privacy.shown}, delta {power(privacy.delta)}: {claim[privacy.claim]} by {privacy.accountant}, see the report"
    )


def _shown(spent: Spent, insecure: bool) -> str:
    if insecure or not math.isfinite(spent.epsilon):
        return "none"
    sign = {"upper bound": "≤", "approximation": "≈", "exact": "="}[spent.claim]
    return f"epsilon {sign} {rounded_up(spent.epsilon)}"


def _promise(spent: Spent, records: int, insecure: bool) -> str:
    if insecure:
        return f"Nothing: {INSECURE}."
    if not math.isfinite(spent.epsilon):
        return "Nothing: there was no noise."
    among = f"the {records:,} records" if records else "the records"
    shown = rounded_up(spent.epsilon)
    said = (
        f"Whoever has the model can hardly tell whether any one record was among {among} it was trained on, even "
        f"knowing all the others. Nothing they see is more than e^{shown} = {_times(spent.epsilon)} times as likely "
        f"with that record as without it, or the other way round, but for a probability of {power(spent.delta)}. "
        f"A guess that stood at 50 to 50 ends at most at {share(_certainty(spent.epsilon))}."
    )
    if spent.epsilon >= VAGUE:
        said += " A bound as wide as this promises next to nothing."
    if not spent.bound:
        said += " This epsilon is an approximation, and the true one can be larger: rest no promise on it."
    return said


def _times(epsilon: float) -> str:
    """e^epsilon to three digits, never below what it is."""
    times = float(rounded_up(math.exp(min(epsilon, 700.0))))
    return f"{times:,g}" if times < 1e6 else f"{times:.1e}"


def _certainty(epsilon: float) -> float:
    """e^epsilon / (1 + e^epsilon), rounded up to a tenth of a per cent."""
    return min(1.0, math.ceil(1000 / (1 + math.exp(-epsilon))) / 1000)


def _rests(spent: Spent, records: int) -> tuple[Aspect, ...]:
    steps = f"{spent.steps:,} noisy {'step' if spent.steps == 1 else 'steps'}"
    noise = " and ".join(f"{n:,} with {s:.4g} times the clipping bound" for s, _, n in spent.history) or "none"
    found = [
        Aspect(
            "Who is protected",
            "Each record: one row of the training split, by adding or removing it. Someone with k rows has k times "
            "this epsilon, and a larger delta.",
        ),
        Aspect("Noise", f"{steps}: {noise}. Each record's gradient is clipped before they are added."),
        Aspect("Sampling", f"{spent.sampling[:1].upper()}{spent.sampling[1:]}."),
        Aspect("Counted by", f"{METHODS[spent.accountant]}, which gives {_claim(spent)}."),
    ]
    if spent.pure:
        length = math.sqrt(math.fsum(e * e for e in spent.pure))
        found.insert(
            2,
            Aspect(
                "Statistics of the inputs",
                f"Private quantiles found before the first step, which cost as one mechanism of epsilon {length:.3g} "
                "and are part of the total.",
            ),
        )
    return tuple(found)


def _claim(spent: Spent) -> str:
    return {
        "upper bound": "an upper bound: the true epsilon is not larger",
        "approximation": "an approximation: the true epsilon can be larger",
        "exact": "the exact value",
    }[spent.claim]
