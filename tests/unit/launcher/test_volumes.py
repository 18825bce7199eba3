"""What a volume server is told, and how its errors are named; serving is in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import LocalProtocolError, MalformedError, TamperedError
from cloister.launcher.plan import VolumePlan
from cloister.launcher.volumes import _named, describe_volume, open_granted
from cloister.testing.memory_filesystem import MemoryFilesystem

_PLAN = VolumePlan("/model", "model", b"i" * 16, "write", Path("/x"))


def test_errors_say_which_volume_they_are_about_once() -> None:
    """Code and class stay; the name comes in front."""
    error = _named(TamperedError("changed", code="volume.tampered"), _PLAN)
    assert isinstance(error, TamperedError)
    assert error.public == "volume model at /model: changed"
    assert _named(error, _PLAN) is error


def test_a_configuration_that_is_not_ours_is_refused() -> None:
    """`wire.malformed` or `message.malformed`, before any store is touched."""
    for config in (b"", b"\x00", b"\xa0"):
        with pytest.raises(MalformedError) as caught:
            open_granted(config)
        assert caught.value.code in {"wire.malformed", "message.malformed"}


def test_only_volumes_have_a_state() -> None:
    """`protocol.local` for another file system."""
    with pytest.raises(LocalProtocolError) as caught:
        describe_volume(MemoryFilesystem(clock=lambda: 0))
    assert caught.value.code == "protocol.local"
