"""The tables of docs/attacks.md, from results/attacks.json."""

from __future__ import annotations

from typing import Any

PEERS = {"torchattacks": "torchattacks", "foolbox": "foolbox", "art": "ART"}
NETS = {"plain": "plainly trained, radius 0.1", "robust": "trained with FGSM at 0.3, radius 0.3"}


def tables(whole: dict[str, Any]) -> str:
    """Times as fast as each peer, and in brackets what Sonde and the peer found, for each net; then the suite."""
    parts = []
    for net, about in NETS.items():
        rows = [_line(name, entries) for name, entries in whole["attacks"][net].items()]
        heads = ["attack", *(f"beside {peer}" for peer in PEERS.values())]
        parts.append("\n".join([f"**A net {about}**\n", _cells(heads), _cells(["---"] * len(heads)), *rows]))
    heads = ["the suite on 1000 pictures", "seconds", "allowed", "right, clean", "right after it"]
    rows = [
        _cells([f"net {NETS[net]}", f"{e['seconds']:.0f}", f"{e['limit']}", _percent(e["clean"]),
                _percent(e["robust_accuracy"])])
        for net, e in whole["suite"].items()
    ]  # fmt: skip
    return "\n\n".join([*parts, "\n".join([_cells(heads), _cells(["---"] * len(heads)), *rows])])


def _line(name: str, entries: dict[str, Any]) -> str:
    return _cells([name, *(_beside(entries[peer]) if peer in entries else "" for peer in PEERS)])


def _beside(entry: dict[str, Any]) -> str:
    ratio = entry["times_as_fast"]["median"]
    return f"**{ratio:.2f}** ({_found(entry['ours'])}, {_found(entry['theirs'])})"


def _found(outcome: dict[str, Any]) -> str:
    far = outcome.get("median_l2")
    return _percent(outcome["success"]) + (f" at {far:.2f}" if far is not None else "")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _cells(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
