"""The facts of one run as one HTML page: no scripts, nothing loaded from anywhere, every value escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sonde.report import audited, layout, retained, words
from sonde.report.audit import AuditFacts
from sonde.report.facts import Curve, Facts

if TYPE_CHECKING:
    from jinja2 import Template

TREE_ROWS, TREE_DEPTH, JSON_CHARACTERS = 400, 12, 60_000  # of the recipe: recipe.json has the rest
_PATH = re.compile(r"[MLhZ0-9 .e+-]*")  # what charts.line and charts.dots draw with


def render(facts: Facts, audit: AuditFacts | None = None) -> str:
    """The page, as text to be written in UTF-8. A function of the facts alone: same facts, same page."""
    if audit is not None:
        facts = replace(facts, not_measured=audited.still_unmeasured(facts.not_measured, audit))
    return template("report.html.jinja").render(
        facts=facts,
        audit=audited.view(audit, _shown(facts)) if audit is not None else None,
        created=date(facts.created),
        tiles=layout.tiles(facts),
        scores=[layout.score_row(s) for s in facts.measures],
        comparison=layout.comparison(facts),
        curves=[layout.curve_chart(c, facts.marks) for c in facts.curves if _has_points(c)],
        matrix=layout.matrix(facts),
        retained=retained.table(facts.retained) if facts.retained else None,
        pairs=layout.pairs(facts),
        per_class=layout.class_rows(facts),
        fits=[layout.fit_charts(f) for f in facts.fits],
        examples=[layout.example_card(e) for e in facts.examples[: layout.EXAMPLES]],
        classes=layout.class_counts(facts),
        target=layout.histogram_chart(facts.data.target, facts.data.target_name or "target"),
        columns=layout.Part.of(facts.data.columns),
        tree=_tree(facts.recipe),
        recipe_json=_json(facts.recipe),
    )


def _shown(facts: Facts) -> set[str]:
    """The figures and tables of an audit whose like the page of a run has of its own."""
    own = {"confusion": facts.confusion, "classes": facts.per_class, "mistaken_pictures": facts.examples}
    return {name for name, there in own.items() if there}


def render_audit(audit: AuditFacts) -> str:
    """The audit of a model without a run, as a page of its own, as text to be written in UTF-8."""
    return template("audited.html.jinja").render(
        facts=audit,
        audit=audited.view(audit),
        verdict=audited.verdict(audit),
        created=date(audit.created),
    )


@cache
def template(name: str) -> Template:
    """A template of this folder, in which every value is escaped, and cut where it is endless."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    def finalize(value: Any) -> Any:
        return words.shown(value, 600) if isinstance(value, str) and not isinstance(value, Markup) else value

    def named(value: object, limit: int = 80) -> Markup:
        """Someone else's word, kept from changing the reading direction of what surrounds it."""
        text = words.shown(value, limit)
        return Markup("<bdi>{}</bdi>").format(text if text.strip() else "(empty)")

    def path(drawn: str) -> Markup:
        """A path's coordinates: as Markup, finalize does not cut them like a text."""
        return Markup(drawn if _PATH.fullmatch(drawn) else "")

    environment = Environment(
        loader=PackageLoader("sonde.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    environment.filters |= {
        "name": named,
        "cut": words.shown,
        "path": path,
        "picture": escape,  # base64 letters only, as Example requires; as Markup it is not cut like a text
        "round_off": lambda value: words.number(round(value) if words.known(value) else value),
        "width": lambda part: round(100 * min(1.0, max(0.0, part)), 2) if words.known(part) else 0,
        "whole": lambda text: escape(words.shown(text, 100_000)),
        "power": words.power,
        "number": words.number,
        "share": words.share,
        "seconds": words.seconds,
        "sure": words.sure,
        "raw": words.raw,
    }
    return environment.get_template(name)


def _has_points(curve: Curve) -> bool:
    return any(series is not None and series.values for series in (curve.train, curve.val))


def date(iso: str) -> str:
    """`21 March 2026, 14:05 UTC`."""
    at = datetime.fromisoformat(iso)
    months = "January February March April May June July August September October November December".split()
    zone = f" {at.tzname()}" if at.tzinfo else ""
    return f"{at.day} {months[at.month - 1]} {at.year}, {at:%H:%M}{zone}"


@dataclass(frozen=True)
class Node:
    """One line of the recipe's tree."""

    key: str
    value: str
    children: tuple[Node, ...] = ()


def _tree(recipe: Mapping[str, Any]) -> tuple[Node, ...]:
    budget = [TREE_ROWS]

    def nodes(items: Iterable[tuple[str, Any]], depth: int) -> tuple[Node, ...]:
        made = []
        for key, value in items:
            if budget[0] <= 0:
                made.append(Node("…", "the rest is in the JSON"))
                break
            budget[0] -= 1
            nested = isinstance(value, Mapping) or (
                isinstance(value, list | tuple) and any(isinstance(v, Mapping | list | tuple) for v in value)
            )
            if nested and depth < TREE_DEPTH:
                pairs = value.items() if isinstance(value, Mapping) else ((str(i + 1), v) for i, v in enumerate(value))
                made.append(Node(str(key), "" if value else "none", nodes(pairs, depth + 1)))
            else:
                made.append(Node(str(key), words.raw(value)))
        return tuple(made)

    return nodes(recipe.items(), 0)


def _shallow(value: Any, depth: int = 20) -> Any:
    """Plain data cut off below `depth`, so that writing it cannot exhaust the stack."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _shallow(v, depth - 1) for k, v in value.items()} if depth else "…"
    if isinstance(value, list | tuple):
        return [_shallow(v, depth - 1) for v in value] if depth else "…"
    return value


def _json(recipe: Mapping[str, Any]) -> str:
    text = json.dumps(_shallow(recipe), indent=2, ensure_ascii=False, default=str)
    return text if len(text) <= JSON_CHARACTERS else text[:JSON_CHARACTERS] + "\n… cut here: recipe.json has the rest"
