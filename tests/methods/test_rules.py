"""Update rules beyond SGD and Adam: as torch has them, with the split, the average and the rates they promise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import lr_scheduler

from sonde.core import Budget, Method, Refused, Run, Source, Stepped, fit
from sonde.data.rows import Rows
from sonde.methods import (
    DPSGD,
    EMA,
    L1,
    LBFGS,
    Descend,
    EarlyStopping,
    LayerDecay,
    Prune,
    ReduceOnPlateau,
    ScheduleFree,
    Validate,
    adagrad,
    adamw,
    lion,
    muon,
    rmsprop,
    sgd,
    soap,
)
from sonde.names import catalogue, parse
from sonde.objectives import Classify
from sonde.optim.groups import hidden_matrices
from sonde.recipes.defaults import with_methods
from tests.support import GAN, LAW, Call, Halves, blobs, gan_rows, mlp, trained, weights

RULES: dict[str, Callable[[], Descend]] = {
    "adagrad": lambda: adagrad(0.1),
    "rmsprop": lambda: rmsprop(0.01, momentum=0.9, centered=True),
    "lion": lambda: lion(0.01),
    "muon": lambda: muon(0.02, adam_lr=0.01),
    "soap": lambda: soap(0.05, every=3),
    "schedule free": lambda: ScheduleFree(0.05),
    "lbfgs": lambda: LBFGS(iterations=3),
}


def everything() -> Source:
    return Rows(*blobs(), batch_size=64)


# ---------------------------------------------------------------- all of them
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_learns_and_resumes_to_the_same_bits(rule: str) -> None:
    def fresh(*others: Method) -> Run:
        torch.manual_seed(0)
        return Run(Classify(mlp(4, 8, 8, 3)), [*others, RULES[rule]()])

    whole = fresh()
    start = nn.functional.cross_entropy(whole.objective.net(blobs()[0]), blobs()[1]).item()
    fit(whole, everything(), Budget(steps=30))
    with whole.evaluating() as objective:
        assert nn.functional.cross_entropy(objective.net(blobs()[0]), blobs()[1]).item() < 0.7 * start

    def interrupt(run: Run) -> None:
        run.stop = "interrupted"

    half = fresh(Call(Stepped, 13, interrupt))
    fit(half, everything(), Budget(steps=30))
    rest = fresh(Call(Stepped, 99, interrupt))
    rest.load_state_dict(half.state_dict())
    fit(rest, everything(), Budget(steps=30))
    assert half.step == 13 and rest.step == 30
    assert torch.equal(weights(whole.objective), weights(rest.objective))


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_moves_a_kernel_by_its_gradient_however_it_is_laid_out(rule: str) -> None:
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5 * 4, 2)).to(memory_format=layout).double()
        source = Rows(torch.randn(16, 3, 4, 4).double(), torch.arange(16) % 2, batch_size=16)
        # Beyond the rank of a matrix's first gradient SOAP's axes hang on rounding: its long side keeps its own.
        method = soap(0.05, every=3, largest=10) if rule == "soap" else RULES[rule]()
        fit(Run(Classify(net), [method]), source, Budget(steps=4))
        results.append(torch.cat([p.detach().contiguous().flatten() for p in net.parameters()]))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", [*RULES, "sgd", "adamw"])
def test_rows_of_an_embedding_move_as_the_dense_gradient_moves_them(rule: str) -> None:
    rules = {**RULES, "sgd": lambda: sgd(0.1), "adamw": lambda: adamw(0.1)}
    results = []
    for sparse in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Embedding(9, 4, sparse=sparse), nn.Flatten(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)
        )
        rows = Rows(torch.arange(32).reshape(16, 2) % 9, torch.arange(16) % 3, batch_size=16)
        fit(Run(Classify(net), [rules[rule]()]), rows, Budget(steps=4))
        results.append(weights(net))
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rule", RULES)
def test_a_game_is_played_by_every_rule_but_lbfgs(rule: str) -> None:
    game = GAN()
    if rule == "lbfgs":
        with pytest.raises(Refused, match="in a game of discriminator and generator"):
            Run(game, [RULES[rule]()])
        return
    before = weights(game)
    fit(Run(game, [RULES[rule]()]), gan_rows(), Budget(steps=4))
    assert weights(game).isfinite().all() and not torch.equal(before, weights(game))


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "lion", "muon", "soap", "schedule_free", "lbfgs"])
def test_a_rule_is_typed_by_its_name_and_takes_the_place_of_the_default(name: str) -> None:
    build = parse("methods", f"{name}(lr=0.01)")
    (entry,) = [e for e in catalogue("methods") if e.name == name]
    assert entry.typed and entry.summary.endswith(".")
    chosen = with_methods(
        [parse("methods", "ema"), parse("methods", "adamw(lr=0.1)"), parse("methods", "clip(1.0)")], [build]
    )
    assert [b.make for b in chosen if b.make in (adamw, build.make)] == [build.make]
    assert (EMA in [b.make for b in chosen]) == (name != "schedule_free")


@pytest.mark.parametrize("rule", ["lion", "muon", "soap", "lbfgs"])
def test_l1_refuses_a_rule_whose_steps_it_cannot_measure_before_one_is_taken(rule: str) -> None:
    net = mlp(4, 8, 3)
    before = weights(net)
    with pytest.raises(Exception, match="L1 (does not know|moves)|and L1 moves"):
        trained(L1(0.1), RULES[rule](), net=net)
    assert torch.equal(before, weights(net))


# ---------------------------------------------------------------- torch's
@pytest.mark.parametrize(
    "ours, theirs",
    [
        (adagrad(0.1), partial(torch.optim.Adagrad, lr=0.1)),
        (rmsprop(0.01), partial(torch.optim.RMSprop, lr=0.01)),
        (
            rmsprop(0.01, 0.9, 1e-6, 0.5, True),
            partial(torch.optim.RMSprop, 0.01, 0.9, 1e-6, momentum=0.5, centered=True),
        ),
    ],
)
def test_a_rule_of_torchs_is_torchs(ours: Descend, theirs: Callable[..., torch.optim.Optimizer]) -> None:
    torch.manual_seed(0)
    net = mlp(4, 8, 3).double()
    byhand = copy.deepcopy(net)
    x, y = blobs(64)
    source = Rows(x.double(), y, batch_size=16)
    fit(Run(Classify(net), [ours]), source, Budget(steps=100))
    optimiser = theirs(params=byhand.parameters()) if "params" not in theirs.keywords and not theirs.args else None
    optimiser = optimiser or type(theirs.func(byhand.parameters()))(
        byhand.parameters(), *theirs.args, **theirs.keywords
    )
    for _, batch in zip(range(100), source.batches(None), strict=False):
        optimiser.zero_grad()
        nn.functional.cross_entropy(byhand(batch.x), batch.y).backward()
        optimiser.step()
    torch.testing.assert_close(weights(net), weights(byhand), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("search", [True, False])
def test_lbfgs_is_torchs(search: bool) -> None:
    torch.manual_seed(0)
    net = mlp(4, 6, 3).double()
    byhand = copy.deepcopy(net)
    x, y = blobs(64)
    x = x.double()
    lr = 1.0 if search else 0.1
    fit(Run(Classify(net), [LBFGS(lr, 4, 5, search)]), Rows(x, y, batch_size=64), Budget(steps=100))
    order = next(iter(Rows(x, y, batch_size=64).batches(None)))
    optimiser = torch.optim.LBFGS(
        byhand.parameters(), lr, max_iter=4, history_size=5, line_search_fn="strong_wolfe" if search else None
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(byhand(order.x), order.y)
        loss.backward()
        return loss

    for _ in range(100):
        optimiser.step(closure)  # type: ignore[arg-type]
    # A sum over rows in another order is rounded otherwise, and a line search decides by it.
    torch.testing.assert_close(weights(net), weights(byhand), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- L-BFGS
def test_lbfgs_minimises_one_function_a_step_and_moves_statistics_once() -> None:
    torch.manual_seed(0)
    net = mlp(4, 8, 3, between=lambda n: nn.Sequential(nn.BatchNorm1d(n), nn.Dropout(0.5)))
    run = fit(Run(Classify(net), [LBFGS(iterations=6)]), everything(), Budget(steps=3))
    (norm,) = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    assert norm.num_batches_tracked == 3 and run.step == 3


def test_a_line_search_that_fails_leaves_the_weights_of_before() -> None:
    class Breaks(Method):
        calls = 0

        def grads(self, run, turn, grads):  # type: ignore[no-untyped-def]
            self.calls += 1
            if self.calls == 3:
                raise ValueError("broken")
            return grads

    net = mlp(4, 8, 3)
    before = weights(net)
    with pytest.raises(ValueError, match="broken"):
        trained(Breaks(), LBFGS(), net=net, source=everything())
    assert torch.equal(weights(net), before)


def test_lbfgs_says_that_batches_differ_and_refuses_private_training() -> None:
    assert "different batches" in trained(LBFGS(iterations=2), steps=2).notes[0]
    assert not trained(LBFGS(iterations=2), steps=2, source=everything()).notes
    with pytest.raises(Refused, match="DPSGD's noise does not cover"):
        trained(DPSGD(noise_multiplier=1.0), LBFGS())


# ---------------------------------------------------------------- schedule-free
def test_the_average_is_what_is_evaluated_and_shipped_and_where_a_stage_ends() -> None:
    torch.manual_seed(0)
    rule = ScheduleFree(0.05, warmup=0.0)
    run = Run(Classify(mlp(4, 3)), [rule])
    source = everything()
    batches = source.batches(run)
    zs: list[Tensor] = []
    for _ in range(6):
        run.advance(next(batches))
        (optimiser,) = rule.optimisers.values()
        zs.append(optimiser.state[run.params("model")["net.0.weight"]]["z"].clone())
    shipped, trained_at = run.weights()["net.0.weight"], run.params("model")["net.0.weight"]
    torch.testing.assert_close(shipped, torch.stack(zs).mean(0))  # equal rates weigh every step alike
    torch.testing.assert_close(trained_at.detach(), 0.1 * zs[-1] + 0.9 * shipped)
    with run.evaluating() as objective:
        assert torch.equal(objective.net[0].weight, shipped)
    assert not torch.equal(trained_at, shipped)
    fit(run, source, Budget(steps=3))
    assert torch.equal(run.weights()["net.0.weight"], run.params("model")["net.0.weight"])


def test_statistics_are_those_of_the_average() -> None:
    torch.manual_seed(0)
    net = mlp(4, 8, 3, between=nn.BatchNorm1d)
    x, y = blobs(64)
    run = fit(Run(Classify(net), [ScheduleFree(0.05)]), Rows(x, y, batch_size=64), Budget(steps=9))
    (norm,) = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    inputs = net[0](x)
    torch.testing.assert_close(norm.running_mean, inputs.mean(0))
    assert norm.momentum == 0.1 and norm.training and run.stage == 1


@pytest.mark.parametrize("other", [EMA(), Prune(0.5)], ids=["ema", "prune"])
def test_a_second_average_and_a_set_are_refused(other: Method) -> None:
    with pytest.raises(Refused, match=type(other).__name__):
        trained(other, ScheduleFree())


def test_the_best_average_is_kept() -> None:
    run = Run(Classify(mlp(4, 8, 3)), [ScheduleFree(0.05), Validate(Halves()), EarlyStopping(patience=2)])
    fit(run, everything(), Budget(steps=8))
    assert run.weights()["net.0.weight"].isfinite().all()


# ---------------------------------------------------------------- Muon's matrices
class Tiny(nn.Module):
    """A Transformer's kinds of parameters."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(11, 8), nn.Parameter(torch.zeros(1, 4, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.mix, self.cell = nn.Conv1d(8, 8, 3, padding=1), nn.GRU(8, 8, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.embed.weight


