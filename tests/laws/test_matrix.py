"""Law: every pair of methods on every objective trains, resumes to the same bits, and adds nothing at zero strength;
or it is refused in words before a parameter has moved. There is no third outcome.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from sonde import matrix
from sonde.cli.grid import read
from sonde.core import Budget, Event, Method, Objective, Run, Settled, SondeError, Started, fit
from sonde.core.method import defines
from sonde.core.state import flatten, unflatten
from sonde.matrix import Trial, assemble, attempt
from tests.laws.examples import EXAMPLES, ROUNDED, ZERO, on_trial

METHODS, TRIALS = matrix.methods(), matrix.trials()
STEPS = 9  # of each of two stages: three epochs
Kinds = tuple[type[Method], ...]


# ---------------------------------------------------------------- what is compared
def same(a: Any, b: Any) -> bool:
    """Bit for bit; NaN equals NaN."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def timeless(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in state.items() if k not in ("seconds", "elapsed")}


def written(state: Any) -> Any:
    """What a state is after it has been on the disk."""
    tensors, structure = flatten(state)
    return unflatten(tensors, json.loads(json.dumps(structure)))


def own_loss(objective: Objective, trial: Trial, turn: str, params: dict[str, Tensor]) -> float:
    """The objective's own loss (no method's terms) of the training rows as they are, without dropout, at `params`."""
    training = [m for m in objective.modules() if m.training]
    objective.eval()
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        batch = trial.data.batch(trial.data.splits["train"])
        value = functional_call(objective, params, (turn, batch)).total().item()
    for m in training:
        m.training = True
    return float(value)


class At(Method):
    """Does `what` when so many steps have settled, and keeps the parameters that training began with."""

    def __init__(self, step: int, what: Callable[[Run], None]) -> None:
        self.step, self.what = step, what
        self.start: dict[str, Tensor] = {}

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Started) and not self.start:  # what a method draws or scales before is where it begins
            self.start = {k: p.detach().clone() for k, p in run.objective.named_parameters()}
        if isinstance(event, Settled) and not event.final and run.step == self.step:
            self.what(run)


