"""Certified accuracy: what a model answers when it votes under Gaussian noise cannot change within a radius.

Cohen, Rosenfeld and Kolter, Certified adversarial robustness via randomized smoothing, 2019: CERTIFY (sec. 3.2.2) and
the radius sigma Phi^-1(p_A) of its proposition 2. The lower bound of p_A is Clopper and Pearson's (1934). A certificate
is of the smoothed model, not of the one that was trained; each is wrong with a chance of at most alpha.

Entry: adversarial examples; audits.
"""

# N rows, M draws of noise, C classes

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde.core import Audit, Batch, Clock, Measure, SondeError, Subject
from sonde.core.finding import Figure, Shown, Table
from sonde.drawing import COLOURS, canvas, legend

from ..quality.intervals import Array, bootstrap, mean, settings, wilson
from ._asking import affordable, decided, drawn, no_classes

SOURCE = "Cohen et al., 2019, sec. 3.2.2"
Decide = Callable[[Tensor], Tensor]
ABSTAINED = -1
MUCH = 0.1  # of the accuracy lost to the noise itself: what says that the model was not trained with it


@dataclass(frozen=True)
class Certified:
    """What CERTIFY gives for a row. answer: its class, or `ABSTAINED`. radius: l2, 0 where it abstains.

    right: the share of all draws that were answered with the true class, as far as it is known.
    """

    answer: int
    radius: float
    right: float = 0.0


def lower_bound(hits: int, n: int, alpha: float) -> float:
    """Clopper and Pearson's (1934) one-sided lower bound of a share, below it with a chance of at most alpha.

    >>> round(lower_bound(100, 100, 0.001), 4) == round(0.001 ** (1 / 100), 4)
    True
    """
    from scipy.special import betaincinv

    return 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, alpha))


def certify(votes: Sequence[int] | Tensor, first: int, sigma: float, alpha: float) -> Certified:
    """CERTIFY: from the classes (M,) that the model gave for a row with noise; below 0 is no answer.

    first: n_0, how many of the votes choose the class; the others bound its share.
    """
    votes = torch.as_tensor(votes)
    chosen, counted = votes[:first], votes[first:]
    chosen = chosen[chosen >= 0]
    if not len(chosen):
        return Certified(ABSTAINED, 0.0)
    answer = int(chosen.bincount().argmax())
    share = lower_bound(int((counted == answer).sum()), len(counted), alpha)
    if share <= 0.5:
        return Certified(ABSTAINED, 0.0)
    return Certified(answer, sigma * NormalDist().inv_cdf(min(share, 1 - 1e-16)))


class Smoothing(Audit):
    """Certified accuracy of the model's vote under noise.

    sigma: of the noise, in units of the inputs; of a table's numbers in the columns' standard deviations.
    rows: at most, drawn by `seed`. n0, n: draws that choose the class, and that bound its share. alpha: chance that a
        row's certificate is wrong. The largest radius is sigma Phi^-1(alpha^(1/n)): 0.55 as it is here.
    """

    cost = 3.0

    def __init__(
        self,
        sigma: float = 0.25,
        rows: int = 100,
        n0: int = 100,
        n: int = 500,
        alpha: float = 0.001,
        split: str = "test",
        seed: int = 0,
    ) -> None:
        if not 0 < sigma < float("inf") or min(rows, n0, n) < 1 or not 0 < alpha < 0.5:
            raise SondeError(
                f"Smoothing(sigma={sigma}, rows={rows}, n0={n0}, n={n}, alpha={alpha}) certifies nothing",
                "choose sigma > 0, at least one row and draw, and alpha between 0 and 0.5; 0.001 is usual",
            )
        self.sigma, self.rows, self.n0, self.n, self.alpha = sigma, rows, n0, n, alpha
        self.split, self.seed = split, seed

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        if reason := no_classes(subject):
            return reason
        x = subject.splits[self.split].x if self.split in subject.splits else None
        x = x.get("numeric") if isinstance(x, Mapping) else x
        if not isinstance(x, Tensor) or not x.is_floating_point() or not x.shape[1:].numel():
            return "its inputs have no numbers to which noise could be added"
        return ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        chosen = drawn(subject, self.split, self.rows, self.seed)
        chosen = affordable(subject, chosen, self.n0 + self.n, clock)
        unit = _unit(subject.splits.get("train", chosen), chosen)
        generator = torch.Generator().manual_seed(self.seed)
        found: list[Certified] = []
        for i, truth in enumerate(chosen.y.tolist()):
            votes = self._votes(subject, chosen[i : i + 1], unit, generator)
            one = certify(votes, self.n0, self.sigma, self.alpha)
            found.append(replace(one, right=float((votes == truth).double().mean())))
            clock.at((i + 1) / len(chosen))
            if i + 1 >= 20 and clock.left <= 0:
                break
        yield from self._shown(found, chosen[: len(found)], decided(subject, chosen, chosen.x)[: len(found)])

    def _votes(self, subject: Subject, row: Batch, unit: Tensor | float, generator: torch.Generator) -> Tensor:
        """The classes of one row with noise, (n0 + n,)."""
        votes = []
        for start in range(0, self.n0 + self.n, subject.rows_at_once):
            many = row[torch.zeros(min(subject.rows_at_once, self.n0 + self.n - start), dtype=torch.int64)]
            clean = many.x["numeric"] if isinstance(many.x, Mapping) else many.x
            noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype).to(clean.device)
            noisy = clean + self.sigma * unit * noise
            x = {**many.x, "numeric": noisy} if isinstance(many.x, Mapping) else noisy
            votes.append(decided(subject, many, x))
        return torch.cat(votes)

    def _shown(self, found: list[Certified], rows: Batch, plain: Tensor) -> Iterator[Shown]:
        truth = rows.y.cpu().numpy()
        radius = np.array([c.radius for c in found])
        right = np.array([c.answer for c in found]) == truth
        abstained = np.array([c.answer == ABSTAINED for c in found])
        held = np.array([c.right for c in found])
        n, how = len(found), self._how()
        clean = float((plain.numpy() == truth).mean())

        def share(name: str, hits: Array, better: Any, **more: Any) -> Measure:
            ends = wilson(int(hits.sum()), n)
            about = settings("wilson", ends, **more, **how)
            return Measure(
                f"robustness/smoothing/{name}", float(hits.mean()), "1", n, better, SOURCE, ends, self.split, about
            )

        yield share("certified_accuracy", right & (radius >= self.sigma), "higher", radius=self.sigma)
        yield share("smoothed_accuracy", right, "higher", radius=0.0)
        yield share("abstained_share", abstained, "lower")
        values = {"mean_radius": mean(np.where(right, radius, 0.0), 0.0), "noisy_accuracy": mean(held, 0.0, 1.0)}
        for name, ends in bootstrap(values).items():
            of = {"of": "rows answered wrongly or not at all count as 0"} if name == "mean_radius" else {}
            source = "Zhai et al., MACER, 2020: average certified radius" if name == "mean_radius" else SOURCE
            unit = "input" if name == "mean_radius" else "1"
            yield Measure(
                f"robustness/smoothing/{name}", values[name].value, unit, n, "higher", source, ends, self.split,
                settings("bca", ends, **of, **how),
            )  # fmt: skip
        most = self.sigma * NormalDist().inv_cdf(self.alpha ** (1 / self.n))
        lost = clean - float(held.mean())
        yield _table(right, radius, most, self.sigma)
        yield _curve(right, radius, most, self.sigma, clean, self._note(lost))

    def _how(self) -> dict[str, Any]:
        return {"norm": "l2", "sigma": self.sigma, "n0": self.n0, "n": self.n, "alpha": self.alpha, "seed": self.seed}

    def _note(self, lost: float) -> str:
        if lost < MUCH:
            return ""
        return (
            f" The noise alone costs it {100 * lost:.0f} points, as of a model that was not trained with it: "
            f"the method gaussian_noise(sigma={self.sigma:g}) does so."
        )


