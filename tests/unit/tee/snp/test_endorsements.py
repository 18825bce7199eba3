"""AMD's chains, lists and certificates are judged, never fetched."""

import dataclasses

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.errors import CloisterError, EndorsementError, MalformedError, UnavailableError
from cloister.tee.snp.endorsements import (
    CERTIFICATE_TYPE,
    CHAIN_TYPE,
    LIST_TYPE,
    Issuers,
    SnpEndorsements,
    require_key_of,
)
from cloister.tee.snp.layout import PRODUCTS, Product
from cloister.testing.manufacturers.amd import SimulatedAmd

AMD = SimulatedAmd(b"endorsements", "Milan")
CHIP = AMD.chip()
GIVEN = SnpEndorsements.sort(AMD.endorsements(CHIP))


def issuers_of(given: SnpEndorsements) -> Issuers:
    return given.issuers([AMD.anchor], at=AMD.now)


def refused(expected: str, kind: type[CloisterError], given: SnpEndorsements) -> None:
    with pytest.raises(kind) as e:
        given.certificate(issuers_of(given))
    assert e.value.code == expected


@pytest.mark.spec("SNP-7")
def test_endorsements_are_sorted_by_media_type() -> None:
    """Their order does not matter, and the list may be missing."""
    parts = AMD.endorsements(CHIP)
    assert SnpEndorsements.sort(parts[::-1]) == GIVEN
    assert SnpEndorsements.sort(parts[:2]).revocations == b""


@pytest.mark.spec("SNP-7")
@pytest.mark.parametrize("missing", [CERTIFICATE_TYPE, CHAIN_TYPE])
def test_certificate_and_chain_are_needed(missing: str) -> None:
    """Without one of them nothing is decided."""
    with pytest.raises(UnavailableError) as e:
        SnpEndorsements.sort([x for x in AMD.endorsements(CHIP) if x.media_type != missing])
    assert e.value.code == "endorsement.missing"


@pytest.mark.spec("SNP-7")
@pytest.mark.parametrize("kind", [CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE])
def test_one_of_each(kind: str) -> None:
    """A second of a kind, an empty one, and another kind are malformed."""
    parts = AMD.endorsements(CHIP)
    rest = [each for each in parts if each.media_type != kind]
    for wrong in (
        [*parts, Endorsement(kind, b"x")],
        [*rest, Endorsement(kind, b"")],
        [*parts, Endorsement("text/plain", b"x")],
    ):
        with pytest.raises(MalformedError) as e:
            SnpEndorsements.sort(wrong)
        assert e.value.code == "endorsement.malformed"


@pytest.mark.spec("SNP-22")
def test_a_chain_without_its_root_is_incomplete() -> None:
    """So is one without its issuer; a third certificate is malformed."""
    blocks = GIVEN.chain.split(b"-----END CERTIFICATE-----\n")
    for block in blocks[:2]:
        short = block + b"-----END CERTIFICATE-----\n"
        refused("endorsement.missing", UnavailableError, dataclasses.replace(GIVEN, chain=short))
    long = GIVEN.chain + short
    refused("certificate.malformed", MalformedError, dataclasses.replace(GIVEN, chain=long))


@pytest.mark.spec("SNP-22")
def test_the_order_is_issuer_then_root() -> None:
    """The other way round nobody issued anybody."""
    blocks = [
        block + b"-----END CERTIFICATE-----\n"
        for block in GIVEN.chain.split(b"-----END CERTIFICATE-----\n")[:2]
    ]
    swapped = dataclasses.replace(GIVEN, chain=blocks[1] + blocks[0])
    refused("endorsement.anchor", EndorsementError, swapped)


@pytest.mark.spec("SNP-23")
def test_an_issuer_of_another_root_is_refused() -> None:
    """Names agree, the signature does not; and a root of that name is not the pinned one."""
    end = b"-----END CERTIFICATE-----\n"
    ours = GIVEN.chain.split(end)
    theirs = SimulatedAmd(b"another", "Milan").chain().split(end)
    mixed = dataclasses.replace(GIVEN, chain=theirs[0] + end + ours[1] + end)
    refused("endorsement.signature", EndorsementError, mixed)
    mixed = dataclasses.replace(GIVEN, chain=ours[0] + end + theirs[1] + end)
    refused("endorsement.anchor", EndorsementError, mixed)


@pytest.mark.spec("SNP-23")
def test_the_root_names_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is called otherwise is none of AMD's."""
    monkeypatch.setattr("cloister.tee.snp.endorsements.PRODUCTS", ("Rome",))
    renamed = dataclasses.replace(GIVEN, chain=b"\n" + GIVEN.chain)
    refused("endorsement.signature", EndorsementError, renamed)


@pytest.mark.spec("SNP-25")
def test_a_leaf_of_another_issuer_is_refused() -> None:
    """Of the same AMD but the other issuer, and of another AMD with the same names."""
    for chip in (AMD.chip(issuer="VLEK"), SimulatedAmd(b"another", "Milan").chip()):
        wrong = dataclasses.replace(GIVEN, leaf=chip.certificate)
        refused("endorsement.signature", EndorsementError, wrong)


