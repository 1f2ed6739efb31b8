"""TabM: members that share their layers and yet learn apart, for every kind of table."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nan, nn

from sonde.core import SondeError
from sonde.nets.tabm import MemberLinear, TabM

N = 12


def table(numeric: int, cardinalities: tuple[int, ...] = (), rows: int = N) -> dict[str, Tensor]:
    """Rows with some numbers missing and codes of every kind."""
    x = torch.randn(rows, numeric).masked_fill(torch.rand(rows, numeric) < 0.1, nan)
    columns = [torch.randint(c, (rows,)) for c in cardinalities]
    return {
        "numeric": x,
        "categorical": torch.stack(columns, 1) if columns else torch.zeros(rows, 0, dtype=torch.int64),
    }


def fitted(net: TabM, x: dict[str, Tensor]) -> TabM:
    net.columns.fit_input(x)
    return net


@pytest.mark.parametrize("cardinalities", [(), (3, 1, 40)], ids=["no categories", "categories"])
@pytest.mark.parametrize("numeric", [0, 3])
def test_it_answers_once_a_member_for_every_kind_of_table(numeric: int, cardinalities: tuple[int, ...]) -> None:
    if not numeric + len(cardinalities):
        with pytest.raises(SondeError, match="no columns"):
            TabM(outputs=2, numeric=0)
        return
    x = table(numeric, cardinalities)
    out = fitted(TabM(outputs=5, numeric=numeric, cardinalities=cardinalities, members=4), x)(x)
    assert out.shape == (N, 4, 5) and out.isfinite().all()


def test_members_begin_different() -> None:
    x = table(3, (4,))
    assert fitted(TabM(outputs=2, numeric=3, cardinalities=(4,)), x).eval()(x).std(dim=1).min() > 1e-3


def test_a_change_in_one_member_changes_no_other() -> None:
    x = table(3, (4,))
    net = fitted(TabM(outputs=2, numeric=3, cardinalities=(4,), members=4), x).eval()
    before = net(x)
    own = [net.scale.weight, *net.heads.parameters(), *(layer.shift.bias for layer in net.hidden)]
    for p in own:
        with torch.no_grad():
            p[1] += 0.5
        after = net(x)
        assert (after != before).any(0).any(-1).tolist() == [False, True, False, False]
        before = after


def test_the_mean_of_the_members_losses_gives_each_the_gradient_of_its_own() -> None:
    x, y = table(3, (4,)), torch.randint(2, (N,))
    net = fitted(TabM(outputs=2, numeric=3, cardinalities=(4,), members=4), x).eval()
    losses = torch.stack([F.cross_entropy(net(x)[:, m], y) for m in range(4)])
    (g,) = torch.autograd.grad(losses.mean(), [net.scale.weight])
    for m in range(4):
        (own,) = torch.autograd.grad(F.cross_entropy(net(x)[:, m], y), [net.scale.weight])
        torch.testing.assert_close(g[m], own[m] / 4)
        assert not own[torch.arange(4) != m].any()


def test_all_members_at_once_equal_a_loop_over_networks_of_one() -> None:
    x = table(3, (4,))
    many = fitted(TabM(outputs=2, numeric=3, cardinalities=(4,), members=4, widths=(16, 8)), x).eval()
    state = many.state_dict()
    own = ("scale.weight", "heads.weight", "heads.bias", "hidden.0.shift.bias", "hidden.1.shift.bias")
    for m in range(4):
        one = TabM(outputs=2, numeric=3, cardinalities=(4,), members=1, widths=(16, 8)).eval()
        one.load_state_dict({k: v[m : m + 1] if k in own else v for k, v in state.items()})
        torch.testing.assert_close(one(x), many(x)[:, m : m + 1])


def test_the_members_layer_is_a_linear_layer_for_each() -> None:
    layer, h = MemberLinear(5, 3, members=4), torch.randn(N, 4, 5)
    loop = [F.linear(h[:, m], layer.map.weight, layer.shift.bias[m]) for m in range(4)]
    torch.testing.assert_close(layer(h), torch.stack(loop, 1))


def test_rows_are_independent() -> None:
    x = table(3, (4,))
    net = fitted(TabM(outputs=2, numeric=3, cardinalities=(4,)), x).eval()
    before = net(x)
    x["numeric"][0] += 10
    x["categorical"][0] = (x["categorical"][0] + 1) % 4
    after = net(x)
    assert torch.equal(after[1:], before[1:]) and not torch.equal(after[0], before[0])


def test_it_maps_over_rows_one_by_one() -> None:
    """Per-record methods map over rows."""
    x = table(3, (4,))
    net = fitted(TabM(outputs=2, numeric=3, cardinalities=(4,)), x).eval()
    one = torch.vmap(lambda row: net({k: v[None] for k, v in row.items()})[0])
    torch.testing.assert_close(one(x), net(x))


def test_every_parameter_is_used() -> None:
    x = table(3, (4,))
    x["numeric"][0] = nan
    net = fitted(TabM(outputs=2, numeric=3, cardinalities=(4,)), x)
    net(x).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_statistics_travel_with_the_weights() -> None:
    x = table(3, (4,))
    a, b = (TabM(outputs=2, numeric=3, cardinalities=(4,)).eval() for _ in range(2))
    fitted(a, x)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(x), b(x))


@pytest.mark.parametrize("outputs", [3, 1], ids=["classes", "a target"])
def test_it_learns_sixteen_rows_by_heart(outputs: int) -> None:
    x, y = table(4, (5,), rows=16), torch.arange(16) % 3
    net = fitted(TabM(outputs=outputs, numeric=4, cardinalities=(5,), members=4, widths=(32,), bins=16, dropout=0.0), x)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)

    def loss() -> Tensor:
        z = net(x).flatten(0, 1)  # (N M, T)
        wanted = y.repeat_interleave(4)
        return F.cross_entropy(z, wanted) if outputs == 3 else F.mse_loss(z[:, 0], wanted.float())

    for _ in range(200):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert loss() < 1e-2


@pytest.mark.parametrize("wrong", [{"members": 0}, {"widths": ()}], ids=str)
def test_a_net_without_members_or_layers_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SondeError, match="nothing to learn with"):
        TabM(outputs=2, numeric=1, **wrong)  # type: ignore[arg-type]


def test_dropout_is_for_training_alone() -> None:
    x = table(3, (4,))
    net: nn.Module = fitted(TabM(outputs=2, numeric=3, cardinalities=(4,), dropout=0.5), x)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
