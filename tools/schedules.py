"""Draw every learning-rate schedule of `sonde.optim.schedules` into docs/images/schedules.svg.

Run it after a schedule was added or changed: `python tools/schedules.py`. The same schedules give the same file.
"""

from __future__ import annotations

from pathlib import Path

from sonde.optim.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    Linear,
    OneCycle,
    Product,
    Schedule,
    Sequence,
    StepDecay,
    WarmUp,
    WarmUpStableDecay,
)

ROOT = Path(__file__).resolve().parent.parent
STEPS = 400
# As they are typed, and made.
DRAWN: dict[str, Schedule] = {
    "constant(warmup=0.1)": Constant(warmup=0.1),
    "linear": Linear(),
    "exponential(end=0.01)": Exponential(0.01),
    "step_decay(at=(0.5, 0.75))": StepDecay(),
    "cosine(warmup=0.1)": Cosine(warmup=0.1),
    "cosine_restarts(cycles=3, longer=2)": CosineRestarts(3, 2.0),
    "one_cycle": OneCycle(),
    "inverse_sqrt(warmup=0.1)": InverseSqrt(0.1),
    "warm_up_stable_decay(warmup=0.1, decay=0.3)": WarmUpStableDecay(0.1, 0.3),
    "warm_up(exponential, share=0.2)": WarmUp(Exponential(), 0.2),
    "sequence(constant, cosine, at=0.6)": Sequence(Constant(), Cosine(), 0.6),
    "product(linear, cosine_restarts)": Product(Linear(), CosineRestarts()),
}


def draw(path: Path) -> None:
    """One small chart a schedule: the factor on the rate over the share of the steps."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "schedules", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 3, figsize=(9, 8), sharex=True, sharey=True, layout="constrained")
    for axis, (name, schedule) in zip(axes.flat, DRAWN.items(), strict=True):
        axis.plot([t / STEPS for t in range(STEPS)], [schedule(t, STEPS) for t in range(STEPS)], color="#00796b")
        axis.set_title(name, fontsize=8, family="monospace")
        axis.set_ylim(-0.05, 1.05)
        axis.grid(alpha=0.25)
    figure.supxlabel("share of the steps")
    figure.supylabel("factor on the learning rate")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "schedules.svg")
