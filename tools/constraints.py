"""Write constraints.txt: the installed version of everything the package, its tests and its site need, direct or not.

Run it in an environment where the tests have just passed (`make constraints`). Local labels ("+cpu") are dropped, so
that one file serves every build of a package; what only another platform needs is left to the packages' own bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("dev", "docs")
HEADER = f"""\
# The versions that the tests passed with: sonde[{",".join(EXTRAS)}] and all they need. Written by `make constraints`.
"""


def needed(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[str]:
    """Names of the distributions that `name[extras]` needs here, itself included, each with its own extras followed."""
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    yield name
    for text in requires(name) or []:
        requirement = Requirement(text)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (extras or frozenset([""]))
        )
        if wanted:
            yield from needed(canonicalize_name(requirement.name), frozenset(requirement.extras), seen)


def pins() -> str:
    """The text of constraints.txt, sorted by name."""
    lines = set()
    for name in needed("sonde", frozenset(EXTRAS), set()):
        if name != "sonde":
            try:
                lines.add(f"{name}=={Version(version(name)).public}\n")
            except PackageNotFoundError as error:
                raise SystemExit(f"{name} is not installed\n  run `make test docs` first") from error
    return HEADER + "".join(sorted(lines))


if __name__ == "__main__":
    (ROOT / "constraints.txt").write_text(pins(), encoding="utf-8")
