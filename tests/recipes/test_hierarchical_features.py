"""What layers respond to: the measures are right where the answer is known."""

from __future__ import annotations

import pytest
import torch

from sonde.recipes.hierarchical_features import (
    LAYERS,
    Layers,
    between_classes,
    exciting,
    features,
    gabors,
    in_turn,
    like_gabor,
    liked,
    probe,
    seen,
    sheet,
)


def test_the_share_between_classes_is_that_of_an_analysis_of_variance(generator: torch.Generator) -> None:
    from sklearn.feature_selection import f_classif

    y = torch.randint(4, (200,), generator=generator)
    x = torch.randn(200, 3, generator=generator) + torch.tensor([0.0, 0.5, 3.0]) * y[:, None]
    f, _ = f_classif(x.numpy(), y.numpy())
    expected = torch.tensor([v * 3 / (v * 3 + 196) for v in f]).double()
    torch.testing.assert_close(between_classes(x, y), expected, rtol=1e-4, atol=1e-6)
    assert between_classes(torch.ones(200, 1), y).tolist() == [0.0]
    assert between_classes(y[:, None].float(), y).item() == pytest.approx(1.0)


def test_a_reader_is_right_where_classes_lie_apart_and_at_chance_in_noise(generator: torch.Generator) -> None:
    y = torch.randint(5, (600,), generator=generator)
    apart = torch.randn(600, 8, generator=generator) + 8 * torch.nn.functional.one_hot(y, 8)
    noise = torch.randn(600, 8, generator=generator)
    for x, low, high in ((apart, 0.99, 1.0), (noise, 0.05, 0.4)):
        parts = [(x[i : i + 200], y[i : i + 200]) for i in (0, 200, 400)]
        assert low <= float(probe(*parts).mean()) <= high


def test_units_see_what_kernels_strides_and_pools_let_them() -> None:
    expected, sees, jump = [], 1, 1
    for _, kernel, stride, pool in LAYERS:
        sees += (kernel - 1) * jump
        jump *= stride
        expected.append(sees)
        sees += (pool - 1) * jump
        jump *= pool
    assert [seen(Layers(1, 2), i, 160) for i in range(len(LAYERS))] == expected


def test_a_gabor_is_one_and_noise_is_not(generator: torch.Generator) -> None:
    pure = gabors(7)[100].sum(0).view(1, 1, 7, 7) * torch.tensor([1.0, -0.5, 0.2]).view(1, 3, 1, 1)
    assert float(like_gabor(pure)) == pytest.approx(1.0, abs=1e-6)
    assert float(like_gabor(torch.randn(20, 3, 7, 7, generator=generator)).mean()) < 0.75


def test_the_patch_that_excites_a_channel_is_found_where_it_is() -> None:
    net = Layers(1, 2).eval()
    with torch.no_grad():
        net.kernels[0].weight.fill_(1.0)  # answers to brightness
    x = torch.zeros(3, 1, 32, 32)
    x[1, 0, 18:21, 8:11] = 1.0
    (patches,) = exciting(net, x, 0, [0], window=7, count=1)
    assert patches.shape == (1, 1, 7, 7) and float(patches.sum()) == 9.0
    assert sheet([patches.repeat(9, 1, 1, 1)] * 2, across=2).shape == (23, 50, 3)


def test_every_layer_is_read_at_one_resolution() -> None:
    net = Layers(3, 10).eval()
    found = features(net, torch.rand(5, 3, 32, 32))
    assert [f.shape for f in found] == [(5, channels * 16) for channels, *_ in LAYERS]
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_every_class_has_its_turn_before_any_has_a_second() -> None:
    told = torch.tensor([0.9, 0.8, 0.7, 0.1, 0.6])
    assert in_turn(told, torch.tensor([0, 0, 0, 1, 2]), 4) == [0, 4, 3, 1]


def test_a_channel_likes_the_class_that_excites_it_most() -> None:
    y = torch.tensor([0, 0, 1, 1, 2])
    assert liked(torch.tensor([[0.0, 3.0], [0.0, 0.0], [5.0, 1.0], [0.0, 1.0], [2.0, 1.4]]), y).tolist() == [1, 0]
