"""The row of a service's platforms."""

from __future__ import annotations

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.platform_records import Admitted
from cloister.keyservice.state.platform_rows import admitted, put_admitted
from cloister.keyservice.state.tables import Tables
from cloister.wire import encode


@pytest.mark.spec("BR-44")
def test_what_is_written_is_read() -> None:
    """And is gone when it is taken away."""
    tables, record = Tables(), Admitted((b"1" * 32, b"2" * 32), ("a", "b", "c"), 2)
    assert admitted(tables) is None
    put_admitted(tables, record)
    assert admitted(tables) == record
    put_admitted(tables, None)
    assert admitted(tables) is None


@pytest.mark.spec("BR-44")
@pytest.mark.parametrize(
    "row",
    [
        {"platforms": [], "witnesses": [], "quorum": 1},
        {"platforms": [b"short"], "witnesses": [], "quorum": 1},
        {"platforms": [b"1" * 32], "witnesses": [], "quorum": 0},
        {"platforms": [b"1" * 32], "witnesses": [1], "quorum": 1},
        {"platforms": [b"1" * 32], "witnesses": [], "quorum": 1, "more": 1},
    ],
)
def test_anything_else_is_refused(row: dict[str, object]) -> None:
    """Nothing is taken for one platform."""
    tables = Tables()
    tables.put("platforms", b"admitted", encode(row))
    with pytest.raises(CloisterError):
        admitted(tables)
