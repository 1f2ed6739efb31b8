"""`sonde methods --matrix`: the triangle, the refusals below it, and what it says as JSON."""

from __future__ import annotations

import pytest

from sonde import matrix
from sonde.cli.grid import grid, read
from sonde.matrix import Cell
from sonde.methods import Clip, EarlyStopping, LabelSmoothing, MixUp, Validate, sgd
from sonde.methods.optimise.descend import Descend
from tests.cli.command import Sonde, in_process

FEW = (Clip, EarlyStopping, LabelSmoothing, MixUp, Validate)


@pytest.fixture
def sonde(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Sonde:
    monkeypatch.setattr(matrix, "methods", lambda: FEW)
    return in_process(capsys)


def test_every_pair_has_a_character_and_every_refusal_its_words(sonde: Sonde) -> None:
    answer = sonde("methods", "--matrix", "--objective", "regression")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0] == "regression: of 10 pairs of 5 methods 6 train (·), 4 are refused (a letter)"
    said = read(lines)
    assert len(said) == 15 and said["EarlyStopping", "Validate"] == "trains"
    assert said["LabelSmoothing", "LabelSmoothing"] == said["Clip", "LabelSmoothing"] == "refused"
    assert "LabelSmoothing with any" in answer.out and "needs a classification objective" in answer.out


def test_all_objectives_are_tried_unless_one_is_named(sonde: Sonde) -> None:
    answer = sonde("methods", "--matrix", "--json")
    cells = answer.data
    assert {c["objective"] for c in cells} == set(matrix.trials()) and len(cells) == 4 * 15
    refused = next(c for c in cells if c["outcome"] == "refused")
    assert refused["reason"] and refused["remedy"]


def test_an_unknown_objective_is_answered_with_the_nearest(sonde: Sonde) -> None:
    answer = sonde("methods", "--matrix", "--objective", "gann")
    assert answer.code != 0 and "did you mean 'gan'?" in answer.err


def test_the_triangle_stays_within_100_columns_for_sixty_methods() -> None:
    names = [f"Method{chr(65 + i // 26)}{chr(97 + i % 26)}{'x' * (i % 12)}" for i in range(60)]
    cells = [Cell(n, n, "gan", "trains") for n in names]
    cells += [
        Cell(a, b, "gan", "refused" if (i + j) % 7 == 0 else "trains", f"{a} and {b} both", f"remove {a}")
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i < j
    ]
    lines = grid(cells)
    assert max(map(len, lines)) <= 100
    said = read(lines)
    assert all(said[min(c.first, c.second), max(c.first, c.second)] == c.outcome for c in cells)
    assert sum("A and B both; remove A" in line for line in lines) == 1  # one reason, however many pairs


def test_a_method_that_is_refused_alone_is_said_once_with_the_company_it_needs() -> None:
    cells = [Cell("A1", "A1", "gan", "refused", "A1 lacks", "add B1"), Cell("B1", "B1", "gan", "trains")]
    cells += [Cell("C1", "C1", "gan", "trains"), Cell("A1", "B1", "gan", "trains")]
    cells += [Cell("A1", "C1", "gan", "refused", "A1 lacks", "add B1"), Cell("B1", "C1", "gan", "trains")]
    assert grid(cells)[-2:] == ["a  A1 lacks; add B1", "     A1 with any but B1"]


def test_a_defect_is_shown_as_one() -> None:
    cells = [Cell("A1", "A1", "gan", "trains"), Cell("B1", "B1", "gan", "trains")]
    lines = grid([*cells, Cell("A1", "B1", "gan", "fails", "KeyError: x")])
    assert "1 fail (!)" in lines[0] and lines[-2:] == ["!  KeyError: x", "     A1 + B1"]


class Crash(Clip):
    """Breaks in its first step."""

    def grads(self, *given: object) -> dict:  # type: ignore[override,type-arg]
        raise KeyError("oops")


class Late(Clip):
    """Refuses after a step was taken."""

    def on(self, run, event) -> None:  # type: ignore[no-untyped-def]
        if run.step == 2:
            from sonde.core import Refused

            raise Refused("Late has seen enough", "leave Late out")


class Still(Descend):
    """Moves nothing."""

    def update(self, run, turn, gradient) -> None:  # type: ignore[no-untyped-def]
        gradient()


@pytest.mark.parametrize(
    "kind, words",
    [(Crash, "KeyError: 'oops'"), (Late, "after parameters had moved: Late has seen enough"), (Still, "no parameter")],
)
def test_what_is_neither_trained_nor_refused_in_time_fails(kind: type, words: str) -> None:
    made = matrix.attempt([kind], matrix.trials()["classification"], lambda k, t, f: k(*[sgd(0.1).make] * (k is Still)))
    assert made.outcome == "fails" and words in made.reason
