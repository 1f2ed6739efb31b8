"""The engine changes speed and rounding, never what is computed."""

from __future__ import annotations

import random
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Engine, Loss, Objective, Run, SondeError, Term, fit, pick_device, seed_everything
from sonde.core.engine import rng_state, set_rng_state
from sonde.data.rows import Rows
from sonde.methods import sgd
from sonde.objectives import Classify
from tests.support import blobs, mlp, weights


@pytest.mark.parametrize("name, allowed", [("precision", "32, bf16-mixed, 16-mixed"), ("parallel", "none, ddp, fsdp")])
def test_an_unknown_setting_is_refused_with_the_known_ones(name: str, allowed: str) -> None:
    with pytest.raises(SondeError, match=rf"{name} 'fast' is not known\n  choose one of {allowed} for --{name}"):
        Engine(**{name: "fast"})


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_several_processes_are_refused_without_torchrun(parallel: str) -> None:
    with pytest.raises(SondeError, match=f"parallel='{parallel}' needs several processes\n  start with `torchrun"):
        Run(Classify(mlp(4, 3)), [sgd(0.1)], Engine(device="cpu", parallel=parallel))  # type: ignore[arg-type]


def test_the_automatic_device_is_one_that_works() -> None:
    assert torch.empty(1, device=pick_device()).numel() == 1


def test_a_device_that_is_absent_is_refused_in_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(SondeError) as caught:
        pick_device("cuda")
    assert "\n" not in caught.value.cause and caught.value.cause.startswith("device 'cuda' cannot be used:")


# ---------------------------------------------------------------- random numbers
def drawn() -> tuple[float, ...]:
    return torch.rand(()).item(), random.random(), float(np.random.rand())


def test_seeding_makes_every_generator_repeat() -> None:
    seed_everything(7)
    first = drawn()
    seed_everything(7)
    assert drawn() == first
    seed_everything(8)
    assert all(a != b for a, b in zip(drawn(), first, strict=True))


def test_the_state_of_every_generator_comes_back() -> None:
    random.gauss(0, 1)  # leaves half of a pair for the next call
    np.random.randn()
    state = rng_state()
    first = (*drawn(), random.gauss(0, 1), float(np.random.randn()))
    set_rng_state(state)
    assert (*drawn(), random.gauss(0, 1), float(np.random.randn())) == first


def test_the_generators_of_another_number_of_processes_are_refused() -> None:
    state = rng_state()
    with pytest.raises(SondeError, match=r"of 2 processes; this run has 1\n  resume with torchrun --nproc-per-node 2"):
        set_rng_state({**state, "torch": state["torch"] * 2})


# ---------------------------------------------------------------- compilation
def compiled(compile: bool) -> Run:
    torch.manual_seed(0)
    run = Run(Classify(mlp(4, 8, 3, between=nn.BatchNorm1d)), [sgd(0.1)], Engine(device="cpu", compile=compile))
    return fit(run, Rows(*blobs(), batch_size=24), Budget(steps=8))


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile without its code generator, which takes most of a minute."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.mark.skipif(sys.platform == "win32", reason="torch.compile needs a C++ compiler")
def test_a_traced_objective_gives_the_same_numbers(traced_only: None) -> None:
    run = compiled(True)
    assert run._compiled is not None  # it did not fall back
    torch.testing.assert_close(weights(run.objective), weights(compiled(False).objective), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of the code generator's own imports
def test_a_compiled_objective_gives_the_same_numbers() -> None:
    torch._dynamo.reset()
    run = compiled(True)
    assert run._compiled is not None
    torch.testing.assert_close(weights(run.objective), weights(compiled(False).objective), rtol=1e-5, atol=1e-6)


def test_where_compilation_fails_the_run_goes_on_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: nn.Module) -> object:
        def call(turn: str, batch: Batch) -> Loss:
            raise RuntimeError("no compiler was found\nin seven places")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning, match="^torch.compile failed, going on without it: no compiler was found$") as told:
        run = compiled(True)
    assert len(told) == 1 and torch.equal(weights(run.objective), weights(compiled(False).objective))


class Wrong(Objective):
    """An objective with a mistake of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 3)

    def forward(self, turn: str, batch: Batch) -> Loss:
        value: Tensor = self.net(batch.x[:, :2]).sum(1)
        return Loss({"task": Term(value)})


def test_a_mistake_of_the_objective_is_raised_and_not_hidden_by_compilation(traced_only: None) -> None:
    run = Run(Wrong(), [sgd(0.1)], Engine(device="cpu", compile=True))
    with pytest.warns(UserWarning, match="going on without it"), pytest.raises(RuntimeError, match="shapes"):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=1))
