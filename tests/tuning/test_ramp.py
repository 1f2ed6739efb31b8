"""The range test: the same recipe at a growing rate, leaving nothing behind."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

import sonde
from sonde.core import Build, Recipe, Refused, SondeError
from sonde.data import Dataset, load
from sonde.methods import DPSGD, EMA, EarlyStopping, ReduceOnPlateau, adamw, muon
from sonde.names import parse
from sonde.optim.schedules import Cosine
from sonde.recipes.defaults import Wishes, for_data
from sonde.tuning.ramp import Ramp, anneals, prepared, range_test

QUICK = {"steps": 60, "seeds": 1}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def recipe(data: Dataset, *methods: str, **wishes: object) -> Recipe:
    """A small net for digits."""
    from sonde.recipes.defaults import decided_by

    known = decided_by(data)
    asked = [parse("methods", m, known) for m in methods]
    return for_data(data, Wishes(net=parse("nets", "mlp(widths=(16,))", known), methods=asked, **wishes))  # type: ignore[arg-type]


def test_it_suggests_a_rate_that_trains(digits: Dataset) -> None:
    test = range_test(recipe(digits), digits, steps=100, seeds=2)
    assert test.suggestion is not None and 1e-3 < test.suggestion < 0.3
    assert test.rule == "adamw" and test.rate == 3e-3 and test.anneals and test.chosen == "minimum"
    median, low, high = test.suggestions["steepest"]
    assert low <= median * 1.01 and median <= high * 1.01
    assert len(test.curves) == 2 and test.curves[0].losses != test.curves[1].losses


def test_it_moves_no_generator_and_repeats_exactly(digits: Dataset) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = range_test(recipe(digits), digits, **QUICK)
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].tolist()
    assert first.curves == range_test(recipe(digits), digits, **QUICK).curves


def test_a_training_afterwards_is_the_training_without_it(digits: Dataset) -> None:
    def weights() -> torch.Tensor:
        asked = recipe(digits, steps=5)
        run = asked.train(asked.start(digits), digits)
        return torch.cat([p.detach().flatten() for p in run.objective.parameters()])

    before = weights()
    range_test(recipe(digits), digits, **QUICK)
    assert torch.equal(before, weights())


def test_the_rates_applied_are_the_rates_reported(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *a: object, **k: object) -> object:
        applied.append(self.param_groups[0]["lr"])
        return step(self, *a, **k)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    test = range_test(recipe(digits), digits, low=1e-6, high=1e-3, **QUICK)
    assert applied[:-1] == pytest.approx(list(test.curves[0].rates))  # a rate's loss is that of the next batch
    assert applied[0] == pytest.approx(1e-6) and applied[-1] == pytest.approx(1e-3)


def test_groups_keep_their_proportion(digits: Dataset) -> None:
    asked = recipe(digits, "muon(lr=0.02, adam_lr=0.001)")
    bare, rate, others = prepared(asked)
    ramp = Ramp(rate, 1e-4, 1e-1, 4)
    run = bare.start(digits, extra=(ramp,))
    run.total = 4
    for step, expected in enumerate((1e-4, 1e-3, 1e-2, 1e-1)):
        ramp.step = run.done = step
        run.updater.set_rates(run, "model")  # type: ignore[attr-defined]
        rates = {bool(g["matrices"]): g["lr"] for g in run.updater.optimisers["model"].param_groups}  # type: ignore[attr-defined]
        assert rates[True] == pytest.approx(expected) and rates[False] == pytest.approx(expected / 20)
    assert others == {"adam_lr": 0.001}
    test = range_test(asked, digits, **QUICK)
    assert test.settings(0.1) == {"lr": 0.1, "adam_lr": 0.005}


@pytest.mark.parametrize(
    "methods", [("mixup(alpha=0.2)",), ("sam(rho=0.05)",), ("schedule_free",), ("sgd(lr=0.1)",), ("lion",)]
)
def test_it_goes_with_every_rule_and_method(digits: Dataset, methods: tuple[str, ...]) -> None:
    test = range_test(recipe(digits, *methods), digits, **QUICK)
    assert test.suggestion is not None
    assert test.curves[0].ended == "diverged" or test.curves[0].rates[-1] > 1


def test_a_schedule_and_what_reacts_to_measurements_are_left_out(digits: Dataset) -> None:
    asked = recipe(digits, "early_stopping(patience=1)", "reduce_on_plateau(patience=1)", "layer_decay")
    bare, rate, _ = prepared(asked)
    kinds = {b.make for b in bare.methods}
    assert not kinds & {EarlyStopping, ReduceOnPlateau} and EMA in kinds
    assert rate == 3e-3 and anneals(next(b for b in asked.methods if b.make is adamw))
    assert not anneals(Build(adamw, lr=0.1)) and not anneals(Build(adamw, lr=0.1, schedule=Build(Cosine, floor=0.5)))
    assert not anneals(Build(muon))


def test_private_training_is_refused_unless_accepted(digits: Dataset) -> None:
    private = recipe(digits, "dpsgd(noise_multiplier=1.0)")
    assert any(b.make is DPSGD for b in private.methods)
    with pytest.raises(Refused, match="epsilon"):
        range_test(private, digits, **QUICK)
    test = range_test(private, digits, despite_privacy=True, **QUICK)
    assert len(test.curves[0].losses) >= 3


def test_what_has_no_rate_is_told(digits: Dataset) -> None:
    with pytest.raises(SondeError, match="searches for the length"):
        range_test(recipe(digits, "lbfgs"), digits, **QUICK)
    with pytest.raises(SondeError, match="lower one first"):
        range_test(recipe(digits), digits, low=1.0, high=0.1)
    with pytest.raises(SondeError, match="show no curve"):
        range_test(recipe(digits), digits, steps=3)


def test_labels_that_are_noise_suggest_nothing_or_say_where_it_diverges() -> None:
    """Where nothing can be learned, no rate is suggested with confidence."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(4000, 6, generator=g).numpy(), torch.randint(2, (4000,), generator=g).numpy()
    test = sonde.lr_range_test((x, y), net="tabm(widths=(8,), members=2, bins=4)", steps=100, seeds=1, high=1e-3)
    assert test.suggestion is None and test.suggestions == {}


def test_the_python_face_takes_what_train_takes() -> None:
    test = sonde.lr_range_test("digits", net="mlp(widths=(8,))", methods=["sgd(lr=0.05)"], batch_size=32, **QUICK)
    assert test.rule == "sgd" and test.rate == 0.05 and not test.anneals and test.chosen == "minimum / 3"
    assert math.isclose(test.settings(0.1)["lr"], 0.1)
