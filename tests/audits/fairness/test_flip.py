"""The flip test: what a model reads of the sensitive column shows, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sonde.audits.fairness import FlipTest
from sonde.core import Audited, Batch, Subject, run_audits
from sonde.data.columns import Column
from sonde.data.groups import Groups
from sonde.data.tables import TableSchema
from sonde.data.targets import Target

SEXES = ("female", "male")
N = 400


class Rule(nn.Module):
    """Logits from three numbers: age, hours, and how much being a man adds."""

    def __init__(self, male: float, age: float = 0.0) -> None:
        super().__init__()
        self.male, self.age = male, age

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        score = x["numeric"][:, 1] + self.age * x["numeric"][:, 0] + self.male * (x["categorical"][:, 0] == 2)
        return torch.stack([-score, score], 1)


def table(rule: nn.Module, columns: tuple[str, ...] = ("age", "hours", "sex")) -> Subject:
    g = torch.Generator().manual_seed(0)
    sex, numeric = torch.randint(2, (N,), generator=g), torch.randn(N, 2, generator=g)
    x = {"numeric": numeric, "categorical": sex[:, None] + 1}
    made = (Column("age", "numeric"), Column("hours", "numeric"), Column("sex", "categorical", SEXES))
    fields = (Groups("sex", SEXES), Groups("age", ("under 0", "0 and over"), (0.0,)))
    schema = TableSchema(
        tuple(c for c in made if c.name in columns), Target("classification", ("paid",), ("no", "yes")), fields
    )
    groups = {"sex": sex, "age": (numeric[:, 0] >= 0).long()}
    return Subject(
        name="people",
        task="classification",
        model=rule,
        predict=lambda x: rule(x).softmax(1),
        splits={"test": Batch(x, torch.randint(2, (N,), generator=g), torch.arange(N), groups)},
        classes=("no", "yes"),
        kind="table",
        groups=schema.groups,
        schema=schema,
    )


def asked(of: Subject, audit: FlipTest | None = None) -> Audited:
    (found,) = run_audits(of, [audit or FlipTest()])
    return found


def test_the_rate_is_the_share_of_rows_whose_score_is_within_what_the_column_adds() -> None:
    of = table(Rule(male=0.5))
    found = asked(of)
    m = {m.name: m for m in found.measures}
    score, male = of.rows().x["numeric"][:, 1], of.rows().x["categorical"][:, 0] == 2
    plain = torch.where(male, score + 0.5, score)
    other = torch.where(male, score, score + 0.5)
    assert m["fairness/sex/flip_rate"].value == pytest.approx(float(((plain > 0) != (other > 0)).float().mean()))
    ends = m["fairness/sex/flip_rate"].interval
    assert ends is not None and ends[0] < m["fairness/sex/flip_rate"].value < ends[1]
    assert m["fairness/age/flip_rate"].value == 0.0 and m["fairness/age/flip_effect"].value == 0.0
    moved = (torch.sigmoid(2 * plain) - torch.sigmoid(2 * other)).abs().mean()
    assert m["fairness/sex/flip_effect"].value == pytest.approx(float(moved), abs=1e-6)
    table_of = next(t for t in found.tables if t.columns[0] == "sex set to")
    as_men = next(row for row in table_of.rows if row[0] == "male")
    assert str(as_men[4]).startswith("0.0 %") and not str(as_men[3]).startswith(
        "0.0 %"
    )  # nobody loses by being called a man


def test_a_number_is_set_to_the_middle_of_each_group() -> None:
    m = {m.name: m.value for m in asked(table(Rule(male=0.0, age=1.0))).measures}
    assert m["fairness/sex/flip_rate"] == 0.0 and 0.2 < m["fairness/age/flip_rate"] < 0.8


def test_rows_without_numbers_for_an_answer_are_no_flips() -> None:
    class Lost(Rule):
        def forward(self, x: Mapping[str, Tensor]) -> Tensor:
            return super().forward(x) + torch.where(x["categorical"] == 2, torch.nan, 0.0)

    found = {m.name: m for m in asked(table(Lost(male=0.5))).measures}
    assert found["fairness/age/flip_rate"].settings["unanswered"] > 0
    assert found["fairness/sex/flip_rate"].settings.get("omitted") or found["fairness/sex/flip_rate"].value == 0.0


def test_a_model_that_does_not_read_the_column_is_refused_in_words() -> None:
    refused = asked(table(Rule(male=0.0), columns=("hours",)))
    assert refused.outcome == "refused" and "does not read sex, age" in refused.reason
    bare = Subject.of(
        nn.Linear(4, 2), torch.randn(40, 4), torch.zeros(40).long(), groups={"s": (SEXES, torch.arange(40) % 2)}
    )
    refused = asked(bare)
    assert refused.outcome == "refused" and "not a table" in refused.reason


def test_a_rule_for_groups_is_flipped_where_the_net_does_not_read_them() -> None:
    def decide(rows: Batch) -> Tensor:
        return (rows.x["numeric"][:, 1] > rows.fields["sex"] * 0.5).long()

    of = replace(table(Rule(male=0.0), columns=("hours",)), decide=decide)
    m = {m.name: m.value for m in asked(of).measures}
    score = of.rows().x["numeric"][:, 1]
    assert m["fairness/sex/flip_rate"] == pytest.approx(float(((score > 0) & (score <= 0.5)).float().mean()))
    assert m["fairness/age/flip_rate"] == 0.0


def test_a_value_that_few_rows_have_is_not_set() -> None:
    found = asked(table(Rule(male=0.5)), FlipTest(minimum=300))
    assert all(m.settings["omitted"].startswith("fewer than two values that 300 rows have") for m in found.measures)
