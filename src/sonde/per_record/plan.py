"""Which modules are watched, and how: by a rule, in a form of ours that notes its parts, or whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from .attention import attending
from .layers import rule_of
from .recurrent import recurring, stepping
from .tape import Tape, by_rule
from .unit import whole

How = Callable[[Tape, str, Any], AbstractContextManager[None]]


def plan(module: nn.Module, names: Mapping[int, str]) -> Iterator[tuple[str, nn.Module, How]]:
    """(name, module, how) of every module that is to be watched for the parameters with these ids."""
    watched: dict[str, tuple[nn.Module, How]] = {}
    for name, layer in module.named_modules():
        own = any(id(p) in names for p in layer._parameters.values() if p is not None)
        if own:
            if isinstance(layer, parametrize.ParametrizationList):  # parametrised: conv.parametrizations.weight
                name = name.rpartition(".parametrizations")[0]
                watched[name] = module.get_submodule(name), whole
            else:
                watched[name] = layer, _how(layer)
    roots = [k for k, (_, how) in watched.items() if how is not by_rule]
    for name, (layer, how) in watched.items():
        if not any(name != root and (root == "" or name.startswith(f"{root}.")) for root in roots):
            yield name or type(layer).__name__, layer, how


def _how(layer: nn.Module) -> How:
    if parametrize.is_parametrized(layer):
        return whole
    if rule_of(layer) is not None:
        return by_rule
    return _KNOWN.get(type(layer).forward, whole)


_KNOWN: dict[Any, How] = {
    nn.MultiheadAttention.forward: attending,
    **{c.forward: recurring for c in (nn.RNN, nn.LSTM, nn.GRU)},
    **{c.forward: stepping for c in (nn.RNNCell, nn.LSTMCell, nn.GRUCell)},
}
