"""How the weights begin: by a scheme, or from the training rows.

Entry: vanishing gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import torch

from sonde.core import Batch, Method, Refused, Run, SondeError, Source, Started
from sonde.nets.init import Scheme, check, initialise, layers, scale_layers

from ..regularise.spectral_norm import SpectralNorm
from .fit_inputs import FitInputs


class Initialise(Method):
    """Draw the weights of dense layers and convolutions anew by a known scheme: xavier, kaiming or orthogonal.

    scheme, activation: see `sonde.nets.init.initialise`. seed: of its own generator, so that nothing else that is drawn
    depends on whether the weights were.
    """

    def __init__(self, scheme: Scheme = "kaiming", activation: str = "relu", seed: int = 0) -> None:
        check(scheme, activation)
        self.scheme, self.activation, self.seed = scheme, activation, seed

    def setup(self, run: Run) -> None:
        """Draw them."""
        _alone(self, run)
        if any(isinstance(m, SpectralNorm) for m in run.methods[: run.methods.index(self)]):
            raise Refused(
                "Initialise after SpectralNorm: the weights it would draw are computed from others",
                "put Initialise before SpectralNorm in the list",
            )
        initialise(run.objective, self.scheme, self.activation, torch.Generator().manual_seed(self.seed))


class LSUV(Method):
    """Begin with orthogonal weights, each layer's scaled until its outputs vary by 1 (Mishkin and Matas, 2016).

    rows: how many training rows to go by, at least. tolerance: of the variance, 0.1 in the paper. tries: evaluations
    for each layer. seed: of its own generator.

    It reads training rows before the first step, after those have set the statistics that inputs are normalised by,
    which is announced: private training refuses it.
    """

    def __init__(self, rows: int = 256, tolerance: float = 0.1, tries: int = 10, seed: int = 0) -> None:
        if rows < 2 or tries < 1 or not tolerance > 0:
            raise SondeError(
                f"LSUV(rows={rows}, tolerance={tolerance}, tries={tries}) can measure no variance",
                "give 2 rows or more, a tolerance above 0 and a try at least",
            )
        self.rows, self.tolerance, self.tries, self.seed = rows, tolerance, tries, seed

    def setup(self, run: Run) -> None:
        """Refuse what it cannot scale."""
        _alone(self, run)
        if run.engine.parallel == "fsdp":
            raise Refused("LSUV scales whole layers, and of a sharded net a process has parts", "use parallel=ddp")
        if any(isinstance(m, SpectralNorm) for m in run.methods):
            raise Refused("LSUV scales weights whose size SpectralNorm divides away", "remove one of them")
        layers(run.objective)

    def source(self, run: Run, source: Source) -> Source:
        """See `Method.source`: before the first step, and before anyone keeps what the weights begin with."""
        if run.step > 0:
            return source
        for other in run.methods:
            if isinstance(other, FitInputs):
                other.on(run, Started(source))
        batches = list(self._some(run, source))
        initialise(run.objective, "orthogonal", "linear", torch.Generator().manual_seed(self.seed))
        for turn in run.objective.players():
            with _asleep(run, self.seed):
                scale_layers(
                    run.objective.players()[turn],
                    lambda turn=turn: [run.objective(turn, b) for b in batches],  # type: ignore[misc]
                    self.tolerance,
                    self.tries,
                )
        return source

    def _some(self, run: Run, source: Source) -> Iterator[Batch]:
        n = 0
        for batch in islice(run.read(source, self), source.steps_per_epoch):
            yield batch
            n += len(batch)
            if n >= self.rows:
                return


@contextmanager
def _asleep(run: Run, seed: int) -> Iterator[None]:
    """Without dropout and moving statistics, and without moving what training draws."""
    modes = {m: m.training for m in run.objective.modules()}
    run.objective.eval()
    try:
        with torch.random.fork_rng([run.device] if run.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        for m, training in modes.items():
            m.training = training


def _alone(method: Method, run: Run) -> None:
    """Refuse two methods that each decide how the weights begin."""
    others = [type(m).__name__ for m in run.methods if isinstance(m, Initialise | LSUV) and m is not method]
    if others:
        raise Refused(
            f"{type(method).__name__} and {others[0]} both decide how the weights begin", "remove one of them"
        )
