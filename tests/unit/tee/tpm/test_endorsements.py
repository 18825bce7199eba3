"""Who vouches for an attestation key."""

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.crypto.digest import sha256
from cloister.errors import EndorsementError, MalformedError, UnavailableError
from cloister.tee.tpm.endorsements import CHAIN_TYPE, LIST_TYPE, TpmEndorsements, Voucher
from cloister.testing.manufacturers import der
from cloister.testing.manufacturers.tpm import SimulatedTpm

TPM = SimulatedTpm(b"endorsements")


def vouched(
    parts: list[Endorsement], *, anchor: bytes = TPM.anchor, ak: bytes = TPM.ak, at: int = TPM.now
) -> Voucher:
    return TpmEndorsements.sort(parts).require_vouched(ak, [anchor], at=at)


def refused(
    code: str,
    parts: list[Endorsement],
    *,
    anchor: bytes = TPM.anchor,
    ak: bytes = TPM.ak,
    at: int = TPM.now,
) -> None:
    with pytest.raises((EndorsementError, UnavailableError, MalformedError)) as e:
        vouched(parts, anchor=anchor, ak=ak, at=at)
    assert e.value.code == code


@pytest.mark.spec("TPM-21")
def test_a_pinned_key_needs_nobody() -> None:
    """By the SHA-256 of its public key info; any other is refused."""
    assert vouched([], anchor=sha256(TPM.ak)) == Voucher(
        sha256(TPM.ak), pinned=True, subject="", revocation_checked=False
    )
    refused("endorsement.anchor", [])
    refused("endorsement.anchor", [], anchor=sha256(TPM.ak), ak=SimulatedTpm(b"other").ak)


@pytest.mark.spec("TPM-22")
def test_certificates_lead_to_a_pinned_root() -> None:
    """And both lists were looked at."""
    assert vouched(TPM.endorsements()) == Voucher(
        TPM.anchor, pinned=False, subject="Simulated attestation key", revocation_checked=True
    )
    refused("endorsement.anchor", TPM.endorsements(), anchor=SimulatedTpm(b"other").anchor)
    refused("endorsement.anchor", TPM.endorsements(), anchor=sha256(TPM.ak))


@pytest.mark.spec("TPM-22")
def test_the_certificate_is_the_keys() -> None:
    """A genuine certificate of another key does not help."""
    refused("endorsement.mismatch", TPM.endorsements(), ak=SimulatedTpm(b"other").ak)


@pytest.mark.spec("TPM-22")
def test_the_key_may_sign() -> None:
    """An endorsement key's certificate, an authority's, one without a use, and the root alone."""
    encipher = der.extension("2.5.29.15", b"\x03\x02\x05\x20", critical=True)
    strange = der.extension("1.2.3.4", b"\x05\0", critical=True)
    for extensions in (
        [encipher],
        [],
        [der.AUTHORITY, der.DIGITAL_SIGNATURE],
        [strange, der.DIGITAL_SIGNATURE],
    ):
        parts = TPM.endorsements(certificate=TPM.certificate(extensions=extensions))
        refused("endorsement.signature", parts)
    refused("endorsement.signature", [Endorsement(CHAIN_TYPE, der.pem(TPM.root))])
    refused("endorsement.anchor", [Endorsement(CHAIN_TYPE, der.pem(TPM.certificate()))])


def test_names_in_the_certificate_do_not_matter() -> None:
    """Alternative names may be critical, as where the subject is empty."""
    names = der.extension("2.5.29.17", der.sequence(), critical=True)
    extensions = [names, der.DIGITAL_SIGNATURE]
    assert vouched(TPM.endorsements(certificate=TPM.certificate(extensions=extensions)))


@pytest.mark.spec("TPM-22")
def test_dates() -> None:
    """Both ends are in, and not one second more."""
    leaf = TPM.certificate(validity=(TPM.now, TPM.now + 9))
    for at in (TPM.now, TPM.now + 9):
        assert vouched(TPM.endorsements(certificate=leaf), at=at)
    for at in (TPM.now - 1, TPM.now + 10):
        refused("endorsement.expired", TPM.endorsements(certificate=leaf), at=at)


@pytest.mark.spec("TPM-22")
def test_revocation() -> None:
    """A key on its issuer's list, an issuer on the root's."""
    for by, serial in (("issuer", 1000), ("root", 2)):
        lists = [TPM.revocations(by, serials=(serial,))]
        refused("endorsement.revoked", TPM.endorsements(lists=lists))
    for lists in ([], [TPM.revocations("root")], [TPM.revocations("issuer")]):
        assert not vouched(TPM.endorsements(lists=lists)).revocation_checked


@pytest.mark.spec("TPM-22")
def test_lists_that_do_not_count() -> None:
    """Too old, from later, of somebody else, and signed by somebody else."""
    for validity in ((TPM.now - 9, TPM.now - 1), (TPM.now + 1, TPM.now + 9)):
        lists = [TPM.revocations("issuer", validity=validity)]
        refused("endorsement.stale", TPM.endorsements(lists=lists))
    forged = [TPM.revocations("issuer", signed_by="root")]
    refused("endorsement.signature", TPM.endorsements(lists=forged))
    twice = [TPM.revocations("issuer")] * 2
    assert vouched(TPM.endorsements(lists=[*twice, TPM.revocations("root")])).revocation_checked
    amd = [
        der.revocation_list(
            issuer=der.name("x", organization="y"),
            validity=(TPM.now, TPM.now),
            serials=(),
            algorithm=der.sequence(der.oid("1.2.840.113549.1.1.11"), b"\x05\0"),
            sign=lambda _: b"none",
        )
    ]
    refused("endorsement.mismatch", TPM.endorsements(lists=amd))


@pytest.mark.spec("TPM-5")
def test_other_endorsements_are_malformed() -> None:
    """Another kind, two chains, lists alone, too many, and an empty chain."""
    chain, *lists = TPM.endorsements()
    for parts in (
        [chain, chain],
        [Endorsement("application/pkix-cert", TPM.certificate())],
        lists,
        [chain, *[lists[0]] * 7],
        [Endorsement(CHAIN_TYPE, b"")],
        [chain, Endorsement(LIST_TYPE + "x", b"y")],
    ):
        refused("endorsement.malformed", list(parts))
