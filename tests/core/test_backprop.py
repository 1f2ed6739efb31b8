"""Backpropagation: microbatches, mixed precision, and stopping at what is not finite."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sonde.core import (
    Backprop,
    Batch,
    Budget,
    Engine,
    Failed,
    Loss,
    Method,
    NonFinite,
    Objective,
    Run,
    SondeError,
    Term,
    fit,
    read_state,
)
from sonde.data.rows import Rows
from sonde.methods import Checkpoint, Clip, LabelSmoothing, sgd
from sonde.objectives import Classify, Multilabel, Regress
from tests.support import L2, SAM, Joint, Watch, blobs, mlp, trained, weights

Make = Callable[[], Objective]
Y: dict[str, Callable[[Tensor], Tensor]] = {
    "classify": lambda y: y,
    "multilabel": lambda y: nn.functional.one_hot(y, 3).double(),
    "regress": lambda y: nn.functional.one_hot(y, 3).double() - 5,
}
OBJECTIVES: dict[str, Make] = {
    "classify": lambda: Classify(mlp(4, 8, 3)),
    "multilabel": lambda: Multilabel(mlp(4, 8, 3)),
    "regress": lambda: Regress(mlp(4, 8, 3), targets=3),
}


def doubled(objective: str, n: int = 21, fields: dict[str, Tensor] | None = None) -> tuple[Objective, Batch]:
    torch.manual_seed(0)
    x, y = blobs(n)
    return OBJECTIVES[objective]().double(), Batch(x.double(), Y[objective](y), torch.arange(n), fields or {})


# ---------------------------------------------------------------- microbatches
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("size", [1, 4, 7, 20])
def test_microbatches_give_the_gradient_of_the_whole_batch(objective: str, size: int) -> None:
    make, batch = doubled(objective, fields={"weight": torch.rand(21, dtype=torch.float64)})
    whole = Run(make, [L2(), sgd(0.1)]).gradient("model", batch)
    whole = {k: g.clone() for k, g in whole.items()}
    run = Run(make, [L2(), Backprop(microbatch=size), sgd(0.1)])
    parts = run.gradient("model", batch)
    assert whole.keys() == parts.keys()
    for k, g in parts.items():
        torch.testing.assert_close(g, whole[k], rtol=1e-12, atol=1e-12)
    loss = run.losses["model"]
    assert len(loss.terms["task"].value) == 21 and math.isfinite(loss.total().item())


def test_a_penalty_is_added_once_and_not_once_a_microbatch() -> None:
    objective, batch = doubled("classify")
    runs = [Run(copy.deepcopy(objective), [L2(1e3), Backprop(m), sgd(0.1)]) for m in (0, 3)]
    one, several = (run.gradient("model", batch) for run in runs)
    for k, g in one.items():
        torch.testing.assert_close(several[k], g, rtol=1e-12, atol=1e-12)
    assert runs[0].losses["model"].total().item() == pytest.approx(runs[1].losses["model"].total().item(), abs=1e-9)


def test_microbatches_of_a_part_divide_by_what_the_whole_divides_by() -> None:
    objective, batch = doubled("classify")
    runs = [Run(copy.deepcopy(objective), [Backprop(m), sgd(0.1)]) for m in (0, 5)]
    shard = Batch(batch.x, batch.y, batch.records, denominator=50.0)
    one, several = (run.gradient("model", shard) for run in runs)
    for k, g in one.items():
        torch.testing.assert_close(several[k], g, rtol=1e-12, atol=1e-12)


def test_microbatches_cannot_give_a_term_over_all_rows() -> None:
    with pytest.raises(SondeError, match=r"microbatches cannot give the terms \['spread'\](.|\n)*leave Backprop"):
        trained(Joint(), Backprop(microbatch=4))


def test_a_negative_microbatch_is_refused() -> None:
    with pytest.raises(ValueError, match="0 for the whole batch; got -1"):
        Backprop(-1)


# ---------------------------------------------------------------- not finite
def poisoned(value: float = math.nan) -> Rows:
    """Rows of which number 37 is not finite."""
    x, y = blobs()
    x[37] = value
    return Rows(x, y, batch_size=16)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("extra", [list, lambda: [Backprop(microbatch=5)], lambda: [SAM()], lambda: [LabelSmoothing()]])
def test_a_loss_that_is_not_finite_names_step_term_and_records(value: float, extra: Callable[[], list[Method]]) -> None:
    with pytest.raises(NonFinite, match=r"^step \d+: loss term 'task' is not finite for records 37\n  look at those"):
        trained(*extra(), source=poisoned(value))


def test_only_the_first_of_many_bad_records_are_named() -> None:
    x, y = blobs()
    with pytest.raises(NonFinite, match=r"records (\d+, ){7}\d+ and 56 more"):
        trained(source=Rows(x * math.nan, y, batch_size=64))


class Explode(Method):
    """A penalty that is infinite from some step on."""

    def loss(self, at: Any, loss: Loss) -> Loss:
        value = sum(p.sum() for p in at.params.values()) * (math.inf if at.run.step >= 3 else 0.0)
        return loss.with_term("explode", Term(value, "penalty"))


def test_a_penalty_that_is_not_finite_is_named() -> None:
    with pytest.raises(NonFinite, match="step 3: loss term 'explode' is not finite\n"):
        trained(Explode())


class Kink(nn.Linear):
    """A finite value whose derivative at 0 is infinite."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((0 * self.weight.sum()).sqrt() + x)


def test_a_gradient_that_is_not_finite_is_named_by_its_parameter() -> None:
    with pytest.raises(
        NonFinite, match=r"^step 0: the gradient of net\.weight is not finite on records \d+, .* more\n"
    ):
        trained(net=Kink(4, 3))


