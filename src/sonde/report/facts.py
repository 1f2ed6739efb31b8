"""All that a report says about one training run, as plain frozen data: the page shows it and computes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from sonde.report.plain import from_plain, to_plain

_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class Score:
    """One measured number: the fields of `sonde.core`'s Measure, and how a person should see it.

    `label` is what a person calls it ("Accuracy"; the name if empty). `percent` shows a share in [0, 1] as per cent.
    `unit` is "1" for a number without one. `interval` is a 95 % interval in the unit of `value`.
    """

    name: str
    value: float
    unit: str
    n: int
    better: Literal["lower", "higher", "neither"]
    source: str
    interval: tuple[float, float] | None = None
    split: str = "test"
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    percent: bool = False

    @classmethod
    def of(cls, measure: Any, label: str = "", percent: bool = False) -> Score:
        """The score that shows a Measure (or whatever has its fields)."""
        own = [f.name for f in fields(cls) if f.name not in ("label", "percent")]
        return cls(**{name: getattr(measure, name) for name in own}, label=label, percent=percent)


@dataclass(frozen=True)
class Baseline:
    """A simpler model on the same rows. Its scores pair with the net's by name and split.

    `verdict` says in words how the net compares: "not distinguishable: the intervals overlap".
    """

    name: str
    scores: tuple[Score, ...]
    verdict: str = ""
    description: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Series:
    """Values over training: `steps`, `epochs` (or empty) and `values` are equally long; steps ascend."""

    steps: tuple[int, ...]
    values: tuple[float, ...]
    epochs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.values) or self.epochs and len(self.epochs) != len(self.steps):
            raise ValueError("steps, values and epochs of a series differ in length")


@dataclass(frozen=True)
class Curve:
    """One quantity over training, e.g. the loss in nats, on the training rows and on the validation rows."""

    name: str
    unit: str
    train: Series | None = None
    val: Series | None = None
    percent: bool = False


@dataclass(frozen=True)
class Mark:
    """A step worth pointing at in every curve: the best checkpoint, or where training stopped before its budget."""

    step: int
    kind: Literal["best", "stopped"]
    text: str


@dataclass(frozen=True)
class Confusion:
    """How often class `truth` was called class `guess`: (truth, guess, count), indices into classes, zeros left out."""

    classes: tuple[str, ...]
    cells: tuple[tuple[int, int, int], ...]
    split: str = "test"

    def __post_init__(self) -> None:
        if any(not 0 <= k < len(self.classes) for truth, guess, _ in self.cells for k in (truth, guess)):
            raise ValueError(f"a cell of the confusion matrix names a class outside 0 to {len(self.classes) - 1}")

    @classmethod
    def of(cls, classes: Sequence[str], counts: Sequence[Sequence[int]], split: str = "test") -> Confusion:
        """From a full matrix: counts[truth][guess]."""
        cells = ((t, g, int(n)) for t, row in enumerate(counts) for g, n in enumerate(row) if n)
        return cls(tuple(classes), tuple(cells), split)


@dataclass(frozen=True)
class ClassScore:
    """Of the `n` rows of a class, the share found (recall); of the rows called so, the share right (precision)."""

    name: str
    n: int
    recall: float | None
    precision: float | None
    recall_interval: tuple[float, float] | None = None
    precision_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Histogram:
    """`counts[i]` rows lie between `edges[i]` and `edges[i + 1]`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    unit: str = "1"

    def __post_init__(self) -> None:
        if self.counts and len(self.edges) != len(self.counts) + 1:
            raise ValueError("a histogram has one edge more than counts")


@dataclass(frozen=True)
class Fit:
    """Regression, one target: true and predicted values row by row, and the histogram of predicted minus true."""

    target: str
    unit: str
    truth: tuple[float, ...]
    guess: tuple[float, ...]
    residuals: Histogram | None = None
    split: str = "test"

    def __post_init__(self) -> None:
        if len(self.truth) != len(self.guess):
            raise ValueError("true and predicted values differ in number")


@dataclass(frozen=True)
class Example:
    """A row that came out wrong (regression: far off). Never a training row, which a page must not give away.

    `name` is what a person calls it: a relative path, "row 17". `confidence` is the probability given to `guess`.
    `picture` is a PNG data URI (`sonde.report.pictures.png`); `values` are a table's columns and their raw values.
    """

    name: str
    truth: str
    guess: str
    confidence: float | None = None
    picture: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    split: Literal["test", "val"] = "test"

    def __post_init__(self) -> None:
        if self.picture is not None and not _PICTURE.fullmatch(self.picture):
            raise ValueError("the picture of an example is not a PNG data URI")


@dataclass(frozen=True)
class ClassCount:
    """Rows of one class, by split."""

    name: str
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Column:
    """One column of a table: its inferred kind ("numeric", "categorical, 16 values") and the share of rows missing."""

    name: str
    kind: str
    missing: float
    role: Literal["input", "target", "sensitive", "ignored"] = "input"


