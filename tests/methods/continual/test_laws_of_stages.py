"""What every continual method keeps over two stages: resuming, and nothing at zero strength."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sonde.core import Budget, Method, Refused, Run, fit
from sonde.data.rows import Rows
from sonde.methods import (
    AGEM,
    EWC,
    DarkReplay,
    LearningWithoutForgetting,
    MixUp,
    Replay,
    SynapticIntelligence,
    sgd,
)
from sonde.methods.private.dpsgd import DPSGD
from sonde.objectives import Regress
from tests.methods.continual.stages import experiences, learn, start, stopped_and_resumed
from tests.support import blobs, mlp, weights

MAKE: dict[str, Callable[[], Method]] = {
    "EWC": lambda: EWC(5.0),
    "EWC online": lambda: EWC(5.0, form="online", decay=0.9, fisher="empirical"),
    "SynapticIntelligence": lambda: SynapticIntelligence(0.5),
    "LearningWithoutForgetting": lambda: LearningWithoutForgetting(),
    "Replay": lambda: Replay(capacity=20, rows=8),
    "Replay balanced": lambda: Replay(capacity=20, rows=8, keep="class-balanced"),
    "DarkReplay": lambda: DarkReplay(capacity=20, rows=8),
    "AGEM": lambda: AGEM(capacity=20, rows=8),
}
ZERO: dict[str, Callable[[], Method]] = {
    "EWC": lambda: EWC(0.0),
    "SynapticIntelligence": lambda: SynapticIntelligence(0.0),
    "LearningWithoutForgetting": lambda: LearningWithoutForgetting(0.0),
    "Replay": lambda: Replay(capacity=20, rows=8, strength=0.0),
    "DarkReplay": lambda: DarkReplay(capacity=20, rows=8, alpha=0.0, beta=0.0),
}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("at", [3, 6, 7, 10], ids=["mid first", "end of first", "between", "mid second"])
def test_a_run_killed_anywhere_ends_with_the_same_bits(name: str, at: int, tmp_path: Path) -> None:
    whole, rest = stopped_and_resumed(lambda: [MAKE[name]()], tmp_path, at)
    assert (whole.step, whole.stage) == (rest.step, rest.stage) == (12, 2)
    assert torch.equal(weights(whole.objective), weights(rest.objective))


@pytest.mark.parametrize("name", ZERO)
def test_at_zero_strength_the_second_stage_is_as_without_it(name: str) -> None:
    assert torch.equal(weights(learn(start(ZERO[name]())).objective), weights(learn(start()).objective))


@pytest.mark.parametrize("name", MAKE)
def test_it_changes_the_second_stage_and_not_what_the_first_would_have_been_without_a_memory(name: str) -> None:
    with_it, without = start(MAKE[name]()), start()
    fit(with_it, experiences()[0], Budget(steps=6))
    fit(without, experiences()[0], Budget(steps=6))
    same = torch.equal(weights(with_it.objective), weights(without.objective))
    assert same == (name not in ("Replay", "Replay balanced", "DarkReplay"))  # which replay the current stage too
    fit(with_it, experiences()[1], Budget(steps=6))
    fit(without, experiences()[1], Budget(steps=6))
    assert not torch.equal(weights(with_it.objective), weights(without.objective))


@pytest.mark.parametrize("name", [n for n in MAKE if not n.startswith(("Synaptic", "Learning"))])
def test_private_training_refuses_what_keeps_or_reads_records(name: str) -> None:
    with pytest.raises(Refused, match=name.split()[0]):
        run = start(MAKE[name](), DPSGD(1.0, noise_multiplier=1.0, insecure_seed=0))
        fit(run, experiences()[0], Budget(steps=1))


@pytest.mark.parametrize("name", ["SynapticIntelligence", "LearningWithoutForgetting"])
def test_private_training_takes_what_reads_no_records(name: str) -> None:
    alone = learn(start(DPSGD(1.0, noise_multiplier=1.0, insecure_seed=0)))
    both = learn(start(MAKE[name](), DPSGD(1.0, noise_multiplier=1.0, insecure_seed=0)))
    assert not torch.equal(weights(alone.objective), weights(both.objective))


def test_two_memories_are_refused() -> None:
    with pytest.raises(Refused, match="Replay and AGEM both keep a memory"):
        start(Replay(), AGEM())


@pytest.mark.parametrize("make", [MAKE["Replay"], MAKE["DarkReplay"]])
def test_mixing_remembered_rows_with_new_ones_is_refused_at_the_first_step(make: Callable[[], Method]) -> None:
    with pytest.raises(Refused, match="mixes remembered rows with new ones"):
        learn(start(make(), MixUp(3)))
    learn(start(MixUp(3), make()))  # the other order is fine


def test_what_needs_classes_refuses_a_regression_before_a_parameter_has_moved() -> None:
    x, y = blobs(32)
    for method in (LearningWithoutForgetting(), DarkReplay(), AGEM(), EWC()):
        run = Run(Regress(mlp(4, 1)), [method, sgd(0.01)])
        before = weights(run.objective)
        with pytest.raises(Refused, match=type(method).__name__):
            fit(run, Rows(x, y[:, None].float(), 16), Budget(steps=3))
        assert torch.equal(weights(run.objective), before)


def test_a_stage_of_another_form_is_refused() -> None:
    run = start(Replay())
    fit(run, experiences()[0], Budget(steps=2))
    x, y = blobs(32, features=5)
    with pytest.raises(Refused, match="memory of Replay holds rows of another shape"):
        fit(run, Rows(x, y, 16), Budget(steps=2))