def test_a_gradient_of_large_finite_numbers_is_no_failure() -> None:
    class Huge(Method):
        def loss(self, at: Any, loss: Loss) -> Loss:
            value = sum((p - p.detach()).sum() for p in at.params.values())  # 0, of slope 1
            return loss.with_term("huge", Term(value, "penalty", 3e38))  # the sum of two such slopes overflows

    run = Run(Classify(nn.Linear(4, 3)), [Huge(), sgd(1e-40)])
    assert all(g.isfinite().all() for g in run.gradient("model", Batch(*blobs(8))).values())


def test_the_weights_before_the_failing_step_are_kept_and_saved_as_failed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    good = trained(Explode.__base__(), steps=3)  # type: ignore[misc]  # a method that does nothing
    watch, saver = Watch(), Checkpoint(tmp_path, every_steps=1)
    torch.manual_seed(0)
    run = Run(Classify(mlp(4, 8, 3)), [Explode(), sgd(0.1), watch, saver])
    with pytest.raises(NonFinite) as caught:
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=10))
    assert run.step == 3 and torch.equal(weights(run.objective), weights(good.objective))
    (failed,) = watch.of(Failed)
    assert failed.error is caught.value  # type: ignore[attr-defined]
    for name in ("failed", "last"):
        state, facts = read_state(tmp_path / name)
        assert facts["step"] == 3
        assert torch.equal(
            torch.cat([v.flatten().double() for v in state["objective"].values()]), weights(run.objective)
        )


def test_without_checks_nothing_stops() -> None:
    run = Run(Classify(mlp(4, 8, 3)), [sgd(0.1)], checks=False)
    fit(run, poisoned(), Budget(steps=8))
    assert run.step == 8 and weights(run.objective).isnan().any()


# ---------------------------------------------------------------- mixed precision
def in_precision(precision: Any, *methods: Method) -> Run:
    torch.manual_seed(0)
    run = Run(Classify(mlp(4, 16, 3)), [*methods, sgd(0.1)], Engine(device="cpu", precision=precision))
    return fit(run, Rows(*blobs(), batch_size=16), Budget(steps=40))


@pytest.mark.parametrize("precision, tolerance", [("bf16-mixed", 0.05), ("16-mixed", 0.01)])
@pytest.mark.parametrize("extra", [list, lambda: [Backprop(microbatch=5), Clip(1.0)]], ids=["plain", "microbatched"])
def test_mixed_precision_stays_near_single(precision: str, tolerance: float, extra: Callable[[], list[Method]]) -> None:
    single, mixed = in_precision("32", *extra()), in_precision(precision, *extra())
    assert all(p.dtype == torch.float32 for p in mixed.objective.parameters())
    a, b = weights(single.objective), weights(mixed.objective)
    assert 0 < (a - b).norm() / a.norm() < tolerance  # bfloat16 keeps 8 bits of a number, float16 keeps 11
    assert mixed.losses["model"].out["logits"].dtype != torch.float32


def test_gradients_are_given_back_without_the_scale() -> None:
    x, y = blobs(16)
    gradients = []
    for precision in ("32", "16-mixed"):
        torch.manual_seed(0)
        run = Run(Classify(mlp(4, 8, 3)), [sgd(0.1)], Engine(device="cpu", precision=precision))  # type: ignore[arg-type]
        gradients.append(torch.cat([g.flatten() for g in run.gradient("model", Batch(x, y)).values()]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.02, atol=1e-3)


class Steep(Objective):
    """A loss of slope `slope` whose backward pass runs through float16."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.w, self.slope, self.calls = nn.Parameter(torch.zeros(1)), slope, 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, turn: str, batch: Batch) -> Loss:
        self.calls += 1
        self.seen += 1
        return Loss({"task": Term((self.w.half() * self.slope).float().expand(len(batch)))})


def half(objective: Steep) -> tuple[Run, Backprop]:
    estimator = Backprop()
    return Run(objective, [estimator, sgd(0.0, momentum=0)], Engine(device="cpu", precision="16-mixed")), estimator


def test_an_overflow_halves_the_scale_and_computes_the_step_again() -> None:
    run, estimator = half(steep := Steep(slope=8.0))  # 8 * 2^16 overflows float16, whose largest number is 65504
    grads = run.gradient("model", Batch(torch.zeros(4, 1)))
    assert grads["w"].item() == 8.0
    assert estimator.scale == 2.0**12 and steep.calls == 5  # 2^16 ... 2^13 overflow: 8 * 2^13 = 65536


def test_a_step_computed_again_moves_running_statistics_once() -> None:
    run, _ = half(steep := Steep(slope=8.0))
    fit(run, Rows(torch.zeros(8, 1), None, batch_size=4), Budget(steps=3))
    assert steep.seen.item() == 3


def test_two_thousand_calm_steps_double_the_scale() -> None:
    run, estimator = half(Steep(slope=1.0))
    estimator.scale, estimator.calm = 2.0**4, 1999
    assert run.gradient("model", Batch(torch.zeros(4, 1)))["w"].item() == 1.0
    assert (estimator.scale, estimator.calm) == (2.0**5, 0)


def test_a_gradient_that_no_scale_makes_finite_is_a_failure() -> None:
    run, _ = half(Steep(slope=math.inf))
    run.objective.w.data.fill_(1.0)  # type: ignore[union-attr,operator]
    run.checks = True
    with pytest.raises(NonFinite):
        run.gradient("model", Batch(torch.zeros(4, 1)))


def test_the_scale_survives_a_resumption() -> None:
    first = Backprop()
    first.scale, first.calm = 2.0**9, 17
    second = Backprop()
    second.load_state_dict(first.state_dict())
    assert (second.scale, second.calm) == (2.0**9, 17)
