"""Refusal: bad tables answer with what is wrong, where, and what to do; all of it at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sonde import data
from sonde.core.errors import Refused, SondeError
from sonde.data import BadData
from tests.data.make import table


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(*extra: str, n: int = 20) -> str:
    """A header, n good rows, and the extra ones."""
    good = [f"{i},{'ab'[i % 2]}" for i in range(n)]
    return "k,y\n" + "\n".join([*good, *extra]) + "\n"


def test_every_ragged_row_is_listed_with_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows("1", "1,a,9", n=20))
    with pytest.raises(BadData, match="row 22: 1 field instead of 2\n    row 23: 3 fields instead of 2") as error:
        data.open(path, "y")
    assert [p.where for p in error.value.found] == ["row 22", "row 23"] and "on_bad='skip'" in error.value.remedy
    d = data.open(path, "y", on_bad="skip")
    assert len(d) == 20 and any("left out 2 bad rows" in note for note in d.notes)


def test_ragged_rows_of_a_quoted_file_are_numbered_as_a_spreadsheet_does(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows('"two\nlines",a', "", '"1",a,9', n=20))
    with pytest.raises(BadData, match="row 24: 3 fields instead of 2") as error:
        data.open(path, "y", kinds={"k": "categorical"})
    assert len(error.value.found) == 1


def test_a_hundred_bad_rows_are_counted_twenty_shown_and_all_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows(*["1,2,3"] * 100))
    with pytest.raises(BadData, match="100 problems") as error:
        data.open(path, "y")
    assert len(error.value.found) == 100 and error.value.cause.count("\n") == 21 and "and 80 more" in error.value.cause


def test_an_open_quote_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows('"1,a', "2,b"))
    with pytest.raises(BadData, match="row 22 and all after it: a quote is not closed"):
        data.open(path, "y")


def test_a_few_texts_among_numbers_are_mistakes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows("old,a", "7x,b", n=40))
    with pytest.raises(BadData, match="row 42: 'old' in column 'k' is not a number like the rest") as error:
        data.open(path, "y")
    assert len(error.value.found) == 2
    assert len(data.open(path, "y", on_bad="skip")) == 40
    assert data.open(path, "y", kinds={"k": "categorical"}).schema.categorical == ("k",)
    assert len(data.open(path, "y", missing=["old", "7x"])) == 42


def test_mixed_dates_are_mistakes(tmp_path: Path) -> None:
    lines = ["d,y"] + [f"2020-01-{i % 28 + 1:02},{'ab'[i % 2]}" for i in range(40)] + ["soon,a"]
    with pytest.raises(BadData, match="row 42: 'soon' in column 'd' is not a date like the rest"):
        data.open(write(tmp_path / "t.csv", "\n".join(lines)), "y")


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e300"])
def test_infinite_and_huge_inputs_are_mistakes(tmp_path: Path, value: str) -> None:
    with pytest.raises(BadData, match="row 22: .* is infinite or too large for float32"):
        data.open(write(tmp_path / "t.csv", rows(f"{value},a")), "y")


@pytest.mark.parametrize(
    ("value", "why"), [("", "no value in target"), ("nan", "no value"), ("inf", "not a finite number")]
)
def test_a_regression_target_without_a_number_is_a_mistake(tmp_path: Path, value: str, why: str) -> None:
    text = "k,y\n" + "\n".join(f"{i},{i * 1.5}" for i in range(30)) + f"\n1,{value}\n"
    path = write(tmp_path / "t.csv", text)
    with pytest.raises(BadData, match=f"row 32: .*{why}"):
        data.open(path, "y")
    assert len(data.open(path, "y", on_bad="skip")) == 30


def test_a_class_target_without_a_value_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="row 22: no value in target 'y'"):
        data.open(write(tmp_path / "t.csv", rows("3,")), "y")


def test_text_that_is_not_utf8_names_the_byte_and_the_remedy(tmp_path: Path) -> None:
    text = rows().replace("0,a", "0,Zürich").replace("2,a", "2,Zürich")
    path = write(tmp_path / "t.csv", text.encode("cp1252"))
    with pytest.raises(SondeError, match="t.csv row 2: byte 7 is not utf-8 text\n.*encoding='cp1252'"):
        data.open(path, "y")
    assert "Zürich" in data.open(path, "y", encoding="cp1252").classes
    wide = write(tmp_path / "w.csv", text.encode("utf-16"))
    with pytest.raises(SondeError, match="UTF-16 text.*\n.*encoding='utf-16'"):
        data.open(wide, "y")
    assert data.open(wide, "y", encoding="utf-16") == data.open(path, "y", encoding="latin-1")
    with pytest.raises(SondeError, match="encoding='klingon' is not known"):
        data.open(path, "y", encoding="klingon")
    for codec in ("zip", "hex", "rot13", "idna\0"):
        with pytest.raises(SondeError, match="is not known|is not"):
            data.open(path, "y", encoding=codec)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("", "t.csv is empty"),
        ("\n\n", "has no columns"),
        ("k,y\n", "a header but no rows"),
        ("k,y,k\n1,a,2\n", "share the name 'k'"),
        ("1,2,3\n4,5,6\n", "has no header"),
        (b"k,y\n1\0,a\n", "row 2 holds a zero byte"),
        (",".join(f"c{i}" for i in range(100_000)) + "\n", "100,000 columns; at most 10,000"),
        ('"a",' + ",".join(f"c{i}" for i in range(100_000)) + "\n", "100,001 columns; at most 10,000"),
        ("k,y\n" + "1,a\n" * 20, "every row has the class 'a'"),
        ("k,y\n" + "".join(f"{i},name {i}\n" for i in range(20)), "20 classes in 20 rows"),
        ("k,y\n" + "1,2.5\n" * 20, "is 2.5 in every row|is .2.5. in every row"),
        ("k,y\n" + "1,a\n1,b\n" * 20, "no column is left to learn from"),
        (b"PK\3\4" + b"x" * 100, "is an archive"),
    ],
)
def test_tables_that_cannot_be_learned_from(tmp_path: Path, content: str | bytes, cause: str) -> None:
    with pytest.raises(SondeError, match=cause) as error:
        data.open(write(tmp_path / "t.csv", content), "y")
    assert error.value.code == 1 and error.value.remedy


def test_a_class_with_a_single_row_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows("5,rare"))
    with pytest.raises(BadData, match="row 22: the only row of class 'rare'"):
        data.open(path, "y")
    assert data.open(path, "y", on_bad="skip").classes == ("a", "b")


def test_header_can_be_absent_when_said_so(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "".join(f"{i},{i % 2}\n" for i in range(20)))
    assert data.open(path, "column_2", header=False).schema.numeric == ("column_1",)


def test_the_target_must_be_named_and_exist(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv")
    with pytest.raises(SondeError, match="which column is to be predicted.*\n.*'age', 'city'"):
        data.open(path)
    with pytest.raises(SondeError, match=r"target column 'incme' is not in the data \(did you mean 'income'\?\)"):
        data.open(path, "incme")


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"no parquet at all", b""])
def test_broken_parquet_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SondeError, match="not a readable Parquet file|is empty"):
        data.open(write(tmp_path / "t.parquet", content), "y")


def test_truncated_and_flipped_parquet_is_an_error_or_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"k": list(range(50)), "y": ["a", "b"] * 25}).write_parquet(path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for trial in range(12):
        changed = bytearray(whole[: int(random.integers(1, len(whole)))] if trial % 2 else whole)
        if not trial % 2:
            changed[int(random.integers(len(changed)))] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        try:
            data.open(path, "y")
        except SondeError:
            pass


def test_a_parquet_file_that_ends_its_reader_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"k": list(range(50)), "y": ["a", "b"] * 25}).write_parquet(path)
    script = tmp_path / "abort.py"
    script.write_text("import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()")
    monkeypatch.setattr(Path, "with_name", lambda self, name: script)
    with pytest.raises(SondeError, match="not a readable Parquet file: it asks for more memory"):
        data.open(path, "y")


def test_a_parquet_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"k": pl.zeros(3_000_000, eager=True), "y": pl.zeros(3_000_000, eager=True)}).write_parquet(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(SondeError, match="3,000,000 rows of 2 columns, over the limit"):
        data.open(path, "y", limit=10_000_000)


def test_nested_columns_are_refused_with_the_way_out() -> None:
    frame = pl.DataFrame({"k": [[1], [2]] * 10, "j": [1, 2] * 10, "y": ["a", "b"] * 10})
    with pytest.raises(SondeError, match=r"column 'k' holds List.*\n.*'drop'"):
        data.open(frame, "y")
    assert data.open(frame, "y", kinds={"k": "drop"}).schema.numeric == ("j",)


@pytest.mark.parametrize(
    "name", ["a.pkl", "a.pickle", "a.joblib", "a.pt", "a.pth", "a.ckpt", "a.bin", "a.pkl.gz", "a.h5"]
)
def test_files_that_can_run_code_are_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, b"\x80\x04cos\nsystem\n(S'touch marker'\ntR.")
    with pytest.raises(Refused, match="can run code") as error:
        data.open(path, "y")
    assert error.value.code == 4
    d = data.open({"k": [1, 2] * 10, "y": ["a", "b"] * 10}, "y")
    with pytest.raises(Refused):
        d.schema.encode(path)


def test_unknown_kinds_of_files_and_objects_are_named(tmp_path: Path) -> None:
    with pytest.raises(SondeError, match="t.xlsx is not a kind of table"):
        data.open(write(tmp_path / "t.xlsx", b"PK"), "y")
    with pytest.raises(SondeError, match="does not exist"):
        data.open(tmp_path / "absent.csv", "y")
    with pytest.raises(SondeError, match=r"sonde.data.load\('digits'\)"):
        data.open("digits")
    with pytest.raises(SondeError, match="a int is not a table"):
        data.open(3, "y")
    with pytest.raises(SondeError, match="on_bad='skp'.*did you mean 'skip'"):
        data.open(tmp_path, on_bad="skp")


def test_a_gzip_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    import gzip

    path = write(tmp_path / "t.csv.gz", gzip.compress(b"k,y\n" + b"1,a\n" * 3_000_000))
    with pytest.raises(SondeError, match="more than the limit of 1,000,000 bytes"):
        data.open(path, "y", limit=1_000_000)
    good = write(tmp_path / "g.csv.gz", gzip.compress(rows().encode()))
    assert len(data.open(good, "y")) == 20
    good.write_bytes(good.read_bytes()[:-10])
    with pytest.raises(SondeError, match="ends before its gzip stream"):
        data.open(good, "y")


def test_control_characters_of_the_data_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows("\x1b[2Jx,a", n=40))
    with pytest.raises(BadData) as error:
        data.open(path, "y")
    assert "\x1b" not in str(error.value)
