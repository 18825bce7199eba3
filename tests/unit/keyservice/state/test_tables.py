"""Tables in memory, and what an open transaction sees."""

from cloister.keyservice.state.record import Change
from cloister.keyservice.state.tables import Tables


def test_an_open_transaction_sees_its_own_changes() -> None:
    """Added, replaced and removed rows; others do not see them once they are discarded."""
    tables = Tables({"t": {b"a": b"1", b"b": b"2"}})
    tables.put("t", b"a", None)
    tables.put("t", b"b", b"3")
    tables.put("t", b"c", b"4")
    assert tables.get("t", b"a") is None
    assert list(tables.rows("t")) == [(b"b", b"3"), (b"c", b"4")]
    tables.discard()
    assert list(tables.rows("t")) == [(b"a", b"1"), (b"b", b"2")]
    assert tables.pending() == ()


def test_pending_changes_applied_give_what_the_transaction_saw() -> None:
    """Replaying a record is the same as having made it."""
    tables, other = Tables(), Tables()
    tables.put("t", b"k", b"v")
    tables.put("u", b"k", b"w")
    tables.put("u", b"k", None)
    pending = tables.pending()
    seen = {name: list(tables.rows(name)) for name in "tu"}
    tables.apply(pending)
    other.apply(pending)
    assert {name: list(tables.rows(name)) for name in "tu"} == seen
    assert {name: list(other.rows(name)) for name in "tu"} == seen
    assert pending == (Change("t", b"k", b"v"), Change("u", b"k", None))


def test_a_table_that_nobody_wrote_is_empty() -> None:
    """Asking makes nothing."""
    tables = Tables()
    assert tables.get("t", b"k") is None
    assert list(tables.rows("t")) == []
    assert tables.all() == {}


def test_rows_are_counted_as_the_open_transaction_sees_them() -> None:
    """New ones, replaced ones, those taken away, and those that never were."""
    tables = Tables({"t": {b"1": b"", b"2": b""}, "u": {b"1": b""}})
    assert (tables.count("t"), tables.count("u"), tables.count("v")) == (2, 1, 0)
    tables.put("t", b"1", None)
    tables.put("t", b"2", b"again")
    tables.put("t", b"3", b"new")
    tables.put("t", b"4", None)
    assert tables.count("t") == len(list(tables.rows("t"))) == 2
    tables.apply(tables.pending())
    assert tables.count("t") == len(list(tables.rows("t"))) == 2
