"""What was read or held once is judged as if never seen: anchors, instants, and each byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement
from cloister.crypto import ocsp
from cloister.errors import CloisterError
from cloister.tee.nvidia import paths, rim
from cloister.tee.nvidia.rim import RIM_MEDIA_TYPE, Rim
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.testing.manufacturers.nvidia import SimulatedNvidia, evidence_list, packed_evidence

AT = 1_800_000_000
NONCE = bytes(range(32))
MAKER = SimulatedNvidia("remembered", at=AT)
OTHER = SimulatedNvidia("another", at=AT)
GPU = MAKER.gpu("HOPPER")
SHORT = (AT - 100, AT + 100)
CACHES = (
    paths.read_certificate,
    paths.read_chain,
    paths.read_listed_chain,
    paths._require_sound,
    paths._require_signed,
    rim._read,
    rim._require_signature,
    ocsp._signer,
)


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> None:
    for cached in CACHES:
        cached.cache_clear()


def verify(
    endorsements: Sequence[Endorsement],
    *,
    anchors: Sequence[bytes] = MAKER.anchors,
    at: int = AT,
) -> Claims:
    return NvidiaVerifier(anchors).verify(GPU.evidence(NONCE), endorsements, at=at)


def code_of(
    endorsements: Sequence[Endorsement],
    *,
    anchors: Sequence[bytes] = MAKER.anchors,
    at: int = AT,
) -> str:
    """Return the code of the refusal."""
    with pytest.raises(CloisterError) as caught:
        verify(endorsements, anchors=anchors, at=at)
    return caught.value.code


@pytest.mark.spec("NV-30")
def test_the_second_verdict_is_the_first() -> None:
    """Of a report, a list and packed devices, and it reads and checks no endorsement again."""
    for evidence, given in (
        (GPU.evidence(NONCE), [*MAKER.endorsements(GPU), *MAKER.ocsp_responses(GPU)]),
        (evidence_list([GPU], NONCE), MAKER.endorsements(GPU)[1:]),
        (packed_evidence([GPU], NONCE), MAKER.endorsements(GPU)[1:]),
    ):
        first = NvidiaVerifier(MAKER.anchors).verify(evidence, given, at=AT)
        missed = [cached.cache_info().misses for cached in CACHES]
        assert NvidiaVerifier(MAKER.anchors).verify(evidence, given, at=AT) == first
        assert [cached.cache_info().misses for cached in CACHES] == missed
    assert all(cached.cache_info().hits for cached in CACHES)


@pytest.mark.spec("NV-11", "NV-25", "NV-30")
def test_anchors_are_judged_every_time() -> None:
    """A manifest, or a device, that held under one caller's roots is refused under another's."""
    given = MAKER.endorsements(GPU)
    device, manifests = MAKER.anchors
    verify(given)
    for anchors in ((device,), (manifests,), OTHER.anchors, (device, OTHER.anchors[1])):
        assert code_of(given, anchors=anchors) == "endorsement.anchor"
    verify(given)


@pytest.mark.spec("NV-11", "NV-25", "NV-28", "NV-30")
@pytest.mark.parametrize("short", ["manifest", "chain", "list", "response"])
def test_instants_are_judged_every_time(short: str) -> None:
    """Both ends are in, and not one second more; what was refused is accepted in its time."""
    gpu = MAKER.gpu("HOPPER", validity=SHORT) if short == "chain" else GPU
    chain = gpu.chain
    rims = [
        MAKER.rim(
            MAKER.rim_content(GPU, kind), validity=SHORT if short == "manifest" else MAKER.validity
        )
        for kind in ("driver", "vbios")  # type: ignore[arg-type]  # the two literals
    ]
    window = SHORT if short in {"list", "response"} else MAKER.validity
    lists = MAKER.revocation_lists(GPU, validity=window)
    if short == "response":
        lists = MAKER.ocsp_responses(GPU, validity=window)
    given, verifier = [chain, *rims, *lists], NvidiaVerifier(MAKER.anchors)
    evidence = gpu.evidence(NONCE)
    code = "endorsement.stale" if short in {"list", "response"} else "endorsement.expired"
    for _ in range(2):
        for at in SHORT:
            verifier.verify(evidence, given, at=at)
        for at in (SHORT[0] - 1, SHORT[1] + 1):
            with pytest.raises(CloisterError) as caught:
                verifier.verify(evidence, given, at=at)
            assert caught.value.code == code


@pytest.mark.spec("NV-24", "NV-30")
def test_one_other_byte_is_another_manifest() -> None:
    """Wherever it is: what is measured, what is signed, the signature, a certificate."""
    given = MAKER.endorsements(GPU)
    verify(given)
    place = next(n for n, each in enumerate(given) if each.media_type == RIM_MEDIA_TYPE)
    body = given[place].body
    starts = [
        body.index(b'Hash1="') + 7,
        body.index(b"<ds:DigestValue>") + 16,
        body.index(b"<ds:SignatureValue>") + 30,
        *(n + 400 for n in range(len(body)) if body.startswith(b"<ds:X509Certificate>", n)),
    ]
    assert len(starts) >= 6
    for at in starts:
        other = b"1" if body[at : at + 1] != b"1" else b"2"
        changed = body[:at] + other + body[at + 1 :]
        assert len(changed) == len(body)
        altered = [*given[:place], Endorsement(RIM_MEDIA_TYPE, changed), *given[place + 1 :]]
        for _ in range(2):
            assert code_of(altered) in {
                "endorsement.signature",
                "endorsement.anchor",
                "certificate.malformed",
            }
    verify(given)


@pytest.mark.spec("NV-28", "NV-30")
def test_revocation_is_judged_every_time() -> None:
    """A path, a manifest and a signer that held are refused by a list that says so."""
    verify(MAKER.endorsements(GPU))
    signer = MAKER.signer(MAKER.validity).path[0]
    for certificate in (GPU.device.path[1], signer):
        lists = MAKER.revocation_lists(GPU, revoked=[certificate])
        for _ in range(2):
            assert code_of([GPU.chain, *MAKER.rims(GPU), *lists]) == "endorsement.revoked"


@pytest.mark.spec("NV-24", "NV-25", "NV-28", "NV-30")
def test_what_did_not_hold_is_not_remembered() -> None:
    """Neither a signature nor a path nor a list: there is no room for them."""
    good = Rim.from_xml(MAKER.rims(GPU)[0].body)
    forged = replace(good, signature=good.signature[:-1] + bytes([good.signature[-1] ^ 1]))
    for _ in range(2):
        with pytest.raises(CloisterError) as caught:
            forged.require_signed()
        assert caught.value.code == "endorsement.signature"
    assert rim._require_signature.cache_info().currsize == 0
    for _ in range(2):
        with pytest.raises(CloisterError) as caught:
            paths.require_nvidia_path(
                [good.path[0], OTHER.signer(MAKER.validity).path[1], *good.path[2:]],
                anchors=MAKER.anchors,
                at=AT,
            )
        assert caught.value.code == "endorsement.signature"
    assert paths._require_sound.cache_info().currsize == 0
    with pytest.raises(CloisterError):
        Rim.from_xml(b"<SoftwareIdentity/>")
    assert rim._read.cache_info().currsize == 1


@pytest.mark.spec("NV-30")
def test_a_digest_is_compared_every_time() -> None:
    """The signature covers a digest; a document that it is not of is refused though it was seen."""
    good = Rim.from_xml(MAKER.rims(GPU)[0].body)
    good.require_signed()
    with pytest.raises(CloisterError) as caught:
        replace(good, digest=bytes(48)).require_signed()
    assert caught.value.code == "endorsement.signature"


@pytest.mark.spec("NV-30")
def test_little_is_remembered() -> None:
    """However many come."""
    assert all((cached.cache_info().maxsize or 1 << 30) <= 256 for cached in CACHES)
    assert (rim._read.cache_info().maxsize or 1 << 30) <= 16
