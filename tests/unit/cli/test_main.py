"""The command tree and its exit statuses."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable

import pytest

import cloister
from cloister.cli import main as entry
from cloister.errors import ConfigError, UnavailableError


def _status(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["cloister", *words])
    with pytest.raises(SystemExit) as caught:
        entry.main()
    return caught.value.code


def _raising(error: BaseException) -> Callable[..., None]:
    def raise_it(**_options: object) -> None:
        raise error

    return raise_it


def test_the_version_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one word."""
    assert _status(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"{cloister.__version__}\n"


def test_misuse_is_shown_with_the_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person sees how the command is used."""
    assert _status(monkeypatch, "volume", "ls") == 64
    assert "Usage: cloister volume ls" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ConfigError("x", code="config.value"), 65, "config.value"),
        (UnavailableError("x", code="volume.busy"), 75, "volume.busy"),
        (OSError(errno.ENOSPC, "full", "/a"), 74, "storage.full"),
        (OSError(errno.EACCES, "no", "/a"), 65, "config.file"),
    ],
)
def test_errors_end_in_their_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    code: str,
) -> None:
    """Ours by their class; the system's by what it refused."""
    monkeypatch.setattr(entry, "app", _raising(error))
    assert _status(monkeypatch, "--json") == status
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def test_an_interrupt_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends with the shell's status for it."""
    monkeypatch.setattr(entry, "app", _raising(KeyboardInterrupt()))
    assert _status(monkeypatch) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_words_after_two_dashes_are_not_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json` there is another program's."""
    monkeypatch.setattr(entry, "app", _raising(ConfigError("x", code="config.value")))
    assert _status(monkeypatch, "run", "--", "--json") == 65
    assert capsys.readouterr().out == ""
