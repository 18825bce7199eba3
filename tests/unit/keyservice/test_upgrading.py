"""An older state becomes a newer one, once and whole; a newer one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloister.attestation.evidence import Evidence, ReportData
from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, LocalProtocolError, TamperedError, UnavailableError
from cloister.keyservice.clock import Moment
from cloister.keyservice.log import LogEntry, read_leaf
from cloister.keyservice.service import KeyService
from cloister.keyservice.state.backend import LogRow, Rows
from cloister.keyservice.state.format import FORMAT, NEWEST, sealed_format
from cloister.keyservice.state.record import StateKey
from cloister.keyservice.store import Store
from cloister.keyservice.upgrading import upgrade
from cloister.testing.keyservice import DATA_ID, DATA_KEY
from cloister.testing.state import MemoryBackend, MemoryFreshness

OLD = json.loads(
    (Path(__file__).parents[2] / "data" / "keyservice-state" / "format-1.json").read_text()
)
AT = OLD["at"]


def old_backend() -> MemoryBackend:
    """A state of format 1, as the version that wrote it left it."""
    return MemoryBackend.build(
        Rows(
            [("format", b"cloister/keyservice-state/v1")],
            [(number, bytes.fromhex(sealed)) for number, sealed in OLD["records"]],
            (OLD["snapshot"][0], bytes.fromhex(OLD["snapshot"][1])),
            [
                LogRow(n, bytes.fromhex(sealed), bytes.fromhex(leaf))
                for n, sealed, leaf in OLD["log"]
            ],
        )
    )


def opened(backend: MemoryBackend) -> Store:
    """The state in it."""
    return Store.load_with(backend, StateKey(bytes.fromhex(OLD["key"])), MemoryFreshness())


class NoAttester:
    """Nobody asks."""

    def collect(self, report_data: ReportData) -> Evidence:
        """Refuse."""
        raise UnavailableError(f"none for {report_data}", code="keyservice.state")


@pytest.mark.spec("KS-61")
def test_a_service_upgrades_an_older_state() -> None:
    """In one record, with its entry; everything that was there is there."""
    backend = old_backend()
    store = opened(backend)
    assert store.log_root().hex() == OLD["log_root"]
    service = KeyService(store, moment=Moment(AT, 0.0), attester=NoAttester(), witnesses=None)
    assert service.identity.text == OLD["identity"]
    assert store.sequence == OLD["sequence"] + 1
    assert sealed_format(store.tables) == NEWEST
    assert backend.slot("format") == FORMAT
    volume = store.volume(DATA_ID)
    assert volume is not None
    assert volume.key == DATA_KEY
    assert store.policy(bytes.fromhex(OLD["policy"])) is not None
    entry = read_leaf(store.entries(store.log_size - 1, 1)[0])
    assert isinstance(entry, LogEntry)
    assert (entry.operation, entry.subject, entry.at) == ("state.upgrade", "format 1 to 2", AT)
    again = opened(backend)
    upgrade(again, at=AT)
    assert again.sequence == store.sequence


@pytest.mark.spec("KS-61")
def test_an_upgrade_that_fails_changes_nothing() -> None:
    """The slot may say newer already: the older program keeps out, and the next start upgrades."""
    backend = old_backend()

    def fail() -> None:
        raise UnavailableError("no disk", code="keyservice.state")

    backend.before_append = fail
    with pytest.raises(UnavailableError):
        upgrade(opened(backend), at=AT)
    backend.before_append = None
    store = opened(backend)
    assert (store.sequence, sealed_format(store.tables)) == (OLD["sequence"], 1)
    upgrade(store, at=AT)
    assert sealed_format(opened(backend).tables) == NEWEST


@pytest.mark.spec("KS-61")
def test_an_older_state_is_written_to_in_no_other_way() -> None:
    """Whoever forgets to upgrade it finds out."""
    store = opened(old_backend())
    with pytest.raises(LocalProtocolError), store.transaction():
        store.append(b"entry")


@pytest.mark.spec("KS-61")
def test_two_replicas_upgrade_once() -> None:
    """The slower one finds it done."""
    backend = old_backend()
    backend.shared = True
    first, second = opened(backend), opened(backend)
    upgrade(first, at=AT)
    upgrade(second, at=AT)
    assert second.sequence == first.sequence == OLD["sequence"] + 1


@pytest.mark.spec("KS-60")
def test_the_slot_is_not_believed() -> None:
    """A sealed state that says newer is refused, whatever the slot says; as is nonsense."""
    for row, kind, code in (
        (b"\x00\x00\x00\x09", ConfigError, "state.newer"),
        (b"\x00\x00\x00\x01", TamperedError, "state.tampered"),
        (b"\x02", TamperedError, "state.tampered"),
    ):
        backend = old_backend()
        store = opened(backend)
        upgrade(store, at=AT)
        store.tables.put("meta", b"format", row)
        changes = store.tables.pending()
        store.tables.apply(changes)
        store._take_snapshot()
        backend.put_slot("format", b"cloister/keyservice-state/v1")
        with pytest.raises(kind) as e:
            opened(backend)
        assert getattr(e.value, "code", "") == code


def test_the_fixture_is_of_a_service() -> None:
    """Its secrets are a whole service's."""
    secrets = opened(old_backend()).secrets()
    assert SigningKey(secrets.signing_seed).public.text == OLD["identity"]
