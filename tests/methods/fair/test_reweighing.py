"""Reweighing: the closed form, whatever the batches; rare groups share; objectives that ignore weights are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sonde.core import Batch, Budget, Read, Refused, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.methods import MixUp, Reweighing, sgd
from sonde.methods.fair.reweighing import weights
from sonde.objectives import Classify
from tests.support import GAN, Watch, gan_rows, mlp


def people(n: int = 500, groups: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    group = torch.randint(groups, (n,), generator=g)
    y = (torch.rand(n, generator=g) < 0.2 + 0.2 * group).long()
    return torch.randn(n, 4, generator=g), y, group


def measured(method: Reweighing, x: Tensor, y: Tensor, group: Tensor, **fields: Tensor) -> Tensor:
    """The weights of all rows after a run of one step."""
    run = Run(Classify(mlp(4, 3)), [method, sgd(0.1)])
    fit(run, Rows(x, y, 64, fields={"sex": group, **fields}), Budget(steps=1))
    return method.batch(run, Batch(x, y, torch.arange(len(y)), {"sex": group, **fields})).fields["weight"]


def test_the_weights_are_the_closed_form() -> None:
    x, y, group = people()
    w = measured(Reweighing("sex"), x, y, group)
    for g in range(3):
        for label in range(2):
            cell = (group == g) & (y == label)
            expected = (group == g).float().mean() * (y == label).float().mean() / cell.float().mean()
            torch.testing.assert_close(w[cell], expected.expand(int(cell.sum())))
    assert w.sum().item() == pytest.approx(len(y), rel=1e-5)
    rates = [(w * y)[group == g].sum() / w[group == g].sum() for g in range(3)]
    torch.testing.assert_close(torch.stack(rates), y.float().mean().expand(3))  # label and group are now independent


def test_they_equal_ai_fairness_360s() -> None:
    datasets = pytest.importorskip("aif360.datasets", reason="aif360 is not installed")
    pandas = pytest.importorskip("pandas")
    from aif360.algorithms.preprocessing import Reweighing as Theirs

    x, y, group = people(groups=2)
    own = torch.rand(len(y)) + 0.5
    frame = pandas.DataFrame({"y": y.numpy(), "sex": group.numpy(), "w": own.double().numpy()})
    data = datasets.BinaryLabelDataset(
        df=frame, label_names=["y"], protected_attribute_names=["sex"], instance_weights_name="w"
    )
    theirs = Theirs([{"sex": 0}], [{"sex": 1}]).fit_transform(data).instance_weights
    ours = measured(Reweighing("sex"), x, y, group, weight=own)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5)


def test_groups_with_few_rows_share_their_weights_and_are_named() -> None:
    x, y, group = people(600, groups=2)
    few = torch.arange(40) % 4 + 2
    x, y, group = torch.cat([x, x[:40]]), torch.cat([y, few % 2]), torch.cat([group, few])
    method = Reweighing("sex")
    with pytest.warns(UserWarning, match="fewer than 30 rows are weighed as one group: 2, 3, 4, 5"):
        w = measured(method, x, y, group)
    joint = measured(Reweighing("sex"), x, y, group.clamp(max=2))
    torch.testing.assert_close(w, joint)
    assert method.pooled == [2, 3, 4, 5]
    with pytest.warns(UserWarning, match="left at weight 1: 2, 3, 4, 5"):
        assert (measured(Reweighing("sex", minimum=50), x, y, group)[-40:] == 1).all()


def test_rows_without_a_group_or_of_a_new_one_keep_their_weight() -> None:
    x, y, group = people()
    method = Reweighing("sex")
    group[:50] = -1
    assert (measured(method, x, y, group)[:50] == 1).all()
    other = Batch(x[:2], torch.tensor([0, 5]), None, {"sex": torch.tensor([9, 0])})
    assert (method.batch(None, other).fields["weight"] == 1).all()  # type: ignore[arg-type]
    table, pooled = weights(torch.tensor([[5.0, 0.0], [0.0, 5.0]]), torch.tensor([5.0, 5.0]))
    assert table.tolist() == [[0.5, 1.0], [1.0, 0.5]] and not pooled


def test_it_goes_before_methods_that_mix_rows() -> None:
    x, y, group = people()
    run = Run(Classify(mlp(4, 2)), [Reweighing("sex"), MixUp(2), watch := Watch(), sgd(0.1)])
    fit(run, Rows(x, y, 64, fields={"sex": group}), Budget(steps=3))
    assert [e.reader for e in watch.of(Read)] == ["Reweighing"]  # type: ignore[attr-defined]


def test_what_it_cannot_weigh_is_refused_in_words() -> None:
    x, y, group = people()
    with pytest.raises(SondeError, match=r"asks for the groups 'age', which the rows do not have \(they have: sex\)"):
        measured(Reweighing("age"), x, y, group)
    with pytest.raises(SondeError, match="the answers are no classes"):
        measured(Reweighing("sex"), x, x[:, :1], group)
    with pytest.raises(SondeError, match="holds no group codes"):
        measured(Reweighing("sex"), x, y, group.float())
    with pytest.raises(SondeError, match="minimum=0"):
        Reweighing(minimum=0)

    class Deaf(GAN):
        pass

    rows = gan_rows()
    source = Rows(rows.whole.x, torch.arange(40) % 2, 8, fields={**rows.whole.fields, "sex": torch.arange(40) % 2})
    with pytest.raises(Refused, match="Deaf does not weigh rows, so Reweighing would change nothing"):
        fit(Run(Deaf(), [Reweighing("sex", minimum=1), sgd(0.1)]), source, Budget(steps=1))
