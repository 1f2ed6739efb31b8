"""Arrays: .npz and idx files, and the ways they can lie."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sonde import data
from sonde.core.errors import Refused, SondeError
from sonde.data import BadData
from sonde.data.arrays import parse_idx, read_npz
from tests.data.make import idx, npz

X = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
Y = np.arange(40) % 4


class Marker:
    """Unpickling one would create the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_pictures_in_an_npz(tmp_path: Path) -> None:
    d = data.open(npz(tmp_path / "a.npz", x=X, y=Y))
    assert d.x.shape == (40, 1, 8, 8) and d.x.dtype == torch.uint8 and d.classes == ("0", "1", "2", "3")
    assert d.names[3] == "image 3" and data.reopen(d.source) == d
    assert torch.equal(d.schema.encode(X), d.batch(torch.arange(40)).x)


def test_floats_stay_floats_and_text_labels_are_classes(tmp_path: Path) -> None:
    d = data.open(npz(tmp_path / "a.npz", x=X / 255, y=np.array(["ant", "bee", "cat", "dog"])[Y]))
    assert d.x.dtype == torch.float32 and d.classes == ("ant", "bee", "cat", "dog")
    assert d == data.open(npz(tmp_path / "b.npz", x=X / 255, y=np.array([b"ant", b"bee", b"cat", b"dog"])[Y]))


def test_parts_of_an_npz_are_official_splits(tmp_path: Path) -> None:
    d = data.open(npz(tmp_path / "a.npz", x_train=X[:30], y_train=Y[:30], x_test=X[30:], y_test=Y[30:]))
    assert d.splits["test"].tolist() == list(range(30, 40)) and len(d.splits["val"]) == 3
    assert any("official split: train 30, test 10" in note for note in d.notes)
    other = data.open(
        npz(tmp_path / "b.npz", train_images=X[:30], train_labels=Y[:30], test_images=X[30:], test_labels=Y[30:])
    )
    assert other == d


def test_a_matrix_is_a_table_of_numbers(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    d = data.open(npz(tmp_path / "a.npz", x=x, y=x.sum(1)))
    assert d.task == "regression" and d.schema.numeric == ("x0", "x1", "x2")
    assert torch.equal(d.x["numeric"], torch.from_numpy(x.astype(np.float32)))
    assert (
        data.open((x, Y)).task == "classification" and data.open((torch.from_numpy(X), torch.from_numpy(Y))).x.ndim == 4
    )


def test_fortran_order_is_understood(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=np.asfortranarray(X), y=Y)
    assert np.array_equal(read_npz(path)["x"], X) and torch.equal(data.open(path).x[:, 0], torch.from_numpy(X))


def test_size_resamples_arrays(tmp_path: Path) -> None:
    assert data.open(npz(tmp_path / "a.npz", x=X, y=Y), size=4).x.shape == (40, 1, 4, 4)


def test_objects_in_an_npz_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    objects = np.array([Marker(marker)] * 4, dtype=object)
    with pytest.raises(Refused, match="'y.npy' holds Python objects") as error:
        data.open(npz(tmp_path / "a.npz", x=X, y=objects))
    assert error.value.code == 4 and not marker.exists()


def test_an_npz_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\0" * 50_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(SondeError, match="more than the limit of 1,000,000 bytes"):
        data.open(path, limit=1_000_000)


def test_an_npz_that_lies_about_its_size_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000000), }"
        header += b" " * (-(len(header) + 11) % 64) + b"\n"
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 64)
    with pytest.raises(SondeError, match="says it has 8000000000000000 bytes but holds"):
        read_npz(path)
    whole = npz(tmp_path / "b.npz", x=X, y=Y).read_bytes()
    changed = whole.replace(struct.pack("<I", 128 + X.nbytes), struct.pack("<I", 60))
    assert changed != whole
    (tmp_path / "c.npz").write_bytes(changed)
    with pytest.raises(SondeError, match="not a readable .npz"):
        read_npz(tmp_path / "c.npz")


def test_damaged_npz_files_are_errors(tmp_path: Path) -> None:
    whole = npz(tmp_path / "a.npz", x=X, y=Y).read_bytes()
    random = np.random.default_rng(0)
    for trial in range(100):
        changed = bytearray(whole[: int(random.integers(1, len(whole)))] if trial % 2 else whole)
        if not trial % 2:
            changed[int(random.integers(len(changed)))] ^= 1 << int(random.integers(8))
        (tmp_path / "b.npz").write_bytes(changed)
        try:
            data.open(tmp_path / "b.npz")
        except SondeError:
            pass


def test_npz_files_without_usable_arrays(tmp_path: Path) -> None:
    with pytest.raises(SondeError, match="no arrays x and y among 'a', 'b'"):
        data.open(npz(tmp_path / "a.npz", a=X, b=Y))
    with pytest.raises(SondeError, match=r"train x has shape \(40, 8, 8\) and y \(39,\)"):
        data.open(npz(tmp_path / "b.npz", x=X, y=Y[:39]))
    with pytest.raises(SondeError, match="of type complex128"):
        data.open(npz(tmp_path / "c.npz", x=X.astype(complex), y=Y))
    with pytest.raises(SondeError, match="floats outside"):
        data.open(npz(tmp_path / "d.npz", x=X.astype(float), y=Y))
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.writestr("../evil.py", "print()")
    with pytest.raises(SondeError, match="'../evil.py', which is not an array"):
        data.open(tmp_path / "e.npz")
    with pytest.raises(SondeError, match="every row has the class '1'"):
        data.open(npz(tmp_path / "f.npz", x=X, y=np.ones(40, int)))
    with pytest.raises(BadData, match="image 0: the only row of class '9'"):
        data.open(npz(tmp_path / "g.npz", x=X, y=np.array([9, *Y[1:]])))
    assert len(data.open(tmp_path / "g.npz", on_bad="skip")) == 39


def test_idx_pairs_and_folders(tmp_path: Path) -> None:
    for name, part in {"train": slice(0, 30), "t10k": slice(30, 40)}.items():
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(X[part]))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(Y[part])))
    d = data.open(tmp_path)
    assert len(d) == 40 and d.splits["test"].tolist() == list(range(30, 40))
    single = data.open(tmp_path / "train-images-idx3-ubyte")
    assert len(single) == 30 and torch.equal(single.x, d.x[:30])
    assert data.open(tmp_path / "train-labels-idx1-ubyte.gz") == single
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(SondeError, match="has no partner"):
        data.open(tmp_path / "train-images-idx3-ubyte")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "begins with nothing"),
        (b"\1\0\x08\x01", "is not an idx file: it begins with 01000801"),
        (b"\0\0\x07\x01", "is not an idx file"),
        (b"\0\0\x08\x09", "is not an idx file"),
        (b"\0\0\x08\x03\0\0", "ends within its header"),
        (idx(X)[:-1], "holds 2559 bytes where its header says 2560"),
        (idx(X) + b"\0", "holds 2561 bytes"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "its header says 79228162458924105385300197375"),
    ],
)
def test_idx_files_that_lie(content: bytes, cause: str) -> None:
    with pytest.raises(SondeError, match=cause):
        parse_idx(content, "a-idx")
