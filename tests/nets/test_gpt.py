"""GPT: equal to torch's Transformer with the same weights, blind to what comes later, and begun as the paper does."""

from __future__ import annotations

import math
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sonde.core import Batch, SondeError
from sonde.nets import GPT
from sonde.nets.layers.attention import Block, CausalSelfAttention
from sonde.optim.groups import hidden_matrices
from sonde.per_record import ByRecord, one_at_a_time

V, T, D = 11, 7, 12


def small(**changes: float) -> GPT:
    torch.manual_seed(0)
    return GPT(**{"vocabulary": V, "context": T, "width": D, "layers": 2, "heads": 3, **changes})  # type: ignore[arg-type]


def spread(net: nn.Module) -> None:
    """Weights of ordinary size: the paper's first ones hardly let tokens attend."""
    for p in net.parameters():
        nn.init.normal_(p, std=0.5)


def tokens(rows: int = 5, length: int = T) -> Tensor:
    return torch.randint(V, (rows, length), generator=torch.Generator().manual_seed(1))


def causal(length: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return nn.Transformer.generate_square_subsequent_mask(length, dtype=dtype)


# ---------------------------------------------------------------- parity
def test_the_logits_are_those_of_torchs_layers_with_the_same_weights() -> None:
    net = small().double().eval()
    spread(net)
    x = tokens()
    h = net.tokens.weight[x] + net.positions.weight[:T]
    gelu = partial(F.gelu, approximate="tanh")
    for block in net.blocks:
        layer = nn.TransformerEncoderLayer(
            D, 3, 4 * D, dropout=0.0, activation=gelu, batch_first=True, norm_first=True, dtype=torch.float64
        )
        a, f = block.attention, block.feed_forward
        mine = {
            "self_attn.in_proj_weight": torch.cat([a.query.weight, a.key.weight, a.value.weight]),
            "self_attn.in_proj_bias": torch.cat([a.query.bias, a.key.bias, a.value.bias]),
            **{f"self_attn.out_proj.{k}": v for k, v in a.out.state_dict().items()},
            **{f"linear1.{k}": v for k, v in f.wide.state_dict().items()},
            **{f"linear2.{k}": v for k, v in f.out.state_dict().items()},
            **{f"norm{i}.{k}": v for i in (1, 2) for k, v in getattr(block, f"norm{i}").state_dict().items()},
        }
        layer.load_state_dict(mine)
        h = layer(h, src_mask=causal(T, torch.float64))
    expected = F.layer_norm(h, (D,), net.norm.weight, net.norm.bias) @ net.tokens.weight.T
    torch.testing.assert_close(net(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
def test_the_logits_are_those_of_gpt_2_with_the_same_weights(bias: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="parity with GPT-2 needs transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = transformers.GPT2Config(
            vocab_size=V, n_positions=T, n_embd=D, n_layer=2, n_head=3,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
        other = transformers.GPT2LMHeadModel(config).eval()
    spread(other)
    net = small(bias=bias).eval()
    blocks = other.transformer.h
    given = {"tokens.weight": other.transformer.wte.weight, "positions.weight": other.transformer.wpe.weight}
    given["head.weight"] = given["tokens.weight"]
    pairs = [("norm", other.transformer.ln_f)]
    for i, block in enumerate(blocks):
        at = f"blocks.{i}"
        pairs += [(f"{at}.norm1", block.ln_1), (f"{at}.norm2", block.ln_2)]
        maps = {"attention.out": block.attn.c_proj, "feed_forward.wide": block.mlp.c_fc}
        for name, there in {**maps, "feed_forward.out": block.mlp.c_proj}.items():
            given[f"{at}.{name}.weight"], given[f"{at}.{name}.bias"] = there.weight.T, there.bias
        for j, name in enumerate(("query", "key", "value")):
            part = slice(j * D, (j + 1) * D)
            given[f"{at}.attention.{name}.weight"] = block.attn.c_attn.weight.T[part]
            given[f"{at}.attention.{name}.bias"] = block.attn.c_attn.bias[part]
    for name, norm in pairs:
        given[f"{name}.weight"], given[f"{name}.bias"] = norm.weight, norm.bias
    if not bias:
        with torch.no_grad():
            for name in [k for k in given if k.endswith(".bias")]:
                given.pop(name).zero_()
    net.load_state_dict({k: v.detach() for k, v in given.items()})
    torch.testing.assert_close(net(tokens()), other(tokens()).logits, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- laws
def test_a_later_token_changes_no_earlier_logits() -> None:
    net = small().double().eval()
    spread(net)
    x = tokens()
    for place in range(T):
        changed = x.clone()
        changed[:, place] = (x[:, place] + 1) % V
        before, after = net(x), net(changed)
        assert torch.equal(before[:, :place], after[:, :place])
        assert ((before[:, place:] - after[:, place:]).abs().amax((0, 2)) > 0).all()  # and is seen by all others


def test_a_prefix_gives_the_logits_of_the_whole() -> None:
    net = small().double().eval()
    spread(net)
    torch.testing.assert_close(net(tokens()[:, :4]), net(tokens())[:, :4])


def test_rows_are_independent() -> None:
    net = small().double().eval()
    spread(net)
    torch.testing.assert_close(net(tokens()[2:3]), net(tokens())[2:3])


def test_the_place_of_a_token_counts() -> None:
    net = small().eval()
    spread(net)
    z = net(torch.zeros(1, T, dtype=torch.int64))
    assert (z[0, 1:] - z[0, :-1]).abs().amax(1).min() > 1e-3


def test_every_parameter_is_used_and_laid_out_as_its_gradient() -> None:
    net = small()
    net(tokens()).square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # softmax does not see what is added to all scores of a token
    assert all(n.endswith("attention.key.bias") for n in silent)
    assert all(p.grad is not None and p.grad.stride() == p.stride() for p in net.parameters())


def test_gradients_of_each_record_come_from_the_layers_algebra() -> None:
    """Tied matrices and positions included; a warning would say that a slower way was taken."""
    net = small(width=6, heads=2).double()
    spread(net)
    params, batch = dict(net.named_parameters()), Batch(tokens(4))

    def evaluate(at: dict[str, Tensor], batch: Batch) -> Tensor:
        z = net(batch.x) if at is params else torch.func.functional_call(net, at, (batch.x,))
        return F.cross_entropy(z.transpose(1, 2), batch.x, reduction="none").mean(1)

    by_record = ByRecord(net)
    per, true = (way(evaluate, params, batch) for way in (by_record, one_at_a_time))
    assert by_record.way == "layers", by_record.reason
    torch.testing.assert_close(per.norms, true.norms)
    weights = torch.rand(4, dtype=torch.float64)
    torch.testing.assert_close(per.weighted(weights), true.weighted(weights))


def test_a_net_learns_sixteen_rows_by_heart() -> None:
    net, x = small(), tokens(16, T + 1)
    x[:, 0] = torch.arange(16) % V
    x[:, 1] = torch.arange(16) // V  # the first two tokens name the row
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(120):
        loss = F.cross_entropy(net(x[:, :-1])[:, 1:].flatten(0, 1), x[:, 2:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1e-2


def test_dropout_draws_in_training_alone() -> None:
    net = small(dropout=0.5)
    assert not torch.equal(net(tokens()), net(tokens()))
    net.eval()
    assert torch.equal(net(tokens()), net(tokens()))


# ---------------------------------------------------------------- the beginning
def test_at_first_every_token_is_as_likely() -> None:
    torch.manual_seed(0)
    net = GPT(vocabulary=65, context=64, width=64, layers=4, heads=4).eval()
    x = torch.randint(65, (16, 64))
    loss = F.cross_entropy(net(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten()).item()
    assert abs(loss - math.log(65)) < 0.05


def test_weights_begin_as_in_the_paper() -> None:
    torch.manual_seed(0)
    net = GPT(vocabulary=500, context=128, width=96, layers=8, heads=4)
    for name, p in net.named_parameters():
        if name.endswith("bias"):
            assert not p.any(), name
        elif "norm" in name:
            assert (p == 1).all(), name
        else:
            ends = name.endswith("out.weight")
            assert p.std().item() == pytest.approx(0.02 / (4 if ends else 1), rel=0.05), name  # sqrt(2 * 8) = 4


def test_the_output_is_the_embeddings_matrix() -> None:
    net = small()
    assert net.head.weight is net.tokens.weight
    assert sum(p.numel() for p in net.parameters()) == V * D + T * D + 2 * (12 * D * D + 13 * D) + 2 * D
    assert sum(p.numel() for p in small(bias=False).parameters()) == V * D + T * D + 2 * (12 * D * D + 2 * D) + D


@pytest.mark.parametrize("head", ["", "head"])
def test_muon_is_given_every_matrix_of_the_blocks(head: str) -> None:
    net = small()
    (hidden, rest) = hidden_matrices(net, dict(net.named_parameters()), head)
    assert len(hidden["params"]) == 12 and all(p.shape != (V, D) for p in hidden["params"])
    assert {id(net.tokens.weight), id(net.positions.weight)} <= {id(p) for p in rest["params"]}


# ---------------------------------------------------------------- mistakes
def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(SondeError, match="8 tokens are more than the context of 7"):
        small()(tokens(1, T + 1))


def test_heads_divide_the_width() -> None:
    with pytest.raises(SondeError, match="5 heads do not divide a width of 12"):
        Block(12, 5)
    with pytest.raises(SondeError, match="0 heads"):
        CausalSelfAttention(12, 0)


def test_a_rate_of_dropout_is_a_share() -> None:
    with pytest.raises(SondeError, match="outside"):
        small(dropout=1.0)
