"""Images: folders, tables of labels, sizes and colours; and that new pictures are read as the training ones were."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sonde import data
from sonde.core.errors import Refused, SondeError
from sonde.data import BadData, ImageSchema
from sonde.data.targets import Target
from tests.data.make import photos, picture

TWO = Target("classification", ("class",), ("cat", "dog"))


def test_a_folder_per_class_opens(tmp_path: Path) -> None:
    d = data.open(photos(tmp_path / "photos"))
    assert d.task == "classification" and d.classes == ("cat", "dog") and d.name == "photos"
    assert d.x.shape == (20, 3, 12, 12) and d.x.dtype == torch.uint8, "12 x 12 is kept: all are, and it is small"
    assert d.names[0] == "cat/000.png" and d.y.tolist() == [0] * 10 + [1] * 10
    expected = np.asarray(Image.open(tmp_path / "photos" / "dog" / "003.png")).transpose(2, 0, 1)
    assert np.array_equal(d.x[13].numpy(), expected)
    assert {k: len(v) for k, v in d.splits.items()} == {"train": 14, "val": 2, "test": 4}
    assert data.reopen(json.loads(json.dumps(d.source))) == d
    assert ImageSchema.from_data(json.loads(json.dumps(d.schema.to_data()))) == d.schema


def test_batches_are_float_in_the_unit_interval(tmp_path: Path) -> None:
    d = data.open(photos(tmp_path))
    batch = d.batch(torch.tensor([3, 11]))
    assert batch.x.dtype == torch.float32 and torch.equal(batch.x, d.x[[3, 11]] / 255)
    assert batch.records.tolist() == [3, 11] and batch.y.tolist() == [0, 1]


def test_new_pictures_are_read_as_the_training_ones(tmp_path: Path) -> None:
    d = data.open(photos(tmp_path, size=(20, 30)), size=16)
    everything = d.batch(torch.arange(20)).x
    paths = [tmp_path / name for name in d.names]
    assert torch.equal(d.schema.encode(tmp_path), everything)
    assert torch.equal(d.schema.encode(paths), everything)
    assert torch.equal(d.schema.encode(str(paths[0])), everything[:1])
    opened = [Image.open(path) for path in paths]
    assert torch.equal(d.schema.encode(opened), everything)
    arrays = np.stack([np.asarray(image) for image in opened])
    for image in opened:
        image.close()
    assert torch.equal(d.schema.encode(arrays), everything)
    assert torch.equal(d.schema.encode(torch.from_numpy(arrays).permute(0, 3, 1, 2)), everything)
    assert torch.equal(d.schema.encode([paths[0], arrays[1]]), everything[:2])
    x, names = d.schema.encode_named(tmp_path)
    assert names == list(d.names) and x.shape == (20, 3, 16, 16)


def test_sizes_are_chosen_and_can_be_asked_for(tmp_path: Path) -> None:
    mixed = photos(tmp_path / "mixed", size=(30, 40))
    picture(0, (50, 20)).save(mixed / "cat" / "tall.png")
    assert data.open(mixed).x.shape[2:] == (64, 64)
    assert data.open(mixed, size=(10, 24)).x.shape[2:] == (10, 24)
    assert data.open(photos(tmp_path / "large", size=(100, 100), each=4)).x.shape[2:] == (64, 64)
    assert data.open(photos(tmp_path / "wide", size=(30, 40))).x.shape[2:] == (30, 40)
    for size in (0, -1, (3,), (3, 4, 5), 5000):
        with pytest.raises(SondeError, match="is not a size"):
            data.open(mixed, size=size)
    with pytest.raises(SondeError, match="'crp'.*did you mean 'crop'"):
        data.open(mixed, fit="crp")


def test_cropping_centres_and_padding_shows_all(tmp_path: Path) -> None:
    wide = Image.new("RGB", (60, 20), "black")
    wide.paste((255, 255, 255), (20, 0, 40, 20))
    crop = ImageSchema(3, (20, 20), TWO).encode(wide)[0]
    assert float(crop.min()) == 1, "the white middle fills the frame"
    pad = ImageSchema(3, (60, 60), TWO, fit="pad").encode(wide)[0]
    assert float(pad[:, 20:40, 20:40].min()) == 1 and float(pad[:, :20].max()) == 0


def test_the_majority_decides_between_gray_and_colour(tmp_path: Path) -> None:
    photos(tmp_path, mode="L")
    picture(5).save(tmp_path / "cat" / "colour.png")
    d = data.open(tmp_path)
    assert d.x.shape[1] == 1 and any("colour: gray (20 of 21" in note for note in d.notes)
    assert ImageSchema(3, (12, 12), TWO).encode(tmp_path / "cat" / "000.png").shape == (1, 3, 12, 12)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(np.linspace(0, 255, 24).astype(np.uint8).reshape(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(4):
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            image.save(tmp_path / name / f"{i}.png", exif=exif)
    d = data.open(tmp_path, size=(6, 4))
    upright = np.rot90(np.asarray(image), -1)
    assert np.array_equal(d.x[0, 0].numpy(), upright)
    image.save(tmp_path / "turned.jpg", exif=exif)
    for name in ("a", "b"):
        for i in range(4):
            (tmp_path / name / f"{i}.png").unlink()
            image.save(tmp_path / name / f"{i}.jpg", exif=exif)
    (tmp_path / "turned.jpg").unlink()
    assert data.open(tmp_path).x.shape[2:] == (6, 4), "the native size is that of the upright picture"


def test_transparency_becomes_white() -> None:
    schema = ImageSchema(3, (4, 4), TWO)
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert float(schema.encode(clear).min()) == 1
    assert float(schema.encode(half).max()) == pytest.approx(127 / 255, abs=2 / 255)
    palette = Image.new("P", (4, 4), 0)
    palette.info["transparency"] = 0
    assert float(schema.encode(palette).min()) == 1
    array = np.asarray(half)
    assert float(schema.encode(array).max()) == pytest.approx(127 / 255, abs=2 / 255)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (65535, 255), (257 * 100, 100)])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, value: int, expected: int) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((5, 5), value, np.uint16)).save(path)
    assert ImageSchema(1, (5, 5), TWO).encode(path)[0, 0, 0, 0].item() == pytest.approx(expected / 255)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF"])
def test_every_accepted_format_is_read(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"image.{format.lower()}"
    Image.new("RGB", (8, 8), (200, 100, 50)).save(path, format=format)
    x = ImageSchema(3, (8, 8), TWO).encode(path)
    assert torch.allclose(x[0, :, 4, 4], torch.tensor([200, 100, 50]) / 255, atol=0.03)


def test_only_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    x = ImageSchema(3, (6, 6), TWO).encode(tmp_path / "a.gif")
    assert x.shape[0] == 1 and x[0, :, 0, 0].tolist() == [1, 0, 0]


def test_train_val_and_test_folders_are_honoured(tmp_path: Path) -> None:
    photos(tmp_path / "train", each=6), photos(tmp_path / "test", each=3), photos(tmp_path / "valid", each=2)
    d = data.open(tmp_path)
    parts = {split: sorted({d.names[i].split("/")[0] for i in index.tolist()}) for split, index in d.splits.items()}
    assert parts == {"train": ["train"], "val": ["valid"], "test": ["test"]} and len(d) == 22
    assert d.classes == ("cat", "dog")
    three = photos(tmp_path / "three" / "train", each=10).parent
    photos(three / "test", each=3)
    assert {k: len(v) for k, v in data.open(three).splits.items()} == {"train": 18, "val": 2, "test": 6}


def test_an_unlabelled_test_folder_is_left_out_with_a_note(tmp_path: Path) -> None:
    photos(tmp_path / "train")
    (tmp_path / "test").mkdir()
    picture(1).save(tmp_path / "test" / "x.png")
    d = data.open(tmp_path)
    assert len(d) == 20 and any("test/ has no class folders: its 1 files" in note for note in d.notes)


def test_a_table_of_labels_beside_the_files(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    lines = ["file,kind,weight,sex"]
    for i in range(20):
        picture(i).save(tmp_path / "images" / f"p{i}.png")
        lines.append(f"images/p{i}.png,{'xy'[i % 2]},{i * 0.5},{'FM'[i % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    d = data.open(tmp_path, "kind", sensitive="sex")
    assert d.classes == ("x", "y") and d.schema.groups == {"sex": ("F", "M")} and d.fields["sex"].sum() == 10
    assert d == data.open(tmp_path / "labels.csv", "kind", sensitive="sex")
    number = data.open(tmp_path, "weight")
    assert number.task == "regression" and number.y.shape == (20, 1) and number.y[3].item() == 1.5
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert data.open(tmp_path, "kind", labels="labels.csv", sensitive="sex") == d
    with pytest.raises(SondeError, match="none of its tables"):
        data.open(tmp_path, "kind")
    (tmp_path / "other.csv").unlink()
    with pytest.raises(SondeError, match="which column is to be predicted"):
        data.open(tmp_path)
    with pytest.raises(SondeError, match="'kin'.*did you mean 'kind'"):
        data.open(tmp_path, "kin")


def test_names_without_endings_or_folders_are_found_and_missing_files_listed(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for i in range(20):
        picture(i).save(tmp_path / "train" / f"{i}.png")
    body = [f"{i},{'xy'[i % 2]}" for i in range(20)]
    (tmp_path / "labels.csv").write_text("\n".join(["id,y", *body]))
    assert data.open(tmp_path, "y").names[7] == "train/7.png"
    (tmp_path / "labels.csv").write_text("\n".join(["id,y", *body, "99,x", "../labels.csv,y", "/etc/hosts,y", ",x"]))
    with pytest.raises(BadData) as error:
        data.open(tmp_path, "y")
    reasons = [str(p) for p in error.value.found]
    assert len(reasons) == 4 and "row 22: '99' is not in the folder" in reasons
    assert any("climbs out" in r for r in reasons) and any("absolute path" in r for r in reasons)
    d = data.open(tmp_path, "y", on_bad="skip")
    assert len(d) == 20


def test_what_systems_leave_behind_is_ignored(tmp_path: Path) -> None:
    photos(tmp_path)
    (tmp_path / "cat" / ".DS_Store").write_text("x")
    (tmp_path / "cat" / "Thumbs.db").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    assert len(data.open(tmp_path)) == 20


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(
        [(5, 6), (5, 6, 1), (5, 6, 3), (3, 5, 6), (2, 5, 6), (2, 5, 6, 3), (2, 3, 5, 6), (2, 5, 6, 4), (2, 1, 5, 6)]
    ),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_any_shape_of_array_becomes_pictures(shape: tuple, channels: int, floats: bool, seed: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    x = ImageSchema(channels, (5, 6), TWO).encode(raw / np.float32(255) if floats else raw)
    assert x.shape[1:] == (channels, 5, 6) and x.dtype == torch.float32
    assert 0 <= float(x.min()) and float(x.max()) <= 1
    if shape == (2, 5, 6, 3) and channels == 3:
        assert torch.allclose(x, torch.from_numpy(raw).permute(0, 3, 1, 2) / 255)


def test_arrays_out_of_range_are_refused() -> None:
    schema = ImageSchema(1, (5, 5), TWO)
    for bad in (np.full((2, 5, 5), 2.0), np.full((2, 5, 5), np.nan), np.full((2, 5, 5), -0.1)):
        with pytest.raises(SondeError, match=r"floats outside \[0, 1\], first in picture 0"):
            schema.encode(bad)
    with pytest.raises(SondeError, match="holds -1..-1|holds 300..300"):
        schema.encode(np.full((2, 5, 5), 300))
    with pytest.raises(SondeError, match="is no pile of pictures"):
        schema.encode(np.zeros((2, 7, 5, 5)))
    with pytest.raises(SondeError, match="is of type"):
        schema.encode(np.array([[["a"]]]))
    with pytest.raises(SondeError, match="is a int, not a picture"):
        schema.encode([3])
    with pytest.raises(Refused):
        schema.encode("weights.pt")
    buffer = io.BytesIO(b"x")
    with pytest.raises(SondeError, match="BytesIO, not a picture"):
        schema.encode(buffer)
