"""New data with known answers is read as the model's schema says, and all of it is for judging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sonde import data
from sonde.core.errors import Refused, SondeError
from sonde.data import BadData
from tests.data.make import npz, photos, table


def test_a_table_is_read_with_the_old_classes_categories_and_groups(tmp_path: Path) -> None:
    old = data.open(table(tmp_path / "t.csv"), "income", sensitive="city")
    frame = pl.read_csv(tmp_path / "t.csv", infer_schema=False).filter(pl.col("income") == "low").head(5)
    new = data.open_like(old.schema, frame)
    assert new.schema == old.schema and new.y.tolist() == [1] * 5 and len(new.splits["test"]) == 5
    rows = [i for i in range(60) if old.y[i] == 1][:5]
    assert torch.equal(new.x["categorical"], old.x["categorical"][rows])
    assert torch.equal(new.fields["city"], old.fields["city"][rows])
    strange = frame.with_columns(income=pl.lit("lo"), city=pl.lit("Mars"))
    with pytest.raises(BadData, match="'lo' is not a class that was seen in training") as error:
        data.open_like(old.schema, strange)
    assert len(error.value.found) == 10
    mixed = pl.concat([frame, strange])
    assert len(data.open_like(old.schema, mixed, on_bad="skip")) == 5
    with pytest.raises(SondeError, match="'income' are not in the data"):
        data.open_like(old.schema, frame.drop("income"))
    with pytest.raises(Refused):
        data.open_like(old.schema, "x.pkl")


def test_folders_and_arrays_of_pictures(tmp_path: Path) -> None:
    old = data.open(photos(tmp_path / "a", ("ant", "cat", "dog")))
    new = data.open_like(old.schema, photos(tmp_path / "b", ("cat",), each=4))
    assert new.y.tolist() == [1] * 4 and new.x.shape == (4, 3, 12, 12) and new.names[0] == "cat/000.png"
    photos(tmp_path / "b", ("cot",), each=1)
    with pytest.raises(BadData, match=r"cot/000.png: 'cot' is not a class .* \(did you mean 'cat'\?\)"):
        data.open_like(old.schema, tmp_path / "b")
    split = photos(tmp_path / "c" / "train", ("ant", "cat")).parent
    photos(split / "test", ("ant", "cat"), each=2)
    assert len(data.open_like(old.schema, split)) == 4
    x, y = np.zeros((6, 12, 12, 3), np.uint8), np.array(["ant", "dog"] * 3)
    both = [data.open_like(old.schema, (x, y)), data.open_like(old.schema, npz(tmp_path / "d.npz", x=x, y=y))]
    assert both[0] == both[1] and both[0].y.tolist() == [0, 2] * 3
    with pytest.raises(SondeError, match="one row of y for every picture"):
        data.open_like(old.schema, (x, y[:3]))
