"""Streams of experiences: data sets that come one after another, each a stage of training.

Goodfellow et al. (2013) and Kirkpatrick et al. (2017) permute pixels, Zenke et al. (2017) split the classes, Lopez-Paz
and Ranzato (2017) rotate. The three scenarios are those of van de Ven and Tolias (2019):

- `class`: the labels are those of the whole data set; new classes join.
- `domain`: every experience asks the same question (its labels count from 0) of other inputs.
- `task`: as `domain`, and the model is told which experience a row is of: the field `task`.

Entry: continual learning; distribution shift.
"""

# N rows, C channels, H height, W width, T experiences

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from sonde.core import Batch, SondeError
from sonde.data.rows import Indexed

if TYPE_CHECKING:
    from sonde.data.dataset import Dataset

Scenario = Literal["class", "domain", "task"]
Change = Callable[[Batch], Batch]


@dataclass(eq=False)
class Experience:
    """One experience: rows of a data set as the model meets them. It is a data set itself, for `Split`.

    name: what reports call it. number: its place in the stream, from 0.
    data: where the rows come from. splits: which of them, by the name of the split. change: what is done to them.
    """

    name: str
    number: int
    data: Indexed
    splits: Mapping[str, Tensor]
    change: Change

    def batch(self, index: Tensor) -> Batch:
        """The rows `index` (n,) int64; `records` says which record of the whole stream each is."""
        return self.change(self.data.batch(index))


class Stream(Sequence[Experience]):
    """Experiences in the order in which they are met.

    >>> from types import SimpleNamespace
    >>> y = torch.tensor([0, 1, 2, 3, 0, 3])
    >>> rows = SimpleNamespace(y=y, splits={"train": torch.arange(6)}, batch=lambda i: Batch(y[i], y[i], i))
    >>> halves = split(rows, tasks=2)
    >>> len(halves), halves[1].name, halves[1].batch(halves[1].splits["train"]).y.tolist()
    (2, '2 and 3', [2, 3, 3])
    """

    def __init__(self, experiences: Sequence[Experience]) -> None:
        if not experiences:
            raise SondeError("a stream needs an experience", "give at least one data set")
        self.experiences = tuple(experiences)

    def __len__(self) -> int:
        return len(self.experiences)

    def __getitem__(self, number: Any) -> Any:
        return self.experiences[number]

    def __iter__(self) -> Iterator[Experience]:
        return iter(self.experiences)


def experience(stream: Stream, number: int) -> Experience:
    """The experience at place `number` of a stream, from 0: what a recipe's stage is built of."""
    if not 0 <= number < len(stream):
        raise SondeError(f"the stream has no experience {number}", f"choose 0 to {len(stream) - 1}")
    return stream.experiences[number]


def permuted(data: Indexed, tasks: int = 10, seed: int = 0, scenario: Scenario = "domain") -> Stream:
    """Each experience sees the pixels in an order of its own; the first sees them as they are.

    data: images (N, C, H, W), or columns (N, F) in one tensor. seed: of the orders.
    """
    _check(tasks, scenario, ("domain", "task"))
    inputs = _pixels(data, "permuted")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for t in range(tasks):
        order = torch.randperm(inputs, generator=generator) if t else torch.arange(inputs)
        found.append(_whole(data, f"order {t}", t, _permutation(order) if t else _unchanged, scenario))
    return Stream(found)


def rotated(data: Indexed, tasks: int = 10, most: float = 180.0, scenario: Scenario = "domain") -> Stream:
    """Each experience sees the pictures turned by an angle of its own, evenly spaced from 0 to below `most` degrees.

    Pixels are read bilinearly; what lies outside the picture is 0.
    """
    _check(tasks, scenario, ("domain", "task"))
    _pixels(data, "rotated", pictures=True)
    angles = [most * t / tasks for t in range(tasks)]
    changes = [_rotation(angle) if angle else _unchanged for angle in angles]
    return Stream([_whole(data, f"{a:g} degrees", t, changes[t], scenario) for t, a in enumerate(angles)])


def split(data: Indexed, tasks: int = 5, scenario: Scenario = "class") -> Stream:
    """Each experience has classes of its own, in their order: with ten classes and five tasks, 0 and 1, then 2 and 3...

    data: a data set of classification. tasks: must divide the number of classes.
    """
    _check(tasks, scenario, get_args(Scenario))
    y = _labels(data)  # (N,)
    classes = int(y.max()) + 1
    if classes % tasks:
        divisors = [d for d in range(2, classes + 1) if classes % d == 0]
        raise SondeError(f"{classes} classes cannot be split evenly into {tasks}", f"choose tasks from {divisors}")
    size = classes // tasks
    found = []
    for t in range(tasks):
        first, last = t * size, (t + 1) * size - 1
        splits = {}
        for name, index in data.splits.items():
            own = (y[index] >= first) & (y[index] <= last)
            splits[name] = index[own]
        change = _compose(_unchanged if scenario == "class" else _relabelled(first), t, scenario)
        found.append(Experience(_between(first, last), t, data, splits, change))
    return Stream(found)


