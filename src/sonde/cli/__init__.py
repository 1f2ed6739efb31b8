"""The command line: text to recipe to run to report. Everything it does is in the package too."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from sonde.cli.process import end_group, sleep_while_waiting
from sonde.core.errors import SondeError

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 usage, 3 threshold, 4 refused, 130 interrupted."""
    sleep_while_waiting()
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [a for a in given if a != "--debug"] or ["--help"]
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character shows a question mark
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            code = _answer(given, debug)
        sys.stdout.flush()  # here, where a reader that went away is nobody's error
        end_group(code)
        return code
    except BrokenPipeError:  # the reader of a pipe has what it wanted: nothing is left to say, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _answer(given: list[str], debug: bool) -> int:
    try:
        from typer.main import get_command

        from sonde.cli.app import app

        command = get_command(app)
        # Not command.main(), which answers a broken pipe and an interrupt in its own way.
        with command.make_context("sonde", list(given), obj=given) as context:
            command.invoke(context)
        return 0
    except KeyboardInterrupt:
        if debug:
            raise
        _say("interrupted")
        return 130
    except BrokenPipeError:
        raise
    except SondeError as error:
        if debug:
            raise
        # An interruption that was asked for is no error; a remedy of several lines stays indented.
        from sonde.cli.words import as_typed

        remedy = as_typed(error.remedy).replace("\n", "\n  ")
        _say(f"{'' if error.code == 130 else 'error: '}{error.cause}\n  {remedy}")
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
        what = " ".join(str(error).split()) or "no more is known"
        _say(f"error: {type(error).__name__}: {what[:400]}\n  run it again with --debug, and report what it shows")
        return 1


def _usage(error: Any, message: str) -> int:
    from sonde.cli.app import command_names
    from sonde.names import did_you_mean

    context = getattr(error, "ctx", None)
    path = context.command_path if context else "sonde"
    near = ""
    if unknown := re.search(r"No such command '([^']*)'", message):
        message = unknown[0]
        near = did_you_mean(unknown[1], command_names())
    elif name := getattr(error, "option_name", None):
        known = [o for p in (context.command.params if context else ()) for o in p.opts]
        message = f"there is no option {name!r}" if "No such option" in message else message
        near = did_you_mean(name, known) if "there is no option" in message else ""
    _say(f"error: {message}\n  {near or f'see `{path} --help`'}")
    return 2


def _say(text: str) -> None:
    text = CONTROL.sub("\ufffd", text)  # a file's name may hold what a terminal would obey
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # nobody reads stderr; the exit code still tells
        pass


def _say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    from sonde.core.errors import Notice

    text = " ".join(str(message).split())
    _say(f"· {text}" if isinstance(message, Notice) else f"warning: {text}")
