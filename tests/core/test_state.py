"""State on disk: whatever is saved comes back, and whatever is damaged is found."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sonde.core import Corrupt, Refused, SondeError, digest, read_state, write_state
from sonde.core.state import FORMAT, flatten, read_folder, refuse_pickle, replace_folder, unflatten
from tests.support import LAW

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))  # 0-dim and empty ones too
    tensor = torch.tensor(draw(st.lists(st.integers(0, 1), min_size=(n := math.prod(shape)), max_size=n)))
    tensor = tensor.reshape(shape).to(draw(st.sampled_from(DTYPES)))
    return draw(
        st.sampled_from([tensor, tensor.T if tensor.dim() == 2 else tensor, tensor[..., None].expand(*shape, 2)])
    )


SCALARS = st.none() | st.booleans() | st.integers() | st.integers(2**64, 2**200) | st.floats() | st.text()
KEYS = st.text() | st.integers() | st.booleans() | st.tuples(st.integers(), st.text()) | st.sampled_from(["$tensor"])
STATES = st.recursive(
    SCALARS | tensors(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.tuples(inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


# ---------------------------------------------------------------- laws
@LAW
@given(STATES)
def test_a_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, state: Any) -> None:
    folder = tmp_path_factory.mktemp("state") / "last"
    write_state(folder, state, {"step": 3})
    found, facts = read_state(folder)
    assert same(state, found) and facts == {"step": 3}
    shutil.rmtree(folder.parent)


@LAW
@given(STATES)
def test_the_structure_is_strict_json(state: Any) -> None:
    flat, structure = flatten(state)
    assert same(state, unflatten(flat, json.loads(json.dumps(structure, allow_nan=False))))


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, b"bytes", Path("x"), range(3)], ids=lambda v: type(v).__name__)
def test_what_has_no_plain_form_is_refused_by_its_type(value: Any) -> None:
    with pytest.raises(TypeError, match=f"state may hold tensors, .*; got {type(value).__name__}"):
        flatten({"a": [value]})


def test_a_saved_state_does_not_change_with_what_it_was_saved_from() -> None:
    tensor = torch.zeros(3)
    flat, _ = flatten([tensor])
    tensor.add_(1)
    assert flat["t0"].tolist() == [0, 0, 0]


def test_equal_bits_have_equal_digests_and_no_others() -> None:
    a = {"w": torch.tensor([1.0, 2.0]), "b": torch.tensor(True)}
    assert digest(a) == digest({k: v.clone() for k, v in a.items()})
    assert digest(a) != digest({**a, "w": torch.tensor([1.0, 2.0000002])})
    assert digest(a) != digest({"v": a["w"], "b": a["b"]})


# ---------------------------------------------------------------- damage
@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder saved twice: `last` holds 2, `last.previous` holds 1."""
    folder = tmp_path / "last"
    for step in (1, 2):
        write_state(folder, {"step": step, "w": torch.full((40,), float(step))}, {"step": step})
    return folder


FILES = ("manifest.json", "state.json", "tensors.safetensors")


def goes_back(folder: Path) -> None:
    """Reading warns and gives the state before; without it, reading refuses."""
    with pytest.warns(UserWarning, match="; using the one before it$"):
        state, facts = read_state(folder)
    assert state["step"] == facts["step"] == 1 and state["w"].tolist() == [1.0] * 40
    shutil.rmtree(folder.with_name("last.previous"))
    with pytest.raises((Corrupt, FileNotFoundError)):
        read_state(folder)


