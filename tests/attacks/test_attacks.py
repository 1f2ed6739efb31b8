"""What every attack keeps to, and what is known of linear nets: exactly which rows fall, and how far they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sonde.attacks import Norm
from sonde.attacks.apgd import apgd, apgd_t
from sonde.attacks.carlini_wagner import carlini_wagner
from sonde.attacks.deepfool import deepfool
from sonde.attacks.fab import fab, fab_t
from sonde.attacks.fgsm import fgsm
from sonde.attacks.hopskipjump import hopskipjump
from sonde.attacks.losses import dlr
from sonde.attacks.pgd import pgd
from sonde.attacks.square import square
from sonde.attacks.standard import check_inside, standing, suite
from tests.attacks.nets import curved, distances, length, linear
from tests.support import LAW

Bounded = Callable[..., Tensor]

BOUNDED: dict[str, Bounded] = {
    "fgsm": fgsm,
    "pgd": lambda *a: pgd(*a, steps=5, restarts=2),
    "apgd": lambda *a: apgd(*a, steps=10),
    "apgd dlr": lambda *a: apgd(*a, loss=dlr, steps=10),
    "apgd_t": lambda *a: apgd_t(*a, steps=10),
    "fab_t": lambda *a: fab_t(*a, steps=10),
    "square": lambda f, x, y, radius, norm, bounds: square(f, x, y, radius, norm, bounds, queries=20),
}
SMALLEST: dict[str, Callable[..., Tensor]] = {
    "fab": lambda f, x, y, norm: fab(f, x, y, norm, steps=20)[0],
    "deepfool": deepfool,
    "hopskipjump": lambda f, x, y, norm: hopskipjump(f, x, y, norm, steps=3, neighbours=20),
    "carlini_wagner": lambda f, x, y, norm: carlini_wagner(f, x, y, steps=100, searches=4, constant=1.0),
}
NORMS: tuple[Norm, Norm] = ("linf", "l2")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", BOUNDED)
@LAW
@given(
    seed=st.integers(0, 10**6),
    classes=st.integers(2, 5),
    shape=st.sampled_from([(1, 4, 6), (3, 5, 2), (1, 1, 1), (2, 7, 7)]),
    radius=st.sampled_from([1e-3, 0.1, 0.7, 3.0]),
)
def test_an_attack_stays_in_its_ball_and_its_bounds(
    name: str, norm: Norm, seed: int, classes: int, shape: tuple[int, int, int], radius: float
) -> None:
    net = curved(classes, shape, seed)
    x = -1 + 3 * torch.rand(6, *shape)
    x[0], x[1] = -1.0, 2.0  # rows at the edges
    y = net(x).argmax(1)
    y[2] = (y[2] + 1) % classes  # one that is wrong as it is
    before = x.clone()
    v = BOUNDED[name](net, x, y, radius, norm, (-1.0, 2.0))
    assert torch.equal(x, before) and v.shape == x.shape and not v.requires_grad
    check_inside(name, v, x, radius, norm, (-1.0, 2.0))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", BOUNDED)
def test_without_a_radius_nothing_moves(name: str, norm: Norm) -> None:
    net, x = curved(), torch.rand(8, 1, 5, 4)
    torch.testing.assert_close(BOUNDED[name](net, x, net(x).argmax(1), 0.0, norm, (0.0, 1.0)), x, rtol=0, atol=0)


@pytest.mark.parametrize("name", [*BOUNDED, *SMALLEST])
def test_no_row_is_no_error(name: str) -> None:
    net, x, y = curved(), torch.rand(0, 1, 5, 4), torch.zeros(0, dtype=torch.int64)
    v = BOUNDED[name](net, x, y, 0.1, "linf", (0.0, 1.0)) if name in BOUNDED else SMALLEST[name](net, x, y, "l2")
    assert v.shape == x.shape


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["pgd", "apgd", "apgd dlr", "apgd_t", "fab_t"])
def test_of_a_linear_net_exactly_the_rows_within_the_radius_fall(name: str, norm: Norm, classes: int) -> None:
    net, x, y = linear(classes)
    away = distances(net, x, y, norm)
    radius = float(away.median())
    attacks = {**BOUNDED, "pgd": lambda *a: pgd(*a, steps=60, restarts=2), "apgd dlr": lambda *a: apgd(*a, loss=dlr)}
    attacks |= {"apgd": lambda *a: apgd(*a, steps=100), "apgd_t": lambda *a: apgd_t(*a, steps=50)}
    torch.manual_seed(0)
    v = attacks[name](net, x, y, radius, norm, (0.0, 1.0))
    fallen = net(v).argmax(1) != y
    assert not bool(fallen[away > radius * (1 + 1e-6)].any())
    sure = away < radius * 0.99
    if name in ("pgd", "apgd", "apgd dlr") and classes > 2:
        # One ascent climbs towards one class, which need not be the nearest.
        assert float(fallen[sure].double().mean()) >= 0.7
    else:
        assert bool(fallen[sure].all())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 5])
def test_the_smallest_change_of_a_linear_net_is_its_margin_over_the_dual_norm(norm: Norm, classes: int) -> None:
    net, x, y = linear(classes)
    away = distances(net, x, y, norm)
    v, far = fab(net, x, y, norm, steps=20)
    assert bool((net(v).argmax(1) != y).all()) and torch.equal(length(v - x, norm), far)
    torch.testing.assert_close(far, away, rtol=1e-4, atol=0)
    v = deepfool(net, x, y, norm)
    assert bool((net(v).argmax(1) != y).all())
    torch.testing.assert_close(length(v - x, norm), 1.02 * away, rtol=1e-3, atol=1.1e-4)  # with its overshoot
    torch.manual_seed(0)
    v = hopskipjump(net, x, y, norm, steps=20)
    reached = length(v - x, norm)
    assert bool((net(v).argmax(1) != y).all()) and float((reached / away).median()) < 1.25
    assert float((reached / away).min()) >= 1 - 1e-9


def test_carlini_and_wagner_find_the_smallest_change_of_a_linear_net() -> None:
    net, x, y = linear(2)  # of more classes its descent may take the way to one that is not the nearest
    away = distances(net, x, y, "l2")
    v = carlini_wagner(net, x, y, steps=300, searches=8, constant=0.1)
    reached = length(v - x, "l2")
    assert bool((net(v).argmax(1) != y).all()) and float((reached / away).min()) >= 1 - 1e-9
    assert float((reached / away)[away > 0.02].max()) < 1.02  # nearer ones are within a step of Adam
    led = carlini_wagner(net, x, y, steps=100, searches=5, constant=1.0, confidence=0.2)
    z = net(led)
    lead = z.scatter(1, y[:, None], -torch.inf).amax(1) - z.gather(1, y[:, None])[:, 0]
    assert float(lead.min()) > 0.2


@pytest.mark.parametrize("name", SMALLEST)
def test_a_row_that_is_wrong_stays_and_the_rest_lie_within_the_bounds(name: str) -> None:
    net, x = curved(), torch.rand(10, 1, 5, 4)
    y = net(x).argmax(1)
    y[:3] = (y[:3] + 1) % 3
    v = SMALLEST[name](net, x, y, "l2")
    assert torch.equal(v[:3], x[:3])
    assert float(v.min()) >= 0 and float(v.max()) <= 1
    assert float((net(v).argmax(1) != y)[3:].double().mean()) >= 0.7


@pytest.mark.parametrize("name", ["pgd", "apgd", "apgd_t", "fab_t", "fgsm"])
def test_a_row_meets_the_same_fate_alone(name: str) -> None:
    """Fallen rows leave; those that go on must keep their own state. A start at the row itself is the same for all."""
    net, x = curved().double(), torch.rand(24, 1, 5, 4, dtype=torch.float64)
    y = net(x).argmax(1)
    y[::7] = (y[::7] + 1) % 3
    radius = 0.06
    draws = {"rand_like": torch.rand_like, "rand": torch.rand}
    still = pytest.MonkeyPatch()
    still.setattr(torch, "rand_like", lambda t: draws["rand_like"](t) * 0 + 0.75)
    still.setattr(torch, "rand", lambda *a, **k: draws["rand"](*a, **k) * 0 + 0.75)
    try:
        together = BOUNDED[name](net, x, y, radius, "linf", (0.0, 1.0))
        alone = torch.cat([BOUNDED[name](net, x[[i]], y[[i]], radius, "linf", (0.0, 1.0)) for i in range(len(x))])
    finally:
        still.undo()
    fallen = net(together).argmax(1) != y
    assert 0 < int(fallen.sum()) < len(x)  # some leave early, some stay
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [3, 10, 30])
def test_apgd_returns_the_wrong_point_it_has_seen_at_whatever_step_that_was(steps: int) -> None:
    """A checkpoint takes rows back to their best point: not one that has just been broken."""
    net, x = curved(3), torch.rand(200, 1, 5, 4)
    y = net(x).argmax(1)
    asked: list[Tensor] = []

    def watched(v: Tensor) -> Tensor:
        asked.append(v.detach().clone())
        return net(v)

    v = apgd(watched, x, y, 0.05, steps=steps)
    # Rows that were seen wrong left at the next step: as many as no longer were asked about, or wrong in the last.
    gone = len(x) - len(asked[-1])
    fallen = int((net(v).argmax(1) != y).sum())
    assert gone <= fallen and gone > 0
    assert bool(torch.isin(v[net(v).argmax(1) != y].flatten(1), torch.cat(asked).flatten(1)).all())


class Stubborn(torch.nn.Module):
    """Logits of a kind that attacks must survive."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.net = how, curved()

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        if self.how == "flat":
            return z.detach() + 0 * x.flatten(1).sum(1, keepdim=True)
        if self.how == "detached":
            return z.detach()
        if self.how == "nan":
            return z * torch.where(torch.arange(len(x))[:, None] % 2 == 0, torch.nan, 1.0)
        if self.how == "infinite":
            return z.softmax(1).mul(1e9).log_softmax(1).exp().log()  # -inf beside 0
        return z.round() + (z - z.detach()) * torch.inf  # gradients without end


