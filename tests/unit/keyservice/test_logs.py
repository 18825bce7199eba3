"""Log records as lines of JSON."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import cloister.keyservice
from cloister.keyservice.logs import JSONFormatter


def line(message: str, *values: object, **more: Any) -> dict[str, Any]:
    """One record's line, read again."""
    record = logging.LogRecord("cloister.x", logging.INFO, "x.py", 1, message, values, None)
    record.__dict__.update(more)
    text = JSONFormatter().format(record)
    assert "\n" not in text
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def test_an_event_and_its_fields() -> None:
    """Numbers stay numbers; everything else is text."""
    found = line("release.granted identity=%s entry=%d", "spiffe://x", 7)
    assert found["event"] == "release.granted"
    assert (found["identity"], found["entry"], found["level"]) == ("spiffe://x", 7, "info")


def test_what_others_log_is_a_message() -> None:
    """Also where it looks like an event and is none."""
    assert line("Invalid HTTP request received.")["event"] == "log.message"
    assert line("a.b c=%s d", "x")["message"] == "a.b c=x d"


def test_a_value_cannot_add_lines_or_fields() -> None:
    """Whatever it holds, and however long it is."""
    found = line("request.refused path=%s", 'x"\n{"event": "server.started"}' + "y" * 5000)
    assert found["event"] == "request.refused"
    assert len(found["path"]) == 1000


def test_an_exception_is_named_not_shown() -> None:
    """Its text may hold anything."""
    try:
        raise ValueError("secret")
    except ValueError:
        info = sys.exc_info()
    found = line("server.failed", exc_info=info)
    assert found["exception"] == "ValueError"
    assert "secret" not in json.dumps(found)


def test_every_log_call_of_the_key_service_is_an_event() -> None:
    """So that each becomes fields, not text."""
    folder = Path(cloister.keyservice.__file__).parent
    calls = [
        message
        for path in folder.rglob("*.py")
        for message in re.findall(r'_LOG\.\w+\(\s*(?:[^"()]+,\s*)?"([^"]*)"', path.read_text())
    ]
    assert len(calls) >= 7
    for message in calls:
        assert re.fullmatch(r"[a-z-]+\.[a-z-]+( [a-z_]+=%[sd])*", message), message
