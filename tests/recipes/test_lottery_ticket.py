"""Lottery tickets: what is left, what is watched, and nets of the same connections from other first weights."""

from __future__ import annotations

import pytest
import torch

from sonde.core import Batch, Budget, fit
from sonde.data.rows import Rows
from sonde.experiment import Check
from sonde.recipes.lottery_ticket import (
    EARLY,
    Tickets,
    drawn,
    find_tickets,
    findings,
    lenet_300_100,
    sparse_net,
    stranger,
)


def rows(generator: torch.Generator) -> Batch:
    y = torch.arange(40) % 10
    return Batch(0.2 * torch.rand(40, 1, 28, 28, generator=generator) + 0.08 * y.view(-1, 1, 1, 1), y)


@pytest.fixture(scope="module")
def found() -> Tickets:
    some = rows(torch.Generator().manual_seed(0))
    return find_tickets(some, some, 0, Budget(steps=5), rounds=3, watched=(2,), compared=(1,), batch_size=20)


def test_every_round_begins_without_two_fifths_of_what_is_left(found: Tickets) -> None:
    assert found.kept == pytest.approx([1, 0.6, 0.36])
    assert [sorted(run) for run in found.tickets] == [[2, 5]] * 3  # after two steps, and at the end
    assert [run is not None for run in found.strangers] == [False, True, False]
    assert all(0 <= error <= 100 for run in found.tickets for error in run.values())


def test_a_stranger_has_the_same_connections_and_other_weights(generator: torch.Generator) -> None:
    masks = {"net.hidden.0.weight": torch.rand(300, 784, generator=generator) < 0.2}
    first, second = (dict(sparse_net(masks, seed).named_parameters()) for seed in (1, 2))
    for weights in (first, second):
        assert torch.equal(weights["net.hidden.0.weight"] != 0, masks["net.hidden.0.weight"])
    assert not torch.equal(first["net.hidden.0.weight"], second["net.hidden.0.weight"])
    some = rows(generator)
    run, watch = stranger(masks, some, 1, (3,))
    fit(run, Rows(some.x, some.y, batch_size=20), Budget(steps=4))
    trained = dict(run.objective.named_parameters())["net.hidden.0.weight"]
    assert torch.equal(trained != 0, masks["net.hidden.0.weight"])  # and stays so
    assert not torch.equal(trained, first["net.hidden.0.weight"]) and sorted(watch.found[0]) == [3, 4]


def test_the_net_is_the_papers() -> None:
    assert sum(p.numel() for p in lenet_300_100().parameters()) == 266_610


def invented(ticket: float, other: float) -> list[Tickets]:
    """Errors of three seeds: the whole net's are 4 early and 2 at the end."""

    def run(early: float, end: float, seed: int) -> dict[int, float]:
        return {EARLY: early + 0.01 * seed, 938: end + 0.01 * seed * early}

    return [
        Tickets([1.0, 0.2], [run(4, 2, s), run(2 * ticket, ticket, s)], [None, run(2 * other, other, s)])
        for s in range(3)
    ]


def test_the_claims_hold_for_winners_alone() -> None:
    def held(tickets: list[Tickets]) -> list[bool]:
        return [f.holds for f in findings(tickets, rounds=(1,), fifth=1) if isinstance(f, Check)]

    assert held(invented(ticket=1.5, other=3.0)) == [True] * 5
    assert held(invented(ticket=3.0, other=3.0))[:2] == [False, False]
    assert held(invented(ticket=1.5, other=1.0)) == [True, True, False, False, False]
    assert drawn(invented(1.5, 3.0), rounds=(1,), fifth=1).svg.startswith("<?xml")