@pytest.mark.parametrize("how", ["flat", "detached", "nan", "infinite", "endless"])
@pytest.mark.parametrize("name", [*BOUNDED, *SMALLEST])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_logits_without_a_useful_gradient_are_survived(name: str, how: str) -> None:
    net, x = Stubborn(how), torch.rand(6, 1, 5, 4)
    y = net.net(x).argmax(1)
    if name in BOUNDED:
        check_inside(name, BOUNDED[name](net, x, y, 0.1, "linf", (0.0, 1.0)), x, 0.1, "linf", (0.0, 1.0))
    else:
        v = SMALLEST[name](net, x, y, "l2")
        assert bool(v.isfinite().all()) and float(v.min()) >= 0 and float(v.max()) <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_the_suite_only_ever_lowers_the_accuracy_and_keeps_what_it_found(norm: Norm) -> None:
    net, x = curved(5), torch.rand(40, 1, 5, 4)
    y = net(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    before = torch.ones(40, dtype=torch.bool)
    names = []
    attacks = suite(net, 0.05, norm, steps=10, queries=50)
    for name, stands, worst in standing(net, x, y, attacks, 0.05, norm):
        assert bool((stands <= before).all())
        assert torch.equal(net(worst).argmax(1) == y, stands)
        check_inside(name, worst, x, 0.05, norm, (0.0, 1.0))
        names.append(name)
        before = stands
    assert names == ["clean", "apgd_ce", "apgd_t", "fab_t", "square"] and not before[0]


def test_deepfool_goes_along_the_bounds_where_they_stand_in_its_way() -> None:
    # The boundary is -0.4 - 10 x_0 + x_1 = 0, and x_0 cannot fall below 0: only x_1 can reach it.
    def net(x: Tensor) -> Tensor:
        z = -0.4 - 10 * x[:, 0] + x[:, 1]
        return torch.stack([-z, z], 1)

    x = torch.tensor([[0.0, 0.0]])
    v = deepfool(net, x, torch.tensor([0]), steps=20)
    assert int(net(v).argmax(1)) == 1 and v[0, 0] == 0 and 0.4 < float(v[0, 1]) < 0.42


@pytest.mark.parametrize("outside", [False, True])
def test_fgsm_is_one_step_within_the_bounds_and_leaves_a_number_outside_them_near_where_it_was(outside: bool) -> None:
    x = torch.tensor([[0.5, 0.05, 1.5 if outside else 0.95]])
    net = nn.Linear(3, 2)
    net.requires_grad_(False).weight.copy_(torch.tensor([[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]))
    v = fgsm(net, x, torch.tensor([0]), 0.1)
    torch.testing.assert_close(v, torch.tensor([[0.4, 0.0, 1.5 if outside else 1.0]]))


def test_square_asks_nothing_about_a_square_that_would_change_nothing() -> None:
    asked = []

    def stubborn(x: Tensor) -> Tensor:
        asked.append(len(x))
        return torch.tensor([[1.0, 0.0]]).repeat(len(x), 1)

    torch.manual_seed(0)
    one_pixel = torch.full((50, 1, 1, 1), 0.5)  # it stands at one end of its ball, and half of the draws are that end
    square(stubborn, one_pixel, torch.zeros(50, dtype=torch.int64), 0.1, queries=40)
    assert asked[0] == 50 and 0.4 < sum(asked[1:]) / (40 * 50) < 0.6


def test_an_attack_that_cheats_is_caught() -> None:
    net, x = curved(), torch.rand(4, 1, 5, 4)
    y = net(x).argmax(1)
    for cheat in (lambda x, y: x + 0.2, lambda x, y: x * torch.nan):
        with pytest.raises(RuntimeError, match="left its ball"):
            list(standing(net, x, y, {"cheat": cheat}, 0.1))
    edge = torch.ones(4, 1, 5, 4)
    with pytest.raises(RuntimeError, match="left the bounds"):
        list(standing(net, edge, net(edge).argmax(1), {"cheat": lambda x, y: x + 0.05}, 0.1))
