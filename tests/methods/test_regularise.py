"""EMA, early stopping, label smoothing: closed forms, and what they ship."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sonde.core import (
    Batch,
    Budget,
    Event,
    Measured,
    Method,
    Refused,
    Run,
    Settled,
    SondeError,
    Started,
    Stepped,
    fit,
)
from sonde.data.rows import Rows
from sonde.methods import EMA, EarlyStopping, LabelSmoothing, Validate, sgd
from sonde.objectives import GAN, Classify, Regress
from tests.support import Halves, blobs, mlp, trained, weights


def ramp(decay: float, t: int) -> float:
    return min(decay, (1 + t) / (10 + t))


class History(Method):
    """Keeps the weights before the first step and after every step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Started | Stepped):
            self.seen.append({k: v.clone() for k, v in run.objective.state_dict().items()})


# ---------------------------------------------------------------- EMA
@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_the_average_is_its_recurrence(decay: float) -> None:
    ema, history = EMA(decay), History()
    trained(history, ema, net=mlp(4, 8, 3, between=nn.BatchNorm1d).double(), source=doubles())
    average = history.seen[0]
    for t, now in enumerate(history.seen[1:], 1):
        d = ramp(decay, t)
        average = {k: d * average[k] + (1 - d) * v if v.is_floating_point() else v for k, v in now.items()}
    for k, v in average.items():
        torch.testing.assert_close(ema.shadow[k], v, rtol=1e-12, atol=1e-12)


def doubles() -> Rows:
    x, y = blobs()
    return Rows(x.double(), y, batch_size=16)


def test_the_average_equals_torchs() -> None:
    ema, history = EMA(0.9), History()
    run = trained(history, ema, steps=30, net=mlp(4, 8, 3).double(), source=doubles())
    model = mlp(4, 8, 3).double()

    def average(mean: Tensor, now: Tensor, steps: Tensor) -> Tensor:
        d = ramp(0.9, int(steps))
        return d * mean + (1 - d) * now

    reference = AveragedModel(model, avg_fn=average)
    for state in history.seen:
        model.load_state_dict({k.removeprefix("net."): v for k, v in state.items()})
        reference.update_parameters(model)
    torch.testing.assert_close(weights(reference.module), weights_of(run.weights().values()), rtol=1e-12, atol=1e-12)


def weights_of(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([v.flatten().double() for v in tensors])


def test_without_memory_the_average_is_the_last_weights() -> None:
    run = trained(EMA(0.0))
    assert torch.equal(weights_of(run.weights().values()), weights(run.objective))


def test_the_average_is_what_is_evaluated_and_shipped_and_training_does_not_see_it() -> None:
    torch.manual_seed(0)
    averaged = trained(EMA(0.9))
    torch.manual_seed(0)
    assert torch.equal(weights(averaged.objective), weights(trained().objective))
    with averaged.evaluating() as objective:
        assert torch.equal(weights(objective), weights_of(averaged.weights().values()))
    assert not torch.equal(weights_of(averaged.weights().values()), weights(averaged.objective))


def test_the_average_goes_on_through_stages() -> None:
    torch.manual_seed(0)
    whole = trained(EMA(0.9), steps=8)
    torch.manual_seed(0)
    run = Run(Classify(mlp(4, 8, 3)), [EMA(0.9), sgd(0.1)])
    for _ in range(2):  # four steps are an epoch of the same order
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=4))
    assert run.methods[0].count == whole.methods[0].count == 8  # type: ignore[attr-defined]


def test_a_loaded_average_does_not_change_with_the_run_it_came_from() -> None:
    first = trained(EMA(0.9))
    second = EMA(0.9)
    second.load_state_dict(first.methods[0].state_dict())
    before = weights_of(second.shadow.values())
    fit(first, Rows(*blobs(), batch_size=16), Budget(steps=3))
    assert torch.equal(before, weights_of(second.shadow.values()))


@pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
def test_an_impossible_decay_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decay lies in \[0, 1\)"):
        EMA(decay)


