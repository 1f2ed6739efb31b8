"""Bundles: they answer as the trained model did, wherever they are, and no file of theirs is trusted."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sonde.bundle import SPEC, WEIGHTS, Bundle
from sonde.core import Build, Objective, Refused, SondeError
from sonde.core.state import _seal
from sonde.data import ImageSchema, load
from sonde.data.targets import Target
from sonde.names import catalogue, completed
from sonde.objectives import Classify

PICTURES = ImageSchema(1, (16, 16), Target("classification", ("class",), ("a", "b", "c")))
KNOWN = {"channels": 1, "height": 16, "width": 16, "shape": (1, 16, 16), "outputs": 3, "classes": 3}
TABLE = {"outputs": 3, "numeric": 4, "cardinalities": (3, 5)}
SEQUENCES = {"gpt": {"vocabulary": 3, "context": 6, "width": 8, "layers": 1, "heads": 2},
             "dlinear": {"lookback": 6, "horizon": 3, "kernel": 3}}  # fmt: skip


def made(net: Build[Any] | None = None) -> Bundle:
    """A bundle of an untrained net for pictures of 16 x 16 pixels."""
    build: Build[Objective] = Build(Classify, net=net or completed(Build(find("mlp"), widths=(4,)), KNOWN))
    torch.manual_seed(1)
    return Bundle(build().eval().requires_grad_(False), build, "classification", PICTURES)


def find(name: str) -> Any:
    return next(e.make for e in catalogue("nets") if e.name == name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made().save(tmp_path / "model")
    return tmp_path / "model"


def sealed(folder: Path, name: str, content: bytes) -> None:
    """Another content for a file of the bundle, with a manifest that vouches for it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / name).write_bytes(content)
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["sha256"] = _seal(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def respecified(folder: Path, **changes: Any) -> None:
    sealed(folder, SPEC, json.dumps({**json.loads((folder / SPEC).read_text()), **changes}).encode())


# ---------------------------------------------------------------- round trips
@pytest.mark.parametrize("name", [e.name for e in catalogue("nets")])
def test_every_net_of_the_package_is_loaded_bit_for_bit_without_memory_first(name: str, tmp_path: Path) -> None:
    known = TABLE if name == "tabm" else KNOWN
    net = Build(find(name), **SEQUENCES[name]) if name in SEQUENCES else completed(Build(find(name)), known)
    build: Build[Objective] = Build(Classify, net=net)
    before = torch.random.get_rng_state()
    bundle = Bundle(build().eval(), build, "classification", PICTURES)
    for value in bundle.objective.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    torch.random.set_rng_state(before)
    bundle.save(tmp_path / "model")
    loaded = Bundle.load(tmp_path / "model")
    assert torch.equal(torch.random.get_rng_state(), before), "loading moved the caller's generator"
    assert not any(v.is_meta for v in [*loaded.objective.parameters(), *loaded.objective.buffers()])
    own, read = bundle.objective.state_dict(), loaded.objective.state_dict()
    assert own.keys() == read.keys() and all(torch.equal(own[k], read[k]) for k in own)
    if name in SEQUENCES:  # a sequence of answers a row, which is no classification: the net itself is compared
        x: Any = torch.randint(3, (5, 6)) if name == "gpt" else torch.randn(5, 6, 2)
        with torch.no_grad():
            ours, theirs = bundle.objective.net(x), loaded.objective.net(x)  # type: ignore[operator]
        torch.testing.assert_close(ours, theirs)  # equal weights; a product of few numbers rounds by where they lie
        return
    if name == "tabm":
        x = {"numeric": torch.randn(5, 4), "categorical": torch.tensor([[1, 2]] * 5)}
    else:
        x = torch.rand(5, 1, 16, 16)
    assert torch.equal(bundle.raw(x), loaded.raw(x))
    assert loaded.raw(x).shape == (5, 3) and torch.allclose(loaded.raw(x).sum(1), torch.ones(5))


def test_a_moved_bundle_answers_the_same(folder: Path, tmp_path: Path) -> None:
    x = torch.rand(3, 16, 16).numpy()
    before = Bundle.load(folder).predict_proba(x)
    shutil.move(folder, tmp_path / "elsewhere")
    after = Bundle.load(tmp_path / "elsewhere")
    assert (after.predict_proba(x) == before).all() and list(after.predict(x)) == list(made().predict(x))


def test_no_rows_have_no_answers() -> None:
    assert made().raw(torch.zeros(0, 1, 16, 16)).shape == (0, 3)


class Own(nn.Module):
    """A net of the caller's, with a buffer that is computed and not stored."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(256, outputs)
        self.register_buffer("scale", torch.arange(1.0, 257.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1) * self.scale)


def test_a_net_of_the_callers_is_loaded_only_when_its_class_is_passed(tmp_path: Path) -> None:
    bundle = made(Build(Own, outputs=3))
    bundle.save(tmp_path / "model")
    with pytest.raises(Refused, match="Own"):
        Bundle.load(tmp_path / "model")
    x = torch.rand(4, 1, 16, 16)
    assert torch.equal(Bundle.load(tmp_path / "model", own=[Own]).raw(x), bundle.raw(x))


# ---------------------------------------------------------------- damage and malice
def test_any_flipped_bit_and_any_cut_is_found(folder: Path) -> None:
    for name in (WEIGHTS, SPEC, "manifest.json"):
        whole = (folder / name).read_bytes()
        for position in range(0, len(whole), max(1, len(whole) // 23)):
            bent = bytearray(whole)
            bent[position] ^= 1 << position % 8
            for content in (bytes(bent), whole[:position]):
                (folder / name).write_bytes(content)
                with pytest.raises(SondeError):
                    Bundle.load(folder)
        (folder / name).unlink()
        with pytest.raises(SondeError):
            Bundle.load(folder)
        (folder / name).write_bytes(whole)
    assert Bundle.load(folder)


@pytest.mark.parametrize(
    "objective",
    [
        {"build": "os:system", "command": "touch marker"},
        {"build": "sonde.data.opening:open", "data": "/etc/passwd"},
        {"build": "sonde.data.named:load", "name": "mnist", "download": True},
        {"build": "sonde.methods.observe.checkpoint:Checkpoint", "folder": "marker"},
        {"build": "sonde.objectives.classify:Classify", "net": {"build": "sonde.data.opening:open", "data": "/etc"}},
        {"build": "sonde.objectives.classify:Classify", "net": {"deep": [{"build": "builtins:exec"}]}},
        {"build": "sonde.nets.mlp:torch"},
        {"build": "sonde.nets.:x"},
    ],
)
def test_a_name_outside_nets_and_objectives_is_refused(
    folder: Path, objective: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    respecified(folder, objective=objective)
    with pytest.raises(Refused):
        Bundle.load(folder)
    assert not (folder.parent / "marker").exists()


@pytest.mark.parametrize(
    "objective",
    [
        None, 3, [], {}, "sonde.objectives.classify:Classify", {"build": 3}, {"net": 1},
        {"build": "sonde.objectives.classify:Classify"},
        {"build": "sonde.objectives.classify:Classify", "net": 3},
        {"build": "sonde.objectives.classify:Classify", "net": {"build": "sonde.nets.mlp:MLP", "depth": 3}},
        {"build": "sonde.nets.mlp:MLP", "shape": [1, 16, 16], "outputs": 3},
    ],
)  # fmt: skip
def test_a_description_of_no_objective_is_an_error_in_words(folder: Path, objective: Any) -> None:
    respecified(folder, objective=objective)
    with pytest.raises(SondeError):
        Bundle.load(folder)


@pytest.mark.parametrize(
    "net",
    [
        {"build": "sonde.nets.mlp:MLP", "shape": [1, 16, 16], "outputs": 3, "widths": [5]},
        {"build": "sonde.nets.mlp:MLP", "shape": [1, 16, 16], "outputs": 3, "widths": [10**9]},
        {"build": "sonde.nets.mlp:MLP", "shape": [1, 16, 16], "outputs": 3, "widths": [4] * 100_000},
        {"build": "sonde.nets.mlp:MLP", "shape": [1, 16, 16], "outputs": 10**12, "widths": [4]},
        {"build": "sonde.nets.mlp:MLP", "shape": [1, 16, 16], "outputs": -3, "widths": [4]},
        {"build": "sonde.nets.resnet:ResNet", "blocks": 10**9},
        {"build": "sonde.nets.resnet:ResNet", "widths": [10**8]},
        {"build": "sonde.nets.tabm:TabM", "outputs": 3, "numeric": 10**9},
        {"build": "sonde.nets.tabm:TabM", "outputs": 3, "numeric": 2, "cardinalities": [10**10]},
    ],
)
def test_a_net_of_another_size_is_found_before_it_takes_memory(folder: Path, net: Any) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    respecified(folder, objective={"build": "sonde.objectives.classify:Classify", "net": net})
    with pytest.raises(SondeError):
        Bundle.load(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000, "kilobytes"


@pytest.mark.parametrize("claim", [b"", b"\xff" * 8, (10**9).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"{}"])
def test_weights_that_claim_more_than_they_hold_are_found(folder: Path, claim: bytes) -> None:
    sealed(folder, WEIGHTS, claim)
    with pytest.raises(SondeError):
        Bundle.load(folder)


def test_files_outside_the_folder_are_refused(folder: Path) -> None:
    (folder.parent / "secret").write_text("x")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../secret"] = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    manifest["sha256"] = _seal(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Refused, match="outside"):
        Bundle.load(folder)


def test_another_task_schema_or_format_is_an_error_in_words(folder: Path) -> None:
    for changes in (
        {"task": "regression"},
        {"task": None},
        {"schema": {}},
        {"schema": 3},
        {"format": 99},
        {"format": "x"},
    ):
        whole = (folder / SPEC).read_bytes()
        respecified(folder, **changes)
        with pytest.raises(SondeError):
            Bundle.load(folder)
        sealed(folder, SPEC, whole)
    with pytest.raises(SondeError, match="no model"):
        Bundle.load(folder.parent / "nothing")
    with pytest.raises(Refused):
        Bundle.load(folder.parent / "model.pt")


def test_a_regression_has_no_probabilities(tmp_path: Path) -> None:
    from sonde.recipes.defaults import for_data

    data = load("diabetes")
    recipe = for_data(data)
    bundle = Bundle.of(recipe.objective(data=data).eval(), recipe.objective, data)
    with pytest.raises(SondeError, match="use predict"):
        bundle.predict_proba([])
