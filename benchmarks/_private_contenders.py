"""A plain and a private step of gradient descent, written the way each library asks for them.

Every function takes a `Job` and returns a `Trial`: the network, and what takes the next steps. All use plain SGD, fused
where the library accepts a torch optimiser, on the CPU, and samples in which every row is present with the same
probability. A private step bounds each row's gradient by `clip`, adds Gaussian noise of standard deviation
`noise * clip` to their sum and divides by the expected size of a sample (Abadi et al., 2016, algorithm 1).
"""

# N rows, B the expected rows of a sample

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn


@dataclass(frozen=True)
class Task:
    """Classification of Gaussian rows, whose classes are those of a random linear teacher.

    batch_size: B. steps: that are timed together. limit: on the time of a private step, in plain ones.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    batch_size: int
    steps: int
    limit: float
    rows: int = 8192

    def data(self) -> tuple[Tensor, Tensor]:
        """x (N, *shape) float32 and y (N,) int64."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.rows, *self.shape, generator=generator)
        teacher = torch.randn(x[0].numel(), 10, generator=generator)
        return x, (x.flatten(1) @ teacher).argmax(1)

    def samples(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """The rows of 64 samples."""
        from sonde.data.poisson import Poisson
        from sonde.data.rows import Rows

        drawn = Poisson(Rows(x, y, batch_size=self.batch_size), seed=2)
        return [drawn.draw(step) for step in range(64)]

    def net(self) -> nn.Module:
        """The network, always from the same initial weights."""
        torch.manual_seed(1)
        if self.name == "mlp":
            return nn.Sequential(
                nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
            )  # fmt: skip
        return nn.Sequential(  # examples/mnist.py of Opacus
            nn.Conv2d(1, 16, 8, 2, padding=3),
            nn.ReLU(),
            nn.MaxPool2d(2, 1),
            nn.Conv2d(16, 32, 4, 2),
            nn.ReLU(),
            nn.MaxPool2d(2, 1),
            nn.Flatten(),
            nn.Linear(512, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )


TASKS = {
    "mlp": Task("mlp", "MLP 784-512-512-10", (784,), batch_size=128, steps=20, limit=1.5),
    "cnn": Task("cnn", "CNN of Opacus' example on 1x28x28", (1, 28, 28), batch_size=256, steps=20, limit=1.25),
}


@dataclass(frozen=True)
class Job:
    """What to train. x (N, ...), y (N,).

    samples: rows of each step, taken from the first again after the last, for who does not draw his own.
    watched: keep the rows that were drawn.
    """

    task: Task
    x: Tensor
    y: Tensor
    net: nn.Module
    samples: list[Tensor]
    clip: float
    noise: float
    watched: bool = False
    lr: float = 0.125  # exact in binary


@dataclass(frozen=True)
class Trial:
    """Takes the next so many steps, whenever asked, on `net`. drew: the rows of each, where it draws its own."""

    advance: Callable[[int], object]
    net: nn.Module
    drew: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Contender:
    """A way to take steps. package: what must be installed. private: whether rows are bounded and noise is added."""

    title: str
    package: str
    private: bool
    build: Callable[[Job], Trial]

    @property
    def installed(self) -> bool:
        """Whether its package can be found."""
        try:
            return importlib.util.find_spec(self.package) is not None
        except ModuleNotFoundError:  # a package above it
            return False


def sgd(job: Job, parameters: Any) -> torch.optim.Optimizer:
    """The same rule for all."""
    return torch.optim.SGD(parameters, lr=job.lr, fused=True)


def bare(job: Job) -> Trial:
    """The loop everyone writes."""
    optimiser, samples = sgd(job, job.net.parameters()), cycle(job.samples)

    def advance(steps: int) -> None:
        for _ in range(steps):
            index = next(samples)
            loss = F.cross_entropy(job.net(job.x[index]), job.y[index], reduction="sum") / job.task.batch_size
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return Trial(advance, job.net)


def plain(job: Job) -> Trial:
    """Sonde's loop without privacy."""
    return _sonde(job, [])


def sonde(job: Job) -> Trial:
    """Sonde's loop with the method for private training."""
    from sonde.methods.private.dpsgd import DPSGD

    seed = 3  # so that the same steps can be taken without noise; a seed from entropy costs as much
    return _sonde(job, [DPSGD(max_grad_norm=job.clip, noise_multiplier=job.noise, insecure_seed=seed)])


def _sonde(job: Job, methods: list[Any]) -> Trial:
    from sonde.core import Budget, Method, Run, Stepped, fit
    from sonde.data.poisson import Poisson
    from sonde.data.rows import Rows
    from sonde.methods import Descend
    from sonde.objectives import Classify

    drew: list[Tensor] = []

    class Watch(Method):
        def on(self, run: Run, event: Any) -> None:
            if isinstance(event, Stepped) and event.batch.records is not None:
                drew.append(event.batch.records)

    rule = Descend(functools.partial(torch.optim.SGD, lr=job.lr, fused=True))
    run = Run(Classify(job.net), [*methods, rule, *([Watch()] if job.watched else [])])
    source = Poisson(Rows(job.x, job.y, batch_size=job.task.batch_size), seed=2)
    return Trial(lambda steps: fit(run, source, Budget(steps=steps)), job.net, drew)


def hooks(job: Job) -> Trial:
    """Opacus with a gradient for every row."""
    module, optimiser, _ = _engine(job, "hooks")
    samples = cycle(job.samples)

    def advance(steps: int) -> None:
        for _ in range(steps):
            index = next(samples)
            optimiser.zero_grad()
            F.cross_entropy(module(job.x[index]), job.y[index]).backward()
            optimiser.step()

    return Trial(advance, job.net)


def ghost(job: Job) -> Trial:
    """Opacus with norms alone, and a second backward pass."""
    module, optimiser, criterion = _engine(job, "ghost")
    samples = cycle(job.samples)

    def advance(steps: int) -> None:
        for _ in range(steps):
            index = next(samples)
            optimiser.zero_grad()
            criterion(module(job.x[index]), job.y[index]).backward()
            optimiser.step()

    return Trial(advance, job.net)


def _engine(job: Job, mode: str) -> tuple[nn.Module, Any, Any]:
    """The three things that Opacus wraps. Its loader is left unused, since it collates a sample row by row."""
    from opacus import PrivacyEngine
    from torch.utils.data import DataLoader, TensorDataset

    made = PrivacyEngine().make_private(
        module=job.net,
        optimizer=sgd(job, job.net.parameters()),
        criterion=nn.CrossEntropyLoss(),
        data_loader=DataLoader(TensorDataset(job.x, job.y), batch_size=job.task.batch_size),
        noise_multiplier=job.noise,
        max_grad_norm=job.clip,
        poisson_sampling=False,  # of its own: it is given samples
        grad_sample_mode=mode,
    )
    return made[0], made[1], made[2] if mode == "ghost" else None


def one_by_one(job: Job) -> Trial:
    """One row at a time, straight from the definition: what the others are checked against. It adds no noise."""
    params, samples = list(job.net.parameters()), cycle(job.samples)

    def advance(steps: int) -> None:
        for _ in range(steps):
            total = [torch.zeros_like(p) for p in params]
            for i in next(samples).tolist():
                loss = F.cross_entropy(job.net(job.x[i : i + 1]), job.y[i : i + 1])
                grads = torch.autograd.grad(loss, params)
                norm = torch.stack([g.norm() for g in grads]).norm()
                for sum_, g in zip(total, grads, strict=True):
                    sum_.add_(g, alpha=min(1.0, job.clip / norm.item()))
            with torch.no_grad():
                for p, g in zip(params, total, strict=True):
                    p.sub_(g, alpha=job.lr / job.task.batch_size)

    return Trial(advance, job.net)


BASE = "plain"
CONTENDERS = {
    "plain": Contender("Sonde, plain", "sonde", False, plain),
    "bare": Contender("bare loop, plain", "torch", False, bare),
    "sonde": Contender("Sonde, private", "sonde.methods.private.dpsgd", True, sonde),
    "opacus-ghost": Contender("Opacus, ghost", "opacus", True, ghost),
    "opacus-hooks": Contender("Opacus, hooks", "opacus", True, hooks),
}
