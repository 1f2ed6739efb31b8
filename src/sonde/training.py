"""The main job: data in, a trained and measured model in a run folder out."""

from __future__ import annotations

import atexit
import inspect
import json
import os
import platform
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonde.changes import check_whole
from sonde.core import Build, Engine, Event, Method, Objective, Recipe, Run, SondeError
from sonde.core.engine import rank_and_world, sharing
from sonde.core.state import Corrupt
from sonde.methods import Checkpoint, MetricsLog
from sonde.runs import RunFolder, shareable

if TYPE_CHECKING:
    import torch

    from sonde.bundle import Bundle
    from sonde.data import Dataset
    from sonde.recipes.defaults import Wishes
    from sonde.report.facts import Facts


DATA_FILE = re.compile(r"\.(csv|tsv|txt|parquet|npz|gz)$", re.IGNORECASE)
"""Endings that the name of a run does without."""


class Interrupted(SondeError):
    """The user stopped the run; its state is saved."""

    code = 130


class Watchers(Method):
    """Whoever watches a run, as one method without state: one may go on with a run and watch it otherwise."""

    def __init__(self, observers: Sequence[Method]) -> None:
        self.observers = observers

    def setup(self, run: Run) -> None:
        """See `Method.setup`."""
        for observer in self.observers:
            observer.setup(run)

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        for observer in self.observers:
            observer.on(run, event)


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, what is shipped, and what was measured."""

    folder: RunFolder
    bundle: Bundle
    facts: Facts

    @property
    def measures(self) -> dict[str, float]:
        """The measured values on the test split, by name."""
        return {m.name: m.value for m in self.facts.measures if m.split == "test"}

    def predict(self, inputs: Any) -> Any:
        """The answers of the trained model for raw input."""
        return self.bundle.predict(inputs)


def opened(data: Any, **options: Any) -> Dataset:
    """The data set: one that is open already, a named one, or what is at a path or in a frame.

    options: those of `sonde.data.open`, such as `target`; a named set takes those it shares.
    """
    from sonde import data as readers

    if isinstance(data, readers.Dataset):
        return data
    if isinstance(data, str) and not Path(data).exists() and not Path(data).suffix and Path(data).name == data:
        _refuse_unnamed(data)
        for name in options.keys() - inspect.signature(readers.load).parameters.keys():
            raise SondeError(f"{data} is a data set of the package: {name} is not yours to choose", f"leave {name} out")
        return readers.load(data, **options)
    return readers.open(data, **options)


def _refuse_unnamed(data: str) -> None:
    """Raise SondeError where `data` is neither here nor the name of a data set, with what comes close."""
    from sonde import data as readers
    from sonde.names import catalogue, did_you_mean, squash

    names = [s.name for s in readers.names()]
    if squash(data.replace(" ", "")) not in map(squash, names):
        if squash(data) in [squash(e.name) for e in catalogue("recipes")]:
            raise SondeError(f"{data} is the name of a recipe, not of data", f"train it: sonde train --recipe {data}")
        here = [p.name for p in Path().iterdir() if not p.name.startswith(".")]
        raise SondeError(
            f"there is no file or folder {data!r} here, and no data set of that name",
            did_you_mean(data, [*names, *here]) or f"the data sets are {', '.join(names)}",
        )


def rebuild(dataset: Dataset) -> Build[Any] | None:
    """What builds the data set again from its source, or None when only memory holds it."""
    from sonde import data as readers

    if dataset.source.get("call") == "several":
        parts = [_rebuilt(source) for source in dataset.source["arguments"]["datasets"]]
        return None if None in parts else Build(readers.several, datasets=parts)
    return _rebuilt(dataset.source)


def _rebuilt(source: Mapping[str, Any]) -> Build[Any] | None:
    from sonde import data as readers

    makes: dict[str, Callable[..., Any]] = {"load": readers.load, "open": readers.open}
    make, arguments = makes.get(str(source.get("call"))), dict(source.get("arguments") or {})
    if make is None or (make is readers.open and arguments.get("data") is None):
        return None
    if make is readers.open:  # the run's files may be shown to others: they do not say whose folders these are
        arguments["data"] = shareable(arguments["data"])
    return Build(make, **arguments)


def train(
    data: Any,
    wishes: Wishes | None = None,
    *,
    recipe: Recipe | None = None,
    edit: Callable[[Recipe], Recipe] = lambda r: r,
    output_dir: str | Path = "runs",
    name: str | None = None,
    observers: Sequence[Method] = (),
    command: str = "",
    baselines: bool = True,
    save_every_seconds: float = 30.0,
    **options: Any,
) -> Trained:
    """Train on a user's data and measure the result.

    data: a path, a frame, the name of a data set, or a `Dataset`. options: see `sonde.data.open` (`target`,
        `sensitive`, `kinds`, ...).
    wishes: what to change in the default recipe. recipe: a whole recipe instead. edit: a last change to either.
    output_dir, name: where the run's folder is made; an existing one is never overwritten.
    observers: methods that watch (a progress bar). command: what the report gives to repeat the run.

    Raises SondeError for what the user can mend; Interrupted after Ctrl-C, with the run saved.
    """
    from sonde.recipes.defaults import Wishes, for_data

    join_processes()
    dataset = opened(data, **options)
    chosen = edit(recipe or for_data(dataset, wishes or Wishes(), rebuild(dataset)))
    check_whole(chosen)
    about = {"fingerprint": dataset.fingerprint, "command": command, "baselines": baselines}
    if chosen.data is None and dataset.source.get("call") == "open":  # how to read the same data when it is given again
        about["reading"] = {k: v for k, v in dict(dataset.source["arguments"]).items() if k != "data"}

    surroundings = environment(chosen)

    def make() -> RunFolder:
        folder = RunFolder.create(Path(output_dir), name or DATA_FILE.sub("", chosen.name))
        folder.write("recipe.json", chosen.to_data())
        folder.write("environment.json", surroundings)
        folder.write("run.json", {**about, "created": datetime.now(UTC).isoformat(timespec="seconds")})
        return folder

    folder = by_first(make)
    with held(folder):
        try:
            keeper = Checkpoint(folder.checkpoints, every_seconds=save_every_seconds, metric=_best(chosen))
            run = _started(chosen, dataset, (MetricsLog(folder.metrics), Watchers(observers), keeper))
            return _go(run, chosen, dataset, folder)
        except Interrupted:  # a run that can be gone on with, if only from its beginning
            raise
        except Exception:
            if rank_and_world()[0] == 0 and not folder.checkpoints.exists():  # nothing was computed
                folder.discard()
            raise


def resume(
    folder: RunFolder,
    *,
    data: Any = None,
    own: Collection[Callable[..., Any]] = (),
    observers: Sequence[Method] = (),
    save_every_seconds: float = 30.0,
) -> Trained:
    """Continue a run where it was last saved; the result equals that of a run which never stopped, bit for bit.

    data: the data, for a run whose data came from memory. own: the caller's constructors that the recipe names.
    """
    join_processes()
    recipe = Recipe.from_data(folder.read("recipe.json"), own)
    if data is None and recipe.data is None:
        raise SondeError(f"run {folder.name} was trained on data in memory", "pass it: sonde.resume(run, data=...)")
    about = folder.read("run.json")
    if recipe.data is None:
        dataset = opened(data, **about.get("reading", {}))
    else:
        dataset = recipe.data() if data is None else opened(data, **_reading(recipe.data))
    if dataset.fingerprint != about.get("fingerprint"):
        raise SondeError(
            f"the data of run {folder.name} has changed since it started, so going on would not be the same run",
            "restore the data, or train anew",
        )
    with held(folder):
        keeper = Checkpoint(folder.checkpoints, every_seconds=save_every_seconds, metric=_best(recipe))
        run = _started(recipe, dataset, (MetricsLog(folder.metrics), Watchers(observers), keeper))
        try:
            keeper.resume(run)
        except (ValueError, KeyError, RuntimeError) as error:
            what = f"the checkpoint does not fit the recipe of run {folder.name}: {error}"
            raise Corrupt(what, "train anew") from None
        return _go(run, recipe, dataset, folder)


def _reading(build: Build[Any]) -> dict[str, Any]:
    """How a recipe's data is read, for the same data from elsewhere."""
    from sonde import data as readers

    return {k: v for k, v in build.arguments.items() if k != "data"} if build.make is readers.open else {}


