"""Genuine GPU evidence and manifests give what is known of them, and nothing like them does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.evidence_rules import Unchecked
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.chain import read_pem_chain, require_path
from cloister.errors import CloisterError
from cloister.tee.nvidia.endorsements import CHAIN_MEDIA_TYPE
from cloister.tee.nvidia.evidence_list import (
    LIST_MEDIA_TYPE,
    PACKED_MEDIA_TYPE,
    PackedDevice,
    devices_from_json,
    pack_devices,
)
from cloister.tee.nvidia.fields import FIELDS
from cloister.tee.nvidia.layout import OPAQUE, REPORT_MEDIA_TYPE, GpuReport
from cloister.tee.nvidia.paths import ALGORITHMS
from cloister.tee.nvidia.rim import RIM_MEDIA_TYPE, Rim
from cloister.tee.nvidia.roots import DEVICE_ROOTS, NVIDIA_ROOTS, RIM_ROOTS
from cloister.tee.nvidia.verifier import NvidiaVerifier, mismatches
from spec.device_samples import mutations, read_sample, sample_folder, seconds

VERIFIER = NvidiaVerifier(tuple(NVIDIA_ROOTS))
AT = seconds("2026-01-01T00:00:00Z")
GENUINE = ("hopper-550-90-07", "blackwell-590-48-01")
# Rules of somebody who has no manifests and no revocation lists, and says so.
SIGNATURE_AND_CHAIN = default_rules(FIELDS) | {
    name: Unchecked("these samples have none") for name in ("measres", "dbgstat", "revocation")
}


@pytest.fixture
def samples() -> Path:
    """The folder of NVIDIA's samples."""
    return sample_folder("nvidia")


def verify(folder: Path, *more: Endorsement, at: int = AT) -> Claims:
    chain = Endorsement(CHAIN_MEDIA_TYPE, (folder / "cert_chain.pem").read_bytes())
    evidence = Evidence(REPORT_MEDIA_TYPE, (folder / "report.bin").read_bytes())
    return VERIFIER.verify(evidence, [chain, *more], at=at)


def refused(evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int = AT) -> bool:
    """Tell whether it is refused, with one of our errors."""
    try:
        VERIFIER.verify(evidence, endorsements, at=at)
    except CloisterError:
        return True
    return False


def code_of(data: bytes, *, at: int) -> str:
    """Judge a manifest alone; returns `ok` or the code."""
    try:
        rim = Rim.from_xml(data)
        require_path(rim.path, anchors=RIM_ROOTS.values(), algorithms=ALGORITHMS, at=at)
        rim.require_signed()
    except CloisterError as e:
        return e.code
    return "ok"


@pytest.mark.spec("NV-8")
def test_pinned_roots_are_the_genuine_ones(samples: Path) -> None:
    """The fingerprints are those of the certificates in the samples."""
    (device,) = read_pem_chain((samples / "_roots/device_root.pem").read_bytes())
    (rim,) = read_pem_chain((samples / "_roots/rim_root.pem").read_bytes())
    assert list(DEVICE_ROOTS.values()) == [device.fingerprint]
    assert list(RIM_ROOTS.values()) == [rim.fingerprint]


@pytest.mark.spec("NV-2", "NV-3", "NV-4")
@pytest.mark.parametrize("name", [*GENUINE, "hopper-560-bad-signature"])
def test_reports_are_read_as_they_are(samples: Path, name: str) -> None:
    """Each field is the expected one, and the bytes come out again."""
    data, known = (samples / name / "report.bin").read_bytes(), read_sample(samples / name)
    report, fields = GpuReport.from_bytes(data), known["expected_fields"]
    assert report.to_bytes() == data
    assert len(report.signed) == known["layout"]["signature_offset"]
    assert report.nonce.hex() == fields["request_nonce"]
    assert report.response_nonce.hex() == fields["response_nonce"]
    assert {str(b.index): b.value.hex() for b in report.blocks} == fields["measurements"]
    assert len(report.blocks) == fields["number_of_blocks"]
    opaque = fields["opaque"]
    assert report.driver_version == opaque["driver_version"]
    assert report.opaque[OPAQUE["vbios_version"]].hex() == opaque["vbios_version_raw"]
    assert report.fwid.hex() == opaque["fwid"]
    assert report.opaque[OPAQUE["nvdec0_status"]].hex() == opaque["nvdec0_status"]
    assert report.opaque[OPAQUE["chip_sku"]].rstrip(b"\x00").decode() == opaque["chip_sku"]