def _unit(known: Batch, rows: Batch) -> Tensor | float:
    """What one unit of noise is: 1 of a tensor's numbers, a standard deviation of each of a table's columns, (F,)."""
    if not isinstance(rows.x, Mapping):
        return 1.0
    numbers = known.x["numeric"]
    there = numbers.isfinite()
    count = there.sum(0).clamp_min(1)
    centre = torch.where(there, numbers, 0.0).sum(0) / count
    return (torch.where(there, numbers - centre, 0.0).square().sum(0) / count).sqrt()  # type: ignore[no-any-return]


def _table(right: Array, radius: Array, most: float, sigma: float) -> Table:
    """Certified accuracy at a few radii."""
    lines: list[tuple[str | float | int | None, ...]] = []
    for at in [q * sigma for q in (0, 0.5, 1, 1.5, 2, 3, 4) if q * sigma <= most]:
        hits = int((right & (radius >= at)).sum())
        low, high = wilson(hits, len(right)) or (None, None)
        lines.append((round(at, 4), hits, round(hits / len(right), 4), _short(low), _short(high)))
    columns = ("l2 radius", "rows", "share", "from", "to")
    caption = f"Of {len(right)} rows: certified to be answered rightly within a radius. Largest possible: {most:.3f}."
    return Table("certified", caption, columns, tuple(lines))


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _curve(right: Array, radius: Array, most: float, sigma: float, clean: float, note: str) -> Figure:
    """Certified accuracy over the radius, with Wilson's interval at every point."""
    n = len(right)
    reached = np.sort(radius[right])
    at = np.linspace(0, most, 200)
    hits = len(reached) - np.searchsorted(reached, at, "left")
    ends = np.array([wilson(int(k), n) for k in hits])
    drawing, axes = canvas(7, 3.6)
    axes.fill_between(at, 100 * ends[:, 0], 100 * ends[:, 1], color=COLOURS[0], alpha=0.15, linewidth=0, step="mid")
    axes.plot(at, 100 * hits / n, color=COLOURS[0], linewidth=2, label="certified (95 % interval)")
    axes.axhline(100 * clean, color=COLOURS[6], linewidth=1.2, linestyle=(0, (4, 3)), label="plain model, clean")
    axes.set_xlim(0, most)
    axes.set_ylim(0, 104)
    axes.set_xlabel("l2 radius, in units of the inputs")
    axes.set_ylabel("rows answered rightly, %")
    legend(axes, "lower left")
    caption = f"Answers of the vote under noise of {sigma:g} that nothing within the radius can change.{note}"
    return Figure.of("certified", caption, drawing)
