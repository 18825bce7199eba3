"""AMD's odd certificates, read strictly."""

import pytest

from cloister.errors import MalformedError
from cloister.tee.snp.certificate import (
    CSP_ID,
    HARDWARE_ID,
    PRODUCT_NAME,
    PSS_SHA384,
    SPL,
    ChipCertificate,
)
from cloister.testing.manufacturers import der
from cloister.testing.manufacturers.amd import SimulatedAmd

AMD = SimulatedAmd(b"certificate", "Milan")
CHIP = AMD.chip()
GOOD = CHIP.certificate


def refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as e:
        ChipCertificate.from_der(data)
    assert e.value.code == "certificate.malformed"


@pytest.mark.spec("SNP-10")
def test_serial_zero_and_a_needless_trailer_are_read() -> None:
    """snpguest#57: strict libraries refuse what AMD issues."""
    for algorithm in PSS_SHA384:
        read = ChipCertificate.from_der(AMD.chip(algorithm=algorithm).certificate)
        assert read.common_name == "SEV-VCEK"
        assert (read.not_before, read.not_after) == (AMD.now - 30 * 86400, AMD.now + 2555 * 86400)
        assert read.octets(HARDWARE_ID, 64) == CHIP.chip_id
        assert read.text(PRODUCT_NAME) == "Milan"
        assert read.text(CSP_ID) == ""
        assert {name: read.number(value) for name, value in SPL.items() if name != "fmc"} == {
            "bootloader": 4,
            "tee": 0,
            "snp": 24,
            "spl4": 0,
            "spl5": 0,
            "spl6": 0,
            "spl7": 0,
            "microcode": 219,
        }
        assert read.number(SPL["fmc"]) is None


@pytest.mark.spec("SNP-10")
def test_every_cut_is_malformed() -> None:
    """And one byte more."""
    for end in range(len(GOOD)):
        refused(GOOD[:end])
    refused(GOOD + b"\0")


@pytest.mark.spec("SNP-10")
def test_too_long_a_certificate_is_not_read() -> None:
    """It ends before any parsing."""
    refused(GOOD + bytes(4096))


@pytest.mark.spec("SNP-11")
def test_only_amds_way_of_signing_is_read() -> None:
    """No other hash, no other salt, no other scheme."""
    other = PSS_SHA384[1].replace(bytes.fromhex("0402020500"), bytes.fromhex("0402010500"))
    salt = PSS_SHA384[1][:-1] + b"\x20"
    pkcs1 = der.sequence(der.oid("1.2.840.113549.1.1.12"), b"\x05\0")
    for algorithm in (other, salt, pkcs1):
        refused(AMD.chip(algorithm=algorithm).certificate)


def test_both_algorithm_fields_agree() -> None:
    """The one outside is not signed."""
    certificate = AMD.chip(algorithm=PSS_SHA384[1]).certificate
    first = certificate.index(PSS_SHA384[1])
    second = certificate.index(PSS_SHA384[1], first + 1)
    place = second + len(PSS_SHA384[1]) - 1
    refused(certificate[:place] + b"\x31" + certificate[place + 1 :])


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("3.8", b"\x02\x01\xdb"),
        ("3.8", b"\x02\x02\x01\x00"),
        ("3.8", b"\x02\x02\x00\x05"),
        ("3.8", b"\x02\x00"),
        ("3.8", b"\x04\x01\x05"),
        ("3.8", b"\x02\x01\x05\x00"),
    ],
)
def test_versions_are_one_byte(dotted: str, value: bytes) -> None:
    """Negative, larger, padded, another type, or more behind it."""
    read = ChipCertificate.from_der(AMD.chip(changed=(dotted, value)).certificate)
    with pytest.raises(MalformedError) as e:
        read.number(SPL["microcode"])
    assert e.value.code == "certificate.malformed"


def test_bytes_may_be_wrapped() -> None:
    """AMD has written them both ways; a chip whose name begins like a wrapper stays whole."""
    wrapped = der.element(0x04, CHIP.chip_id)
    read = ChipCertificate.from_der(AMD.chip(hardware_id=wrapped).certificate)
    assert read.octets(HARDWARE_ID, 64) == CHIP.chip_id
    tricky = b"\x04\x3e" + bytes(62)
    read = ChipCertificate.from_der(AMD.chip(hardware_id=tricky).certificate)
    assert read.octets(HARDWARE_ID, 64) == tricky
    with pytest.raises(MalformedError):
        read.octets(HARDWARE_ID, 8)


def test_texts_can_be_shown() -> None:
    """Control characters stay out of logs."""
    read = ChipCertificate.from_der(AMD.chip(product_name="Milan\x1b").certificate)
    with pytest.raises(MalformedError):
        read.text(PRODUCT_NAME)
    refused(AMD.chip(common_name="SEV\x1b").certificate)


def minted(**changes: object) -> bytes:
    """A certificate of any form, signed or not."""
    parts: dict[str, object] = {
        "version": b"\xa0\x03\x02\x01\x02",
        "serial": der.integer(0),
        "subject": der.name("SEV-VCEK", organization="x"),
        "times": der.utc_time(1) + der.utc_time(2),
        "extensions": der.extension("1.3.6.1.4.1.3704.1.1", b"\x02\x01\x00", critical=False),
        "signature": b"\0sig",
        "more": b"",
    } | changes
    key = ChipCertificate.from_der(GOOD).signed
    at = key.index(bytes.fromhex("3076301006072a8648ce3d020106052b81040022"))
    signed = der.sequence(
        parts["version"],
        parts["serial"],
        PSS_SHA384[0],
        der.name("SEV-Milan", organization="x"),
        der.sequence(parts["times"]),
        parts["subject"],
        key[at : at + 120],
        der.element(0xA3, der.sequence(parts["extensions"])),
        parts["more"],
    )
    return der.sequence(signed, PSS_SHA384[0], der.element(3, parts["signature"]))


def test_the_form_of_everything() -> None:
    """One deviation each."""
    assert ChipCertificate.from_der(minted()).not_before == 1
    twice = der.extension("1.3.6.1.4.1.3704.1.1", b"\x02\x01\x00", critical=False)
    for changes in (
        {"version": b"\xa0\x03\x02\x01\x01"},
        {"serial": b"\x04\x01\x00"},
        {"times": der.utc_time(1)},
        {"times": der.utc_time(1) * 3},
        {"times": der.element(0x17, b"2401010000Z") + der.utc_time(2)},
        {"times": der.element(0x17, b"241301000000Z") + der.utc_time(2)},
        {"times": der.element(0x18, b"20240101000000Z") + der.utc_time(2)},
        {"subject": der.sequence()},
        {"subject": der.name("SEV-VCEK", organization="x")[:2] + b"\x31\x00" * 16},
        {"extensions": twice + twice},
        {"extensions": der.extension("1.3.6.1.4.1.3704.1.1", b"\x02\x01\x00", critical=True)},
        {"signature": b"\x01sig"},
        {"signature": b""},
        {"more": b"\x05\0"},
    ):
        refused(minted(**changes))


def test_lengths_are_der() -> None:
    """A length is written in one way only."""
    inner = GOOD[4:]
    refused(b"\x30\x83" + len(inner).to_bytes(3, "big") + inner)
    refused(b"\x30\x80" + inner + b"\0\0")
    refused(b"\x30\x81\x05" + bytes(5))
    refused(b"\x30\x82\x00\x85" + bytes(0x85))
