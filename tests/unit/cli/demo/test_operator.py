"""The operator's view."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from cloister.cli.demo import markers, operator
from cloister.cli.demo.capture import Stream
from cloister.cli.demo.places import Places
from cloister.errors import UnavailableError

_SECRET = b"a secret of the owner"


class FakeCapture:
    """A tap that saw what the test says."""

    payload_bytes = 7
    lost = False
    seen = b""

    def stop(self) -> bool:
        return self.lost

    def streams(self) -> list[Stream]:
        stream = Stream(1, 2)
        stream.add(0, self.seen)
        return [stream]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """An owner with a secret, and an operator who has nothing of it."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(markers, "_ELSEWHERE", ())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(operator, "Capture", FakeCapture)
    monkeypatch.setattr(operator, "ask_in_plain", lambda _model, _query: b"")
    places = Places(tmp_path)
    places.make()
    (places.owner / "results").mkdir()
    (places.data / "secret").write_bytes(_SECRET)
    (places.sealed / "object").write_bytes(b"\x00" * 100)
    return places


def _look(places: Places, capture: Any) -> operator.Look:
    markers = {"data": [_SECRET]}
    return operator.look(places, capture, markers, since_ns=0, query=None)


def test_the_owners_own_machine_is_not_the_operators(places: Places) -> None:
    """Nothing is found with protection; without it the same search finds it."""
    found = _look(places, FakeCapture())
    assert found.protected.findings == ()
    assert found.protected.searched_bytes >= 100
    assert found.unprotected.secrets_found == {"data"}
    assert found.captured_bytes == 7


@pytest.mark.parametrize("where", ["volumes/object", "leak.log"])
def test_a_leak_into_a_file_is_found(places: Places, where: str) -> None:
    """Wherever the operator may read."""
    (places.machine / where).write_bytes(b"..." + _SECRET + b"...")
    assert _look(places, FakeCapture()).protected.secrets_found == {"data"}


def test_a_leak_onto_the_wire_is_found(places: Places) -> None:
    """In what the tap saw."""
    capture = FakeCapture()
    capture.seen = b"POST " + _SECRET
    assert _look(places, capture).protected.secrets_found == {"data"}


def test_lost_frames_prove_nothing(places: Places) -> None:
    """Then nothing is claimed."""
    capture = FakeCapture()
    capture.lost = True
    with pytest.raises(UnavailableError) as caught:
        _look(places, capture)
    assert caught.value.code == "server.busy"


def test_a_folder_within_another_is_searched_once(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary folder holds the demonstration's own."""
    assert markers.folders_of(places.root) == [places.root]
