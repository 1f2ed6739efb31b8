"""Differentially private training.

Entry: differential privacy.
"""

# N rows, R records, L expected records of a step

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from sonde.core import (
    Batch,
    Build,
    Event,
    Finished,
    Loss,
    Method,
    NonFinite,
    Objective,
    Read,
    Refused,
    Run,
    Source,
    Started,
    Stepped,
)
from sonde.core.engine import average, of_first, rank_and_world
from sonde.core.method import Grads, Params
from sonde.data.poisson import Poisson, poisson
from sonde.data.rows import Rows
from sonde.per_record import ByRecord, PerRecord
from sonde.privacy import Spent, noise_for, spent

from .adapt import built_private, in_a_line, make_private
from .clipping import Adaptive, Flat, PerLayer
from .noise import NoiseStream

CLIPPINGS = {"flat": Flat, "per_layer": PerLayer, "adaptive": Adaptive}


class DPSGD(Method):
    """Clip each record's gradient and add noise: what is learned hides who was in the data (Abadi et al., 2016).

        g = (sum_i min(1, C / |g_i|) g_i + z C N(0, I)) / L  +  gradient of the penalties

    A record is drawn into each step independently (Poisson sampling), so that one record moves the sum by at most C.
    Terms of kind `penalty` read no data: their gradient is added untouched. Terms of kind `batch`, rows that mix
    records, and methods that keep or read raw records are refused, since none of them is covered by the noise.

    max_grad_norm: C, in l2 over all parameters.
    noise_multiplier: z. Or target_epsilon: z is the least that keeps the stage within (target_epsilon, target_delta).
    target_delta: the probability that the promise fails; below 1 / records.
    accountant: `rdp` (a bound), `pld` (a tighter one; extra `private`), `gdp` (an approximation).
    clipping: `flat`; `per_layer`: C / sqrt(parameters) for each parameter; `adaptive`: C follows the median length.
    microbatch: at most this many rows are differentiated at a time, 0 for all; the result is the same.
    insecure_seed: draws noise and samples from this seed, so that a test can repeat them. Never for real data.

    Several rows of one record in a batch count as one: the record's gradient is the mean of theirs (De et al., 2022,
    sec. 3.1). BatchNorm is replaced by GroupNorm, which is said. The state of a run holds the noise's generator and the
    sampling seed: whoever reads it can subtract the noise, so checkpoints are as secret as the data.
    """

    def __init__(
        self,
        max_grad_norm: float = 1.0,
        noise_multiplier: float | None = None,
        target_epsilon: float | None = None,
        target_delta: float = 1e-5,
        accountant: Literal["rdp", "pld", "gdp"] = "rdp",
        clipping: Literal["flat", "per_layer", "adaptive"] = "flat",
        microbatch: int = 0,
        insecure_seed: int | None = None,
    ) -> None:
        if (noise_multiplier is None) == (target_epsilon is None):
            raise ValueError("give either noise_multiplier or target_epsilon (with target_delta)")
        if not max_grad_norm > 0:
            raise ValueError(f"max_grad_norm is a positive length; got {max_grad_norm}")
        if noise_multiplier is not None and not noise_multiplier >= 0:
            raise ValueError(f"noise_multiplier is 0 or more; got {noise_multiplier}")
        if clipping not in CLIPPINGS:
            raise ValueError(f"clipping is one of {', '.join(CLIPPINGS)}; got {clipping!r}")
        spent((), target_delta, accountant)  # refuses a delta or an accountant that is none
        self.noise_multiplier, self.target_epsilon, self.target_delta = noise_multiplier, target_epsilon, target_delta
        self.accountant, self.microbatch, self.insecure_seed = accountant, microbatch, insecure_seed
        self.clipping = CLIPPINGS[clipping](float(max_grad_norm))
        self.history: list[list[float]] = []  # [noise multiplier, sampling rate, queries]: what was spent
        self.pure: list[float] = []  # the epsilons of what private readers were shown beside the steps
        self.allowed: int | None = None  # queries that the noise was planned for
        self.rate, self.records = 1.0, 0
        self.seed = secrets.randbits(128) if insecure_seed is None else insecure_seed
        self.noise = NoiseStream(insecure_seed)
        self._drawn: Tensor | None = None

    # ------------------------------------------------------------ before the first step
    def setup(self, run: Run) -> None:
        """Replace what mixes rows, refuse what cannot be covered."""
        if run.sharded:
            raise Refused("DPSGD needs each parameter whole, and fsdp shards them", "use parallel='ddp'")
        if run.engine.compile:
            raise Refused("DPSGD watches layers as they run, which compiled code hides", "leave compile out")
        if run.engine.precision == "16-mixed":
            raise Refused("DPSGD does not scale losses, so float16 gradients would vanish", "use precision bf16-mixed")
        if run.shared and isinstance(self.clipping, Adaptive):
            raise Refused(
                "several processes would each follow lengths of their own with clipping='adaptive'",
                "use clipping='flat' or 'per_layer'",
            )
        for m in run.methods:
            if m.remembers:
                name = type(m).__name__
                raise Refused(
                    f"{name} keeps training rows and uses them again, which DPSGD's accounting does not cover",
                    f"leave {name} out, or train without DPSGD",
                )
        self.replaced = make_private(run.objective)
        if self.replaced:
            run.note(in_a_line(self.replaced))
        self.by_record = ByRecord(run.objective)
        self.evaluations_a_step = math.prod(m.evaluations for m in run.methods)
        if run.shared:  # all sample alike, and each draws noise of its own
            parts = of_first([float(self.seed >> shift & 0xFFFFFFFF) for shift in (96, 64, 32, 0)])
            self.seed = sum(int(part) << shift for part, shift in zip(parts, (96, 64, 32, 0), strict=True))
            if self.insecure_seed is not None:
                self.noise = NoiseStream(self.insecure_seed + rank_and_world()[0])

    def built(self, build: Build[Objective]) -> Build[Objective]:
        """See `Method.built`."""
        return built_private(build) if self.replaced else build

    def source(self, run: Run, source: Source) -> Source:
        """The same records, each drawn independently."""
        # The sample must not be repeated in the next stage.
        drawn = poisson(source, (self.seed + (1 + run.stage) * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128)
        self.rate, self.records = drawn.sampling_rate, drawn.records
        return _Watched(drawn, self)

    def on(self, run: Run, event: Event) -> None:
        """Plan the noise when a stage starts; refuse raw reads; stop when the budget is spent."""
        if isinstance(event, Read) and event.pure:
            self._pay(run, event)
        elif isinstance(event, Read):
            raise Refused(
                f"{event.reader} reads training records outside the noised gradient, which DPSGD does not cover",
                f"leave {event.reader} out, give it public data, or train without DPSGD",
            )
        elif isinstance(event, Started) and self.target_epsilon is not None and self.noise_multiplier is None:
            self._plan(run, self.target_epsilon)
        elif isinstance(event, Started) and run.done == 0 and run.stage > 0 and self.allowed is not None:
            raise Refused(
                f"the noise was planned for one stage, which has spent epsilon {self.target_epsilon}",
                "give noise_multiplier, and stop when the epsilon that the run reports is enough",
            )
        elif isinstance(event, Finished):
            self._drawn = None
        elif isinstance(event, Stepped) and self.allowed is not None:
            if self.queries + self._queries_a_step(run) > self.allowed and run.going and run.done < run.total:
                run.stop = "the privacy budget is spent"

    def _queries_a_step(self, run: Run) -> int:
        return self.evaluations_a_step * len(run.objective.turns(run.step))

    def _pay(self, run: Run, read: Read) -> None:
        """Count a private read, and leave room for it in noise that was planned before it."""
        if self.allowed is not None and self.queries:
            raise Refused(
                f"{read.reader} reads records, and the noise was planned without what that costs",
                "read them before the first step, or give noise_multiplier instead of target_epsilon",
            )
        self.pure += read.pure
        if self.allowed is not None and self.target_epsilon is not None:
            self._plan(run, self.target_epsilon)

    def _plan(self, run: Run, epsilon: float) -> None:
        if run.limit is None:
            raise Refused(
                "a time budget takes a number of steps that nobody knows, so no noise can be planned for it",
                "give a budget of steps or epochs, or noise_multiplier instead of target_epsilon",
            )
        self.allowed = run.limit * self._queries_a_step(run)
        self.noise_multiplier = noise_for(
            epsilon, self.target_delta, self.rate, self.allowed, self.accountant, pure=self.pure
        )

    # ------------------------------------------------------------ a step
    def estimate(self, run: Run, turn: str, batch: Batch, record: bool) -> Grads:
        """See `Method.estimate`."""
        params = run.params(turn)
        for p in params.values():
            p.grad = None  # the last step's makes room for this one's
        records = self._checked(batch)
        lot = float(len(batch)) if batch.denominator is None else batch.denominator
        std = None if len(batch) else self._query(lot)  # an empty draw is a query like any other
        total: Grads = {} if std is None else {k: self.noise.like(p, std) for k, p in params.items()}
        losses: list[Loss] = []
        lengths: list[Tensor] = []
        for part, ids in self._parts(batch, records):
            loss, per = self._evaluated(run, turn, params, part, ids, record)
            losses.append(loss)
            if per is None:
                continue
            lengths.append(per.norms.detach())
            if run.checks and not torch.isfinite(lengths[-1].sum()):
                raise _nonfinite(run.step, per, part)
            std = self._query(lot) if std is None else std
            weights = self._shares(self.clipping.factors(per), lot)
            for k, p in params.items():
                if k not in total:  # one parameter after the other: what a layer holds is freed before the next's noise
                    total[k] = self.noise.like(p, std)
                per.give(k, weights, total[k])
        if std:
            self.noise.ahead(sum(p.numel() for p in params.values()))
        if std is not None and self.clipping.learns:  # of an empty draw too: that nobody was counted is to be hidden
            self.clipping.learn(torch.cat(lengths) if lengths else torch.zeros(0), lot, self.noise)
        penalty = losses[0].total("penalty") if losses else None
        if penalty is not None and penalty.requires_grad:
            for k, g in run.differentiate(penalty, params).items():
                total[k] = total[k] + g if k in total else g
        if record:
            run.recorded(turn, Loss.join([loss.detach() for loss in losses]) if losses else Loss({}))
        if run.shared:
            average(total.values(), ())
        return total

    def _checked(self, batch: Batch) -> Tensor:
        """The records of the batch, each of which was drawn for this step."""
        if batch.records is None:
            raise Refused(
                "DPSGD must know which record each row came from, and the rows of this batch mix records",
                "leave out what mixes rows (MixUp, CutMix), or train without DPSGD",
            )
        drawn = self._drawn
        if (
            drawn is not None
            and drawn is not batch.records
            and not torch.isin(batch.records, drawn.to(batch.records)).all()
        ):
            raise Refused(
                "the batch has records that were not drawn for this step, which the accountant does not know of",
                "leave out what adds rows (a replay buffer), or train without DPSGD",
            )
        return batch.records

    def _parts(self, batch: Batch, records: Tensor) -> Iterator[tuple[Batch, Tensor | None]]:
        """Microbatches that hold their records whole, with record ids where some have several rows."""
        n = len(batch)
        repeated = n > 0 and len(records.unique()) < n
        if not self.microbatch or n <= self.microbatch:
            if n:
                yield batch, (records if repeated else None)
            return
        if not repeated:
            for part in batch.parts(self.microbatch):
                yield part, None
            return
        order = records.argsort(stable=True)
        counts = records[order].unique_consecutive(return_counts=True)[1].tolist()
        start = size = 0
        for count in [*counts, n + 1]:
            if size and size + count > self.microbatch:
                part = replace(batch[order[start : start + size]], denominator=batch.denominator)
                yield part, part.records
                start, size = start + size, 0
            size += count

    def _evaluated(
        self, run: Run, turn: str, params: Params, batch: Batch, ids: Tensor | None, record: bool
    ) -> tuple[Loss, PerRecord | None]:
        """The loss of the batch, and the gradients of its example terms; None if it has none."""
        whole: list[Loss] = []
        weights = None if ids is None else _shares(ids)

        def evaluate(at: Params, rows: Batch) -> Tensor:
            recorded = at is params
            loss = run.loss(turn, at, rows, record and recorded)
            if recorded:
                whole.append(loss)
                self._refuse_joint(loss)
            values = [t.weight * t.value for t in loss.terms.values() if t.kind == "example"]
            # Nothing that reads a record: the generator of a GAN, whose discriminator is private already.
            total = torch.stack(values).sum(0) if values else rows_of_zero(rows, params)
            return total if weights is None or not recorded else total * weights

        per = self.by_record(evaluate, params, batch, ids)
        loss = whole[0]
        return loss, (per if any(t.kind == "example" for t in loss.terms.values()) else None)

    @staticmethod
    def _refuse_joint(loss: Loss) -> None:
        if joint := [k for k, t in loss.terms.items() if t.kind == "batch"]:
            raise Refused(
                f"DPSGD cannot bound what one record adds to the loss terms {joint}: they depend on several records",
                "leave out the method or objective that adds them, or train without DPSGD",
            )

    @staticmethod
    def _shares(factors: Tensor | dict[str, Tensor], lot: float) -> Tensor | dict[str, Tensor]:
        return {k: f / lot for k, f in factors.items()} if isinstance(factors, dict) else factors / lot

    def _query(self, lot: float) -> float:
        """The deviation of the noise of a mean over `lot` records, which is written down as spent."""
        multiplier = self.noise_multiplier
        if multiplier is None:
            raise Refused("DPSGD plans its noise when a stage starts, and none has", "use fit(run, source, budget)")
        if self.history and self.history[-1][:2] == [multiplier, self.rate]:
            self.history[-1][2] += 1
        else:
            self.history.append([multiplier, self.rate, 1])
        z = self.clipping.noise(multiplier)
        # Processes' noises add up: each adds its share of the variance. (No noise goes with no bound.)
        return z * self.clipping.bound / math.sqrt(rank_and_world()[1]) / lot if z else 0.0

    # ------------------------------------------------------------ what it cost
    @property
    def queries(self) -> int:
        """Noisy gradients so far."""
        return int(sum(n for *_, n in self.history))

    @property
    def spent(self) -> Spent:
        """What the run has spent so far, with what the number rests on."""
        done = [tuple(h) for h in self.history]
        return spent(done, self.target_delta, self.accountant, self.records or None, self.pure)

    def state_dict(self) -> dict[str, Any]:
        """The accountant's history, the noise and its generator, the sampling seed, the clipping bound."""
        return {
            "history": self.history,
            "pure": self.pure,
            "noise_multiplier": self.noise_multiplier,
            "allowed": self.allowed,
            "rate": self.rate,
            "records": self.records,
            "seed": str(self.seed),
            "noise": self.noise.state_dict(),
            "clipping": self.clipping.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.history, self.noise_multiplier = [list(h) for h in state["history"]], state["noise_multiplier"]
        self.pure = list(state["pure"])
        self.allowed, self.rate, self.records = state["allowed"], state["rate"], state["records"]
        self.seed = int(state["seed"])
        self.noise.load_state_dict(state["noise"])
        self.clipping.load_state_dict(state["clipping"])


class _Watched:
    """A source that lets the private method know which records each step drew."""

    def __init__(self, source: Poisson, method: DPSGD) -> None:
        self.inner, self.method = source, method

    @property
    def rows(self) -> Rows:
        """The records themselves, for readers that see each once."""
        return self.inner.rows

    @property
    def steps_per_epoch(self) -> int | None:
        return self.inner.steps_per_epoch

    def batches(self, run: Run | None, start: int = 0) -> Iterator[Batch]:
        for batch in self.inner.batches(run, start):
            if run is not None:
                self.method._drawn = batch.records
            yield batch


def _shares(ids: Tensor) -> Tensor:
    """(N,): one over the rows of each row's record, so that a record's rows are averaged."""
    _, where, counts = ids.unique(return_inverse=True, return_counts=True)
    return 1.0 / counts[where]


def rows_of_zero(rows: Batch, params: Mapping[str, Tensor]) -> Tensor:
    """(N,) zeros that depend on nothing."""
    like = next(iter(params.values()))
    return torch.zeros(len(rows), device=like.device)


def _nonfinite(step: int, per: PerRecord, batch: Batch) -> NonFinite:
    bad = ~torch.isfinite(per.norms)
    ids = per.ids if per.ids is not None else batch.records
    names = "some records" if ids is None else f"records {', '.join(map(str, ids[bad].tolist()[:8]))}"
    return NonFinite(
        f"step {step}: the gradient of {names} is not finite", "look at those records, or lower the learning rate"
    )
