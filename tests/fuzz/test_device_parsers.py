"""From hostile evidence and collateral of devices, only our errors escape."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import pytest
from cryptography.x509.ocsp import OCSPCertStatus
from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.evidence import Endorsement, Evidence, ReportData
from cloister.crypto.ocsp import OcspResponse
from cloister.errors import CloisterError
from cloister.tee.cca.layout import CcaToken, PlatformToken, RealmToken
from cloister.tee.cca.verifier import CcaVerifier
from cloister.tee.composite import COMPOSITE_MEDIA_TYPE, CompositeEvidence, composite_report_data
from cloister.tee.cose import CoseSign1
from cloister.tee.nitro.layout import AttestationDocument
from cloister.tee.nitro.verifier import NitroVerifier
from cloister.tee.nvidia.endorsements import Collateral
from cloister.tee.nvidia.evidence_list import devices_from_json, unpack_devices
from cloister.tee.nvidia.layout import GpuReport
from cloister.tee.nvidia.rim import RIM_MEDIA_TYPE, Rim
from cloister.tee.nvidia.swid_xml import canonical, read_xml
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.testing.manufacturers.cca import SimulatedCca
from cloister.testing.manufacturers.nitro import SimulatedNitro
from cloister.testing.manufacturers.nvidia import SimulatedNvidia, evidence_list, packed_evidence

AT: Final = 1_800_000_000
NVIDIA: Final = SimulatedNvidia("fuzz", at=AT)
GPU: Final = NVIDIA.gpu("BLACKWELL")
NITRO: Final = SimulatedNitro("fuzz", at=AT)
CCA: Final = SimulatedCca("fuzz")
LIST: Final = evidence_list([GPU], bytes(32))
REQUEST: Final = ReportData(bytes(64))
COMPOSITE: Final = CompositeEvidence(NITRO.evidence(), LIST).to_evidence()
RIM: Final = NVIDIA.rims(GPU)[0].body
OCSP: Final = NVIDIA.ocsp_responses(GPU, status=OCSPCertStatus.GOOD)[0].body


def _cose(data: bytes) -> object:
    return CoseSign1.from_bytes(data, tagged=False, max_bytes=99999)


def _canonical(data: bytes) -> object:
    return canonical(read_xml(data), inherited={}, without=None)


def _composite(data: bytes) -> object:
    found = CompositeEvidence.from_evidence(Evidence(COMPOSITE_MEDIA_TYPE, data))
    return composite_report_data(REQUEST, found.gpu)


PARSERS: Final[dict[str, tuple[Callable[[bytes], object], bytes]]] = {
    "report": (GpuReport.from_bytes, GPU.report(bytes(32)).to_bytes()),
    "list": (devices_from_json, LIST.body),
    "packed": (unpack_devices, packed_evidence([GPU], bytes(32)).body),
    "xml": (_canonical, RIM),
    "manifest": (Rim.from_xml, RIM),
    "ocsp": (OcspResponse.from_der, OCSP),
    "cose": (_cose, NITRO.evidence().body),
    "document": (AttestationDocument.from_bytes, NITRO.document().to_bytes()),
    "cca": (CcaToken.from_bytes, CCA.evidence().body),
    "platform": (PlatformToken.from_bytes, CCA.platform(CCA.realm()).to_bytes()),
    "realm": (RealmToken.from_bytes, CCA.realm().to_bytes()),
    "composite": (_composite, COMPOSITE.body),
}


@st.composite
def edits(draw: st.DrawFn, data: bytes) -> bytes:
    """Good bytes with up to four places that are cut out, changed or filled with something."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 8)))
        data = data[:start] + draw(st.binary(max_size=8)) + data[end:]
    return data


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_parsers_raise_our_errors_only(name: str, data: st.DataObject) -> None:
    """Garbage, and good bytes that somebody edited."""
    parse, good = PARSERS[name]
    with contextlib.suppress(CloisterError):
        parse(data.draw(st.binary(max_size=300) | edits(good)))


ENDORSEMENTS: Final = NVIDIA.endorsements(GPU)
EVIDENCE: Final = GPU.evidence(bytes(32))
# For each kind its verifier, what is good, and what vouches for it.
ACCEPTED: Final[dict[str, tuple[Any, Evidence, list[Endorsement]]]] = {
    "nvidia": (NvidiaVerifier(NVIDIA.anchors), EVIDENCE, [GPU.chain]),
    "nitro": (NitroVerifier([NITRO.anchor]), NITRO.evidence(), []),
    "cca": (CcaVerifier([CCA.anchor]), CCA.evidence(), [CCA.key]),
}


@pytest.mark.parametrize("kind", ACCEPTED)
@given(data=st.data())
def test_verifiers_accept_nothing_that_was_edited(kind: str, data: st.DataObject) -> None:
    """What is not the good evidence itself is refused, with our errors."""
    verifier, good, endorsements = ACCEPTED[kind]
    body = data.draw(edits(good.body))
    try:
        verifier.verify(Evidence(good.media_type, body), endorsements, at=AT)
    except CloisterError:
        return
    assert body == good.body


@given(data=st.data())
def test_collateral_raises_our_errors_only(data: st.DataObject) -> None:
    """Every kind of endorsement, edited."""
    good = data.draw(st.sampled_from(ENDORSEMENTS))
    edited = Endorsement(good.media_type, data.draw(edits(good.body)))
    with contextlib.suppress(CloisterError):
        Collateral.from_endorsements([edited])
    with contextlib.suppress(CloisterError):
        NvidiaVerifier(NVIDIA.anchors).verify(EVIDENCE, [GPU.chain, edited], at=AT)


@given(data=st.data())
def test_an_edited_manifest_says_what_was_signed_or_nothing(data: st.DataObject) -> None:
    """Where a signature still holds, the content is the signed one."""
    edited = data.draw(edits(RIM))
    try:
        rim = Rim.from_xml(edited)
        rim.require_signed()
    except CloisterError:
        return
    assert rim.content == Rim.from_xml(RIM).content
    assert Endorsement(RIM_MEDIA_TYPE, RIM) in NVIDIA.rims(GPU)
