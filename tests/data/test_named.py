"""Named sets: what each holds; official splits are honoured, nothing unverified is used, nothing fetched unasked."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import urllib.error
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sonde import data
from sonde.core.errors import SondeError
from sonde.data import catalogue, fetch, named
from sonde.data.fetch import Pinned
from tests.data.make import idx

CONTENT = b"published"
PINNED = Pinned("a.txt", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "https://example.org/a.txt")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A cache of the test's own, no mirror unless the test is marked so, and no network whatever happens."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if not request.node.get_closest_marker("mirror"):
        monkeypatch.delenv("SONDE_DATA", raising=False)

    def unplugged(url: str) -> None:
        raise AssertionError(f"the network was used: {url}")

    monkeypatch.setattr(fetch, "_connect", unplugged)


@pytest.mark.parametrize(
    ("name", "rows", "task", "outputs"),
    [
        ("digits", 1797, "classification", 10),
        ("breast-cancer", 569, "classification", 2),
        ("diabetes", 442, "regression", 1),
        ("wine", 178, "classification", 3),
        ("iris", 150, "classification", 3),
    ],
)
def test_embedded_sets(name: str, rows: int, task: str, outputs: int) -> None:
    d = data.load(name)
    assert len(d) == rows and d.task == task and len(d.schema.outputs) == outputs
    assert len(d.splits["test"]) == round(0.2 * rows) and data.reopen(json.loads(json.dumps(d.source))) == d
    assert d == data.load(name.upper().replace("-", "_")) and d != data.load(name, seed=1)


def test_digits_are_exact_sixteenths() -> None:
    d = data.load("digits")
    assert d.x.shape == (1797, 1, 8, 8) and d.x.dtype == torch.float32
    assert torch.equal(d.x * 16, (d.x * 16).round()) and float(d.x.max()) == 1
    assert d.batch(torch.tensor([0])).x.dtype == torch.float32


def test_diabetes_is_in_raw_units_with_sex_as_groups() -> None:
    d = data.load("diabetes", sensitive="sex")
    assert d.schema.groups == {"sex": ("1", "2")} and "sex" in d.schema.categorical
    age = d.x["numeric"][:, d.schema.numeric.index("age")]
    assert age.min() >= 18 and age.max() <= 80


def test_unknown_names_and_columns_get_the_closest() -> None:
    with pytest.raises(SondeError, match=r"'mnits' \(did you mean 'mnist'\?\)\n.*'digits'"):
        data.load("mnits")
    with pytest.raises(SondeError, match="sensitive column 'sx'"):
        data.load("diabetes", sensitive="sx")
    with pytest.raises(SondeError, match="digits has no sensitive columns"):
        data.load("digits", sensitive="sex")


def test_every_named_set_is_described() -> None:
    assert [entry.name for entry in data.names()] == list(named.READERS)
    for entry in data.names():
        assert entry.description and entry.source and entry.licence and "\n" not in entry.description
        for file in entry.files:
            assert file.url.startswith("https://") and len(file.sha256) == 64 and file.size > 0


def test_without_network_the_error_names_the_mirror_and_the_option() -> None:
    with pytest.raises(SondeError, match=r"SONDE_DATA.*mnist/train-images-idx3-ubyte.gz.*download=True"):
        data.load("mnist")


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, sonde.data; sonde.data.names();"
        "print([m for m in ('torch', 'polars', 'sklearn', 'PIL', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_is_verified_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONDE_DATA", str(tmp_path / "mirror"))
    place = tmp_path / "mirror" / "set" / "a.txt"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert fetch.get("set", PINNED) == CONTENT
    for wrong in (b"Published", CONTENT + b"!", b""):
        place.write_bytes(wrong)
        with pytest.raises(SondeError, match="is not the published a.txt"):
            fetch.get("set", PINNED)


class Response(io.BytesIO):
    """An endless or finite answer that counts what was read of it."""


def test_a_download_is_verified_capped_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"ok": CONTENT, "wrong": b"Published", "long": CONTENT + b"x" * 10_000_000}
    answer = Response(answers["long"])
    monkeypatch.setattr(fetch, "_connect", lambda url: answer)
    with pytest.raises(SondeError, match="does not give the published file"):
        fetch.get("set", PINNED, download=True)
    assert answer.closed and not list((tmp_path / "cache").rglob("*.txt"))
    monkeypatch.setattr(fetch, "_connect", lambda url: Response(answers["wrong"]))
    with pytest.raises(SondeError, match="does not give the published file"):
        fetch.get("set", PINNED, download=True)
    monkeypatch.setattr(fetch, "_connect", lambda url: Response(answers["ok"]))
    assert fetch.get("set", PINNED, download=True) == CONTENT
    cached = tmp_path / "cache" / "sonde" / "set" / "a.txt"
    assert cached.read_bytes() == CONTENT and [p.name for p in cached.parent.iterdir()] == ["a.txt"]
    if os.name == "posix":
        assert cached.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(fetch, "_connect", lambda url: pytest.fail("it is in the cache"))
    assert fetch.get("set", PINNED, download=True) == CONTENT


def test_a_failed_download_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (urllib.error.URLError("no route"), TimeoutError("timed out"), ConnectionResetError("reset")):

        def fail(url: str, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(fetch, "_connect", fail)
        with pytest.raises(SondeError, match="example.org/a.txt could not be downloaded: (no route|timed out|reset)"):
            fetch.get("set", PINNED, download=True)


def test_only_https_is_followed() -> None:
    with pytest.raises(SondeError, match="no official https address"):
        fetch.fetch(replace(PINNED, url="http://example.org/a.txt"))
    request = fetch.urllib.request.Request("https://example.org/a")
    with pytest.raises(urllib.error.URLError, match="not https"):
        fetch._HttpsOnly().redirect_request(request, io.BytesIO(), 302, "", {}, "http://example.org/b")
    assert fetch._HttpsOnly().redirect_request(request, io.BytesIO(), 302, "", {}, "https://example.org/b")


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setattr(fetch, "_connect", lambda url: Response(CONTENT))
    assert fetch.get("set", PINNED, download=True) == CONTENT


def pin(monkeypatch: pytest.MonkeyPatch, root: Path, name: str, files: dict[str, bytes]) -> None:
    """Put files in a mirror and pin them as those of the set `name`."""
    monkeypatch.setenv("SONDE_DATA", str(root))
    (root / name).mkdir(parents=True, exist_ok=True)
    pinned = []
    for file, content in files.items():
        (root / name / file).write_bytes(content)
        pinned.append(Pinned(file, hashlib.sha256(content).hexdigest(), len(content)))
    sets = tuple(replace(e, files=tuple(pinned)) if e.name == name else e for e in catalogue.SETS)
    monkeypatch.setattr(named, "SETS", sets)


def test_mnist_honours_its_official_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (300, 28, 28)), np.arange(300) % 10
    parts = {"train": slice(0, 200), "t10k": slice(200, 300)}
    files = {}
    for part, rows in parts.items():
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(idx(x[rows]))
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx(y[rows]))
    pin(monkeypatch, tmp_path / "mirror", "mnist", files)
    d = data.load("mnist", test=0.5)
    assert d.splits["test"].tolist() == list(range(200, 300)) and len(d.splits["val"]) == 20
    assert np.array_equal(d.x[:, 0].numpy(), x) and d.y.tolist() == y.tolist() and d.names[7] == "image 7"


def test_cifar10_is_read_from_the_archive_of_plain_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    records = random.integers(0, 256, (120, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(120) % 10
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for i, name in enumerate(["test_batch", *(f"data_batch_{k}" for k in (2, 1, 3, 4, 5))]):
            content = records[20 * i : 20 * i + 20].tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("../../evil")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    pin(monkeypatch, tmp_path / "mirror", "cifar10", {"cifar-10-binary.tar.gz": buffer.getvalue()})
    d = data.load("cifar10")
    order = np.r_[40:60, 20:40, 60:120, 0:20]
    assert d.classes[0] == "airplane" and d.splits["test"].tolist() == list(range(100, 120))
    assert np.array_equal(d.x.flatten(1).numpy(), records[order, 1:]) and d.y.tolist() == records[order, 0].tolist()
    for broken in (b"", buffer.getvalue()[:200], gzip.compress(b"x" * 1024)):
        with pytest.raises(SondeError, match="not as published"):
            named.read_cifar_binary(broken)


@pytest.mark.mirror
def test_mirror_mnist_and_fashion() -> None:
    for name in ("mnist", "fashion-mnist"):
        d = data.load(name)
        assert d.x.shape == (70_000, 1, 28, 28) and d.x.dtype == torch.uint8
        assert {k: len(v) for k, v in d.splits.items()} == {"train": 54_000, "val": 6_000, "test": 10_000}
        assert int(d.splits["test"].min()) == 60_000
        counts = d.y[d.splits["test"]].bincount()
        assert counts.min() >= 892 and len(counts) == 10
    assert d.classes[9] == "Ankle boot"


@pytest.mark.mirror
def test_mirror_adult_has_its_official_split_and_groups() -> None:
    d = data.load("adult", sensitive="sex,race")
    assert len(d) == 32_561 + 16_281 and len(d.splits["test"]) == 16_281 and d.classes == ("<=50K", ">50K")
    train = torch.cat([d.splits["train"], d.splits["val"]])
    assert int(train.max()) == 32_560 and int(d.y[:32_561].sum()) == 7_841 and int(d.y[32_561:].sum()) == 3_846
    missing = (d.x["categorical"] == 0).any(1)
    assert int(missing[:32_561].sum()) in (2_399, 2_400), (
        "rows with '?', and one country that may be in validation only"
    )
    assert d.schema.groups["sex"] == ("Female", "Male") and len(d.schema.groups["race"]) == 5
    assert d.names[0] == "adult.data row 1" and d.names[32_561] == "adult.test row 2"
    assert torch.isfinite(d.x["numeric"]).all()


@pytest.mark.mirror
def test_mirror_compas_is_filtered_and_holds_no_names() -> None:
    d = data.load("compas", sensitive=("sex", "race"))
    assert len(d) == 6_172 and d.classes == ("0", "1") and int(d.y.sum()) == 2_809
    assert set(d.schema.groups["race"]) >= {"African-American", "Caucasian"}
    assert not {"name", "first", "last", "dob", "decile_score"} & {c.name for c in d.schema.columns}
    assert "miguel" not in json.dumps(d.schema.to_data()).lower() and d.names[0] == "row 2"


@pytest.mark.mirror
@pytest.mark.slow
def test_mirror_cifar10_unpacks_once_into_the_cache(tmp_path: Path) -> None:
    d = data.load("cifar10")
    assert d.x.shape == (60_000, 3, 32, 32) and d.classes[3] == "cat" and int(d.splits["test"].min()) == 50_000
    assert d.y[50_000:].bincount().tolist() == [1_000] * 10
    assert (tmp_path / "cache" / "sonde" / "cifar10" / "cifar10.npz").is_file()
