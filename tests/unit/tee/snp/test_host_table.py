"""The table of certificates that a host gives."""

import struct
import uuid

import pytest

from cloister.attestation.evidence import Evidence
from cloister.crypto.chain import read_pem_chain
from cloister.errors import MalformedError
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.tee.snp.host_table import MAX_TABLE_BYTES, read_host_table
from cloister.tee.snp.layout import MEDIA_TYPE
from cloister.tee.snp.verifier import SnpVerifier
from cloister.testing.manufacturers.amd import SimulatedAmd

AMD = SimulatedAmd(b"table", "Genoa")
CHIP = AMD.chip()
VCEK = uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK = uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
ASK = uuid.UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
ARK = uuid.UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
CRL = uuid.UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea")
OTHER = uuid.UUID("00000000-1111-2222-3333-444444444444")


def table(*entries: tuple[bytes, bytes]) -> bytes:
    """Entries and what they name."""
    place = 24 * (len(entries) + 1)
    head, body = b"", b""
    for guid, data in entries:
        head += struct.pack("<16sII", guid, place + len(body), len(data))
        body += data
    return head + bytes(24) + body


FULL = (
    (VCEK.bytes_le, CHIP.certificate),
    (OTHER.bytes, b"extra"),
    (ASK.bytes_le, AMD.issuers["VCEK"]),
    (ARK.bytes, AMD.root),
    (CRL.bytes, AMD.revocations()),
)


def test_a_table_becomes_endorsements() -> None:
    """In both orders of a GUID's bytes; a report is judged with them."""
    found = read_host_table(table(*FULL) + bytes(100))
    assert [each.media_type for each in found] == [CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE]
    assert [each.der for each in read_pem_chain(found[1].body)] == [AMD.issuers["VCEK"], AMD.root]
    claims = SnpVerifier([AMD.anchor]).verify(
        Evidence(MEDIA_TYPE, CHIP.report()), found, at=AMD.now
    )
    assert claims.vendor["revocation_checked"] is True


def test_what_is_not_there_is_left_out() -> None:
    """A host that has nothing, a certificate alone, a chain without its root."""
    assert read_host_table(b"") == []
    assert read_host_table(bytes(24)) == []
    assert [each.body for each in read_host_table(table(FULL[0]))] == [CHIP.certificate]
    assert [each.body for each in read_host_table(table((VLEK.bytes, b"v")))] == [b"v"]
    assert read_host_table(table(FULL[2])) == []


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        table(*FULL)[:24],
        table(FULL[0], FULL[0]),
        table(FULL[0], (VLEK.bytes, b"v")),
        table((VCEK.bytes, b"v"), (VCEK.bytes_le, b"v")),
        struct.pack("<16sII", VCEK.bytes, 40, 9) + bytes(24),
        struct.pack("<16sII", VCEK.bytes, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(24),
        struct.pack("<16sII", OTHER.bytes, 0, 0) * 33 + bytes(24),
        bytes(MAX_TABLE_BYTES + 1),
    ],
)
def test_other_tables_are_malformed(data: bytes) -> None:
    """No end, twice the same, two keys, beyond the table, too many, too long."""
    with pytest.raises(MalformedError) as e:
        read_host_table(data)
    assert e.value.code == "endorsement.malformed"
