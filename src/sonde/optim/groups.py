"""Which parameters belong together in an optimiser: by what they are, by decay and by rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Group = dict[str, Any]
"""Parameters, under `params`, and the settings that they have in common."""
Split = Callable[[nn.Module, Mapping[str, Tensor]], list[Group]]
"""From a player's module and its parameters by qualified name to groups."""


def all_alike(player: nn.Module, params: Mapping[str, Tensor]) -> list[Group]:
    """One group."""
    return [{"params": list(params.values())}]


def hidden_matrices(player: nn.Module, params: Mapping[str, Tensor], head: str = "") -> list[Group]:
    """Matrices and kernels between the embeddings and the output layer under `matrices`: True, then the rest.

    head: the name (or its beginning) of what is the output; "" for the last matrix in the order of the module. Where
        that is an embedding's, too, nothing else is taken for the output.

    Hidden are the weights of linear layers, convolutions, attention and recurrent layers. Embeddings (also as an output
    that shares their weights), biases, norms and whatever another module owns (positions, tokens) are not. Attention's
    three matrices and the gates of a recurrent layer count as matrices of their own (`stacked`).
    """
    names = {id(p): name for name, p in params.items()}
    found: dict[int, int] = {}  # parameters by id, in the order of the module: how many matrices each stacks
    other: set[int] = set()
    for path, module in player.named_modules():
        owner = (
            player.get_submodule(path.partition(".parametrizations.")[0]) if ".parametrizations." in path else module
        )
        for name, p in module.named_parameters(recurse=False):
            count = _stacked(owner, name, p)
            if count:
                found.setdefault(id(p), count)
            else:
                other.add(id(p))
    hidden = [i for i in found if i not in other and i in names]
    if head:
        ends = [i for i in hidden if f"{names[i]}.".startswith(f"{head}.")]
    else:
        ends = [i for i in found if i in names][-1:]
    counts = {i: found[i] for i in hidden if i not in ends}
    groups: list[Group] = []
    for count in sorted(set(counts.values())):
        of_count = [p for p in params.values() if counts.get(id(p)) == count]
        groups.append({"params": of_count, "matrices": True, "stacked": count})
    rest = [p for p in params.values() if id(p) not in counts]
    return [*groups, {"params": rest}] if rest else groups


def _stacked(owner: nn.Module, name: str, p: Tensor) -> int:
    """How many matrices lie one above the other in a parameter; 0 if it is none."""
    if p.dim() < 2:
        return 0
    if isinstance(owner, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return 1
    if isinstance(owner, nn.MultiheadAttention) and "weight" in name:
        return 3 if name == "in_proj_weight" else 1
    if isinstance(owner, nn.RNNBase):
        return p.shape[0] // owner.hidden_size if "weight_ih" in name or "weight_hh" in name else 1
    return 0


def parted(
    groups: Sequence[Group], params: Mapping[str, Tensor], decays: bool, paces: Mapping[str, float], **extra: Any
) -> list[Group]:
    """The groups divided further: vectors, which do not decay, after the matrices; and by the factor on the rate.

    Every group names its `lr`, to which `paces` (by parameter name) are factors.
    """
    pace = {id(p): paces.get(name, 1.0) for name, p in params.items()}
    found: list[Group] = []
    for group in groups:
        settings = {k: v for k, v in group.items() if k != "params"} | extra
        kinds: dict[tuple[bool, float], list[Tensor]] = {}
        for p in group["params"]:
            kinds.setdefault((decays and p.dim() <= 1, -pace[id(p)]), []).append(p)
        for (vectors, slow), members in sorted(kinds.items(), key=lambda kind: kind[0]):
            made = {**settings, "params": members, "lr": -slow * settings["lr"]}
            found.append({**made, "weight_decay": 0.0} if vectors else made)
    return found


def depths(player: nn.Module, blocks: str = "") -> dict[int, int]:
    """How deep each parameter (by id) lies: 0 before the blocks, 1, 2, ... within them, one more after them.

    blocks: the name of a list of modules; "" for the longest, outermost list (ModuleList or Sequential) whose modules
        have parameters. Before and after are in the order in which the module names its parameters.

    Raises KeyError where there is no such list.
    """
    lists = {
        path: [m for m in module if any(True for _ in m.parameters())]
        for path, module in player.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential)
    }
    if blocks and not lists.get(blocks) or not any(lists.values()):
        raise KeyError(blocks)
    chosen = lists[blocks] if blocks else max(lists.values(), key=len)
    within = {id(p): i + 1 for i, m in enumerate(chosen) for p in m.parameters()}
    found: dict[int, int] = {}
    reached = False
    for p in player.parameters():
        reached = reached or id(p) in within
        found[id(p)] = within.get(id(p), len(chosen) + 1 if reached else 0)
    return found