def test_the_newest_whole_state_is_read_without_a_word(saved: Path) -> None:
    state, facts = read_state(saved)
    assert state["step"] == facts["step"] == 2


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_found(saved: Path, name: str, keep: float) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(keep * len(content))])
    goes_back(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_grew_is_found(saved: Path, name: str) -> None:
    with open(saved / name, "ab") as file:
        file.write(b"x")
    goes_back(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(saved: Path, name: str) -> None:
    (saved / name).unlink()
    goes_back(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_a_folder_is_found(saved: Path, name: str) -> None:
    (saved / name).unlink()
    (saved / name).mkdir()
    goes_back(saved)


def test_a_missing_folder_is_found(saved: Path) -> None:
    shutil.rmtree(saved)
    goes_back(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_wherever_it_is(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    places = random.Random(0).sample(range(8 * len(content)), min(8 * len(content), 150))
    for place in places:
        content[place // 8] ^= 1 << place % 8
        (saved / name).write_bytes(content)
        with pytest.raises(Corrupt):
            read_folder(saved)
        content[place // 8] ^= 1 << place % 8
    (saved / name).write_bytes(content)
    assert read_state(saved)[0]["step"] == 2


def forge(folder: Path, manifest: Any) -> None:
    """Replace a manifest by one with a right checksum of its own, as an attacker would."""
    if isinstance(manifest, dict):
        manifest.pop("sha256", None)
        manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        [],
        {},
        {"format": "1", "about": {}, "files": {}},
        {"format": FORMAT, "about": {}, "files": []},
        {"format": FORMAT, "about": {}, "files": {"state.json": 3}},
        {"format": FORMAT, "about": {}, "files": {"state.json": {"bytes": "many", "sha256": ""}}},
        {"format": FORMAT, "about": {}, "files": {"state.json": {"bytes": math.inf, "sha256": ""}}},
        {"format": FORMAT, "files": {}},
        {"format": FORMAT, "about": {}, "files": {}},
    ],
    ids=repr,
)
def test_a_manifest_that_says_something_else_is_found(saved: Path, manifest: Any) -> None:
    forge(saved, manifest)
    goes_back(saved)


def test_a_manifest_nested_beyond_reason_is_found(saved: Path) -> None:
    (saved / "manifest.json").write_text("[" * 100_000)
    goes_back(saved)


@pytest.mark.parametrize(
    "structure", ["[" * 100_000, '{"$tensor": "t9"}', '{"$map": 3}', "nonsense", '{"$float": "x"}']
)
def test_a_structure_that_does_not_fit_its_tensors_is_found(saved: Path, structure: str) -> None:
    files = {"state.json": structure.encode(), "tensors.safetensors": (saved / FILES[2]).read_bytes()}
    rewrite(saved, files)
    goes_back(saved)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 8, struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 10) + b'{"t0":{}} ', b"\x80\x04K\x01."],
    ids=["empty", "zeros", "huge header", "no tensor", "pickle"],
)
def test_tensors_that_are_no_safetensors_are_found(saved: Path, content: bytes) -> None:
    rewrite(saved, {"state.json": b'{"w": {"$tensor": "t0"}}', "tensors.safetensors": content})
    goes_back(saved)


def rewrite(folder: Path, files: dict[str, bytes]) -> None:
    """Replace the content of a state and its checksums, leaving the state before it alone."""
    elsewhere = folder.with_name("elsewhere")
    replace_folder(elsewhere, files, {"step": 2})
    shutil.rmtree(folder)
    elsewhere.rename(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", ".", "", "a/b", "sub/../../secret"])
def test_a_manifest_that_points_outside_its_folder_is_refused(saved: Path, name: str) -> None:
    (saved.parent / "secret").write_bytes(b"secret")
    entry = {"bytes": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
    forge(saved, {"format": FORMAT, "about": {}, "files": {name: entry}})
    with pytest.raises(Refused, match="lists a file outside itself") as caught:
        read_state(saved)
    assert caught.value.code == 4


def test_a_state_of_a_newer_version_says_so(saved: Path) -> None:
    forge(saved, {"format": FORMAT + 1, "about": {}, "files": {}})
    with pytest.raises(SondeError, match="written by a newer version of sonde\n  upgrade sonde"):
        read_state(saved)


def test_where_nothing_was_saved_nothing_is_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "last")


def test_what_a_killed_process_left_behind_is_removed(saved: Path) -> None:
    stale = saved.with_name(".last.99999.tmp")
    stale.mkdir()
    (stale / "tensors.safetensors").write_bytes(b"half")
    write_state(saved, {"step": 3})
    assert sorted(p.name for p in saved.parent.iterdir()) == ["last", "last.previous"]
    assert read_state(saved)[0] == {"step": 3}


# ---------------------------------------------------------------- pickles
@pytest.mark.parametrize("suffix", ["pt", "pth", "ckpt", "bin", "pkl", "pickle", "joblib", "PT"])
def test_a_pickle_is_refused_unopened_and_told_how_to_convert(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model.{suffix}"  # it does not even exist
    with pytest.raises(Refused, match=f"sonde convert model.{suffix}"):
        refuse_pickle(path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "pt"])
def test_other_files_are_no_pickles(name: str) -> None:
    refuse_pickle(Path(name))
