"""Which methods go together: every pair of them, tried on four tiny problems.

A pair either trains or is refused with a reason and a remedy before any parameter has moved; there is no third outcome.
What is found here is what a user's run would meet: each cell is a run of a few steps, on pictures of 8 x 8.
"""

from __future__ import annotations

import inspect
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Event, Method, Objective, Run, SondeError, Started, fit
from sonde.core.backprop import NonFinite
from sonde.core.method import defines
from sonde.data.rows import Split
from sonde.names import catalogue

# N rows, C classes, H and W sides of a picture

CLASSES, SIDE, LATENT = 3, 8, 4
TRAIN, VAL, BATCH = 22, 10, 8  # rows; the last batch of an epoch is smaller, which has broken methods before


# ---------------------------------------------------------------- the problems
class Pictures:
    """A data set of small pictures, x (N, 1, H, W) in [0, 1]; 22 rows to train on, 10 to measure on."""

    def __init__(self, y: Tensor | None, **fields: Tensor) -> None:
        self.x, self.y, self.fields = pictures()[0], y, fields
        self.splits: Mapping[str, Tensor] = {"train": torch.arange(TRAIN), "val": torch.arange(TRAIN, TRAIN + VAL)}

    def batch(self, index: Tensor) -> Batch:
        """The rows `index`, with their numbers as `records`."""
        y = None if self.y is None else self.y[index]
        return Batch(self.x[index], y, index, {k: v[index] for k, v in self.fields.items()})


@cache
def pictures() -> tuple[Tensor, Tensor]:
    """Pictures (N, 1, H, W) and the class of each (N,): black, a chequerboard or white, under noise.

    A net of a convolution learns them in 20 steps, turned, cropped or mirrored as they may be.
    """
    g = torch.Generator().manual_seed(4)
    y = torch.randint(CLASSES, (TRAIN + VAL,), generator=g)
    line = torch.arange(SIDE)
    board = ((line[:, None] + line) % 2).float()
    kinds = torch.stack([torch.zeros(SIDE, SIDE), board, torch.ones(SIDE, SIDE)])  # (C, H, W)
    return 0.2 * torch.rand(len(y), 1, SIDE, SIDE, generator=g) + 0.8 * kinds[y][:, None], y


class Net(nn.Module):
    """A convolution and a linear layer, some 500 parameters: a step takes a fraction of a millisecond."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (N, 1, H, W) -> (N, outputs)."""
        answer: Tensor = self.net(x)
        return answer


@dataclass(frozen=True)
class Trial:
    """One tiny learning problem: what is minimised, the rows, and settings of methods (by class) that suit it."""

    name: str
    objective: Callable[[], Objective]
    data: Pictures
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def source(self) -> Split:
        """The training rows, in batches of 8."""
        return Split(self.data, "train", BATCH)


@cache
def trials() -> dict[str, Trial]:
    """The four learning problems, by name."""
    from sonde.objectives import GAN, Classify, Contrast, Regress

    def gan() -> Objective:
        generator = nn.Sequential(nn.Linear(LATENT, SIDE * SIDE), nn.Sigmoid(), nn.Unflatten(1, (1, SIDE, SIDE)))
        return GAN(generator, Net(1), LATENT, samples=8)

    x, y = pictures()
    g = torch.Generator().manual_seed(5)
    group = torch.randint(2, y.shape, generator=g)
    view = (x + 0.1 * torch.randn(x.shape, generator=g)).clamp(0, 1)
    unlabelled: dict[str, dict[str, Any]] = {"AGEM": {"keep": "reservoir"}, "EWC": {"fisher": "empirical"}}
    player: dict[str, dict[str, Any]] = {name: {"turn": "discriminator"} for name in ("FGSM", "PGD", "TRADES")}
    game = {
        **unlabelled,
        **player,
        "Checkpoint": {"every_steps": 2},
        "EarlyStopping": {"metric": "real_accuracy"},
        "ReduceOnPlateau": {"metric": "real_accuracy"},
        "Hint": {"turn": "discriminator", "layer": "discriminator.net.0"},
    }

    # A squared error on 64 bright pixels diverges at the rate at which a cross-entropy is learned.
    numbers = {**unlabelled, "Descend": {"make": partial(torch.optim.SGD, lr=0.01)}}

    def contrast() -> Objective:
        return Contrast(Net(6), nn.Linear(6, 4), temperature=0.2)

    found = [
        Trial("classification", lambda: Classify(Net(CLASSES)), Pictures(y, group=group)),
        Trial("regression", lambda: Regress(Net(1)), Pictures(2 * x.mean((2, 3)) - 1, group=group), numbers),
        Trial("gan", gan, Pictures(None), game),
        Trial("contrastive", contrast, Pictures(None, view=view), unlabelled),
    ]
    return {trial.name: trial for trial in found}


# ---------------------------------------------------------------- the methods
Make = Callable[[type[Method], Trial, Path], Method]


@cache
def methods() -> tuple[type[Method], ...]:
    """Every method class of the package, by name."""
    found = {e.make for e in catalogue("methods") if inspect.isclass(e.make) and issubclass(e.make, Method)}
    return tuple(sorted(found, key=lambda kind: kind.__name__))


# Where a method's defaults would do nothing here, or leave a choice open.
SETTINGS: dict[str, dict[str, Any]] = {
    "Backprop": {"microbatch": 5},
    "DPSGD": {"noise_multiplier": 1.0, "insecure_seed": 3},  # what is shown does not hang on a draw
    "PrivateInputs": {"insecure_seed": 3},
    "PGD": {"steps": 2},
    "Retention": {"split": "val"},
    "TRADES": {"steps": 2},
}


