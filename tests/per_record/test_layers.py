"""Every kind of layer: what its own algebra gives equals one backward pass a record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonde.core import Batch
from sonde.nets import LeNet, ResNet
from sonde.per_record import ByRecord, PerRecord, one_at_a_time

S = nn.Sequential
Case = tuple[Callable[[], nn.Module], Callable[[], Tensor]]


class Attends(nn.Module):
    """Self-attention, or attention to a memory, with the options of nn.MultiheadAttention."""

    def __init__(self, memory: bool = False, mask: str = "", need_weights: bool = True, **options: object) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **{"batch_first": True, **options})  # type: ignore[arg-type]
        self.widen = nn.Linear(8, self.attention.kdim or 8)
        self.memory, self.mask, self.need_weights = memory, mask, need_weights

    def forward(self, x: Tensor) -> Tensor:
        options: dict[str, object] = {"need_weights": self.need_weights}
        if self.mask == "causal":
            options["attn_mask"] = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        elif self.mask == "padding":
            options["key_padding_mask"] = torch.arange(x.shape[1]).expand(len(x), -1) >= 3
        elif self.mask == "heads":
            options["attn_mask"] = (torch.eye(x.shape[1]) == 1).expand(2 * len(x), -1, -1).logical_not().roll(1, 2)
        turned = x if self.attention.batch_first else x.transpose(0, 1)
        other = self.widen(turned.flip(1)) if self.memory or self.attention.kdim != 8 else turned
        out = self.attention(turned, other, other, **options)[0]
        return out if self.attention.batch_first else out.transpose(0, 1)


class TiedWords(nn.Module):
    """A table of words that is looked up, and applied as the last layer; a layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.inner, self.out = nn.Embedding(11, 5), nn.Linear(5, 5), nn.Linear(5, 11, bias=False)
        self.out.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.inner(self.inner(self.words(ids)).tanh()).tanh())


class Own(nn.Module):
    """A layer of a user's own, with parameters that no rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.scale = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * torch.tanh(x @ self.w)


class Steps(nn.Module):
    """A recurrent cell, step by step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return state[0] if isinstance(state, tuple) else state


