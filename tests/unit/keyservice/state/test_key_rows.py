"""The row that names the state key."""

from __future__ import annotations

import pytest

from cloister.errors import TamperedError
from cloister.keyservice.state.key_rows import KeyChange, key_change, put_key_change
from cloister.keyservice.state.tables import Tables


@pytest.mark.spec("KS-72")
def test_the_row_is_read_back() -> None:
    """There is none until the key was changed; what is no such row is refused."""
    tables = Tables()
    assert key_change(tables) is None
    change = KeyChange(b"n" * 32, b"s" * 32, 1_800_000_000)
    put_key_change(tables, change)
    assert key_change(tables) == change
    row = tables.get("meta", b"state-key")
    assert row is not None
    tables.put("meta", b"state-key", row[:-1])
    with pytest.raises(TamperedError) as e:
        key_change(tables)
    assert e.value.code == "state.tampered"