# ---------------------------------------------------------------- early stopping
class Script(Method):
    """Measures a prepared value after every step, as validation would, and keeps the shipped weights of each."""

    measures = True

    def __init__(self, metric: str, values: list[float], split: str = "val") -> None:
        self.metric, self.values, self.split = metric, values, split
        self.shipped: list[Tensor] = []

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Stepped) and run.step <= len(self.values):
            self.shipped.append(weights_of(run.weights().values()).clone())
            run.emit(Measured(self.split, {self.metric: self.values[run.step - 1]}))


def stopped(values: list[float], *before: Method, metric: str = "loss", **settings: float) -> tuple[Run, Script]:
    torch.manual_seed(0)
    script = Script(metric, values)
    run = trained(*before, EarlyStopping(metric, **settings), script, steps=len(values))  # type: ignore[arg-type]
    return run, script


@pytest.mark.parametrize(
    "values, settings, last, best",
    [
        ([3, 2, 1, 2, 3, 4, 5], {"patience": 2}, 5, 3),
        ([3, 2, 1, 2, 3, 4, 5], {"patience": 4}, 7, 3),
        ([3, 2, 1, 2, 1, 0, 5], {"patience": 2}, 5, 3),  # equal is no improvement
        ([3, 2, 1, 2, 0, 1, 5], {"patience": 2}, 7, 5),
        ([1.0, 0.95, 0.9, 0.85], {"patience": 2, "min_delta": 0.2}, 3, 1),
        ([1.0, 0.95, 0.7, 0.65], {"patience": 3, "min_delta": 0.2}, 4, 3),
        ([5, 4, 3, 9, 9, 9], {"patience": 0}, 6, 3),  # never ends, only restores
        ([math.nan, 2, 3, 4], {"patience": 2}, 4, 2),
        ([math.nan, math.nan, 3], {"patience": 1}, 2, 1),
        ([math.inf, 3, -math.inf, 0], {"patience": 9}, 4, 3),
    ],
    ids=repr,
)
def test_a_stage_ends_when_patience_does_and_the_best_weights_come_back(
    values: list[float], settings: dict[str, float], last: int, best: int
) -> None:
    run, script = stopped(values, **settings)
    assert run.step == last and run.stage == 1
    assert torch.equal(weights(run.objective), script.shipped[best - 1])
    assert torch.equal(weights_of(run.weights().values()), script.shipped[best - 1])


@pytest.mark.parametrize("metric, better", [("accuracy", [0.1, 0.9, 0.5]), ("loss", [0.9, 0.1, 0.5])])
def test_scores_are_raised_and_losses_lowered(metric: str, better: list[float]) -> None:
    run, script = stopped(better, metric=metric, patience=0)
    assert torch.equal(weights(run.objective), script.shipped[1])


def test_the_reason_for_stopping_is_said() -> None:
    run, _ = stopped([1, 2, 3, 4], patience=2)
    assert run.stop == "no better val loss in 2 measurements"


def test_with_an_average_the_best_average_comes_back() -> None:
    run, script = stopped([3, 1, 2, 2, 2], EMA(0.5), patience=0)
    assert torch.equal(weights(run.objective), script.shipped[1])
    assert torch.equal(weights_of(run.weights().values()), script.shipped[1])


def test_a_second_stage_starts_its_own_search() -> None:
    torch.manual_seed(0)
    script, stopping = Script("loss", [3, 1, 2, 2, 9, 8, 9, 9]), EarlyStopping(patience=0)
    run = Run(Classify(mlp(4, 8, 3)), [stopping, script, sgd(0.1)])
    for _ in range(2):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=4))
    assert torch.equal(weights(run.objective), script.shipped[5])
    assert stopping.best_step == 6


def test_other_splits_are_not_watched() -> None:
    torch.manual_seed(0)
    run = trained(EarlyStopping(patience=1), Script("loss", [1, 2, 3], split="train"), steps=5)
    assert run.step == 5 and run.stop is None


def test_a_metric_that_nobody_measures_is_refused_with_those_that_are() -> None:
    with pytest.raises(SondeError, match=r"watches 'acuracy', which validation does not measure\n  choose one of loss"):
        trained(EarlyStopping("acuracy"), Script("loss", [1.0]))


def test_it_stops_a_real_run_that_does_not_improve() -> None:
    data = Halves()
    run = Run(Classify(mlp(4, 8, 3)), [Validate(data), EarlyStopping(patience=3), sgd(1e-12)])
    fit(run, Rows(*blobs(), batch_size=16), Budget(epochs=50))
    assert run.step < 50 * 4 and run.stop is not None


