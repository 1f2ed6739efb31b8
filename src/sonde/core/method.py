"""What changes how a model is learned: the hooks of a step, in their order, and the events a run emits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from .batch import Batch
from .errors import SondeError
from .loss import Loss

if TYPE_CHECKING:
    from .build import Build
    from .objective import Objective
    from .run import Run

Params = dict[str, Tensor]
"""Qualified name -> parameter."""
Grads = dict[str, Tensor]
"""Qualified name -> gradient of the same shape; a parameter that the loss does not reach has no entry."""


class Source(Protocol):
    """Where batches come from: a data set, a replay buffer, an environment, a set of clients.

    `batches` is a function of (seed, step): iterating from step `start` gives the batches that iterating from the
    beginning would have reached, which is what makes an interrupted run resume exactly.
    """

    @property
    def steps_per_epoch(self) -> int | None:
        """Batches in one pass over the data; None for a source without passes."""

    def batches(self, run: Run | None, start: int = 0) -> Iterator[Batch]:
        """The batches from step `start` on; of several processes each takes its share, unless `run` is None."""


class Gradient(Protocol):
    """What an update rule calls, as often as it needs, to have the gradient at the current parameters.

    `record=False` marks an evaluation that only probes (SAM's first): it moves no running statistic and reaches no
    observer. The last evaluation of a step should be a recorded one.
    """

    def __call__(self, record: bool = True) -> Grads:
        """The gradient, transformed by every method's `grads`."""


@dataclass(frozen=True, slots=True)
class At:
    """Where in the run a loss is evaluated: everything a `loss` hook may read."""

    run: Run
    turn: str
    batch: Batch
    params: Params
    record: bool

    def evaluate(self, batch: Batch) -> Loss:
        """The objective's own loss on other rows (a replay buffer, an augmented view), at the same parameters."""
        return self.run.forward(self.turn, self.params, batch)


# ---------------------------------------------------------------- events
@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; methods observe it in `on`."""


@dataclass(frozen=True, slots=True)
class Started(Event):
    """A stage begins, or resumes at `run.done`."""

    source: Source


@dataclass(frozen=True, slots=True)
class Stepped(Event):
    """A step was taken on `batch`; `losses` are those whose gradients were used, by turn, detached."""

    batch: Batch
    losses: Mapping[str, Loss]


@dataclass(frozen=True, slots=True)
class Epoched(Event):
    """One pass over the data is complete; `epoch` counts from 1."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Measured(Event):
    """A split was evaluated: `values` by the name of the metric."""

    split: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """A stage is complete: its budget is spent, or a method stopped it."""

    source: Source


@dataclass(frozen=True, slots=True)
class Settled(Event):
    """Nothing is in flight and every method has seen this step: the only moment at which state may be saved."""

    final: bool = False


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """The run is about to raise `error`; parameters are those before the failing step."""

    error: SondeError


@dataclass(frozen=True, slots=True)
class Read(Event):
    """A method is about to iterate over raw records outside the step, which a privacy method may refuse.

    pure: the epsilons of the pure differentially private mechanisms through which alone the records are seen, each
    once; () for a reader that promises nothing.
    """

    reader: str
    pure: tuple[float, ...] = ()


# ---------------------------------------------------------------- methods
class Method:
    """A change to training. A subclass overrides the hooks it needs; nothing else is called.

    The numbers are the order within a step. Hooks 2, 3, 5, `source`, `gradient` and `weights` are chains: each takes
    the current value and returns its replacement, in the order of the run's list. Hooks 4 and 6 are slots: at most one
    method of a run defines each. 3 and 5 may run many times in a step (PGD, SAM, per-record gradients), so they change
    no state.
    """

    writes = False
    """Whether it writes files: such a method is added by whoever owns the files, and a recipe may not name it."""
    measures = False
    """Whether it emits `Measured`: what waits for measurements (early stopping) is refused where nothing measures."""

    remembers = False
    """Whether it keeps rows of the training data for later steps (a replay buffer), which private training refuses."""

    evaluations = 1
    """How many gradients the update asks for because of it (SAM: 2); each is a query that private training pays for."""

    def setup(self, run: Run) -> None:
        """1, once: adapt modules, allocate state. The update rule's comes last, since it needs the parameters."""

    def source(self, run: Run, source: Source) -> Source:
        """Chain, once a stage: where its batches come from (Poisson sampling, a replay buffer beside the data)."""
        return source

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2, chain: transform the rows. Clears `records` if rows now mix records."""
        return batch

    def loss(self, at: At, loss: Loss) -> Loss:
        """3, chain: add, replace or reweight terms."""
        return loss

    def estimate(self, run: Run, turn: str, batch: Batch, record: bool) -> Grads:
        """4, slot: the gradient of the loss on `batch`. The default is backpropagation."""
        raise NotImplementedError

    def grads(self, run: Run, turn: str, grads: Grads) -> Grads:
        """5, chain: transform the gradient."""
        return grads

    def gradient(self, run: Run, turn: str, gradient: Gradient) -> Gradient:
        """Chain: where the update rule's gradient is taken (SAM: at the worst point nearby). Returns a closure."""
        return gradient

    def update(self, run: Run, turn: str, gradient: Gradient) -> None:
        """6, slot: move the parameters, calling `gradient` as often as the rule needs."""
        raise NotImplementedError

    def project(self, run: Run, turn: str) -> None:
        """7: bring the parameters back into a set, without gradients."""

    def weights(self, run: Run, weights: Params) -> Params:
        """Chain: the parameters and buffers that are evaluated and shipped, when not the last ones (EMA)."""
        return weights

    def built(self, build: Build[Objective]) -> Build[Objective]:
        """Chain: what builds the objective as `setup` left it, where that changed modules: a shipped model is built so.

        Both sides must agree on every name and shape of its state.
        """
        return build

    def on(self, run: Run, event: Event) -> None:
        """8: observe."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that must survive a kill: nested dicts and lists of tensors, numbers, strings and None."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""


def defines(method: Method, hook: str) -> bool:
    """Whether the method overrides the hook."""
    return getattr(type(method), hook) is not getattr(Method, hook)


def returned(value: Any, method: Method, hook: str) -> Any:
    """`value`, unless a chain hook forgot to return it."""
    if value is None:
        raise TypeError(f"{type(method).__name__}.{hook}() returned None; return the new value")
    return value