@pytest.mark.spec("NV-11", "NV-12", "NV-13", "NV-40", "NV-41")
@pytest.mark.parametrize("name", GENUINE)
def test_genuine_reports_are_genuine(samples: Path, name: str) -> None:
    """Signature, chain and firmware hold; what is missing is named, and is all that is refused."""
    claims, known = verify(samples / name), read_sample(samples / name)
    assert claims.hardware_rooted
    assert claims.report_data.hex() == known["expect"]["nonce"]
    assert claims.measurement.hex() == known["expected_fields"]["opaque"]["fwid"]
    assert not claims.debug
    assert claims.vendor["driver_version"] == [known["expected_fields"]["opaque"]["driver_version"]]
    verdict = appraise_claims(claims, FIELDS, default_rules(FIELDS))
    assert not verdict.accepted
    assert {reason.found for reason in verdict.reasons} == {"unknown"}
    assert appraise_claims(claims, FIELDS, SIGNATURE_AND_CHAIN).accepted


@pytest.mark.spec("NV-12")
def test_the_chain_of_another_gpu_is_refused(samples: Path) -> None:
    """A genuine report under a genuine chain that is not its own."""
    with pytest.raises(CloisterError) as caught:
        verify(samples / "hopper-560-bad-signature")
    assert caught.value.code == "evidence.signature"


@pytest.mark.parametrize("name", GENUINE)
def test_certificates_count_from_their_first_second(samples: Path, name: str) -> None:
    """Valid at both edges, and not one second outside."""
    first, last = (seconds(t) for t in read_sample(samples / name)["certificates_valid"])
    assert verify(samples / name, at=first).hardware_rooted
    assert verify(samples / name, at=last).hardware_rooted
    for outside in (first - 1, last + 1):
        with pytest.raises(CloisterError) as caught:
            verify(samples / name, at=outside)
        assert caught.value.code == "endorsement.expired"


@pytest.mark.spec("NV-6", "NV-15")
def test_four_gpus_at_once(samples: Path) -> None:
    """The list is accepted as a whole, with the serial number of each device."""
    folder = samples / "multi-gpu-hopper"
    known = read_sample(folder)["expect"]
    evidence = Evidence(LIST_MEDIA_TYPE, (folder / "evidence.json").read_bytes())
    claims = VERIFIER.verify(evidence, (), at=AT)
    assert claims.hardware_rooted
    assert claims.vendor["gpus"] == known["count"] == known["distinct_devices"]
    assert claims.vendor["ueid"] == sorted(item["leaf_serial"] for item in known["items"])
    assert {item["nonce"] for item in known["items"]} == {claims.report_data.hex()}
    assert appraise_claims(claims, FIELDS, SIGNATURE_AND_CHAIN).accepted


@pytest.mark.spec("NV-9")
def test_four_gpus_packed(samples: Path) -> None:
    """The same claims from half the bytes."""
    body = (samples / "multi-gpu-hopper" / "evidence.json").read_bytes()
    packed = pack_devices(
        [
            PackedDevice(each.report, tuple(c.der for c in read_pem_chain(each.chain)))
            for each in devices_from_json(body)
        ]
    )
    assert 2 * len(packed) < len(body) + 4096
    claims = VERIFIER.verify(Evidence(PACKED_MEDIA_TYPE, packed), (), at=AT)
    assert claims == VERIFIER.verify(Evidence(LIST_MEDIA_TYPE, body), (), at=AT)
    for changed in mutations(packed, 200):
        assert refused(Evidence(PACKED_MEDIA_TYPE, changed), ())


