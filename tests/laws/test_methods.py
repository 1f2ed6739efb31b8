"""Laws that every method obeys, found by walking the package: a method without an example here fails."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sonde.methods
from sonde.core import Budget, Engine, Method, Run, Settled, Started, Stepped, fit, read_state, write_state
from sonde.core.method import defines
from sonde.data.rows import Rows
from sonde.methods import DPSGD, Backprop, Validate, adam, sgd
from sonde.objectives import Classify
from tests.laws.examples import CLASSES, COMPANIONS, EXAMPLES, SIDE, Pictures
from tests.support import Call


def every_method() -> list[type[Method]]:
    """Every public method class that a module of the package defines."""
    found: set[type[Method]] = {Backprop}
    for info in pkgutil.walk_packages(sonde.methods.__path__, prefix="sonde.methods."):
        for name, value in vars(importlib.import_module(info.name)).items():
            mine = inspect.isclass(value) and issubclass(value, Method) and value.__module__ == info.name
            if mine and not name.startswith("_"):
                found.add(value)
    return sorted(found, key=lambda c: c.__name__)


METHODS = every_method()
EACH = pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)


class Reader(nn.Module):
    """Everything with state: normalisation by the training rows, BatchNorm, dropout."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, SIDE, SIDE))
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, CLASSES)
        )

    def fit_input(self, x: Tensor) -> None:
        self.mean.copy_(x.mean(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x - self.mean)  # type: ignore[no-any-return]


def example(kind: type[Method], folder: Path) -> Method:
    if kind not in EXAMPLES:
        pytest.fail(f"{kind.__name__} has no example in tests/laws/examples.py: add one to EXAMPLES")
    return EXAMPLES[kind](folder)


def build(kind: type[Method], folder: Path, *extra: Method) -> tuple[Run, Method]:
    """A run in which the method takes part, beside what it needs to have something to do."""
    torch.manual_seed(0)
    method = example(kind, folder)
    rest: list[Method] = [] if kind is Validate else [Validate(Pictures())]
    rest += [COMPANIONS[kind](folder)] if kind in COMPANIONS else []
    rule = [] if defines(method, "update") else [adam(0.01)]
    return Run(Classify(Reader()), [*rest, method, *extra, *rule]), method


def rows() -> Rows:
    data = Pictures()
    return Rows(data.x[:22], data.y[:22], batch_size=8, fields={"group": data.group[:22]})


def frozen(value: Any) -> Any:
    """A state as something that `==` compares bit for bit."""
    if isinstance(value, Tensor):
        return (value.dtype, value.shape, value.detach().cpu().contiguous().flatten().view(torch.uint8).tolist())
    if isinstance(value, dict):
        return {k: frozen(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [frozen(v) for v in value]
    return value


def timeless(state: dict[str, Any]) -> Any:
    return frozen({k: v for k, v in state.items() if k not in ("seconds", "elapsed")})


def over_the_disk(state: Any, folder: Path) -> Any:
    write_state(folder / "kept", state)
    return read_state(folder / "kept")[0]


# ---------------------------------------------------------------- the laws
def test_every_method_has_an_example_and_every_example_is_a_method() -> None:
    assert set(EXAMPLES) == set(METHODS)


@EACH
def test_its_state_survives_the_disk(kind: type[Method], tmp_path: Path) -> None:
    run, method = build(kind, tmp_path)
    fit(run, rows(), Budget(steps=5))
    state = over_the_disk(method.state_dict(), tmp_path)
    assert frozen(state) == frozen(method.state_dict())
    if defines(method, "update"):  # its state belongs to the parameters it was set up for
        other, fresh = build(kind, tmp_path / "other")
    else:
        fresh = example(kind, tmp_path / "other")
    fresh.load_state_dict(state)
    assert frozen(fresh.state_dict()) == frozen(state)


def kept(method: Method) -> dict[str, Any]:
    """What a method holds in plain public attributes."""
    return {k: frozen(v) for k, v in vars(method).items() if not k.startswith("_") and plain(v)}


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, Tensor | bool | int | float | str)


@EACH
def test_whatever_it_keeps_it_saves(kind: type[Method], tmp_path: Path) -> None:
    """What a method changes but does not save is lost by a kill."""
    run, method = build(kind, tmp_path)
    fit(run, rows(), Budget(steps=4))
    _, fresh = build(kind, tmp_path)
    fresh.load_state_dict(method.state_dict())
    assert kept(fresh) == kept(method)


@EACH
def test_an_interrupted_run_ends_with_the_same_bits(kind: type[Method], tmp_path: Path) -> None:
    for name in ("whole", "half"):
        (tmp_path / name).mkdir()
    stop = lambda at: Call(Settled, at, lambda run: setattr(run, "stop", "interrupted"))  # noqa: E731
    whole, _ = build(kind, tmp_path / "whole", stop(99))
    fit(whole, rows(), Budget(steps=8))
    half, _ = build(kind, tmp_path / "half", stop(4))
    fit(half, rows(), Budget(steps=8))
    state = over_the_disk(half.state_dict(), tmp_path)
    rest, _ = build(kind, tmp_path / "half", stop(99))
    torch.manual_seed(99)
    rest.load_state_dict(state)
    assert rest.done == 4
    fit(rest, rows(), Budget(steps=8))
    assert timeless(rest.state_dict()) == timeless(whole.state_dict())
    assert frozen(rest.weights()) == frozen(whole.weights())


@EACH
def test_evaluating_the_loss_changes_nothing(kind: type[Method], tmp_path: Path) -> None:
    run, _ = build(kind, tmp_path)
    fit(run, rows(), Budget(steps=3))
    batch = Pictures().batch(torch.arange(8))
    before = timeless({k: v for k, v in run.state_dict().items() if k != "rng"})
    for _ in range(3):
        run.loss("model", run.params("model"), batch)
        if kind is not DPSGD:  # each of its gradients is a query, with noise of its own, and is counted
            run.gradient("model", batch, record=False)
    assert timeless({k: v for k, v in run.state_dict().items() if k != "rng"}) == before


@pytest.mark.parametrize("kind", [k for k in METHODS if k.batch is not Method.batch], ids=lambda kind: kind.__name__)
def test_rows_it_mixes_lose_their_records(kind: type[Method], tmp_path: Path) -> None:
    run, method = build(kind, tmp_path)
    batch = Pictures().batch(torch.arange(16))
    other = replace(batch, x=torch.cat([1 - batch.x[:1], batch.x[1:]]))
    outs = []
    for b in (batch, other):
        torch.manual_seed(3)
        outs.append(method.batch(run, b))
    independent = torch.equal(outs[0].x[1:], outs[1].x[1:])
    assert independent or outs[0].records is None
    if outs[0].records is not None:
        assert torch.equal(outs[0].records, torch.arange(16))


@EACH
def test_it_changes_no_argument_in_place(kind: type[Method], tmp_path: Path) -> None:
    run, method = build(kind, tmp_path)
    fit(run, rows(), Budget(steps=2))
    batch = Pictures().batch(torch.arange(8))
    before = frozen(batch.rows())
    method.batch(run, batch)
    assert frozen(batch.rows()) == before
    grads = {k: torch.randn_like(p) for k, p in run.params("model").items()}
    kept = frozen(grads)
    method.grads(run, "model", grads)
    assert frozen(grads) == kept
    weights = {k: v.detach().clone() for k, v in run.objective.state_dict().items()}
    kept = frozen(weights)
    method.weights(run, weights)
    assert frozen(weights) == kept


@EACH
def test_setting_up_draws_and_moves_nothing(kind: type[Method], tmp_path: Path) -> None:
    run, method = build(kind, tmp_path)
    before, generator = frozen(run.objective.state_dict()), torch.get_rng_state()
    method.setup(run)
    assert frozen(run.objective.state_dict()) == before
    assert torch.equal(generator, torch.get_rng_state())


@EACH
def test_it_takes_its_place_in_the_order_of_a_step(kind: type[Method], tmp_path: Path) -> None:
    run, method = build(kind, tmp_path)
    seen: list[str] = []
    order = ("batch", "loss", "estimate", "grads", "update", "project", "on")
    for hook in (h for h in order if defines(method, h)):
        real = getattr(method, hook)

        def traced(*given: Any, hook: str = hook, real: Any = real) -> Any:
            event = next((type(g) for g in given if isinstance(g, Started | Stepped | Settled)), None)
            if hook != "on" or event is Stepped:
                seen.append(hook)
            return real(*given)

        setattr(method, hook, traced)
    fit(run, rows(), Budget(steps=1))
    first = {hook: seen.index(hook) for hook in seen}
    begins = [h for h in ("batch", "update", "estimate", "loss", "grads", "project", "on") if h in first]
    assert sorted(first, key=first.__getitem__) == begins
    assert all(seen.count(h) == 1 for h in ("batch", "update", "on") if h in seen)


@EACH
def test_a_second_run_of_it_ends_with_the_same_bits(kind: type[Method], tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run, _ = build(kind, tmp_path / name)
        found.append(timeless(fit(run, rows(), Budget(steps=6)).state_dict()))
    assert found[0] == found[1]


@EACH
def test_it_trains_under_bfloat16(kind: type[Method], tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = example(kind, tmp_path)
    rest = [] if defines(method, "update") else [sgd(0.01)]
    data: list[Method] = [] if kind is Validate else [Validate(Pictures())]
    data += [COMPANIONS[kind](tmp_path)] if kind in COMPANIONS else []
    run = Run(Classify(Reader()), [*data, method, *rest], Engine(device="cpu", precision="bf16-mixed"))
    fit(run, rows(), Budget(steps=4))
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in run.objective.parameters())
