"""The gradient of pictures with few channels equals autograd's own, whatever the convolution."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sonde.attacks import input_gradient as module
from sonde.attacks.input_gradient import input_gradient
from tests.support import LAW


@LAW
@given(
    channels=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.sampled_from([0, 1, 2, "valid"]),
    dilation=st.integers(1, 2),
    last=st.booleans(),
    trained=st.booleans(),
)
def test_it_is_the_gradient(
    channels: int,
    kernel: tuple[int, int],
    stride: int,
    padding: int | str,
    dilation: int,
    last: bool,
    trained: bool,
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(channels, 5, kernel, stride, padding, dilation), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )
    net.requires_grad_(trained)
    x = torch.rand(3, channels, 9, 8)
    v = x.to(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()
    weights = torch.randn(20)
    found = input_gradient(net(v).mv(weights).sum(), v)
    (expected,) = torch.autograd.grad(net(v).mv(weights).sum(), v)
    torch.testing.assert_close(found, expected)


def test_grey_pictures_take_the_short_way_and_wide_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = []
    suits = module._suits
    monkeypatch.setattr(module, "_suits", lambda *args: answers.append(suits(*args)) or answers[-1])
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).requires_grad_(False)
    v = torch.rand(2, 1, 8, 8).requires_grad_()
    input_gradient(net(v).sum(), v)
    assert answers == [False, True]  # backwards: four channels, then one
    double = torch.rand(2, 1, 8, 8, dtype=torch.float64).requires_grad_()
    input_gradient(net.double()(double).sum(), double)
    assert len(answers) == 2  # oneDNN has no float64


def test_what_does_not_depend_on_the_inputs_has_none() -> None:
    v, w = torch.rand(2, 1, 4, 4).requires_grad_(), torch.rand(()).requires_grad_()
    assert input_gradient(2 * w, v) is None
    value = v.square().sum()
    first, second = input_gradient(value, v, again=True), input_gradient(value, v)
    torch.testing.assert_close(first, 2 * v.detach())
    torch.testing.assert_close(second, 2 * v.detach())
