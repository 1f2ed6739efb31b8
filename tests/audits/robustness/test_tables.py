"""Tables attacked: against every combination tried one by one, and only ever with values that could stand there."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sonde.attacks.tables import Cell, changed, flips
from sonde.audits.robustness.tables import TableAttack, cells_of
from sonde.core import Measure, SondeError, Subject, run_audits
from sonde.core.finding import Table
from sonde.data.columns import Column
from sonde.data.tables import TableSchema
from sonde.data.targets import Target

TARGET = Target("classification", ("paid",), ("no", "yes"))
SCHEMA = TableSchema(
    (
        Column("age", "numeric"),
        Column("job", "categorical", ("baker", "cook", "smith")),
        Column("member", "boolean"),
        Column("since", "date", parts=("days", "month", "weekday")),
        Column("town", "categorical", ("here", "there")),
    ),
    TARGET,
)


MIDDLE = torch.tensor([45.0, 0.5, 2000.0, 6.0, 4.0])


class Net(nn.Module):
    """A random net over numbers and codes."""

    def __init__(self, numbers: int = 5, codes: int = 2, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.codes = nn.ModuleList(nn.Embedding(4, 3) for _ in range(codes))
        self.net = nn.Sequential(nn.Linear(numbers + 3 * codes, 8), nn.Tanh(), nn.Linear(8, 2))
        nn.init.zeros_(self.net[2].bias)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        parts = [e(c) for e, c in zip(self.codes, categorical.T, strict=True)]
        return self.net(torch.cat([(numeric.nan_to_num(0.0) - MIDDLE) / MIDDLE, *parts], 1))


def rows(n: int = 40, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    days = torch.randint(0, 4000, (n, 1), generator=g).float()
    numbers = [torch.randint(18, 80, (n, 1), generator=g), torch.randint(0, 2, (n, 1), generator=g), days]
    numbers += [days // 30 % 12 + 1, days % 7 + 1]
    codes = [torch.randint(0, k + 1, (n, 1), generator=g) for k in (3, 2)]
    return {"numeric": torch.cat([t.float() for t in numbers], 1), "categorical": torch.cat(codes, 1)}


def subject(n: int = 40, seed: int = 0) -> Subject:
    x, net = rows(n, seed), Net(seed=seed)
    y = net(**x).argmax(1)
    made = Subject.of(net, x, y, classes=("no", "yes"), kind="table")
    return replace(made, schema=SCHEMA)


def judged(net: nn.Module, x: dict[str, Tensor]):  # type: ignore[no-untyped-def]
    was = net(**x).argmax(1)

    def judge(some: dict[str, Tensor], of: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            p = net(**some).double().softmax(1)
        own = p.gather(1, was[of][:, None]).squeeze(1)
        return 2 * own - 1, p.argmax(1) != was[of]

    return judge


def by_force(net: nn.Module, x: dict[str, Tensor], cells: list[Cell], row: int, most: int) -> int:
    """The least number of cells that flips a row, every combination tried; 0 if none does."""
    was = net(**{k: v[row : row + 1] for k, v in x.items()}).argmax(1)
    for k in range(1, most + 1):
        for chosen in itertools.combinations(range(len(cells)), k):
            options = [[j for j in range(cells[c].options.shape[1]) if cells[c].allowed[row, j]] for c in chosen]
            for ways in itertools.product(*options):
                v = changed(x, cells, torch.tensor([row]), [list(zip(chosen, ways, strict=True))])
                if net(**v).argmax(1) != was:
                    return k
    return 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_beam_that_keeps_everything_finds_what_force_finds(seed: int) -> None:
    net, x = Net(seed=seed), rows(12, seed)
    cells = cells_of(SCHEMA, rows(30, 7), x, 0.2, 1)
    expected = [by_force(net, x, cells, i, 3) for i in range(12)]
    for beam in (10**6, 2, 1):
        found = flips(judged(net, x), x, cells, most=3, beam=beam)
        least = [len(f.changes) for f in found]
        if beam > 2:
            assert least == expected and len(set(expected)) > 1
        assert all(mine == 0 or mine >= best > 0 for mine, best in zip(least, expected, strict=True))
        assert [any(f.alone) for f in found] == [k == 1 for k in expected]


def test_every_flip_is_one_and_changes_what_it_says() -> None:
    net, x = Net(), rows(30)
    cells = cells_of(SCHEMA, x, x, 0.1, 2)
    found = flips(judged(net, x), x, cells)
    hit = [i for i, f in enumerate(found) if f.changes]
    assert hit
    v = changed(x, cells, torch.tensor(hit), [found[i].changes for i in hit])
    assert (net(**v).argmax(1) != net(**x).argmax(1)[hit]).all()
    for k, i in enumerate(hit):
        touched = {cells[c].name for c, _ in found[i].changes}
        assert len(touched) == len(found[i].changes)
        assert bool((v["categorical"][k, 0] != x["categorical"][i, 0]).item()) == ("job" in touched)
        assert bool((v["numeric"][k, 2:] != x["numeric"][i, 2:]).any()) == ("since" in touched)


def test_only_what_could_stand_there_is_tried() -> None:
    x, known = rows(50), rows(60, 5)
    x["numeric"][0, 0] = float("nan")
    cells = {cell.name: cell for cell in cells_of(SCHEMA, known, x, 0.1, 2, fixed=("town",))}
    assert list(cells) == ["age", "job", "member", "since"]
    job, age, since = cells["job"], cells["age"], cells["since"]
    assert set(job.options.flatten().tolist()) == {1, 2, 3}
    assert not job.allowed[x["categorical"][:, 0] == 0].any()  # what is missing stays missing
    assert (job.allowed.sum(1) == torch.where(x["categorical"][:, 0] > 0, 2, 0)).all()
    assert not age.allowed[0].any()
    assert set(age.options[age.allowed].flatten().tolist()) <= set(known["numeric"][:, 0].tolist())
    ranks = (known["numeric"][:, 0][:, None] <= age.options[1:, :, 0].flatten()).double().mean(0).view(49, 4)
    mine = (known["numeric"][:, 0][:, None] <= x["numeric"][1:, 0]).double().mean(0)
    assert ((ranks - mine[:, None]).abs()[age.allowed[1:]] < 0.1 * 2 + 0.1).all()
    assert torch.equal(cells["member"].options[:, 0, 0], 1 - x["numeric"][:, 1])
    dates = {tuple(d) for d in known["numeric"][:, 2:].tolist()}
    assert {tuple(d) for d in since.options[since.allowed].tolist()} <= dates  # their parts stay together


def measured(one: Subject, audit: TableAttack) -> tuple[dict[str, Measure], dict[str, Table]]:
    (done,) = run_audits(one, [audit])
    assert done.outcome == "done", done.reason
    return {m.name.removeprefix("robustness/table_attack/"): m for m in done.measures}, {t.name: t for t in done.tables}


def test_the_audit_tells_the_shares_the_columns_and_examples() -> None:
    measures, tables = measured(subject(), TableAttack())
    shares = [measures[f"{word}/flipped_share"].value for word in ("one_cell", "two_cells", "three_cells")]
    assert 0 < shares[0] <= shares[1] <= shares[2] and measures["one_cell/flipped_share"].n == 40
    alone = {row[0]: row[1] for row in tables["table_columns"].rows}
    assert max(alone.values()) <= shares[0] <= sum(alone.values()) + 1e-6
    assert any("→" in str(row[0]) for row in tables["table_flips"].rows)
    assert all(row[1] != row[2] for row in tables["table_flips"].rows)


def test_a_column_that_is_fixed_is_never_changed() -> None:
    free = measured(subject(), TableAttack())[0]["three_cells/flipped_share"].value
    held, tables = measured(subject(), TableAttack(fixed=("job", "age")))
    assert held["three_cells/flipped_share"].value <= free
    assert not {"job", "age"} & {row[0] for row in tables["table_columns"].rows}
    assert "none of its columns" in TableAttack(fixed=("salary",)).refuses(subject())
    assert "every column" in TableAttack(fixed=tuple(c.name for c in SCHEMA.columns)).refuses(subject())


def test_a_model_of_one_column_is_flipped_by_that_one() -> None:
    class Job(nn.Module):
        def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
            z = torch.tensor([0.0, -1.0, 1.0, 1.0])[categorical[:, 0]] + 0 * numeric.nansum(1)
            return torch.stack([-z, z], 1)

    x = rows()
    one = replace(Subject.of(Job(), x, torch.zeros(40).long(), classes=("no", "yes"), kind="table"), schema=SCHEMA)
    measures, tables = measured(one, TableAttack(cells=1))
    there = float((x["categorical"][:, 0] > 0).double().mean())
    assert measures["one_cell/flipped_share"].value == pytest.approx(there)
    assert tables["table_columns"].rows[0][:2] == ("job", round(there, 4))


def test_what_is_no_table_is_refused_and_settings_are_checked() -> None:
    assert "columns are known" in TableAttack().refuses(replace(subject(), schema=None))
    assert "regression" in TableAttack().refuses(replace(subject(), task="regression"))
    assert "one class" in TableAttack().refuses(replace(subject(), classes=("no",)))
    with pytest.raises(SondeError, match="tries nothing"):
        TableAttack(cells=0)


def test_names_that_look_like_formulas_are_drawn_as_they_are() -> None:
    hostile = TableSchema((Column("$\\frac{$<b>", "numeric"), *SCHEMA.columns[1:]), TARGET)
    (done,) = run_audits(replace(subject(), schema=hostile), [TableAttack(cells=1)])
    assert done.outcome == "done" and "<b>" not in done.figures[0].svg