@pytest.mark.spec("SNP-25")
def test_every_changed_bit_of_a_leaf_is_refused() -> None:
    """In what is signed and in the signature."""
    leaf = CHIP.certificate
    for place in range(len(leaf)):
        changed = leaf[:place] + bytes([leaf[place] ^ 1 << place % 8]) + leaf[place + 1 :]
        with pytest.raises((EndorsementError, MalformedError)) as e:
            dataclasses.replace(GIVEN, leaf=changed).certificate(issuers_of(GIVEN))
        assert e.value.code in ("endorsement.signature", "certificate.malformed")


@pytest.mark.spec("SNP-24")
def test_revocation() -> None:
    """Not looked at, not revoked, the issuer revoked, the root revoked."""
    issuers = issuers_of(GIVEN)
    assert GIVEN.require_not_revoked(issuers, at=AMD.now)
    none = dataclasses.replace(GIVEN, revocations=b"")
    assert not none.require_not_revoked(issuers, at=AMD.now)
    for serial in (AMD.issuer_serial("VCEK"), 0x10000):
        listed = AMD.revocations(serials=(5, serial))
        with pytest.raises(EndorsementError) as e:
            dataclasses.replace(GIVEN, revocations=listed).require_not_revoked(issuers, at=AMD.now)
        assert e.value.code == "endorsement.revoked"
    others = AMD.revocations(serials=(AMD.issuer_serial("VLEK"),))
    assert dataclasses.replace(GIVEN, revocations=others).require_not_revoked(issuers, at=AMD.now)


@pytest.mark.spec("SNP-24")
def test_a_list_counts_from_its_update_to_its_next() -> None:
    """Both ends are in, and not one second more; also after it was remembered."""
    listed = dataclasses.replace(
        GIVEN, revocations=AMD.revocations(validity=(AMD.now, AMD.now + 9))
    )
    issuers = issuers_of(GIVEN)
    for at in (AMD.now, AMD.now + 9):
        assert listed.require_not_revoked(issuers, at=at)
    for at in (AMD.now - 1, AMD.now + 10):
        with pytest.raises(UnavailableError) as e:
            listed.require_not_revoked(issuers, at=at)
        assert e.value.code == "endorsement.stale"


@pytest.mark.spec("SNP-24")
def test_a_list_of_somebody_else_is_refused() -> None:
    """The issuer may not sign it, nor may another AMD, nor is another product's of use."""
    issuers = issuers_of(GIVEN)
    for listed in (
        AMD.revocations(by="VCEK"),
        SimulatedAmd(b"another", "Milan").revocations(),
        SimulatedAmd(b"endorsements", "Genoa").revocations(),
    ):
        with pytest.raises(EndorsementError) as e:
            dataclasses.replace(GIVEN, revocations=listed).require_not_revoked(issuers, at=AMD.now)
        assert e.value.code == "endorsement.signature"


def mismatch(amd: SimulatedAmd, chip_changes: dict[str, object], **report: object) -> None:
    kind = str(chip_changes.get("kind", "VCEK"))
    chip = amd.chip(**chip_changes)
    given = SnpEndorsements.sort(amd.endorsements(chip))
    issuers = given.issuers([amd.anchor], at=amd.now)
    with pytest.raises(EndorsementError) as e:
        require_key_of(
            amd.chip(kind=kind).fields(**report),
            given.certificate(issuers),
            issuers,
            amd.product,
        )
    assert e.value.code == "endorsement.mismatch"


@pytest.mark.spec("SNP-27")
@pytest.mark.parametrize("product", PRODUCTS)
def test_the_certificate_is_that_of_the_key(product: Product) -> None:
    """Every one of its versions, its product, its kind and its chip."""
    amd = SimulatedAmd(b"endorsements", product)
    for part in amd.chip().tcb:
        mismatch(amd, {"tcb": {part: 7}})
    mismatch(amd, {"changed": ("3.5", b"\x02\x01\x01")})
    mismatch(amd, {"changed": ("3.8", b"")})
    mismatch(amd, {"product_name": "Rome"})
    mismatch(amd, {"product_name": "Milan2"})
    mismatch(amd, {"common_name": "SEV-VLEK"})
    mismatch(amd, {"name": "another chip"})
    mismatch(amd, {"hardware_id": b""})
    mismatch(amd, {"csp_id": "CN=cloud.example"})
    mismatch(amd, {"kind": "VLEK", "csp_id": ""})
    mismatch(amd, {"kind": "VLEK", "hardware_id": bytes(64)})
    mismatch(amd, {}, chip_id=b"another".ljust(64, b"\0"))
    mismatch(amd, {}, key_info=4)


@pytest.mark.spec("SNP-27")
def test_turins_chip_has_eight_bytes() -> None:
    """Bytes behind them would be another chip."""
    amd = SimulatedAmd(b"endorsements", "Turin")
    chip_id = amd.chip().chip_id
    mismatch(amd, {}, chip_id=chip_id[:8] + b"\1" + chip_id[9:])
