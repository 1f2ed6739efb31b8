"""A training run: its mutable state, and the pipeline assembled from its methods."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .backprop import Backprop, all_finite, first_nonfinite, nonfinite_gradient
from .batch import Batch
from .engine import Engine, pick_device, placed_like, rank_and_world, rng_state, set_rng_state, sharing
from .errors import Notice, Refused, SondeError
from .loss import Loss
from .method import At, Event, Gradient, Grads, Method, Params, Read, Settled, Source, Stepped, defines, returned
from .objective import Objective


class Run:
    """The mutable state of one training run, and the pipeline assembled from its methods.

    objective: what is learned. It is moved to the engine's device.
    methods: what changes how it is learned, in the order in which they apply within each hook.
    engine: where the arithmetic is done.
    checks: stop at a loss or gradient that is not finite, before the step is taken. On an accelerator this waits
        for the device once a step.

    step: steps taken since the beginning. stage: stages finished. done: steps taken in the current stage.
    total: steps the current stage will take (an estimate under a time budget). limit: the most it may; None if only
        time limits it.
    seconds: time spent in the stage. elapsed: time spent in all stages.
    stop: why the stage should end after this step; None to go on.
    notes: what was changed so that the methods go together, a line each, for whoever reports on the run.
    """

    def __init__(
        self,
        objective: Objective,
        methods: Iterable[Method],
        engine: Engine | None = None,
        checks: bool = True,
    ) -> None:
        self.engine = Engine(device="cpu") if engine is None else engine
        self.engine.check_processes()
        self.device = pick_device(self.engine.device)
        self.objective, self.methods, self.checks = objective.to(self.device), tuple(methods), checks
        self.step = self.stage = self.done = 0
        self.total, self.seconds, self.elapsed = 1, 0.0, 0.0
        self.stop: str | None = None
        self.limit: int | None = None
        self.notes: list[str] = []
        self.source: Source | None = None
        self._losses: dict[str, Loss] = {}
        self.estimator = self._slot("estimate") or Backprop()
        updater = self._slot("update")
        if updater is None:
            raise SondeError("the run has no update rule", "add one to the methods, e.g. sonde.methods.adamw(lr=1e-3)")
        self.updater = updater
        chains = ("source", "batch", "loss", "grads", "gradient", "project", "weights", "on")
        self._hooks = {hook: [m for m in self.methods if defines(m, hook)] for hook in chains}
        self.shared, self.sharded = sharing(), self.engine.parallel == "fsdp"
        self.alone = len(objective.players()) == 1  # one player: no other's parameters to protect from its gradient
        self._params: dict[str, Params] = {}
        for m in [m for m in self.methods if m is not self.updater]:
            m.setup(self)
            self._params.clear()  # a setup may have replaced parameters (parametrisations, adapters)
        self.call: nn.Module = self.engine.distribute(objective, self.alone)
        self._params.clear()
        self.updater.setup(self)
        if self.shared and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in objective.modules()):
            warnings.warn(
                "BatchNorm sees one process's share of each batch, so the run will not equal one in a single process",
                stacklevel=2,
            )
        self._compiled = self._compile() if self.engine.compile else None
        self._probes_need_buffers = any(True for _ in objective.buffers())

    # ------------------------------------------------------------ assembly
    def _slot(self, hook: str) -> Method | None:
        owners = [m for m in self.methods if defines(m, hook)]
        if len(owners) > 1:
            names = " and ".join(type(m).__name__ for m in owners)
            what = {"estimate": "how the gradient is estimated", "update": "how parameters are moved"}[hook]
            raise Refused(f"{names} both replace {what}; a run has one", "remove one of them")
        return owners[0] if owners else None

    def params(self, turn: str) -> Params:
        """The trainable parameters of a player, by their qualified names in the objective."""
        if turn not in self._params:
            mine = {id(p) for p in self.objective.players()[turn].parameters() if p.requires_grad}
            self._params[turn] = {k: p for k, p in self.objective.named_parameters() if id(p) in mine}
        return self._params[turn]

    def renew(self) -> None:
        """Parameters were added or replaced after the run was built: set the update rule up again."""
        self._params.clear()
        self.updater.setup(self)

    def _compile(self) -> Any:
        compiled = torch.compile(self.call)

        def call(turn: str, batch: Batch) -> Loss:
            try:
                return compiled(turn, batch)  # type: ignore[no-any-return]
            except Exception as error:  # whatever the compiler stumbles on, eager execution gives the same numbers
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                warnings.warn(f"torch.compile failed, going on without it: {reason}", stacklevel=2)
                self._compiled = None
                return self.call(turn, batch)  # type: ignore[no-any-return]

        return call

    def note(self, text: str) -> None:
        """Say once what was changed on the user's behalf, and keep it for the report."""
        if text not in self.notes:
            self.notes.append(text)
            warnings.warn(text, Notice, stacklevel=2)

    # ------------------------------------------------------------ evaluation
    def chain(self, hook: str, value: Any, *args: Any) -> Any:
        """`value` after the hook of every method that defines it, in order."""
        for m in self._hooks[hook]:
            value = returned(getattr(m, hook)(*args, value), m, hook)
        return value

    def forward(self, turn: str, params: Params, batch: Batch, record: bool = False) -> Loss:
        """The objective's own loss at `params`. Only a recorded evaluation may move buffers (running statistics)."""
        own = params is self._params.get(turn)
        if self.engine.precision == "32":
            if own and (record or not self._probes_need_buffers):
                return self._plain(turn, batch)
            return self._probe(turn, params, batch)
        with self.engine.autocast(self.device):
            return self._plain(turn, batch) if own and record else self._probe(turn, params, batch)

    def _plain(self, turn: str, batch: Batch) -> Loss:
        loss: Loss = self.call(turn, batch) if self._compiled is None else self._compiled(turn, batch)
        return loss

    def _probe(self, turn: str, params: Params, batch: Batch) -> Loss:
        if params is self._params.get(turn):  # through the wrapper of many processes, which must see every pass
            buffers = {k: b.clone() for k, b in self.call.named_buffers()}
            return functional_call(self.call, buffers, (turn, batch))  # type: ignore[no-any-return]
        buffers = {k: b.clone() for k, b in self.objective.named_buffers()}
        return functional_call(self.objective, {**buffers, **params}, (turn, batch))  # type: ignore[no-any-return]

    def loss(self, turn: str, params: Params, batch: Batch, record: bool = False) -> Loss:
        """The loss as a function of `params`, with the terms that methods add.

        Only the recorded evaluation of a step, the one whose gradient is used, may change buffers and reaches
        the observers.
        """
        loss = self.forward(turn, params, batch, record)
        if hooks := self._hooks["loss"]:
            at = At(self, turn, batch, params, record)
            for m in hooks:
                loss = returned(m.loss(at, loss), m, "loss")
        if record:
            self._losses[turn] = loss
        return loss

    def gradient(self, turn: str, batch: Batch, record: bool = True) -> Grads:
        """The estimated gradient on `batch`, checked and then transformed by the methods."""
        grads = self.estimator.estimate(self, turn, batch, record)
        if self.checks and not all_finite(grads, self.sharded):
            raise nonfinite_gradient(self.step, first_nonfinite(grads), batch)
        return self.chain("grads", grads, self, turn) if self._hooks["grads"] else grads

    def differentiate(self, total: Tensor, params: Params) -> Grads:
        """The gradient of a scalar without touching `.grad`; zeros where it does not reach."""
        if not total.requires_grad:
            return {k: torch.zeros_like(p) for k, p in params.items()}
        found = torch.autograd.grad(total, list(params.values()), allow_unused=True)
        return {k: torch.zeros_like(p) if g is None else g for (k, p), g in zip(params.items(), found, strict=True)}

    # ------------------------------------------------------------ a step
    def advance(self, batch: Batch) -> None:
        """One step on one batch: every turn of it, then the events."""
        if self.device.type != "cpu":
            batch = batch.to(self.device)
        if self._hooks["batch"]:
            batch = self.chain("batch", batch, self)
        turns = self.objective.turns(self.step)
        for turn in turns:
            gradient: Gradient = partial(self.gradient, turn, batch)
            for m in self._hooks["gradient"]:
                gradient = returned(m.gradient(self, turn, gradient), m, "gradient")
            self.updater.update(self, turn, gradient)
            if self._hooks["project"]:
                with torch.no_grad():
                    for m in self._hooks["project"]:
                        m.project(self, turn)
        self.step, self.done = self.step + 1, self.done + 1
        if self._hooks["on"]:
            losses = self._losses
            self.emit(Stepped(batch, {turn: losses[turn].detach() for turn in turns if turn in losses}))

    def emit(self, event: Event) -> None:
        """Tell every method that observes."""
        for m in self._hooks["on"]:
            m.on(self, event)

    def read(self, source: Source, reader: Method) -> Iterator[Batch]:
        """Records for a method's own use (a Fisher, a statistic), announced first: a privacy method may refuse."""
        self.emit(Read(type(reader).__name__))
        for batch in source.batches(None, 0):  # None: every process reads all rows, not its share of them
            yield batch if self.device.type == "cpu" else batch.to(self.device)

    @property
    def losses(self) -> dict[str, Loss]:
        """The latest recorded loss of each turn, detached."""
        return {turn: loss.detach() for turn, loss in self._losses.items()}

    def recorded(self, turn: str, loss: Loss) -> None:
        """For estimators that evaluate the loss in parts: this is the loss whose gradient is used."""
        self._losses[turn] = loss

    @property
    def going(self) -> bool:
        """Whether nobody has asked the stage to end."""
        return self.stop is None

    @property
    def interrupted(self) -> bool:
        """Whether the stage was left open, to be resumed."""
        return self.stop == "interrupted"

    @property
    def observed(self) -> bool:
        """Whether any method observes events."""
        return bool(self._hooks["on"])

    @property
    def fraction(self) -> float:
        """How much of the current stage is done, in [0, 1]."""
        return min(1.0, self.done / max(1, self.total))

    # ------------------------------------------------------------ what is evaluated and shipped
    def weights(self) -> Params:
        """Parameters and buffers as they are evaluated and shipped: the last ones, unless a method averages them."""
        return self.chain("weights", {k: v.detach() for k, v in self.objective.state_dict().items()}, self)  # type: ignore[no-any-return]

    @contextmanager
    def evaluating(self) -> Iterator[Objective]:
        """The objective in evaluation mode with the weights that would be shipped, without gradients."""
        modes = {m: m.training for m in self.objective.modules()}
        shipped = self.weights() if self._hooks["weights"] else None
        kept = None
        if shipped is not None:
            kept = {k: v.detach().clone() for k, v in self.objective.state_dict().items()}
            self.load_weights(shipped)
        self.objective.eval()
        try:
            # What an evaluation draws (a latent, a random crop) must not move what training draws.
            devices = [self.device] if self.device.type == "cuda" else []
            with torch.random.fork_rng(devices), torch.no_grad(), self.engine.autocast(self.device):
                yield self.objective
        finally:
            if kept is not None:
                self.objective.load_state_dict(kept)
            for m, training in modes.items():
                m.training = training

    def load_weights(self, weights: Params) -> None:
        """Replace parameters and buffers, whole or sharded; a process that holds a part takes its own."""
        own = self.objective.state_dict()
        self.objective.load_state_dict({k: placed_like(v, own[k]) if k in own else v for k, v in weights.items()})

    # ------------------------------------------------------------ state
    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs to give the same bits as one that never stopped."""
        return {
            "objective": dict(self.objective.state_dict()),
            "estimator": self.estimator.state_dict(),
            "methods": [{"method": type(m).__name__, "state": m.state_dict()} for m in self.methods],
            "step": self.step,
            "stage": self.stage,
            "done": self.done,
            "seconds": self.seconds,
            "elapsed": self.elapsed,
            "stop": None if self.interrupted else self.stop,
            "rng": rng_state(),
            "world": rank_and_world()[1],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`, for a run built from the same objective and methods."""
        names, saved = [type(m).__name__ for m in self.methods], [s["method"] for s in state["methods"]]
        if names != saved:
            raise ValueError(
                f"the state is of a run with the methods {', '.join(saved)}; this one has {', '.join(names)}"
            )
        before = list(map(id, self.objective.parameters()))
        self.load_weights(state["objective"])
        if list(map(id, self.objective.parameters())) != before:  # a net grew to the weights it was given
            self.renew()
        self.estimator.load_state_dict(state["estimator"])
        for m, s in zip(self.methods, state["methods"], strict=True):
            m.load_state_dict(s["state"])
        for name in ("step", "stage", "done", "seconds", "elapsed", "stop"):
            setattr(self, name, state[name])
        set_rng_state(state["rng"])

    def settle(self, final: bool = False) -> None:
        """Say that nothing is in flight."""
        self.emit(Settled(final))
