"""The main job beneath the command line and the Python face: how data is opened, and what a failure leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sonde.core import Build, Event, Method, Run, SondeError, Stepped
from sonde.data import load
from sonde.methods import EMA
from sonde.nets import MLP, TabM
from sonde.recipes.defaults import Wishes
from sonde.runs import RunFolder
from sonde.training import Interrupted, opened, recipe_from_file, resume, train

WISHES = Wishes(net=Build(MLP, widths=(8,)), steps=20)


class Fails(Method):
    """Raises an error of its own at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Stepped) and run.step == self.step:
            raise RuntimeError("out of luck")


class Stops(Fails):
    """Presses Ctrl-C at a step."""

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Stepped) and run.step == self.step:
            run.stop = "interrupted"


def test_a_failure_leaves_the_runs_of_others_and_no_trace_of_its_own(tmp_path: Path) -> None:
    train("digits", WISHES, output_dir=tmp_path, baselines=False)
    with pytest.raises(RuntimeError, match="out of luck"):
        train("digits", WISHES, output_dir=tmp_path, baselines=False, observers=[Fails(1)])
    assert [p.name for p in tmp_path.iterdir()] == ["digits"]


def test_a_failure_keeps_what_was_saved(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        train("digits", WISHES, output_dir=tmp_path, baselines=False, observers=[Fails(9)], save_every_seconds=0.0)
    folder = RunFolder.find("digits", tmp_path)
    assert (folder.checkpoints / "last").is_dir() and not folder.busy


def test_data_that_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    lines = [f"{i},{i % 7},{'a' if i % 2 else 'b'}" for i in range(60)]
    table.write_text("\n".join(["x,z,y", *lines]))
    wishes = Wishes(net=Build(TabM, widths=(8, 8), members=2, bins=4), steps=5)
    with pytest.raises(Interrupted):
        train(table, wishes, output_dir=tmp_path / "runs", target="y", baselines=False, observers=[Stops(3)])
    folder = RunFolder.find("a", tmp_path / "runs")
    whole = table.read_text()
    table.write_text("\n".join(["x,z,y", *lines[:-1]]))
    with pytest.raises(SondeError, match="has changed"):
        resume(folder)
    table.write_text(whole)
    assert resume(folder).facts.step == 5


def test_what_is_no_data_is_answered_with_what_comes_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for name, near in (("digts", "digits"), ("pictres", "pictures"), ("zzzz", "the data sets are")):
        with pytest.raises(SondeError, match=near):
            opened(name)
    with pytest.raises(SondeError, match="does not exist"):
        opened("people.csv", target="y")
    data = load("digits")
    assert opened(data) is data and opened("Digits").fingerprint == data.fingerprint


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff\xfe", b"{" * 1000, b"[" * 200_000, b"nan", b'{"name": 1}']
)
def test_a_file_that_is_no_recipe_is_an_error_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(SondeError):
        recipe_from_file(tmp_path / "recipe.json")


def test_a_recipe_is_read_from_the_folder_of_a_run(tmp_path: Path) -> None:
    trained = train("digits", WISHES, output_dir=tmp_path, baselines=False)
    assert recipe_from_file(trained.folder.path).to_data() == json.loads(
        (trained.folder.path / "recipe.json").read_text()
    )


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    from sonde.core import Recipe

    wishes = Wishes(net=Build(MLP, widths=(8,)), steps=20)
    with pytest.raises(Interrupted, match="sonde resume"):
        train("digits", wishes, output_dir=tmp_path, baselines=False, observers=[Stops(5)])
    folder = RunFolder.find("digits", tmp_path)
    recipe = Recipe.from_data(folder.read("recipe.json"))
    folder.write("recipe.json", recipe.changed(methods=(*recipe.methods, Build(EMA))).to_data())
    with pytest.raises(SondeError, match="does not fit"):
        resume(folder)
