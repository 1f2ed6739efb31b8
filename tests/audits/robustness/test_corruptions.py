"""The audit of corruptions: severity 0 is clean, what a model ignores costs it nothing, what is shown is measured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sonde.audits.robustness.corruptions import Corruptions
from sonde.core import Clock, Measure, Subject, run_audits
from sonde.core.finding import Figure, Table
from sonde.corruptions import CORRUPTIONS


class Half(nn.Module):
    """Says which half of a picture is brighter."""

    def forward(self, x: Tensor) -> Tensor:
        w = x.shape[3] // 2
        return 40 * torch.stack([x[..., :w].mean((1, 2, 3)), x[..., w:].mean((1, 2, 3))], 1)


def halves(n: int = 60, side: int = 16, bounds: tuple[float, float] = (0.0, 1.0)) -> Subject:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = 0.2 * torch.rand(n, 1, side, side, generator=g)
    x[y == 0, :, :, : side // 2] += 0.6
    x[y == 1, :, :, side // 2 :] += 0.6
    x = bounds[0] + (bounds[1] - bounds[0]) * x
    return Subject.of(Half(), x, y, kind="image", bounds=bounds)


def found(subject: Subject, audit: Corruptions) -> tuple[dict[str, Measure], Table, list[Figure]]:
    (done,) = run_audits(subject, [audit])
    assert done.outcome == "done", done.reason
    (table,) = done.tables
    return {m.name.rpartition("/")[2]: m for m in done.measures}, table, list(done.figures)


def test_what_the_model_does_not_look_at_costs_it_nothing() -> None:
    measures, table, figures = found(halves(), Corruptions())
    assert measures["clean_accuracy"].value == measures["mean_accuracy"].value == 1.0
    assert measures["kept_share"].value == 1.0 and measures["mean_accuracy"].n == 60
    assert [row[0] for row in table.rows][:2] == ["Gaussian noise", "shot noise"] and len(table.rows) == 16
    assert [f.name for f in figures] == ["corruptions", "corrupted"]


def test_inputs_are_corrupted_in_their_own_range() -> None:
    wide = found(halves(bounds=(-3.0, 5.0)), Corruptions())[1]
    plain = found(halves(), Corruptions())[1]
    assert wide.rows == plain.rows


def test_a_model_of_single_pixels_suffers_and_the_table_says_from_what() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([0.5 - x[:, 0, 0, 0], x[:, 0, 0, 0] - 0.5], 1) * 10

    x = torch.zeros(80, 1, 8, 8)
    y = torch.arange(80) % 2
    x[:, 0, 0, 0] = 0.1 + 0.8 * y
    measures, table, _ = found(Subject.of(Corner(), x, y, kind="image", bounds=(0.0, 1.0)), Corruptions())
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["contrast"][4] == 50.0  # the mean of the picture is dark: every corner is below a half
    assert rows["Gaussian noise"][0] == 100.0 and measures["worst_accuracy"].value < measures["mean_accuracy"].value < 1
    every = [v for kind, row in rows.items() if kind != "mean" for v in row[:5]]
    assert measures["mean_accuracy"].value == pytest.approx(sum(every) / len(every) / 100, abs=1e-3)
    low, high = measures["mean_accuracy"].interval or (math.nan, math.nan)
    assert low < measures["mean_accuracy"].value < high
    assert measures["kept_share"].value == pytest.approx(measures["mean_accuracy"].value)


def test_rows_are_drawn_by_the_seed_and_fewer_where_time_is_short() -> None:
    subject = halves(200)
    few = found(subject, Corruptions(rows=30))[0]["mean_accuracy"]
    assert few.n == 30
    first = next(iter(Corruptions(rows=150).run(subject, Clock(1e-6))))
    assert isinstance(first, Measure) and first.n == 20


def test_a_model_that_answers_at_random_is_found_out() -> None:
    class Dice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.randn(len(x), 2)

    x = torch.rand(50, 1, 8, 8)
    (done,) = run_audits(Subject.of(Dice(), x, torch.zeros(50).long(), kind="image", bounds=(0, 1)), [Corruptions()])
    assert done.outcome == "refused" and "differently" in done.reason


def test_answers_that_are_no_numbers_are_wrong() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), math.nan)

    x = torch.rand(30, 1, 8, 8)
    measures, _, _ = found(Subject.of(Broken(), x, torch.zeros(30).long(), kind="image", bounds=(0, 1)), Corruptions())
    assert measures["clean_accuracy"].value == 0.0 and math.isnan(measures["kept_share"].value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "table"}, "not images"),
        ({"bounds": None}, "range of its inputs"),
        ({"bounds": (0.0, 0.5)}, "outside"),
        ({"task": "regression"}, "regression"),
    ],
)
def test_what_is_no_picture_is_refused(change: dict[str, object], reason: str) -> None:
    assert reason in Corruptions().refuses(replace(halves(), **change))  # type: ignore[arg-type]
    assert not Corruptions().refuses(halves())


def test_every_kind_is_in_the_drawing() -> None:
    figures = found(halves(20), Corruptions())[2]
    assert all(figures[1].svg.count(name.split("_")[-1]) for name in CORRUPTIONS)
