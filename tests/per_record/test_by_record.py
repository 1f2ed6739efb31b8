"""The cheapest way that is right: what is not understood is found out, said, and differentiated otherwise."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonde.core import Batch, Refused
from sonde.per_record import ByRecord, Unknown, by_vmap, capture, one_at_a_time
from tests.per_record.test_layers import loss_of, same

# each of these fails the layers' algebra in its own way


class Functional(nn.Module):
    """Uses a layer's weight without calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.a(x).tanh(), self.a.weight)


class Turned(nn.Module):
    """Puts positions first, so that the first dimension is not the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x.transpose(0, 1)).transpose(0, 1)


class Flattened(nn.Module):
    """Makes one dimension of rows and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Centred(nn.Module):
    """Lets rows see each other before any parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x - 0.9 * x.mean(0))


class Normal(nn.Module):
    """Lets rows see each other after parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.a(x)
        return out / out.std(0).add(1.0) if len(x) > 1 else out


class Branching(nn.Module):
    """Decides by a value, which vmap cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        w = self.a.weight * (2.0 if bool(x.sum() > 0) else 1.0)
        return F.linear(x, w)


WAYS = [
    (Functional, (6, 4), "gradient of a.weight", "vmap"),
    (Turned, (6, 5, 4), "was not given 6 rows", "vmap"),
    (Turned, (6, 6, 4), "", "vmap"),  # as many positions as rows: only the comparison tells
    (Flattened, (6, 5, 4), "was not given 6 rows", "vmap"),
    (Centred, (6, 4), "rows of a batch change each other's loss", "vmap"),
    (Normal, (6, 4), "", "vmap"),
    (Branching, (6, 4), "", "rows"),
]


@pytest.mark.parametrize(
    ("kind", "shape", "reason", "way"), WAYS, ids=lambda v: v.__name__ if isinstance(v, type) else None
)
def test_what_the_layers_cannot_give_is_found_out(
    kind: type[nn.Module], shape: tuple[int, ...], reason: str, way: str
) -> None:
    torch.manual_seed(0)
    net, x = kind().double(), torch.randn(shape, dtype=torch.float64).abs()
    params = dict(net.named_parameters())
    by_record = ByRecord(net)
    with pytest.warns(UserWarning, match=reason):
        per = by_record(loss_of(net, params), params, Batch(x))
    assert by_record.way == way
    true = one_at_a_time(loss_of(net, params), params, Batch(x))
    same(per.norms, true.norms)
    again = by_record(loss_of(net, params), params, Batch(x))  # without a second warning
    same(again.norms, true.norms)


def test_dropout_is_compared_under_the_same_draw() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5), nn.ReLU(), nn.Linear(50, 3))
    params = dict(net.named_parameters())
    by_record = ByRecord(net)
    before = torch.get_rng_state()
    per = by_record(loss_of(net, params), params, Batch(torch.randn(6, 4)))
    assert by_record.way == "layers" and per.norms.min() > 0
    torch.set_rng_state(before)
    values = loss_of(net, params)(params, Batch(torch.zeros(6, 4)))
    del values
    drawn = torch.get_rng_state()
    torch.set_rng_state(before)
    by_record(loss_of(net, params), params, Batch(torch.zeros(6, 4)))
    assert torch.equal(torch.get_rng_state(), drawn)  # the comparison leaves no trace


def test_a_new_path_through_the_layers_is_compared_again() -> None:
    class Paths(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.hidden = False

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.a(x), self.b.weight) if self.hidden else self.b(self.a(x))

    net = Paths()
    params = dict(net.named_parameters())
    by_record = ByRecord(net)
    by_record(loss_of(net, params), params, Batch(torch.randn(6, 4)))
    assert by_record.way == "layers"
    net.hidden = True
    with pytest.warns(UserWarning, match="b.weight"):
        by_record(loss_of(net, params), params, Batch(torch.randn(6, 4)))


def test_a_norm_of_the_batch_is_refused_with_a_remedy() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    with pytest.raises(Refused, match="mixes the rows of a batch"), capture(net, dict(net.named_parameters())):
        pass


@pytest.mark.parametrize("option", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}], ids=str)
def test_a_table_whose_rows_depend_on_other_records_is_refused(option: dict[str, object]) -> None:
    net = nn.Embedding(5, 4, **option)  # type: ignore[arg-type]
    with pytest.raises(Refused, match=next(iter(option))), capture(net, dict(net.named_parameters())):
        pass


def test_watching_leaves_the_module_as_it_was() -> None:
    net = nn.ModuleDict(
        {"a": nn.Linear(4, 4), "b": nn.LSTM(4, 4), "c": nn.MultiheadAttention(4, 2), "d": nn.ReLU(True)}
    )
    before = {k: dict(vars(m)) for k, m in net.items()}
    with pytest.raises(ZeroDivisionError), capture(net, dict(net.named_parameters())):
        raise ZeroDivisionError
    for k, m in net.items():
        assert "forward" not in vars(m) and not m._forward_hooks and vars(m).keys() == before[k].keys()
    assert net["d"].inplace


def test_a_packed_sequence_is_said_to_be_unknown() -> None:
    net = nn.LSTM(4, 3, batch_first=True)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(3, 5, 4), torch.tensor([5, 3, 2]), batch_first=True)
    with capture(net, dict(net.named_parameters())) as tape:
        values = net(packed)[1][0].sum((0, 2))
    with pytest.raises(Unknown, match="equally long"):
        tape.per_record(values)


def test_what_went_into_a_layer_and_was_overwritten_is_not_used() -> None:
    net = nn.Linear(4, 3)
    x = torch.randn(6, 4)
    with capture(net, dict(net.named_parameters())) as tape:
        values = net(x).square().sum(1)
    x.zero_()
    with pytest.raises(Unknown, match="changed in place"):
        tape.per_record(values)


def test_only_the_asked_parameters_are_watched() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    asked = {"1.weight": net[1].weight}
    per = ByRecord(net)(lambda at, batch: net(batch.x).square().sum(1), asked, Batch(torch.randn(6, 4)))
    assert list(per.uses) == ["1.weight"] and per.squares().keys() == {"1.weight"}


def test_vmap_and_rows_agree() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    params, batch = dict(net.named_parameters()), Batch(torch.randn(6, 4, dtype=torch.float64))
    records = torch.tensor([3, 3, 1, 0, 1, 3])
    a, b = (
        by_vmap(loss_of(net, params), params, batch, records),
        one_at_a_time(loss_of(net, params), params, batch, records),
    )
    for k, g in a.each().items():
        same(g, b.each()[k])


def test_no_gradient_is_no_gradient() -> None:
    net = nn.Linear(4, 3)
    params = dict(net.named_parameters())
    per = ByRecord(net)(lambda at, batch: torch.zeros(len(batch)), params, Batch(torch.randn(6, 4)))
    assert per.weighted(torch.ones(6)) == {} and not per.norms.any() and len(per.norms) == 6