def _best(recipe: Recipe) -> str:
    """By which metric a run's best state is kept: by none in a game, where each player has a loss."""
    players = getattr(recipe.objective.make, "players", Objective.players)
    return "loss" if players is Objective.players else ""


def _started(recipe: Recipe, dataset: Dataset, extra: tuple[Method, ...]) -> Run:
    try:
        return recipe.start(dataset, extra=extra)
    except (TypeError, ValueError) as error:  # a constructor says what it cannot take
        raise SondeError(f"the recipe cannot be started: {error}", "change it; --dry-run shows them all") from None


def _go(run: Run, recipe: Recipe, dataset: Dataset, folder: RunFolder) -> Trained:
    from sonde.results import conclude

    again = f"go on with: sonde resume {shlex.quote(str(folder.path))}"
    try:
        try:
            with interruptible(run) as asked:
                recipe.train(run, dataset)
        finally:  # whatever ended it: what was spent is spent
            _account(run, folder)
        if asked or run.interrupted:
            raise Interrupted(f"stopped at step {run.step}; everything is saved", again)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at once, in step {run.step}; what was last saved is kept", again) from None
    try:
        bundle, facts = conclude(run, recipe, dataset, folder)
    except KeyboardInterrupt:
        raise Interrupted("stopped while measuring; what was trained is saved", again) from None
    return Trained(folder, bundle, facts)


