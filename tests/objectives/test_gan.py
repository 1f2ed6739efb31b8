"""The GAN: its losses by hand, its gradients, who moves when, and that a generator learns a distribution."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.methods import DPSGD, Backprop, adam, sgd
from sonde.methods.observe.validate import mean_scores
from sonde.objectives import GAN
from tests.support import mlp, weights

DOUBLE = torch.float64


def game(samples: int = 5, turns: int = 1) -> GAN:
    torch.manual_seed(1)
    return GAN(mlp(3, 8, 2), mlp(2, 8, 1), latent=3, samples=samples, discriminator_turns=turns).double()


def rows(n: int = 6) -> Batch:
    return Batch(torch.randn(n, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(2)), None, torch.arange(n))


def noise(count: int) -> Tensor:
    """What the next evaluation will draw."""
    state = torch.get_rng_state()
    drawn = torch.randn(count, 3, dtype=DOUBLE)
    torch.set_rng_state(state)
    return drawn


def test_the_discriminator_pays_for_every_real_and_every_fake_row() -> None:
    gan, batch = game(), rows()
    z = noise(6)
    loss = gan("discriminator", batch)
    real, fake = (gan.discriminator(v).sigmoid().squeeze(1) for v in (batch.x, gan.generator(z)))
    torch.testing.assert_close(loss.terms["real"].value, -real.log())
    torch.testing.assert_close(loss.terms["fake"].value, -(1 - fake).log())
    assert {t.kind for t in loss.terms.values()} == {"example"}


def test_the_generator_pays_for_what_the_discriminator_recognises() -> None:
    gan = game()
    z = noise(5)
    loss = gan("generator", rows())
    d = gan.discriminator(gan.generator(z)).sigmoid().squeeze(1)
    torch.testing.assert_close(loss.total(), -d.log().mean())
    assert loss.terms["fool"].kind == "penalty"


@pytest.mark.parametrize("turn", ["discriminator", "generator"])
def test_gradients_are_exact(turn: str) -> None:
    gan, batch = game(), rows()
    names = [k for k, _ in gan.named_parameters() if k.startswith(turn)]

    def total(*params: Tensor) -> Tensor:
        torch.manual_seed(4)  # the same noise for every difference
        values = dict(zip(names, params, strict=True))
        return torch.func.functional_call(gan, values, (turn, batch)).total()

    params = [gan.get_parameter(k).detach().requires_grad_() for k in names]
    assert torch.autograd.gradcheck(total, params)


def test_the_generators_turn_reads_no_record() -> None:
    gan = game()
    values = []
    for batch in (rows(), Batch(100 * torch.ones(3, 2, dtype=DOUBLE))):
        torch.manual_seed(3)
        values.append(gan("generator", batch).total())
    assert torch.equal(*values)


@pytest.mark.parametrize("turns", [1, 3])
def test_the_discriminator_moves_as_often_as_asked_and_each_turn_moves_its_own_player(turns: int) -> None:
    gan = game(turns=turns)
    assert gan.turns(0) == ("discriminator",) * turns + ("generator",)
    run = Run(gan, [sgd(0.1)])
    for turn, other in (("discriminator", gan.generator), ("generator", gan.discriminator)):
        before = weights(other)
        run.updater.update(run, turn, lambda record=True, turn=turn: run.gradient(turn, rows(), record))
        assert torch.equal(weights(other), before)


def test_microbatches_add_the_generators_term_once() -> None:
    grads = []
    for microbatch in (0, 2):
        run = Run(game(), [Backprop(microbatch), sgd(0.1)])
        torch.manual_seed(7)  # the first evaluation, whose term counts, draws the same noise
        grads.append({k: g.clone() for k, g in run.gradient("generator", rows()).items()})
    for k, g in grads[0].items():
        torch.testing.assert_close(grads[1][k], g)


def test_microbatches_add_the_discriminators_terms_by_row() -> None:
    gan = game()
    nn.init.zeros_(gan.generator[-1].weight)  # every fake is the same row, whatever noise a microbatch draws
    whole, parts = (
        {k: g.clone() for k, g in Run(gan, [Backprop(n), sgd(0.1)]).gradient("discriminator", rows()).items()}
        for n in (0, 2)
    )
    for k, g in whole.items():
        torch.testing.assert_close(parts[k], g)


def test_a_generator_learns_where_the_data_is() -> None:
    torch.manual_seed(0)
    gan = GAN(nn.Linear(2, 2), mlp(2, 16, 1), latent=2)
    x = 0.5 * torch.randn(256, 2) + torch.tensor([2.0, -1.0])
    run = fit(Run(gan, [adam(5e-3, betas=(0.5, 0.9))]), Rows(x, batch_size=64), Budget(steps=800))
    with torch.no_grad():
        made = gan.sample(2000)
    assert (made.mean(0) - x.mean(0)).norm() < 0.5  # of 2.2 at the start
    assert run.losses["discriminator"].total().isfinite()


def test_validation_measures_how_well_the_discriminator_tells_them_apart() -> None:
    with torch.no_grad():
        values = mean_scores(game(), [rows()])
    assert 0 <= values["real_accuracy"] <= 1 and 0 <= values["fake_accuracy"] <= 1


@pytest.mark.parametrize(
    "generator, discriminator, words",
    [
        (nn.Linear(3, 4), nn.Linear(2, 1), r"rows of shape \(4,\), the data's are \(2,\)"),
        (nn.Linear(3, 2), nn.Linear(2, 2), r"answers \(2,\) numbers a row"),
    ],
)
def test_nets_that_do_not_fit_are_refused(generator: nn.Module, discriminator: nn.Module, words: str) -> None:
    with pytest.raises(SondeError, match=words):
        GAN(generator, discriminator, latent=3)("discriminator", Batch(torch.zeros(4, 2)))


@pytest.mark.parametrize("name", ["latent", "samples", "discriminator_turns"])
def test_counts_are_positive(name: str) -> None:
    with pytest.raises(SondeError, match=f"{name}=0 is not a positive number"):
        GAN(nn.Linear(1, 1), nn.Linear(1, 1), **{"latent": 1, name: 0})


def test_private_training_neither_clips_nor_noises_the_generators_turn() -> None:
    found = {}
    for name, extra in (("plain", []), ("private", [DPSGD(1e-3, noise_multiplier=5.0, insecure_seed=1)])):
        run = Run(game(), [*extra, sgd(0.1)])
        torch.manual_seed(7)
        found[name] = {k: g.clone() for k, g in run.estimator.estimate(run, "generator", rows(), True).items()}
    for k, g in found["plain"].items():
        torch.testing.assert_close(found["private"][k], g)


def test_private_training_clips_the_real_and_the_fake_term_of_a_record_together() -> None:
    torch.manual_seed(0)
    run = Run(game(), [DPSGD(1e-3, noise_multiplier=0.0, insecure_seed=1), sgd(0.1)])
    batch = replace(rows(1), denominator=1.0)  # one record: its clipped gradient is the sum
    grads = run.estimator.estimate(run, "discriminator", batch, True)
    assert torch.stack([g.norm() for g in grads.values()]).norm().item() == pytest.approx(1e-3, rel=1e-4)
