"""The atlas: every experiment of the package found, conducted and kept. `sonde.atlas_site` shows them as a site.

    done = conduct(find("perceptron"), Path("runs/atlas"))
    done.result.verdict

An experiment is found by walking `sonde.recipes`: nothing is registered. What it finds is kept as it is found, in a
folder of its own (`result.json` and an SVG file a figure), so a process that is killed loses only what it had not found
yet. Results are used again as long as the package's version and the experiment's own file are the same.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import pkgutil
import platform
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import sonde
from sonde.core import Measure, SondeError
from sonde.experiment import CHAPTERS, Check, Experiment, Figure, Finding, Lab, Table
from sonde.names import catalogue, did_you_mean, squash
from sonde.report import atlas_facts as facts
from sonde.report.facts import Score
from sonde.runs import RunFolder

RESULT = "result.json"
HEADED = r"\n(?=(?:Claim|Source|Published|Measured)\b[^.\n]*[:,])"  # lines of a docstring that begin something new
LABELS = {"robustness/pgd": "Right under attack (PGD)", "training/time": "Time to train"}
INTERRUPTED = 130  # the exit code of what a person stopped


# ---------------------------------------------------------------- what there is
@cache
def experiments() -> tuple[Experiment, ...]:
    """Every experiment of `sonde.recipes`: by chapter of the entry, within it by the year of its source."""
    package = importlib.import_module("sonde.recipes")
    found: dict[int, Experiment] = {}
    for info in pkgutil.walk_packages(package.__path__, prefix="sonde.recipes."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if isinstance(value, Experiment) and not name.startswith("_"):
                found[id(value)] = value
    return in_order(found.values())


def in_order(found: Iterable[Experiment]) -> tuple[Experiment, ...]:
    """Experiments in the order of the entry's chapters; within one the oldest source first."""
    return tuple(sorted(found, key=lambda e: (CHAPTERS.index(e.chapter), _year(e.source), e.name)))


def _year(source: str) -> int:
    years = re.findall(r"\b(1[89]\d\d|20\d\d)\b", source)
    return int(years[0]) if years else 9999


def find(name: str) -> Experiment:
    """The experiment of that name, however it is cased; else an error with what comes close."""
    known = experiments()
    for one in known:
        if squash(one.name) == squash(name):
            return one
    for recipe in catalogue("recipes"):
        if squash(recipe.name) == squash(name):
            raise SondeError(
                f"{recipe.name} is a recipe without an experiment: nothing says what it should reach",
                f"train it: sonde train --recipe {recipe.name}",
            )
    near = did_you_mean(name, [e.name for e in known]) or "`sonde recipes` lists them"
    raise SondeError(f"there is no experiment called {name!r}", near)


def available(one: Experiment) -> bool:
    """Whether the data sets that it needs are on this machine: the folder of each holds something.

    What it holds is looked at when it is opened, where a set may have a choice of files.
    """
    from sonde.data.catalogue import SETS
    from sonde.data.fetch import places

    embedded = {entry.name for entry in SETS if not entry.files}  # those that come with a dependency

    def here(name: str) -> bool:
        named = name.lower().replace("_", "-")
        return named in embedded or any(p.is_dir() and any(p.iterdir()) for p in places(named, ""))

    return all(map(here, one.data))


def chapter(text: str) -> str:
    """A chapter by its name, its number or the beginning of its name."""
    if text.strip().isdigit() and 1 <= int(text) <= len(CHAPTERS):
        return CHAPTERS[int(text) - 1]
    found = [c for c in CHAPTERS if c.lower().startswith(text.strip().lower())]
    if len(found) == 1:
        return found[0]
    near = did_you_mean(text, list(CHAPTERS)) or f"the chapters are {', '.join(CHAPTERS)}"
    raise SondeError(f"the entry has no chapter {text!r}", near)


# ---------------------------------------------------------------- one experiment
@dataclass(frozen=True)
class Done:
    """A conducted experiment: its folder, what is kept, and what ended it early, if anything did."""

    folder: RunFolder
    result: facts.Conducted
    error: BaseException | None = None


def conduct(one: Experiment, root: Path, *, seed: int = 0, say: Callable[[str], None] = lambda text: None) -> Done:
    """Do the experiment in a new folder under `root`; every finding is kept as soon as it is there.

    Returns, whatever happens but the end of the process: what went wrong is in the result and in `error`, also a
    KeyboardInterrupt, which is the caller's to raise.
    """
    from sonde.core import seed_everything

    folder = RunFolder.create(root, facts.slug(one.name))
    kept = _Kept(folder, _begun(one, seed))
    error: BaseException | None = None
    with folder.held(), _undisturbed():
        seed_everything(seed)
        try:
            for finding in one.run(Lab(folder.path, seed, say)):
                kept.add(finding)
            if not kept.result.checks:
                raise SondeError(f"{one.name} ended without having checked anything", "let it yield a Check")
            kept.end("finished")
        except (Exception, KeyboardInterrupt) as raised:
            error = raised
            stopped = isinstance(raised, KeyboardInterrupt) or getattr(raised, "code", 0) == INTERRUPTED
            kept.end("interrupted" if stopped else "failed", _failure(raised))
    _forget_empty(root, one.name, folder)
    return Done(folder, kept.result, error)