def _account(run: Run, folder: RunFolder) -> None:
    """Write into run.json what was changed on the user's behalf, and what was spent of the privacy of the records."""
    from sonde.promises import numbers, privacy_of

    privacy = privacy_of(run)
    if rank_and_world()[0] == 0 and (run.notes or privacy is not None):
        found = {"notes": list(run.notes), "privacy": None if privacy is None else numbers(privacy)}
        with suppress(SondeError):  # a full disk has been, or will be, answered by what is more important
            folder.write("run.json", {**folder.read("run.json"), **found})


# ---------------------------------------------------------------- several processes
def join_processes() -> None:
    """Under `torchrun`, join the group of processes; elsewhere do nothing."""
    from torch import distributed as dist

    if sharing() or not dist.is_available() or int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    atexit.register(lambda: dist.destroy_process_group() if dist.is_initialized() else None)


def held(folder: RunFolder) -> AbstractContextManager[None]:
    """The run's folder, held by the first process for all."""
    return folder.held() if rank_and_world()[0] == 0 else nullcontext()


def by_first(make: Callable[[], RunFolder]) -> RunFolder:
    """The folder that the first process makes, told to all."""
    if not sharing():
        return make()
    import torch
    from torch import distributed as dist

    text = str(make().path).encode() if rank_and_world()[0] == 0 else b""
    sent = torch.zeros(4096, dtype=torch.uint8)
    sent[: len(text)] = torch.frombuffer(bytearray(text or b"\0"), dtype=torch.uint8)[: len(text)]
    if torch.cuda.is_available():
        sent = sent.cuda()
    dist.broadcast(sent, 0)
    return RunFolder(Path(bytes(sent.cpu().tolist()).rstrip(b"\0").decode()))


@contextmanager
def interruptible(run: Run) -> Iterator[list[int]]:
    """Ctrl-C (or SIGTERM) lets the step finish and leaves the stage open, to be resumed; twice stops at once.

    Gives a list that holds the signals received.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def stop(number: int, frame: Any) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt
        if run.stop is None:  # a stage that is ending already has its reason
            run.stop = "interrupted"

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def environment(recipe: Recipe) -> dict[str, str]:
    """Versions, device and threads: what a reader needs to repeat the run. No host name, user or path."""
    return machine(recipe.engine)


def machine(engine: Engine) -> dict[str, str]:
    """The same of what runs on `engine`."""
    import numpy
    import torch

    import sonde
    from sonde.core import pick_device

    device = pick_device(engine.device)
    return {
        "sonde": sonde.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "device": _device_name(device),
        "threads": str(torch.get_num_threads()),
        "precision": engine.precision,
    }


def _device_name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu" and sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return str(device)


def recipe_from_file(path: Path, own: Collection[Callable[..., Any]] = ()) -> Recipe:
    """A recipe from a JSON file, which may name only what the package (or `own`) contains."""
    from sonde.core.state import refuse_pickle

    refuse_pickle(path)
    path = path / "recipe.json" if path.is_dir() else path
    try:
        if path.stat().st_size > 8 * 2**20:
            raise SondeError(f"{path.name} is too large to be a recipe", "give the file that --dry-run prints")
        content = path.read_text(encoding="utf-8")
        data: Mapping[str, Any] = json.loads(content)
    except FileNotFoundError:
        raise SondeError(f"there is no file {path}", "give the path of a recipe, e.g. runs/NAME/recipe.json") from None
    except OSError as error:
        raise SondeError(f"{path} cannot be read: {error.strerror}", "give the file that --dry-run prints") from None
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise SondeError(f"{path.name} is not JSON: {error}", "give the file that --dry-run prints") from None
    if not isinstance(data, Mapping):
        raise SondeError(f"{path.name} is not a recipe", "give the file that --dry-run prints")
    return Recipe.from_data(data, own)