@dataclass(frozen=True)
class Group:
    """A sensitive attribute and how many rows each of its values has."""

    field: str
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Data:
    """What was trained and measured on. `classes` for classification, `target` (training rows) for regression.

    `shape` describes one row: "1 x 8 x 8 grey image", "14 columns". `notes` are whole sentences on what was inferred,
    skipped, found twice. `fingerprint` is the SHA-256 of the content.
    """

    name: str
    kind: str
    shape: str
    splits: Mapping[str, int]
    classes: tuple[ClassCount, ...] = ()
    target: Histogram | None = None
    target_name: str = ""
    columns: tuple[Column, ...] = ()
    groups: tuple[Group, ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True)
class Model:
    """The net: its name, a sentence on it, and how many numbers were learned."""

    name: str
    description: str
    parameters: int


@dataclass(frozen=True)
class Applied:
    """A method that took part in every step of training, with its settings."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class Unmeasured:
    """Something a reader might take for granted that was not measured, and how to measure it."""

    name: str
    text: str


@dataclass(frozen=True)
class Aspect:
    """One side of a promise: what it is called, and a sentence or two."""

    name: str
    text: str


@dataclass(frozen=True)
class Privacy:
    """What private training promises about each of the training `records`, and what that rests on.

    `epsilon` (inf: nothing) at `delta`, by `accountant`; `claim` says whether it is a bound. `history` is of (noise
    multiplier, sampling rate, steps); `pure` are the epsilons of pure mechanisms beside the steps. `insecure` marks
    noise that a seed repeats. `shown` is epsilon as the page's tile says it, `sentence` all the numbers in a sentence,
    `promise` what they mean; `rests` and `uncovered` say what the promise stands on and where it ends.
    """

    epsilon: float
    delta: float
    accountant: str
    claim: str
    sampling: str
    neighbours: str
    steps: int
    history: tuple[tuple[float, float, int], ...]
    pure: tuple[float, ...]
    records: int
    insecure: bool
    notes: tuple[str, ...]
    sentence: str
    shown: str
    promise: str
    rests: tuple[Aspect, ...] = ()
    uncovered: tuple[Aspect, ...] = ()


@dataclass(frozen=True)
class Retained:
    """What was kept of a stream of experiences.

    `matrix[s][t]` is the share of the `rows[t]` rows of experience t that are right after stage s; row 0 is before
    training. `about` says what the other measures of the page were taken on.
    """

    names: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]
    rows: tuple[int, ...]
    split: str = "test"
    about: str = ""

    def __post_init__(self) -> None:
        if any(len(line) != len(self.names) for line in (*self.matrix, self.rows)) or len(self.matrix) < 1:
            raise ValueError(f"an accuracy matrix has {len(self.names)} numbers a row, one for each experience")


@dataclass(frozen=True)
class Facts:
    """One training run, told to a reader. Texts are plain English; nothing may name a person, a host or a home folder.

    `verdict` is the whole result in one sentence: "98.9 % of 360 test images right (95 % interval 97.2 to 99.6)".
    `created` is ISO 8601. `command` repeats the run exactly. `outcome` is how it ended, at `step` (and `epoch`).
    `measures` are the net's, the most important first. `methods` are in the order in which they act. `recipe` is plain
    data. `mistakes` says how many rows came out wrong in all, `examples` shows some of them, `chosen` says how they
    were chosen. `intervals` says how the intervals were computed. `notes` say what was changed so that the methods go
    together.
    """

    title: str
    created: str
    verdict: str
    task: Literal["classification", "multilabel", "regression"]
    outcome: Literal["finished", "stopped early", "interrupted", "out of time"]
    step: int
    command: str
    seconds: float
    model: Model
    data: Data
    measures: tuple[Score, ...]
    recipe: Mapping[str, Any]
    environment: Mapping[str, str]
    rows_per_second: float | None = None
    epoch: float | None = None
    methods: tuple[Applied, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    curves: tuple[Curve, ...] = ()
    marks: tuple[Mark, ...] = ()
    confusion: Confusion | None = None
    per_class: tuple[ClassScore, ...] = ()
    fits: tuple[Fit, ...] = ()
    examples: tuple[Example, ...] = ()
    mistakes: int | None = None
    chosen: str = ""
    intervals: str = ""
    not_measured: tuple[Unmeasured, ...] = ()
    retained: Retained | None = None
    privacy: Privacy | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            datetime.fromisoformat(self.created)
        except ValueError:
            raise ValueError(f"created is {self.created[:80]!r}, not an ISO 8601 date and time") from None

    def to_data(self) -> dict[str, Any]:
        """As dicts and lists for JSON, where NaN is {"float": "nan"}. Raises SondeError for what JSON cannot hold."""
        data: dict[str, Any] = to_plain(self)
        return data

    @classmethod
    def from_data(cls, data: Any) -> Facts:
        """What `to_data` wrote. Raises SondeError naming a field that is missing, unknown or of another type."""
        return from_plain(cls, data)
