"""Replay and DER++: the loss by hand, what is remembered, and what rows keep."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sonde.core import Backprop, Batch, Budget, Loss, fit
from sonde.methods import DarkReplay, Replay, Shift
from tests.methods.continual.stages import accuracy, experiences, learn, start
from tests.support import Watch, blobs, weights


def step(method: Replay | DarkReplay) -> tuple[Batch, Batch, Loss, object]:
    """One stage, then a batch of the next as the method makes it, with the loss on it."""
    run = start(method)
    fit(run, experiences()[0], Budget(steps=6))
    run.stage, run.done = 1, 0
    new = next(experiences()[1].batches(None))
    made = method.batch(run, new)
    return new, made, run.loss("model", run.params("model"), made), run


def test_replayed_rows_count_as_a_mean_of_their_own() -> None:
    method = Replay(capacity=20, rows=5, strength=0.7)
    new, made, loss, run = step(method)
    assert len(made) == 21 and torch.equal(made.x[:16], new.x)
    ce = F.cross_entropy(run.objective.net(made.x), made.y, reduction="none")  # type: ignore[attr-defined]
    assert torch.allclose(loss.total(), ce[:16].mean() + 0.7 * ce[16:].mean())


def test_remembered_rows_keep_their_record_ids() -> None:
    _, made, _, _ = step(Replay(capacity=20, rows=5))
    x, y = blobs(48)
    assert made.records is not None
    assert torch.equal(made.x[16:], x[made.records[16:]]) and torch.equal(made.y[16:], y[made.records[16:]])


def test_dark_replay_is_equation_6() -> None:
    method = DarkReplay(capacity=20, rows=5, alpha=0.3, beta=0.6)
    new, made, loss, run = step(method)
    z = run.objective.net(made.x)  # type: ignore[attr-defined]
    held = {tuple(row.tolist()): logits for row, logits in zip(method.memory.rows["x"], _logits(method), strict=True)}
    stored = torch.stack([held[tuple(row.tolist())] for row in made.x[16:21]])
    ce = F.cross_entropy(z, made.y, reduction="none")
    by_hand = ce[:16].mean() + 0.3 * (z[16:21] - stored).square().sum(1).mean() + 0.6 * ce[21:].mean()
    assert len(made) == 26 and torch.allclose(loss.total(), by_hand, rtol=1e-5)


def _logits(method: DarkReplay) -> torch.Tensor:
    return method.memory.rows["fields.replay logits"]


def test_the_logits_kept_are_those_of_the_step_in_which_the_row_was_met() -> None:
    method, watch = DarkReplay(capacity=48, rows=4), Watch()
    run = start(method, watch)
    before = {k: v.clone() for k, v in run.objective.state_dict().items()}
    fit(run, experiences()[0], Budget(steps=1))
    run.objective.load_state_dict(before)
    rows = method.memory.rows
    assert torch.equal(rows["fields.replay logits"], run.objective.net(rows["x"]).detach())


@pytest.mark.parametrize("method", [lambda: Replay(20, 8), lambda: DarkReplay(20, 8)])
def test_microbatches_change_nothing_but_rounding(method) -> None:  # type: ignore[no-untyped-def]
    whole, parts = learn(start(method())), learn(start(method(), Backprop(microbatch=7)))
    assert torch.allclose(weights(whole.objective), weights(parts.objective), atol=1e-5)


def test_a_record_is_offered_once_however_often_it_is_seen() -> None:
    method = Replay(capacity=1000, rows=4)
    fit(start(method), experiences()[0], Budget(epochs=3))
    assert sorted(method.memory.rows["records"].tolist()) == list(range(48))


def test_what_is_remembered_is_not_yet_augmented() -> None:
    from tests.laws.examples import Pictures
    from tests.laws.test_methods import Reader, rows

    method = Replay(capacity=22, rows=4)
    run = start(method, Shift(0.3), net=Reader)
    fit(run, rows(), Budget(epochs=1))
    data = Pictures()
    assert torch.equal(method.memory.rows["x"], data.x[method.memory.rows["records"]])


@pytest.mark.parametrize("method", [lambda: Replay(60, 16), lambda: DarkReplay(60, 16)])
def test_it_remembers_what_plain_training_forgets(method) -> None:  # type: ignore[no-untyped-def]
    first, second = experiences(200)
    kept = [
        accuracy(learn(start(*methods), [first, second], steps=150), first.whole.x, first.whole.y)
        for methods in ([], [method()])
    ]
    assert kept[1] > kept[0] + 0.15


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for make in (lambda: Replay(rows=0), lambda: Replay(strength=-1.0), lambda: DarkReplay(alpha=-1.0)):
        with pytest.raises(ValueError):
            make()
