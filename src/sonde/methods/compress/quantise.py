"""Quantisation-aware training: the net learns to live with rounded weights and activations.

Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-only inference, 2018,
sec. 3; the rounding, and how it differs from the paper's, is in `sonde.nets.layers.quantised`.

Entry: quantisation.
"""

from __future__ import annotations

from sonde.core import Build, Event, Method, Objective, Read, Run, Started
from sonde.nets.layers.quantised import quantised


class Quantise(Method):
    """Round weights and inputs of dense layers and convolutions to few bits while training (Jacob et al., 2018).

    bits: of the integers that the numbers stand for, 2 to 16; 8 is what most hardware computes with.

    The modules themselves change, so what is measured, attacked and exported computes as it was trained; the model's
    state gains the range of each layer's inputs, and its weights are those before rounding. Those ranges are statistics
    of the training rows, which is announced: private training refuses it. The update rule still moves float weights.
    """

    def __init__(self, bits: int = 8) -> None:
        if not 2 <= bits <= 16:
            raise ValueError(f"bits is 2 to 16; got {bits}")
        self.bits = bits

    def setup(self, run: Run) -> None:
        """Replace the layers."""
        quantised(run.objective, self.bits)
        if run.shared:
            run.note("Quantise takes ranges from one process's share of each batch: not those of a single process")

    def built(self, build: Build[Objective]) -> Build[Objective]:
        """See `Method.built`."""
        return Build(quantised, module=build, bits=self.bits)

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started):
            run.emit(Read(type(self).__name__))
