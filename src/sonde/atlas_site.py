"""The atlas as a site: pages that need nothing but themselves, beside the figures they show.

write(Path("site"), entries(Path("runs/atlas")))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sonde
from sonde.atlas import best, code, command, experiments
from sonde.core import SondeError
from sonde.core.state import disk_error
from sonde.experiment import CHAPTERS, Experiment
from sonde.report import atlas_facts as facts
from sonde.runs import RunFolder

MARKER = "atlas.json"
Entry = tuple[RunFolder | None, facts.Conducted | facts.Planned]


def entries(root: Path, among: Sequence[Experiment] | None = None) -> list[Entry]:
    """Every experiment with its best result, or as one that has not been done, in the order of the pages."""
    out: list[Entry] = []
    for one in experiments() if among is None else among:
        found = best(root, one)
        if found is None:
            told_so = facts.Planned(
                one.name, one.chapter, one.claim, one.source, one.seconds, command(one.name), one.data
            )
            out.append((None, told_so))
        else:
            out.append((found[0], replace(found[1], notes=(*found[1].notes, *_marks(found[1], one)))))
    return out


def _marks(result: facts.Conducted, one: Experiment) -> list[str]:
    """What sets a result apart from one that would be made now."""
    if result.version != sonde.__version__:
        return [f"Measured with Sonde {result.version}; this atlas was written by {sonde.__version__}."]
    return ["The experiment's code has changed since it was measured."] if result.code != code(one) else []


def write(out: Path, found: Sequence[Entry]) -> Path:
    """Write the site and return its index page. A folder that holds anything but an atlas is left alone.

    Raises SondeError if `out` is such a folder, or cannot be written.
    """
    from sonde.report.atlas import pages

    old = _site_before(out)
    figures: dict[str, str] = {}
    told = [e if folder is None or isinstance(e, facts.Planned) else _drawn(folder, e, figures) for folder, e in found]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    written = {**dict(pages(facts.Atlas(CHAPTERS, tuple(told), now, sonde.__version__))), **figures}
    try:
        (out / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, f"making the folder {out}") from None
    listing = {"files": sorted(written), "results": [_summary(e) for _, e in found]}
    RunFolder(out).write(MARKER, listing)  # first: a folder that was begun is known as an atlas
    for name, text in written.items():
        path = out / name
        RunFolder(path.parent).write(path.name, text)
    for stale in old - set(written):
        (out / stale).unlink(missing_ok=True)
    return out / "index.html"


def _drawn(folder: RunFolder, entry: facts.Conducted, figures: dict[str, str]) -> facts.Conducted:
    """The result with those of its figures whose files are there, which are added to `figures`."""
    gone = set()
    for drawn in entry.figures:
        try:
            figures[facts.figure_path(entry.name, drawn)] = (folder.path / drawn.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            gone.add(drawn.file)
    return replace(entry, found=tuple(f for f in entry.found if f.figure is None or f.figure.file not in gone))


def _site_before(out: Path) -> set[str]:
    """The files of the atlas that is there; none if the folder is empty or missing."""
    if not out.exists() or out.is_dir() and not any(out.iterdir()):
        return set()
    try:
        files = RunFolder(out).read(MARKER)["files"]
        names = {str(f) for f in files}
    except (SondeError, KeyError, TypeError):
        raise SondeError(f"{out} holds something else than an atlas", "give an empty or a new folder: --out") from None
    return {n for n in names if re.fullmatch(r"(?:figures/)?[\w-]+\.(?:html|svg)", n)}


def _summary(entry: facts.Conducted | facts.Planned) -> dict[str, Any]:
    """A result without its tables and figures, for a program that reads the site."""
    if isinstance(entry, facts.Planned):
        return {"name": entry.name, "chapter": entry.chapter, "claim": entry.claim, "verdict": None}
    return {**summary(entry), "created": entry.created}


def summary(result: facts.Conducted) -> dict[str, Any]:
    """Claim, verdict and numbers, plain."""
    whole = result.to_data()
    kept_fields = ("name", "chapter", "claim", "source", "state", "verdict", "seconds", "seed", "command", "failure")
    checks = [f["check"] for f in whole["found"] if f["check"]]
    return {**{k: whole[k] for k in kept_fields}, "checks": checks}
