"""Learning the solution of a differential equation: few measurements, and the law that holds between them.

Raissi, Perdikaris and Karniadakis, Physics-informed neural networks, 2019, sec. 3.1.

Entry: physical constraints; custom losses.
"""

# N places, D coordinates, U unknowns, R equations

from __future__ import annotations

import torch
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective, SondeError, Term
from sonde.losses.equations import Equation


class Physics(Objective):
    """Agree with what is known, and satisfy a differential equation everywhere (Raissi et al., 2019, eq. 4).

        data_i     = 1/U sum_u ( net(x_i)_u - y_iu )^2     where y is known, 0 elsewhere
        residual_i = 1/R sum_r equation(net, x_i)_r^2      at every place

    net: places x (N, D) -> unknowns u (N, U), smooth in x (tanh, not relu, whose second derivative is 0).
    equation: (u, x) -> what is 0 where it holds, (N,) or (N, R): one of `sonde.losses.equations`, or a function of your
        own, which differentiates u by `sonde.losses.derivative`.
    y: (N, U), NaN where nothing is known: boundary and initial values, or measurements. strength: of the residual.

    Both terms are means over all rows of a batch: the share of rows with something known weighs the data against the
    equation, as `strength` does.
    """

    def __init__(self, net: nn.Module, equation: Equation, strength: float = 1.0) -> None:
        super().__init__()
        if not strength >= 0:
            raise SondeError(f"strength={strength} rewards breaking the equation", "choose strength of 0 or more")
        self.net, self.equation, self.strength = net, equation, strength

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds u and the residual."""
        learning = torch.is_grad_enabled()
        with torch.enable_grad():  # an evaluation needs the slopes too
            x = batch.x if batch.x.requires_grad else batch.x.detach().requires_grad_()
            u = self.net(x)  # (N, U)
            if u.shape != batch.y.shape:
                raise SondeError(
                    f"the net answers {tuple(u.shape)} and y is {tuple(batch.y.shape)}",
                    "give y the shape (N, U) with NaN where nothing is known",
                )
            residual = self.equation(u, x)  # (N,) or (N, R)
        if residual.shape[:1] != u.shape[:1]:
            raise SondeError(
                f"the equation gives {tuple(residual.shape)} for {len(u)} places",
                "return a residual a row, (N,) or (N, R)",
            )
        residual = residual.reshape(len(u), -1)  # (N, R)
        known = ~batch.y.isnan()
        gap = torch.where(known, u - batch.y.nan_to_num(), 0.0)  # (N, U)
        if not learning:
            u, residual, gap = u.detach(), residual.detach(), gap.detach()
        terms = {
            "data": Term(gap.pow(2).mean(1)),
            "residual": Term(residual.pow(2).mean(1), "example", self.strength),
        }
        return Loss(terms, {"u": u, "residual": residual})

    def predict(self, x: Tensor) -> Tensor:
        """The unknowns, (N, U)."""
        u: Tensor = self.net(x)
        return u

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: the squared residual, and the squared error where something is known."""
        return {"residual": loss.out["residual"].pow(2).mean(1), "mse": loss.terms["data"].value}
