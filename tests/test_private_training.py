"""Private training from the command's side: defaults that go with it, and what every file says was spent."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonde.bundle import Bundle
from sonde.core import Build, Event, Method, Refused, Run, Stepped
from sonde.core.errors import Notice
from sonde.methods import DPSGD, EMA, Backprop, CutMix, FitInputs, MixUp, PrivateInputs, Validate
from sonde.nets import MLP
from sonde.privacy import spent
from sonde.promises import INSECURE, in_a_line, numbers, told
from sonde.recipes.defaults import Wishes, with_methods
from sonde.report.facts import Facts
from sonde.training import Interrupted, Trained, resume, train

pytestmark = pytest.mark.filterwarnings("ignore::sonde.core.errors.Notice")


def wishes(**settings: Any) -> Wishes:
    private = Build(DPSGD, **{"noise_multiplier": 1.1, **settings})
    return Wishes(net=Build(MLP, widths=(8,)), methods=(private,), epochs=2)


class Stops(Method):
    """Presses Ctrl-C at a step."""

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Stepped) and run.step == 25:
            run.stop = "interrupted"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        return train("digits", wishes(), output_dir=tmp_path_factory.mktemp("runs"), baselines=False)


# ---------------------------------------------------------------- what every file says
def test_every_file_says_the_same_epsilon(trained: Trained) -> None:
    folder, privacy = trained.folder, trained.facts.privacy
    assert privacy is not None and privacy.steps == 40 and privacy.records == 1294
    assert privacy.epsilon == spent(privacy.history, 1e-5).epsilon and privacy.claim == "upper bound"
    expected = json.loads(json.dumps(numbers(privacy)))
    assert folder.read("run.json")["privacy"] == expected
    assert json.loads((folder.model / "bundle.json").read_text())["privacy"] == expected
    assert Bundle.load(folder.model).privacy == expected
    assert Facts.from_data(folder.read("report.json")).privacy == privacy
    last = [line["values"] for line in folder.history() if line["split"] == "train"]
    assert last[0]["epsilon"] < last[-1]["epsilon"] == privacy.epsilon
    assert any(c.name == "Privacy spent (epsilon)" for c in trained.facts.curves)
    page = folder.report.read_text()
    assert privacy.shown in page and "delta = 1e-5" in page
    for aspect in (*privacy.rests, *privacy.uncovered):
        assert aspect.name in page
    assert not [u for u in trained.facts.not_measured if u.name == "Privacy"]


def test_an_interrupted_run_says_what_it_spent_and_goes_on_to_the_same(tmp_path: Path, trained: Trained) -> None:
    with pytest.raises(Interrupted):
        train("digits", wishes(), output_dir=tmp_path, baselines=False, observers=[Stops()])
    from sonde.runs import RunFolder

    folder = RunFolder.find("digits", tmp_path)
    so_far = folder.read("run.json")["privacy"]
    assert so_far["steps"] == 25 and so_far["epsilon"] < trained.facts.privacy.epsilon  # type: ignore[union-attr]
    done = resume(folder)
    assert done.facts.privacy == trained.facts.privacy
    assert folder.read("run.json")["privacy"]["steps"] == 40


def test_a_run_without_it_says_nothing_of_it(tmp_path: Path) -> None:
    plain = train("digits", Wishes(net=Build(MLP, widths=(8,)), steps=5), output_dir=tmp_path, baselines=False)
    assert plain.facts.privacy is None and "privacy" not in plain.folder.read("run.json")
    assert Bundle.load(plain.folder.model).privacy is None and 'id="privacy"' not in plain.folder.report.read_text()
    assert [u for u in plain.facts.not_measured if u.name == "Privacy"]


@pytest.mark.filterwarnings("ignore:net .TabM. cannot be differentiated row by row")  # right, and slower
def test_a_table_is_normalised_privately_and_the_cost_is_in_the_total(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = tmp_path / "a.csv"
    lines = [f"{rng.normal(40, 9):.2f},{rng.exponential(3):.3f},{'ab'[i % 2]}" for i in range(900)]
    table.write_text("\n".join(["x,z,y", *lines]))
    asked = Wishes(methods=(Build(DPSGD, target_epsilon=3.0, target_delta=1e-4),), steps=6)
    privacy = train(table, asked, output_dir=tmp_path / "runs", target="y", baselines=False).facts.privacy
    assert privacy is not None and 2.99 < privacy.epsilon <= 3.0
    assert math.hypot(*privacy.pure) == pytest.approx(0.1)
    assert any(a.name == "Statistics of the inputs" for a in privacy.rests)


# ---------------------------------------------------------------- the words
def test_words_never_promise_more_than_the_number() -> None:
    said = told(spent([(1.0, 0.02, 700)], 1e-5), 5000)
    assert f"{said.epsilon:.6f}" > said.shown.split()[-1][:3] and float(said.shown.split()[-1]) >= said.epsilon
    times = float(said.promise.split(" = ")[1].split()[0])
    certainty = float(said.promise.rpartition("at most at ")[2].split("\u202f")[0]) / 100
    assert times >= math.exp(said.epsilon) and certainty >= 1 / (1 + math.exp(-said.epsilon))


def test_an_approximation_is_called_one() -> None:
    said = told(spent([(1.0, 0.02, 700)], 1e-5, "gdp"), 5000)
    assert said.shown.startswith("epsilon ≈") and "rest no promise on it" in said.promise
    assert "NOT a bound" in in_a_line(said)


def test_a_wide_bound_is_called_one() -> None:
    assert "next to nothing" in told(spent([(0.4, 0.1, 700)], 1e-5), 5000).promise


@pytest.mark.parametrize(
    "said",
    [told(spent([(0.0, 0.1, 3)], 1e-5), 50), told(spent([(1.0, 0.1, 3)], 1e-5), 50, insecure=True)],
    ids=["no noise", "a given seed"],
)
def test_what_promises_nothing_says_so(said: Any) -> None:
    assert said.shown == "none" and said.promise.startswith("Nothing:") and in_a_line(said).startswith("none:")
    json.dumps(numbers(said), allow_nan=False)


def test_an_insecure_seed_is_found_in_any_method(tmp_path: Path) -> None:
    done = train("digits", wishes(insecure_seed=1), output_dir=tmp_path, baselines=False)
    assert done.facts.privacy is not None and done.facts.privacy.insecure
    assert INSECURE in done.folder.read("run.json")["privacy"]["sentence"]


# ---------------------------------------------------------------- defaults that go with it
def test_defaults_that_it_refuses_are_exchanged() -> None:
    defaults = [Build(Backprop, microbatch=16), Build(FitInputs), Build(MixUp), Build(CutMix), Build(EMA)]
    with pytest.warns(Notice, match="MixUp is left out") as said:
        found = with_methods(defaults, [Build(DPSGD, noise_multiplier=1.0)])
    assert [b.make for b in found] == [PrivateInputs, EMA, DPSGD]
    assert found[-1].arguments == {"noise_multiplier": 1.0, "microbatch": 16}
    assert {str(w.message).split()[0] for w in said} == {"MixUp", "CutMix"}


def test_what_was_asked_for_is_not_exchanged() -> None:
    asked = [Build(DPSGD, noise_multiplier=1.0, microbatch=4), Build(PrivateInputs, epsilon=0.5), Build(MixUp)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = with_methods([Build(Backprop, microbatch=16), Build(FitInputs), Build(Validate)], asked)
    assert [b.make for b in found] == [DPSGD, PrivateInputs, MixUp, Validate]
    assert found[0].arguments["microbatch"] == 4 and found[1].arguments == {"epsilon": 0.5}


def test_without_it_defaults_stay() -> None:
    defaults = [Build(Backprop, microbatch=16), Build(FitInputs), Build(MixUp)]
    assert with_methods(defaults, [Build(EMA)]) == [*defaults, Build(EMA)]


def test_a_net_shown_the_rows_on_request_is_refused(tmp_path: Path) -> None:
    asked = wishes()
    both = Wishes(net=asked.net, methods=(*asked.methods, Build(FitInputs)), epochs=1)
    with pytest.raises(Refused, match="FitInputs reads training records"):
        train("digits", both, output_dir=tmp_path, baselines=False)
