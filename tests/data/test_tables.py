"""Tables: what is inferred, what it becomes, and that new rows are read as the training rows were."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde import data
from sonde.core.errors import SondeError
from sonde.data import BadData, TableSchema
from tests.data.make import table


def note(dataset: data.Dataset, text: str) -> str:
    found = [n for n in dataset.notes if text in n]
    assert found, dataset.notes
    return found[0]


def people(**columns: list) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    return pl.DataFrame({**columns, "y": ["a", "b"] * (n // 2) + ["a"] * (n % 2)})


def test_a_csv_opens_with_every_kind_of_column(tmp_path: Path) -> None:
    d = data.open(table(tmp_path / "people.csv"), "income")
    assert d.task == "classification" and d.classes == ("high", "low") and len(d) == 60
    assert d.schema.numeric == ("age", "height", "joined.days", "joined.month", "joined.weekday", "member")
    assert d.schema.categorical == ("city",) and d.schema.cardinalities == (4,)
    assert d.x["numeric"].shape == (60, 6) and d.x["numeric"].dtype == torch.float32
    assert d.x["categorical"].shape == (60, 1) and d.x["categorical"].dtype == torch.int64
    assert d.y.dtype == torch.int64 and {k: len(v) for k, v in d.splits.items()} == {"train": 43, "val": 5, "test": 12}
    assert d.names[0] == "row 2", "the header is row 1, as in a spreadsheet"
    assert torch.isnan(d.x["numeric"][0, 1]) and d.x["numeric"][0, 5] == 1
    days = (datetime.date(2010, 1, 10) - datetime.date(2000, 1, 1)).days
    assert d.x["numeric"][0, 2:5].tolist() == [days, 1, datetime.date(2010, 1, 10).isoweekday()]
    assert "boolean: member" in d.notes and "date: joined" in d.notes and "numeric: age, height" in d.notes
    assert data.reopen(json.loads(json.dumps(d.source))) == d


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    d = data.open(table(tmp_path / "people.txt", separator=separator), "income")
    assert d == data.open(table(tmp_path / "people.csv"), "income")


def test_parquet_polars_pandas_and_dicts_say_the_same(tmp_path: Path) -> None:
    text = data.open(table(tmp_path / "people.csv"), "income")
    frame = pl.read_csv(tmp_path / "people.csv", try_parse_dates=True)
    frame.write_parquet(tmp_path / "people.parquet")
    same = [data.open(tmp_path / "people.parquet", "income"), data.open(frame, "income")]
    same.append(data.open(frame.to_dicts(), "income"))
    pandas = pytest.importorskip("pandas")
    same.append(data.open(pandas.DataFrame(frame.to_dict(as_series=False)), "income"))
    same.append(data.open(pandas.read_csv(tmp_path / "people.csv", parse_dates=["joined"]), "income"))
    for d in same:
        assert torch.equal(d.x["categorical"], text.x["categorical"]) and torch.equal(d.y, text.y)
        torch.testing.assert_close(d.x["numeric"], text.x["numeric"], equal_nan=True, rtol=0, atol=0)
        assert {k: v.tolist() for k, v in d.splits.items()} == {k: v.tolist() for k, v in text.splits.items()}
        x = text.schema.encode(tmp_path / "people.parquet")
        torch.testing.assert_close(x["numeric"], d.x["numeric"], equal_nan=True, rtol=0, atol=0)


def test_pandas_extension_types_are_read() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "a": pandas.array([1, None, 3] * 10, dtype="Int64"),
            "b": pandas.array([True, None, False] * 10, dtype="boolean"),
            "c": pandas.Categorical(["x", "y", None] * 10),
            "d": pandas.array(["p", None, "q"] * 10, dtype="string"),
            "e": pandas.to_datetime(["2020-01-01", None, "2020-02-01"] * 10, utc=True),
            "y": [0, 1] * 15,
        }
    )
    d = data.open(frame, "y")
    assert d.schema.numeric == ("a", "b", "e.days", "e.month", "e.weekday") and d.schema.categorical == ("c", "d")
    assert d.x["numeric"][0].tolist() == [1, 1, 7305, 1, 3] and torch.isnan(d.x["numeric"][1]).all()
    assert d.x["categorical"][:3].tolist() == [[1, 1], [2, 0], [0, 2]]


def test_kinds_override_what_is_inferred() -> None:
    frame = people(zip=[10115, 20095] * 20, when=["03.04.2020", "05.06.2021"] * 20, junk=list(range(40)))
    d = data.open(frame, "y", kinds={"zip": "categorical", "junk": "drop", "when": "date:%m.%d.%Y"})
    assert d.schema.categorical == ("zip",) and d.schema.columns[0].categories == ("10115", "20095")
    assert d.x["numeric"][0, 1] == 3, "the month came first, as asked"
    assert "'junk' (as asked)" in note(d, "left out columns")
    with pytest.raises(SondeError, match="zap.*did you mean 'zip'"):
        data.open(frame, "y", kinds={"zap": "categorical"})
    with pytest.raises(SondeError, match="'categoric'.*did you mean 'categorical'"):
        data.open(frame, "y", kinds={"zip": "categoric"})


def test_identifiers_constants_and_leading_zeros_are_noticed() -> None:
    frame = people(
        patient_id=list(range(40)),
        name=[f"person {i}" for i in range(40)],
        same=[7] * 40,
        nothing=[None] * 40,
        zip=["01234", "05678"] * 20,
        keep=[float(i) for i in range(40)],
    )
    d = data.open(frame, "y")
    assert d.schema.numeric == ("keep",) and d.schema.categorical == ("zip",)
    left = note(d, "left out columns")
    for name in ("patient_id", "name", "same", "nothing"):
        assert f"'{name}'" in left
    assert "leading zeros" in note(d, "'zip'")
    kept = data.open(frame, "y", kinds={"patient_id": "numeric", "same": "numeric"})
    assert {"patient_id", "same"} <= set(kept.schema.numeric)


def test_ambiguous_dates_are_noted_and_unambiguous_ones_are_not() -> None:
    either = data.open(people(when=["03/04/2020", "05/06/2021"] * 20, k=[1, 2] * 20), "y")
    assert "'date:%d/%m/%Y'" in note(either, "'when'")
    day_first = data.open(people(when=["03/04/2020", "25/06/2021"] * 20, k=[1, 2] * 20), "y")
    assert day_first.x["numeric"][1].tolist()[1] == 6 and not any("if the day" in n for n in day_first.notes)


def test_times_of_day_and_zones_become_hours() -> None:
    d = data.open(people(at=["2020-01-01T06:30:00+02:00", "2020-01-02T12:00:00Z"] * 20, k=[1, 2] * 20), "y")
    assert d.schema.numeric[:4] == ("at.days", "at.month", "at.weekday", "at.hour")
    assert d.x["numeric"][0, 3] == 4.5


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["x", "y"] * 10, "classification", ("x", "y")),
        ([True, False] * 10, "classification", ("false", "true")),
        ([3, 10, 2, 3, 10, 2] * 4, "classification", ("2", "3", "10")),
        ([1.0, 2.0] * 10, "classification", ("1", "2")),
        ([i * 0.5 for i in range(20)], "regression", ()),
        (list(range(100, 140)), "regression", ()),
        (["a|b", "b", "a|c", "c|b|a"] * 5, "multilabel", ("a", "b", "c")),
    ],
)
def test_the_task_is_inferred_from_the_target(values: list, task: str, classes: tuple) -> None:
    d = data.open(pl.DataFrame({"k": list(range(len(values))), "t": values}), "t", kinds={"k": "numeric"})
    assert d.task == task and d.classes == classes
    assert d.y.dtype == (torch.int64 if task == "classification" else torch.float32)
    assert d.y.ndim == (1 if task == "classification" else 2)


def test_labels_share_a_column_or_have_their_own() -> None:
    joined = data.open(pl.DataFrame({"k": [1, 2] * 10, "t": ["a b", "b"] * 10}), "t", label_separator=" ")
    assert joined.y.tolist() == [[1, 1], [0, 1]] * 10 and joined.classes == ("a", "b")
    apart = data.open(pl.DataFrame({"k": [1, 2] * 10, "a": [1, 0] * 10, "b": [1, 1] * 10}), "a,b")
    assert torch.equal(apart.y, joined.y) and apart.task == "multilabel" and apart.classes == ("a", "b")
    none = data.open(pl.DataFrame({"k": [1, 2] * 10, "t": ["a;b", None] * 10}), "t", task="multilabel")
    assert none.y.tolist() == [[1, 1], [0, 0]] * 10, "no label is an answer"


def test_several_numbers_are_one_regression() -> None:
    d = data.open({"k": [1, 2] * 10, "u": list(range(20)), "v": [0.5] * 10 + [2.0] * 10}, ("u", "v"))
    assert d.task == "regression" and d.y.shape == (20, 2) and d.schema.outputs == ("u", "v") and d.classes == ()


def test_a_task_can_be_asked_for() -> None:
    frame = {"k": list(range(40)), "t": [0, 1, 2, 3] * 10}
    assert data.open(frame, "t").task == "classification"
    assert data.open(frame, "t", task="regression").y.tolist()[:4] == [[0], [1], [2], [3]]
    with pytest.raises(SondeError, match="'regresion'.*did you mean 'regression'"):
        data.open(frame, "t", task="regresion")
    with pytest.raises(SondeError, match="not made of numbers, e.g. 'x'"):
        data.open({"k": [1, 2] * 10, "t": ["x", "y"] * 10}, "t", task="regression")


def test_sensitive_columns_are_fields_and_stay_inputs_unless_dropped() -> None:
    frame = people(sex=["F", "M", None, "F"] * 10, age=list(range(20, 60)), k=[1.5, 2.5] * 20)
    d = data.open(frame, "y", sensitive="sex,age")
    assert d.schema.groups["sex"] == ("F", "M", "missing") and d.fields["sex"][:4].tolist() == [0, 1, 2, 0]
    assert d.schema.groups["age"] == ("under 30", "30 to under 40", "40 to under 50", "50 and over")
    assert d.fields["age"].bincount().tolist() == [10, 10, 10, 10]
    assert "sex" in d.schema.categorical and "age" in d.schema.numeric
    batch = d.batch(torch.tensor([2, 5]))
    assert batch.fields["sex"].tolist() == [2, 1] and batch.records.tolist() == [2, 5]
    dropped = data.open(frame, "y", sensitive=("sex",), kinds={"sex": "drop"})
    assert "sex" not in dropped.schema.categorical and set(dropped.fields) == {"sex"}
    with pytest.raises(SondeError, match="sensitive column 'sexx'.*did you mean 'sex'"):
        data.open(frame, "y", sensitive="sexx")


def test_a_split_column_is_honoured_and_never_an_input() -> None:
    frame = people(k=[float(i) for i in range(20)], part=["train"] * 12 + ["test"] * 4 + ["dev"] * 4)
    d = data.open(frame, "y", split="part")
    assert {k: len(v) for k, v in d.splits.items()} == {"train": 12, "val": 4, "test": 4}
    assert "part" not in d.schema.categorical
    with pytest.raises(SondeError, match="row 1: 'other' in split column"):
        data.open(frame.with_columns(part=pl.lit("other")), "y", split="part")


def test_new_rows_are_read_by_name_with_unseen_values_as_missing(tmp_path: Path) -> None:
    d = data.open(table(tmp_path / "people.csv"), "income")
    x = d.schema.encode(tmp_path / "people.csv")
    assert torch.equal(x["categorical"], d.x["categorical"])
    torch.testing.assert_close(x["numeric"], d.x["numeric"], equal_nan=True, rtol=0, atol=0)
    row = {"city": "Paris", "extra": 1, "member": False, "joined": "2020-01-02", "height": None, "age": "31"}
    one = d.schema.encode([row])
    assert one["categorical"].tolist() == [[0]] and one["numeric"][0, [0, 5]].tolist() == [31, 0]
    assert torch.equal(d.schema.encode(row)["categorical"], one["categorical"])
    with pytest.raises(SondeError, match=r"does not have: 'age', 'height'"):
        d.schema.encode([{k: v for k, v in row.items() if k not in ("age", "height")}])
    with pytest.raises(SondeError, match=r"'city' \(did you mean 'citi'\?\)"):
        d.schema.encode([{("citi" if k == "city" else k): v for k, v in row.items()}])
    with pytest.raises(BadData, match="row 2: 'old' in column 'age' is not a number") as error:
        d.schema.encode([row, {**row, "age": "old"}])
    assert len(error.value.found) == 1


def test_categories_are_those_of_the_training_rows() -> None:
    frame = people(c=["a", "b"] * 8 + ["late"] * 4, k=list(range(20)), part=["train"] * 16 + ["test"] * 4)
    d = data.open(frame, "y", split="part")
    assert d.schema.columns[0].categories == ("a", "b") and d.x["categorical"][16:].tolist() == [[0]] * 4


def test_numbers_that_float32_cannot_hold_apart_are_noted() -> None:
    d = data.open(people(stamp=[1_600_000_000 + i for i in range(40)], k=[1, 2] * 20), "y")
    assert "float32 rounds" in note(d, "'stamp'")


def test_outputs_are_decoded_in_the_users_words(tmp_path: Path) -> None:
    d = data.open(table(tmp_path / "people.csv"), "income")
    assert d.schema.decode(torch.tensor([[0.2, 0.8], [0.9, 0.1]])) == ["low", "high"]
    assert d.schema.decode(torch.tensor([0, 1])) == ["high", "low"]
    several = data.open({"k": [1, 2] * 10, "u": list(range(20)), "v": [0.5, 2.0] * 10}, "u,v")
    assert several.schema.decode(torch.tensor([[1.0, 2.0]])) == [{"u": 1.0, "v": 2.0}]
    labels = data.open(pl.DataFrame({"k": [1, 2] * 10, "a": [1, 0] * 10, "b": [1, 1] * 10}), "a,b")
    assert labels.schema.decode(torch.tensor([[0.6, 0.4], [0.1, 0.2]])) == [("a",), ()]


def test_quoted_cells_hold_separators_and_line_ends(tmp_path: Path) -> None:
    rows = ['"a, ""b""",1,x', '"two\nlines", 2 ,y', "plain,3,x"] * 4
    (tmp_path / "q.csv").write_bytes(b"\xef\xbb\xbftext,k,y\r\n" + "\r\n".join(rows).encode())
    d = data.open(tmp_path / "q.csv", "y")
    assert d.schema.columns[0].categories == ('a, "b"', "plain", "two\nlines")
    assert d.x["numeric"][:3, 0].tolist() == [1, 2, 3]


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cell, st.floats(-1e30, 1e30), st.booleans()), min_size=4, max_size=20))
def test_any_text_survives_csv_and_the_schema_survives_json(
    tmp_path_factory: pytest.TempPathFactory, rows: list
) -> None:
    frame = pl.DataFrame({"c": [r[0] for r in rows], "v": [r[1] for r in rows], "b": [r[2] for r in rows]})
    frame = frame.with_columns(i=pl.int_range(pl.len()) % 3, y=pl.Series(["p", "q"] * 10).head(len(rows)))
    kinds = {"c": "categorical", "v": "numeric", "b": "boolean"}
    memory = data.open(frame, "y", kinds=kinds)
    buffer = io.BytesIO()
    frame.write_csv(buffer, quote_style="always")
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(buffer.getvalue())
    disk = data.open(path, "y", kinds=kinds)
    assert torch.equal(memory.x["categorical"], disk.x["categorical"])
    torch.testing.assert_close(memory.x["numeric"], disk.x["numeric"], equal_nan=True)
    again = TableSchema.from_data(json.loads(json.dumps(memory.schema.to_data())))
    assert again == memory.schema
    x = again.encode(frame)
    assert torch.equal(x["categorical"], memory.x["categorical"])


