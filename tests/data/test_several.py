"""Several data sets as one: rows, names, categories and classes put together, and what does not fit said in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sonde.core import Build, SondeError
from sonde.data import Dataset, open, reopen, several
from sonde.data.streams import in_order


def table(path: Path, jobs: tuple[str, str]) -> Dataset:
    """Forty people with an age, one of two jobs, and an answer that follows the age."""
    rng = np.random.default_rng(len(path.name))
    head = ("age", "job", "answer")
    rows = [(a, jobs[i % 2], "yes" if a > 40 else "no") for i, a in enumerate(rng.integers(20, 60, 40))]
    path.write_text("\n".join(",".join(map(str, r)) for r in [head, *rows]) + "\n")
    return open(path, "answer", sensitive="job")


def pictures(classes: tuple[int, ...], side: int = 6) -> Dataset:
    rng = np.random.default_rng(0)
    y = np.repeat(classes, 20)
    return open((rng.random((len(y), side, side), np.float32), y), name=f"set of {classes[0]}")


def test_tables_are_put_together_by_name(tmp_path: Path) -> None:
    parts = [table(tmp_path / "a.csv", ("cook", "nurse")), table(tmp_path / "bc.csv", ("nurse", "baker"))]
    whole = several(parts)
    assert whole.name == "a-bc" and whole.parts == (("a.csv", 40), ("bc.csv", 40)) and len(whole) == 80
    job = next(c for c in whole.schema.columns if c.name == "job")
    assert job.categories == ("cook", "nurse", "baker")
    for part, start in zip(parts, (0, 40), strict=True):
        own = next(c for c in part.schema.columns if c.name == "job").categories
        codes = [own[int(c) - 1] for c in part.x["categorical"][:, 0]]
        assert codes == [job.categories[int(c) - 1] for c in whole.x["categorical"][start : start + 40, 0]]
        groups = [part.schema.groups["job"][int(c)] for c in part.fields["job"]]
        assert groups == [whole.schema.groups["job"][int(c)] for c in whole.fields["job"][start : start + 40]]
        assert torch.equal(part.x["numeric"], whole.x["numeric"][start : start + 40])
        assert torch.equal(part.splits["test"] + start, in_order(whole)[int(start > 0)].splits["test"])
    assert whole.names[40] == "bc.csv: row 2"
    assert reopen(whole.source) == whole
    build = Build(several, datasets=[Build(open, **p.source["arguments"]) for p in parts])
    assert Build.from_data(build.to_data())() == whole


def test_new_classes_join_where_that_is_asked_for() -> None:
    whole = several([pictures((3, 1)), pictures((1, 7))])
    assert whole.classes == ("1", "3", "7")
    with pytest.raises(SondeError, match=r"set of 3 has rows of class '3' and set of 1 has none"):
        in_order(whole)
    second = in_order(whole, "class")[1]
    assert second.batch(second.splits["test"]).y.unique().tolist() == [0, 2]


def test_two_sets_of_one_name_are_told_apart() -> None:
    assert [name for name, _ in several([pictures((0, 1)), pictures((0, 1))]).parts] == ["set of 0", "set of 0 (2)"]


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    people = table(tmp_path / "a.csv", ("cook", "nurse"))
    with pytest.raises(SondeError, match=r"b.csv has columns that a.csv lacks.*'city'"):
        several([people, with_city(tmp_path / "b.csv")])
    with pytest.raises(SondeError, match="a.csv is a table, set of 0 is pictures"):
        several([people, pictures((0, 1))])
    with pytest.raises(SondeError, match="the pictures of set of 0 are 1 x 6 x 6, those of set of 2 1 x 7 x 7"):
        several([pictures((0, 1)), pictures((2, 3), side=7)])
    with pytest.raises(SondeError, match="one data set is not several"):
        several([people])
    with pytest.raises(SondeError, match="is one data set, with nothing to put in order"):
        in_order(people)


def with_city(path: Path) -> Dataset:
    lines = ["age,job,city,answer"]
    lines += [f"{20 + i},{'cook' if i % 2 else 'nurse'},{'Rome' if i % 3 else 'Oslo'},{i > 20}" for i in range(40)]
    path.write_text("\n".join(lines) + "\n")
    return open(path, "answer", sensitive="job")


def test_a_columns_kind_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("a,b,y\n" + "".join(f"{i * 1.5},{i % 7},{i % 2}\n" for i in range(40)))
    (tmp_path / "t.csv").write_text("a,b,y\n" + "".join(f"x{i % 3},{i % 7},{i % 2}\n" for i in range(40)))
    with pytest.raises(SondeError, match=r"column 'a' is numeric in n.csv and categorical in t.csv"):
        several([open(tmp_path / "n.csv", "y"), open(tmp_path / "t.csv", "y")])
