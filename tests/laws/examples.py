"""One construction of every method, for the laws that hold for all of them. A method without a line here fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from sonde.core import Batch, Method, Run
from sonde.data.streams import permuted
from sonde.matrix import Trial, construct, fitted
from sonde.methods import (
    AGEM,
    DPSGD,
    EMA,
    EWC,
    FGSM,
    L1,
    L2,
    LBFGS,
    LSUV,
    PGD,
    SAM,
    SWA,
    TRADES,
    AddNoise,
    Backprop,
    Checkpoint,
    Clip,
    Colour,
    Corrupt,
    Crop,
    CutMix,
    DarkReplay,
    Descend,
    Distil,
    Dropout,
    EarlyStopping,
    Erase,
    FitInputs,
    Flip,
    GaussianNoise,
    GroupConstraint,
    GrowColumns,
    Hint,
    Initialise,
    Jitter,
    LabelSmoothing,
    LayerDecay,
    LearningWithoutForgetting,
    LotteryTicket,
    MagnitudeWarp,
    MaxNorm,
    MetricsLog,
    MixUp,
    PCGrad,
    Permutation,
    PrivateInputs,
    Prune,
    Quantise,
    RandAugment,
    ReduceOnPlateau,
    Replay,
    Retention,
    Reweighing,
    Rotate,
    Scale,
    Scaling,
    ScheduleFree,
    Shift,
    SpatialDropout,
    SpecAugment,
    SpectralNorm,
    Speed,
    StochasticDepth,
    SynapticIntelligence,
    TimeShift,
    TimeWarp,
    TrivialAugment,
    Validate,
    WindowSlice,
    WindowWarp,
)
from sonde.optim.schedules import Cosine
from tests.support import PLAIN_SGD

CLASSES, SIDE = 3, 8


class Pictures:
    """Small pictures with a class each; 22 to train on, 10 to measure on."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(4)
        self.y = torch.randint(CLASSES, (32,), generator=g)
        self.x = (torch.rand(32, 1, SIDE, SIDE, generator=g) + self.y[:, None, None, None]) / (CLASSES + 1)
        self.group = torch.arange(32) % 3 % 2  # two to one
        self.splits = {"train": torch.arange(22), "val": torch.arange(22, 32)}

    def batch(self, index: Tensor) -> Batch:
        return Batch(self.x[index], self.y[index], index, {"group": self.group[index]})


