"""Family trees: the facts are those of the family, a probe finds what is there and nothing else, nets learn them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sonde.experiment import Check
from sonde.recipes.distributed_representations import (
    ATTRIBUTES,
    BRANCH,
    GENERATION,
    NAMES,
    NATIONALITY,
    RELATIONS,
    Family,
    Learned,
    as_rows,
    facts,
    findings,
    guess,
    learn,
    probe,
    right,
)


def known() -> dict[tuple[str, str], set[str]]:
    return {(NAMES[f.person], RELATIONS[f.relation]): {NAMES[a] for a in f.answers} for f in facts()}


def test_there_are_104_facts_and_the_families_are_alike() -> None:
    every = facts()
    first, second = every[:52], every[52:]
    assert len(every) == 104 and len(set(NAMES)) == 24
    for one, other in zip(first, second, strict=True):
        assert (one.person + 12, one.relation) == (other.person, other.relation)
        assert tuple(a + 12 for a in one.answers) == other.answers


def test_they_are_the_facts_of_the_paper() -> None:
    told = known()
    assert told["Colin", "father"] == {"James"} and told["Colin", "mother"] == {"Victoria"}
    assert told["Colin", "uncle"] == {"Arthur", "Charles"} and told["Charlotte", "aunt"] == {"Margaret", "Jennifer"}
    assert told["James", "sister"] == {"Jennifer"} and told["Emilio", "wife"] == {"Gina"}
    assert told["Margaret", "nephew"] == {"Colin"} and ("Arthur", "son") not in told
    assert told["Sophia", "brother"] == {"Alfonso"} and told["Christopher", "daughter"] == {"Victoria"}


@pytest.mark.parametrize(
    ("relations", "inverse"),
    [
        (("husband", "wife"), ("wife", "husband")),
        (("father", "mother"), ("son", "daughter")),
        (("brother", "sister"), ("brother", "sister")),
        (("uncle", "aunt"), ("nephew", "niece")),
    ],
)
def test_what_holds_one_way_holds_the_other(relations: tuple[str, str], inverse: tuple[str, str]) -> None:
    def pairs(names: tuple[str, str]) -> set[tuple[str, str]]:
        return {(a, b) for (a, relation), others in known().items() if relation in names for b in others}

    assert pairs(relations) == {(b, a) for a, b in pairs(inverse)} and pairs(relations)


def test_generations_and_branches_are_the_familys() -> None:
    told = known()
    for i, name in enumerate(NAMES):
        for relation in ("father", "mother"):
            for parent in told.get((name, relation), ()):
                assert GENERATION[NAMES.index(parent)] == GENERATION[i] - 1
                assert BRANCH[i] is None or BRANCH[NAMES.index(parent)] == BRANCH[i]
    assert NATIONALITY.count(1) == 12 and BRANCH.count(-1) == 10 == BRANCH.count(1)


def test_a_fact_is_right_if_all_its_answers_are_first() -> None:
    two = [f for f in facts() if len(f.answers) == 2][0]
    scores = torch.zeros(1, 24)
    scores[0, list(two.answers)] = torch.tensor([2.0, 1.0])
    assert right(scores, [two]) == [True]
    scores[0, (set(range(24)) - set(two.answers)).pop()] = 1.5
    assert right(scores, [two]) == [False]
    x, y = as_rows([two])
    assert x.sum() == 2 and y.sum() == 1 and y[0, two.answers[0]] == 0.5


def plain_probe(codes: Tensor, values: list[float]) -> float:
    """Leave one out by fitting again each time, on units standardised over all."""
    x = codes.double()
    x = torch.cat([(x - x.mean(0)) / x.std(0), torch.ones(len(x), 1, dtype=torch.float64)], 1)
    y, hits = torch.tensor(values, dtype=torch.float64), 0
    penalty = torch.eye(x.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 0
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        w = torch.linalg.solve(x[others].T @ x[others] + penalty, x[others].T @ y[others])
        hits += int(min(set(values), key=lambda level: abs(level - float(x[i] @ w))) == values[i])
    return hits / len(x)


def test_a_probe_leaves_each_person_out(generator: torch.Generator) -> None:
    codes = torch.rand(24, 6, generator=generator)
    codes[:, 2] += 0.3 * torch.tensor(GENERATION)
    assert probe(codes, GENERATION, 1)[0] == pytest.approx(plain_probe(codes, [float(g) for g in GENERATION]))


def test_a_probe_finds_what_is_there_and_nothing_else(generator: torch.Generator) -> None:
    for values in ATTRIBUTES.values():
        codes = torch.rand(24, 6, generator=generator)
        share, chance = probe(codes, values)
        assert share < 0.8 and 0.3 < chance.mean() < 0.6
        codes[:, 4] = torch.tensor([0.0 if v is None else v / 4 + 0.5 for v in values])
        assert probe(codes, values)[0] >= 0.95


@pytest.fixture(scope="module")
def learned() -> Learned:
    return learn(0, steps=700)


def test_a_net_learns_the_facts_and_codes_that_tell_the_nationality(learned: Learned) -> None:
    assert learned.seen > 0.6 and 0 <= learned.held_out <= 1
    assert probe(learned.net.codes(), NATIONALITY, 1)[0] > 0.9 > probe(Family().codes(), NATIONALITY, 1)[0]


def test_untrained_nets_refute_the_claim() -> None:
    nets = [Learned(Family(), 0.1, 0.0, 0.0) for _ in range(5)]
    found = [f for f in findings(nets, [n.net for n in nets], 0) if isinstance(f, Check)]
    assert not any(f.holds for f in found if "right" in f.measure.name or "gain" in f.measure.name)
    assert sum(f.holds for f in found if "read from" in f.measure.name) <= 1


def test_guessing_goes_by_the_relation_alone() -> None:
    every = facts()
    mothers = [f for f in every if RELATIONS[f.relation] == "mother"]
    same: Callable[[int], bool] = lambda i: mothers[i].answers == mothers[0].answers  # noqa: E731
    twins = [mothers[i] for i in range(len(mothers)) if same(i)]
    assert len(twins) == 2 and guess([twins[0]], [twins[1]]) == 1
    assert guess([twins[0]], [f for f in mothers if f.answers != twins[0].answers]) == 0
