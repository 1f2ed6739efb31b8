"""The words of a command: options as every tool's users type them, and the command as others may read it."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperOption

from sonde.core.errors import SondeError

ASSIGNMENT = re.compile(r"([A-Za-z][\w.-]*)=(.*)", re.DOTALL)
SYNONYMS = {
    "num-train-epochs": "epochs",
    "max-epochs": "epochs",
    "max-steps": "steps",
    "per-device-train-batch-size": "batch-size",
    "batch": "batch-size",
    "learning-rate": "lr",
    "time-limit": "time",
    "val-split": "val",
    "label": "target",
    "config": "recipe",
    "print-config": "dry-run",
    "runs": "output-dir",
    "imgsz": "size",
}
"""What the users of other tools type, and what it is here."""
OPTIONS = ("target", "sensitive", "task", "on_bad", "encoding", "size", "test", "val", "download", "seed")
READING = ("fit", "labels", "split", "separator", "header", "missing", "label_separator", "limit")
"""Options of reading data: those of the command line, and those that `--read` takes."""
YES, NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


class Misused(SondeError):
    """A command that was not understood."""

    code = 2


class Command(TyperCommand):
    """A command whose options may also be written `epochs=10`, with underscores, or by the names of other tools."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words after the command's name."""
        return super().parse_args(ctx, as_options(args, self.params))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The help, with the options under the headings they were given."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_option = isinstance(parameter, TyperOption)
                panel = getattr(parameter, "rich_help_panel", None) or ("Options" if is_option else "Arguments")
                panels.setdefault(panel, []).append(record)
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)


def as_options(words: Sequence[str], parameters: Sequence[Any]) -> list[str]:
    """`epochs=10` as `--epochs 10`; `compile=true` as `--compile`; `methods.ema.decay=0.9` as a `--set`.

    parameters: of the command. A word that an option takes as its value is left as it is, and so is what follows `--`.
    """
    options = {
        o.removeprefix("--"): p for p in parameters if isinstance(p, TyperOption) for o in p.opts if o[:2] == "--"
    }
    positional = {p.name for p in parameters if not isinstance(p, TyperOption)}
    out: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*out, word, *rest]
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = _known(name, options)
            if name == "data" and "data" in positional and "data" not in options:
                out += [value] if equals else rest[:1]
                rest = rest if equals else rest[1:]
                continue
            out.append(f"--{name}{equals}{value}")
            if name in options and not equals and not options[name].is_flag and rest:
                out.append(rest.pop(0))
        elif found := ASSIGNMENT.fullmatch(word):
            out += _assigned(word, found[1], found[2], options, positional)
        else:
            out.append(word)
    return out


def _known(name: str, options: dict[str, Any]) -> str:
    plain = name.replace("_", "-")
    synonym = SYNONYMS.get(plain, plain)
    return plain if plain in options or synonym not in options else synonym


def _assigned(word: str, key: str, value: str, options: dict[str, Any], positional: set[str]) -> list[str]:
    name = _known(key, options)
    if name in options:
        if not options[name].is_flag:
            return [f"--{name}", value]
        if value.lower() not in YES + NO:
            raise Misused(f"{word!r} is neither yes nor no", f"write {key}=true, or leave it out")
        return [f"--{name}"] if value.lower() in YES else []
    if name in positional:
        return [value]
    if key in READING and "read" in options:
        return ["--read", word]
    if "." in key and "set" in options:
        return ["--set", word]
    if not options or Path(word).exists():
        return [word]
    near = difflib.get_close_matches(name, [*options, *positional], 1, 0.6)
    raise Misused(
        f"there is no option {key!r}", f"did you mean {near[0].replace('-', '_')!r}?" if near else "see --help"
    )


def as_typed(advice: str) -> str:
    """Advice written for Python in the words of the command line.

    >>> as_typed("pass target=, or on_bad='skip', or labels='a.csv', or download=True")
    'pass --target, or --on-bad skip, or --read labels=a.csv, or --download'
    """

    def typed(found: re.Match[str]) -> str:
        name, value = found[1], found[2] or found[3] or ""
        if name in READING:
            return f"--read {name}={value or '...'}"
        if name not in OPTIONS:
            return found[0]
        name = name.replace("kinds", "kind").replace("_", "-")
        return f"--{name}" if value == "True" else f"--{name} {value}".strip()

    return re.sub(r"\b([a-z_]+)=(?:'([^']*)'|(\d+|\([\d, ]+\)|True)?)(?![='])", typed, advice)


# ---------------------------------------------------------------- as others may read it
def spoken(words: Sequence[str]) -> str:
    """The command as a line for a shell, without the home folder, which is nobody's business."""
    return " ".join(["sonde", *(_quoted(w) for w in words if w not in ("--resume", "--debug"))])


def _quoted(word: str) -> str:
    home = str(Path.home())
    if home == "/" or home not in word:
        return shlex.quote(word)
    before, _, after = word.partition(home)
    if after and not after.startswith("/"):
        return shlex.quote(word)  # another folder whose name only begins like the home folder's
    path = "~" + (f"/{shlex.quote(after[1:])}" if after[1:] else "")
    if not before:
        return path
    # A shell expands ~ only where a word begins: --output-dir=~/runs is written as two words.
    return f"{shlex.quote(before[:-1])} {path}" if before.startswith("--") and before.endswith("=") else before + path
