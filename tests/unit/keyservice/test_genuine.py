"""What a key service must prove, judged."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.attestation.evidence import Evidence
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.errors import CloisterError, MalformedError
from cloister.keyservice.genuine import (
    AttestRequest,
    ServiceReference,
    bind_service,
    require_genuine,
)
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.platform import SimPlatform

SERVICE, NONCE, IMAGE = b"s" * 32, b"n" * 32, b"i" * 32
HPKE = HPKEPrivateKey.generate().public.raw


@pytest.fixture
def platform(tmp_path: Path) -> SimPlatform:
    """A platform of version 3."""
    return SimPlatform.create(tmp_path / "platform", svn=3, debug=False)


def reference(platform: SimPlatform) -> ServiceReference:
    """What that platform and that image are."""
    return ServiceReference(
        root_of_trust="sim",
        anchors=(platform.anchor,),
        measurements=(b"j" * 32, IMAGE),
        minimum_svn=3,
        debug=False,
    )


def evidence(platform: SimPlatform, *, image: bytes = IMAGE, nonce: bytes = NONCE) -> Evidence:
    """What the service says of itself."""
    report_data = bind_service(service=SERVICE, hpke_key=HPKE, nonce=nonce)
    return SimAttester(platform, image=image).collect(report_data)


def judge(
    found: Evidence,
    expected: ServiceReference,
    *,
    service: bytes = SERVICE,
    hpke_key: bytes = HPKE,
) -> str:
    """Return `ok` or the code of the refusal."""
    try:
        claims = require_genuine(
            found, expected, service=service, hpke_key=hpke_key, nonce=NONCE, at=0
        )
    except CloisterError as e:
        return e.code
    assert not claims.hardware_rooted
    return "ok"


@pytest.mark.spec("KR-97", "KR-98")
def test_the_pinned_service_is_accepted(platform: SimPlatform) -> None:
    """Everything as it was pinned."""
    assert judge(evidence(platform), reference(platform)) == "ok"


Change = Callable[[ServiceReference], ServiceReference]
REFERENCES: list[tuple[str, Change]] = [
    ("appraisal.measurement", lambda r: replace(r, measurements=(b"j" * 32,))),
    ("appraisal.svn", lambda r: replace(r, minimum_svn=4)),
    ("evidence.kind", lambda r: replace(r, root_of_trust="tdx")),
]


@pytest.mark.spec("KR-97", "KR-98")
@pytest.mark.parametrize(("code", "change"), REFERENCES, ids=[code for code, _ in REFERENCES])
def test_what_was_not_pinned_is_refused(platform: SimPlatform, code: str, change: Change) -> None:
    """Another image, an older platform, another root of trust."""
    assert judge(evidence(platform), change(reference(platform))) == code


@pytest.mark.spec("KR-97")
def test_evidence_for_something_else_is_refused(platform: SimPlatform) -> None:
    """Another nonce, identity or key: replayed, or relayed from another service."""
    expected = reference(platform)
    assert judge(evidence(platform, nonce=b"o" * 32), expected) == "evidence.binding"
    assert judge(evidence(platform), expected, service=b"t" * 32) == "evidence.binding"
    other = HPKEPrivateKey.generate().public.raw
    assert judge(evidence(platform), expected, hpke_key=other) == "evidence.binding"


@pytest.mark.spec("KR-97")
def test_another_platform_and_a_changed_bit_are_refused(
    platform: SimPlatform, tmp_path: Path
) -> None:
    """Genuine evidence of somebody else's machine is not this service's."""
    other = SimPlatform.create(tmp_path / "other", svn=3, debug=False)
    assert judge(evidence(other), reference(platform)) == "endorsement.anchor"
    good = evidence(platform)
    changed = Evidence(good.media_type, good.body[:-1] + bytes([good.body[-1] ^ 1]))
    assert judge(changed, reference(platform)) == "evidence.signature"


@pytest.mark.spec("KR-98")
def test_a_platform_open_to_inspection_is_refused_unless_pinned_so(tmp_path: Path) -> None:
    """A debugger there reads every secret."""
    platform = SimPlatform.create(tmp_path / "debug", svn=3, debug=True)
    expected = reference(platform)
    assert judge(evidence(platform), expected) == "appraisal.debug"
    assert judge(evidence(platform), replace(expected, debug=True)) == "ok"


@pytest.mark.spec("KR-95")
def test_requests_and_bindings_have_fixed_lengths() -> None:
    """Nothing is padded or cut."""
    request = AttestRequest(NONCE)
    assert AttestRequest.from_bytes(request.to_bytes()) == request
    with pytest.raises(MalformedError):
        AttestRequest(b"short")
    with pytest.raises(MalformedError):
        AttestRequest.from_bytes(b"\xa0")
    with pytest.raises(MalformedError):
        bind_service(service=SERVICE, hpke_key=b"short", nonce=NONCE)


def test_an_empty_reference_is_refused(platform: SimPlatform) -> None:
    """It would accept everything, or nothing."""
    with pytest.raises(MalformedError):
        replace(reference(platform), measurements=())
    with pytest.raises(MalformedError):
        replace(reference(platform), anchors=())
