"""SWA: torch's average and torch's statistics, what is shipped, and what is said when nothing was averaged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from sonde.core import Batch, Budget, Event, Measured, Method, Read, Refused, Run, SondeError, Started, Stepped, fit
from sonde.data.rows import Rows
from sonde.methods import EMA, SWA, EarlyStopping, Validate, sgd
from sonde.objectives import Classify
from tests.support import GAN, Halves, Watch, blobs, gan_rows, mlp, trained, weights


class History(Method):
    """Keeps the weights after every step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Started | Stepped):
            self.seen.append({k: v.clone() for k, v in run.objective.state_dict().items()})


def doubles(batch_size: int = 16) -> Rows:
    x, y = blobs()
    return Rows(x.double(), y, batch_size=batch_size)


def vector(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([v.flatten().double() for v in tensors.values()])


@pytest.mark.parametrize(
    "every, captured", [(0, (16, 20)), (1, (15, 16, 17, 18, 19, 20)), (3, (15, 18))], ids=["epoch", "step", "three"]
)
def test_the_mean_is_that_of_torch(every: int, captured: tuple[int, ...]) -> None:
    history, swa = History(), SWA(0.75, every_steps=every)
    trained(history, swa, steps=20, net=mlp(4, 8, 3).double(), source=doubles())  # an epoch has four steps
    model = Classify(mlp(4, 8, 3).double())
    reference = AveragedModel(model)
    for step in captured:
        model.load_state_dict(history.seen[step])
        reference.update_parameters(model)
    assert swa.count == len(captured)
    torch.testing.assert_close(vector(swa.mean), weights(reference.module), rtol=1e-12, atol=1e-12)


def test_statistics_of_batchnorm_are_those_of_torch() -> None:
    torch.manual_seed(0)
    net = mlp(4, 8, 3, between=nn.BatchNorm1d).double()
    swa, source = SWA(0.5), doubles(batch_size=20)
    run = trained(swa, steps=16, net=net, source=source)
    reference = mlp(4, 8, 3, between=nn.BatchNorm1d).double()
    reference.load_state_dict({k.removeprefix("net."): v for k, v in run.weights().items()})
    update_bn([b.x for b, _ in zip(source.batches(None), range(source.steps_per_epoch), strict=False)], reference)
    torch.testing.assert_close(vector(run.weights()), weights(reference), rtol=1e-12, atol=1e-12)
    assert net[1].momentum == 0.1 and net[1].training


def test_statistics_are_seen_without_dropout_and_leave_the_run_alone() -> None:
    """Bit for bit: the weights, the modes and the random numbers of a run that averages nothing."""
    found = []
    for extra in ([], [SWA(0.5)]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 3))
        run = trained(*extra, net=net, steps=8)
        found.append((weights(run.objective), torch.get_rng_state(), [m.training for m in run.objective.modules()]))
    assert (
        torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1]) and found[0][2] == found[1][2]
    )
    shipped = run.weights()
    hidden = nn.functional.linear(blobs()[0], shipped["net.0.weight"], shipped["net.0.bias"])
    rows = [hidden[i] for i in _epoch()]
    torch.testing.assert_close(shipped["net.2.running_mean"], torch.stack([r.mean(0) for r in rows]).mean(0))
    torch.testing.assert_close(shipped["net.2.running_var"], torch.stack([r.var(0) for r in rows]).mean(0))


def _epoch() -> list[Tensor]:
    source = Rows(*blobs(), batch_size=16)
    return [b.records for b, _ in zip(source.batches(None), range(4), strict=False)]  # type: ignore[misc]


def test_the_pass_over_the_rows_is_announced_only_where_it_is_made() -> None:
    for between, reads in ((None, 0), (nn.BatchNorm1d, 1)):
        watch = Watch()
        trained(SWA(0.5), watch, net=mlp(4, 8, 3, between=between), steps=8)
        assert [e.reader for e in watch.of(Read)] == ["SWA"] * reads  # type: ignore[attr-defined]


