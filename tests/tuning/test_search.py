"""The search: on validation rows alone, repeatable, and to be gone on with after any end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sonde
from sonde.core import Build, Recipe, Refused, SondeError
from sonde.data import Dataset, load
from sonde.methods import EarlyStopping, Validate
from sonde.names import parse
from sonde.recipes.defaults import Wishes, decided_by, for_data
from sonde.training import Interrupted, recipe_from_file
from sonde.tuning.search import Tuned, search
from sonde.tuning.trials import Trial, TrialsFile

pytest.importorskip("optuna", reason="the search is an extra: tune")
SPACE = {"lr": "1e-4..1e-1 log", "batch_size": "32,64", "net.dropout": "0.0..0.5"}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(data: Dataset, *methods: str, epochs: float = 2, **wishes: Any) -> Recipe:
    known = decided_by(data)
    asked = [parse("methods", m, known) for m in methods]
    net = parse("nets", "mlp(widths=(8,))", known)
    return for_data(data, Wishes(net=net, methods=asked, epochs=epochs, batch_size=64, **wishes), None)


def outcome(tuned: Tuned) -> list[tuple[Any, ...]]:
    return [(t.number, t.state, t.values, t.value, t.measured, t.rows, t.steps) for t in tuned.trials]


@pytest.fixture(scope="module")
def whole(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """An uninterrupted search of nine trials."""
    root = tmp_path_factory.mktemp("whole")
    return search(recipe(digits), digits, space=SPACE, trials=9, output_dir=root)


def test_it_finds_what_is_better_than_the_recipe_as_it_was(whole: Tuned) -> None:
    assert [t.number for t in whole.trials] == list(range(9)) and whole.why == "all trials done"
    first = whole.trials[0]
    assert first.state == "complete" and first.values == {"lr": 3e-3, "batch_size": 64, "net.dropout": 0.0}
    assert whole.best.value is not None and first.value is not None and whole.best.value < 0.8 * first.value
    assert whole.metric == "loss" and whole.lower_is_better
    assert all(t.value == pytest.approx(sum(t.rows) / len(t.rows), rel=1e-5) for t in whole.ranked)
    assert whole.honest is not None and whole.honest.rows == 144 and whole.honest.gain_interval[0] > 0


def test_the_best_recipe_trains_to_the_same_numbers(whole: Tuned, digits: Dataset) -> None:
    again = recipe_from_file(whole.folder.path / "best.json")
    assert again.to_data() == whole.recipe.to_data()
    best = whole.best
    assert again.stages[0].source.arguments["batch_size"] == best.values["batch_size"]
    run = again.train(again.start(digits), digits)
    with run.evaluating() as objective:
        index = digits.splits["val"]
        loss = objective("model", digits.batch(index)).total()
    assert float(loss) == pytest.approx(best.value, rel=1e-5)


def test_the_test_rows_are_never_read(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    batch = Dataset.batch

    def watched(self: Dataset, index: torch.Tensor) -> Any:
        seen.append(index)
        return batch(self, index)

    monkeypatch.setattr(Dataset, "batch", watched)
    search(recipe(digits, epochs=1), digits, space=SPACE, trials=3)
    read = set(torch.cat(seen).tolist())
    assert read and not read & set(digits.splits["test"].tolist())
    assert read & set(digits.splits["val"].tolist())


def test_a_recipe_that_validates_on_the_test_rows_is_refused(digits: Dataset) -> None:
    asked = recipe(digits)
    methods = tuple(b.with_arguments(split="test") if b.make is Validate else b for b in asked.methods)
    with pytest.raises(SondeError, match="test rows"):
        search(asked.changed(methods=methods), digits, space=SPACE, trials=2)


def stopped_after(trials: int) -> Callable[[str], None]:
    """A reader of progress that interrupts after so many trials."""
    left = [trials]

    def tell(text: str) -> None:
        if text.startswith("trial "):
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

    return tell


def test_an_interrupted_search_goes_on_to_what_it_would_have_found(digits: Dataset, whole: Tuned) -> None:
    asked = recipe(digits)
    with pytest.raises(Interrupted, match="4 finished trials"):
        search(asked, digits, space=SPACE, trials=9, tell=stopped_after(4))
    trials = Path("runs/digits-tune/trials.jsonl")
    trials.write_bytes(trials.read_bytes() + trials.read_bytes()[:100])  # killed while it wrote the fifth
    said: list[str] = []
    tuned = search(asked, digits, space=SPACE, trials=9, resume=True, tell=said.append)
    assert "after 4 trials" in said[0]
    assert outcome(tuned) == outcome(whole)
    assert [p.name for p in Path("runs").iterdir()] == ["digits-tune"]


def test_another_search_is_not_gone_on_with(digits: Dataset) -> None:
    asked = recipe(digits, epochs=1)
    search(asked, digits, space=SPACE, trials=1)
    with pytest.raises(SondeError, match="searched something else"):
        search(asked, digits, space={"lr": "1e-4..1e-2 log"}, trials=2, resume=True)
    more = search(asked, digits, space=SPACE, trials=2, resume=True)  # more trials of the same are no other search
    assert len(more.trials) == 2
    assert search(asked, digits, space=SPACE, trials=1).folder.name == "digits-tune-2"


def test_nothing_that_runs_code_is_written(whole: Tuned) -> None:
    for path in whole.folder.path.iterdir():
        content = path.read_bytes()
        assert path.suffix in (".json", ".jsonl", "") and not content.startswith(b"\x80"), path
    for line in (whole.folder.path / "trials.jsonl").read_text().splitlines():
        assert isinstance(json.loads(line), dict)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = TrialsFile(tmp_path / "trials.jsonl")
    file.append(Trial(number=0, state="complete", values={"lr": 1.0}, value=0.5, rows=(0.25, 0.75)))
    assert file.read()[0].rows == (0.25, 0.75)
    file.path.write_text('{"number": 0}\n')
    with pytest.raises(SondeError, match="damaged"):
        file.read()
    file.path.write_text(Trial(number=3, state="pruned", values={}).line())
    with pytest.raises(SondeError, match="lacks trials"):
        file.read()


def test_hopeless_trials_are_given_up(digits: Dataset) -> None:
    tuned = search(recipe(digits, epochs=8), digits, space={"lr": "1e-7..1e-1 log"}, trials=14)
    cut = [t for t in tuned.trials if t.state == "pruned"]
    assert cut and all(t.steps < tuned.trials[0].steps and t.reason == "fell behind" for t in cut)
    assert tuned.best not in cut
    kept = search(recipe(digits, epochs=1), digits, space={"lr": "1e-7..1e-1 log"}, trials=8, pruner="none")
    assert all(t.state == "complete" for t in kept.trials)


def test_the_metric_is_what_early_stopping_watches(digits: Dataset) -> None:
    asked = recipe(digits, epochs=4, patience=3)
    asked = asked.changed(
        methods=tuple(b.with_arguments(metric="accuracy") if b.make is EarlyStopping else b for b in asked.methods)
    )
    tuned = search(asked, digits, space={"lr": "1e-3..1e-1 log"}, trials=3)
    assert tuned.metric == "accuracy" and not tuned.lower_is_better
    for t in tuned.ranked:  # the restored weights, so the best measurement, is what counts
        assert t.value == pytest.approx(max(t.measured), abs=1e-6)
    assert tuned.best.value == max(t.value or 0 for t in tuned.ranked)


def test_time_ends_a_search_within_a_trial(digits: Dataset) -> None:
    tuned = search(recipe(digits, epochs=3), digits, space=SPACE, trials=10**6, seconds=6)
    assert tuned.why == "out of time" and tuned.seconds < 9 and len(tuned.trials) >= 1
    with pytest.raises(SondeError, match="no trial was finished"):
        search(recipe(digits, epochs=500), digits, space=SPACE, trials=5, seconds=0.3)


def test_a_trial_that_fails_is_kept_and_the_search_goes_on(digits: Dataset) -> None:
    tuned = search(recipe(digits, epochs=1), digits, space={"lr": "1e-3,1e30"}, trials=4)
    assert tuned.best.values["lr"] in (1e-3, 3e-3)
    assert {t.state for t in tuned.trials} >= {"complete", "pruned"}
    same = [t for t in tuned.trials if "the same as" in t.reason]
    assert all(t.seconds == 0 for t in same)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"metric": "f2"}, "does not measure 'f2'"),
        ({"space": {"objective.loss": "'focal(gamma=2)','cross_entropy'"}}, "losses do not compare"),
        ({"trials": 0}, "find nothing"),
        ({"pruner": "best"}, "pruner 'best'"),
    ],
)
def test_what_cannot_be_searched_is_told(digits: Dataset, options: dict[str, Any], told: str) -> None:
    with pytest.raises(SondeError, match=told):
        search(recipe(digits, epochs=1), digits, **{"space": SPACE, "trials": 2, **options})


def test_private_training_is_refused_unless_accepted(digits: Dataset) -> None:
    private = recipe(digits, "dpsgd(noise_multiplier=1.0)", epochs=1)
    with pytest.raises(Refused, match="epsilon"):
        search(private, digits, space={"lr": "1e-3..1e-2 log"}, trials=2)
    assert search(private, digits, space={"lr": "1e-3..1e-2 log"}, trials=2, despite_privacy=True).ranked


def test_without_validation_rows_there_is_no_search(digits: Dataset) -> None:
    empty = load("digits", val=0.0)
    with pytest.raises(SondeError, match="validation rows"):
        search(recipe(empty), empty, space=SPACE, trials=2)


def test_the_python_face_and_its_generators() -> None:
    before = torch.get_rng_state()
    tuned = sonde.tune("digits", net="mlp(widths=(8,))", space={"lr": [1e-3, 1e-2]}, trials=2, epochs=1)
    assert torch.equal(before, torch.get_rng_state())
    trained = sonde.train("digits", recipe=tuned.recipe, baselines=False)
    assert trained.measures["quality/accuracy"] > 0.1
    assert Build(Validate) in tuned.recipe.methods
