"""Proxies: what tells the group is found and named, and the model is left without hooks."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sonde.audits.fairness import Proxies, _probe
from sonde.core import Audited, Subject, fingerprint, run_audits
from sonde.data import open as open_data
from sonde.nets import TabM
from tests.laws.subjects import people

N = 600


def asked(of: Subject, audit: Proxies | None = None) -> Audited:
    (found,) = run_audits(of, [audit or Proxies()])
    return found


def hidden(shift: float, net: nn.Module | None = None) -> Subject:
    """Four numbers of which the first tells the group by `shift` standard deviations."""
    g = torch.Generator().manual_seed(0)
    sex, x = torch.randint(2, (N,), generator=g), torch.randn(N, 4, generator=g)
    x[:, 0] += shift * sex
    groups = {"sex": (("female", "male"), sex)}
    return Subject.of(net or nn.Linear(4, 2), x, torch.randint(2, (N,), generator=g), groups=groups)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_area_is_that_of_two_normal_distributions(shift: float) -> None:
    """A linear probe of the last layer's input, which here is the input itself: Phi(shift / sqrt 2)."""
    found = {m.name: m for m in asked(hidden(shift)).measures}
    truth = NormalDist().cdf(shift / math.sqrt(2))
    linear = found["fairness/sex/auc_from_representation"]
    assert linear.interval is not None and linear.interval[0] - 0.03 <= truth <= linear.interval[1] + 0.03
    assert found["fairness/sex/auc_from_features"].value == pytest.approx(truth, abs=0.08)


def test_the_interval_of_an_area_covers() -> None:
    """200 samples of guesses with a known area: a standard error of 0.015."""
    from sonde.audits.quality.classification import _auc
    from sonde.audits.quality.intervals import bootstrap

    g, truth, held = np.random.default_rng(0), NormalDist().cdf(1 / math.sqrt(2)), 0
    for _ in range(200):
        codes = g.integers(2, size=200)
        p = 1 / (1 + np.exp(-g.normal(codes * 1.0)))
        statistic, _ = _auc(np.stack([1 - p, p], 1), codes)
        assert statistic is not None
        ends = bootstrap({"": statistic}, resamples=600)[""]
        held += ends is not None and ends[0] <= truth <= ends[1]
    assert held / 200 >= 0.91


def test_what_a_layer_removes_is_not_found_behind_it() -> None:
    blind = nn.Linear(4, 3)
    with torch.no_grad():
        blind.weight[:, 0] = 0.0
    of = hidden(2.0, nn.Sequential(blind, nn.Tanh(), nn.Linear(3, 2)))
    before = fingerprint(of.model)
    found = {m.name: m.value for m in asked(of).measures}
    assert found["fairness/sex/auc_from_representation"] < 0.6 < 0.85 < found["fairness/sex/auc_from_features"]
    assert fingerprint(of.model) == before
    assert not any(m._forward_pre_hooks for m in of.model.modules())


def test_no_hook_is_left_where_the_model_fails() -> None:
    net = nn.Linear(4, 2)
    with pytest.raises(ZeroDivisionError), _probe.listening(net):
        raise ZeroDivisionError
    assert not net._forward_pre_hooks


def table() -> Subject:
    from sonde.auditing import subject_of
    from sonde.bundle import Bundle
    from sonde.core import Build
    from sonde.objectives import Classify

    frame = people(700).with_columns(pay=people(700)["sex"].replace({"female": "blue", "male": "red"})).drop("tags")
    data = open_data(frame, "income", sensitive="sex", test=0.6)
    numeric, cards = len(data.schema.numeric), data.schema.cardinalities
    net = Build(TabM, outputs=2, numeric=numeric, cardinalities=cards, widths=(8,), members=3, bins=4)
    build = Build(Classify, net=net)
    return subject_of(Bundle.of(build().requires_grad_(False).eval(), build, data), data)


def test_the_strongest_column_is_named_and_the_column_itself_is_not_looked_at() -> None:
    found = asked(table())
    assert found.outcome == "done" and len(found.figures) == 1
    (shown,) = found.tables
    names = [row[0] for row in shown.rows]
    assert names[:3] == ["all other columns", "the model's last layer, which reads sex", "pay"] and "sex" not in names
    assert str(shown.rows[2][1]).startswith("1.000")
    m = {m.name: m for m in found.measures}
    assert (
        m["fairness/sex/auc_from_features"].value > 0.99
        and m["fairness/sex/auc_from_features"].settings["without"] == "sex"
    )


class Bare(nn.Module):
    """A model without a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2]


def test_a_model_without_layers_is_left_out_in_words() -> None:
    found = {m.name: m for m in asked(hidden(1.0, Bare())).measures}
    assert "no layer with weights" in found["fairness/sex/auc_from_representation"].settings["omitted"]
    assert found["fairness/sex/auc_from_features"].value > 0.6


def test_rows_are_drawn_from_every_group() -> None:
    of = hidden(1.0)
    of.rows().fields["sex"][40:] = 1  # type: ignore[index]
    of.rows().fields["sex"][:40] = 0  # type: ignore[index]
    found = asked(of, Proxies(rows=100))
    assert all(m.n <= 130 and m.settings["groups"] == 2 for m in found.measures)


def test_a_group_is_told_by_its_words() -> None:
    g = torch.Generator().manual_seed(0)
    dialect = torch.randint(2, (N,), generator=g)
    texts = [f"they {('went', 'done gone')[int(d)]} home {i % 7}" for i, d in enumerate(dialect)]
    subject = Subject.of(
        nn.Identity(), texts, torch.arange(N) % 2, groups={"dialect": (("a", "b"), dialect)},
        logits=lambda x: torch.zeros(len(x), 2),
    )  # fmt: skip
    measures = {m.name: m.value for m in asked(subject).measures}
    assert measures["fairness/dialect/auc_from_features"] > 0.99