def test_the_mean_is_what_is_evaluated_and_shipped() -> None:
    run = trained(SWA(0.5), steps=8)
    with run.evaluating() as objective:
        assert torch.equal(weights(objective), vector(run.weights()))
    assert not torch.equal(vector(run.weights()), weights(run.objective))


def test_before_the_first_capture_the_last_weights_are_shipped() -> None:
    run = Run(Classify(mlp(4, 8, 3)), [SWA(0.9), sgd(0.1)])
    run.total = 20
    for batch, _ in zip(Rows(*blobs(), batch_size=16).batches(run), range(2), strict=False):
        run.advance(batch)
    assert torch.equal(vector(run.weights()), weights(run.objective))


def test_one_capture_at_the_end_ships_the_last_weights() -> None:
    run = trained(SWA(0.99, every_steps=1), steps=10)
    assert torch.equal(vector(run.weights()), weights(run.objective))


def test_every_stage_has_a_mean_of_its_own() -> None:
    swa, history = SWA(0.0), History()
    run = Run(Classify(mlp(4, 8, 3)), [swa, history, sgd(0.1)])
    for _ in range(2):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=8))
    assert swa.count == 2
    mean = torch.stack([vector(history.seen[1:][i]) for i in (-5, -1)]).mean(0)
    torch.testing.assert_close(vector(run.weights()), mean)


def test_validation_and_early_stopping_after_it_see_the_mean() -> None:
    watch, swa = Watch(), SWA(0.5)
    run = Run(Classify(mlp(4, 8, 3)), [swa, Validate(Halves()), EarlyStopping(patience=0), watch, sgd(0.1)])
    fit(run, Rows(*blobs(), batch_size=16), Budget(epochs=4))
    losses = [e.values["loss"] for e in watch.of(Measured)]  # type: ignore[attr-defined]
    with run.evaluating() as objective:
        data = Halves()
        rows = data.batch(data.splits["val"])
        assert objective("model", rows).total().item() == pytest.approx(min(losses))


def test_a_game_averages_both_players() -> None:
    torch.manual_seed(0)
    run = Run(GAN(norm=True), [SWA(0.5), sgd(0.01)])
    fit(run, gan_rows(), Budget(steps=10))
    assert vector(run.weights()).isfinite().all()


def test_a_stage_that_ends_too_soon_says_so() -> None:
    with pytest.warns(UserWarning, match="SWA averaged nothing"):
        run = trained(SWA(0.75), steps=3)
    assert torch.equal(vector(run.weights()), weights(run.objective))


class Endless:
    """A source without passes."""

    steps_per_epoch = None

    def batches(self, run: Run | None, start: int = 0) -> Iterator[Batch]:
        return Rows(*blobs(), batch_size=16).batches(run, start)


def test_a_source_without_passes_needs_a_number_of_steps() -> None:
    with pytest.raises(SondeError, match=r"give SWA\(every_steps=...\)"):
        trained(SWA(), source=Endless())
    assert trained(SWA(every_steps=2), source=Endless()).step == 10
    with pytest.raises(SondeError, match="use a net without BatchNorm"):
        trained(SWA(every_steps=2), source=Endless(), net=mlp(4, 8, 3, between=nn.BatchNorm1d))


@pytest.mark.parametrize("methods", [(EMA(0.9), SWA(0.5)), (SWA(0.5), EMA(0.9))], ids=["after", "before"])
def test_a_second_average_is_refused(methods: tuple[Method, ...]) -> None:
    with pytest.raises(Refused, match="each ship an average of their own"):
        trained(*methods)


@pytest.mark.parametrize("start", [-0.1, 1.0, float("nan")])
def test_an_impossible_start_is_refused(start: float) -> None:
    with pytest.raises(ValueError, match="start is a fraction"):
        SWA(start)
