"""What `sonde train DATA` does when nothing else is asked: a net and a training recipe chosen by the data alone."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sonde import methods, nets, objectives
from sonde.core import Budget, Build, Engine, Recipe, SondeError, Stage
from sonde.core.errors import Notice
from sonde.core.method import Method
from sonde.data.rows import Split
from sonde.names import completed, returns, snake
from sonde.optim.schedules import Cosine

if TYPE_CHECKING:
    from sonde.data import Dataset


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a user asked for in place of the defaults; None leaves a choice to the data.

    net: a net of the user's choice. methods: added to the defaults, or put in the place of one of the same class.
    epochs, steps, seconds: the budget. patience: measurements without improvement before the run stops.
    """

    net: Build[Any] | None = None
    methods: Sequence[Build[Method]] = ()
    epochs: float | None = None
    steps: int | None = None
    seconds: float | None = None
    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    patience: int | None = None
    microbatch: int | None = None
    seed: int = 0
    engine: Engine = Engine()


def decided_by(data: Dataset) -> dict[str, Any]:
    """The arguments that the data alone decides, by the names that nets and methods give them."""
    outputs = len(data.classes) if data.classes else data.y.shape[1]
    known: dict[str, Any] = {"outputs": outputs, "classes": outputs}
    if isinstance(data.x, Tensor):
        channels, height, width = data.x.shape[1:]
        return {**known, "channels": channels, "height": height, "width": width, "shape": (channels, height, width)}
    schema: Any = data.schema
    return {**known, "numeric": data.x["numeric"].shape[1], "cardinalities": tuple(schema.cardinalities)}


def for_data(data: Dataset, wishes: Wishes = Wishes(), build: Build[Any] | None = None) -> Recipe:  # noqa: B008
    """The recipe for a data set: the defaults for its kind, changed by what the user asked for.

    build: what builds the data set again, for the recipe to carry; None when only the caller holds it.
    """
    images = isinstance(data.x, Tensor)
    rows = len(data.splits["train"])
    plan = _images(data, rows) if images else _table(data, rows)
    net = plan.net if wishes.net is None else completed(wishes.net, decided_by(data))
    kinds = {
        "classification": objectives.Classify,
        "multilabel": objectives.Multilabel,
        "regression": objectives.Regress,
    }
    objective: Build[Any] = Build(kinds[data.task], net=net)
    if data.task == "regression":
        objective = objective.with_arguments(targets=int(data.y.shape[1]))
    batch_size = wishes.batch_size or plan.batch_size
    chosen: list[Build[Any]] = [Build(methods.FitInputs), *plan.methods, plan.descend]
    if wishes.microbatch:
        chosen.insert(0, Build(methods.Backprop, microbatch=wishes.microbatch))
    if len(data.splits["val"]):
        chosen.append(Build(methods.Validate))
        if wishes.patience is not None:
            chosen.append(Build(methods.EarlyStopping, patience=wishes.patience))
    elif wishes.patience is not None:
        raise SondeError("patience needs validation rows, and there are none", "keep a share of the rows with --val")
    chosen = with_methods(chosen, [completed(b, decided_by(data)) for b in wishes.methods])
    chosen = with_rates(chosen, lr=wishes.lr, weight_decay=wishes.weight_decay)
    given = {"steps": wishes.steps, "epochs": wishes.epochs, "seconds": wishes.seconds}
    given = {k: v for k, v in given.items() if v is not None}
    budget = Budget(**(given or {"epochs": plan.epochs}))  # type: ignore[arg-type]
    source: Build[Any] = Build(Split, split="train", batch_size=min(batch_size, rows), seed=wishes.seed)
    return Recipe(
        name=data.name,
        seed=wishes.seed,
        data=build,
        objective=objective,
        methods=tuple(chosen),
        stages=(Stage(source=source, budget=budget),),
        engine=wishes.engine,
    )


def with_methods(defaults: Sequence[Build[Any]], asked: Sequence[Build[Any]]) -> list[Build[Any]]:
    """The defaults with the methods a user asked for: in the place of one of the same kind, else before validation.

    An update rule takes the place of the default's, whatever its name, since a run has one. Where DPSGD is among them,
    defaults that it would refuse are exchanged.
    """
    chosen = list(defaults)
    if any(b.make is methods.ScheduleFree for b in asked) and any(b.make is methods.EMA for b in chosen):
        chosen = [b for b in chosen if b.make is not methods.EMA]
        warnings.warn("EMA is left out: schedule-free learning ships an average of its own", Notice, stacklevel=2)
    for build in asked:
        same = [i for i, b in enumerate(chosen) if b.make is build.make or (updates(b) and updates(build))]
        if same:
            chosen[same[0]] = build
        else:
            ends = [i for i, b in enumerate(chosen) if b.make in (methods.Validate, methods.EarlyStopping)]
            chosen.insert(ends[0] if ends else len(chosen), build)
    return _made_private(chosen, asked) if any(b.make is methods.DPSGD for b in chosen) else chosen


