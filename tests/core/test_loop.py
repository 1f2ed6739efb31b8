"""The loop: the same bits as the loop one would write by hand, in the promised order, within its budget."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sonde.core import (
    Batch,
    Budget,
    Epoched,
    Finished,
    Grads,
    Loss,
    Method,
    Run,
    Settled,
    Started,
    Stepped,
    fit,
)
from sonde.data.rows import Rows
from sonde.methods import Descend, sgd
from sonde.objectives import Classify
from tests.support import PLAIN_SGD, SAM, Call, Watch, blobs, mlp, trained, weights

NETS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: mlp(4, 8, 3),
    "dropout": lambda: mlp(4, 8, 3, between=lambda n: nn.Dropout(0.5)),
    "batchnorm": lambda: mlp(4, 8, 3, between=nn.BatchNorm1d),
}
OPTIMISERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "adam": partial(torch.optim.Adam, lr=0.01),
    "fused": partial(torch.optim.AdamW, lr=0.01, fused=True),
}


# ---------------------------------------------------------------- oracle
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_equals_the_loop_one_would_write_by_hand_bit_for_bit(net: str, optimiser: str) -> None:
    torch.manual_seed(1)
    mine = NETS[net]()
    byhand = copy.deepcopy(mine)
    source = Rows(*blobs(), batch_size=24, seed=1)  # 24 does not divide 64: the last batch of an epoch is smaller
    state = torch.get_rng_state()
    run = fit(Run(Classify(mine), [Descend(OPTIMISERS[optimiser])]), source, Budget(steps=20))

    torch.set_rng_state(state)
    matrices = [p for p in byhand.parameters() if p.dim() > 1]
    others = [p for p in byhand.parameters() if p.dim() <= 1]
    opt = OPTIMISERS[optimiser]([{"params": matrices}, {"params": others, "weight_decay": 0.0}])
    byhand.train()
    for batch in islice(source.batches(None), 20):
        opt.zero_grad()
        F.cross_entropy(byhand(batch.x), batch.y).backward()
        opt.step()
    assert torch.equal(weights(run.objective), weights(byhand))


def test_a_source_without_randomness_of_its_own_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    list(islice(Rows(*blobs(), batch_size=16).batches(None), 9))
    assert torch.equal(state, torch.get_rng_state())


# ---------------------------------------------------------------- order
class Trace(Method):
    def __init__(self, seen: list[str], name: str = "") -> None:
        self.seen, self.name = seen, name

    def say(self, what: str) -> None:
        self.seen.append(what + self.name)

    def setup(self, run: Run) -> None:
        self.say("setup")

    def batch(self, run: Run, batch: Batch) -> Batch:
        self.say("batch")
        return batch

    def loss(self, at, loss: Loss) -> Loss:  # type: ignore[no-untyped-def]
        self.say("loss" if at.record else "probe")
        return loss

    def grads(self, run: Run, turn: str, grads: Grads) -> Grads:
        self.say("grads")
        return grads

    def project(self, run: Run, turn: str) -> None:
        assert not torch.is_grad_enabled()
        self.say("project")

    def on(self, run: Run, event: object) -> None:
        self.say(type(event).__name__)


def test_the_order_of_a_step() -> None:
    seen: list[str] = []
    fit(Run(Classify(mlp(4, 8, 3)), [Trace(seen), SAM()]), Rows(*blobs(16), batch_size=16), Budget(steps=1))
    assert seen == [
        *["setup", "Started"],
        *["batch", "probe", "grads", "loss", "grads", "project", "Stepped", "Epoched", "Settled"],
        *["Finished", "Settled"],
    ]


def test_within_a_hook_methods_act_in_the_order_of_the_list() -> None:
    seen: list[str] = []
    trained(Trace(seen, " a"), Trace(seen, " b"), steps=1)
    assert [s for s in seen if s.startswith("batch")] == ["batch a", "batch b"]
    assert seen.index("batch b") < seen.index("loss a") < seen.index("loss b") < seen.index("grads a")


@pytest.mark.parametrize("hook", ["batch", "loss", "grads", "weights"])
def test_a_hook_that_forgets_to_return_is_named(hook: str) -> None:
    forgetful = type("Forgetful", (Method,), {hook: lambda self, *given: None})
    with pytest.raises(TypeError, match=rf"Forgetful\.{hook}\(\) returned None; return the new value"):
        trained(forgetful(), steps=1).weights()


# ---------------------------------------------------------------- budgets
@pytest.mark.parametrize(
    "budget, steps",
    [
        (Budget(steps=7), 7),
        (Budget(epochs=2), 8),
        (Budget(epochs=0.5), 2),
        (Budget(epochs=0.01), 1),
        (Budget(steps=3, epochs=2), 3),
        (Budget(steps=300, epochs=1, seconds=3600), 4),
    ],
    ids=repr,
)
def test_training_ends_at_the_first_limit(budget: Budget, steps: int) -> None:
    run = Run(Classify(mlp(4, 3)), [sgd(0.1)])
    assert fit(run, Rows(*blobs(), batch_size=16), budget).step == steps


def test_a_time_budget_is_kept_over_all_resumptions() -> None:
    run = Run(Classify(mlp(4, 3)), [sgd(0.1), Call(Settled, 3, lambda run: setattr(run, "stop", "interrupted"))])
    fit(run, Rows(*blobs(), batch_size=16), Budget(seconds=3600))
    assert run.done == 3 and 0 < run.seconds < 3600
    run.seconds = 3600  # as if the machine had been slow
    fit(run, Rows(*blobs(), batch_size=16), Budget(seconds=3600))
    assert (run.step, run.stage) == (3, 1)


def test_a_time_budget_foresees_its_steps_so_that_schedules_reach_their_end() -> None:
    fractions: list[float] = []

    def schedule(step: int, total: int) -> float:
        fractions.append(step / total)
        return 1.0

    run = Run(Classify(mlp(4, 3)), [Descend(PLAIN_SGD, schedule)])
    fit(run, Rows(*blobs(), batch_size=16), Budget(seconds=0.3))
    assert fractions[-1] > 0.9 and max(fractions) <= 1.0


@pytest.mark.parametrize(
    "wrong",
    [{}, {"steps": 0}, {"epochs": -1}, {"seconds": 0.0}, {"steps": 5, "seconds": -1}, {"seconds": math.nan}],
    ids=repr,
)
def test_a_budget_without_a_positive_limit_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive number of steps, epochs or seconds"):
        Budget(**wrong)  # type: ignore[arg-type]


def test_a_budget_in_epochs_of_a_source_without_passes_is_refused() -> None:
    with pytest.raises(ValueError, match="source with passes"):
        Budget(epochs=1).steps_of(None)


class Three:
    """A source that ends after three batches."""

    steps_per_epoch = None

    def batches(self, run: Run | None, start: int = 0):  # type: ignore[no-untyped-def]
        x, y = blobs(8)
        yield from [Batch(x, y)] * (3 - start)


def test_a_source_that_ends_ends_the_stage() -> None:
    watch = Watch()
    run = trained(watch, source=Three(), steps=10)
    assert (run.step, run.stage) == (3, 1) and len(watch.of(Finished)) == 1 and not watch.of(Epoched)


# ---------------------------------------------------------------- stages
def test_each_call_is_a_stage_with_batches_from_the_beginning() -> None:
    watch = Watch()
    run = Run(Classify(mlp(4, 3)), [watch, sgd(0.1)])
    for _ in range(2):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=3))
    firsts = [e.batch.records for e in watch.of(Stepped)]  # type: ignore[attr-defined]
    assert (run.step, run.stage, run.done, run.seconds) == (6, 2, 0, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(firsts[:3], firsts[3:], strict=True))
    assert run.elapsed > 0 and len(watch.of(Started)) == len(watch.of(Finished)) == 2


def test_a_method_ends_the_stage_by_setting_stop_and_the_next_stage_goes_on() -> None:
    run = Run(Classify(mlp(4, 3)), [sgd(0.1), Call(Stepped, 2, lambda run: setattr(run, "stop", "enough"))])
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=9))
    assert (run.step, run.stage, run.stop) == (2, 1, "enough")
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=9))
    assert (run.step, run.stage, run.stop) == (11, 2, None)


def test_an_interrupted_stage_is_left_open_and_its_rest_gives_the_same_bits() -> None:
    def steps(interrupted: bool) -> torch.Tensor:
        torch.manual_seed(0)
        stop = Call(Settled, 4, lambda run: setattr(run, "stop", "interrupted"))
        methods = [Descend(OPTIMISERS["adam"]), *([stop] if interrupted else [])]
        run = Run(Classify(NETS["dropout"]()), methods)
        fit(run, Rows(*blobs(), batch_size=24), Budget(steps=11))
        if interrupted:
            assert (run.step, run.stage, run.done, run.interrupted) == (4, 0, 4, True)
            fit(run, Rows(*blobs(), batch_size=24), Budget(steps=11))
        assert (run.step, run.stage) == (11, 1)
        return weights(run.objective)

    assert torch.equal(steps(True), steps(False))


def test_an_interrupted_stage_settles_and_does_not_finish() -> None:
    watch = Watch()
    trained(watch, Call(Stepped, 2, lambda run: setattr(run, "stop", "interrupted")))
    assert not watch.of(Finished) and watch.events[-1] == Settled(final=True)


def test_epochs_count_from_one_within_the_stage() -> None:
    watch = Watch()
    run = Run(Classify(mlp(4, 3)), [watch, sgd(0.1)])
    for _ in range(2):
        fit(run, Rows(*blobs(), batch_size=24), Budget(epochs=2))
    assert [e.epoch for e in watch.of(Epoched)] == [1, 2, 1, 2]  # type: ignore[attr-defined]
