"""The certificates that a host puts beside a report, as endorsements; untrusted as all of them.

AMD, SEV-ES Guest-Hypervisor Communication Block Standardization (56421), revision 2.04, section
4.1.8.1: entries of a GUID (16 bytes), an offset and a length (4 bytes each, little-endian), the
last one zero; then the certificates, as DER. `configfs-tsm` gives the table as `auxblob`.
"""

from __future__ import annotations

import struct
import uuid
from typing import Final

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import to_pem
from cloister.errors import MalformedError
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE

__all__ = ["MAX_TABLE_BYTES", "read_host_table"]

MAX_TABLE_BYTES: Final = 65536
_ENTRY: Final = struct.Struct("<16sII")
_MAX_ENTRIES: Final = 32
_NAMES: Final = {
    "63da758d-e664-4564-adc5-f4b93be8accd": "vcek",
    "a8074bc2-a25a-483e-aae6-39c045a0b8a1": "vlek",
    "4ab7b379-bbac-4fe4-a02f-05aef327c782": "ask",
    "c0b406a4-a803-4952-9743-3fb6014cd0ae": "ark",
    "92f81bc3-5811-4d3d-97ff-d19f88dc67ea": "crl",
}
# Kernels and hypervisors do not agree about the order of a GUID's bytes.
_GUIDS: Final = {
    order: name
    for text, name in _NAMES.items()
    for order in (uuid.UUID(text).bytes, uuid.UUID(text).bytes_le)
}


def read_host_table(table: bytes) -> list[Endorsement]:
    """Return what a table has of a signing key's certificate, its chain, and AMD's list.

    Other entries, such as extra data of a provider, are left out. An empty table gives nothing.

    Raises:
        MalformedError: An entry stands twice or reaches beyond the table, it has no end, or it
            has two signing keys (`endorsement.malformed`).
    """
    found = _entries(table) if table else {}
    leaves = [found[name] for name in ("vcek", "vlek") if name in found]
    if len(leaves) > 1:
        raise _malformed("two signing keys")
    endorsements = [Endorsement(CERTIFICATE_TYPE, leaf) for leaf in leaves]
    if "ask" in found and "ark" in found:
        endorsements.append(Endorsement(CHAIN_TYPE, to_pem([found["ask"], found["ark"]])))
    if "crl" in found:
        endorsements.append(Endorsement(LIST_TYPE, found["crl"]))
    return endorsements


def _entries(table: bytes) -> dict[str, bytes]:
    if len(table) > MAX_TABLE_BYTES:
        raise _malformed("it is too long")
    found: dict[str, bytes] = {}
    for place in range(0, _MAX_ENTRIES * _ENTRY.size, _ENTRY.size):
        if place + _ENTRY.size > len(table):
            break
        guid, offset, length = _ENTRY.unpack_from(table, place)
        if not any(guid):
            return found
        if offset + length > len(table):
            raise _malformed("an entry beyond its end")
        name = _GUIDS.get(guid)
        if name in found:
            raise _malformed("an entry that stands twice")
        if name is not None:
            found[name] = table[offset : offset + length]
    raise _malformed("it has no end")


def _malformed(why: str) -> MalformedError:
    return MalformedError(
        "the host's certificates cannot be read", code="endorsement.malformed", detail=why
    )
