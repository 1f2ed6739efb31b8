"""`sonde audit`, `sonde audits`, and audits in `sonde compare`: what a person types, reads and interrupts."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from sonde.auditing import catalogue
from sonde.names import snake
from sonde.paired import FILE
from tests.audited import run_in
from tests.cli.command import Answer, Sonde, finished, start
from tools import schema

QUICK = ("--only", "quality")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audits")
    run_in(folder / "runs", "first", steps=30)
    run_in(folder / "runs", "second", steps=200)
    return folder


@pytest.fixture
def there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    for path in trained.glob("runs/*/audit.*"):
        path.unlink()
    return trained


def test_an_audit_prints_numbers_and_says_where_the_rest_is(sonde: Sonde, there: Path) -> None:
    answer = sonde("audit", "first", *QUICK)
    assert answer.code == 0 and "QUALITY" in answer.out and re.search(r"Accuracy +\d+\.\d\d %", answer.out)
    assert "runs/first/report.html" in answer.err and "runs/first/audit.json" in answer.err
    assert re.search(r"· 1 of \d: quality", answer.err), "without a terminal, a line for each audit"
    quiet = sonde("audit", "first", "--only", "curves,flip_test", "--quiet")
    assert quiet.err.count("·") == 1 and "flip_test: not measured" in quiet.err, "only what was not measured"


def test_json_is_the_file_and_of_its_schema(sonde: Sonde, there: Path) -> None:
    data = sonde("audit", "first", *QUICK, "--json", "--quiet").data
    jsonschema.validate(data, schema.schema())
    assert data == json.loads((there / "runs" / "first" / "audit.json").read_text(encoding="utf-8"))
    assert data["command"] == "sonde audit first --only quality --json --quiet"


def test_a_threshold_that_is_not_kept_exits_3(sonde: Sonde, there: Path) -> None:
    bounds = there / "audit.toml"
    bounds.write_text("[quality]\naccuracy = { at_least = 0.999 }\nece = { at_most = 1 }\n", encoding="utf-8")
    answer = sonde("audit", "first", *QUICK, "--thresholds", bounds)
    assert answer.code == 3
    assert re.search(r"quality/accuracy +at least 0\.999 +\d+\.\d\d % +NOT KEPT", answer.out)
    assert re.search(r"quality/ece +at most 1 +\d+\.\d\d % +kept", answer.out)
    assert sonde("audit", "first", *QUICK, "--thresholds", bounds, "--json").code == 3
    bounds.write_text("[fairness.sex]\ngap = { at_most = 1 }\n", encoding="utf-8")
    answer = sonde("audit", "first", "--only", "fairness", "--thresholds", bounds)
    assert answer.code == 3 and "not measured" in answer.out, "what was not measured is not kept"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("first --only qualty", 1, "did you mean 'quality'"),
        ("first --only ,", 2, "--only names no audit"),
        ("first --budget soon", 2, "--budget 'soon' is not a time"),
        ("first --thresholds none.toml", 1, "there is no file none.toml"),
        ("frist", 1, "did you mean 'first'"),
        ("first --only quality --baseline second", 1, "run second was not audited"),
        ("first --baselin second", 2, "did you mean '--baseline'"),
    ],
)
def test_mistakes_are_answered(sonde: Sonde, there: Path, words: str, code: int, message: str) -> None:
    answer = sonde("audit", *words.split())
    assert answer.code == code and message in answer.err, answer.err
    assert not (there / "runs" / "first" / "audit.json").exists(), "nothing is run before what was asked is understood"


def test_a_baseline_is_shown_beside(sonde: Sonde, there: Path) -> None:
    sonde("audit", "second", *QUICK)
    answer = sonde("audit", "first", *QUICK, "--baseline", "second")
    assert re.search(r"Accuracy .* %   worse \(p < 0\.001\)", answer.out), answer.out


def test_compare_tests_the_same_rows_in_pairs(sonde: Sonde, there: Path) -> None:
    assert "sonde audit first, sonde audit second" in sonde("compare", "first", "second").err
    for name in ("first", "second"):
        sonde("audit", name, *QUICK)
    answer = sonde("compare", "first", "second")
    assert re.search(r"Accuracy +\S+ % +\S+ % +\+\S+ % +\S+ to \S+ +p < 0\.001 +second is better", answer.out), (
        answer.out
    )
    assert "in pairs" in answer.err and "where the recipes differ" in answer.out
    back = sonde("compare", "second", "first", "--json").data
    accuracy = next(d for d in back["differences"] if d["measure"] == "quality/accuracy")
    assert accuracy["verdict"] == "worse" and accuracy["interval"][1] < 0
    alone = sonde("compare", "first", "first").out
    assert "is better" not in alone and "not told apart" in alone


def test_a_damaged_file_of_rows_is_named(sonde: Sonde, there: Path) -> None:
    for name in ("first", "second"):
        sonde("audit", name, *QUICK)
    (there / "runs" / "first" / FILE).write_bytes(b"broken")
    answer = sonde("compare", "first", "second")
    assert answer.code == 1 and FILE in answer.err and "audit it again" in answer.err


def test_audits_are_listed_with_their_settings(sonde: Sonde) -> None:
    text = sonde("audits").out
    for make in catalogue():
        assert snake(make.__name__) in text
    assert "QUALITY" in text and text.index("QUALITY") < text.index("ROBUSTNESS")
    data = sonde("audits", "--json").data
    assert {e["name"] for e in data} == {snake(make.__name__) for make in catalogue()}
    assert all(e["summary"] and e["topic"] for e in data)


# ---------------------------------------------------------------- interrupted
SLOW = """
import sys, time
import sonde.auditing as auditing
from tests.audited import Finds, Waits
auditing.catalogue = lambda: (Finds, Slow)
import sonde.audited as audited
audited.catalogue = auditing.catalogue
class Slow(Waits):
    '''Takes long.'''
    def __init__(self, seconds=60.0): self.seconds = seconds
