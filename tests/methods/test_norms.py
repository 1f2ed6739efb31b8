"""L2, max-norm and spectral norm: closed forms, references, what is shipped, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sonde.bundle import Bundle
from sonde.core import Budget, Build, Method, Recipe, Refused, Run, SondeError, Stage, fit
from sonde.data import load
from sonde.data.rows import Rows, Split
from sonde.methods import EMA, L1, L2, MaxNorm, Quantise, SpectralNorm, adam, adamw, sgd
from sonde.nets import MLP
from sonde.nets.layers.spectral import Spectral, spectrally_normalised
from sonde.objectives import Classify
from sonde.results import shipped
from tests.support import GAN, blobs, gan_rows, mlp, trained, weights


def matrix(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters() if p.dim() > 1])


# ---------------------------------------------------------------- L2
def with_rule(*methods: Method) -> nn.Module:
    torch.manual_seed(0)
    net = mlp(4, 8, 3).double()
    x, y = blobs()
    fit(Run(Classify(net), methods), Rows(x.double(), y, batch_size=16), Budget(steps=20))
    return net


def test_under_gradient_descent_the_penalty_is_weight_decay() -> None:
    """With momentum too: it is added to the gradient."""
    for momentum in (0.0, 0.9):
        penalty = with_rule(L2(0.05), sgd(0.1, momentum=momentum))
        decay = with_rule(sgd(0.1, momentum=momentum, weight_decay=0.05))
        torch.testing.assert_close(matrix(penalty), matrix(decay), rtol=1e-10, atol=1e-12)


def test_under_adam_the_penalty_is_adam_with_l2_and_not_decoupled_decay() -> None:
    """Loshchilov and Hutter, algorithm 2: the two lines that differ."""
    penalty = with_rule(L2(0.5), adam(0.01))
    torch.manual_seed(0)
    reference = mlp(4, 8, 3).double()
    decayed = [p for p in reference.parameters() if p.dim() > 1]
    rest = [p for p in reference.parameters() if p.dim() == 1]
    rule = torch.optim.Adam([{"params": decayed, "weight_decay": 0.5}, {"params": rest}], lr=0.01)
    x, y = blobs()
    batches = Rows(x.double(), y, batch_size=16).batches(None, 0)
    for _, batch in zip(range(4), batches, strict=False):
        rule.zero_grad()
        nn.functional.cross_entropy(reference(batch.x), batch.y).backward()
        rule.step()
    torch.manual_seed(0)
    net = mlp(4, 8, 3).double()
    fit(Run(Classify(net), [L2(0.5), adam(0.01)]), Rows(x.double(), y, batch_size=16), Budget(steps=4))
    torch.testing.assert_close(weights(net), weights(reference), rtol=1e-9, atol=1e-11)
    decoupled = with_rule(adamw(0.01, weight_decay=0.5))
    assert (matrix(penalty) - matrix(decoupled)).norm() > 0.1 * matrix(decoupled).norm()


def test_it_is_a_penalty_of_matrices_alone() -> None:
    run = trained(L2(0.3), steps=1)
    loss = run.loss("model", run.params("model"), Rows(*blobs(), batch_size=4).batches(None, 0).__next__())
    term = loss.terms["l2"]
    assert term.kind == "penalty"
    torch.testing.assert_close(term.reduce(), 0.15 * matrix(run.objective).square().sum())
    assert "l2" not in trained(L2(0.0), steps=1).losses["model"].terms
    with pytest.raises(ValueError, match="0 or more"):
        L2(-1.0)


# ---------------------------------------------------------------- max-norm
def test_no_unit_has_longer_weights_and_shorter_ones_stay() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    run = Run(Classify(net), [MaxNorm(0.6), sgd(0.1)])
    before = {k: p.detach().clone() for k, p in net.named_parameters()}
    with torch.no_grad():
        run.methods[0].project(run, "model")
    for k, p in net.named_parameters():
        if p.dim() == 1:
            assert torch.equal(p, before[k])
            continue
        lengths = before[k].norm(dim=1)
        for row, old, length in zip(p, before[k], lengths, strict=True):
            wanted = old if length <= 0.6 else old * 0.6 / length
            torch.testing.assert_close(row, wanted)
        assert torch.equal(p[lengths <= 0.6], before[k][lengths <= 0.6])
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=20))
    assert all((p.flatten(1).norm(dim=1) <= 0.6 * (1 + 1e-6)).all() for p in net.parameters() if p.dim() > 1)


def test_it_equals_torchs_renorm_for_kernels_and_knows_where_units_are() -> None:
    net = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ConvTranspose2d(5, 4, 3), nn.Flatten(), nn.Linear(4 * 64, 3))
    kernel, transposed = net[0].weight.detach().clone(), net[1].weight.detach().clone()
    run = Run(Classify(net), [MaxNorm(0.3), sgd(0.1)])
    with torch.no_grad():
        run.methods[0].project(run, "model")
    torch.testing.assert_close(net[0].weight.detach(), kernel.renorm(2, 0, 0.3), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net[1].weight.detach(), transposed.renorm(2, 1, 0.3), rtol=1e-5, atol=1e-6)


def test_a_bound_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(SondeError, match="leaves nothing"):
        MaxNorm(0.0)


# ---------------------------------------------------------------- spectral norm
def norms(net: nn.Module) -> list[float]:
    found = [m.weight.detach().flatten(1) for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return [float(torch.linalg.matrix_norm(w, 2)) for w in found]


def test_every_layer_has_a_spectral_norm_of_one_throughout_training() -> None:
    net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    run = Run(Classify(net), [SpectralNorm(), sgd(0.1)])
    assert norms(net) == pytest.approx([1.0, 1.0], abs=0.02)
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=50))
    with run.evaluating():
        assert norms(net) == pytest.approx([1.0, 1.0], abs=1e-3)


def test_a_step_of_it_is_algorithm_1() -> None:
    layer = spectrally_normalised(nn.Linear(6, 4).double())
    inner = layer.parametrizations.weight
    with torch.no_grad():
        inner.original.normal_()
    w, u = inner.original.detach().clone(), inner[0].u.clone()
    found = layer.weight
    v = w.T @ u / (w.T @ u).norm()
    u = w @ v / (w @ v).norm()
    torch.testing.assert_close(found, w / (u @ w @ v))
    torch.testing.assert_close(torch.stack([*inner[0].u]), u)
    (gradient,) = torch.autograd.grad(found.sin().sum(), inner.original)
    w.requires_grad_()  # eq. 12: u and v are constants
    (expected,) = torch.autograd.grad((w / (u @ w @ v)).sin().sum(), w)
    torch.testing.assert_close(gradient, expected)


def test_it_comes_to_torchs_own() -> None:
    """Which steps u before v, so that the two agree where the steps have come to rest."""
    torch.manual_seed(0)
    ours, theirs = nn.Conv2d(2, 5, 3).double(), nn.Conv2d(2, 5, 3).double()
    theirs.load_state_dict(ours.state_dict())
    spectrally_normalised(ours)
    nn.utils.parametrizations.spectral_norm(theirs)
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    for _ in range(200):
        a, b = ours(x), theirs(x)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    a.sin().sum().backward()
    b.sin().sum().backward()
    pair = [m.parametrizations.weight.original.grad for m in (ours, theirs)]
    torch.testing.assert_close(*pair, rtol=1e-8, atol=1e-8)


def test_a_weight_of_zeros_stays_one_and_may_come_back() -> None:
    layer = spectrally_normalised(nn.Linear(6, 4))
    inner = layer.parametrizations.weight
    kept = inner.original.detach().clone()
    with torch.no_grad():
        inner.original.zero_()
    assert layer.weight.eq(0).all()
    with torch.no_grad():
        inner.original.copy_(kept)
    assert norms(nn.Sequential(layer.eval())) == pytest.approx([1.0], abs=1e-3)


def test_a_game_may_have_it_in_one_player() -> None:
    game = GAN()
    run = fit(Run(game, [SpectralNorm("discriminator"), adam(0.01)]), gan_rows(), Budget(steps=5))
    assert run.step == 5 and norms(game.discriminator.eval()) == pytest.approx([1.0, 1.0], abs=1e-3)
    assert not any(isinstance(m, Spectral) for m in game.generator.modules())
    with pytest.raises(SondeError, match="no part 'critic'.*\n.*generator, discriminator"):
        Run(GAN(), [SpectralNorm("critic"), adam(0.01)])


def test_setting_up_draws_no_random_number() -> None:
    state = torch.get_rng_state()
    net = mlp(4, 8, 3)
    torch.set_rng_state(state)
    Run(Classify(net), [SpectralNorm(), sgd(0.1)])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_shipped_model_answers_as_the_trained_one(tmp_path: Path) -> None:
    data = load("digits")
    recipe = Recipe(
        name="spectral",
        seed=0,
        objective=Build(Classify, net=Build(MLP, shape=(1, 8, 8), outputs=10, widths=(16,))),
        methods=(Build(SpectralNorm), Build(EMA, decay=0.9), Build(sgd, lr=0.1)),
        stages=(Stage(source=Build(Split, split="train", batch_size=64), budget=Budget(steps=8)),),
    )
    run = recipe.train(data=data)
    shipped(run, recipe, data).save(tmp_path / "model")
    loaded = Bundle.load(tmp_path / "model")
    x = data.batch(torch.arange(20)).x
    with run.evaluating() as objective:
        assert torch.equal(loaded.objective.predict(x), objective.predict(x))  # type: ignore[operator]
    assert norms(loaded.objective) == pytest.approx([1.0, 1.0], abs=0.03)  # of an average no step was taken on
    assert loaded.build.arguments["part"] == ""


@pytest.mark.parametrize("other", [L1(0.1), L2(0.1), MaxNorm(), Quantise()])
def test_what_acts_on_the_size_of_the_weights_is_refused(other: Method) -> None:
    for methods in ([SpectralNorm(), other], [other, SpectralNorm()]):
        with pytest.raises(Refused, match="SpectralNorm"):
            Run(Classify(mlp(4, 8, 3)), [*methods, sgd(0.1)])


def test_a_net_without_a_layer_for_it_is_refused() -> None:
    with pytest.raises(SondeError, match="SpectralNorm finds no"):
        Run(Classify(nn.Sequential(nn.Bilinear(2, 2, 3))), [SpectralNorm(), sgd(0.1)])
