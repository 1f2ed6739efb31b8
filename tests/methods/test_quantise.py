"""Quantisation-aware training: torch's rounding, gradients straight through, and the same net when it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sonde.bundle import Bundle
from sonde.core import Batch, Budget, Build, Engine, Read, Recipe, Run, SondeError, Stage, fit, read_state, write_state
from sonde.data import load
from sonde.data.rows import Rows, Split
from sonde.methods import EMA, Prune, Quantise, sgd
from sonde.nets import MLP, LeNet, ResNet
from sonde.nets.layers.quantised import Quantised, levels, quantised, rounded_weight
from sonde.objectives import Classify
from sonde.results import shipped
from tests.support import Watch, blobs, mlp, trained, weights


# ---------------------------------------------------------------- the rounding
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_rounded_as_torch_does(bits: int) -> None:
    from torch.ao.quantization import FakeQuantize, PerChannelMinMaxObserver

    most = 2 ** (bits - 1) - 1
    reference = FakeQuantize(
        observer=PerChannelMinMaxObserver,
        quant_min=-most,
        quant_max=most,
        dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
    )
    w = torch.randn(6, 3, 3, 3)
    torch.testing.assert_close(rounded_weight(w, bits), reference(w), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shift", [0.0, 0.7, 3.0, -3.0])
def test_levels_are_those_of_torch(bits: int, shift: float) -> None:
    from torch.ao.quantization import MinMaxObserver

    observer = MinMaxObserver(quant_min=0, quant_max=2**bits - 1, dtype=torch.quint8)
    x = torch.randn(50) + shift
    observer(x)
    scale, zero = levels(x.min(), x.max(), bits)
    expected = observer.calculate_qparams()
    torch.testing.assert_close(scale, expected[0].squeeze())
    assert int(zero) == int(expected[1])
    assert torch.fake_quantize_per_tensor_affine(torch.zeros(1), scale, zero, 0, 2**bits - 1).item() == 0


def test_the_range_moves_as_torchs_does() -> None:
    from torch.ao.quantization import MovingAverageMinMaxObserver

    layer, observer = Quantised(nn.Linear(4, 3)), MovingAverageMinMaxObserver(averaging_constant=0.01)
    for _ in range(20):
        x = torch.randn(8, 4)
        layer(x)
        observer(x)
    torch.testing.assert_close(layer.low, observer.min_val)
    torch.testing.assert_close(layer.high, observer.max_val)


def test_a_layer_is_the_plain_layer_of_rounded_numbers() -> None:
    for plain, x in (
        (nn.Linear(4, 3), torch.randn(8, 4)),
        (nn.Conv2d(2, 4, 3, stride=2, padding=1, padding_mode="reflect"), torch.rand(5, 2, 8, 8)),
        (nn.Conv1d(4, 4, 3, groups=2, dilation=2), torch.randn(5, 4, 9)),
    ):
        layer = Quantised(plain)
        scale, zero = levels(x.min(), x.max(), 8)
        rounded = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)
        expected = functional_call(plain, {"weight": rounded_weight(plain.weight, 8)}, rounded)
        torch.testing.assert_close(layer(x), expected)
        assert (layer(x) - plain(x)).abs().max() < 0.05


def test_gradients_pass_straight_through_and_stop_where_inputs_are_cut() -> None:
    layer = Quantised(nn.Linear(1, 1, bias=False))
    layer(torch.tensor([[-1.0], [1.0]]))  # the range is that of the first batch
    layer.eval()
    x = torch.tensor([[0.3], [-0.9], [5.0], [-5.0]], requires_grad=True)
    layer(x).sum().backward()
    w = rounded_weight(layer.weight, 8).item()
    assert x.grad is not None and x.grad.flatten().tolist() == pytest.approx([w, w, 0.0, 0.0])
    assert layer.weight.grad is not None
    assert layer.weight.grad.item() == pytest.approx(layer.rounded(x.detach()).sum().item())


def test_in_few_bits_there_are_few_numbers() -> None:
    w = rounded_weight(torch.randn(5, 200), 3)
    assert all(len(row.unique()) <= 7 for row in w)
    layer = Quantised(nn.Linear(1, 1), bits=3)
    assert len(layer.rounded(torch.randn(500, 1)).unique()) <= 8


def test_the_more_bits_the_closer() -> None:
    x, w = torch.randn(64, 4), torch.randn(5, 4)
    errors = [(rounded_weight(w, bits) - w).abs().max() for bits in (2, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-4
    layer = Quantised(nn.Linear(4, 1), bits=16)
    assert (layer.rounded(x) - x).abs().max() < 1e-4


def test_what_is_no_number_stays_none() -> None:
    layer = Quantised(nn.Linear(2, 1))
    assert layer(torch.tensor([[float("nan"), 1.0]])).isnan().all()
    assert rounded_weight(torch.tensor([[float("nan"), 1.0]]), 8).isnan().any()
    assert not rounded_weight(torch.zeros(2, 3), 8).any()


def test_a_row_does_not_depend_on_the_others_of_its_batch() -> None:
    net = quantised(mlp(4, 8, 3))
    net(torch.randn(16, 4))
    x = torch.randn(8, 4)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    first = net(x)[0]
    net.load_state_dict(state)
    assert torch.equal(first, net(torch.cat([x[:1], 10 * x[1:]]))[0])


# ---------------------------------------------------------------- in a run
def test_training_learns_and_the_weights_keep_their_names() -> None:
    torch.manual_seed(0)
    run = trained(Quantise(4), steps=60, net=mlp(4, 8, 3))
    names = set(Classify(mlp(4, 8, 3)).state_dict())
    assert names < set(run.weights())
    x, y = blobs()
    with run.evaluating() as objective:
        assert (objective.predict(x).argmax(1) == y).float().mean() > 0.9  # type: ignore[operator]


def test_only_recorded_evaluations_move_the_range() -> None:
    run = trained(Quantise())
    before = weights(run.objective)
    batch = Batch(10 * torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))
    run.gradient("model", batch, record=False)
    with run.evaluating() as objective:
        objective.predict(batch.x)  # type: ignore[operator]
    assert torch.equal(weights(run.objective), before)


def test_reading_the_ranges_is_announced() -> None:
    watch = Watch()
    trained(Quantise(), watch)
    assert [e.reader for e in watch.of(Read)] == ["Quantise"]  # type: ignore[attr-defined]


def test_averages_and_masks_go_with_it() -> None:
    run = trained(EMA(0.9), Quantise(), Prune(0.5), net=mlp(4, 50, 3), steps=20)
    layer = run.objective.net[0]  # type: ignore[index, union-attr]
    assert (rounded_weight(layer.weight, 8)[layer.weight == 0] == 0).all()
    assert {k for k in run.weights() if k.endswith("seen")}
    with run.evaluating() as objective:
        assert objective.predict(blobs()[0]).isfinite().all()  # type: ignore[operator]


def test_a_layer_used_twice_is_one_layer_and_tied_weights_stay_tied() -> None:
    one = nn.Linear(4, 4)
    net = quantised(nn.Sequential(one, nn.Tanh(), one))
    assert net[0] is net[2]
    embedding, head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
    head.weight = embedding.weight
    tied = quantised(nn.ModuleList([embedding, head]))
    assert tied[1].weight is embedding.weight


def test_attention_and_recurrent_layers_stay_as_they_are() -> None:
    net = quantised(nn.ModuleList([nn.MultiheadAttention(4, 2), nn.LSTM(4, 4), nn.Linear(4, 2)]))
    assert [type(m) for m in net] == [nn.MultiheadAttention, nn.LSTM, Quantised]


def test_a_net_with_nothing_to_round_is_refused() -> None:
    with pytest.raises(SondeError, match="Quantise finds no dense layer and no convolution"):
        trained(Quantise(), net=nn.Sequential(nn.Flatten(), nn.LayerNorm(4)))


def test_bfloat16_and_doubles() -> None:
    run = Run(Classify(mlp(4, 8, 3)), [Quantise(), sgd(0.1)], Engine("cpu", precision="bf16-mixed"))
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=4))
    x, y = blobs()
    run = trained(Quantise(), net=mlp(4, 8, 3).double(), source=Rows(x.double(), y, batch_size=16))
    assert all(p.dtype == torch.float64 for p in run.objective.parameters())


@pytest.mark.parametrize("bits", [0, 1, 17])
def test_impossible_bits_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="bits is 2 to 16"):
        Quantise(bits)


# ---------------------------------------------------------------- shipped and loaded
NETS = {
    "mlp": Build(MLP, shape=(1, 8, 8), outputs=10, widths=(12,)),
    "resnet": Build(ResNet, channels=1, outputs=10, widths=(8, 16)),
}


def recipe(net: Build[nn.Module]) -> Recipe:
    stage = Stage(source=Build(Split, split="train", batch_size=64), budget=Budget(steps=6))
    methods = (Build(Quantise, bits=6), Build(sgd, lr=0.05))
    return Recipe(name="q", seed=0, objective=Build(Classify, net=net), methods=methods, stages=(stage,))


@pytest.mark.parametrize("net", NETS)
def test_the_bundle_computes_as_it_was_trained(net: str, tmp_path: Path) -> None:
    data, plan = load("digits"), recipe(NETS[net])
    run = plan.start(data)
    plan.train(run, data)
    bundle = shipped(run, plan, data)
    bundle.save(tmp_path / "model")
    again = Bundle.load(tmp_path / "model")
    assert any(isinstance(m, Quantised) for m in again.objective.modules())
    x = data.batch(data.splits["test"][:40]).x
    with run.evaluating() as objective:
        expected = objective.predict(x)  # type: ignore[operator]
    for found in (bundle, again):
        assert torch.equal(found.raw(x), expected)
    assert isinstance(again.build.make, type(quantised)) and again.build.arguments["bits"] == 6


def test_ranges_survive_an_interruption(tmp_path: Path) -> None:
    def run() -> Run:
        torch.manual_seed(0)
        return Run(Classify(LeNet(1, 12, 12, 3)), [Quantise(), sgd(0.05)])

    x, y = torch.rand(64, 1, 12, 12), torch.randint(3, (64,))
    whole, half = run(), run()
    fit(whole, Rows(x, y, batch_size=16), Budget(steps=4))
    source = Rows(x, y, batch_size=16)
    for batch, _ in zip(source.batches(half), range(2), strict=False):
        half.advance(batch)
    write_state(tmp_path / "kept", half.state_dict())
    rest = run()
    rest.load_state_dict(read_state(tmp_path / "kept")[0])
    fit(rest, Rows(x, y, batch_size=16), Budget(steps=4))

    def ranges(of: Run) -> list[Tensor]:
        return [b for k, b in of.objective.named_buffers() if k.endswith(("low", "high", "seen"))]

    assert len(ranges(rest)) == 15
    assert all(torch.equal(a, b) for a, b in zip(ranges(rest), ranges(whole), strict=True))
    assert torch.equal(weights(rest.objective), weights(whole.objective))
