"""`cloister measure`."""

from __future__ import annotations

from pathlib import Path

from cloister.crypto.digest import digest_to_text
from cloister.launcher.code import read_code
from unit.cli.conftest import Door


def test_reference_values_are_printed(door: Door, plain: Path) -> None:
    """Launcher, runtime, anchor and, if asked, plain code."""
    found = door.record("measure", "--program", "/bin/sh", "--code", plain)
    assert found["anchor"] == door.bench.platform.anchor.text
    assert found["code"] == digest_to_text(read_code(plain).digest())
    assert found["launcher"].startswith("sha256:")
    assert "runtime   sha256:" in door.call("measure", "--program", "/bin/sh").stdout


def test_a_program_that_is_not_there_is_named(door: Door) -> None:
    """With its path."""
    found = door.call("measure", "--program", "/no/program")
    assert getattr(found.exception, "code", None) == "config.missing"
