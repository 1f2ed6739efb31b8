"""The Python face of the main job: `train`, `resume`, `load`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonde.core import Build, Engine, Method, Recipe
from sonde.names import apply_settings, parse
from sonde.training import Trained
from sonde.training import resume as _resume
from sonde.training import train as _train

if TYPE_CHECKING:
    from sonde.bundle import Bundle

Named = str | Build[Any] | type
"""A constructor as a name with options (`mixup(alpha=0.2)`), as a class, or as a `Build`."""


def train(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    net: Named | None = None,
    methods: Sequence[Named] = (),
    settings: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    patience: int | None = None,
    microbatch: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32",
    compile: bool = False,
    parallel: str = "none",
    output_dir: str | Path = "runs",
    name: str | None = None,
    baselines: bool = True,
    observers: Sequence[Method] = (),
    **options: Any,
) -> Trained:
    """Train on your data, measure the result, and leave a run folder with the model and its report.

    data: a folder of images, a CSV, TSV, Parquet, npz or idx file, a pandas or polars frame, the name of a data set
        (`digits`, `mnist`, ...), or a `sonde.data.Dataset`.
    target: the column or columns of a table to predict. options: the rest of `sonde.data.open`: `sensitive`,
        `kinds`, `on_bad`, `test`, `val`...
    net, methods: in place of and beside the defaults, e.g. `methods=["mixup(alpha=0.2)", EMA]`.
    settings: changes of the resolved recipe by path, e.g. `{"methods.ema.decay": 0.99}`.
    recipe: a whole recipe, or the path of one.
    epochs, steps, seconds: the budget; the first limit reached ends training.
    patience: validations without improvement before it ends; microbatch: rows differentiated at a time.

    Raises SondeError, whose text names the file, row or option and says what to do.

    Entry: early stopping.
    """
    from sonde.recipes.defaults import Wishes

    engine = Engine(device=device, precision=precision, compile=compile, parallel=parallel)  # type: ignore[arg-type]
    wishes = Wishes(
        net=None if net is None else _named("nets", net),
        methods=[_named("methods", m) for m in methods],
        epochs=epochs,
        steps=steps,
        seconds=seconds,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        patience=patience,
        microbatch=microbatch,
        seed=seed,
        engine=engine,
    )
    if isinstance(recipe, str | Path):
        from sonde.training import recipe_from_file

        recipe = recipe_from_file(Path(recipe))

    def edit(resolved: Recipe) -> Recipe:
        if not settings:
            return resolved
        own = [net] if isinstance(net, type) else []
        return Recipe.from_data(apply_settings(resolved.to_data(), settings), own=own)

    return _train(
        data,
        wishes,
        recipe=recipe,
        edit=edit,
        output_dir=output_dir,
        name=name,
        baselines=baselines,
        observers=observers,
        **({"target": target} if target is not None else {}),
        **options,
    )


def resume(
    run: str | Path, *, data: Any = None, own: Collection[Callable[..., Any]] = (), output_dir: str | Path = "runs"
) -> Trained:
    """Continue an interrupted run; the result equals that of one which never stopped, bit for bit.

    run: its name or folder. data: the data, for a run whose data came from memory. own: constructors of yours.
    """
    from sonde.runs import RunFolder

    return _resume(RunFolder.find(run, Path(output_dir)), data=data, own=own)


def load(run: str | Path, *, own: Collection[Callable[..., Any]] = (), output_dir: str | Path = "runs") -> Bundle:
    """The trained model of a run, with `predict` and `predict_proba`.

    run: a run's name or folder, or a model folder. own: constructors of yours that the model was built with.
    """
    from sonde.bundle import Bundle
    from sonde.core.state import refuse_pickle
    from sonde.runs import RunFolder

    path = Path(run)
    refuse_pickle(path)
    if (path / "bundle.json").is_file():
        return Bundle.load(path, own)
    return Bundle.load(RunFolder.find(run, Path(output_dir)).model, own)


def _named(part: str, given: Named) -> Build[Any]:
    if isinstance(given, Build):
        return given
    return parse(part, given) if isinstance(given, str) else Build(given)
