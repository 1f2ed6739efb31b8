"""MNIST learned against attacks that change every pixel by up to 0.3.

Source: Madry, Makelov, Schmidt, Tsipras and Vladu, Towards deep learning models resistant to adversarial attacks, 2018;
88.4 % is what is publicly known of their model under attack. The fast recipe follows Wong, Rice and Kolter, Fast is
better than free: revisiting adversarial training, 2020.
Measured, seed 0, two cores of a Xeon, PGD of 100 steps of 0.01 from 10 starts (`sonde.audits.robustness.pgd`):
`robust_mnist` 99.22 % clean (95 % interval 99.03 to 99.37) and 91.0 % attacked (90.2 to 91.8; the first 5,000 test
rows) after 18 min 34 s of training, beside other programs. `robust_mnist_fast` 98.99 % (98.77 to 99.17) and 84.4 %
attacked (82.8 to 86.0; the first 2,000 test rows) after 3 min 2 s. A narrower net (16 and 32 channels, 100 units, rate
0.005, 10 epochs) was tried first: 98.35 % and, on all test rows, 80.5 %.

Entry: adversarial training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sonde import methods, nets, objectives, optim
from sonde.core import Budget, Build, Recipe, Stage
from sonde.data import load
from sonde.data.rows import Split
from sonde.experiment import Check, Finding, Lab, experiment
from sonde.recipes.claims import Bar, attacked, learned

RADIUS = 0.3


def robust_mnist() -> Recipe:
    """MNIST against attacks of 0.3: 98.3 % clean and 88.4 % under PGD-100, within half an hour on two cores."""
    attack = Build(methods.PGD, radius=RADIUS, step=0.06, steps=10, warmup=0.25)
    return _robust("robust-mnist", attack, (32, 64), hidden=200, epochs=14, lr=2e-3)


def robust_mnist_fast() -> Recipe:
    """MNIST against attacks of 0.3: 98 % clean and 82 % under PGD-100, within five minutes on two cores."""
    return _robust("robust-mnist-fast", Build(methods.FGSM, radius=RADIUS), (32, 64), hidden=200, epochs=12, lr=3e-3)


def _robust(name: str, attack: Build[Any], widths: tuple[int, ...], *, hidden: int, epochs: float, lr: float) -> Recipe:
    return Recipe(
        name=name,
        seed=0,
        data=Build(load, name="mnist", val=0.0),
        objective=Build(objectives.Classify, net=Build(nets.ConvNet, widths=widths, hidden=hidden)),
        methods=(attack, Build(methods.adam, lr=lr, schedule=Build(optim.schedules.OneCycle))),
        stages=(Stage(source=Build(Split, split="train", batch_size=128), budget=Budget(epochs=epochs)),),
    )


@experiment(
    name="robust_mnist",
    chapter="Limits",
    claim="Trained on attacked pictures, a net still reads digits when an attack moves every pixel by up to 0.3.",
    source="Madry et al., Towards deep learning models resistant to adversarial attacks, 2018",
    seconds=1500,
    data=("mnist",),
)
def robust_mnist_claim(lab: Lab) -> Iterator[Finding]:
    """98.3 % clean, and 88.4 % of the first 5,000 test images under PGD of 100 steps from 10 starts."""
    trained = yield from learned(lab, robust_mnist(), Bar("quality/accuracy", at_least=0.983))
    lab.say("attacking")
    found = attacked(trained, load("mnist"), RADIUS, step=0.01, steps=100, restarts=10, rows=5000)
    published = "what is publicly known of the model of Madry et al., 2018, under attack"
    yield Check(measure=found, at_least=0.884, published=0.884, published_in=published)


@experiment(
    name="robust_mnist_fast",
    chapter="Limits",
    claim="One step of attack in training, from a random start, is enough to withstand attacks of a hundred steps.",
    source="Wong, Rice and Kolter, Fast is better than free: revisiting adversarial training, 2020",
    seconds=330,
    data=("mnist",),
)
def robust_mnist_fast_claim(lab: Lab) -> Iterator[Finding]:
    """98 % clean, and 82 % of the first 2,000 test images under PGD of 100 steps from 10 starts."""
    trained = yield from learned(lab, robust_mnist_fast(), Bar("quality/accuracy", at_least=0.98))
    lab.say("attacking")
    found = attacked(trained, load("mnist"), RADIUS, step=0.01, steps=100, restarts=10, rows=2000)
    yield Check(measure=found, at_least=0.82)
