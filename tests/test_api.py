"""The Python face: one call for the main job, six lines for a module of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sonde
from sonde.core import Budget, Build, Run, SondeError, fit
from sonde.data import load
from sonde.data.loader import Loader
from sonde.methods import EMA, adamw
from sonde.objectives import Classify
from tests.support import blobs

SMALL = {"net": "mlp(widths=(8,))", "baselines": False}


class MyNet(nn.Module):
    """A net of the caller's; the data says how many outputs it has."""

    def __init__(self, outputs: int, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_module_and_a_loader_of_ones_own_take_six_lines() -> None:
    x, y = blobs(200)
    net = nn.Linear(4, 3)
    # from here on, the caller's six lines
    loader = DataLoader(TensorDataset(x, y), batch_size=20, shuffle=True)
    run = Run(Classify(net), [adamw(lr=0.1)])
    fit(run, Loader(loader), Budget(epochs=5))
    answers = net(x).argmax(1)
    assert (answers == y).float().mean() > 0.9


def test_train_load_and_predict_agree() -> None:
    trained = sonde.train("digits", epochs=2, **SMALL)
    x = load("digits").x[:20].numpy()
    again = sonde.load("digits")
    assert list(trained.predict(x)) == list(again.predict(x)) == list(sonde.load("runs/digits/model").predict(x))
    assert again.predict_proba(x).shape == (20, 10)
    assert 0 < trained.measures["quality/accuracy"] <= 1


def test_a_net_class_of_ones_own_is_trained_and_loaded_back() -> None:
    trained = sonde.train("digits", net=MyNet, steps=5, baselines=False, settings={"objective.net.width": 4})
    x = load("digits").x[:5].numpy()
    with pytest.raises(sonde.Refused, match="MyNet"):
        sonde.load("digits")
    loaded = sonde.load("digits", own=[MyNet])
    assert loaded.objective.state_dict()["net.layers.1.weight"].shape == (4, 64)
    assert list(loaded.predict(x)) == list(trained.predict(x))
    wide = sonde.train("digits", net=Build(MyNet, width=6), methods=[EMA, "mixup(alpha=0.1)"], steps=2, baselines=False)
    assert wide.bundle.objective.state_dict()["net.layers.1.weight"].shape == (6, 64)


def test_a_module_that_is_already_made_is_answered_with_what_to_pass() -> None:
    with pytest.raises(SondeError, match="pass its class"):
        sonde.train("digits", net=MyNet(10))


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_frames_are_data(kind: str) -> None:
    frames = pytest.importorskip(kind)
    rng = np.random.default_rng(0)
    a = rng.normal(size=90)
    columns = {"a": a.tolist(), "b": ["x", "y", "z"] * 30, "y": (3 * a + rng.normal(size=90) / 9).tolist()}
    frame = frames.DataFrame(columns)
    net = "tabm(widths=(8, 8), members=2, bins=4)"
    trained = sonde.train(frame, target="y", net=net, steps=30, baselines=False)
    answers = sonde.load(trained.folder.path).predict(frame)
    assert answers.shape == (90,) and np.isfinite(answers).all()
    recipe = json.loads((trained.folder.path / "recipe.json").read_text())
    assert recipe["data"] is None
    with pytest.raises(SondeError, match="pass it"):
        sonde.resume(trained.folder.path)
    again = sonde.resume(trained.folder.path, data=frame)
    assert np.array_equal(again.predict(frame), answers)


def test_what_is_given_beside_a_recipe_changes_it() -> None:
    first = sonde.train("digits", steps=2, **SMALL)
    second = sonde.train("digits", recipe=first.folder.path, steps=3, lr=0.5, seed=4, baselines=False, name="second")
    recipe = json.loads((second.folder.path / "recipe.json").read_text())
    rule = next(m for m in recipe["methods"] if m["build"].endswith(":adamw"))
    assert second.facts.step == 3 and rule["lr"] == 0.5 and recipe["seed"] == 4
    assert recipe["objective"] == json.loads((first.folder.path / "recipe.json").read_text())["objective"]


def test_the_seed_is_the_same_in_python_and_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    from sonde.cli import main

    python = sonde.train("digits", steps=3, seed=2, name="python", **SMALL)
    assert (
        main(["train", "digits", "steps=3", "seed=2", "--name", "typed", "--net", SMALL["net"], "--no-baselines"]) == 0
    )
    for name in ("recipe.json", "metrics.jsonl", "model/weights.safetensors"):
        assert (python.folder.path / name).read_bytes() == Path("runs/typed", name).read_bytes()


@pytest.mark.parametrize(
    "options", [{"epochs": 0}, {"lr": float("nan")}, {"batch_size": -1}, {"seconds": float("inf")}]
)
def test_a_number_that_cannot_be_followed_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(SondeError, match=next(iter(options))):
        sonde.train("digits", **options)  # type: ignore[arg-type]
    assert not Path("runs").exists()
