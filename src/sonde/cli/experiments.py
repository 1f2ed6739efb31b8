"""`sonde run`, `sonde atlas`, `sonde recipes`: claims, what was measured for them, and their site."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonde.cli.text import definitions, duration, emit_json, interval, measured, say, table
from sonde.cli.words import Misused
from sonde.core.errors import SondeError
from sonde.experiment import CHAPTERS, Experiment
from sonde.names import catalogue, squash
from sonde.report import atlas_facts as facts
from sonde.report.atlas import roughly
from sonde.report.facts import Score
from sonde.report.words import number, raw, shown
from sonde.runs import shareable

THRESHOLD = 3  # the exit code of a check that does not hold


class Refuted(SondeError):
    """A claim's number is outside its range."""

    code = THRESHOLD


# ---------------------------------------------------------------- sonde run
def run(name: str, root: Path, seed: int, json: bool, quiet: bool) -> None:
    """Conduct one experiment and say whether its claim holds."""
    from sonde.atlas import conduct, find

    one = find(name)
    if not json:
        print(shown(f"{one.name}: {one.claim}", 1000))
        print(shown(one.source, 1000))
        if not quiet:
            say(f"takes about {roughly(one.seconds)}")
    done = conduct(one, root, seed=_seed(seed), say=_nothing if quiet or json else say)
    if json:
        emit_json(_as_json(done.result, done.folder.path))
    else:
        _tell(done.result, done.folder.path)
    if done.error is not None:
        raise done.error
    if done.result.verdict == facts.REFUTED:
        missed = [c.score.label for c in done.result.checks if c.verdict == facts.REFUTED]
        raise Refuted(
            f"the claim of {one.name} does not hold here: {', '.join(missed)}",
            f"what was found is in {shareable(done.folder.path)}",
        )


def _nothing(text: str) -> None:
    pass


def _seed(seed: int) -> int:
    if not 0 <= seed < 2**32:
        raise Misused(f"seed is {seed}", "give a whole number below 2**32")
    return seed


def _tell(result: facts.Conducted, folder: Path) -> None:
    """Everything that was found, the checks first."""
    if result.checks:
        print()
        rows = [
            [c.score.label, _value(c.score), _interval(c.score), _wanted(c), _published(c), c.verdict]
            for c in result.checks
        ]
        table(["checked", "measured", "95 % interval", "wanted", "published", "verdict"], rows, numeric=(1, 2))
    others = [f.score for f in result.found if f.score is not None]
    if others:
        print()
        rows = [[s.label, _value(s), _interval(s), f"{s.n:,}"] for s in others]
        table(["also measured", "value", "95 % interval", "n"], rows, numeric=(1, 2, 3))
    for found in result.found:
        if found.table is not None:
            print()
            print(shown(found.table.caption, 1000))
            table(found.table.columns, [[_cell(cell) for cell in row] for row in found.table.rows])
    for found in result.found:
        if found.figure is not None:
            print(shown(f"\n{found.figure.caption}", 1000))
            print(f"  {shareable(folder / found.figure.file)}")
    print(f"\n{result.verdict} · {duration(result.seconds)} · {shareable(folder)}")


def _value(score: Score) -> str:
    text = measured(score.value, None, score.percent)
    return text if score.percent or score.unit in ("", "1") else f"{text} {shown(score.unit, 24)}"


def _interval(score: Score) -> str:
    return interval(score.interval, score.percent)


def _wanted(c: facts.Checked) -> str:
    low, high = (None if v is None else _set(v, c.score.percent) for v in (c.at_least, c.at_most))
    if low is not None and high is not None:
        return low if low == high else f"{low} to {high}"
    return f"≥ {low}" if low is not None else f"≤ {high}"


def _published(c: facts.Checked) -> str:
    return "" if c.published is None else _set(c.published, c.score.percent)


def _set(value: float, percent: bool) -> str:
    """A number that somebody chose or printed, in its own digits.

    >>> _set(0.985, True), _set(0.054, False)
    ('98.5 %', '0.054')
    """
    return f"{100 * value:.6g} %" if percent else f"{value:.6g}"


def _cell(cell: Any) -> str:
    return number(cell) if cell is None or isinstance(cell, float) else raw(cell)


def _as_json(result: facts.Conducted, folder: Path) -> dict[str, Any]:
    from sonde.atlas_site import summary

    return {**summary(result), "folder": str(folder), "figures": [str(folder / f.file) for f in result.figures]}


