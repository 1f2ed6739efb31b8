"""The adversarial patch: laid where it should lie, learned where a net can be fooled by it, and beside a random one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sonde.attacks import Placing, adversarial_patch
from sonde.audits.robustness.patch import Patch
from sonde.core import SondeError, Subject, run_audits


class Brightest(nn.Module):
    """Class 1 for pictures that have a bright spot anywhere, class 2 for a dark one, else class 0; (N, 1, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        spot = nn.functional.avg_pool2d(x, 3, 1)
        bright, dark = spot.flatten(1).amax(1), -spot.flatten(1).amin(1)
        return torch.stack([torch.zeros_like(bright), 20 * (bright - 0.8), 20 * (dark + 0.2)], 1)


def grey(n: int = 60, height: int = 16, width: int = 20, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return 0.4 + 0.2 * torch.rand(n, 1, height, width, generator=g)


def test_a_patch_is_a_disc_of_its_size_wholly_inside() -> None:
    torch.manual_seed(0)
    x = torch.zeros(400, 3, 30, 40)
    laid = Placing((0.4, 0.4), 45.0).lay(torch.ones(3, 9, 9), x)
    area = laid[:, 0].sum((1, 2))
    expected = math.pi * (0.4 * 30 / 2) ** 2
    assert float(area.mean()) == pytest.approx(expected, rel=0.02) and float(area.std()) < 0.02 * expected
    centre = (laid[:, 0].sum(1) * (torch.arange(40) + 0.5)).sum(1) / area
    assert 6 <= float(centre.min()) < 8 and 32 < float(centre.max()) <= 34.1  # anywhere, and no nearer to the edge
    assert float(centre.mean()) == pytest.approx(20, abs=1.5)


def test_a_patch_keeps_its_colours_and_turns_by_its_angle() -> None:
    patch = torch.zeros(1, 20, 20)
    patch[:, :, 10:] = 1.0  # the right half is bright
    laid = Placing((1.0, 1.0), 0.0).lay(patch, torch.full((1, 1, 20, 20), 0.5))
    assert float(laid[0, 0, 10, 3]) == 0.0 and float(laid[0, 0, 10, 16]) == 1.0 and float(laid[0, 0, 0, 0]) == 0.5
    torch.manual_seed(0)
    turned = Placing((1.0, 1.0), 180.0).lay(patch, torch.full((50, 1, 20, 20), 0.5))
    assert 0.2 < float((turned[:, 0, 10, 16] > 0.5).double().mean()) < 0.8


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)])
def test_a_patch_learns_what_the_net_looks_for(bounds: tuple[float, float]) -> None:
    torch.manual_seed(0)
    low, high = bounds
    x = low + (high - low) * grey()
    net = Brightest()
    patch = adversarial_patch(lambda v: net((v - low) / (high - low)), x, 1, bounds=bounds, steps=60)
    assert low <= float(patch.min()) and float(patch.max()) <= high
    assert float((patch.mean() - low) / (high - low)) > 0.8
    assert not patch.requires_grad


def subject(**more: object) -> Subject:
    y = torch.zeros(60, dtype=torch.int64)
    return Subject.of(
        Brightest(), grey(seed=1), y, kind="image", bounds=(0.0, 1.0), classes=("plain", "bright", "dark"), **more
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("has_train", [True, False])
def test_the_audit_finds_what_can_be_done_and_what_a_random_patch_does(has_train: bool) -> None:
    train = (grey(seed=2), torch.zeros(60, dtype=torch.int64))
    found = {}
    for target in (1, 2):
        (done,) = run_audits(subject(more={"train": train} if has_train else None), [Patch(target=target, steps=60)])
        assert done.outcome == "done", done.reason
        found = {m.name: m for m in done.measures}
        assert found["robustness/patch/success_rate"].value > 0.9
        assert found["robustness/patch/random_patch_rate"].value < 0.5
        assert found["robustness/patch/accuracy"].value < 0.1
        assert found["robustness/patch/success_rate"].n == (60 if has_train else 30)
        assert [t.name for t in done.tables] == ["patch_by_size"] and [f.name for f in done.figures] == ["patch"]


def test_small_pictures_and_classes_that_are_not_there_are_refused() -> None:
    (found,) = run_audits(subject(), [Patch(target=3)])
    assert found.outcome == "refused" and "no class 3" in found.reason
    small = Subject.of(
        nn.Flatten(), torch.rand(5, 1, 1, 3), torch.zeros(5, dtype=torch.int64), kind="image", bounds=(0, 1)
    )
    (found,) = run_audits(small, [Patch()])
    assert found.outcome == "refused" and "pixels" in found.reason
    with pytest.raises(SondeError, match="is no patch"):
        Patch(scale=(0.5, 0.3))


def test_rows_that_are_all_of_the_target_leave_the_measure_out() -> None:
    (found,) = run_audits(subject(), [Patch(target=0, steps=2)])
    (one,) = found.measures
    assert math.isnan(one.value) and "plain" in one.settings["omitted"]
