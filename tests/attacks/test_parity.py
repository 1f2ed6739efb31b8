"""The same attacks in torchattacks break as many rows of a small net, where it is installed."""

from __future__ import annotations

import warnings

import pytest
import torch

from sonde.attacks import apgd, apgd_t, deepfool, fab_t, fgsm
from tests.attacks.nets import curved, length


def test_as_many_rows_fall_as_to_torchattacks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    net = curved(5, (1, 6, 6))
    torch.manual_seed(0)
    x = torch.rand(200, 1, 6, 6)
    y = net(x).argmax(1)
    radius, steps = 0.05, 20
    both = {
        "fgsm": (fgsm(net, x, y, radius), peer.FGSM(net, eps=radius)(x, y)),
        "apgd": (apgd(net, x, y, radius, steps=steps), peer.APGD(net, eps=radius, steps=steps, loss="ce")(x, y)),
        "apgd_t": (apgd_t(net, x, y, radius, steps=steps), peer.APGDT(net, eps=radius, steps=steps, n_classes=5)(x, y)),
        "fab_t": (
            fab_t(net, x, y, radius, steps=steps),
            peer.FAB(net, eps=radius, steps=steps, n_classes=5, multi_targeted=True)(x, y),
        ),
    }
    for name, (ours, theirs) in both.items():
        fallen, expected = (int((net(v).argmax(1) != y).sum()) for v in (ours, theirs))
        assert fallen >= expected - 3, f"{name}: {fallen} rows fall, {expected} to torchattacks"
    ours, theirs = deepfool(net, x[:40], y[:40]), peer.DeepFool(net)(x[:40], y[:40])
    assert bool((net(ours).argmax(1) != y[:40]).all())
    assert float(length(ours - x[:40], "l2").median()) <= float(length(theirs - x[:40], "l2").median()) * 1.05