# ---------------------------------------------------------------- a pair that trains
def defects(kinds: Kinds, trial: Trial, folder: Path) -> list[str]:
    """What is wrong with a pair that trains, in words; nothing if nothing is."""
    kept: list[Any] = []
    keep = At(STEPS + STEPS // 2, lambda run: kept.append(written(run.state_dict())))
    built = assemble(kinds, trial, on_trial, folder / "whole", keep)
    turns = list(built.objective.players())
    for _ in range(2):
        fit(built, trial.source(), Budget(steps=STEPS))
    start = {k: p for k, p in keep.start.items() if any(k in built.params(turn) for turn in turns)}
    found = []
    # Both with the buffers of the end: a regression's scale, say, is measured when the run starts.
    before, after = (own_loss(built.objective, trial, turns[0], p) for p in (start, {}))
    if trial.name == "gan":  # what one player loses the other wins: neither falls for certain
        still = [t for t in turns if all(torch.equal(p, start[k]) for k, p in built.params(t).items() if k in start)]
        if not after < float("inf") or still:
            found.append(f"loss {after}, players that did not move: {still}")
    elif not after < before:
        found.append(f"the loss does not fall: {before:.4f} to {after:.4f}")
    if not kept:
        found.append(f"ended after {built.step} steps")
    else:
        rest = assemble(kinds, trial, on_trial, folder / "whole", At(0, lambda run: None))
        torch.manual_seed(99)
        rest.load_state_dict(kept[0])
        if rest.step != STEPS + STEPS // 2:
            found.append(f"resumes at step {rest.step}")
        fit(rest, trial.source(), Budget(steps=STEPS))
        wrong = [k for k, v in timeless(built.state_dict()).items() if not same(v, rest.state_dict()[k])]
        if wrong:
            found.append(f"resumed with another {', '.join(wrong)}")
        elif not same(built.weights(), rest.weights()):
            found.append("resumed to other shipped weights")
    return found + [w for i in range(len(kinds)) if (w := adds_something(kinds, i, trial, folder))]


# ---------------------------------------------------------------- zero strength
def adds_something(kinds: Kinds, index: int, trial: Trial, folder: Path) -> str:
    """Two steps with method `index` at zero strength against two without it: what differs, or nothing."""
    kind, rest = kinds[index], kinds[:index] + kinds[index + 1 :]
    zero = ZERO[kind]
    if (
        isinstance(zero, str)
        or (matrix.fitted(kind, trial) and zero is not EXAMPLES[kind])
        or (not rest and defines_update(kind))
    ):
        return ""

    def at_zero(other: type[Method], trial: Trial, folder: Path) -> Method:
        if other is not kind or matrix.fitted(kind, trial):
            return on_trial(other, trial, folder)
        folder.mkdir(parents=True, exist_ok=True)
        return zero(folder)

    try:
        without = two_steps(rest, trial, on_trial, folder)
    except SondeError:
        return ""  # the rest needs the method's company: there is nothing to compare with
    off = two_steps(kinds, trial, at_zero, folder / "off")
    tolerance = 1e-5 if {*kinds} & ROUNDED else 0.0
    far = [k for k, v in without.items() if not torch.allclose(off[k], v, rtol=tolerance, atol=tolerance)]
    return f"{kind.__name__} at zero strength changes {far[0]}" if far else ""


def defines_update(kind: type[Method]) -> bool:
    return kind.update is not Method.update


def two_steps(kinds: Kinds, trial: Trial, make: matrix.Make, folder: Path) -> dict[str, Tensor]:
    """The parameters after two steps in which every hook, and the objective, draws the same numbers in any company."""
    run = assemble(kinds, trial, make, folder)
    for m in run.methods:  # a run looks a method's hooks up on the method itself
        for hook in ("batch", "loss", "grads"):
            if defines(m, hook):
                setattr(m, hook, seeded(getattr(m, hook), f"{type(m).__name__}.{hook}", run))
    run.objective.register_forward_pre_hook(
        lambda module, given: torch.default_generator.manual_seed(run.step) and None
    )
    source = run.chain("source", trial.source(), run)
    run.source, run.total = source, 2
    run.emit(Started(source))
    batches = source.batches(run)
    for _ in range(2):
        run.advance(next(batches))
    return {k: p.detach().clone() for k, p in run.objective.named_parameters()}


def seeded(hook: Callable[..., Any], name: str, run: Run) -> Callable[..., Any]:
    def called(*given: Any) -> Any:
        torch.default_generator.manual_seed(
            1000 * run.step + sum(map(ord, name))
        )  # the CPU's alone: five times as fast
        return hook(*given)

    return called


# ---------------------------------------------------------------- the laws
def test_every_method_has_a_zero_or_a_reason_for_none() -> None:
    assert set(ZERO) == set(METHODS) == set(EXAMPLES)
    assert all(zero.strip() for zero in ZERO.values() if isinstance(zero, str))


def unsaid(cell: matrix.Cell, kinds: Kinds) -> list[str]:
    """What is wrong with the words of a refusal."""
    lines = [cell.reason, cell.remedy]
    found = [f"not one line: {line!r}" for line in lines if not line.strip() or "\n" in line]
    named = {kind.__name__ for kind in METHODS} & set(" ".join(lines).replace("(", " ").replace(",", " ").split())
    return found or ([] if named else [f"names no method: {cell.reason}"])


# ---------------------------------------------------------------- the page
TEXT = (Path(__file__).resolve().parents[2] / "docs" / "matrix.md").read_text(encoding="utf-8")
PAGE = {name: read(part.splitlines()) for name, part in zip(TRIALS, TEXT.split("\n## ")[1:], strict=True)}


@pytest.mark.parametrize("name", TRIALS)
def test_the_page_shows_every_method_and_why_it_is_refused_alone(name: str) -> None:
    names = sorted(kind.__name__ for kind in METHODS)
    assert sorted({a for a, b in PAGE[name] if a == b}) == names, "run `make matrix`"
    part = " ".join(TEXT.split("\n## ")[1 + list(TRIALS).index(name)].split())
    alone = [attempt([kind], TRIALS[name]) for kind in METHODS]
    stale = [c.first for c in alone if PAGE[name][c.first, c.first] != c.outcome or f"{c.reason}" not in part]
    assert not stale, f"run `make matrix`: {stale}"


@pytest.mark.filterwarnings("ignore")  # what a method warns of is tested beside it
@pytest.mark.parametrize("name", TRIALS)
@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_a_pair_trains_or_is_refused(
    kind: type[Method], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no power fails here, and the disk is slower than the runs
    trial = TRIALS[name]
    wrong = []
    for number, other in enumerate(METHODS[METHODS.index(kind) :]):
        orders: list[Kinds] = [(kind,)] if other is kind else [(kind, other), (other, kind)]
        outcomes = [attempt(order, trial, on_trial) for order in orders]
        complaints = [c.reason for c in outcomes if c.outcome == "fails"]
        for order, outcome in zip(orders, outcomes, strict=True):
            if outcome.outcome == "refused":
                complaints += unsaid(outcome, order)
        trains = [order for order, outcome in zip(orders, outcomes, strict=True) if outcome.outcome == "trains"]
        if PAGE[name].get(tuple(sorted(k.__name__ for k in (kind, other)))) != ("trains" if trains else "refused"):
            complaints.append("docs/matrix.md says otherwise; run `make matrix`")
        if trains and not complaints:
            complaints += defects(trains[0], trial, tmp_path / str(number))
        wrong += [f"{' + '.join(k.__name__ for k in orders[0])}: {c}" for c in dict.fromkeys(complaints)]
    assert not wrong, f"{len(wrong)} defects\n" + "\n".join(wrong)