from sonde.cli import main
sys.exit(main(sys.argv[1:]))
"""


def interrupted(there: Path, how: signal.Signals) -> Answer:
    """An audit of two that is interrupted in the second."""
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "audit", "first"], cwd=there, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    page = there / "runs" / "first" / "report.html"
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        if "What there is to see." in page.read_text(encoding="utf-8"):
            break
        time.sleep(0.05)
    process.send_signal(how)
    return finished(process, 30)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_audit_keeps_what_it_has(there: Path, how: signal.Signals, sonde: Sonde) -> None:
    page = there / "runs" / "first" / "report.html"
    page.write_text("", encoding="utf-8")
    answer = interrupted(there, how)
    assert answer.code == (130 if how is signal.SIGINT else -signal.SIGKILL), answer.err
    data = json.loads((there / "runs" / "first" / "audit.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, schema.schema())
    assert data["sections"][0]["measures"][0]["name"] == "finds/share" and not data["complete"]
    assert "What there is to see." in page.read_text(encoding="utf-8")
    if how is signal.SIGINT:
        assert "interrupted: what was found so far is in" in answer.err and "Traceback" not in answer.err
    assert sonde("audit", "first", *QUICK).code == 0
    again = json.loads((there / "runs" / "first" / "audit.json").read_text(encoding="utf-8"))
    assert again["complete"] and "finds" in [s["name"] for s in again["sections"]], "it goes on from there"


def test_a_terminal_shows_a_bar_and_is_left_clean(there: Path) -> None:
    master, slave = pty.openpty()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sonde", "audit", "first", *QUICK], cwd=there, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    seen = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(master)
    assert process.wait(60) == 0
    text = seen.decode(errors="replace")
    assert re.search(r"1 of \d: quality", text) and "\x1b[?25h" in text, "the cursor is back"
    assert "audited in" in text.rpartition("\x1b[?25h")[2]


def test_the_command_works_in_a_process_of_its_own(there: Path) -> None:
    answer = finished(start("audit", "first", *QUICK, "--budget", "5m", folder=there))
    assert answer.code == 0 and "Warning" not in answer.err, answer.err
