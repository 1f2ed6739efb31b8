"""Learning rates that fall with the depth of a layer, for fine-tuning.

Clark, Luong, Le and Manning, ELECTRA, 2020, appendix A; Bao, Dong, Piao and Wei, BEiT, 2022, appendix H.
"""

from __future__ import annotations

from sonde.core import Method, Refused, Run
from sonde.optim.groups import depths

from .descend import Descend


class LayerDecay(Method):
    """Learn the layers near the input more slowly: the rate times decay^(layers above) (Clark et al., 2020).

    decay: in (0, 1]; 0.65 to 0.9 for a pretrained Transformer.
    blocks: the dotted name, within a player, of the list of blocks that are counted; "" for its longest ModuleList or
        Sequential. What comes before the list (embeddings) lies below its first block, and what comes after (the head)
        above its last, at the full rate.
    """

    def __init__(self, decay: float = 0.75, blocks: str = "") -> None:
        if not 0 < decay <= 1:
            raise ValueError(f"decay lies in (0, 1]; got {decay}")
        self.decay, self.blocks = decay, blocks

    def setup(self, run: Run) -> None:
        """Refuse an update rule without rates."""
        if not isinstance(run.updater, Descend) or not run.updater.paced:
            name = type(run.updater).__name__
            raise Refused(f"LayerDecay cannot give layers rates of their own under {name}", "use sgd, adamw or another")

    def pace(self) -> float:
        """See `Paces`."""
        return 1.0

    def paces(self, run: Run, turn: str) -> dict[str, float]:
        """See `Paces`."""
        try:
            found = depths(run.objective.players()[turn], self.blocks)
        except KeyError:
            what = f"a list of blocks called {self.blocks!r}" if self.blocks else "a list of blocks to count layers by"
            raise Refused(
                f"LayerDecay finds no {what[2:]} in {turn!r}", "name one: layer_decay(blocks='...')"
            ) from None
        top = max(found.values(), default=0)
        return {k: self.decay ** (top - found[id(p)]) for k, p in run.params(turn).items() if found[id(p)] < top}