@pytest.mark.spec("NV-20", "NV-21", "NV-22", "NV-23", "NV-24", "NV-25")
def test_manifests(samples: Path) -> None:
    """Genuine ones hold for as long as every certificate of their path, altered ones never."""
    index = json.loads((samples / "_rims/index.json").read_text("utf-8"))
    for name, known in index.items():
        data = (samples / "_rims" / name).read_bytes()
        path = Rim.from_xml(data).path
        first, last = (seconds(text) for text in known["signer_valid"])
        assert (path[0].not_before, path[0].not_after) == (first, last)
        if known["expect"].startswith("accept"):
            first = max(each.not_before for each in path)
            last = min(each.not_after for each in path)
            assert code_of(data, at=first) == "ok", name
            assert code_of(data, at=last) == "ok", name
            assert code_of(data, at=first - 1) == "endorsement.expired", name
            assert code_of(data, at=last + 1) == "endorsement.expired", name
            assert Rim.from_xml(data).content.chip == known["name"]
        else:
            rooted = known["to_rim_root"]
            wanted = "endorsement.signature" if rooted else "endorsement.anchor"
            assert code_of(data, at=first) == wanted, name


@pytest.mark.spec("NV-27")
def test_comparisons(samples: Path) -> None:
    """Reports that are here differ from manifests exactly where they are known to."""
    known = json.loads((samples / "_rims/comparisons.json").read_text("utf-8"))["comparisons"]
    here = [each for each in known if (samples.parent / each["report"] / "report.bin").is_file()]
    assert here
    for each in here:
        report = GpuReport.from_bytes((samples.parent / each["report"] / "report.bin").read_bytes())
        content = Rim.from_xml((samples / "_rims" / each["rim"]).read_bytes()).content
        assert len(content.active) == each["active"]
        assert mismatches(content, report) == each["mismatched_rim_indexes"]


@pytest.mark.spec("NV-26")
def test_a_genuine_manifest_of_another_driver_is_refused(samples: Path) -> None:
    """550.144.03 is not 550.90.07."""
    other = Endorsement(
        RIM_MEDIA_TYPE, (samples / "_rims/driver_gh100_550.144.03.xml").read_bytes()
    )
    with pytest.raises(CloisterError) as caught:
        verify(samples / "hopper-550-90-07", other)
    assert caught.value.code == "endorsement.mismatch"


@pytest.mark.parametrize("name", GENUINE)
def test_no_mutation_of_a_report_is_accepted(samples: Path, name: str) -> None:
    """Bits changed, bytes cut or added, in report and certificates."""
    chain = (samples / name / "cert_chain.pem").read_bytes()
    report = (samples / name / "report.bin").read_bytes()
    endorsement = Endorsement(CHAIN_MEDIA_TYPE, chain)
    for changed in mutations(report, 500):
        assert refused(Evidence(REPORT_MEDIA_TYPE, changed), [endorsement])
    ders = [each.der for each in read_pem_chain(chain)]
    evidence = Evidence(REPORT_MEDIA_TYPE, report)
    for n, der in enumerate(ders):
        for changed in mutations(der, 60):
            try:
                pem = x509.load_der_x509_certificate(changed).public_bytes(Encoding.PEM)
            except ValueError:
                continue
            rest = [
                x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in ders
            ]
            rest[n] = pem
            assert refused(evidence, [Endorsement(CHAIN_MEDIA_TYPE, b"".join(rest))])


def test_no_mutation_of_a_list_is_accepted(samples: Path) -> None:
    """Bits changed, bytes cut or added, anywhere in the JSON."""
    data = (samples / "multi-gpu-hopper" / "evidence.json").read_bytes()
    for changed in mutations(data, 300):
        assert refused(Evidence(LIST_MEDIA_TYPE, changed), ())


def test_no_mutation_of_a_manifest_changes_what_it_says(samples: Path) -> None:
    """White space outside the document and inside base64 may differ; what is read may not."""
    data = (samples / "_rims/driver_gh100_550.144.03.xml").read_bytes()
    content = Rim.from_xml(data).content
    at = seconds("2025-06-01T00:00:00Z")
    accepted = [each for each in mutations(data, 1000) if code_of(each, at=at) == "ok"]
    assert all(Rim.from_xml(each).content == content for each in accepted)
    assert len(accepted) < 10