class _Kept:
    """A result and its folder, which always agree."""

    def __init__(self, folder: RunFolder, result: facts.Conducted) -> None:
        self.folder, self.result, self._began = folder, result, time.perf_counter()
        self._write()

    def add(self, finding: Finding) -> None:
        """Keep one finding."""
        if isinstance(finding, Figure):  # the drawing first: no result names a file that is not there
            file = self._free(finding.name)
            self.folder.write(file, finding.svg)
            found = facts.Found(figure=facts.Drawn(finding.name, finding.caption, file))
        else:
            found = told(finding)
        self.result = replace(self.result, found=(*self.result.found, found))
        self._write()

    def end(self, state: facts.State, failure: facts.Failure | None = None) -> None:
        """Say how it ended, and what that says of the claim."""
        self.result = replace(self.result, state=state, failure=failure)
        self.result = replace(self.result, verdict=verdict(self.result))
        self._write()

    def _write(self) -> None:
        self.result = replace(self.result, seconds=time.perf_counter() - self._began)
        self.folder.write(RESULT, self.result.to_data())

    def _free(self, name: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:80] or "figure"
        taken = {f.file for f in self.result.figures}
        file, number = f"{plain}.svg", 1
        while file in taken:
            number += 1
            file = f"{plain}-{number}.svg"
        return file


def _begun(one: Experiment, seed: int) -> facts.Conducted:
    about, terms = background(one)
    return facts.Conducted(
        name=one.name,
        chapter=one.chapter,
        claim=one.claim,
        source=one.source,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command(one.name, seed),
        seed=seed,
        version=sonde.__version__,
        code=code(one),
        environment=machine(),
        about=about,
        terms=terms,
        data=one.data,
    )


def _failure(error: BaseException) -> facts.Failure:
    if isinstance(error, SondeError):
        return facts.Failure(error.cause, error.remedy)
    if isinstance(error, KeyboardInterrupt):
        return facts.Failure("it was stopped", "do it again")
    what = " ".join(str(error).split())[:400]
    return facts.Failure(f"{type(error).__name__}: {what}".rstrip(": "), "run it by itself with --debug")


def told(finding: Check | Measure | Table) -> facts.Found:
    """A finding as the pages show it."""
    if isinstance(finding, Check):
        checked = facts.Checked(
            score=_score(finding.measure),
            verdict=verdict_of(finding),
            at_least=finding.at_least,
            at_most=finding.at_most,
            published=finding.published,
            published_in=finding.published_in,
        )
        return facts.Found(check=checked)
    if isinstance(finding, Measure):
        return facts.Found(score=_score(finding))
    if isinstance(finding, Table):
        rows = tuple(tuple(_cell(cell) for cell in row) for row in finding.rows)
        return facts.Found(table=facts.Tabled(finding.name, finding.caption, tuple(finding.columns), rows))
    raise TypeError(f"an experiment yields checks, measures, figures and tables, not {type(finding).__name__}")


def verdict_of(check: Check) -> str:
    """Whether a number is in the claim's range, and whether its interval leaves the range.

    Where the claim is all or none of n, every interval leaves the range, and that says nothing beside n.
    """
    if not check.holds:
        return facts.REFUTED
    m = check.measure
    if m.interval is None:
        return facts.HOLDS
    low, high = m.interval
    whole, none = (_is_share(m) and bound == end for bound, end in ((check.at_least, 1), (check.at_most, 0)))
    below = check.at_least is not None and low < check.at_least and not whole
    above = check.at_most is not None and high > check.at_most and not none
    return facts.ACROSS if below or above else facts.HOLDS


def verdict(result: facts.Conducted) -> str:
    """What a result says of its claim."""
    if result.state != "finished":
        return facts.FAILED if result.state == "failed" else facts.UNFINISHED
    worst = {facts.HOLDS: 0, facts.ACROSS: 1, facts.REFUTED: 2}
    return max((c.verdict for c in result.checks), key=worst.__getitem__)


def _score(m: Measure) -> Score:
    """A measure as a page shows it: a share as per cent."""
    from sonde.results import label_of

    plain = replace(m, value=float(m.value), n=int(m.n), settings=_plain(m.settings))
    return Score.of(plain, label=LABELS.get(m.name) or _label(m.name) or label_of(m), percent=_is_share(m))


def _label(name: str) -> str:
    """What a name of several parts says: `xor/solved with 2/lower` is of solved with 2, not of lower. Else nothing."""
    _, *parts = name.split("/")
    if len(parts) < 2:
        return ""
    ends = {"lower": "lower end of the interval", "upper": "upper end of the interval"}
    text = ", ".join([*parts[:-1], ends.get(parts[-1], parts[-1])]).replace("_", " ")
    return text[:1].upper() + text[1:]