def teacher(outputs: int) -> nn.Module:
    """A trained model to learn from: the same for every run."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return nn.Sequential(nn.Identity(), nn.Conv2d(1, outputs, 3), nn.Flatten(), nn.Linear(36 * outputs, outputs))


Make = Callable[[Path], Method]

# One construction of every method, with settings that make it act on the small run below.
EXAMPLES: dict[type[Method], Make] = {
    AddNoise: lambda folder: AddNoise(0.0, 10.0),
    Corrupt: lambda folder: Corrupt(0.3),
    Jitter: lambda folder: Jitter(0.1),
    MagnitudeWarp: lambda folder: MagnitudeWarp(0.3),
    Permutation: lambda folder: Permutation(2),
    Scaling: lambda folder: Scaling(0.3),
    SpecAugment: lambda folder: SpecAugment(warp=2, band=2, bands=1, stretch=2, limit=0.5, stretches=1),
    Speed: lambda folder: Speed((0.9, 1.0)),
    TimeShift: lambda folder: TimeShift(0.3),
    TimeWarp: lambda folder: TimeWarp(0.3),
    WindowSlice: lambda folder: WindowSlice(0.7),
    WindowWarp: lambda folder: WindowWarp(0.4),
    AGEM: lambda folder: AGEM(capacity=6, rows=4),
    DarkReplay: lambda folder: DarkReplay(capacity=6, rows=4),
    EWC: lambda folder: EWC(10.0),
    GrowColumns: lambda folder: GrowColumns(),
    LearningWithoutForgetting: lambda folder: LearningWithoutForgetting(),
    Replay: lambda folder: Replay(capacity=6, rows=4),
    Retention: lambda folder: Retention(permuted(Pictures(), tasks=2), split="val"),
    SynapticIntelligence: lambda folder: SynapticIntelligence(),
    DPSGD: lambda folder: DPSGD(1.0, noise_multiplier=0.5, insecure_seed=3),
    Distil: lambda folder: Distil(teacher(CLASSES)),
    Hint: lambda folder: Hint(teacher(CLASSES + 2), "1", "net.net.0"),
    L1: lambda folder: L1(0.01),
    L2: lambda folder: L2(0.01),
    LSUV: lambda folder: LSUV(rows=16),
    Dropout: lambda folder: Dropout(0.1),
    Initialise: lambda folder: Initialise("orthogonal", "tanh"),
    MaxNorm: lambda folder: MaxNorm(0.5),
    SpatialDropout: lambda folder: SpatialDropout(0.3),
    SpectralNorm: lambda folder: SpectralNorm(),
    StochasticDepth: lambda folder: StochasticDepth(0.3),
    LotteryTicket: lambda folder: LotteryTicket(0.3, steps=1),
    PCGrad: lambda folder: PCGrad(),
    Prune: lambda folder: Prune(0.5, start=0.0, end=0.9, every_steps=1),
    Quantise: lambda folder: Quantise(),
    SAM: lambda folder: SAM(0.05),
    SWA: lambda folder: SWA(0.3, every_steps=1),
    Backprop: lambda folder: Backprop(microbatch=5),
    Checkpoint: lambda folder: Checkpoint(folder / "checkpoints", every_steps=5, metric="loss"),
    Clip: lambda folder: Clip(0.1),
    Colour: lambda folder: Colour(0.5, 0.5, 0.5),
    Crop: lambda folder: Crop(0.5),
    CutMix: lambda folder: CutMix(CLASSES),
    Descend: lambda folder: Descend(PLAIN_SGD, Cosine()),
    EMA: lambda folder: EMA(0.9),
    EarlyStopping: lambda folder: EarlyStopping(patience=3, min_delta=10.0),
    FGSM: lambda folder: FGSM(0.1),
    PGD: lambda folder: PGD(0.1, step=0.04, steps=3),
    TRADES: lambda folder: TRADES(6.0, 0.1, step=0.04, steps=3),
    Erase: lambda folder: Erase(0.9),
    FitInputs: lambda folder: FitInputs(),
    PrivateInputs: lambda folder: PrivateInputs(insecure_seed=3),
    Flip: lambda folder: Flip(),
    GaussianNoise: lambda folder: GaussianNoise(0.1),
    GroupConstraint: lambda folder: GroupConstraint(constraint="equalised_odds", rate=0.1, minimum=1),
    Reweighing: lambda folder: Reweighing(minimum=1),
    LabelSmoothing: lambda folder: LabelSmoothing(0.2),
    LayerDecay: lambda folder: LayerDecay(0.5),
    LBFGS: lambda folder: LBFGS(iterations=3),
    ReduceOnPlateau: lambda folder: ReduceOnPlateau(0.5, patience=0),
    ScheduleFree: lambda folder: ScheduleFree(0.01),
    MetricsLog: lambda folder: MetricsLog(folder / "metrics.jsonl", every_steps=3),
    MixUp: lambda folder: MixUp(CLASSES, alpha=1.0),
    RandAugment: lambda folder: RandAugment(1, 5.0),
    Rotate: lambda folder: Rotate(30.0),
    Scale: lambda folder: Scale(0.3),
    Shift: lambda folder: Shift(0.2),
    TrivialAugment: lambda folder: TrivialAugment(),
    Validate: lambda folder: Validate(Pictures()),
}


# The same method with nothing to add: a step with it equals one without it. Where there is no such thing, the reason.
ZERO: dict[type[Method], Make | str] = {
    AddNoise: lambda folder: AddNoise(float("inf"), float("inf")),
    Corrupt: lambda folder: Corrupt(0.0),
    Jitter: lambda folder: Jitter(0.0),
    MagnitudeWarp: lambda folder: MagnitudeWarp(0.0),
    Permutation: lambda folder: Permutation(1),
    Scaling: lambda folder: Scaling(0.0),
    SpecAugment: lambda folder: SpecAugment(warp=0, bands=0, stretches=0),
    Speed: lambda folder: Speed((1.0,)),
    TimeShift: lambda folder: TimeShift(0.0),
    TimeWarp: lambda folder: TimeWarp(0.0),
    WindowSlice: lambda folder: WindowSlice(1.0),
    WindowWarp: lambda folder: WindowWarp(scales=(1.0,)),
    AGEM: EXAMPLES[AGEM],
    DarkReplay: lambda folder: DarkReplay(capacity=6, rows=4, alpha=0.0, beta=0.0),
    EWC: lambda folder: EWC(0.0),
    GrowColumns: EXAMPLES[GrowColumns],
    LearningWithoutForgetting: lambda folder: LearningWithoutForgetting(0.0),
    Replay: lambda folder: Replay(capacity=6, rows=4, strength=0.0),
    Retention: EXAMPLES[Retention],
    SynapticIntelligence: lambda folder: SynapticIntelligence(0.0),
    DPSGD: "without noise and bound it still draws each record by itself; its gradient is compared in its own tests",
    Distil: lambda folder: Distil(teacher(CLASSES), alpha=0.0),
    Hint: lambda folder: Hint(teacher(CLASSES), "0", "net.net.0", strength=0.0),
    L1: lambda folder: L1(0.0),
    L2: lambda folder: L2(0.0),
    LSUV: "it has no strength; it says how the weights begin",
    Dropout: lambda folder: Dropout(0.0),
    Initialise: "it has no strength; it says how the weights begin",
    MaxNorm: lambda folder: MaxNorm(1e9),
    SpatialDropout: lambda folder: SpatialDropout(0.0),
    SpectralNorm: "it has no strength; a net whose layers stretch nothing is another net",
    StochasticDepth: lambda folder: StochasticDepth(0.0),
    LotteryTicket: EXAMPLES[LotteryTicket],
    PCGrad: "it has no strength; without conflicts it equals backpropagation",
    Prune: lambda folder: Prune(0.0),
    Quantise: "it has no strength; with more bits it comes as close as asked",
    SAM: lambda folder: SAM(0.0),
    SWA: EXAMPLES[SWA],
    Backprop: lambda folder: Backprop(microbatch=0),
    Checkpoint: EXAMPLES[Checkpoint],
    Clip: lambda folder: Clip(1e9),
    Colour: lambda folder: Colour(0.0, 0.0, 0.0),
    Crop: lambda folder: Crop(1.0),
    CutMix: "it pastes a window into every row; as alpha goes to 0 the window is all or nothing",
    Descend: "it moves the parameters: at rate 0 nothing trains",
    EMA: EXAMPLES[EMA],
    EarlyStopping: EXAMPLES[EarlyStopping],
    Erase: "it blanks one pixel at least",
    FGSM: lambda folder: FGSM(0.0),
    FitInputs: "it has no strength; what it sets was not set before",
    PrivateInputs: "it has no strength; what it sets was not set before",
    Flip: lambda folder: Flip(probability=0.0),
    GaussianNoise: lambda folder: GaussianNoise(0.0),
    GroupConstraint: lambda folder: GroupConstraint(rate=0.0, damping=0.0, minimum=1),
    Reweighing: "it has no strength; where labels do not depend on groups its weights are 1",
    LabelSmoothing: lambda folder: LabelSmoothing(0.0),
    LayerDecay: lambda folder: LayerDecay(1.0),
    LBFGS: "it moves the parameters: at rate 0 nothing trains",
    ReduceOnPlateau: lambda folder: ReduceOnPlateau(1.0, patience=0),
    ScheduleFree: "it moves the parameters: at rate 0 nothing trains",
    MetricsLog: EXAMPLES[MetricsLog],
    MixUp: "it mixes every row; as alpha goes to 0 it leaves or swaps whole rows",
    PGD: lambda folder: PGD(0.0, step=0.04, steps=3),
    RandAugment: "at magnitude 0 it still autocontrasts, equalizes and rounds to 256 levels",
    Rotate: lambda folder: Rotate(0.0),
    Scale: lambda folder: Scale(0.0),
    Shift: lambda folder: Shift(0.0),
    TrivialAugment: "it has no strength: it draws it",
    TRADES: lambda folder: TRADES(0.0, 0.1, step=0.04, steps=3),
    Validate: EXAMPLES[Validate],
}

# At zero strength these resample pictures, or add in another order: equal to rounding, not to the bit.
ROUNDED: frozenset[type[Method]] = frozenset({WindowWarp, Crop, Rotate, Scale, Backprop, GroupConstraint})


def on_trial(kind: type[Method], trial: Trial, folder: Path) -> Method:
    """The example for a run of the matrix: where the trial's rows or objective ask for another construction, that."""
    folder.mkdir(parents=True, exist_ok=True)
    return construct(kind, trial, folder) if fitted(kind, trial) else EXAMPLES[kind](folder)


class Grows(Method):
    """Lets the objective pass for a net that grows."""

    def setup(self, run: Run) -> None:
        run.objective.grow = lambda: None  # type: ignore[assignment]


class Branch(nn.Module):
    """x + f(x), f being a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.change = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)


class Deepens(Method):
    """Puts a residual branch, and a convolution with it, before the net."""

    def setup(self, run: Run) -> None:
        if not any(isinstance(m, Branch) for m in run.objective.modules()):
            run.objective.net = nn.Sequential(Branch(), run.objective.net)


# What a method needs beside it to have something to do in a run of one objective.
COMPANIONS: dict[type[Method], Make] = {
    GrowColumns: lambda folder: Grows(),
    SpatialDropout: lambda folder: Deepens(),
    StochasticDepth: lambda folder: Deepens(),
    PCGrad: lambda folder: Distil(teacher(CLASSES)),
}
