"""Losses: formulas by hand, references, exact gradients, extreme numbers, rows that do not touch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sonde import losses
from sonde.core import SondeError
from sonde.losses import CTC, Dice, Focal, GaussianNLL, Hinge, InfoNCE, PairMargin, Quantile, Tversky
from tests.losses.cases import (
    CASES,
    CLASSES,
    DOUBLE,
    FRAMES,
    JOINT,
    LABELS,
    SHARES,
    TARGETS,
    WORDS,
    C,
    Case,
    N,
    numbers,
)

EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
ALL = pytest.mark.parametrize("case", [*CASES, *JOINT], ids=lambda case: case.name)


def test_every_loss_is_among_the_cases() -> None:
    made = {type(case.loss) for case in [*CASES, *JOINT]}
    listed = [getattr(losses, name) for name in losses.__all__]
    equations = {losses.Heat, losses.Oscillator}
    assert {kind for kind in listed if inspect.isclass(kind)} - equations == made


# ---------------------------------------------------------------- what each is
@EACH
def test_it_equals_its_formula_written_by_hand(case: Case) -> None:
    rows = zip(*(t.tolist() for t in (*case.outputs, *case.y)), strict=True)
    torch.testing.assert_close(case(*case.outputs), torch.tensor([case.byhand(*r) for r in rows], dtype=DOUBLE))


def test_over_a_batch_the_overlap_is_that_of_all_rows_as_one() -> None:
    z = numbers(N, C)
    for kind in (Dice, Tversky):
        whole = kind(over="row")(z.flatten()[None], LABELS.flatten()[None])
        torch.testing.assert_close(kind(over="batch")(z, LABELS), whole[0])


def test_infonce_finds_each_partner_among_all() -> None:
    a, b = JOINT[-1].outputs
    total = 0.0
    for i in range(N):
        s = [float(F.cosine_similarity(a[i], b[j], dim=0)) / 0.3 for j in range(N)]
        total -= math.log(math.exp(s[i]) / sum(map(math.exp, s))) / N
    torch.testing.assert_close(InfoNCE(0.3)(a, b), torch.tensor(total, dtype=DOUBLE))


# ---------------------------------------------------------------- references
Z = numbers(N, C)
REFERENCES: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
    "mse": (lambda: losses.SquaredError()(Z, TARGETS), lambda: F.mse_loss(Z, TARGETS, reduction="none").mean(1)),
    "l1": (lambda: losses.AbsoluteError()(Z, TARGETS), lambda: F.l1_loss(Z, TARGETS, reduction="none").mean(1)),
    "huber": (
        lambda: losses.Huber(0.7)(Z, TARGETS),
        lambda: F.huber_loss(Z, TARGETS, reduction="none", delta=0.7).mean(1),
    ),
    "gaussian": (
        lambda: GaussianNLL()(Z, TARGETS[:, :2]),
        lambda: F.gaussian_nll_loss(
            Z[:, :2], TARGETS[:, :2], F.softplus(Z[:, 2:]) + 1e-6, full=True, reduction="none"
        ).mean(1),
    ),
    "focal-0": (lambda: Focal(0.0)(Z, SHARES), lambda: F.cross_entropy(Z, SHARES, reduction="none")),
    "kl": (
        lambda: losses.KL()(Z, SHARES),
        lambda: F.cross_entropy(Z, SHARES, reduction="none") - torch.special.entr(SHARES).sum(1),
    ),
    "triplet": (  # torch's has the distances themselves
        lambda: losses.TripletMargin(0.5)(*CASES[-2].outputs).clamp_min(0),
        lambda: F.relu(
            F.pairwise_distance(CASES[-2].outputs[0], CASES[-2].outputs[1], eps=0.0) ** 2
            - F.pairwise_distance(CASES[-2].outputs[0], CASES[-2].outputs[2], eps=0.0) ** 2
            + 0.5
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_it_equals_torch(name: str) -> None:
    ours, theirs = REFERENCES[name]
    torch.testing.assert_close(ours(), theirs(), rtol=1e-12, atol=1e-12)


def test_losses_equal_scikit_learn() -> None:
    from sklearn.metrics import hinge_loss, log_loss, mean_pinball_loss

    z, y = Z.numpy(), CLASSES.numpy()
    torch.testing.assert_close(Hinge()(Z, CLASSES).mean().item(), hinge_loss(y, z, labels=range(C)))
    torch.testing.assert_close(
        losses.CrossEntropy()(Z, CLASSES).mean().item(), log_loss(y, Z.softmax(1).numpy(), labels=range(C))
    )
    pinball = Quantile((0.2,))(Z[:, :2], TARGETS[:, :2]).mean().item()
    torch.testing.assert_close(pinball, mean_pinball_loss(TARGETS[:, :2].numpy(), z[:, :2], alpha=0.2))


def test_overlaps_equal_monai() -> None:
    monai = pytest.importorskip("monai.losses", reason="monai is not installed")
    z, y = Z[:, None], LABELS[:, None]  # (N, 1, C): a channel
    smooth = {"sigmoid": True, "smooth_nr": 1.0, "smooth_dr": 1.0}
    theirs = monai.DiceLoss(reduction="none", **smooth)(z, y).flatten()
    torch.testing.assert_close(Dice()(Z, LABELS), theirs)
    theirs = monai.TverskyLoss(alpha=0.3, beta=0.7, reduction="none", **smooth)(z, y).flatten()
    torch.testing.assert_close(Tversky()(Z, LABELS), theirs)
    torch.testing.assert_close(Dice(over="batch")(Z, LABELS), monai.DiceLoss(batch=True, **smooth)(z, y))


def test_infonce_equals_pytorch_metric_learning() -> None:
    theirs = pytest.importorskip("pytorch_metric_learning.losses", reason="pytorch-metric-learning is not installed")
    a, b = JOINT[-1].outputs
    i = torch.arange(N)
    row, column = torch.meshgrid(i, i, indexing="ij")
    pairs = i, i + N, row[row != column], column[row != column] + N
    found = theirs.NTXentLoss(temperature=0.3)(torch.cat([a, b]), indices_tuple=pairs)
    torch.testing.assert_close(InfoNCE(0.3)(a, b), found)


# ---------------------------------------------------------------- gradients and numbers
@ALL
def test_its_gradient_is_exact(case: Case) -> None:
    outputs = [t.clone().requires_grad_() for t in case.outputs]
    assert torch.autograd.gradcheck(lambda *o: case(*o), outputs)


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_outputs_give_finite_losses_and_gradients(case: Case, scale: float, dtype: torch.dtype) -> None:
    ways = (
        [torch.ones_like(t) for t in case.outputs],
        [t.sign() for t in case.outputs],
        [t.sign() * (t > 0) for t in case.outputs],
    )
    for way in ways:
        outputs = [(scale * w).to(dtype).requires_grad_() for w in way]
        value = case(*outputs)
        assert value.dtype == torch.promote_types(value.dtype, torch.float32)
        gradients = torch.autograd.grad(value.sum(), outputs)
        assert value.isfinite().all()
        # 1e4 / 1e-6, and the direction of a row of zeros: more than float16 holds
        narrow = case.name == "gaussian" or case.name == "infonce" and any((w == 0).any() for w in way)
        if not (narrow and dtype == torch.float16):
            assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_focal_is_right_where_a_probability_rounds_to_one(gamma: float) -> None:
    z = torch.tensor([[40.0, 0.0]], dtype=torch.float32, requires_grad=True)
    value = Focal(gamma)(z, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(value.sum(), z)
    u = math.exp(-40.0)  # both -log p and 1 - p, to 17 digits
    torch.testing.assert_close(value.item(), u ** (1 + gamma), rtol=1e-3, atol=1e-16)
    assert gradient.isfinite().all()


def test_equal_embeddings_have_a_gradient() -> None:
    a = torch.ones(2, 3, requires_grad=True)
    value = PairMargin()(a, torch.ones(2, 3), torch.tensor([1.0, 0.0]))
    (gradient,) = torch.autograd.grad(value.sum(), a)
    assert value.tolist() == [0.0, 0.5] and gradient.eq(0).all()


# ---------------------------------------------------------------- rows
@EACH
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
def test_a_batch_in_parts_gives_the_same_bits(case: Case, dtype: torch.dtype) -> None:
    outputs = [t.to(dtype) for t in case.outputs]
    y = [t.to(dtype) if t.is_floating_point() else t for t in case.y]
    whole = case.loss(*outputs, *y)
    for cuts in ((1,) * N, (3, 4), (1, 5, 1), (2, 2, 3)):
        parts = zip(*(t.split(cuts) for t in (*outputs, *y)), strict=True)
        assert torch.equal(torch.cat([case.loss(*part) for part in parts]), whole)


@EACH
def test_a_row_depends_on_itself_alone(case: Case) -> None:
    outputs = [t.clone().requires_grad_() for t in case.outputs]
    values = case(*outputs)
    for i in range(N):
        for g in torch.autograd.grad(values[i], outputs, retain_graph=True):
            assert not torch.cat([g[:i], g[i + 1 :]]).any()
    assert getattr(case.loss, "kind", "example") == "example" and values.shape == (N,)


@pytest.mark.parametrize("case", JOINT, ids=lambda case: case.name)
def test_what_depends_on_rows_jointly_says_so(case: Case) -> None:
    assert case.loss.kind == "batch" and case(*case.outputs).dim() == 0  # type: ignore[attr-defined]


@EACH
def test_it_is_pure(case: Case) -> None:
    before = [t.clone() for t in (*case.outputs, *case.y)]
    first = case(*case.outputs)
    assert torch.equal(case(*case.outputs), first)
    assert all(torch.equal(a, b) for a, b in zip(before, (*case.outputs, *case.y), strict=True))


BY_NUMBER = (
    losses.SquaredError(), losses.AbsoluteError(), losses.Huber(), losses.BinaryCrossEntropy(), losses.BinaryFocal(1.5),
    losses.BinaryHinge(), Dice(), Tversky(), losses.CrossEntropy(), Focal(1.5), losses.KL(),
)  # fmt: skip


@pytest.mark.parametrize("loss", BY_NUMBER, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
def test_rows_of_any_width_give_the_same_bits_in_any_company(loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    for width in (1, 2, 3, 5, 8, 13, 33, 100, 1000):
        z, y = numbers(33, width).to(dtype), numbers(33, width, seed=4).softmax(1).to(dtype)
        whole = loss(z, y)
        for size in (1, 2, 3, 8, 32):
            parts = zip(z.split(size), y.split(size), strict=True)
            assert torch.equal(torch.cat([loss(*part) for part in parts]), whole), (width, size)


# ---------------------------------------------------------------- particulars
def test_ctc_reads_as_many_frames_as_a_row_has() -> None:
    z = numbers(N, FRAMES, C)
    frames = torch.tensor([5, 4, 3, 5, 4, 5, 2])
    value = CTC()(z, WORDS, frames)
    alone = torch.cat([CTC()(z[i : i + 1, :f], WORDS[i : i + 1]) for i, f in enumerate(frames.tolist())])
    torch.testing.assert_close(value, alone)
    assert CTC()(z[:1, :1], WORDS[:1]).isinf().all()  # two labels in one frame


def test_an_overlap_of_nothing_with_nothing_is_perfect() -> None:
    assert float(Dice()(torch.full((1, 3), -1e4), torch.zeros(1, 3))) == 0.0


def test_the_quantile_loss_is_least_at_the_quantile() -> None:
    y = torch.linspace(0, 1, 101, dtype=DOUBLE)[:, None]
    at = torch.linspace(0, 1, 101, dtype=DOUBLE)
    cost = torch.stack([Quantile((0.8,))(a.expand(101, 1), y).mean() for a in at])
    assert abs(at[cost.argmin()].item() - 0.8) < 0.011


REFUSED: dict[str, Callable[[], object]] = {
    "no bend": lambda: losses.Huber(0.0),
    "levels": lambda: Quantile((1.0,)),
    "variance": lambda: GaussianNLL(0.0),
    "smoothing": lambda: losses.CrossEntropy(smoothing=1.0),
    "negative weight": lambda: losses.CrossEntropy(weights=(1.0, -1.0)),
    "2 weights for 4 classes": lambda: Focal(weights=(1.0, 1.0))(Z, CLASSES),
    "gamma": lambda: Focal(-1.0),
    "alpha": lambda: losses.BinaryFocal(alpha=2.0),
    "margin": lambda: Hinge(0.0),
    "there is one": lambda: Hinge()(Z[:, :1], CLASSES),
    "neither": lambda: Dice(over="rows"),  # type: ignore[arg-type]
    "rewards errors": lambda: Tversky(alpha=-1.0),
    "one by one": lambda: losses.SquaredError()(Z, TARGETS[:, 0]),
    "a mean and a spread": lambda: GaussianNLL()(Z[:, :3], TARGETS),
    "not positive": lambda: InfoNCE(0.0),
    "not above 0": lambda: PairMargin(-1.0),
    "no class": lambda: CTC(-1),
    "not among 4 classes": lambda: CTC(4)(numbers(N, FRAMES, C), WORDS),
}


@pytest.mark.parametrize("says", REFUSED)
def test_a_setting_without_sense_is_refused(says: str) -> None:
    with pytest.raises(SondeError, match=says):
        REFUSED[says]()