def construct(kind: type[Method], trial: Trial, folder: Path) -> Method:
    """The method with its defaults, and with what the problem offers for the parameters that have none."""
    given = {**SETTINGS.get(kind.__name__, {}), **trial.settings.get(kind.__name__, {})}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.default is parameter.empty and name not in given:
            if name not in OFFERS:
                raise TypeError(f"sonde.matrix has no {name!r} for {kind.__name__}: add it to OFFERS or SETTINGS")
            given[name] = OFFERS[name](trial, folder)
    return kind(**given)


def _teacher(trial: Trial, folder: Path) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(11)
        return Net(CLASSES)


def _stream(trial: Trial, folder: Path) -> Any:
    from sonde.data.streams import permuted

    return permuted(trial.data, tasks=2)


# By name, what stands for a parameter that has no default.
OFFERS: dict[str, Callable[[Trial, Path], Any]] = {
    "data": lambda trial, folder: trial.data,
    "stream": _stream,
    "classes": lambda trial, folder: CLASSES,
    "folder": lambda trial, folder: folder / "checkpoints",
    "path": lambda trial, folder: folder / "metrics.jsonl",
    "make": lambda trial, folder: partial(torch.optim.SGD, lr=0.05),
    "teacher": _teacher,
    "teacher_layer": lambda trial, folder: "net.0",
    "layer": lambda trial, folder: "net.net.0",
}


def fitted(kind: type[Method], trial: Trial) -> bool:
    """Whether the method must be constructed for this trial: it takes rows, or has settings that suit the objective."""
    return kind.__name__ in trial.settings or bool({"data", "stream"} & inspect.signature(kind).parameters.keys())


def assemble(kinds: Sequence[type[Method]], trial: Trial, make: Make, folder: Path, *extra: Method) -> Run:
    """A run with the methods in the order given, validation before them, and Adam where no method moves parameters."""
    from sonde.methods import Validate, adam

    torch.manual_seed(0)
    objective = trial.objective()
    chosen = [make(kind, trial, folder) for kind in kinds]
    before = [] if any(isinstance(m, Validate) for m in chosen) else [Validate(trial.data)]
    rule = [] if any(defines(m, "update") for m in chosen) else [adam(0.01)]
    return Run(objective, [*before, *chosen, *rule, *extra])


# ---------------------------------------------------------------- a cell
@dataclass(frozen=True)
class Cell:
    """What became of a pair of methods on one objective.

    first, second: the methods by name, in an order that trains where one does; equal where a method is alone.
    outcome: `trains`; `refused`, with the reason and the remedy; `fails`, which is a defect, with what happened.
    """

    first: str
    second: str
    objective: str
    outcome: str
    reason: str = ""
    remedy: str = ""


def cell(pair: Sequence[type[Method]], trial: Trial, make: Make = construct) -> Cell:
    """Try one method, or two in either order, on a trial."""
    found = [attempt(pair, trial, make)]
    if found[0].outcome == "refused" and len(pair) == 2:
        found.append(attempt(pair[::-1], trial, make))
    for outcome in ("fails", "trains"):
        if chosen := [c for c in found if c.outcome == outcome]:
            return chosen[0]
    return min(found, key=lambda c: c.remedy.startswith("put "))  # to be put in another order is no remedy here


class _Begins(Method):
    """Keeps the parameters as they are when training begins; what is drawn or set before has trained nothing."""

    def __init__(self, kept: list[tuple[Tensor, Tensor]]) -> None:
        self._kept = kept

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started) and not self._kept:
            self._kept.extend((p, p.detach().clone()) for p in run.objective.parameters())


def attempt(kinds: Sequence[type[Method]], trial: Trial, make: Make = construct, steps: int = 3) -> Cell:
    """Train two stages of `steps` steps with the methods in this order."""
    names = [kind.__name__ for kind in kinds]
    made = partial(Cell, names[0], names[-1], trial.name)
    kept: list[tuple[Tensor, Tensor]] = []

    def moved() -> list[bool]:
        return [not torch.equal(p, before) for p, before in kept]

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is warned of is no outcome
        try:
            run = assemble(kinds, trial, make, Path(folder), _Begins(kept))
            for _ in range(2):
                fit(run, trial.source(), Budget(steps=steps))
        except SondeError as error:
            if isinstance(error, NonFinite) or any(moved()):
                return made("fails", f"after parameters had moved: {error.cause}")
            return made("refused", error.cause, error.remedy)
        except Exception as error:  # whatever it is, it is no answer to a user
            return made("fails", f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
    if run.step != 2 * steps and run.stop is None:
        return made("fails", f"took {run.step} steps of {2 * steps}")
    if not all(math.isfinite(loss.total().item()) for loss in run.losses.values()):
        return made("fails", "the loss is not finite")
    if not any(moved()) or not all(p.isfinite().all() for p in run.objective.parameters()):
        return made("fails", "no parameter moved, or one is not finite")
    return made("trains")


def cells(
    objectives: Sequence[str] = (), make: Make = construct, progress: Callable[[int, int], None] | None = None
) -> Iterator[Cell]:
    """Every method alone and every pair, on the objectives of the given names (all of them if none is given)."""
    chosen = [trials()[name] for name in objectives or trials()]
    groups = [*((kind,) for kind in methods()), *combinations(methods(), 2)]
    total = len(chosen) * len(groups)
    for i, trial in enumerate(chosen):
        for j, group in enumerate(groups):
            yield cell(group, trial, make)
            if progress is not None:
                progress(i * len(groups) + j + 1, total)
