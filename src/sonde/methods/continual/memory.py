"""A memory of a fixed number of rows, filled from a stream: a uniform sample of it, or one balanced by class."""

# N rows, K rows held

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sonde.core import Batch, Method, Refused, Run

Keep = Literal["reservoir", "class-balanced"]


class Memory:
    """At most `capacity` rows of a stream, as tensors, with the records they came from.

    keep: `reservoir`: after n rows each is held with probability capacity / n (Vitter, 1985, Algorithm R).
        `class-balanced`: when full, a row of the largest class makes room; a class that has been the largest is sampled
        as a reservoir of its own (Chrysakis and Moens, 2020, Algorithm 1).
    seed: of a generator of its own, whose state is saved; what training draws is the same with and without a memory.
    owner: the method whose memory it is, for what it refuses.
    """

    def __init__(self, capacity: int, keep: Keep = "reservoir", seed: int = 0, owner: str = "Replay") -> None:
        if capacity < 1:
            raise ValueError(f"capacity is a number of rows, at least 1; got {capacity}")
        if keep not in get_args(Keep):
            raise ValueError(f"keep is one of {', '.join(get_args(Keep))}; got {keep!r}")
        self.capacity, self.keep, self.owner = capacity, keep, owner
        self.generator = torch.Generator().manual_seed(seed)
        self.rows: dict[str, Tensor] = {}  # name -> (K, ...), as Batch.rows has them; on the device of the batches
        self.stages = torch.zeros(0, dtype=torch.int64)  # (K,) in which stage each was met
        self.seen = 0
        self._labels: list[int] = []  # class-balanced only: the class in each place,
        self._places: dict[int, list[int]] = {}  # the places of each class, ascending,
        self._met: dict[int, int] = {}  # how many rows of it have been met,
        self._largest: set[int] = set()  # and which have been the largest

    def __len__(self) -> int:
        return len(self.stages)

    def check(self, batch: Batch) -> None:
        """Refuse rows that this memory cannot hold, before anything is learned of them."""
        labelled = isinstance(batch.y, Tensor) and batch.y.dim() == 1 and not batch.y.is_floating_point()
        if self.keep == "class-balanced" and not labelled:
            raise Refused(
                f"{self.owner} balances its memory by class, and these rows have not one class each",
                f"give {self.owner} keep='reservoir', or put it before methods that mix labels",
            )
        given = batch.rows()
        if self.rows and any(k in given and v.shape[1:] != given[k].shape[1:] for k, v in self.rows.items()):
            raise Refused(
                f"the memory of {self.owner} holds rows of another shape than this stage brings",
                "bring all experiences to one form: the same inputs, labels and fields",
            )

    def offer(self, batch: Batch, stage: int = 0) -> None:
        """Show the memory some rows; it keeps those that its sampling picks."""
        places = self._reservoir(len(batch)) if self.keep == "reservoir" else self._balanced(batch.y.tolist())
        winners = {place: i for i, place in enumerate(places) if place >= 0}  # of two rows in one place, the later
        if winners:
            self._write(batch, torch.tensor(list(winners)), torch.tensor(list(winners.values())), stage)

    def _reservoir(self, n: int) -> list[int]:
        """The place that each of n rows takes, -1 for none."""
        count = torch.arange(self.seen + 1, self.seen + n + 1, dtype=torch.float64)
        drawn = (torch.rand(n, generator=self.generator, dtype=torch.float64) * count).long().tolist()
        places = [self.seen + i if self.seen + i < self.capacity else d for i, d in enumerate(drawn)]
        self.seen += n
        return [place if place < self.capacity else -1 for place in places]

    def _balanced(self, labels: list[int]) -> list[int]:
        chances = torch.rand(len(labels), 2, generator=self.generator, dtype=torch.float64).tolist()
        found = []
        for label, (which, whether) in zip(labels, chances, strict=True):
            self.seen += 1
            self._met[label] = self._met.get(label, 0) + 1
            own = self._places.setdefault(label, [])
            if len(self._labels) < self.capacity:
                place = len(self._labels)
                self._labels.append(label)
                own.append(place)
            elif label in self._largest or len(own) >= self._most():
                self._largest.add(label)
                place = own[int(which * len(own))] if own and whether * self._met[label] < len(own) else -1
            else:
                large = max(self._places, key=lambda c: (len(self._places[c]), -c))
                place = self._places[large].pop(int(which * len(self._places[large])))
                self._labels[place] = label
                bisect.insort(own, place)
            if len(self._labels) == self.capacity:
                most = self._most()
                self._largest |= {c for c, places in self._places.items() if len(places) == most}
            found.append(place)
        return found

    def _most(self) -> int:
        return max(map(len, self._places.values()))

    def _write(self, batch: Batch, places: Tensor, index: Tensor, stage: int) -> None:
        given = {k: v.detach().index_select(0, index.to(v.device)) for k, v in batch.rows().items()}
        if not self.rows:
            self.rows = {k: v.new_zeros(0, *v.shape[1:]) for k, v in given.items()}
        if given.keys() != self.rows.keys():
            raise Refused(
                f"the memory of {self.owner} holds rows with {sorted(self.rows)}; these have {sorted(given)}",
                "bring all experiences to one form: the same inputs, labels and fields",
            )
        need = max(len(self), int(places.max()) + 1)
        at = places.to(next(iter(self.rows.values())).device)
        for name, value in given.items():
            room = need - len(self.rows[name])
            if room:
                self.rows[name] = torch.cat([self.rows[name], value.new_zeros(room, *value.shape[1:])])
            self.rows[name][at] = value.to(self.rows[name])
        if need > len(self):
            self.stages = torch.cat([self.stages, self.stages.new_zeros(need - len(self))])
        self.stages[places] = stage

    def draw(self, n: int, before: int | None = None) -> Batch | None:
        """n of the rows held, uniformly with repetition; None while there are none. before: of earlier stages only."""
        held = torch.arange(len(self)) if before is None else (self.stages < before).nonzero().squeeze(1)
        if not len(held) or n < 1:
            return None
        index = held[torch.randint(len(held), (n,), generator=self.generator)]
        return Batch.of({k: v.index_select(0, index.to(v.device)) for k, v in self.rows.items()})

    def state_dict(self) -> dict[str, Any]:
        """The rows, where they came from, and the generator."""
        return {
            "rows": dict(self.rows),
            "stages": self.stages,
            "seen": self.seen,
            "generator": self.generator.get_state(),
            "labels": list(self._labels),
            "met": [[c, n] for c, n in self._met.items()],
            "largest": sorted(self._largest),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.rows = {k: v.clone() for k, v in state["rows"].items()}
        self.stages, self.seen = state["stages"].clone(), state["seen"]
        self.generator.set_state(state["generator"])
        self._labels = list(state["labels"])
        self._met, self._largest = {c: n for c, n in state["met"]}, set(state["largest"])
        self._places = {c: [] for c in self._met}
        for place, label in enumerate(self._labels):
            self._places[label].append(place)


def joined(batch: Batch, *others: Batch) -> Batch:
    """The rows of several batches, one after another; `records` where all know theirs."""
    parts = [b.rows() for b in (batch, *others)]
    common = set(parts[0]).intersection(*parts[1:])
    if missing := sorted({k for p in parts for k in p if not k.startswith("records")} - common):
        raise Refused(
            f"remembered rows and new ones do not have the same parts: {', '.join(missing)}",
            "bring all experiences to one form: the same inputs, labels and fields",
        )
    return Batch.of({k: torch.cat([p[k].to(parts[0][k]) for p in parts]) for k in parts[0] if k in common})


def first_pass(run: Run) -> bool:
    """Whether the rows of this step come for the first time in this stage."""
    per_epoch = None if run.source is None else run.source.steps_per_epoch
    return per_epoch is None or run.done < per_epoch


def only_memory(run: Run, owner: Method) -> None:
    """Refuse a run in which a memory cannot be right: of several processes, or beside another memory."""
    name = type(owner).__name__
    if run.shared:
        raise Refused(f"{name} would keep other rows in each of several processes", "train in one process")
    if others := [type(m).__name__ for m in run.methods if m.remembers and m is not owner]:
        raise Refused(
            f"{name} and {others[0]} both keep a memory of the stream, and each would remember the other's rows",
            f"remove {name} or {others[0]}",
        )