def test_an_interruption_restores_nothing() -> None:
    torch.manual_seed(0)

    class Stop(Method):
        def on(self, run: Run, event: Event) -> None:
            if isinstance(event, Settled) and run.step == 4:
                run.stop = "interrupted"

    script = Script("loss", [1, 2, 3, 4, 5])
    run = trained(EarlyStopping(patience=0), script, Stop(), steps=5)
    assert torch.equal(weights(run.objective), script.shipped[3])


class Elsewhere(Method):
    """Ships other weights than the last."""

    def weights(self, run: Run, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return weights


@pytest.mark.parametrize(
    "methods, words",
    [
        ([EarlyStopping(), Validate(Halves())], "before Validate never weighs a stage's last weights"),
        ([Validate(Halves()), EarlyStopping(), Elsewhere()], "keeps weights that Elsewhere would not ship"),
        ([EarlyStopping()], "no method measures"),
    ],
)
def test_an_order_in_which_it_would_keep_other_weights_is_refused(methods: list[Method], words: str) -> None:
    with pytest.raises(Refused, match=words):
        Run(Classify(mlp(4, 8, 3)), [*methods, sgd(0.1)])


def test_the_loss_of_one_player_is_no_measure_of_a_game() -> None:
    game = GAN(nn.Linear(2, 4), nn.Linear(4, 1), latent=2)
    with pytest.raises(Refused, match="every player of a game has one"):
        Run(game, [Validate(Halves()), EarlyStopping(), sgd(0.1)])
    stopping = EarlyStopping("loss/discriminator", patience=1)
    fit(Run(game, [Validate(Halves()), stopping, sgd(0.1)]), Rows(blobs()[0]), Budget(steps=3))
    assert stopping.best < 0  # lower is better of any loss


# ---------------------------------------------------------------- label smoothing
SOFT = F.softmax(torch.randn(6, 3, dtype=torch.float64), dim=1)


@pytest.mark.parametrize("amount", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("y", [torch.tensor([0, 1, 2, 2, 1, 0]), SOFT], ids=["classes", "probabilities"])
@pytest.mark.parametrize("members", [0, 4])
def test_smoothing_equals_torchs(amount: float, y: Tensor, members: int) -> None:
    net = nn.Linear(4, 3 * max(1, members)).double()
    if members:
        net = nn.Sequential(net, nn.Unflatten(1, (members, 3)))  # type: ignore[assignment]
    x = torch.randn(6, 4, dtype=torch.float64)
    run = Run(Classify(net), [LabelSmoothing(amount), sgd(0.1)])
    value = run.loss("model", run.params("model"), Batch(x, y)).terms["task"].value
    entropy = partial(F.cross_entropy, label_smoothing=amount, reduction="none")
    logits = net(x) if members else net(x)[:, None]
    reference = torch.stack([entropy(logits[:, m], y) for m in range(max(1, members))], 1).mean(1)
    torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-12)


def test_smoothing_keeps_the_weights_of_the_rows() -> None:
    run = Run(Classify(nn.Linear(4, 3)), [LabelSmoothing(0.1), sgd(0.1)])
    x, y = blobs(6)
    weight = torch.tensor([1.0, 0, 2, 0, 0.5, 3])
    loss = run.loss("model", run.params("model"), Batch(x, y, fields={"weight": weight}))
    reference = F.cross_entropy(run.objective.net(x), y, label_smoothing=0.1, reduction="none")  # type: ignore[operator]
    torch.testing.assert_close(loss.total(), (weight * reference).mean())


def test_smoothing_anything_but_a_classifier_is_refused() -> None:
    with pytest.raises(Refused, match="needs a classification objective"):
        x, _ = blobs()
        fit(Run(Regress(nn.Linear(4, 1)), [LabelSmoothing(), sgd(0.1)]), Rows(x, x[:, :1]), Budget(steps=1))


@pytest.mark.parametrize("amount", [-0.1, 1.0])
def test_an_impossible_amount_is_refused(amount: float) -> None:
    with pytest.raises(ValueError, match=r"amount lies in \[0, 1\)"):
        LabelSmoothing(amount)
