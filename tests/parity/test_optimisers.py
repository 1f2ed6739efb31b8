"""Optimisers, step by step in float64: equal to torch's and to those of `pytorch_optimizer`, whatever the flags."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sonde.optim.lion import Lion
from sonde.optim.muon import Muon
from sonde.optim.schedule_free import ScheduleFreeAdamW
from sonde.optim.soap import SOAP

theirs = pytest.importorskip("pytorch_optimizer", reason="the parity tests need pytorch_optimizer")

STEPS = 100
# Vectors, a scalar, wide, tall and square matrices, a kernel (laid out channels last), and one that is cut into pieces.
SHAPES = [(5, 7), (7, 5), (6, 6), (4, 3, 3, 3), (3,), (), (230, 300)]
MATRICES = 4
# A tall or wide matrix has more axes than its first gradient has directions, and any basis of the rest is as good.
FULL = [(6, 6), (4, 3, 3, 3), (3,), ()]

Params = list[nn.Parameter]


def start(shapes: list[tuple[int, ...]]) -> Params:
    g = torch.Generator().manual_seed(0)
    made = [torch.randn(s, generator=g, dtype=torch.float64) for s in shapes]
    return [nn.Parameter(t.to(memory_format=torch.channels_last) if t.dim() == 4 else t) for t in made]


def stepped(params: Params, optimiser: torch.optim.Optimizer, steps: Iterable[int]) -> Params:
    """Noisy gradients of half the squared distance from 1; rates that vary; gradients laid out as they come."""
    for step in steps:
        g = torch.Generator().manual_seed(step)
        for p in params:
            noise = torch.randn(p.shape, generator=g, dtype=torch.float64).to(p.dtype)
            p.grad = noise + (p.detach() - 1).contiguous()
        for group in optimiser.param_groups:
            group["lr"] = group.setdefault("first_lr", group["lr"]) * (1.1 + step % 7) / 4
        optimiser.step()
    return params


def equal(ours: Callable[[Params], Any], reference: Callable[[Params], Any], shapes: list[tuple[int, ...]]) -> None:
    mine, other = start(shapes), start(shapes)
    stepped(mine, ours(mine), range(STEPS))
    stepped(other, reference(other), range(STEPS))
    for shape, a, b in zip(shapes, mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=lambda m, s=shape: f"{s}: {m}")


# ---------------------------------------------------------------- the package's
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.5, 0.95)])
def test_lion(decay: float, betas: tuple[float, float]) -> None:
    settings = {"lr": 0.01, "betas": betas, "weight_decay": decay}
    equal(lambda p: Lion(p, **settings), lambda p: theirs.Lion(p, **settings), SHAPES)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.98, 0.9)])
def test_schedule_free(decay: float, power: float, betas: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    # The package adds 1e-15 under the root, which neither the paper nor its authors' code does.
    bare = staticmethod(partial(theirs.ScheduleFreeAdamW.apply_ams_bound_foreach, exp_avg_sq_eps=0.0))
    monkeypatch.setattr(theirs.ScheduleFreeAdamW, "apply_ams_bound_foreach", bare)
    settings = {"lr": 0.01, "betas": betas, "weight_decay": decay, "eps": 1e-3}
    shapes = SHAPES[:-1] + [(20, 2000)]
    mine, other = start(shapes), start(shapes)
    ours = ScheduleFreeAdamW(mine, power=power, **settings)
    reference = theirs.ScheduleFreeAdamW(other, r=power, **settings)
    stepped(mine, ours, range(STEPS))
    stepped(other, reference, range(STEPS))
    torch.testing.assert_close(list(mine), list(other), rtol=1e-10, atol=1e-10)
    averaged = ours.averages()
    reference.eval()  # moves the parameters to the average
    torch.testing.assert_close([averaged[p] for p in mine], [p.detach() for p in other], rtol=1e-10, atol=1e-10)


def split(params: Params, name: str) -> list[dict[str, Any]]:
    return [
        {"params": params[:MATRICES], name: True, "lr": 0.02, "weight_decay": 0.1},
        {"params": params[MATRICES:], name: False, "lr": 0.01, "weight_decay": 0.2},
    ]


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_muon(nesterov: bool, scale: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytorch_optimizer.optimizer.muon import base

    exact = partial(base.zero_power_via_newton_schulz_5, dtype=torch.float64)  # theirs rounds to bfloat16
    monkeypatch.setattr(base, "zero_power_via_newton_schulz_5", exact)
    common = {"momentum": 0.9, "nesterov": nesterov}
    equal(
        lambda p: Muon(split(p, "matrices"), steps=steps, scale=scale, **common),  # type: ignore[arg-type]
        lambda p: theirs.Muon(split(p, "use_muon"), ns_steps=steps, use_adjusted_lr=scale != "original", **common),
        SHAPES,
    )


class Double:
    """torch for a module that casts to float32 where this test needs all digits."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.mark.parametrize("every", [1, 7, 10])
