"""The command line: text to recipe to run to report. Everything it does is in the package too."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

from sonde.core.errors import SondeError

_ASSIGNMENT = re.compile(r"([a-z][a-z_]*)=(.*)", re.DOTALL)
_SWITCHES = {"--quiet", "--json", "--debug", "--dry-run", "--resume", "--compile", "--download", "--no-baselines"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 usage, 3 threshold, 4 refused, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [a for a in given if a != "--debug"]
    try:
        from sonde.cli.app import app

        result = app(assignments(given), standalone_mode=False, prog_name="sonde")
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe went away: nothing is left to say, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SondeError as error:
        if debug:
            raise
        print(f"{'' if error.code == 130 else 'error: '}{error.cause}\n  {error.remedy}", file=sys.stderr)
        return error.code
    except Exception as error:
        from typer import Exit

        if isinstance(error, Exit):
            return error.exit_code
        shown = getattr(error, "format_message", None)
        if shown is not None:  # a usage error, which names the option
            return _usage(error, shown())
        if debug:
            raise
        print(f"error: {type(error).__name__}: {error}\n  run again with --debug for the details", file=sys.stderr)
        return 1


def assignments(given: list[str]) -> list[str]:
    """`epochs=10` as `--epochs 10`, which users of other tools type; not where it is an option's value."""
    out: list[str] = []
    for i, word in enumerate(given):
        found = _ASSIGNMENT.fullmatch(word)
        before = given[i - 1] if i else ""
        is_value = before.startswith("-") and "=" not in before and before not in _SWITCHES
        if found and i and not is_value:
            out += [f"--{found[1].replace('_', '-')}", found[2]]
        else:
            out.append(word)
    return out


def _usage(error: Exception, message: str) -> int:
    from sonde.cli.app import command_names
    from sonde.names import did_you_mean

    unknown = re.search(r"No such command '([^']*)'", message)
    remedy = "see `sonde --help`"
    if unknown:
        remedy = did_you_mean(unknown[1], command_names()) or remedy
    elif context := getattr(error, "ctx", None):
        remedy = f"see `{context.command_path} --help`"
    print(f"error: {message}\n  {remedy}", file=sys.stderr)
    return 2
