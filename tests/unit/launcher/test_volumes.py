"""What a volume server is told, and how its errors are named; serving is in tests/integration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloister.errors import LocalProtocolError, MalformedError, TamperedError
from cloister.launcher.plan import VolumePlan
from cloister.launcher.volumes import (
    _named,
    _regions_from,
    _regions_value,
    describe_volume,
    open_granted,
)
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.regions import ENCRYPTED_ONLY, RegionClass, Regions
from cloister.wire import Fields, Value

_PLAN = VolumePlan("/model", "model", b"i" * 16, "write", Path("/x"), ENCRYPTED_ONLY)


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


def test_a_server_is_told_the_regions_of_the_policy() -> None:
    """They arrive as they were planned; a class that there is not is refused."""

    def told(plan: VolumePlan, **changes: Value) -> Regions:
        return _regions_from(Fields(_regions_value(plan) | changes, what="configuration"))

    planned = Regions({"/a": RegionClass.PLAIN, "/b": RegionClass.AUTHENTICATED})
    for regions in (ENCRYPTED_ONLY, planned, Regions.as_recorded()):
        assert told(replace(_PLAN, regions=regions)) == regions
    with pytest.raises(MalformedError) as caught:
        told(_PLAN, regions={"/a": "readable"})
    assert caught.value.code == "message.malformed"
    with pytest.raises(MalformedError):
        _regions_from(Fields({"regions": {}}, what="configuration"))


def test_only_volumes_have_a_state() -> None:
    """`protocol.local` for another file system."""
    with pytest.raises(LocalProtocolError) as caught:
        describe_volume(MemoryFilesystem(clock=lambda: 0))
    assert caught.value.code == "protocol.local"