@pytest.mark.parametrize("betas", [(0.95, 0.95), (0.9, 0.99)])
@pytest.mark.parametrize("largest", [10_000, 5])
@pytest.mark.parametrize("decay, shampoo", [(0.0, -1.0), (0.1, 0.9)])
def test_soap(
    every: int,
    betas: tuple[float, float],
    largest: int,
    decay: float,
    shampoo: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pytorch_optimizer.optimizer import soap

    from sonde.optim import soap as mine

    monkeypatch.setattr(soap, "torch", Double())
    monkeypatch.setattr(mine, "TILE", 4)  # so that these small statistics have tiles, too
    common = {"lr": 0.01, "betas": betas, "weight_decay": decay}
    equal(
        lambda p: SOAP(p, every=every, largest=largest, shampoo_beta=shampoo, **common),
        lambda p: theirs.SOAP(
            p,
            precondition_frequency=every,
            max_precondition_dim=largest,
            shampoo_beta=None if shampoo < 0 else shampoo,
            **common,
        ),
        FULL,
    )


@pytest.mark.parametrize("answer", ["NaN", "an error"])
def test_soap_has_axes_where_float32_finds_none(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LAPACK in float32 fails on some matrices of low rank, aloud or by a NaN."""
    from sonde.optim.soap import _eigenvectors

    eigh = torch.linalg.eigh

    def fails(a: Tensor) -> Any:
        if a.dtype == torch.float64:
            return eigh(a)
        if answer == "NaN":
            return eigh(a)[0], torch.full_like(a, torch.nan)
        raise torch.linalg.LinAlgError

    g = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(torch.linalg, "eigh", fails)
    q = _eigenvectors(g @ g.T)
    assert q.dtype == torch.float32
    torch.testing.assert_close(q.T @ q, torch.eye(20), rtol=0, atol=1e-5)


# ---------------------------------------------------------------- torch's
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
def test_muon_in_float32_is_as_near_to_the_exact_one_as_torchs(nesterov: bool, scale: str) -> None:
    shapes = [(48, 96), (96, 48), (64, 64)]

    def after(make: Callable[[Params], Any], dtype: torch.dtype) -> Params:
        params = [nn.Parameter(p.detach().to(dtype)) for p in start(shapes)]
        return stepped(params, make(params), range(10))

    def ours(p: Params) -> Muon:
        return Muon([{"params": p, "matrices": True}], lr=0.02, nesterov=nesterov, weight_decay=0.1, scale=scale)  # type: ignore[arg-type]

    def torchs(p: Params) -> Any:
        return torch.optim.Muon(p, lr=0.02, nesterov=nesterov, weight_decay=0.1, adjust_lr_fn=scale)

    exact = after(ours, torch.float64)
    mine, other = after(ours, torch.float32), after(torchs, torch.float32)
    for e, a, b in zip(exact, mine, other, strict=True):
        assert (a - e).norm() <= (b - e).norm()
        torch.testing.assert_close(a, b, rtol=0, atol=0.05)


def test_the_adamw_of_muon_is_torchs() -> None:
    equal(
        lambda p: Muon([{"params": p, "weight_decay": 0.1}], adam_lr=0.01, adam_betas=(0.8, 0.9), adam_eps=1e-8),
        lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.9), weight_decay=0.1),
        SHAPES[:-1],
    )


# ---------------------------------------------------------------- resuming
MAKERS: dict[str, Callable[[Params], torch.optim.Optimizer]] = {
    "lion": lambda p: Lion(p, lr=0.01, weight_decay=0.1),
    "muon": lambda p: Muon(split(p, "matrices")),
    "soap": lambda p: SOAP(p, lr=0.01, every=4),
    "schedule free": lambda p: ScheduleFreeAdamW(p, lr=0.01, power=1.0),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", MAKERS)
def test_an_optimiser_resumes_to_the_same_bits(rule: str, dtype: torch.dtype) -> None:
    def fresh() -> Params:
        return [nn.Parameter(p.detach().to(dtype)) for p in start(SHAPES[:-1])]

    whole = fresh()
    stepped(whole, MAKERS[rule](whole), range(12))
    half = fresh()
    before = MAKERS[rule](half)
    stepped(half, before, range(7))
    rest = [nn.Parameter(p.detach().clone()) for p in half]
    after = MAKERS[rule](rest)
    after.load_state_dict(before.state_dict())
    stepped(rest, after, range(7, 12))
    assert all(p.isfinite().all() for p in whole)
    assert all(torch.equal(a, b) for a, b in zip(whole, rest, strict=True))


# ---------------------------------------------------------------- gradients as they come
@pytest.mark.parametrize("rule", MAKERS)
def test_a_parameter_without_a_gradient_takes_no_step_and_ages_by_none(rule: str) -> None:
    params, late = start(SHAPES[:-1]), start(SHAPES[:-1])
    stepped(params, MAKERS[rule](params), range(6))
    optimiser = MAKERS[rule](late)
    first = late[0].detach().clone()
    for step in range(9):
        g = torch.Generator().manual_seed(step)
        for i, p in enumerate(late):
            p.grad = torch.randn(p.shape, generator=g, dtype=p.dtype) if i or step >= 3 else None
        if step == 3:
            assert torch.equal(late[0], first)
        optimiser.step()
    assert all(p.isfinite().all() for p in late) and (late[0] - first).abs().max() < 1


@pytest.mark.parametrize("rule", MAKERS)
def test_a_gradient_of_few_rows_and_of_other_layout_moves_as_its_dense_twin(rule: str) -> None:
    results: list[list[Tensor]] = []
    for odd in (False, True):
        params = start([(6, 5), (7, 5), (4, 3, 3, 3), (3,)])[: MATRICES - 1] + start([(5, 5), (3,)])
        optimiser = MAKERS[rule](params)
        for step in range(5):
            g = torch.Generator().manual_seed(step)
            for p in params:
                grad = torch.randn(p.shape, generator=g, dtype=p.dtype)
                if p.shape == (6, 5):
                    grad[2:] = 0
                    grad = grad.to_sparse(1) if odd else grad
                elif p.dim() == 4:
                    grad = grad.to(memory_format=torch.channels_last) if odd else grad
                p.grad = grad
            optimiser.step()
        results.append([p.detach() for p in params])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
