"""Who has what, in the clean room's demonstration."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.cli.cleanroom_demo import looking
from cloister.cli.cleanroom_demo.people import DATA_OWNER, MODEL_OWNER, OPERATOR, People
from cloister.cli.demo import markers as searching
from cloister.cli.demo.capture import Stream
from cloister.errors import UnavailableError

MARKERS = {"records": [b"a record of his"], "recipe": [b"a recipe of hers"]}
PLAIN = {"records": b"1 a record of his 2", "recipe": b"1 a recipe of hers 2"}


class FakeTap:
    """A tap that sees what the test says."""

    payload_bytes = 7
    lost = 0
    content = b""

    def stop(self) -> int:
        return self.lost

    def streams(self) -> Iterator[Stream]:
        stream = Stream(1, 2)
        stream.add(0, self.content)
        yield stream


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> People:
    """Owners with a secret each, and an operator who has nothing of it."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(searching, "_ELSEWHERE", ())
    monkeypatch.setenv("HOME", str(tmp_path))
    found = People(tmp_path)
    for folder in (found.stores, found.open, found.model_owner.folder, found.data_owner.folder):
        folder.mkdir(parents=True)
    (found.data_owner.folder / "x").write_bytes(PLAIN["records"])
    (found.model_owner.folder / "r").write_bytes(PLAIN["recipe"])
    (found.stores / "object").write_bytes(bytes(100))
    return found


def look(people: People, monkeypatch: pytest.MonkeyPatch, *, control: bytes) -> looking.Look:
    """Look, where the tap of the comparison sees `control`."""
    tap = FakeTap()
    tap.content = control
    monkeypatch.setattr(looking, "Capture", lambda: tap)
    return looking.look(people, FakeTap(), MARKERS, PLAIN, since_ns=0)  # type: ignore[arg-type]  # a fake


def secrets(seen: looking.Look) -> dict[str, set[str]]:
    """Who has what."""
    return {party: set(search.secrets_found) for party, search in seen.found.items()}


def test_each_is_found_where_it_is(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without a room both are found on the operator's disk and wire."""
    seen = look(people, monkeypatch, control=PLAIN["records"] + PLAIN["recipe"])
    assert secrets(seen) == {OPERATOR: set(), MODEL_OWNER: {"recipe"}, DATA_OWNER: {"records"}}
    assert seen.unprotected.secrets_found == {"records", "recipe"}
    assert (seen.searched_bytes, seen.captured_bytes) == (100, 7)


def test_what_leaked_is_found(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the operator's disk, his wire, and with the other owner."""
    (people.stores / "object").write_bytes(PLAIN["records"])
    monkeypatch.setattr(FakeTap, "content", PLAIN["recipe"])
    (people.model_owner.folder / "stolen").write_bytes(PLAIN["records"])
    found = secrets(look(people, monkeypatch, control=b""))
    assert found[OPERATOR] == {"records", "recipe"}
    assert found[MODEL_OWNER] == {"records", "recipe"}


def test_a_search_that_cannot_see_the_wire_proves_nothing(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the comparison finds on the disk alone does not count."""
    seen = look(people, monkeypatch, control=PLAIN["recipe"])
    assert seen.unprotected.secrets_found == {"recipe"}


def test_lost_frames_are_said(people: People) -> None:
    """Nothing can be claimed of what was not seen."""
    tap = FakeTap()
    tap.lost = 1
    with pytest.raises(UnavailableError):
        looking.look(people, tap, MARKERS, PLAIN, since_ns=0)  # type: ignore[arg-type]  # a fake
