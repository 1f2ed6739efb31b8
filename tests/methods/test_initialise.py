"""How weights begin: variances of known schemes, and layers scaled by rows until they vary by one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Read, Refused, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.methods import DPSGD, EMA, LSUV, FitInputs, Initialise, SpectralNorm, sgd
from sonde.nets import MLP
from sonde.nets.init import GAINS, initialise, scale_layers
from sonde.objectives import Classify
from tests.support import Watch, blobs, mlp, weights


# ---------------------------------------------------------------- schemes
@pytest.mark.parametrize("activation", GAINS)
def test_gains_are_those_of_torch(activation: str) -> None:
    assert GAINS[activation] == pytest.approx(nn.init.calculate_gain(activation))


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"), [(nn.Linear(300, 200), 300, 200), (nn.Conv2d(30, 40, 3), 270, 360)]
)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_deviations_follow_the_papers(layer: nn.Module, fan_in: int, fan_out: int, activation: str) -> None:
    """Of n draws the deviation is known to 1 / sqrt(2 n): 5 of those."""
    gain = GAINS[activation]
    wanted = {"kaiming": gain / math.sqrt(fan_in), "xavier": gain * math.sqrt(2 / (fan_in + fan_out))}
    for scheme, deviation in wanted.items():
        initialise(layer, scheme, activation)  # type: ignore[type-var, arg-type]
        w: Tensor = layer.weight  # type: ignore[assignment]
        assert abs(w.std().item() / deviation - 1) < 5 / math.sqrt(2 * w.numel())
        assert layer.bias.eq(0).all()  # type: ignore[union-attr, operator]


def test_orthogonal_weights_are_orthogonal() -> None:
    wide = initialise(nn.Linear(8, 5), "orthogonal", "tanh").weight
    torch.testing.assert_close(wide @ wide.T, (5 / 3) ** 2 * torch.eye(5), rtol=1e-5, atol=1e-5)
    kernel = initialise(nn.Conv2d(2, 5, 3), "orthogonal", "linear").weight.flatten(1)
    torch.testing.assert_close(kernel @ kernel.T, torch.eye(5), rtol=1e-5, atol=1e-5)


def test_signals_keep_their_size_through_thirty_layers() -> None:
    """He et al., sec. 2.2: with the gain of the activation the second moment stays; else each halves it."""
    layers = [m for _ in range(30) for m in (nn.Linear(256, 256), nn.ReLU())]
    net, x = nn.Sequential(*layers), torch.randn(200, 256)
    initialise(net, "kaiming", "relu")
    kept = net(x).pow(2).mean().item()
    initialise(net, "kaiming", "linear")
    assert 0.1 < kept < 10 and net(x).pow(2).mean().item() < 1e-6


def test_other_layers_stay_and_its_own_generator_draws() -> None:
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))
    before, state = net[0].weight.detach().clone(), torch.get_rng_state()
    initialise(net, "xavier", "tanh", torch.Generator().manual_seed(3))
    assert torch.equal(net[0].weight, before) and net[2].weight.eq(1).all()
    assert torch.equal(torch.get_rng_state(), state)


def test_the_method_draws_what_the_function_does_and_the_same_again() -> None:
    net = mlp(4, 8, 3)
    Run(Classify(net), [Initialise("orthogonal", "tanh", seed=7), sgd(0.1)])
    other = initialise(mlp(4, 8, 3), "orthogonal", "tanh", torch.Generator().manual_seed(7))
    assert torch.equal(weights(net), weights(other))


# ---------------------------------------------------------------- from rows
def rows() -> Rows:
    x, y = blobs(n=256)
    return Rows(20 * x + 5, y, batch_size=64)


def variances(run: Run, net: nn.Module, x: Tensor) -> list[float]:
    found: list[float] = []
    handles = [
        m.register_forward_hook(lambda m, given, out: found.append(out.var(correction=0).item()))
        for m in net.modules()
        if isinstance(m, nn.Linear)
    ]
    with run.evaluating() as objective:
        objective("model", Batch(x, torch.zeros(len(x), dtype=torch.int64)))
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_every_layers_outputs_vary_by_one(activation: type[nn.Module]) -> None:
    widths = (4, 32, 32, 32, 32, 3)
    layers = [m for i, o in zip(widths, widths[1:], strict=False) for m in (nn.Linear(i, o), activation())]
    net = nn.Sequential(*layers[:-1])
    run = Run(Classify(net), [LSUV(tolerance=0.02), sgd(0.1)])
    source = run.chain("source", rows(), run)
    x = torch.cat([b.x for _, b in zip(range(4), source.batches(None, 0), strict=False)])
    assert variances(run, net, x) == pytest.approx([1.0] * 5, abs=0.021)


def test_inputs_are_normalised_before_they_are_gone_by() -> None:
    net = MLP((4,), 3, widths=(16,))
    run = Run(Classify(net), [LSUV(tolerance=0.02), FitInputs(), sgd(1e-9)])
    fit(run, rows(), Budget(steps=1))
    source = rows()
    x = torch.cat([b.x for _, b in zip(range(4), source.batches(None, 0), strict=False)])
    assert net.normalise.mean.abs().max() > 1
    assert variances(run, net, x) == pytest.approx([1.0, 1.0], abs=0.03)


def test_averages_begin_with_what_it_set_and_later_stages_are_left_alone() -> None:
    run = Run(Classify(mlp(4, 8, 3)), [EMA(0.9), LSUV(), sgd(0.0)])
    fit(run, rows(), Budget(steps=1))
    now = weights(run.objective)
    assert torch.equal(torch.cat([v.flatten().double() for v in run.weights().values()]), now)
    fit(run, rows(), Budget(steps=1))
    assert torch.equal(weights(run.objective), now)


def test_the_read_is_announced_and_moves_nothing_else() -> None:
    watch, net = Watch(), nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
    run = Run(Classify(net), [LSUV(), watch, sgd(0.1)])
    state = torch.get_rng_state()
    run.chain("source", rows(), run)
    assert [e.reader for e in watch.of(Read)] == ["LSUV"]  # type: ignore[attr-defined]
    assert torch.equal(torch.get_rng_state(), state)
    assert net[1].running_mean.eq(0).all() and all(m.training for m in net.modules())
    with pytest.raises(SondeError, match="LSUV"):
        fit(Run(Classify(mlp(4, 8, 3)), [DPSGD(1.0, noise_multiplier=1.0), LSUV(), sgd(0.1)]), rows(), Budget(steps=1))


# ---------------------------------------------------------------- refusals
def test_a_layer_that_always_answers_the_same_is_refused() -> None:
    net = initialise(nn.Sequential(nn.Linear(4, 3)))
    with pytest.raises(SondeError, match="layer 0 answers with a variance of 0"):
        scale_layers(net, lambda: net(torch.ones(5, 4) * 0))


def test_two_beginnings_and_weights_of_others_are_refused() -> None:
    def run(*methods: object) -> Run:
        return Run(Classify(mlp(4, 8, 3)), [*methods, sgd(0.1)])  # type: ignore[list-item]

    for methods in ((LSUV(), Initialise()), (Initialise(), Initialise())):
        with pytest.raises(Refused, match="both decide how the weights begin"):
            run(*methods)
    for methods in ((LSUV(), SpectralNorm()), (SpectralNorm(), LSUV())):
        with pytest.raises(Refused, match="SpectralNorm divides away"):
            run(*methods)
    with pytest.raises(Refused, match="put Initialise before SpectralNorm"):
        run(SpectralNorm(), Initialise())
    run(Initialise(), SpectralNorm())
    with pytest.raises(SondeError, match="no dense layer"):
        Run(Classify(nn.Bilinear(2, 2, 3)), [Initialise(), sgd(0.1)])
    with pytest.raises(SondeError, match="there is no scheme 'glorot'"):
        Initialise("glorot")  # type: ignore[arg-type]
    with pytest.raises(SondeError, match="there is no activation"):
        Initialise(activation="gelu")
    with pytest.raises(SondeError, match="no variance"):
        LSUV(rows=1)
