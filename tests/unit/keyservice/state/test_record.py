"""Records and snapshots: each opens in its place, and nowhere else."""

import pytest

from cloister.errors import MalformedError, TamperedError, UnavailableError
from cloister.keyservice.state.record import (
    _MAX_ENTRIES,
    FIRST_HEAD,
    MAX_RECORD_BYTES,
    Change,
    Head,
    Record,
    Snapshot,
    StateKey,
)

KEY = StateKey(b"k" * 32)
RECORD = Record((Change("t", b"a", b"1"), Change("t", b"b", None)), (b"entry",))
SNAPSHOT = Snapshot(3, (b"p" * 32, b"q" * 32), {"t": {b"z": b"1", b"a": b"2"}, "u": {}})


def chain(count: int) -> list[tuple[Head, bytes]]:
    """Seal a few records, each after the one before."""
    made: list[tuple[Head, bytes]] = []
    head = FIRST_HEAD
    for number in range(count):
        record = Record((Change("t", b"n", bytes([number])),), ())
        head, sealed = KEY.seal_record(record, after=head)
        made.append((head, sealed))
    return made


@pytest.mark.spec("KS-10")
def test_a_record_comes_back_as_it_was() -> None:
    """Changes, removals and entries; the head is the next number and a hash."""
    head, sealed = KEY.seal_record(RECORD, after=FIRST_HEAD)
    assert KEY.open_record(sealed, after=FIRST_HEAD) == (head, RECORD)
    assert head.sequence == 1
    assert b"entry" not in sealed


@pytest.mark.spec("KS-10")
@pytest.mark.parametrize(
    "record",
    [
        Record((Change("t", b"a", bytes(MAX_RECORD_BYTES)),), ()),
        Record(tuple(Change("t", b"%d" % n, None) for n in range(4097)), ()),
        Record((), (b"entry",) * 1025),
    ],
    ids=["bytes", "changes", "entries"],
)
def test_a_record_that_no_reader_takes_is_not_sealed(record: Record) -> None:
    """Once durable, it would make the state unreadable."""
    with pytest.raises(UnavailableError) as e:
        KEY.seal_record(record, after=FIRST_HEAD)
    assert e.value.code == "keyservice.busy"


@pytest.mark.spec("KS-12")
def test_records_open_in_their_order_only() -> None:
    """Neither a swap, nor a gap, nor a repeat, nor a record of a fork."""
    records = chain(3)
    heads = [FIRST_HEAD, *(head for head, _ in records)]
    for place, head in enumerate(heads):
        for number, (after, sealed) in enumerate(records):
            if number == place:
                assert KEY.open_record(sealed, after=head)[0] == after
                continue
            with pytest.raises(TamperedError) as e:
                KEY.open_record(sealed, after=head)
            assert e.value.code == "state.tampered"


@pytest.mark.spec("KS-12")
def test_a_changed_record_is_refused() -> None:
    """Whichever bit; and so is another key's."""
    _, sealed = KEY.seal_record(RECORD, after=FIRST_HEAD)
    for position in range(0, len(sealed), 7):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(TamperedError):
            KEY.open_record(bytes(changed), after=FIRST_HEAD)
    with pytest.raises(TamperedError):
        StateKey(b"x" * 32).open_record(sealed, after=FIRST_HEAD)


@pytest.mark.spec("KS-14")
def test_an_authentic_record_of_another_form_is_refused() -> None:
    """A later version's record is not guessed at."""

    class _Other(Record):
        def to_bytes(self) -> bytes:
            return b"\xa1\x61a\x01"

    _, sealed = KEY.seal_record(_Other((), ()), after=FIRST_HEAD)
    with pytest.raises(TamperedError) as e:
        KEY.open_record(sealed, after=FIRST_HEAD)
    assert e.value.code == "state.tampered"


@pytest.mark.spec("KS-20")
def test_a_snapshot_comes_back_with_its_order() -> None:
    """Rows stay in the order in which they came."""
    head = Head(7, b"h" * 32)
    sealed = KEY.seal_snapshot(SNAPSHOT, head=head)
    found, snapshot = KEY.open_snapshot(sealed, sequence=7)
    assert found == head
    assert snapshot == SNAPSHOT
    assert list(snapshot.tables["t"]) == [b"z", b"a"]


@pytest.mark.spec("KS-21")
def test_a_snapshot_stands_for_one_state_only() -> None:
    """Another number, another head, one changed bit."""
    sealed = KEY.seal_snapshot(SNAPSHOT, head=Head(7, b"h" * 32))
    with pytest.raises(TamperedError):
        KEY.open_snapshot(sealed, sequence=8)
    with pytest.raises(TamperedError):
        KEY.open_snapshot(b"i" * 32 + sealed[32:], sequence=7)
    with pytest.raises(TamperedError):
        KEY.open_snapshot(sealed[:-1], sequence=7)


@pytest.mark.spec("KS-24")
def test_a_log_entry_opens_at_its_position_only() -> None:
    """Rows of the log cannot be exchanged."""
    sealed = KEY.seal_entry(b"entry", position=4)
    assert KEY.open_entry(sealed, position=4) == b"entry"
    with pytest.raises(TamperedError):
        KEY.open_entry(sealed, position=5)


def test_a_key_has_thirty_two_bytes() -> None:
    """Nothing shorter is stretched."""
    with pytest.raises(MalformedError):
        StateKey(b"short")


@pytest.mark.parametrize(
    "record",
    [
        Record(tuple(Change("t", bytes(2), None) for _ in range(4097)), ()),
        Record((), (b"",) * (_MAX_ENTRIES + 1)),
        Record((Change("t", b"k", bytes(MAX_RECORD_BYTES)),), ()),
    ],
    ids=["changes", "entries", "bytes"],
)
def test_what_could_not_be_read_again_is_not_written(record: Record) -> None:
    """More than a record holds is refused before anything is durable."""
    with pytest.raises(UnavailableError) as e:
        KEY.seal_record(record, after=FIRST_HEAD)
    assert e.value.code == "keyservice.busy"
