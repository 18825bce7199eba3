"""PCK chains and the extension of PCK certificates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.crypto.chain import Certificate, to_pem
from cloister.errors import EndorsementError, MalformedError
from cloister.tee.intel.pck import (
    PCK_CA_NAMES,
    PCK_NAME,
    ROOT_NAME,
    SGX_EXTENSION,
    PckExtension,
    read_chain,
    require_intel_path,
)
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

AT = 1767225600
INTEL = SimulatedIntel(b"pck", at=AT)
MINTED = INTEL.mint(IntelCase("sgx3", components=tuple(range(7, 23)), flags=(True, False, True)))
CHAIN = to_pem(MINTED.chain)
NAMES = ({PCK_NAME}, set(PCK_CA_NAMES), {ROOT_NAME})
LEAF = read_chain(CHAIN)[0]


@pytest.mark.spec("INTEL-12")
def test_a_chain_is_read_leaf_first() -> None:
    """With and without the terminator that the quoting library counts, and the last line feed."""
    for text in (CHAIN[:-1], CHAIN[:-1] + b"\0"):
        assert [each.der for each in read_chain(text)] == list(MINTED.chain)
    assert [each.der for each in read_chain(CHAIN)] == list(MINTED.chain)
    assert [each.der for each in read_chain(CHAIN + b"\0")] == list(MINTED.chain)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        CHAIN + b"\0\0",
        CHAIN + b"\n",
        b"\n" + CHAIN,
        b"text\n" + CHAIN,
        CHAIN.replace(b"\n", b"\r\n"),
        CHAIN[:-2],
        CHAIN + CHAIN,
        CHAIN.replace(b"-----END CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n\n", 1),
        CHAIN.replace(b"MII", b"MI I", 1),
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
    ids=str,
)
@pytest.mark.spec("INTEL-12")
def test_a_chain_has_one_spelling(text: bytes) -> None:
    """So that no byte of it is without meaning."""
    with pytest.raises(MalformedError) as e:
        read_chain(text)
    assert e.value.code == "certificate.malformed"


@pytest.mark.spec("INTEL-14")
def test_the_extension_says_which_platform_it_is() -> None:
    """Every value of the extension."""
    extension = PckExtension.of(LEAF)
    assert extension.components == tuple(range(7, 23))
    assert extension.cpusvn == bytes(range(7, 23))
    assert (extension.pcesvn, extension.pceid) == (13, bytes(2))
    assert extension.fmspc == bytes.fromhex("00906ed50000")
    assert extension.sgx_type == 1
    assert len(extension.ppid) == len(extension.platform_instance_id) == 16
    assert extension.flags == {"dynamic_platform": True, "cached_keys": False, "smt_enabled": True}


DER = LEAF.extensions[SGX_EXTENSION]
PPID = bytes.fromhex("060a2a864886f84d010d0101")
SVN1 = bytes.fromhex("060b2a864886f84d010d010201020107")


def _with(der: bytes) -> Certificate:
    return replace(LEAF, extensions={SGX_EXTENSION: der})


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x05\x00",
        DER + b"\x05\x00",
        DER[:-1],
        DER.replace(PPID, PPID[:-1] + b"\x09"),
        DER.replace(PPID, PPID[:-1] + b"\x02"),
        DER.replace(SVN1, SVN1[:-1] + b"\xff"),
        DER.replace(SVN1, SVN1[:12] + b"\x02" + SVN1[13:]),
        DER.replace(SVN1, SVN1[:-3] + b"\x04\x01\x07"),
        DER.replace(PPID, b"\x06\x0a\x2a\x86\x48\x86\xf8\x4d\x01\x0e\x01\x01"),
    ],
    ids=range(10),
)
@pytest.mark.spec("INTEL-14")
def test_another_extension_is_malformed(der: bytes) -> None:
    """Missing, doubled, out of range, of another type, another's identifier."""
    assert der != DER
    with pytest.raises(MalformedError) as e:
        PckExtension.of(_with(der))
    assert e.value.code == "certificate.malformed"


@pytest.mark.spec("INTEL-14")
def test_a_certificate_without_the_extension_is_no_platforms() -> None:
    """The authority's, for one."""
    with pytest.raises(MalformedError) as e:
        PckExtension.of(read_chain(CHAIN)[1])
    assert e.value.code == "certificate.malformed"


@pytest.mark.spec("INTEL-13", "INTEL-15")
def test_a_path_leads_to_an_anchor() -> None:
    """And to no other."""
    path = read_chain(CHAIN)
    assert require_intel_path(path, NAMES, anchors=(INTEL.anchor,), at=AT) == INTEL.anchor
    with pytest.raises(EndorsementError) as e:
        require_intel_path(path, NAMES, anchors=(bytes(32),), at=AT)
    assert e.value.code == "endorsement.anchor"


@pytest.mark.parametrize(
    "names",
    [NAMES[:2], NAMES[1:], ({PCK_NAME}, {PCK_NAME}, {ROOT_NAME})],
    ids=["too-short", "without-leaf", "leaf-twice"],
)
@pytest.mark.spec("INTEL-13")
def test_a_path_has_its_names(names: tuple[set[str], ...]) -> None:
    """As many, and these."""
    with pytest.raises(EndorsementError) as e:
        require_intel_path(read_chain(CHAIN), names, anchors=(INTEL.anchor,), at=AT)
    assert e.value.code == "endorsement.mismatch"