@pytest.mark.parametrize("tied", [False, True])
def test_hidden_matrices_are_those_between_embeddings_and_head(tied: bool) -> None:
    net = Tiny(tied)
    params = dict(net.named_parameters())
    names = {id(p): k for k, p in params.items()}
    *groups, rest = hidden_matrices(net, params, head="head" if not tied else "nothing")
    hidden = {names[id(p)]: g["stacked"] for g in groups for p in g["params"]}
    assert hidden == {
        "block.self_attn.in_proj_weight": 3,
        "block.self_attn.out_proj.weight": 1,
        "block.linear1.weight": 1,
        "block.linear2.weight": 1,
        "mix.weight": 1,
        "cell.weight_ih_l0": 3,
        "cell.weight_hh_l0": 3,
    }
    assert len(rest["params"]) + len(hidden) == len(params)


def test_the_last_matrix_is_the_head_unless_named() -> None:
    net = mlp(4, 8, 8, 3)
    params = dict(net.named_parameters())
    assert [p.shape for p in hidden_matrices(net, params)[0]["params"]] == [(8, 4), (8, 8)]
    assert [p.shape for p in hidden_matrices(net, params, head="0")[0]["params"]] == [(8, 8), (3, 8)]


# ---------------------------------------------------------------- rates
def test_layers_near_the_input_learn_more_slowly() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ModuleList([nn.Linear(8, 8) for _ in range(3)]), nn.Linear(8, 3))
    net.forward = lambda x: net[2](net[1][2](net[1][1](net[1][0](net[0](x)))))  # type: ignore[method-assign]
    rule = adamw(0.1, weight_decay=0.3)
    run = Run(Classify(net), [LayerDecay(0.5, blocks="net.1"), rule])
    (optimiser,) = rule.optimisers.values()
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in optimiser.param_groups for p in g["params"]}
    for name, depth in {"net.0": 0, "net.1.0": 1, "net.1.1": 2, "net.1.2": 3, "net.2": 4}.items():
        params = run.params("model")
        assert rates[id(params[f"{name}.weight"])] == pytest.approx((0.1 * 0.5 ** (4 - depth), 0.3))
        assert rates[id(params[f"{name}.bias"])] == pytest.approx((0.1 * 0.5 ** (4 - depth), 0.0))
    fit(run, everything(), Budget(steps=2))


