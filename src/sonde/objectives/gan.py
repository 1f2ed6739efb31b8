"""Generative adversarial networks: a generator that learns to fool a discriminator.

Entry: GAN.
"""

# N rows of a batch, S samples of a generator's turn, Z size of the noise

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective, SondeError, Term


class GAN(Objective):
    """A generator G and a discriminator D (Goodfellow et al., 2014, Algorithm 1), with the loss that does not saturate.

        discriminator's turn:  real_i = -log D(x_i),   fake_i = -log(1 - D(G(z_i))),    i = 1..N
        generator's turn:      fool = mean_s -log D(G(z_s)),    s = 1..samples          (sec. 3, last paragraph)

    generator: noise z (S, latent), standard normal -> rows like x (S, ...).
    discriminator: rows (N, ...) -> logits (N,) or (N, 1); D is their sigmoid.
    samples: rows that the generator is judged by in its turn. discriminator_turns: of a step, k in Algorithm 1.

    The discriminator's terms are `example`: row i is judged with a fake of its own. The generator's turn reads no
    record, not even how many there are: it depends on parameters and noise alone, so its term is a `penalty`. Hence
    microbatches add it once, and private training neither clips nor noises it: what it knows of the data it has from a
    discriminator that was trained privately. The noise is drawn in `forward` from torch's global generator, whose state
    is part of a run's, so a resumed run draws on; an evaluation that only probes (SAM's first) draws noise of its own.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent: int,
        samples: int = 64,
        discriminator_turns: int = 1,
    ) -> None:
        super().__init__()
        for name, value in (("latent", latent), ("samples", samples), ("discriminator_turns", discriminator_turns)):
            if value < 1:
                raise SondeError(f"{name}={value} is not a positive number", f"choose {name} of at least 1")
        self.generator, self.discriminator = generator, discriminator
        self.latent, self.samples, self.discriminator_turns = latent, samples, discriminator_turns

    def players(self) -> Mapping[str, nn.Module]:
        """Two modules without a common parameter."""
        return {"discriminator": self.discriminator, "generator": self.generator}

    def turns(self, step: int) -> tuple[str, ...]:
        """The discriminator first, as often as asked."""
        return ("discriminator",) * self.discriminator_turns + ("generator",)

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds the logits of what was judged."""
        if turn == "generator":
            logits = self._judged(self._like(batch, self.samples))  # (S,)
            return Loss({"fool": Term(F.softplus(-logits).mean(), "penalty")}, {"fake_logits": logits})
        with torch.no_grad():  # this turn moves the discriminator alone
            rows = self._like(batch, len(batch))  # (N, ...)
        real, fake = self._judged(batch.x), self._judged(rows)  # (N,) each
        # softplus(-a) = -log sigmoid(a), softplus(a) = -log(1 - sigmoid(a))
        terms = {"real": Term(F.softplus(-real)), "fake": Term(F.softplus(fake))}
        return Loss(terms, {"real_logits": real, "fake_logits": fake})

    def sample(self, count: int) -> Tensor:
        """Rows made by the generator, (count, ...), from noise of torch's global generator."""
        like = next(self.generator.parameters())
        rows: Tensor = self.generator(torch.randn(count, self.latent, device=like.device, dtype=like.dtype))
        return rows

    def _like(self, batch: Batch, count: int) -> Tensor:
        rows = self.sample(count)
        if rows.shape[1:] != batch.x.shape[1:]:
            raise SondeError(
                f"the generator makes rows of shape {tuple(rows.shape[1:])}, the data's are {tuple(batch.x.shape[1:])}",
                "change the generator's last layer so that both have one shape",
            )
        return rows

    def _judged(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(rows)
        if logits.dim() == 2 and logits.shape[1] == 1:
            logits = logits[:, 0]
        if logits.dim() != 1:  # several logits a row would be averaged with rows
            raise SondeError(
                f"the discriminator answers {tuple(logits.shape[1:])} numbers a row; GAN needs one",
                "end it in a layer with one output",
            )
        return logits

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: the share of real and of fake rows that the discriminator recognises."""
        real, fake = loss.out["real_logits"], loss.out["fake_logits"]
        return {"real_accuracy": (real > 0).float(), "fake_accuracy": (fake < 0).float()}
