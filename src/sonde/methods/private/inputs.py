"""Statistics of the training rows for private training.

Entry: differential privacy.
"""

# N rows, F columns, S rows that stand for them

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde.core import Batch, Event, Method, Read, Refused, Run, Source, Started
from sonde.core.engine import of_first
from sonde.data.rows import Rows
from sonde.privacy.quantiles import Plan, private_quantiles

SHOWN = 256  # rows that stand for all: enough for the finest bins
AT_ONCE = 8192  # rows read at a time
ENOUGH = 10.0  # rows times epsilon of a quantile, below which it may lie anywhere


class PrivateInputs(Method):
    """FitInputs with differential privacy: layers that normalise see private quantiles in place of the training rows.

    Before the first step, each numeric column of the input, and each target where a module has `fit_target`, is reduced
    to private quantiles (see `sonde.privacy.quantiles`); `fit_input` and `fit_target` are then called with 256 rows
    drawn evenly through them. Whatever a module computes from these (means, deviations, bins) is as private. Missing
    numbers are left out. Pictures, of whatever content, are in [0, 1] and not read; nor are categories.

    epsilon: of the whole, where m mechanisms of epsilon_j cost sqrt(sum of epsilon_j^2): as one of this epsilon does in
        zero-concentrated privacy (Bun and Steinke, 2016). DPSGD adds it to what it spends.
    low, high: public bounds of the columns, a number for all or one for each; found privately if not given.
    insecure_seed: draws from this seed, so that a test can repeat it. Never for real data.

    The number of rows is taken as public, as in DPSGD's sampling rate.
    """

    def __init__(
        self,
        epsilon: float = 0.1,
        low: float | tuple[float, ...] | None = None,
        high: float | tuple[float, ...] | None = None,
        insecure_seed: int | None = None,
    ) -> None:
        if not 0 < epsilon < math.inf:
            raise ValueError(f"epsilon is above 0; got {epsilon}")
        if (low is None) != (high is None):
            raise ValueError("public bounds are two: give low and high")
        self.epsilon, self.low, self.high, self.insecure_seed = epsilon, low, high, insecure_seed
        self.done = False

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if not isinstance(event, Started) or run.step > 0 or self.done:
            return
        self.done = True
        inputs: list[Any] = [m for m in run.objective.modules() if hasattr(m, "fit_input")]
        outputs: list[Any] = [m for m in run.objective.modules() if hasattr(m, "fit_target")]
        if not inputs and not outputs:
            return
        rows = _records(event.source)
        x, y = self._shown(run, rows, bool(inputs), bool(outputs))
        with torch.no_grad():
            for module in inputs if x is not None else []:
                module.fit_input(x)
            for module in outputs if y is not None else []:
                module.fit_target(y)

    def _shown(self, run: Run, rows: Rows, inputs: bool, outputs: bool) -> tuple[Any, Any]:
        """Rows that stand for the records; None for what needs none."""
        empty = rows.take(rows.index[:0])
        columns = {**(_columns(empty.x) if inputs else {}), **(_targets(empty.y) if outputs else {})}
        count = sum(columns.values())
        bounded = self.low is not None
        plans: dict[str, Plan] = {}
        if count:
            each = self.epsilon / math.sqrt(count)
            plans = {k: Plan.of(each, len(rows), bounded and k != "y") for k in columns}
            run.emit(Read(type(self).__name__, tuple(e for k, n in columns.items() for e in plans[k].pure * n)))
            run.note(
                f"inputs are normalised by private quantiles of {count} {'column' if count == 1 else 'columns'}, "
                f"at epsilon {self.epsilon:g}: the training rows themselves are not shown to any layer"
            )
            if min(p.level for p in plans.values()) * len(rows) < ENOUGH:
                run.note(
                    f"{len(rows)} rows are few for private quantiles at epsilon {self.epsilon:g}, which may lie "
                    "anywhere: give PrivateInputs a larger epsilon, or low and high"
                )
        whole = _read(rows, inputs, outputs) if count else {}
        rng = self._generator(run)
        found = {k: self._stand_ins(whole[k], plans[k], rng, k).to(run.device) for k in columns}
        x: Any = _pictures(empty.x, run.device) if inputs else None
        if x is None and inputs:
            x = found["x"] if "x" in found else {k: v for k, v in found.items() if k != "y"} or None
        return x, found.get("y")

    def _stand_ins(self, column: np.ndarray, plan: Plan, rng: np.random.Generator, name: str) -> Tensor:
        """(S, F) values that lie evenly through the private quantiles of each column (N, F)."""
        at = np.linspace(0, 1, SHOWN)
        shown = []
        for f in range(column.shape[1]):
            low, high = (None, None) if name == "y" else (_bound(self.low, f), _bound(self.high, f))
            values = private_quantiles(column[:, f], plan, rng, low, high)
            shown.append(np.interp(at, np.linspace(0, 1, len(values)), values))
        return torch.from_numpy(np.stack(shown, 1)).float()

    def _generator(self, run: Run) -> np.random.Generator:
        """Secret, and the same in all processes."""
        seed = secrets.randbits(256) if self.insecure_seed is None else self.insecure_seed
        if run.shared:
            words = of_first([float(seed >> 32 * i & 0xFFFFFFFF) for i in range(8)])
            seed = sum(int(word) << 32 * i for i, word in enumerate(words))
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed)))

    def state_dict(self) -> dict[str, Any]:
        """Whether the rows were read; what was found is in the modules' buffers."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.done = state["done"]


def _records(source: Source) -> Rows:
    """The rows of a source, each of which can be read once."""
    rows = getattr(source, "rows", source)
    if not isinstance(rows, Rows):
        raise Refused(
            f"{type(source).__name__} may give a record more than once, which private statistics do not cover",
            "give the rows themselves: sonde.data.Rows(x, y, batch_size=...), or a data set opened by sonde.data.open",
        )
    return rows


def _columns(x: Any) -> dict[str, int]:
    """How many numeric columns each part of the input has, from rows that are none."""
    parts = {"x": x} if isinstance(x, Tensor) else x if isinstance(x, dict) else {}
    return {k: v.shape[1] for k, v in parts.items() if _is_table(v)}


def _targets(y: Any) -> dict[str, int]:
    return {"y": y.shape[1]} if _is_table(y) else {}


def _is_table(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] > 0 and value.is_floating_point()


def _pictures(x: Any, device: torch.device) -> Tensor | None:
    """For pictures (N, C, H, W): the public range [0, 1] in even steps; None for what is no picture."""
    if not isinstance(x, Tensor) or x.ndim < 3 or not x.is_floating_point():
        return None
    steps = torch.linspace(0, 1, SHOWN, device=device)
    return steps.view(-1, *[1] * (x.ndim - 1)).expand(SHOWN, *x.shape[1:])


def _read(rows: Rows, inputs: bool, outputs: bool) -> dict[str, np.ndarray]:
    """The numeric columns of all rows as (N, F) arrays, each record once."""
    parts: dict[str, list[np.ndarray]] = {}
    seen: list[Tensor] = []
    for index in rows.index.split(AT_ONCE):
        batch = rows.take(index)
        seen.append(_records_of(batch))
        for k, v in _leaves(batch, inputs, outputs):
            parts.setdefault(k, []).append(v.double().cpu().numpy())
    if len(torch.cat(seen).unique()) < len(rows):
        raise Refused(
            "some records have several rows, and private statistics hide one row",
            "leave PrivateInputs out, and normalise by numbers that are public",
        )
    return {k: np.concatenate(v) for k, v in parts.items()}


def _records_of(batch: Batch) -> Tensor:
    if batch.records is None:
        raise Refused(
            "these rows do not say which record each came from, which private statistics must know",
            "give rows with records: sonde.data.Rows, or a data set opened by sonde.data.open",
        )
    return batch.records


def _leaves(batch: Batch, inputs: bool, outputs: bool) -> Iterator[tuple[str, Tensor]]:
    if inputs:
        yield from ((k, batch.x if isinstance(batch.x, Tensor) else batch.x[k]) for k in _columns(batch.x))
    if outputs:
        yield from ((k, batch.y) for k in _targets(batch.y))


def _bound(given: float | tuple[float, ...] | None, column: int) -> float | None:
    if given is None or isinstance(given, int | float):
        return given
    if column >= len(given):
        raise Refused(f"PrivateInputs has bounds for {len(given)} columns, and there are more", "give one for each")
    return float(given[column])