class First(nn.Module):
    """The outputs of a recurrent net, whose states go in and come out."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.first = net, nn.Linear(5, net.hidden_size * (1 if net.batch_first else 1))

    def forward(self, x: Tensor) -> Tensor:
        net = self.net
        h = self.first(x.mean(1)).expand(net.num_layers * (2 if net.bidirectional else 1), -1, -1)
        out, last = net(x if net.batch_first else x.transpose(0, 1), (h, h.sin()) if isinstance(net, nn.LSTM) else h)
        end = last[1] if isinstance(last, tuple) else last
        return (out if net.batch_first else out.transpose(0, 1)).flatten(1) + end.sum((0, 2))[:, None]


def images(channels: int = 3, side: int = 6) -> Callable[[], Tensor]:
    return lambda: torch.randn(6, channels, side, side)


def sequences(features: int = 5) -> Callable[[], Tensor]:
    return lambda: torch.randn(6, 4, features)


def words() -> Tensor:
    return torch.randint(0, 11, (6, 7))


LAYERS: dict[str, Case] = {
    "linear": (lambda: S(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 3)), lambda: torch.randn(6, 5)),
    "linear of sequences": (lambda: S(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 3)), sequences()),
    "linear of long sequences": (lambda: nn.Linear(3, 2), lambda: torch.randn(6, 40, 3)),
    "linear of wide sequences": (lambda: nn.Linear(60, 70), lambda: torch.randn(6, 3, 60)),
    "frozen weight": (lambda: frozen(S(nn.Linear(5, 4), nn.Linear(4, 3))), lambda: torch.randn(6, 5)),
    "embedding": (lambda: S(nn.Embedding(11, 5, padding_idx=0), nn.Linear(5, 4)), words),
    "conv1d, circular": (
        lambda: nn.Conv1d(4, 6, 4, stride=2, padding=1, padding_mode="circular"),
        lambda: torch.randn(6, 4, 9),
    ),
    "conv1d, same": (lambda: nn.Conv1d(4, 6, 4, dilation=2, padding="same"), lambda: torch.randn(6, 4, 9)),
    "conv2d, strided": (lambda: nn.Conv2d(3, 8, 3, stride=2, padding=1), images()),
    "conv2d, grouped": (lambda: S(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(inplace=True)), images(4)),
    "conv2d, depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, padding=1, bias=False), images(4)),
    "conv2d, dilated, uneven": (lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 1), dilation=(1, 3)), images()),
    "conv2d, few positions": (lambda: nn.Conv2d(16, 20, 5), images(16)),
    "conv2d, 1x1": (lambda: nn.Conv2d(3, 4, 1), images()),
    "conv3d": (lambda: nn.Conv3d(2, 4, (1, 2, 3), padding=(0, 1, 1)), lambda: torch.randn(6, 2, 4, 4, 4)),
    "transposed conv1d": (
        lambda: nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1, dilation=2),
        lambda: torch.randn(6, 3, 5),
    ),
    "transposed conv2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        images(4),
    ),
    "transposed conv3d": (lambda: nn.ConvTranspose3d(2, 3, 2, stride=2), lambda: torch.randn(6, 2, 2, 3, 2)),
    "layer norm": (lambda: S(nn.Linear(5, 4), nn.LayerNorm(4), nn.Tanh(), nn.LayerNorm((4, 4))), sequences()),
    "rms norm": (lambda: S(nn.Linear(5, 4), nn.RMSNorm(4)), sequences()),
    "group norm": (lambda: S(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(inplace=True)), images()),
    "instance norm": (lambda: S(nn.Conv2d(3, 4, 3, bias=False), nn.InstanceNorm2d(4, affine=True)), images()),
    "batch norm, evaluating": (lambda: S(nn.Conv2d(3, 4, 3), running(nn.BatchNorm2d(4))), images()),
    "attention": (lambda: Attends(), sequences(8)),
    "attention, first of all time": (lambda: Attends(batch_first=False), sequences(8)),
    "attention to a memory": (lambda: Attends(memory=True, bias=False), sequences(8)),
    "attention of other widths": (lambda: Attends(kdim=6, vdim=6), sequences(8)),
    "attention, causal": (lambda: Attends(mask="causal", need_weights=False), sequences(8)),
    "attention, padded": (lambda: Attends(mask="padding"), sequences(8)),
    "attention, a mask a head": (lambda: Attends(mask="heads"), sequences(8)),
    "attention, more keys": (lambda: Attends(add_bias_kv=True, add_zero_attn=True), sequences(8)),
    **{
        f"{kind.__name__}, {name}": ((lambda kind=kind, options=options: First(kind(5, 4, **options))), sequences())
        for kind in (nn.RNN, nn.LSTM, nn.GRU)
        for name, options in {
            "two layers": {"num_layers": 2, "batch_first": True},
            "both ways": {"bidirectional": True, "batch_first": True},
            "time first, no bias": {"bias": False},
        }.items()
    },
    "RNN, relu": (lambda: First(nn.RNN(5, 4, nonlinearity="relu", batch_first=True)), sequences()),
    **{c.__name__: ((lambda c=c: Steps(c(5, 4))), sequences()) for c in (nn.RNNCell, nn.LSTMCell, nn.GRUCell)},
    "tied weights": (TiedWords, words),
    "a layer of one's own": (lambda: S(Own(), nn.Linear(4, 3), nn.PReLU(3)), lambda: torch.randn(6, 5)),
    "a parametrised layer": (
        lambda: S(nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), nn.Tanh()),
        lambda: torch.randn(6, 4),
    ),
    "bilinear": (lambda: TwoIn(), lambda: torch.randn(6, 4)),
    "LeNet": (lambda: LeNet(1, 12, 12, 4), lambda: torch.rand(6, 1, 12, 12)),
    "ResNet with group norms": (lambda: grouped(ResNet(3, 4, (8, 16))), lambda: torch.rand(6, 3, 8, 8)),
    "transformer": (lambda: TransformerNet(), words),
}


class TwoIn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Bilinear(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, x.sin())


class TransformerNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.body(self.words(ids)).mean(1))


def frozen(net: nn.Sequential) -> nn.Module:
    net[0].weight.requires_grad_(False)
    return net


def running(norm: nn.BatchNorm2d) -> nn.Module:
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    nn.init.normal_(norm.running_mean)
    return norm.eval()


def grouped(net: nn.Module) -> nn.Module:
    for parent in net.modules():
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(4, child.num_features))
    return net


def loss_of(net: nn.Module, params: dict[str, Tensor]) -> Callable[[dict[str, Tensor], Batch], Tensor]:
    def evaluate(at: dict[str, Tensor], batch: Batch) -> Tensor:
        out = net(batch.x) if at is params else torch.func.functional_call(net, at, (batch.x,))
        return (F.softplus(out.flatten(1)) * torch.arange(1, 1 + out[0].numel())).mean(1)

    return evaluate


def both(net: nn.Module, x: Tensor, records: Tensor | None = None) -> tuple[ByRecord, PerRecord, PerRecord]:
    net = net.double()
    x = x.double() if x.is_floating_point() else x
    params = {k: p for k, p in net.named_parameters() if p.requires_grad}
    by_record = ByRecord(net)
    per = by_record(loss_of(net, params), params, Batch(x), records)
    return by_record, per, one_at_a_time(loss_of(net, params), params, Batch(x), records)


def same(ours: Tensor, true: Tensor) -> None:
    torch.testing.assert_close(ours.view_as(true), true, rtol=1e-7, atol=1e-9 * float(true.abs().max()) + 1e-14)


@pytest.mark.parametrize("records", [None, [4, 2, 4, 4, 2, 9]], ids=["a row a record", "several rows a record"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_give_each_record_s_gradient(name: str, records: list[int] | None) -> None:
    torch.manual_seed(0)
    make, data = LAYERS[name]
    by_record, per, true = both(make(), data(), None if records is None else torch.tensor(records))
    assert by_record.way == "layers", by_record.reason
    same(per.norms, true.norms)
    if records is not None:
        assert per.ids is not None and true.ids is not None and torch.equal(per.ids, true.ids)
    weights = torch.rand(per.records, dtype=torch.float64)
    ours, exact = per.weighted(weights), true.weighted(weights)
    scale = max(float(g.abs().max()) for g in exact.values())
    for found, wanted in ((ours, exact), (per.squares(), true.squares()), (per.each(), true.each())):
        for k, g in wanted.items():
            if k not in found:
                assert not g.any(), k
            else:
                torch.testing.assert_close(found[k].view_as(g), g, rtol=1e-6, atol=1e-10 * max(1.0, scale))
    for k, squared in per.squared_norms.items():
        torch.testing.assert_close(squared, true.squared_norms[k], rtol=1e-6, atol=1e-12)