def test_layer_decay_names_what_it_cannot_find() -> None:
    with pytest.raises(Refused, match="no list of blocks called 'blocks'"):
        trained(LayerDecay(0.5, blocks="blocks"))
    with pytest.raises(Refused, match="under LBFGS"):
        trained(LayerDecay(0.5), LBFGS())


@LAW
@given(
    st.lists(st.floats(-2, 2), max_size=40),
    st.sampled_from(["loss", "accuracy"]),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.01, 0.3]),
)
def test_a_plateau_lowers_the_rate_where_torchs_does(
    values: list[float], metric: str, patience: int, cooldown: int, least: float
) -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimiser,
        "min" if metric == "loss" else "max",
        factor=0.5,
        patience=patience,
        cooldown=cooldown,
        min_lr=least,
        threshold=0.01,
        eps=0.0,
    )
    ours = ReduceOnPlateau(0.5, patience, metric, cooldown=cooldown, least=least, threshold=0.01)
    for value in values:
        theirs.step(value)
        ours.weigh(value)
        assert ours.pace() == pytest.approx(optimiser.param_groups[0]["lr"])


def test_the_rate_of_a_run_falls_on_a_plateau_beside_its_schedule() -> None:
    rule = sgd(0.2, schedule=lambda step, total: 0.5)  # type: ignore[arg-type]
    plateau = ReduceOnPlateau(0.1, patience=0, threshold=0.99)  # nothing after the first is an improvement
    run = Run(Classify(mlp(4, 3)), [rule, Validate(Halves()), plateau])
    fit(run, everything(), Budget(steps=4))  # four epochs, a measurement after each, the last one after the last step
    assert plateau.now == pytest.approx(1e-3)
    assert rule.optimisers["model"].param_groups[0]["lr"] == pytest.approx(0.2 * 0.5 * 1e-2)
    with pytest.raises(Refused, match="no method measures"):
        trained(ReduceOnPlateau())
