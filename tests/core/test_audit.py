"""Running audits: what one does cannot touch the model, another's numbers, or what was already found."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from sonde.core import Audit, Audited, Clock, Measure, SondeError, Subject, Table, fingerprint, run_audits, unchanged
from sonde.core.finding import Shown
from tests.support import blobs, mlp


def subject(**more: object) -> Subject:
    torch.manual_seed(0)
    x, y = blobs(60)
    net = mlp(4, 8, 3, between=lambda n: nn.Dropout())
    return Subject.of(net, x, y, **more)  # type: ignore[arg-type]


def measure(value: float = 1.0, name: str = "toy/one") -> Measure:
    return Measure(name, value, "1", 1, "higher", "here")


class Toy(Audit):
    """Yields what it is given; an exception is raised where it stands."""

    def __init__(self, *findings: Shown | BaseException) -> None:
        self.findings = findings

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        for f in self.findings:
            if isinstance(f, BaseException):
                raise f
            yield f


class Refusing(Audit):
    def refuses(self, subject: Subject) -> str:
        return "it has no groups"


def one(*audits: Audit, **options: float) -> list[Audited]:
    return list(run_audits(subject(), audits, **options))  # type: ignore[arg-type]


def test_what_was_found_outlives_a_failure_and_the_next_audit_runs() -> None:
    found = one(Toy(measure(), ValueError("deep inside")), Toy(measure(2.0)))
    assert [a.outcome for a in found] == ["partial", "done"]
    assert found[0].reason == "ValueError: deep inside" and found[0].measures == (measure(),)
    assert found[1].measures[0].value == 2.0


@pytest.mark.parametrize(
    ("broken", "outcome", "reason"),
    [
        (Toy(ValueError("x")), "failed", "ValueError: x"),
        (Toy(SondeError("no rows of class 3", "give some")), "refused", "no rows of class 3"),
        (Refusing(), "refused", "it has no groups"),
    ],
)
def test_an_audit_that_finds_nothing_says_why(broken: Audit, outcome: str, reason: str) -> None:
    (found,) = one(broken)
    assert (found.outcome, found.reason, found.findings) == (outcome, reason, ())


def test_the_model_is_asked_in_evaluation_mode_and_left_as_it_was() -> None:
    s = subject()
    s.model.train()
    s.model[0].weight.requires_grad_(True)  # type: ignore[index, union-attr, operator]
    before = fingerprint(s.model)
    seen: list[bool] = []

    class Looking(Audit):
        def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
            seen.append(subject.model.training)
            seen.append(any(p.requires_grad for p in subject.model.parameters()))
            x = subject.rows().x.clone().requires_grad_()
            assert subject.logits is not None
            subject.logits(x).sum().backward()  # a gradient of the inputs can still be had
            yield measure(float(x.grad.abs().sum()))

    (found,) = run_audits(s, [Looking()])
    assert seen == [False, False] and found.measures[0].value > 0
    assert fingerprint(s.model) == before and s.model.training


def weights(model: nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters()).add_(1e-4)


def hook(model: nn.Module) -> None:
    model.register_forward_hook(lambda *_: None)


def mode(model: nn.Module) -> None:
    model.train()


@pytest.mark.parametrize("change", [weights, hook, mode])
def test_an_audit_that_changes_the_model_stops_everything(change: object) -> None:
    class Changing(Audit):
        def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
            change(subject.model)  # type: ignore[operator]
            yield measure()

    with pytest.raises(RuntimeError, match="Changing changed the model"):
        one(Changing())


def test_numbers_do_not_hang_on_which_audits_ran_before() -> None:
    class Drawing(Audit):
        def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
            yield measure(float(torch.rand(())))

    alone, after = one(Drawing()), one(Drawing(), Drawing())
    assert alone[0].measures == after[0].measures == after[1].measures
    assert one(Drawing(), seed=1)[0].measures != alone[0].measures
    s = subject()
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    list(run_audits(s, [Drawing()]))
    assert torch.rand(()) == expected  # the caller's generator was not moved


def test_a_budget_is_shared_by_cost_and_what_is_not_used_is_passed_on() -> None:
    class Sees(Audit):
        def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
            yield measure(clock.left)

    class Dear(Sees):
        cost = 3.0

    found = one(Sees(), Dear(), Sees(), budget=100.0)
    assert [a.measures[0].value for a in found] == [pytest.approx(s, abs=1) for s in (20, 75, 100)]
    assert one(Sees())[0].measures[0].value == math.inf


def test_a_spent_budget_refuses_the_rest_in_words() -> None:
    class Slow(Audit):
        def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
            time.sleep(0.1)
            yield measure()

    found = one(Slow(), Slow(), budget=0.05)
    assert [a.outcome for a in found] == ["done", "refused"] and "time budget" in found[1].reason


def test_an_interruption_keeps_what_was_found_and_is_passed_on() -> None:
    found: list[Audited] = []
    with pytest.raises(KeyboardInterrupt):
        for done in run_audits(subject(), [Toy(measure(), KeyboardInterrupt()), Toy(measure())]):
            found.append(done)
    assert [(a.outcome, a.reason, len(a.measures)) for a in found] == [("partial", "interrupted", 1)]


def test_progress_is_told_within_0_and_1() -> None:
    class Telling(Audit):
        def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
            for share in (0.0, 0.5, 1.5):
                clock.at(share)
            yield measure()

    told: list[float] = []
    list(run_audits(subject(), [Telling()], watch=lambda audit, share: told.append(share)))
    assert told == [0.0, 0.5, 1.0]


def test_answers_are_asked_once_and_equal_the_model() -> None:
    s = subject()
    calls = 0
    inner = s.predict

    def counting(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return inner(x)

    s = Subject("s", "classification", s.model, counting, s.splits, classes=s.classes, rows_at_once=25)
    with unchanged(s.model):
        assert torch.equal(s.answers(), s.answers()) and calls == 3  # 60 rows, 25 at a time
        torch.testing.assert_close(s.answers(), s.model(s.rows().x).softmax(1))
        assert torch.equal(s.decisions(), s.answers().argmax(1))


def test_a_missing_split_is_named() -> None:
    with pytest.raises(SondeError, match="has no val rows\n  the splits that have rows: test"):
        subject().rows("val")


def test_a_model_of_another_library_is_taken_as_it_is() -> None:
    class Out:
        def __init__(self, logits: torch.Tensor) -> None:
            self.logits = logits

    class TheirModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, pixel_values: torch.Tensor) -> Out:
            return Out(self.head(pixel_values))

    x = {"pixel_values": torch.randn(5, 4)}
    s = Subject.of(TheirModel(), x, torch.zeros(5, dtype=torch.int64), groups={"sex": (("f", "m"), torch.ones(5))})
    assert s.classes == ("0", "1") and s.scores().shape == (5, 2)
    assert s.answers().sum(1).allclose(torch.ones(5)) and s.groups == {"sex": ("f", "m")}
    with pytest.raises(SondeError, match="2 numbers a row, and the classes are 3"):
        Subject.of(TheirModel(), x, torch.zeros(5), classes=("a", "b", "c"))


def test_a_table_whose_rows_do_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="a cell for each"):
        Table("t", "", ("a", "b"), ((1,),))


def test_fingerprint_sees_integer_buffers() -> None:
    net = nn.BatchNorm1d(3)
    before = fingerprint(net)
    net.num_batches_tracked += 1  # type: ignore[assignment, operator]
    assert fingerprint(net) != before


def test_the_task_of_a_module_is_read_off_its_rows() -> None:
    x = torch.randn(8, 4)
    three, one = nn.Linear(4, 3), nn.Linear(4, 1)
    classes = Subject.of(three, x, torch.arange(8) % 3)
    labels = Subject.of(three, x, torch.randint(2, (8, 3)), classes=("a", "b", "c"))
    numbers = Subject.of(three, x, torch.randn(8, 3))
    number = Subject.of(nn.Sequential(one, nn.Flatten(0)), x, torch.randn(8))
    assert [s.task for s in (classes, labels, numbers, number)] == [
        "classification", "multilabel", "regression", "regression",
    ]  # fmt: skip
    torch.testing.assert_close(labels.answers(), three(x).sigmoid().detach())
    torch.testing.assert_close(numbers.answers(), three(x).detach())
    assert number.answers().shape == number.rows().y.shape == (8, 1)
    two = Subject.of(one, x, torch.arange(8) % 2)
    torch.testing.assert_close(two.answers()[:, 1:], one(x).sigmoid().detach())


def test_rows_that_do_not_fit_the_module_are_told_of() -> None:
    x, net = torch.randn(4, 4), nn.Linear(4, 3)
    with pytest.raises(SondeError, match="row 2 of the test rows is of class 3, and there are classes 0 to 2"):
        Subject.of(net, x, torch.tensor([0, 1, 3, 2]))
    with pytest.raises(SondeError, match="4 test rows have 3 labels"):
        Subject.of(net, x, torch.tensor([0, 1, 2]))
    with pytest.raises(SondeError, match=r"asked about 2 rows, the model answers with a tensor of shape \(2, 3, 1\)"):
        Subject.of(nn.Sequential(net, nn.Unflatten(1, (3, 1))), x, torch.zeros(4).long())
    with pytest.raises(SondeError, match="3 numbers a row, and the targets are 1"):
        Subject.of(net, x, torch.tensor([0.0, 1, 1, 0]))


def test_a_model_of_texts_is_asked_with_lists_of_strings() -> None:
    seen = []

    def logits(texts: list[str]) -> torch.Tensor:
        assert isinstance(texts, list) and all(type(t) is str for t in texts)
        seen.append(len(texts))
        return torch.tensor([[0.0, float("good" in t)] for t in texts])

    s = Subject.of(nn.Identity(), ["good", "bad", "so good"], torch.tensor([1, 0, 1]), logits=logits)
    assert s.kind == "text" and s.answers().argmax(1).tolist() == [1, 0, 1] and seen == [2, 3]
    assert list(s.names["test"]) == ["good", "bad", "so good"]
