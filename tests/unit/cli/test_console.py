"""What people and machines see."""

from __future__ import annotations

import json
import os
import threading

import pytest

from cloister.cli import console
from cloister.errors import AppraisalError, ConfigError


def test_an_error_for_people_has_sentence_step_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to standard error, and its class gives the exit status."""
    error = ConfigError("no such thing", code="config.missing", hint="make one")
    assert console.fail(error, as_json=False) == 65
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split() for line in err.splitlines()] == [
        ["error:", "no", "such", "thing"],
        ["next:", "make", "one"],
        ["code:", "config.missing"],
    ]


def test_a_refusal_shows_rule_expected_and_found(capsys: pytest.CaptureFixture[str]) -> None:
    """An appraisal explains itself."""
    error = AppraisalError("no", code="appraisal.svn", rule="sim.svn", expected="2", found="1")
    assert console.fail(error, as_json=False) == 77
    err = capsys.readouterr().err
    for text in ("sim.svn", "expected: 2", "found:    1"):
        assert text in err


def test_an_error_for_machines_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to standard output."""
    console.fail(ConfigError("no", code="config.value"), as_json=True)
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["error"]["code"] == "config.value"


def test_octets_are_printed_as_hex(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has no octets."""
    console.emit({"root": b"\x01\xff"})
    assert json.loads(capsys.readouterr().out) == {"root": "01ff"}


def test_a_table_shows_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    """Titles, columns and rows are drawn on standard output."""
    console.table("Title", ("a", "b"), [("cell", "refused"), ("[x]", "no")])
    out = capsys.readouterr().out
    for text in ("Title", "cell", "refused", "[x]"):
        assert text in out


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress needs a terminal, stages are named in lines instead, and `--json` is silent."""
    with console.progress("work", quiet=False) as step:
        step(1, 2)
    with console.stages(quiet=True) as begin:
        begin("silent")
    with console.stages(quiet=False) as begin:
        begin("first")
    assert capsys.readouterr().err == "... first\n"


def test_slow_progress_says_nothing_of_a_quick_step(capsys: pytest.CaptureFixture[str]) -> None:
    """A step under a second is done before anybody asks."""
    now = [0.0]
    with console.SlowProgress("hashing", clock=lambda: now[0]) as step:
        step(0, 10)
        now[0] = 0.9
        step(5, 10)
        step(10, 10)
    assert capsys.readouterr().err == ""


def test_slow_progress_speaks_once_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error after a second, also where the step then fails."""
    now = [0.0]
    with (  # noqa: PT012  # what is shown comes from the block's steps
        pytest.raises(KeyboardInterrupt),
        console.SlowProgress("hashing", clock=lambda: now[0]) as step,
    ):
        step(0, 3_000_000_000)
        now[0] = 1.5
        step(1, 3_000_000_000)
        step(2, 3_000_000_000)
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "... hashing: 3.0 GB, once\n"


def test_a_quiet_slow_step_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `--json` wants it; another unit can be named."""
    now = [0.0]
    for quiet, said in ((True, ""), (False, "... reading: 9 entries\n")):
        with console.SlowProgress(
            "reading", clock=lambda: now[0], size=lambda n: f"{n} entries", quiet=quiet
        ) as step:
            step(0, 9)
            now[0] += 2.0
            step(1, 9)
        assert capsys.readouterr().err == said


def test_others_words_are_no_commands_to_a_terminal() -> None:
    """Neither line ends nor escapes come through; letters of any script do."""
    assert console.printable("a\nb\x1b[2J\u202e é字") == "a\ufffdb\ufffd[2J\ufffd é字"
    assert console.printable(7) == "7"


def test_a_heart_beats_where_no_bar_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for what is new, and one after each pause until it ends; none with --json."""
    said: list[str] = []
    beaten = threading.Event()

    def note(text: str) -> None:
        said.append(text)
        if "%" in text:
            beaten.set()

    monkeypatch.setattr(console, "note", note)
    with console.Heartbeat(quiet=False, every=0.001) as beat:
        beat(0.25, "cut 3")
        beat(0.25, "cut 3")
        assert beaten.wait(30)
    assert said[0] == "... cut 3"
    assert set(said[1:]) == {"... cut 3, 25 % of all is done"}
    count = len(said)
    with console.Heartbeat(quiet=True, every=0.001) as beat:
        beat(0.5, "cut 4")
    assert len(said) == count


def test_frameworks_are_hushed_but_for_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person set is kept."""
    logging = pytest.importorskip("absl.logging", reason="needs cloister[tensorflow]")
    before = logging.get_verbosity()
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    try:
        console.hush_frameworks()
        assert logging.get_verbosity() == logging.ERROR
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    finally:
        logging.set_verbosity(before)
