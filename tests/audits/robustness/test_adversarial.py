"""The audit by attack: exact where the answer is known, whole under a time budget, and loud where it would mislead."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sonde.audits.quality.intervals import wilson
from sonde.audits.robustness.adversarial import Adversarial, _ranks
from sonde.core import Audited, Clock, Figure, Subject, run_audits
from tests.attacks.nets import curved, distances, linear


def asked(subject: Subject, *audits: Adversarial, budget: float = math.inf) -> Audited:
    (found,) = run_audits(subject, audits or [Adversarial(steps=20, targets=9, queries=50)], budget=budget)
    return found


def value(found: Audited, name: str) -> float:
    (one,) = [m.value for m in found.measures if m.name == name]
    return one


def on(
    net: nn.Module, x: Tensor, y: Tensor, bounds: tuple[float, float] | None = (0.0, 1.0), **more: object
) -> Subject:
    return Subject.of(net, x, y, kind="image", bounds=bounds, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("high", [1.0, 255.0])
def test_of_a_linear_net_the_accuracy_and_the_distance_are_exact(norm: str, high: float) -> None:
    net, x, y = linear(4, n=61)
    y[:3] = (y[:3] + 1) % 4  # wrong as they are
    away = distances(net, x, net(x).argmax(1), norm)  # type: ignore[arg-type]
    ordered = away[3:].sort().values
    radius = float((ordered[20] + ordered[21]) / 2)  # 21 rows are nearer
    wide = nn.Sequential(Scaled(1 / high), net)
    found = asked(on(wide, x * high, y, (0.0, high)), Adversarial(radius, norm, steps=40, queries=50))  # type: ignore[arg-type]
    assert found.outcome == "done", found.reason
    assert value(found, "robustness/standard_accuracy") == pytest.approx((58 - 21) / 61)
    (m,) = [m for m in found.measures if m.name == "robustness/standard_accuracy"]
    assert m.n == 61 and m.interval == wilson(37, 61) and m.settings["radius"] == pytest.approx(radius * high)
    median = float((ordered[28] + ordered[29]) / 2)
    assert value(found, f"robustness/{norm}/median_distance") == pytest.approx(median * high, rel=1e-3)
    table = next(t for t in found.tables if t.name == "attacks")
    assert [row[2] for row in table.rows][0] == 58 and table.rows[-1][2] == 37
    assert sum(row[1] for row in table.rows) == 21  # type: ignore[misc]
    assert {f.name for f in found.figures} == {"accuracy_over_radius", "attacked_pictures"}


class Scaled(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


def images(n: int = 200) -> tuple[nn.Module, Tensor, Tensor]:
    net = curved(4)
    torch.manual_seed(1)
    x = torch.rand(n, 1, 5, 4)
    return net, x, net(x).argmax(1)


def test_a_short_budget_means_fewer_rows_each_through_the_whole_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, y = images()
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    told: list[float] = []

    class Slow(nn.Module):
        def forward(self, v: Tensor) -> Tensor:
            now[0] += 1e-3 * len(v)  # a millisecond a row
            return net(v)

    audit = Adversarial(radius=0.02, steps=5, queries=10, targets=2)
    unlimited = asked(on(Slow(), x, y), audit)
    (whole,) = [m for m in unlimited.measures if m.name == "robustness/standard_accuracy"]
    used = now[0]
    subject = on(Slow(), x, y)
    found = list(audit.run(subject, Clock(used / 8, told.append)))
    (part,) = [m for m in found if getattr(m, "name", "") == "robustness/standard_accuracy"]
    assert whole.n == 200 and 16 <= part.n < 120  # type: ignore[union-attr]
    assert now[0] - used < used / 8 * 1.5 and told == sorted(told)
    assert part.settings["clean"] == 1.0  # type: ignore[union-attr]


def test_rows_are_drawn_by_the_seed_and_few_are_all_taken() -> None:
    net, x, y = images()
    few = [asked(on(net, x, y), Adversarial(rows=30, steps=3, queries=5, seed=s)).measures[0] for s in (0, 0, 1)]
    assert few[0] == few[1] and few[0].n == 30
    assert few[0].settings["seed"] != few[2].settings["seed"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "table"}, "its inputs are not images"),
        ({"bounds": None}, "range of its inputs is not known"),
        ({"logits": None}, "no logits"),
        ({"task": "regression"}, "a model of regression"),
        ({"classes": ("only",)}, "with one class"),
        ({"bounds": (0.0, 0.5)}, "lie outside"),
    ],
)
def test_what_cannot_be_attacked_is_refused_in_words(changes: dict[str, object], reason: str) -> None:
    from dataclasses import replace

    net, x, y = images(20)
    found = asked(replace(on(net, x, y), **changes))  # type: ignore[arg-type]
    assert found.outcome == "refused" and reason in found.reason


def test_logits_that_do_not_decide_are_refused() -> None:
    net, x, y = images()
    found = asked(on(net, x, y, logits=lambda v: net(v).roll(1, 1), predict=lambda v: net(v).softmax(1)))
    assert found.outcome == "refused" and "is not what the model decides" in found.reason


def test_a_model_that_answers_by_chance_is_refused() -> None:
    net, x, y = images()

    class Restless(nn.Module):
        def forward(self, v: Tensor) -> Tensor:
            return net(v) + 3 * torch.randn(len(v), 4)

    found = asked(on(Restless(), x, y))
    assert found.outcome == "refused" and not found.measures


def test_one_row_and_all_rows_wrong_give_measures() -> None:
    net, x, y = images(3)
    assert asked(on(net, x[:1], y[:1])).measures[0].n == 1
    found = asked(on(net, x, (y + 1) % 4))
    assert value(found, "robustness/standard_accuracy") == 0.0
    assert math.isnan(value(found, "robustness/l2/median_distance"))


def test_the_ranks_of_a_median_cover_it() -> None:
    from scipy.stats import binom

    assert _ranks(5) is None
    for n in (6, 20, 37, 100):
        ends = _ranks(n)
        assert ends is not None
        low, high = ends
        assert binom.cdf(high, n, 0.5) - binom.cdf(low, n, 0.5) >= 0.95  # low + 1 <= X <= high rows lie below it
        assert binom.cdf(high - 1, n, 0.5) - binom.cdf(low + 1, n, 0.5) < 0.95  # no narrower pair does


def test_figures_are_of_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    net, x, y = images(40)
    found = asked(on(net, x, y, classes=("a$b$", "<i>", "\x1b[31m", "")), Adversarial(0.1, steps=5, queries=5))
    (pictures,) = [f for f in found.figures if f.name == "attacked_pictures"]
    assert isinstance(pictures, Figure) and "<i>" not in pictures.svg and "\x1b" not in pictures.svg