def joined(datasets: Sequence[Indexed], scenario: Scenario = "domain") -> Stream:
    """A stream of the user's own data sets, in their order. Records are numbered through, so that none coincide.

    scenario: with `class`, the labels of each set are moved behind those of the sets before it.
    """
    _check(len(datasets), scenario, get_args(Scenario))
    shapes = {tuple(b.x.shape[1:]) for d in datasets if isinstance((b := d.batch(_first(d))).x, Tensor)}
    if len(shapes) > 1:
        raise SondeError(f"the data sets have inputs of different shapes: {sorted(shapes)}", "bring them to one size")
    found: list[Experience] = []
    records = labels = 0
    for t, data in enumerate(datasets):
        change = _compose(_moved(records, labels if scenario == "class" else 0), t, scenario)
        found.append(Experience(str(getattr(data, "name", f"set {t}")), t, data, data.splits, change))
        records += 1 + max(int(index.max()) for index in data.splits.values() if len(index))
        if scenario == "class":
            labels += int(_labels(data).max()) + 1
    return Stream(found)


def in_order(data: Dataset, scenario: Scenario = "domain") -> Stream:
    """Each experience is one of the data sets that `data` was put together of, in their order.

    scenario: with `domain` all must have the same classes, with `class` later ones may bring new classes.
    """
    _check(len(data.parts) or 1, scenario, get_args(Scenario))
    if len(data.parts) < 2:
        raise SondeError(f"{data.name} is one data set, with nothing to put in order", "give several, or choose split")
    y, start, found = _labels(data), 0, []
    for t, (name, rows) in enumerate(data.parts):
        splits = {s: index[(index >= start) & (index < start + rows)] for s, index in data.splits.items()}
        own = {data.classes[c] for c in y[start : start + rows].unique().tolist() if c >= 0}
        if t == 0:
            first = own
        elif scenario != "class" and (odd := sorted(first ^ own)):
            has, lacks = (data.parts[0][0], name) if odd[0] in first else (name, data.parts[0][0])
            raise SondeError(
                f"{has} has rows of class {odd[0]!r} and {lacks} has none",
                "bring them to the same classes; or, where new classes join: --stream \"in_order(scenario='class')\"",
            )
        if not len(splits["train"]):
            raise SondeError(f"{name} has no rows to train on", "leave it out, or lower --test and --val")
        found.append(Experience(name, t, data, splits, _compose(_unchanged, t, scenario)))
        start += rows
    return Stream(found)


# ---------------------------------------------------------------- what is done to the rows
def _unchanged(batch: Batch) -> Batch:
    return batch


def _permutation(order: Tensor) -> Change:
    def change(batch: Batch) -> Batch:
        return replace(batch, x=batch.x.flatten(1).index_select(1, order.to(batch.x.device)).view_as(batch.x))

    return change


def _rotation(degrees: float) -> Change:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def change(batch: Batch) -> Batch:
        n, _, height, width = batch.x.shape
        # affine_grid's unit is half a side, so an oblong picture needs its sides' ratio to be turned and not sheared.
        theta = torch.tensor([[c, -s * height / width, 0.0], [s * width / height, c, 0.0]])  # (2, 3)
        theta = theta.to(batch.x)[None]
        grid = F.affine_grid(theta, [1, 1, height, width], align_corners=False)  # (1, H, W, 2)
        x = F.grid_sample(batch.x, grid.expand(n, -1, -1, -1), padding_mode="zeros", align_corners=False)
        return replace(batch, x=x)

    return change


def _relabelled(first: int) -> Change:
    return lambda batch: replace(batch, y=batch.y - first)


def _moved(records: int, labels: int) -> Change:
    def change(batch: Batch) -> Batch:
        y = batch.y + labels if labels else batch.y
        return replace(batch, y=y, records=None if batch.records is None else batch.records + records)

    return change


def _compose(change: Change, number: int, scenario: Scenario) -> Change:
    if scenario != "task":
        return change

    def told(batch: Batch) -> Batch:
        changed = change(batch)
        task = torch.full((len(changed),), number, dtype=torch.int64)
        return replace(changed, fields={**changed.fields, "task": task})

    return told


def _whole(data: Indexed, name: str, number: int, change: Change, scenario: Scenario) -> Experience:
    return Experience(name, number, data, data.splits, _compose(change, number, scenario))


# ---------------------------------------------------------------- what a stream asks of its data
def _check(tasks: int, scenario: str, allowed: Sequence[str]) -> None:
    if tasks < 1:
        raise SondeError(f"a stream has at least one experience; got tasks={tasks}", "choose tasks=2 or more")
    if scenario not in allowed:
        raise SondeError(f"this stream has no scenario {scenario!r}", f"choose one of {', '.join(allowed)}")


def _first(data: Indexed) -> Tensor:
    return next(index for index in data.splits.values() if len(index))[:1]


def _pixels(data: Indexed, stream: str, pictures: bool = False) -> int:
    x = data.batch(_first(data)).x
    if isinstance(x, Tensor) and x.is_floating_point() and (x.dim() == 4 or not pictures):
        return x[0].numel()
    what = "pictures (N, C, H, W)" if pictures else "numbers in one tensor"
    raise SondeError(f"a {stream} stream needs {what}, and this data set has none", "choose split, or another data set")


def _labels(data: Indexed) -> Tensor:
    """The label of every row (N,), by the row's number; those in no split are -1."""
    used = torch.cat(list(data.splits.values()))
    y = getattr(data, "y", None)
    labels = y[used] if isinstance(y, Tensor) else torch.cat([data.batch(i).y for i in used.split(4096)])
    if labels.dim() != 1 or labels.is_floating_point():
        raise SondeError("classes can only be split where every row has one", "use a data set of classification")
    whole = torch.full((int(used.max()) + 1,), -1, dtype=torch.int64)
    whole[used] = labels
    return whole


def _between(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first} and {last}" if last == first + 1 else f"{first} to {last}"
