"""RNN, LSTM and GRU, and their cells, in a form that notes their gates."""

# N rows, T steps, D features in, H units, G gates

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from .layers import Found, Gather, affine, full
from .tape import Tape

Recurrent = nn.RNN | nn.LSTM | nn.GRU


@contextmanager
def recurring(tape: Tape, name: str, layer: Recurrent) -> Iterator[None]:
    """Note the calls of `nn.RNN` (Elman, 1990), `nn.LSTM` and `nn.GRU`, of any depth, in one or both directions."""

    original: Any = layer.forward

    def forward(input: Any, hx: Any = None) -> Any:
        usual = isinstance(input, Tensor) and input.dim() == 3
        if not usual:
            tape.problem = (
                f"{name} ({type(layer).__name__}) was given something else than rows of equally long sequences"
            )
        if not usual or not tape.trains(*layer.parameters()):
            return original(input, hx)
        x = input if layer.batch_first else input.transpose(0, 1)  # (N, T, D)
        lstm, directions = isinstance(layer, nn.LSTM), 2 if layer.bidirectional else 1
        h_in, c_in = hx if lstm and hx is not None else (hx, None)
        last: list[tuple[Tensor, Tensor | None]] = []
        for depth in range(layer.num_layers):
            outs = []
            for way in range(directions):
                i = depth * directions + way
                start = [None if s is None else s[i] for s in (h_in, c_in)]
                out, h, c = _one(tape, name, layer, f"_l{depth}{'_reverse' * way}", x, start[0], start[1])
                outs.append(out)
                last.append((h, c))
            x = outs[0] if directions == 1 else torch.cat(outs, -1)
            if layer.dropout and depth < layer.num_layers - 1:
                x = F.dropout(x, layer.dropout, layer.training)
        out = x if layer.batch_first else x.transpose(0, 1)
        h_n = torch.stack([h for h, _ in last])
        return (out, (h_n, torch.stack([c for _, c in last if c is not None]))) if lstm else (out, h_n)

    layer.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del layer.forward


def _one(
    tape: Tape, name: str, layer: Recurrent, suffix: str, x: Tensor, h: Tensor | None, c: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One layer in one direction: outputs (N, T, H), the last state and the last cell.

    The product with the input is taken for all steps at once. Its gradient is that of the gates, so the uses of the
    recurrent matrix follow from it and from the states: in an RNN and an LSTM, gates = W x_t + U h_{t-1} + b.
    """
    w, u = getattr(layer, f"weight_ih{suffix}"), getattr(layer, f"weight_hh{suffix}")
    b, d = (getattr(layer, f"bias_ih{suffix}"), getattr(layer, f"bias_hh{suffix}")) if layer.bias else (None, None)
    projection = getattr(layer, f"weight_hr{suffix}", None) if getattr(layer, "proj_size", 0) else None
    h = x.new_zeros(len(x), u.shape[1]) if h is None else h
    lstm, gru = isinstance(layer, nn.LSTM), isinstance(layer, nn.GRU)
    if lstm and c is None:
        c = x.new_zeros(len(x), layer.hidden_size)
    gates = F.linear(x, w, b)  # (N, T, G H)
    steps, states, resets, outs = gates.unbind(1), [], [], []
    order = range(len(steps) - 1, -1, -1) if suffix.endswith("reverse") else range(len(steps))
    for t in order:
        states.append(h.detach())
        recurrent = F.linear(h, u, d)
        if lstm and c is not None:
            i, f, g, o = (steps[t] + recurrent).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            if projection is not None:
                h = tape.affine(name, h, projection, None)
        elif gru:
            (r, z, n), (r_h, z_h, n_h) = steps[t].chunk(3, -1), recurrent.chunk(3, -1)
            r, z = (r + r_h).sigmoid(), (z + z_h).sigmoid()
            h = torch.lerp((n + r * n_h).tanh(), h, z)
            resets.append(r.detach())
        else:
            h = steps[t] + recurrent
            h = h.tanh() if layer.nonlinearity == "tanh" else h.relu()
        outs.append(h)
    if suffix.endswith("reverse"):
        states, resets, outs = states[::-1], resets[::-1], outs[::-1]
    kept = x.detach()

    def uses(gather: Gather, signals: Sequence[Tensor | None], k: int) -> Found:
        (g,) = signals
        if g is None:
            return
        yield from affine(w, b, gather(kept), gather(g), k)
        if gru:  # n = tanh(W x + r (U h + d)): the recurrent part of the new gate is seen through the reset gate
            r_z, n = g.split((2 * layer.hidden_size, layer.hidden_size), -1)
            g = torch.cat([r_z, n * full(torch.stack(resets, 1))], -1)
        yield from affine(u, d, gather(torch.stack(states, 1)), gather(g), k)

    tape.note(name, [x], [gates], uses)
    return torch.stack(outs, 1), h, c


@contextmanager
def stepping(tape: Tape, name: str, cell: nn.RNNCellBase) -> Iterator[None]:
    """Note the calls of `nn.RNNCell`, `nn.LSTMCell` and `nn.GRUCell`, one step at a time."""

    original: Any = cell.forward

    def forward(input: Tensor, hx: Any = None) -> Any:
        if input.dim() != 2:
            tape.problem = f"{name} ({type(cell).__name__}) was given something else than rows"
        if input.dim() != 2 or not tape.trains(*cell.parameters()):
            return original(input, hx)
        zeros = input.new_zeros(len(input), cell.hidden_size)
        lstm = isinstance(cell, nn.LSTMCell)
        h, c = (zeros, zeros) if hx is None else hx if lstm else (hx, zeros)
        gates = tape.affine(name, input, cell.weight_ih, cell.bias_ih)
        recurrent = tape.affine(name, h, cell.weight_hh, cell.bias_hh)
        if lstm:
            i, f, g, o = (gates + recurrent).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            return o.sigmoid() * c.tanh(), c
        if isinstance(cell, nn.GRUCell):
            (r, z, n), (r_h, z_h, n_h) = gates.chunk(3, -1), recurrent.chunk(3, -1)
            r, z = (r + r_h).sigmoid(), (z + z_h).sigmoid()
            return torch.lerp((n + r * n_h).tanh(), h, z)
        h = gates + recurrent
        return h.tanh() if cell.nonlinearity == "tanh" else h.relu()

    cell.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del cell.forward
