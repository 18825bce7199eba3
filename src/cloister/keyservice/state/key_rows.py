"""The row that says which state key the state is under, once it was changed. Pure.

Spec: keyservice-state-v1, clause KS-72.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import MalformedError, TamperedError
from cloister.keyservice.state.tables import Tables
from cloister.wire import Fields, encode

__all__ = ["KeyChange", "key_change", "put_key_change"]

_TABLE: Final = "meta"
_KEY: Final = b"state-key"
_MAX_ROW: Final = 256


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The newest change of the state key.

    Attributes:
        name: Of the key that the state is under since.
        statement: Hash of the statement that was approved.
        at: When that was proposed, in seconds since the epoch.
    """

    name: bytes
    statement: bytes
    at: int


def key_change(tables: Tables) -> KeyChange | None:
    """Return the newest change; None where the key is the first.

    Raises:
        TamperedError: The row cannot be read (`state.tampered`).
    """
    data = tables.get(_TABLE, _KEY)
    if data is None:
        return None
    try:
        return _read(data)
    except MalformedError as e:
        raise TamperedError(
            "the key service's state does not say which key it is under", code="state.tampered"
        ) from e


def _read(data: bytes) -> KeyChange:
    fields = Fields.decode(data, what="state key row", max_bytes=_MAX_ROW)
    found = KeyChange(
        fields.octets("name", length=DIGEST_BYTES),
        fields.octets("statement", length=DIGEST_BYTES),
        fields.integer("at"),
    )
    fields.end()
    return found


def put_key_change(tables: Tables, change: KeyChange) -> None:
    """Write it down; inside a transaction."""
    row = encode({"name": change.name, "statement": change.statement, "at": change.at})
    tables.put(_TABLE, _KEY, row)
