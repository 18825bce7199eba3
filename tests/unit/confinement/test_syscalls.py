"""System calls report failures with errno, name and path."""

from __future__ import annotations

import errno
import os

import pytest

from cloister.confinement import syscalls


def test_a_failed_mount_names_the_target() -> None:
    """The error carries what the kernel said and where."""
    with pytest.raises(OSError, match="mount") as caught:
        syscalls.mount("none", "/nowhere/at/all", "tmpfs", 0)
    assert caught.value.errno in {errno.ENOENT, errno.EPERM}
    assert caught.value.filename == "/nowhere/at/all"


def test_entering_what_is_no_namespace_fails() -> None:
    """A descriptor of an ordinary file is refused by the kernel."""
    descriptor = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(OSError, match="setns"):
        syscalls.setns(descriptor, 0)
    os.close(descriptor)


def test_calls_unknown_on_a_processor_fail_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSYS where no number is known, so that it reads as a machine's limit."""
    monkeypatch.setattr("platform.machine", lambda: "sparc")
    with pytest.raises(OSError, match="sparc") as caught:
        syscalls.pivot_root("/a", "/b")
    assert caught.value.errno == errno.ENOSYS
