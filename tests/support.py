"""What several tests of the core need: small data, small nets, a game, a rule of two gradients, observers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from hypothesis import settings
from torch import Tensor, nn

from sonde.core import (
    Batch,
    Budget,
    Event,
    Gradient,
    Loss,
    Method,
    Objective,
    Run,
    Source,
    Term,
    fit,
)
from sonde.data.rows import Rows
from sonde.methods import Descend, sgd
from sonde.objectives import Classify

LAW = settings(deadline=None, max_examples=60, derandomize=True, database=None)  # the same examples on every machine
PLAIN_SGD = partial(torch.optim.SGD, lr=0.1)


def blobs(n: int = 64, features: int = 4, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`classes` well separated Gaussians: x (n, features), y (n,)."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    return torch.randn(n, features, generator=g) + 3 * F.one_hot(y, features).float(), y


def mlp(*widths: int, between: Callable[[int], nn.Module] | None = None) -> nn.Sequential:
    """Linear layers with tanh between them; `between(width)` adds a layer before each tanh."""
    layers: list[nn.Module] = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o), *([between(o)] if between else []), nn.Tanh()]
    if between:
        del layers[-2]
    return nn.Sequential(*layers[:-1])


def weights(module: nn.Module) -> Tensor:
    """All parameters and buffers as one float64 vector."""
    return torch.cat([v.detach().flatten().double() for v in module.state_dict().values()])


def trained(*methods: Method, steps: int = 10, net: nn.Module | None = None, source: Source | None = None) -> Run:
    """A run on blobs, trained; plain SGD unless a method is an update rule."""
    rule = [] if any(type(m).update is not Method.update for m in methods) else [sgd(0.1)]
    run = Run(Classify(mlp(4, 8, 3) if net is None else net), [*methods, *rule])
    return fit(run, Rows(*blobs(), batch_size=16) if source is None else source, Budget(steps=steps))


class GAN(Objective):
    """Two players without a common parameter; `every`: the generator moves in every so manieth step only."""

    def __init__(self, every: int = 1, norm: bool = False) -> None:
        super().__init__()
        self.generator = mlp(2, 8, 2, between=nn.BatchNorm1d if norm else None)
        self.discriminator = mlp(2, 8, 1)
        self.every = every

    def players(self) -> Mapping[str, nn.Module]:
        return {"discriminator": self.discriminator, "generator": self.generator}

    def turns(self, step: int) -> tuple[str, ...]:
        return ("discriminator", "generator") if (step + 1) % self.every == 0 else ("discriminator",)

    def forward(self, turn: str, batch: Batch) -> Loss:
        fake = self.discriminator(self.generator(batch.fields["noise"])).squeeze(1)  # (N,)
        if turn == "generator":
            return Loss({"fool": Term(F.softplus(-fake))})
        real = self.discriminator(batch.x).squeeze(1)  # (N,)
        return Loss({"real": Term(F.softplus(-real)), "fake": Term(F.softplus(fake))})


def gan_rows(n: int = 40, batch_size: int = 8) -> Rows:
    g = torch.Generator().manual_seed(5)
    return Rows(torch.randn(n, 2, generator=g) + 2, None, batch_size, fields={"noise": torch.randn(n, 2, generator=g)})


class SAM(Method):
    """Sharpness-aware minimisation: the gradient at the worst point of a ball (Foret et al., 2021)."""

    def __init__(self, radius: float = 0.05, lr: float = 0.1) -> None:
        self.radius, self.inner = radius, Descend(partial(torch.optim.SGD, lr=lr))

    def setup(self, run: Run) -> None:
        self.inner.setup(run)

    def update(self, run: Run, turn: str, gradient: Gradient) -> None:
        params, g = run.params(turn), gradient(record=False)
        length = torch.stack([v.norm() for v in g.values()]).norm().clamp_min(1e-12)
        start = {k: p.detach().clone() for k, p in params.items()}
        with torch.no_grad():
            for k, p in params.items():
                p.add_(self.radius * g[k] / length)
        worst = gradient()
        with torch.no_grad():
            for k, p in params.items():
                p.copy_(start[k])
        self.inner.update(run, turn, lambda record=True: worst)

    def state_dict(self) -> dict[str, object]:
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.inner.load_state_dict(state)


class Watch(Method):
    """Keeps every event it is told of."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on(self, run: Run, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        return [e for e in self.events if isinstance(e, kind)]


class L2(Method):
    """A penalty: half the squared length of the parameters."""

    def __init__(self, strength: float = 0.1) -> None:
        self.strength = strength

    def loss(self, at, loss: Loss) -> Loss:  # type: ignore[no-untyped-def]
        value = torch.stack([p.pow(2).sum() for p in at.params.values()]).sum()
        return loss.with_term("l2", Term(value, "penalty", self.strength / 2))


class Joint(Method):
    """A batch term: the variance of the logits over rows."""

    def loss(self, at, loss: Loss) -> Loss:  # type: ignore[no-untyped-def]
        return loss.with_term("spread", Term(loss.out["logits"].var(0).sum(), "batch"))


class Call(Method):
    """Does `what(run)` when an event of the given kind has happened `times` times."""

    def __init__(self, kind: type[Event], times: int, what: Callable[[Run], None]) -> None:
        self.kind, self.left, self.what = kind, times, what

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, self.kind):
            self.left -= 1
            if self.left == 0:
                self.what(run)


class Halves:
    """A data set of blobs with a training and a validation half: what `Validate` and `Split` ask for."""

    def __init__(self, n: int = 64) -> None:
        self.x, self.y = blobs(n, seed=3)
        self.splits = {"train": torch.arange(n // 2), "val": torch.arange(n // 2, n)}

    def batch(self, index: Tensor) -> Batch:
        return Batch(self.x[index], self.y[index], index)
