"""PrivateInputs: what modules are shown instead of the rows, what it costs, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Method, Notice, Objective, Read, Refused, Run, fit
from sonde.data.rows import Rows
from sonde.methods import DPSGD, FitInputs, PrivateInputs, sgd
from sonde.nets.layers import Normalise
from sonde.nets.layers.tabular import TableInput
from sonde.objectives import Classify, Regress
from sonde.privacy import spent
from tests.support import Watch

pytestmark = pytest.mark.filterwarnings("ignore::sonde.core.errors.Notice")


def rows(n: int = 4000, batch_size: int = 64) -> Rows:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(n, 3, generator=g) * torch.tensor([1.0, 20.0, 0.1]) + torch.tensor([5.0, -100.0, 0.0])
    return Rows(x, (x[:, 0] > 5).long(), batch_size=batch_size)


def classify() -> Classify:
    torch.manual_seed(0)
    return Classify(nn.Sequential(Normalise(3), nn.Linear(3, 2)))


def trained(*methods: Method, objective: Objective | None = None, source: Rows | None = None, steps: int = 1) -> Run:
    run = Run(classify() if objective is None else objective, [*methods, sgd(0.1)])
    fit(run, rows() if source is None else source, Budget(steps=steps))
    return run


def test_statistics_are_near_those_of_the_rows() -> None:
    exact, private = (trained(m).objective.net[0] for m in (FitInputs(), PrivateInputs(1.0, insecure_seed=1)))  # type: ignore[union-attr, index]
    assert ((private.mean - exact.mean).abs() < 0.3 * exact.std).all()
    assert ((private.std / exact.std - 1).abs() < 0.4).all()


def test_it_is_repeatable_by_its_insecure_seed_alone() -> None:
    def mean(seed: int | None) -> Tensor:
        return trained(PrivateInputs(insecure_seed=seed)).objective.net[0].mean  # type: ignore[union-attr, index, return-value]

    assert torch.equal(mean(4), mean(4)) and not torch.equal(mean(4), mean(5))
    assert not torch.equal(mean(None), mean(None))


def test_the_training_seed_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    method = PrivateInputs(insecure_seed=1)
    run = Run(Classify(nn.Sequential(Normalise(3), nn.Linear(3, 2))), [method, sgd(0.1)])
    torch.set_rng_state(before)
    from sonde.core import Started

    method.on(run, Started(rows()))
    assert torch.equal(before, torch.get_rng_state())


def test_the_read_is_announced_with_what_it_costs() -> None:
    watch = Watch()
    trained(PrivateInputs(0.2, insecure_seed=1), watch)
    (read,) = watch.of(Read)
    assert read.reader == "PrivateInputs" and math.hypot(*read.pure) == pytest.approx(0.2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("first", [True, False], ids=["before DPSGD", "after it"])
def test_private_training_counts_it_and_leaves_room(first: bool) -> None:
    private = DPSGD(1.0, target_epsilon=2.0, target_delta=1e-5, insecure_seed=1)
    inputs = PrivateInputs(0.3, insecure_seed=1)
    trained(*((inputs, private) if first else (private, inputs)), steps=10)
    assert 1.99 < private.spent.epsilon <= 2.0 and math.hypot(*private.spent.pure) == pytest.approx(0.3)
    assert private.spent.epsilon > spent(private.spent.history, 1e-5).epsilon  # some of it went to the statistics


def test_the_cost_is_kept_in_the_state() -> None:
    private = DPSGD(1.0, noise_multiplier=1.0, insecure_seed=1)
    trained(PrivateInputs(insecure_seed=1), private)
    other = DPSGD(1.0, noise_multiplier=1.0)
    other.load_state_dict(private.state_dict())
    assert other.spent == private.spent and other.spent.pure


def test_each_record_is_read_once_though_steps_draw_them_at_random() -> None:
    seen: list[Tensor] = []

    class Counted(Rows):
        def take(self, index: Tensor) -> Batch:
            seen.append(index)
            return super().take(index)

        batches = Rows.batches

    source = rows(300)
    counted = Counted(source.whole.x, source.whole.y, batch_size=64)
    trained(PrivateInputs(insecure_seed=1), DPSGD(1.0, noise_multiplier=1.0, insecure_seed=1), source=counted)
    assert torch.equal(torch.cat(seen[:2]).sort()[0], torch.arange(300))  # the shape, from no rows, and all of them


def test_records_with_several_rows_are_refused() -> None:
    class Twice(Rows):
        def take(self, index: Tensor) -> Batch:
            batch = super().take(index)
            return Batch(batch.x, batch.y, index // 2)

    source = rows(100)
    with pytest.raises(Refused, match="several rows"):
        trained(PrivateInputs(), source=Twice(source.whole.x, source.whole.y))


def test_a_source_that_repeats_rows_is_refused() -> None:
    class Other:
        steps_per_epoch = None

        def batches(self, run: Run | None, start: int = 0):  # type: ignore[no-untyped-def]
            yield rows().take(torch.arange(4))

    run = Run(classify(), [PrivateInputs(), sgd(0.1)])
    with pytest.raises(Refused, match="more than once"):
        fit(run, Other(), Budget(steps=1))


def test_pictures_are_not_read() -> None:
    watch = Watch()
    g = torch.Generator().manual_seed(1)
    source = Rows(torch.rand(64, 1, 6, 6, generator=g) * 0.1, torch.arange(64) % 2, batch_size=16)
    net = nn.Sequential(Normalise(1, positions=2), nn.Flatten(), nn.Linear(36, 2))
    run = trained(PrivateInputs(), watch, objective=Classify(net), source=source)
    assert not watch.of(Read) and not run.notes
    assert net[0].mean.item() == pytest.approx(0.5) and net[0].std.item() == pytest.approx(12**-0.5, rel=0.01)  # type: ignore[union-attr, operator]


def test_tables_keep_their_categories_equally_frequent_and_missing_numbers_out() -> None:
    g = torch.Generator().manual_seed(1)
    numbers = torch.randn(3000, 2, generator=g) * 3 + 7
    numbers[::3, 1] = torch.nan
    x = {"numeric": numbers, "categorical": torch.randint(1, 4, (3000, 1), generator=g)}
    layer = TableInput(2, (4,), bins=8)
    share = layer.share.clone()
    objective = Classify(nn.Sequential(layer, nn.Linear(sum(layer.sections), 2)))
    trained(PrivateInputs(1.0, insecure_seed=1), objective=objective, source=Rows(x, torch.arange(3000) % 2))
    assert torch.equal(layer.share, share)
    assert ((layer.mean - 7).abs() < 1).all() and ((layer.std / 3 - 1).abs() < 0.4).all()
    assert (layer.edges.diff(dim=1) >= 0).all() and layer.edges[0, 0] < 2 < 12 < layer.edges[0, -1]


def test_regression_targets_are_private_too() -> None:
    watch, source = Watch(), rows()
    y = source.whole.x[:, 1:2] * 2
    objective = Regress(nn.Linear(3, 1))
    trained(PrivateInputs(1.0, insecure_seed=1), watch, objective=objective, source=Rows(source.whole.x, y))
    assert abs(float(objective.mean) + 200) < 15 and 25 < float(objective.std) < 55
    assert len(watch.of(Read)) == 1  # inputs are read only where a module asks for them


def test_public_bounds_need_no_search() -> None:
    watch = Watch()
    trained(PrivateInputs(1.0, low=(0.0, -200.0, -1.0), high=(10.0, 0.0, 1.0), insecure_seed=1), watch)
    (read,) = watch.of(Read)
    assert len(set(read.pure)) == 1  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="bounds for 2 columns"):
        trained(PrivateInputs(1.0, low=(0.0, 0.0), high=(1.0, 1.0)))


def test_too_few_rows_are_said() -> None:
    with pytest.warns(Notice, match="50 rows are few"):
        trained(PrivateInputs(0.1, insecure_seed=1), source=rows(50))


@pytest.mark.parametrize("wrong", [{"epsilon": 0.0}, {"epsilon": math.inf}, {"low": 0.0}], ids=str)
def test_settings_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        PrivateInputs(**wrong)  # type: ignore[arg-type]
