"""The same attack at the same budget in Sonde, torchattacks, foolbox and ART: functions of a net and its rows."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Attack = Callable[[Any, Any, Any], Any]
"""net, x (N, 1, 28, 28) in [0, 1], y (N,) -> points (N, 1, 28, 28)."""


@dataclass(frozen=True)
class Pair:
    """One attack of a peer, and Sonde's with the same numbers."""

    ours: Attack
    theirs: Attack


@dataclass(frozen=True)
class Size:
    """How long everything is."""

    rows: int = 200
    some: int = 50  # rows of Carlini and Wagner's attack
    few: int = 20  # rows of attacks that a peer carries out row by row
    steps: int = 100
    queries: int = 1000
    adam: int = 200  # steps of Carlini and Wagner's attack, for each constant
    searches: int = 4
    decisions: int = 15  # steps of HopSkipJump


@dataclass(frozen=True)
class Task:
    """An attack and the pairs it is measured by."""

    pairs: dict[str, Pair]
    norm: str = "linf"  # that the radius is of; "l2": the smallest change is looked for
    rows: str = "rows"  # the field of `Size`
    fixed: dict[str, Any] = field(default_factory=dict)


def tasks(radius: float, size: Size, peers: list[str]) -> dict[str, Task]:
    """Every attack by name; pairs only with peers that can be imported."""
    from sonde import attacks

    s = size
    short = min(40, s.steps)  # of PGD
    found: dict[str, Task] = {}

    def add(name: str, pairs: dict[str, Pair], norm: str = "linf", rows: str = "rows") -> None:
        have = {peer: pair for peer, pair in pairs.items() if peer in peers}
        if have:
            found[name] = Task(have, norm, rows)

    def same(ours: Attack, **theirs: Attack) -> dict[str, Pair]:
        return {peer: Pair(ours, attack) for peer, attack in theirs.items()}

    add("FGSM", same(
        lambda f, x, y: attacks.fgsm(f, x, y, radius),
        torchattacks=lambda f, x, y: _ta().FGSM(f, eps=radius)(x, y),
        foolbox=lambda f, x, y: _foolbox(lambda a: a.FGSM(), f, x, y, radius),
        art=lambda f, x, y: _art(lambda e, c: e.FastGradientMethod(c, eps=radius, batch_size=len(x)), f, x, y),
    ))  # fmt: skip
    add("PGD", same(
        lambda f, x, y: attacks.pgd(f, x, y, radius, step=radius / 10, steps=short),
        torchattacks=lambda f, x, y: _ta().PGD(f, eps=radius, alpha=radius / 10, steps=short)(x, y),
        foolbox=lambda f, x, y: _foolbox(lambda a: a.LinfPGD(rel_stepsize=0.1, steps=short), f, x, y, radius),
        art=lambda f, x, y: _art(lambda e, c: e.ProjectedGradientDescentPyTorch(
            c, eps=radius, eps_step=radius / 10, max_iter=short, num_random_init=1, batch_size=len(x), verbose=False
        ), f, x, y),
    ))  # fmt: skip
    add("APGD-CE", same(
        lambda f, x, y: attacks.apgd(f, x, y, radius, steps=s.steps),
        torchattacks=lambda f, x, y: _ta().APGD(f, eps=radius, steps=s.steps, loss="ce")(x, y),
        art=lambda f, x, y: _art(lambda e, c: e.AutoProjectedGradientDescent(
            c, eps=radius, eps_step=2 * radius, max_iter=s.steps, nb_random_init=1, batch_size=len(x), verbose=False,
            loss_type="cross_entropy",
        ), f, x, y),
    ))  # fmt: skip
    add(
        "APGD-T",
        same(
            lambda f, x, y: attacks.apgd_t(f, x, y, radius, steps=s.steps),
            torchattacks=lambda f, x, y: _ta().APGDT(f, eps=radius, steps=s.steps, n_classes=10)(x, y),
        ),
    )
    add(
        "FAB-T",
        same(
            lambda f, x, y: attacks.fab_t(f, x, y, radius, steps=s.steps),
            torchattacks=lambda f, x, y: _ta().FAB(f, eps=radius, steps=s.steps, n_classes=10, multi_targeted=True)(
                x, y
            ),
        ),
    )
    add("Square", same(
        lambda f, x, y: attacks.square(f, x, y, radius, queries=s.queries),
        torchattacks=lambda f, x, y: _ta().Square(f, eps=radius, n_queries=s.queries, loss="margin")(x, y),
        art=lambda f, x, y: _art(lambda e, c: e.SquareAttack(
            c, eps=radius, max_iter=s.queries, batch_size=len(x), verbose=False
        ), f, x, y),
    ))  # fmt: skip
    few = max(1, s.adam // 10)  # of ART's steps, each of which searches for its length by many more evaluations
    add("Carlini-Wagner", {
        "torchattacks": Pair(
            lambda f, x, y: attacks.carlini_wagner(f, x, y, steps=s.adam, searches=1, rate=0.05, constant=3.0),
            lambda f, x, y: _ta().CW(f, c=3, steps=s.adam, lr=0.05)(x, y),
        ),
        "foolbox": Pair(
            lambda f, x, y: attacks.carlini_wagner(f, x, y, steps=s.adam, searches=s.searches, rate=0.05, constant=1.0),
            lambda f, x, y: _foolbox(lambda a: a.L2CarliniWagnerAttack(
                binary_search_steps=s.searches, steps=s.adam, stepsize=0.05, initial_const=1.0
            ), f, x, y, None),
        ),
        "art": Pair(
            lambda f, x, y: attacks.carlini_wagner(f, x, y, steps=s.adam, searches=s.searches, rate=0.05, constant=1.0),
            lambda f, x, y: _art(lambda e, c: e.CarliniL2Method(
                c, learning_rate=0.05, binary_search_steps=s.searches, max_iter=few, initial_const=1.0,
                batch_size=len(x), verbose=False,
            ), f, x, y),
        ),
    }, "l2", "some")  # fmt: skip
    add("DeepFool", same(
        lambda f, x, y: attacks.deepfool(f, x, y),
        torchattacks=lambda f, x, y: _ta().DeepFool(f, steps=50)(x, y),
        foolbox=lambda f, x, y: _foolbox(lambda a: a.L2DeepFoolAttack(steps=50, candidates=10), f, x, y, None),
        art=lambda f, x, y: _art(lambda e, c: e.DeepFool(
            c, max_iter=50, epsilon=0.02, nb_grads=10, batch_size=len(x), verbose=False
        ), f, x, y),
    ), "l2", "few")  # fmt: skip
    add("HopSkipJump", same(
        lambda f, x, y: attacks.hopskipjump(f, x, y, steps=s.decisions),
        foolbox=lambda f, x, y: _foolbox(lambda a: a.HopSkipJumpAttack(steps=s.decisions), f, x, y, None),
        art=lambda f, x, y: _art(lambda e, c: e.HopSkipJump(
            c, max_iter=s.decisions, batch_size=512, verbose=False
        ), f, x, y),
    ), "l2", "few")  # fmt: skip
    return found


def importable() -> tuple[list[str], list[str]]:
    """The peers that are there, and a line for each that is not."""
    have, lines = [], []
    for name, load in (("torchattacks", _ta), ("foolbox", _foolbox_module), ("art", _art_module)):
        try:
            load()
            have.append(name)
        except Exception as error:  # a peer may fail in any way at import
            lines.append(f"{name} is left out: {type(error).__name__}: {error}")
    return have, lines


def _ta() -> Any:
    import torchattacks

    return torchattacks


def _foolbox_module() -> Any:
    import foolbox

    return foolbox


def _foolbox(make: Callable[[Any], Any], net: Any, x: Any, y: Any, radius: float | None) -> Any:
    """eagerpy's native mode: what foolbox recommends for speed."""
    fb = _foolbox_module()
    model = fb.PyTorchModel(net, bounds=(0, 1), device=x.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            _, clipped, _ = make(fb.attacks)(model, x, y, epsilons=radius)
        finally:
            logging.disable(logging.NOTSET)
    return clipped


def _art_module() -> Any:
    import art.attacks.evasion
    import art.estimators.classification

    return art


def _art(make: Callable[[Any, Any], Any], net: Any, x: Any, y: Any) -> Any:
    import numpy as np
    import torch

    class Single(torch.nn.Module):
        """ART's HopSkipJump asks about float64."""

        def forward(self, v: Any) -> Any:
            return net(v.float())

    art = _art_module()
    classifier = art.estimators.classification.PyTorchClassifier(
        Single(), torch.nn.CrossEntropyLoss(), input_shape=tuple(x.shape[1:]), nb_classes=10, clip_values=(0.0, 1.0),
        device_type="cpu",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            found = make(art.attacks.evasion, classifier).generate(x.numpy(), y=np.eye(10, dtype="f4")[y.numpy()])
        finally:
            logging.disable(logging.NOTSET)
    return torch.from_numpy(np.asarray(found, dtype="f4"))