# ---------------------------------------------------------------- sonde atlas
def atlas(
    names: Sequence[str],
    root: Path,
    out: Path | None,
    chapters: Sequence[str],
    within: str | None,
    on_hand: bool,
    again: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Conduct the chosen experiments that have no result of this code yet, and write the site of all there are."""
    from sonde.atlas import best, conduct, current
    from sonde.atlas_site import entries, write

    out = root / "site" if out is None else out
    chosen = chosen_of(names, chapters, within, on_hand)
    write(out, entries(root))  # what is there, before hours go by: an unusable folder is known now
    told = _nothing if quiet else say
    outcomes: list[facts.Conducted] = []
    for position, one in enumerate(chosen, 1):
        before = f"[{position}/{len(chosen)}] {one.name}"
        earlier = None if again else best(root, one)
        if earlier is not None and earlier[1].state == "finished" and current(earlier[1], one):
            outcomes.append(earlier[1])
            told(f"{before}: {earlier[1].verdict} (measured before)")
            continue
        told(f"{before}: takes about {roughly(one.seconds)}")
        began = time.perf_counter()
        done = conduct(one, root, say=lambda text: told(f"  {text}"))
        outcomes.append(done.result)
        write(out, entries(root))  # whoever looks while it goes on sees what is there
        cause = f": {done.result.failure.cause}" if done.result.failure else ""
        told(f"{before}: {done.result.verdict}{cause} ({duration(time.perf_counter() - began)})")
        if done.result.state == "interrupted" and done.error is not None:
            raise done.error
    index = write(out, entries(root))
    _sum_up(outcomes, index, json)


def chosen_of(
    names: Sequence[str], chapters: Sequence[str], within: str | None, on_hand: bool
) -> tuple[Experiment, ...]:
    """The experiments that were asked for, in the order of the entry's chapters."""
    from sonde.atlas import available, chapter, experiments, find, in_order
    from sonde.cli.training import seconds

    found = experiments() if not names else in_order({e.name: e for e in map(find, names)}.values())
    if chapters:
        wanted = {chapter(c) for c in chapters}
        found = tuple(e for e in found if e.chapter in wanted)
    if within is not None:
        most = seconds(within, "--within")
        found = tuple(e for e in found if e.seconds <= most)
    return tuple(e for e in found if available(e)) if on_hand else found


def _sum_up(outcomes: Sequence[facts.Conducted], index: Path, json: bool) -> None:
    from sonde.atlas_site import summary

    if json:
        emit_json({"index": str(index), "results": [summary(o) for o in outcomes]})
    else:
        if outcomes:
            table(["experiment", "verdict", "time"], [[o.name, o.verdict, duration(o.seconds)] for o in outcomes])
        print(f"{'' if not outcomes else chr(10)}the atlas: {shareable(index)}")
    refuted = [o.name for o in outcomes if o.verdict == facts.REFUTED]
    failed = [o.name for o in outcomes if o.state == "failed"]
    if refuted:
        raise Refuted(f"the claims of {', '.join(refuted)} do not hold here", "their pages say what was measured")
    if failed:
        raise SondeError(f"{', '.join(failed)} failed", "their pages say why")


# ---------------------------------------------------------------- sonde recipes
def recipes(json: bool) -> None:
    """The experiments by chapter, with their claims, and the recipes that can be trained."""
    from sonde.atlas import experiments

    found, made = experiments(), catalogue("recipes")
    trained = {squash(e.name) for e in made}
    if json:
        told = [_listed(e, squash(e.name) in trained) for e in found]
        known = {squash(e.name) for e in found}
        plain = [
            {"name": e.name, "summary": e.summary, "trains": True, "experiment": False}
            for e in made
            if squash(e.name) not in known
        ]
        emit_json(told + plain)
        return
    for number_, title in enumerate(CHAPTERS, 1):
        own = [e for e in found if e.chapter == title]
        if own:
            print(f"{number_} {title}")
            definitions([(f"  {e.name}", e.claim, _needs(e)) for e in own])
            print()
    if made:
        print("Recipes that train a model")
        definitions([(f"  {e.name}", e.summary, "") for e in made])
    say(
        "\nmeasure a claim: sonde run NAME · all of them, as pages: sonde atlas · train: sonde train --recipe NAME"
        "\nany run's recipe can be trained again: sonde train --recipe runs/NAME"
    )


def _needs(one: Experiment) -> str:
    from sonde.atlas import available

    data = f", needs {', '.join(one.data)}" if one.data else ""
    missing = "" if available(one) else " (not on this machine)"
    return f"about {roughly(one.seconds)}{data}{missing}"


def _listed(one: Experiment, trains: bool) -> dict[str, Any]:
    told = {k: getattr(one, k) for k in ("chapter", "claim", "source", "seconds", "data")}
    return {"name": one.name, "summary": one.claim, "trains": trains, "experiment": True, **told}
