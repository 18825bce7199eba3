"""What a recovering platform proves before it gets a share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloister.attestation.evidence import Evidence
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, MalformedError, ReleaseDeniedError
from cloister.keyservice.genuine import ServiceReference, bind_service
from cloister.keyservice.recovery_request import RecoveryRequest, require_recovering
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.platform import SimPlatform

SERVICE = SigningKey(b"s" * 32).public
IMAGE = b"i" * 32


@pytest.fixture
def platform(tmp_path: Path) -> SimPlatform:
    """The new platform."""
    return SimPlatform.create(tmp_path / "platform", svn=2, debug=False)


@pytest.fixture
def request_(platform: SimPlatform) -> RecoveryRequest:
    """What it asks."""
    return RecoveryRequest.make(SERVICE, platform, SimAttester(platform, image=IMAGE))


def reference(platform: SimPlatform) -> ServiceReference:
    """What holders pinned."""
    return ServiceReference(
        root_of_trust="sim",
        anchors=(platform.anchor,),
        measurements=(IMAGE,),
        minimum_svn=1,
        debug=False,
    )


def refused(request: RecoveryRequest, pinned: ServiceReference, **changes: object) -> str:
    """The code of the refusal."""
    facts: dict[str, object] = {"service": SERVICE, "at": 1} | changes
    with pytest.raises(CloisterError) as e:
        require_recovering(request, pinned, **facts)
    return e.value.code


@pytest.mark.spec("BR-25", "BR-26")
def test_the_pinned_image_on_a_pinned_platform_is_believed(
    platform: SimPlatform, request_: RecoveryRequest
) -> None:
    """Also after it travelled; only that platform has the private key."""
    read = RecoveryRequest.from_bytes(request_.to_bytes())
    assert read.to_bytes() == request_.to_bytes()
    found = require_recovering(read, reference(platform), service=SERVICE, at=1)
    assert (found.service, found.request) == (SERVICE, request_.digest)
    private = read.private_key(platform)
    assert private.public.raw == found.hpke.raw


@pytest.mark.spec("BR-26")
def test_others_are_refused(
    tmp_path: Path, platform: SimPlatform, request_: RecoveryRequest
) -> None:
    """Another service, platform, image or version of it; each by its code."""
    pinned = reference(platform)
    other = SimPlatform.create(tmp_path / "other", svn=2, debug=False)
    debugged = SimPlatform.create(tmp_path / "debugged", svn=2, debug=True)
    asked = RecoveryRequest.make(SERVICE, debugged, SimAttester(debugged, image=IMAGE))
    stranger = SigningKey(b"o" * 32).public
    assert refused(request_, pinned, service=stranger) == "identity.keyservice"
    assert refused(request_, reference(other)) == "endorsement.anchor"
    assert refused(request_, replace(pinned, measurements=(b"j" * 32,))) == "appraisal.measurement"
    assert refused(request_, replace(pinned, minimum_svn=3)) == "appraisal.svn"
    assert refused(asked, reference(debugged)) == "appraisal.debug"


@pytest.mark.spec("BR-25", "BR-26")
def test_evidence_of_something_else_is_refused(
    tmp_path: Path, platform: SimPlatform, request_: RecoveryRequest
) -> None:
    """An operator who puts his own key in, or takes evidence that was made for another purpose."""
    pinned = reference(platform)
    mine = HPKEPrivateKey.generate().public
    assert refused(replace(request_, hpke=mine), pinned) == "evidence.binding"
    assert refused(replace(request_, session=b"x"), pinned) == "evidence.binding"
    other = SimPlatform.create(tmp_path / "other", svn=2, debug=False)
    both = replace(pinned, anchors=(platform.anchor, other.anchor))
    assert refused(replace(request_, platform=other.anchor), both) == "endorsement.anchor"
    attester = SimAttester(platform, image=IMAGE)
    bound = bind_service(service=SERVICE.raw, hpke_key=request_.hpke.raw, nonce=b"n" * 32)
    assert refused(replace(request_, evidence=attester.collect(bound)), pinned) == (
        "evidence.binding"
    )
    kind = Evidence("application/other", request_.evidence.body)
    assert refused(replace(request_, evidence=kind), pinned) == "evidence.kind"


@pytest.mark.spec("BR-28")
def test_another_platform_has_no_private_key(tmp_path: Path, request_: RecoveryRequest) -> None:
    """Nor has the same one for a changed request."""
    other = SimPlatform.create(tmp_path / "other", svn=2, debug=False)
    with pytest.raises(ReleaseDeniedError) as e:
        request_.private_key(other)
    assert e.value.code == "recovery.share"


@pytest.mark.spec("BR-25")
def test_other_bytes_are_no_request(request_: RecoveryRequest) -> None:
    """Cut, longer, or with a field more."""
    data = request_.to_bytes()
    for wrong in (b"", data[:-1], data + b"\x00", data.replace(b"session", b"sessiom")):
        with pytest.raises(MalformedError):
            RecoveryRequest.from_bytes(wrong)


def test_a_changed_key_is_noticed(platform: SimPlatform, request_: RecoveryRequest) -> None:
    """The sealed half belongs to the public one."""
    mine = HPKEPrivateKey.generate().public
    with pytest.raises(ReleaseDeniedError) as e:
        replace(request_, hpke=mine).private_key(platform)
    assert e.value.code == "recovery.share"
