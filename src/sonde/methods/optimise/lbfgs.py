"""L-BFGS: a quasi-Newton method for a loss of few parameters on all rows at once.

Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989, Algorithm 2.1, as torch has it;
the line search is Nocedal and Wright, Numerical optimization, 2006, Algorithms 3.5 and 3.6.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from sonde.core import Event, Gradient, Refused, Run, Started
from sonde.core.method import Grads
from sonde.optim.schedules import Constant, Schedule

from .descend import Descend, projecting


class LBFGS(Descend):
    """Follow a quadratic model made of the last gradients, with a line search (Liu and Nocedal, 1989).

    lr: the step that the line search tries first; without one, the step. iterations: most updates a batch.
    history: how many pairs of steps and changes of the gradient make the model.
    line_search: whether to search for a step that satisfies the strong Wolfe conditions.

    A step evaluates loss and gradient up to 1.25 times `iterations`, on one batch with the same random draws (dropout),
    so that it is one function that is minimised; running statistics and the reported loss are those of one evaluation.
    The model also remembers earlier batches: give all rows in one batch. Anything else works as far as batches agree,
    which is said when a stage starts. Its steps are chosen by losses, so private training refuses it.
    """

    paced = False

    def __init__(
        self,
        lr: float = 1.0,
        iterations: int = 20,
        history: int = 10,
        line_search: bool = True,
        schedule: Schedule = Constant(),  # noqa: B008
    ) -> None:
        if iterations < 1 or history < 1:
            raise ValueError(f"iterations and history are 1 or more; got {iterations} and {history}")
        search = "strong_wolfe" if line_search else None
        make = partial(torch.optim.LBFGS, lr=lr, max_iter=iterations, history_size=history, line_search_fn=search)
        super().__init__(make, schedule)
        self.evaluations = max(1, iterations * 5 // 4)

    def setup(self, run: Run) -> None:
        """Refuse what hides the loss, or must not be decided by it."""
        from ..private.dpsgd import DPSGD

        if isinstance(run.estimator, DPSGD):
            raise Refused("LBFGS chooses its steps by losses, which DPSGD's noise does not cover", "use sgd or adamw")
        if run.shared:
            raise Refused("LBFGS chooses its steps by the loss, of which each process sees a part", "use one process")
        if len(players := tuple(run.objective.players())) > 1:
            raise Refused(
                f"LBFGS models the curvature of a loss that stays, and in a game of {' and '.join(players)} each moves "
                "the other's",
                "use sgd or adamw",
            )
        for name in projecting(run):
            raise Refused(
                f"LBFGS models the loss along its own steps, and {name} moves the parameters after each",
                f"use sgd or adamw with {name}",
            )
        super().setup(run)

    def on(self, run: Run, event: Event) -> None:
        """Say so where a model of several batches is no model of one function."""
        if isinstance(event, Started) and event.source.steps_per_epoch != 1:
            run.note("LBFGS compares gradients of different batches; it is made for all rows in one batch")

    def update(self, run: Run, turn: str, gradient: Gradient) -> None:
        """See `Method.update`."""
        optimiser, first = self.optimisers[turn], []
        self.set_rates(run, turn)
        params = list(run.params(turn).values())
        start = [p.detach().clone() for p in params]
        buffers = [(b, b.detach().clone()) for b in run.objective.buffers()]
        draws = torch.get_rng_state()
        on_device = torch.cuda.get_rng_state(run.device) if run.device.type == "cuda" else None

        def evaluate() -> Tensor:
            for buffer, before in buffers:
                buffer.copy_(before)
            torch.set_rng_state(draws)
            if on_device is not None:
                torch.cuda.set_rng_state(on_device, run.device)
            self.hand_over(run, turn, gradient())
            loss = run.losses[turn]
            first.append(loss)
            return loss.total()

        try:
            optimiser.step(evaluate)  # type: ignore[arg-type]
        except BaseException:
            with torch.no_grad():  # a line search was under way
                torch._foreach_copy_(params, start)
            raise
        run.recorded(turn, first[0])

    def hand_over(self, run: Run, turn: str, grads: Grads) -> None:
        """Gradients in the order of their indices: torch strings them together whatever their layout."""
        for name, p in run.params(turn).items():
            g = grads.get(name)
            p.grad = None if g is None else (g.to_dense() if g.layout is not p.layout else g).contiguous()

    def _optimiser(self, run: Run, turn: str) -> torch.optim.Optimizer:
        return self.make([{"params": list(run.params(turn).values())}])
