"""A new column for every stage, in nets that grow.

Entry: progressive networks.
"""

from __future__ import annotations

from typing import Any

from sonde.core import Event, Method, Refused, Run, SondeError, Started, defines


class GrowColumns(Method):
    """At each stage after the first, let every net that has `grow()` add a column and freeze the others.

    For progressive networks (Rusu et al., 2016). The update rule is set up again for the parameters there are then;
    a resumed run has as many columns as the one it continues. Methods that average or restore the weights are refused,
    since they know those of the first column only.
    """

    def __init__(self) -> None:
        self.stage = 0  # for which the nets last grew: one that is stopped before its first step begins twice

    def setup(self, run: Run) -> None:
        """See `Method.setup`."""
        if run.shared:
            raise Refused("GrowColumns adds parameters that the other processes do not know", "train in one process")
        if not _growing(run):
            raise SondeError("GrowColumns found no net that grows", "use a progressive net, e.g. ProgressiveMLP")
        others = [type(m).__name__ for m in run.methods if defines(m, "weights")]
        if others:
            raise Refused(f"{others[0]} keeps the weights of a net that does not grow", f"remove {others[0]}")

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if not isinstance(event, Started) or run.stage <= self.stage:
            return
        self.stage = run.stage
        for module in _growing(run):
            module.grow()
        run.renew()

    def state_dict(self) -> dict[str, Any]:
        """For which stage the nets last grew."""
        return {"stage": self.stage}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.stage = state["stage"]


def _growing(run: Run) -> list[Any]:
    return [m for m in run.objective.modules() if hasattr(m, "grow")]
