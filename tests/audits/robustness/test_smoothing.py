"""Certificates: below the true distance of a linear model and close to it, wrong no more often than alpha says."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sonde.audits.robustness.smoothing import ABSTAINED, Smoothing, certify, lower_bound
from sonde.core import Batch, Clock, Measure, SondeError, Subject, run_audits
from sonde.core.finding import Table


def linear(n: int = 40, features: int = 5, seed: int = 0) -> tuple[Subject, Tensor]:
    """A linear classifier of two classes, and each row's distance from its boundary."""
    torch.manual_seed(seed)
    net = nn.Linear(features, 2)
    x = torch.randn(n, features)
    z = net(x).detach()
    w = (net.weight[1] - net.weight[0]).detach()
    distance = (z[:, 1] - z[:, 0]).abs() / w.norm()
    return Subject.of(net, x, z.argmax(1)), distance


def measured(subject: Subject, audit: Smoothing) -> tuple[dict[str, Measure], Table]:
    (done,) = run_audits(subject, [audit])
    assert done.outcome == "done", done.reason
    return {m.name.rpartition("/")[2]: m for m in done.measures}, done.tables[0]


@pytest.mark.parametrize("hits", [0, 1, 50, 93, 100])
def test_the_bound_is_clopper_and_pearsons(hits: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(hits, 100, alternative="greater").proportion_ci(0.95, "exact").low
    assert lower_bound(hits, 100, 0.05) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("share", [0.55, 0.8, 0.97])
def test_the_bound_is_above_the_truth_no_more_often_than_alpha(share: float) -> None:
    hits = np.random.default_rng(0).binomial(200, share, 4000)
    bounds = np.array([lower_bound(k, 200, 0.05) for k in range(201)])[hits]
    above = float((bounds > share).mean())
    assert above <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)
    assert above > 0.01  # nor much less often: the bound is no wider than it must be


def test_a_row_is_certified_by_the_draws_that_did_not_choose_its_class() -> None:
    one = certify([1] * 10 + [1] * 95 + [0] * 5, first=10, sigma=0.5, alpha=0.001)
    assert one.answer == 1
    assert one.radius == pytest.approx(0.5 * NormalDist().inv_cdf(lower_bound(95, 100, 0.001)))
    assert certify([1] * 10 + [0] * 95 + [1] * 5, 10, 0.5, 0.001).answer == ABSTAINED
    assert certify([0, 1] * 55, 10, 0.5, 0.001).answer == ABSTAINED
    assert certify([-1] * 110, 10, 0.5, 0.001) == certify([0] * 10 + [-1] * 100, 10, 0.5, 0.001)
    assert certify([3] * 110, 10, 0.5, 0.001).radius == pytest.approx(
        0.5 * NormalDist().inv_cdf(0.001 ** (1 / 100)), rel=1e-6
    )


def test_a_linear_models_radius_approaches_its_distance_from_below() -> None:
    subject, distance = linear()
    generator = torch.Generator().manual_seed(0)
    audit, ratio = Smoothing(sigma=0.5, n0=2000, n=20_000), []
    for i, far in enumerate(distance.tolist()):
        one = certify(audit._votes(subject, subject.rows()[i : i + 1], 1.0, generator), 2000, 0.5, 0.001)
        assert one.radius <= far
        if 0.15 < far < 1.0:  # beyond two sigma 20,000 draws see no second class
            ratio.append(one.radius / far)
    assert len(ratio) > 15 and np.mean(ratio) > 0.9


def test_what_is_shown_is_what_was_certified() -> None:
    subject, distance = linear(60)
    measures, table = measured(subject, Smoothing(sigma=0.25, n=400, n0=20))
    share = {row[0]: row[2] for row in table.rows}
    assert measures["smoothed_accuracy"].value == share[0.0] and share[0.0] >= share[0.25] >= share[0.5]
    assert measures["certified_accuracy"].value == pytest.approx(share[0.25], abs=1e-4)
    assert share[0.25] <= float((distance >= 0.25).float().mean())
    assert measures["abstained_share"].value + measures["smoothed_accuracy"].value == pytest.approx(
        1.0
    )  # none is wrong
    held = NormalDist()
    expected = float(np.mean([held.cdf(d / 0.25) for d in distance.tolist()]))
    assert measures["noisy_accuracy"].value == pytest.approx(expected, abs=0.01)
    assert 0 < measures["mean_radius"].value <= float(distance.clamp_max(0.55).mean())


def test_the_same_seed_gives_the_same_numbers() -> None:
    subject, _ = linear(10)
    first, again = (measured(subject, Smoothing(n=50, n0=10))[0]["mean_radius"].value for _ in range(2))
    assert first == again != measured(subject, Smoothing(n=50, n0=10, seed=1))[0]["mean_radius"].value


def test_a_table_is_moved_in_its_numbers_by_their_deviations() -> None:
    class Second(nn.Module):
        def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
            z = numeric[:, 1].nan_to_num(0.0) / 100
            return torch.stack([-z, z], 1) * (1 + 0 * categorical.sum(1, keepdim=True))

    g = torch.Generator().manual_seed(0)
    numbers = torch.randn(50, 2, generator=g) * torch.tensor([1.0, 100.0])
    numbers[0, 0] = float("nan")
    x = {"numeric": numbers, "categorical": torch.zeros(50, 1, dtype=torch.int64)}
    subject = Subject.of(Second(), x, (numbers[:, 1] > 0).long(), kind="table")
    found = measured(subject, Smoothing(n=300, n0=20))[0]
    assert 0.5 < found["smoothed_accuracy"].value <= 1 and found["certified_accuracy"].value > 0.3
    assert found["certified_accuracy"].value <= float((numbers[:, 1].abs() / numbers[:, 1].std() > 0.24).float().mean())


def test_time_that_runs_out_leaves_fewer_rows_and_says_so() -> None:
    subject, _ = linear(60)
    measure = next(iter(Smoothing(n=20, n0=5).run(subject, Clock(1e-9))))
    assert isinstance(measure, Measure) and measure.n == 20


def test_a_model_that_noise_harms_is_told_of() -> None:
    x = torch.full((30, 4), 0.5)
    x[:, 0] = 0.5 + 0.01 * (2 * (torch.arange(30) % 2) - 1)
    net = nn.Linear(4, 2)
    net.weight.data.zero_()
    net.weight.data[1, 0], net.bias.data[:] = 1.0, torch.tensor([0.0, -0.5])
    (done,) = run_audits(Subject.of(net, x, torch.arange(30) % 2), [Smoothing(n=40, n0=10)])
    assert "gaussian_noise(sigma=0.25)" in done.figures[0].caption
    assert {m.name.rpartition("/")[2]: m for m in done.measures}["abstained_share"].value > 0.8


def test_what_has_no_numbers_is_refused() -> None:
    subject, _ = linear(5)
    codes = {"test": Batch(torch.zeros(5, 2, dtype=torch.int64), torch.zeros(5).long())}
    assert "no numbers" in Smoothing().refuses(replace(subject, splits=codes))
    assert "regression" in Smoothing().refuses(replace(subject, task="regression"))
    with pytest.raises(SondeError, match="certifies nothing"):
        Smoothing(sigma=0.0)