def _is_share(m: Measure) -> bool:
    from sonde.results import SHARES

    how = f"{m.settings.get('interval', '')} {m.settings.get('end', '')}"
    return m.unit == "1" and ("wilson" in how.lower() or m.name.rpartition("/")[2] in SHARES)  # only shares have his


def _plain(value: Any) -> Any:
    """Settings as JSON holds them: what it cannot hold is told as text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return _cell(value)


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    item = getattr(value, "item", None)  # a NumPy or torch number
    return item() if callable(item) and getattr(value, "shape", None) == () else str(value)


def background(one: Experiment) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paragraphs of the experiment's docstrings, and the terms of the entry that they name.

    An indented paragraph is code or an equation: it keeps its lines.
    """
    module = inspect.getmodule(one.run)
    texts = [inspect.getdoc(module) or "" if module else "", inspect.getdoc(one.run) or ""]
    paragraphs: list[str] = []
    terms: list[str] = []
    for paragraph in (p.strip("\n") for text in texts for p in re.split(r"\n[ \t]*\n", text)):
        if paragraph.startswith("Entry:"):
            named = " ".join(paragraph.removeprefix("Entry:").split()).removesuffix(".")
            terms += [t.strip() for t in named.split(";") if t.strip()]
        elif paragraph.startswith("    "):
            paragraphs.append(paragraph)
        elif paragraph.strip():
            paragraphs += [" ".join(part.split()) for part in re.split(HEADED, paragraph)]
    return tuple(paragraphs), tuple(dict.fromkeys(terms))


def code(one: Experiment) -> str:
    """A digest of the file that holds the experiment; empty where there is none."""
    try:
        path = inspect.getsourcefile(one.run)
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] if path else ""
    except (TypeError, OSError):
        return ""


def command(name: str, seed: int = 0) -> str:
    """What conducts the experiment again."""
    return f"sonde run {name}" + (f" --seed {seed}" if seed else "")


def machine() -> dict[str, str]:
    """Versions, processor and threads: what a reader needs to do it again. No host name, user or path."""
    import numpy
    import torch

    from sonde.core import pick_device
    from sonde.training import _device_name

    device = pick_device("auto")
    found = {"processor": _device_name(torch.device("cpu"))}
    if device.type != "cpu":
        found["accelerator"] = _device_name(device)
    return {
        **found,
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
        "platform": f"{platform.system()} {platform.machine()}",
        "sonde": sonde.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
    }


@contextmanager
def _undisturbed() -> Iterator[None]:
    """One experiment leaves the next what it found: threads, number format, gradients, generators."""
    import numpy as np
    import torch

    threads, kind, graded = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(kind)
        torch.set_grad_enabled(graded)
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


# ---------------------------------------------------------------- what was kept
def read(folder: RunFolder) -> facts.Conducted:
    """What is kept in an experiment's folder. Raises SondeError for a result that is damaged."""
    result = facts.Conducted.from_data(folder.read(RESULT))
    if result.state == "running" and not folder.busy:  # its process was killed
        why = facts.Failure("its process ended before it did", "do it again")
        result = replace(result, state="interrupted", verdict=facts.UNFINISHED, failure=why)
    return result


def kept(root: Path, name: str) -> list[tuple[RunFolder, facts.Conducted]]:
    """Every readable result of an experiment under `root`, oldest first."""
    own = re.compile(rf"{re.escape(facts.slug(name))}(?:-\d+)?")
    found = []
    for path in root.iterdir() if root.is_dir() else ():
        if own.fullmatch(path.name) and (path / RESULT).is_file():
            with suppress(SondeError):  # a damaged one hides no other
                folder = RunFolder(path)
                if (result := read(folder)).name == name:
                    found.append((folder, result))
    return sorted(found, key=lambda f: (f[1].created, _number(f[0].name)))


def _number(name: str) -> int:
    last = re.search(r"-(\d+)$", name)
    return int(last[1]) if last else 1


def best(root: Path, one: Experiment) -> tuple[RunFolder, facts.Conducted] | None:
    """The result to show: the newest that was finished by this code, else the newest finished, else the newest."""
    found = kept(root, one.name)
    for fits in (lambda r: r.state == "finished" and current(r, one), lambda r: r.state == "finished", lambda r: True):
        for folder, result in reversed(found):
            if fits(result):
                return folder, result
    return None


def current(result: facts.Conducted, one: Experiment, seed: int = 0) -> bool:
    """Whether a result was made by this version, this file and this seed."""
    return (result.version, result.code, result.seed) == (sonde.__version__, code(one), seed)


def _forget_empty(root: Path, name: str, newest: RunFolder) -> None:
    """Remove earlier attempts of an experiment that found nothing at all: the newest says as much."""
    for folder, result in kept(root, name):
        if folder.path != newest.path and not result.found and result.state != "running":
            folder.discard()