def _made_private(chosen: Sequence[Build[Any]], asked: Sequence[Build[Any]]) -> list[Build[Any]]:
    """The methods beside DPSGD, where it refuses defaults: exchanged or left out, each said in a line.

    What a user asked for is left to be refused, with DPSGD's reason.
    """
    microbatch = next((b.arguments.get("microbatch") for b in chosen if b.make is methods.Backprop), None)
    own = {b.make for b in asked}
    kept: list[Build[Any]] = []
    for build in chosen:
        make = build.make
        if make is methods.FitInputs and make not in own:
            if not any(b.make is methods.PrivateInputs for b in chosen):  # which says so itself, where it has to act
                kept.append(Build(methods.PrivateInputs))
        elif make is methods.Backprop:
            continue  # DPSGD takes its place, and its microbatches
        elif make in (methods.MixUp, methods.CutMix) and make not in own:
            warnings.warn(f"{make.__name__} is left out: private training refuses rows that mix", Notice, stacklevel=3)
        elif make is methods.DPSGD and microbatch and "microbatch" not in build.arguments:
            kept.append(build.with_arguments(microbatch=microbatch))
        else:
            kept.append(build)
    return kept


def with_rates(chosen: Sequence[Build[Any]], **rates: float | None) -> list[Build[Any]]:
    """The methods with `lr` or `weight_decay` given to the update rule, whichever it is.

    Raises SondeError where the rule has no such parameter.
    """
    given = {k: v for k, v in rates.items() if v is not None}
    if not given:
        return list(chosen)
    rule = next((b for b in chosen if updates(b)), None)
    for name in given:
        if rule is None or name not in inspect.signature(rule.make).parameters:
            which = "there is no update rule" if rule is None else f"{snake(rule.make.__name__)} has none"
            raise SondeError(f"{name} changes nothing: {which}", "leave it out, or choose another rule: --with adamw")
    return [b.with_arguments(**given) if b is rule else b for b in chosen]


def updates(build: Build[Any]) -> bool:
    """Whether it makes an update rule: a method that moves the parameters."""
    make: Any = build.make
    if isinstance(make, type):
        return issubclass(make, Method) and getattr(make, "update", None) is not Method.update
    return inspect.isfunction(make) and returns(make, methods.Descend)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A default recipe before the user's wishes."""

    net: Build[Any]
    methods: tuple[Build[Any], ...]
    descend: Build[Any]
    batch_size: int
    epochs: float


def _images(data: Dataset, rows: int) -> _Plan:
    """Few rows are seen more often and in smaller batches, so that every size takes enough steps."""
    known = decided_by(data)
    make, arguments = nets.for_images(known["channels"], known["height"], known["width"], known["outputs"])
    smoothing = (Build(methods.LabelSmoothing, amount=0.1),) if data.task == "classification" else ()
    return _Plan(
        net=Build(make, **arguments),
        methods=(Build(methods.Shift, most=0.1), *smoothing, Build(methods.EMA, decay=0.998)),
        descend=Build(methods.adamw, lr=3e-3, weight_decay=0.05, betas=(0.9, 0.99), schedule=Build(Cosine, warmup=0.1)),
        batch_size=min(128, max(16, 2 ** round(math.log2(max(1.0, rows / 20))))),
        epochs=min(100, max(5, round(12 * math.sqrt(54_000 / rows)))),  # 12 on MNIST, 78 on the digits
    )


def _table(data: Dataset, rows: int) -> _Plan:
    """Few rows take fewer bins and smaller batches, at a rate that follows them, and at least 240 steps.

    There is no early stopping: a tenth of a few hundred rows would choose by chance.
    """
    known = decided_by(data)
    batch_size = min(256, max(32, 2 ** math.floor(math.log2(max(1.0, rows / 32)))))
    bins = max(4, min(128, round(math.sqrt(rows)), 16_384 // max(1, known["numeric"])))
    columns = {k: known[k] for k in ("outputs", "numeric", "cardinalities")}
    rate = float(f"{5e-3 * math.sqrt(batch_size / 256):.2g}")
    return _Plan(
        net=Build(nets.TabM, **columns, bins=bins),
        methods=(),
        descend=Build(methods.adamw, lr=rate, weight_decay=0.1, schedule=Build(Cosine)),
        batch_size=batch_size,
        epochs=max(20, math.ceil(240 / math.ceil(rows / batch_size))),
    )