def test_columns_may_have_any_name() -> None:
    odd = {
        "count": ["a", "b"] * 10,
        "value": [1, 2] * 10,
        "": ["c", "d"] * 10,
        "x.days": [1, 3] * 10,
        "len": ["p", "q"] * 10,
    }
    d = data.open(pl.DataFrame(odd | {"literal": ["m", "n"] * 10}), "literal", sensitive="count")
    assert d.schema.categorical == ("count", "", "len") and d.schema.numeric == ("value", "x.days")
    with pytest.raises(SondeError, match="called like a column: 'x.days'"):
        data.open(pl.DataFrame(odd | {"x": ["2020-01-01", "2021-02-02"] * 10, "y": ["m", "n"] * 10}), "y")
    with pytest.raises(SondeError, match="has a name of 20,000 characters"):
        data.open({"k" * 20_000: [1, 2], "y": ["a", "b"]}, "y")


def test_whatever_opens_can_be_loaded_again(tmp_path: Path) -> None:
    long = pl.DataFrame({"t": ["x" * 20_000, "short", "short", "other"] * 5, "y": ["a", "b"] * 10})
    d = data.open(long, "y", missing=["-", "-"], kinds={"t": "categorical"})
    assert TableSchema.from_data(d.schema.to_data()) == d.schema and d.schema.columns[0].categories == (
        "other",
        "short",
    )
    for task in ({"y": ["x" * 20_000, "b"] * 10}, {"y": ["a", "b"] * 10, "g": ["x" * 20_000, "b"] * 10}):
        with pytest.raises(SondeError, match="holds texts, not"):
            data.open({"k": [1, 2] * 10, **task}, "y", sensitive=tuple(set(task) - {"y"}))


def test_new_rows_in_another_encoding_without_header(tmp_path: Path) -> None:
    lines = [f"{i};{'Köln' if i % 2 else 'Ulm'};{'ab'[i % 2]}" for i in range(20)]
    (tmp_path / "t.csv").write_bytes("\n".join(lines).encode("latin-1"))
    how = {"encoding": "latin-1", "separator": ";", "header": False}
    d = data.open(tmp_path / "t.csv", "column_3", **how)
    assert torch.equal(d.schema.encode(tmp_path / "t.csv", **how)["categorical"], d.x["categorical"])


def test_a_wide_table_of_numbers_is_quick(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, 300))
    frame = pl.DataFrame({f"f{i}": x[:, i] for i in range(300)} | {"y": [0, 1] * 25})
    assert data.open(frame, "y").x["numeric"].shape == (50, 300)
