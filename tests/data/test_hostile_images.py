"""Refusal: files that are no pictures, lie about their size, or lead out of the folder; all of them are listed."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from sonde import data
from sonde.core.errors import SondeError
from sonde.data import BadData, ImageSchema
from tests.data.make import photos, picture


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(9_000, 9_000), (12_000, 12_000), (200_000, 200_000)])
def test_image_bombs_are_refused_from_their_header(tmp_path: Path, size: tuple[int, int]) -> None:
    photos(tmp_path)
    (tmp_path / "cat" / "bomb.png").write_bytes(png_header(*size))
    with pytest.raises(BadData, match=r"cat/bomb.png: claims .*more than 67,108,864") as error:
        data.open(tmp_path)
    assert len(error.value.found) == 1
    assert len(data.open(tmp_path, on_bad="skip")) == 20


def test_every_bad_file_is_listed_at_once(tmp_path: Path) -> None:
    photos(tmp_path)
    cat = tmp_path / "cat"
    (cat / "text.png").write_text("this is no picture")
    (cat / "empty.png").touch()
    (cat / "notes.txt").write_text("hello")
    (cat / "page.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (cat / "code.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    whole = (cat / "000.png").read_bytes()
    (cat / "cut.png").write_bytes(whole[: len(whole) // 2])
    picture(3, (40, 40)).save(tmp_path / "whole.jpg")
    jpeg = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "whole.jpg").unlink()
    (cat / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (cat / "a.pkl").write_bytes(b"\x80\x04N.")
    (tmp_path / "bird").mkdir()
    with pytest.raises(BadData) as error:
        data.open(tmp_path, size=12)
    found = {p.where: p.reason for p in error.value.found}
    assert set(found) == {
        "cat/text.png", "cat/empty.png", "cat/notes.txt", "cat/page.svg", "cat/code.eps", "cat/cut.png", "cat/cut.jpg",
        "cat/a.pkl", "bird/",
    }  # fmt: skip
    assert found["cat/empty.png"] == "is empty" and "is not an image" in found["cat/text.png"]
    assert "truncated" in found["cat/cut.jpg"] and "holds no files" in found["bird/"]
    d = data.open(tmp_path, size=12, on_bad="skip")
    assert len(d) == 20 and d.classes == ("cat", "dog") and any("left out 9 bad files" in note for note in d.notes)


def test_a_picture_with_another_ending_is_still_a_picture(tmp_path: Path) -> None:
    photos(tmp_path)
    picture(1, (12, 12)).save(tmp_path / "cat" / "really.png", format="JPEG")
    assert len(data.open(tmp_path)) == 21


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
def test_links_out_of_the_folder_are_refused_and_links_inside_are_not(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    picture(9).save(tmp_path / "secret.png")
    (tmp_path / "photos-other").mkdir()
    picture(8).save(tmp_path / "photos-other" / "x.png")
    (root / "cat" / "same.png").symlink_to(root / "cat" / "000.png")
    assert len(data.open(root)) == 21
    (root / "cat" / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "cat" / "near.png").symlink_to(tmp_path / "photos-other" / "x.png")
    (root / "cat" / "folder").symlink_to(root / "dog")
    (root / "cat" / "gone.png").symlink_to(root / "nothing.png")
    with pytest.raises(BadData) as error:
        data.open(root)
    found = {p.where: p.reason for p in error.value.found}
    assert "leaves the data folder" in found["cat/out.png"] and "leaves the data folder" in found["cat/near.png"]
    assert "link to a folder" in found["cat/folder"] and "cat/gone.png" in found and len(found) == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    photos(tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    with pytest.raises(BadData, match="cat/pipe.png: is not a regular file"):
        data.open(tmp_path)


def test_folders_without_labels_or_files(tmp_path: Path) -> None:
    with pytest.raises(SondeError, match="holds no files"):
        data.open(tmp_path)
    picture(1).save(tmp_path / "loose.png")
    with pytest.raises(SondeError, match="1 files but no folder per class.*\n.*labels='labels.csv'"):
        data.open(tmp_path)
    photos(tmp_path / "one", ("cat",))
    with pytest.raises(SondeError, match="every row has the class 'cat'"):
        data.open(tmp_path / "one")
    photos(tmp_path / "many", [f"c{i}" for i in range(9)], each=1)
    with pytest.raises(SondeError, match="9 classes in 9 rows"):
        data.open(tmp_path / "many")
    photos(tmp_path / "lonely")
    photos(tmp_path / "lonely", ("emu",), each=1)
    with pytest.raises(BadData, match="emu/000.png: the only row of class 'emu'"):
        data.open(tmp_path / "lonely")
    assert data.open(tmp_path / "lonely", on_bad="skip").classes == ("cat", "dog")
    with pytest.raises(SondeError, match="needs a table of labels"):
        data.open(tmp_path / "lonely", "kind")
    photos(tmp_path / "new" / "train")
    photos(tmp_path / "new" / "test", ("cat", "yak"), each=3)
    with pytest.raises(SondeError, match="classes that no training row has: 'yak'"):
        data.open(tmp_path / "new")


def test_nothing_but_bad_files_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_text("no")
    with pytest.raises(BadData, match="2 problems"):
        data.open(tmp_path, on_bad="skip")


def test_more_pictures_than_memory_is_refused_before_decoding(tmp_path: Path) -> None:
    with pytest.raises(SondeError, match=r"20 pictures of 12 x 12 take 8,640 bytes.*\n.*size=\d+ fits"):
        data.open(photos(tmp_path), limit=5_000)


def test_encoding_lists_every_bad_file(tmp_path: Path) -> None:
    d = data.open(photos(tmp_path / "good"))
    (tmp_path / "no.png").write_text("no")
    with pytest.raises(BadData) as error:
        d.schema.encode([tmp_path / "good" / "cat" / "000.png", tmp_path / "no.png", tmp_path / "absent.png"])
    assert [p.reason.split(" (")[0] for p in error.value.found] == ["is not an image", "does not exist"]


def test_float_pixels_are_judged(tmp_path: Path) -> None:
    schema = ImageSchema(1, (4, 4), data.open(photos(tmp_path / "p")).schema.target)
    for values, fine in ((np.linspace(0, 1, 16), True), (np.linspace(0, 255, 16), True), (np.full(16, np.nan), False)):
        Image.fromarray(values.reshape(4, 4).astype(np.float32)).save(tmp_path / "f.tiff")
        if fine:
            assert float(schema.encode(tmp_path / "f.tiff").max()) == 1
        else:
            with pytest.raises(BadData, match="float pixels"):
                schema.encode(tmp_path / "f.tiff")


def test_bit_flips_never_end_in_anything_but_pictures_or_bad_data(tmp_path: Path) -> None:
    schema = ImageSchema(3, (12, 12), data.open(photos(tmp_path / "p")).schema.target)
    random = np.random.default_rng(0)
    for format in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF"):
        path = tmp_path / f"x.{format.lower()}"
        picture(0, (24, 24)).save(path, format=format)
        whole = path.read_bytes()
        for trial in range(40):
            changed = bytearray(whole[: int(random.integers(1, len(whole)))] if trial % 2 else whole)
            for _ in range(3):
                changed[int(random.integers(min(len(changed), 200)))] = int(random.integers(256))
            path.write_bytes(changed)
            try:
                x = schema.encode(path)
            except BadData:
                continue
            assert x.shape == (1, 3, 12, 12) and torch.isfinite(x).all()


def test_pillows_own_limits_are_left_alone(tmp_path: Path) -> None:
    before = (Image.MAX_IMAGE_PIXELS, TiffImagePlugin.READ_LIBTIFF)
    data.open(photos(tmp_path))
    assert (Image.MAX_IMAGE_PIXELS, TiffImagePlugin.READ_LIBTIFF) == before
