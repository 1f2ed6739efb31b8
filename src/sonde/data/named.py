"""`load`: data sets by name, from scikit-learn, a local mirror, the cache, or (when asked) the official address."""

from __future__ import annotations

import io
import lzma
import re
import tarfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sonde.core.errors import SondeError
from sonde.data.catalogue import SETS, Named
from sonde.data.fetch import Pinned, find, get, store
from sonde.data.problems import closest, listed, quoted

if TYPE_CHECKING:
    from sonde.data.dataset import Dataset

# N rows


def load(
    name: str,
    *,
    sensitive: str | Sequence[str] = (),
    test: float = 0.2,
    val: float = 0.1,
    seed: int = 0,
    download: bool = False,
) -> Dataset:
    """A data set by name; see `names()`.

    name: e.g. "digits" or "mnist"; case, spaces and underscores do not matter.
    sensitive: columns kept as `fields` beside the inputs, e.g. "sex,race" for adult.
    test: fraction of rows held out, where the set has no official test rows (those are honoured).
    val: fraction of the other rows kept for choosing.
    seed: of the split.
    download: allow the network; without it only embedded sets, $SONDE_DATA and the cache are used.

    Raises:
        SondeError: unknown name (with the closest), a file that is not on this machine, a file that is not the
            published one.
    """
    plain = re.sub(r"[\s_]+", "-", name.strip().lower())
    known = {entry.name: entry for entry in SETS} | {entry.name.replace("-", ""): entry for entry in SETS}
    entry = known.get(plain) or known.get(plain.replace("-", ""))
    if entry is None:
        everything = [entry.name for entry in SETS]
        raise SondeError(
            f"no data set is called {quoted(name)}{closest(plain, everything)}", f"choose from {listed(everything)}"
        )
    fields = (sensitive,) if isinstance(sensitive, str) else tuple(sensitive)
    arguments: dict[str, Any] = {"name": entry.name, "sensitive": list(fields), "test": test, "val": val, "seed": seed}
    settings: dict[str, Any] = {
        "name": entry.name, "sensitive": sensitive, "test": test, "val": val, "seed": seed,
        "source": {"call": "load", "arguments": arguments},
    }  # fmt: skip
    return READERS[entry.name](entry, settings, download)


def _pictures(
    settings: dict[str, Any],
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
    classes: tuple[str, ...],
    notes: Sequence[str] = (),
) -> Dataset:
    """A picture set of arrays (N, C, H, W) that may come split."""
    from sonde.data.dataset import RowNames
    from sonde.data.images import ImageSchema, image_dataset
    from sonde.data.splits import SYNONYMS
    from sonde.data.targets import Target

    settings = dict(settings)
    if settings.pop("sensitive"):
        raise SondeError(f"{settings['name']} has no sensitive columns", "leave sensitive= out")
    x = np.concatenate([part[0] for part in parts.values()]) if len(parts) > 1 else next(iter(parts.values()))[0]
    y = np.concatenate([part[1] for part in parts.values()]).astype(np.int64)
    given = np.concatenate([np.full(len(part[1]), SYNONYMS[split]) for split, part in parts.items()])
    official = [f"official split: {', '.join(f'{split} {len(part[1])}' for split, part in parts.items())}"]
    schema = ImageSchema(x.shape[1], (x.shape[2], x.shape[3]), Target("classification", ("class",), classes))
    return image_dataset(
        x, y, schema, names=RowNames(range(len(y)), "image "), given=given if len(parts) > 1 else None,
        notes=[*(official if len(parts) > 1 else []), *notes], **settings,
    )  # fmt: skip


def _digits(entry: Named, settings: dict[str, Any], download: bool) -> Dataset:
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = (raw.images[:, None] / 16).astype(np.float32)  # (N, 1, 8, 8); 16 is the brightest value of the scan
    return _pictures(settings, {"train": (x, raw.target)}, tuple("0123456789"))


def _embedded(entry: Named, settings: dict[str, Any], download: bool) -> Dataset:
    """A table that scikit-learn holds, in its raw units."""
    import polars as pl
    from sklearn import datasets

    from sonde.data.frames import Frame
    from sonde.data.tables import table_dataset

    loaders: dict[str, Callable[[], Any]] = {
        "breast-cancer": datasets.load_breast_cancer,
        "diabetes": lambda: datasets.load_diabetes(scaled=False),
        "wine": datasets.load_wine,
        "iris": datasets.load_iris,
    }
    raw = loaders[entry.name]()
    columns = [pl.Series(name, raw.data[:, i]) for i, name in enumerate(raw.feature_names)]
    target = {"breast-cancer": "diagnosis", "diabetes": "progression", "wine": "cultivar", "iris": "species"}[
        entry.name
    ]
    values = raw.target if entry.name == "diabetes" else [str(raw.target_names[i]) for i in raw.target]
    kinds = {"sex": "categorical"} if entry.name == "diabetes" else {}
    frame = Frame(pl.DataFrame([*columns, pl.Series(target, values)]), np.arange(1, len(raw.target) + 1))
    return table_dataset(frame, target, kinds=kinds, **settings)


FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def _mnist(entry: Named, settings: dict[str, Any], download: bool) -> Dataset:
    from sonde.data.arrays import parse_idx
    from sonde.data.files import LIMIT, gunzip

    content = [get(entry.name, pinned, download) for pinned in entry.files]
    arrays = [
        parse_idx(gunzip(data, pinned.file, LIMIT), pinned.file)
        for data, pinned in zip(content, entry.files, strict=True)
    ]
    parts = {"train": (arrays[0][:, None], arrays[1]), "test": (arrays[2][:, None], arrays[3])}
    return _pictures(settings, parts, FASHION if entry.name == "fashion-mnist" else tuple("0123456789"))


CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# The same pictures in the official order as arrays, and that file compressed: what a mirror may hold.
CIFAR_NPZ = Pinned("cifar10.npz", "1c6a54a6cd0f028f2fb48c2732670f24556345bd86757c2517e82fd1bc08b4b7", 186781846)
CIFAR_XZ = Pinned("cifar10.npz.xz", "d032640cc3e104643051cebb3f1fd3b88673be444e786d6d8d269eaa8fb8dd92", 113496820)


def _cifar10(entry: Named, settings: dict[str, Any], download: bool) -> Dataset:
    from sonde.data.arrays import parse_npz

    npz = find(entry.name, CIFAR_NPZ)
    if npz is None and (packed := find(entry.name, CIFAR_XZ)) is not None:
        stream = lzma.LZMADecompressor()
        npz = stream.decompress(packed, CIFAR_NPZ.size)
        store(entry.name, CIFAR_NPZ.file, npz)  # unpacking takes some 10 s, once
    if npz is None:
        return _pictures(settings, read_cifar_binary(get(entry.name, entry.files[0], download)), CIFAR)
    arrays = parse_npz(npz, CIFAR_NPZ.file)
    parts = {
        split: (np.ascontiguousarray(arrays[f"x_{split}"].transpose(0, 3, 1, 2)), arrays[f"y_{split}"])
        for split in ("train", "test")
    }
    return _pictures(settings, parts, CIFAR)


def read_cifar_binary(data: bytes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The two parts of the binary archive: records of a label byte and 3 x 32 x 32 bytes, read in memory."""
    order = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                file = member.name.rpartition("/")[2]
                if member.isreg() and file.endswith("_batch.bin") or file.startswith("data_batch_"):
                    if member.size > 50_000 * 3073 or (content := archive.extractfile(member)) is None:
                        raise ValueError(f"{file} is too large")
                    found[file] = np.frombuffer(content.read(), np.uint8).reshape(-1, 3073)
        batches = {split: np.concatenate([found[file] for file in files]) for split, files in order.items()}
    except (tarfile.TarError, KeyError, ValueError, OSError, EOFError) as error:
        raise SondeError(
            f"the CIFAR-10 archive is not as published: {error}", "delete it and place the published file there"
        ) from error
    return {split: (rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]) for split, rows in batches.items()}


ADULT = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race",
    "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip


def _adult(entry: Named, settings: dict[str, Any], download: bool) -> Dataset:
    import polars as pl

    from sonde.data.frames import Frame, cleaned
    from sonde.data.splits import TEST, TRAIN
    from sonde.data.tables import table_dataset

    parts = []
    for pinned in entry.files:
        text = get(entry.name, pinned, download)
        if pinned.file == "adult.test":
            text = text.partition(b"\n")[2].replace(b".\n", b"\n")  # a comment line first, and a dot after every label
        lines = text.strip() + b"\n"
        parts.append(pl.read_csv(lines, has_header=False, quote_char=None, schema={c: pl.String for c in ADULT}))
    given = np.repeat([TRAIN, TEST], [len(part) for part in parts])
    data = cleaned(pl.concat(parts))
    numbers = [range(1, len(parts[0]) + 1), range(2, len(parts[1]) + 2)]  # adult.test begins with a comment
    frame = Frame(data, np.concatenate([np.array(part) for part in numbers]))
    labels = [f"{pinned.file} row {i}" for pinned, part in zip(entry.files, numbers, strict=True) for i in part]
    return table_dataset(frame, "income", given=given, names=labels, **settings)


COMPAS = (
    "sex", "age", "race", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count", "c_charge_degree",
    "two_year_recid",
)  # fmt: skip


def _compas(entry: Named, settings: dict[str, Any], download: bool) -> Dataset:
    """The table after ProPublica's own filter; of people only age, sex and race are kept, never a name."""
    import csv

    import polars as pl

    from sonde.data.frames import Frame, cleaned
    from sonde.data.tables import table_dataset

    text = get(entry.name, entry.files[0], download).decode()
    reader = csv.reader(io.StringIO(text, newline=""))
    head = next(reader)
    place = {name: head.index(name) for name in (*COMPAS, "days_b_screening_arrest", "is_recid", "score_text")}
    rows, numbers = [], []
    for number, row in enumerate(reader, 2):
        days, degree = row[place["days_b_screening_arrest"]], row[place["c_charge_degree"]]
        screened = days != "" and -30 <= int(days) <= 30  # the charge is that of the screening
        if screened and row[place["is_recid"]] != "-1" and degree != "O" and row[place["score_text"]] != "N/A":
            rows.append([row[place[name]] for name in COMPAS])
            numbers.append(number)
    frame = Frame(cleaned(pl.DataFrame(rows, schema=list(COMPAS), orient="row")), np.array(numbers))
    return table_dataset(frame, "two_year_recid", **settings)


READERS: dict[str, Callable[[Named, dict[str, Any], bool], Dataset]] = {
    "digits": _digits, "breast-cancer": _embedded, "diabetes": _embedded, "wine": _embedded, "iris": _embedded,
    "mnist": _mnist, "fashion-mnist": _mnist, "cifar10": _cifar10, "adult": _adult, "compas": _compas,
}  # fmt: skip
