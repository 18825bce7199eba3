"""The row of a service's platforms, and the record that it stands for. Pure."""

from __future__ import annotations

from typing import Final

from cloister.crypto.signature import PUBLIC_BYTES
from cloister.errors import TamperedError
from cloister.keyservice.platform_records import Admitted
from cloister.keyservice.state.tables import Tables
from cloister.wire import Fields, encode

__all__ = ["admitted", "put_admitted"]

_TABLE: Final = "platforms"
_KEY: Final = b"admitted"
_MAX_ROW: Final = 65536


def admitted(tables: Tables) -> Admitted | None:
    """Return what is known of several platforms; None where there is one."""
    data = tables.get(_TABLE, _KEY)
    if data is None:
        return None
    fields = Fields.decode(data, what="platforms row", max_bytes=_MAX_ROW)
    platforms = [item for item in fields.array("platforms") if isinstance(item, bytes)]
    found = Admitted(
        tuple(platforms), tuple(fields.texts("witnesses")), fields.integer("quorum", minimum=1)
    )
    fields.end()
    if not platforms or any(len(key) != PUBLIC_BYTES for key in platforms):
        raise TamperedError("the state's platforms cannot be read", code="state.tampered")
    return found


def put_admitted(tables: Tables, record: Admitted | None) -> None:
    """Write it down, or take it away; inside a transaction."""
    row = None
    if record is not None:
        row = encode(
            {
                "platforms": list(record.platforms),
                "witnesses": list(record.witnesses),
                "quorum": record.quorum,
            }
        )
    tables.put(_TABLE, _KEY, row)
