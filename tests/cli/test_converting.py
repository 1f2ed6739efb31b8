"""`sonde convert`: pickled weights become safetensors, and nothing in a file ever runs."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.command import Sonde


def saved(path: Path, content: object) -> Path:
    """A file as `torch.save` writes it."""
    getattr(torch, "save")(content, path)  # noqa: B009 - what the package never does, and these tests must
    return path


class Hostile:
    """Its pickle makes a folder when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (os.mkdir, (str(self.marker),))


def test_weights_become_safetensors(sonde: Sonde, here: Path) -> None:
    weights = {
        "a": torch.randn(3, 4),
        "b": torch.arange(5),
        "c": torch.randn(2, dtype=torch.float64).to(torch.bfloat16),
    }
    shared = torch.randn(2, 2)
    saved(here / "w.pt", {"model": weights, "list": [shared, shared.T], "epoch": 3})
    answer = sonde("convert", "w.pt")
    assert answer.code == 0 and answer.out == "5 tensors in w.safetensors\n" and "1 values" in answer.err
    found = load_file(here / "w.safetensors")
    assert all(torch.equal(found[f"model.{k}"], v) for k, v in weights.items())
    assert torch.equal(found["list.1"], shared.T)
    assert sonde("convert", "w.pt").code == 1, "nothing is overwritten"
    assert sonde("convert", "w.pt", "--out", "x.safetensors", "--json").data == {
        "file": "x.safetensors",
        "tensors": 5,
        "left_out": 1,
    }


def test_a_hostile_file_is_refused_and_never_runs(sonde: Sonde, here: Path) -> None:
    marker = here / "marker"
    saved(here / "zip.pt", {"w": Hostile(marker)})
    getattr(torch, "save")({"w": Hostile(marker)}, here / "old.bin", _use_new_zipfile_serialization=False)  # noqa: B009
    with zipfile.ZipFile(here / "zip.pt") as archive:
        inside = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        (here / "bare.pkl").write_bytes(archive.read(inside))
    for name in ("zip.pt", "old.bin", "bare.pkl"):
        answer = sonde("convert", name)
        assert answer.code == 4 and "run as code" in answer.err, (name, answer.err)
    for words in (("predict", "zip.pt", "."), ("train", "bare.pkl"), ("train", "--recipe", "zip.pt")):
        assert sonde(*words).code == 4, words
    assert not marker.exists()
    assert not [p for p in here.iterdir() if p.suffix in (".safetensors", ".tmp")]


@pytest.mark.parametrize("cut", [0, 1, 100, -10])
def test_a_truncated_file_is_no_traceback(sonde: Sonde, here: Path, cut: int) -> None:
    whole = saved(here / "whole.pt", {"w": torch.randn(50)}).read_bytes()
    (here / "cut.pt").write_bytes(whole[:cut])
    answer = sonde("convert", "cut.pt")
    assert answer.code in (1, 4) and "Traceback" not in answer.err and answer.err.count("\n") == 2
    assert not list(here.glob("*.safetensors"))


def test_a_file_without_tensors(sonde: Sonde, here: Path) -> None:
    saved(here / "none.pt", {"epoch": 3})
    answer = sonde("convert", "none.pt")
    assert answer.code == 1 and "no tensors" in answer.err


def test_two_tensors_of_one_name_are_not_merged(sonde: Sonde, here: Path) -> None:
    saved(here / "w.pt", {"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}})
    answer = sonde("convert", "w.pt")
    assert answer.code == 1 and "two tensors" in answer.err


def test_the_folder_of_the_answer_must_be_there(sonde: Sonde, here: Path) -> None:
    saved(here / "w.pt", {"a": torch.ones(1)})
    assert "no folder" in sonde("convert", "w.pt", "--out", "none/x.safetensors").err
