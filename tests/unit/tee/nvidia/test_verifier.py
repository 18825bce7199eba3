"""Evidence of simulated GPUs through the verifier: every way in which it can be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from cryptography.x509.ocsp import OCSPCertStatus

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.evidence_rules import OneOf, Unchecked, Within
from cloister.attestation.verdict import Verdict, appraise_claims, default_rules
from cloister.errors import CloisterError, ConfigError
from cloister.tee.nvidia.evidence_list import LIST_MEDIA_TYPE, DeviceEvidence, devices_to_json
from cloister.tee.nvidia.fields import FIELDS
from cloister.tee.nvidia.layout import OPAQUE, REPORT_MEDIA_TYPE, GpuReport
from cloister.tee.nvidia.roots import DEVICE_ROOTS, NVIDIA_ROOTS, RIM_ROOTS
from cloister.tee.nvidia.verifier import NvidiaVerifier, mismatches
from cloister.testing.manufacturers.device_pki import Authority
from cloister.testing.manufacturers.nvidia import (
    SimulatedGpu,
    SimulatedNvidia,
    evidence_list,
    packed_evidence,
)

AT = 1_800_000_000
NONCE = bytes(range(32))
MAKER = SimulatedNvidia("verifier", at=AT)
OTHER = SimulatedNvidia("other", at=AT)
HOPPER = MAKER.gpu("HOPPER")
BLACKWELL = MAKER.gpu("BLACKWELL")
GPUS = [HOPPER, BLACKWELL]
PAST = (AT - 1000, AT - 1)


def verify(
    evidence: Evidence,
    endorsements: Sequence[Endorsement],
    *,
    anchors: Sequence[bytes] = MAKER.anchors,
    at: int = AT,
) -> Claims:
    return NvidiaVerifier(anchors).verify(evidence, endorsements, at=at)


def code_of(
    evidence: Evidence,
    endorsements: Sequence[Endorsement],
    *,
    anchors: Sequence[bytes] = MAKER.anchors,
    at: int = AT,
) -> str:
    """Return the code of the refusal."""
    with pytest.raises(CloisterError) as caught:
        verify(evidence, endorsements, anchors=anchors, at=at)
    return caught.value.code


def appraise(claims: Claims) -> Verdict:
    return appraise_claims(claims, FIELDS, default_rules(FIELDS))


def rules_broken(claims: Claims) -> set[str]:
    """Return which of the default rules do not hold."""
    return {reason.detail.partition(":")[0] for reason in appraise(claims).reasons}


def changed(gpu: SimulatedGpu, **opaque: bytes) -> Evidence:
    """A report with other opaque data, signed all the same."""
    report = gpu.report(NONCE)
    fields = report.opaque | {OPAQUE[name]: value for name, value in opaque.items()}
    signed = gpu.sign(replace(report, opaque=fields))
    return Evidence(REPORT_MEDIA_TYPE, signed.to_bytes())


@pytest.mark.spec("NV-5", "NV-10", "NV-16", "NV-17", "NV-40", "NV-41")
@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.architecture)
def test_a_healthy_gpu_is_accepted_and_is_no_hardware(gpu: SimulatedGpu) -> None:
    """All default rules hold with manifests and revocation lists; the anchor is the caller's."""
    claims = verify(gpu.evidence(NONCE), MAKER.endorsements(gpu))
    assert appraise(claims).accepted
    assert not claims.hardware_rooted
    assert (claims.root_of_trust, claims.anchor) == ("nvidia", MAKER.anchors[0])
    assert (claims.report_data, claims.measurement) == (NONCE, gpu.fwid)
    assert claims.hardware_id == gpu.device.path[1].serial.to_bytes(19)
    assert claims.vendor["measres"] == "success"
    assert claims.vendor["revocation"] == "good"
    assert claims.vendor["dbgstat"] == "disabled"
    assert claims.vendor["arch"] == [gpu.architecture]
    assert claims.vendor["hwmodel"] == [gpu.chip]
    assert claims.vendor["driver_version"] == [gpu.driver_version]
    assert claims.vendor["vbios_version"] == [gpu.vbios_version]


@pytest.mark.spec("NV-8")
def test_there_is_no_built_in_anchor() -> None:
    """A verifier without anchors cannot be made."""
    with pytest.raises(ConfigError) as caught:
        NvidiaVerifier(())
    assert caught.value.code == "config.missing"


@pytest.mark.spec("NV-8", "NV-11")
def test_simulated_gpus_are_refused_under_nvidias_roots() -> None:
    """The same code, other anchors."""
    genuine = tuple(NVIDIA_ROOTS)
    evidence, endorsements = HOPPER.evidence(NONCE), MAKER.endorsements(HOPPER)
    assert code_of(evidence, endorsements, anchors=genuine) == "endorsement.anchor"
    assert code_of(evidence, endorsements, anchors=OTHER.anchors) == "endorsement.anchor"
    assert code_of(evidence, endorsements, anchors=MAKER.anchors[1:]) == "endorsement.anchor"
    assert code_of(evidence, endorsements, anchors=MAKER.anchors[:1]) == "endorsement.anchor"


@pytest.mark.spec("NV-8")
def test_a_pinned_root_vouches_for_one_thing_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root for manifests vouches for no device, and the other way round."""
    device, rim = MAKER.anchors
    monkeypatch.setitem(RIM_ROOTS, "simulated", device)
    evidence, endorsements = HOPPER.evidence(NONCE), MAKER.endorsements(HOPPER)
    assert code_of(evidence, endorsements) == "endorsement.anchor"
    monkeypatch.delitem(RIM_ROOTS, "simulated")
    monkeypatch.setitem(DEVICE_ROOTS, "simulated", rim)
    assert code_of(evidence, endorsements) == "endorsement.anchor"


@pytest.mark.spec("NV-41")
def test_hardware_needs_the_manufacturers_roots_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of a pinned root under somebody's manifests is not rooted in hardware."""
    device, rim = MAKER.anchors
    monkeypatch.setitem(DEVICE_ROOTS, "simulated", device)
    evidence, endorsements = HOPPER.evidence(NONCE), MAKER.endorsements(HOPPER)
    assert not verify(evidence, endorsements).hardware_rooted
    assert verify(evidence, [HOPPER.chain]).hardware_rooted
    monkeypatch.setitem(RIM_ROOTS, "simulated", rim)
    assert verify(evidence, endorsements).hardware_rooted


@pytest.mark.spec("NV-10")
def test_other_kinds_are_refused() -> None:
    """Evidence of other kinds, endorsements of other kinds, too many of them."""
    body, chain = HOPPER.evidence(NONCE).body, HOPPER.chain
    assert code_of(Evidence("application/other", body), [chain]) == "evidence.kind"
    strange = Endorsement("application/other", b"")
    assert code_of(HOPPER.evidence(NONCE), [chain, strange]) == "endorsement.malformed"
    assert code_of(HOPPER.evidence(NONCE), [chain] * 65) == "endorsement.malformed"
    large = Endorsement("application/swid+xml", bytes(1 << 20))
    assert code_of(HOPPER.evidence(NONCE), [chain, large, large]) == "endorsement.malformed"


@pytest.mark.spec("NV-7", "NV-10")
def test_one_report_has_one_chain() -> None:
    """Missing leaves it undecided; a second one, or one beside a list, is refused."""
    evidence = HOPPER.evidence(NONCE)
    assert code_of(evidence, MAKER.rims(HOPPER)) == "endorsement.missing"
    assert code_of(evidence, [HOPPER.chain, BLACKWELL.chain]) == "endorsement.mismatch"
    assert code_of(evidence_list([HOPPER], NONCE), [HOPPER.chain]) == "endorsement.mismatch"
    assert code_of(packed_evidence([HOPPER], NONCE), [HOPPER.chain]) == "endorsement.mismatch"


@pytest.mark.spec("NV-12")
def test_a_report_of_another_device_is_refused() -> None:
    """Genuine report, genuine chain, another GPU's: the field bug of a report that verified."""
    second = MAKER.gpu("HOPPER", number=2)
    assert code_of(HOPPER.evidence(NONCE), [second.chain]) == "evidence.signature"


@pytest.mark.spec("NV-12")
def test_changed_reports_are_refused() -> None:
    """Nonce, measurements and opaque data are all signed."""
    report = HOPPER.report(NONCE)
    for other in (
        replace(report, nonce=bytes(32)),
        replace(report, response_nonce=bytes(32)),
        replace(report, blocks=(*report.blocks[:-1], replace(report.blocks[-1], value=b"x" * 48))),
        replace(report, opaque=report.opaque | {OPAQUE["driver_version"]: b"999.00\x00"}),
        replace(report, signature=bytes(96)),
        replace(report, signature=report.signature[48:] + report.signature[:48]),
    ):
        evidence = Evidence(REPORT_MEDIA_TYPE, other.to_bytes())
        assert code_of(evidence, [HOPPER.chain]) == "evidence.signature"


@pytest.mark.spec("NV-11", "NV-14")
@pytest.mark.parametrize(
    ("gpu", "code"),
    [
        (MAKER.gpu("HOPPER", validity=PAST), "endorsement.expired"),
        (MAKER.gpu("HOPPER", validity=(AT + 1, AT + 2)), "endorsement.expired"),
        (OTHER.gpu("HOPPER"), "endorsement.anchor"),
        (MAKER.gpu("HOPPER", leaf_name="AD102 A01 GSP FMC LF"), "evidence.kind"),
        (MAKER.gpu("HOPPER", leaf_name="GSP"), "evidence.kind"),
    ],
    ids=["expired", "not yet valid", "another maker", "another chip", "no chip"],
)
def test_chains_that_do_not_count(gpu: SimulatedGpu, code: str) -> None:
    """Each with its code."""
    assert code_of(gpu.evidence(NONCE), [gpu.chain]) == code


@pytest.mark.spec("NV-12")
def test_a_leaf_on_another_curve_is_refused() -> None:
    """The profile names the curve, not the certificate."""
    gpu = MAKER.gpu("HOPPER", leaf_curve="P-256")
    report = replace(gpu.report(NONCE), signature=bytes(96))
    evidence = Evidence(REPORT_MEDIA_TYPE, report.to_bytes())
    assert code_of(evidence, [gpu.chain]) == "certificate.malformed"


@pytest.mark.spec("NV-11")
def test_chains_are_whole_and_in_order() -> None:
    """No certificate is missing, twice, or elsewhere; the intermediate cannot be a leaf's."""
    end = b"-----END CERTIFICATE-----\n"
    pems = [part + end for part in HOPPER.device.pem.split(end)[:-1]]
    evidence = HOPPER.evidence(NONCE)
    cases = {
        "no root": pems[:-1],
        "no intermediate": [pems[0], *pems[2:]],
        "reversed": pems[::-1],
        "one twice": [pems[0], pems[1], *pems[1:]],
    }
    for name, case in cases.items():
        chain = Endorsement(HOPPER.chain.media_type, b"".join(case))
        assert code_of(evidence, [chain]) in {"endorsement.anchor", "endorsement.signature"}, name


@pytest.mark.spec("NV-8", "NV-11")
def test_a_root_that_the_caller_gave_vouches_for_what_it_certified() -> None:
    """Only NVIDIA's own roots are known to be for one purpose; a caller gives the two he means."""
    gpu = MAKER.gpu("HOPPER", by_rim_root=True)
    assert verify(gpu.evidence(NONCE), [gpu.chain]).anchor == MAKER.anchors[1]
    assert code_of(gpu.evidence(NONCE), [gpu.chain], anchors=MAKER.anchors[:1]) == (
        "endorsement.anchor"
    )


@pytest.mark.spec("NV-13")
@pytest.mark.parametrize("architecture", ["HOPPER", "BLACKWELL"])
def test_firmware_of_leaf_and_report_is_the_same(architecture: str) -> None:
    """A leaf for other firmware than the report names is refused."""
    gpu = MAKER.gpu("HOPPER" if architecture == "HOPPER" else "BLACKWELL", leaf_fwid=b"x" * 48)
    assert code_of(gpu.evidence(NONCE), [gpu.chain]) == "evidence.parts"


@pytest.mark.spec("NV-40")
def test_debug_is_told_and_refused_by_default() -> None:
    """The flag of the leaf reaches the rules."""
    gpu = MAKER.gpu("BLACKWELL", debug=True)
    claims = verify(gpu.evidence(NONCE), MAKER.endorsements(gpu))
    assert claims.debug
    assert claims.vendor["dbgstat"] == "enabled"
    assert rules_broken(claims) == {"debug", "dbgstat", "dice_flags"}


@pytest.mark.spec("NV-27", "NV-40")
def test_measurements_that_differ_are_named() -> None:
    """By manifest and index; the default rules refuse."""
    gpu = MAKER.gpu("HOPPER", altered={3, 20})
    claims = verify(gpu.evidence(NONCE), MAKER.endorsements(gpu))
    assert claims.vendor["measres"] == "fail"
    assert claims.vendor["mismatched"] == ["driver:20", "vbios:3"]
    assert rules_broken(claims) == {"measres", "mismatched", "dbgstat"}


@pytest.mark.spec("NV-27", "NV-40")
def test_a_policy_can_allow_one_index_by_name_and_no_other() -> None:
    """The field bug of index 9, for which owners had to turn the whole comparison off."""
    rules = default_rules(FIELDS) | {
        "measres": OneOf(("success", "fail")),
        "mismatched": Within(("vbios:9",)),
        "dbgstat": Unchecked("index 9 of this VBIOS differs from its manifest"),
    }
    for altered, accepted in (({9}, True), ({9, 10}, False), (set(), True)):
        gpu = MAKER.gpu("HOPPER", altered=altered)
        claims = verify(gpu.evidence(NONCE), MAKER.endorsements(gpu))
        assert appraise_claims(claims, FIELDS, rules).accepted is accepted


@pytest.mark.spec("NV-27")
def test_the_first_decoder_counts_where_it_is_on() -> None:
    """Index 35 is compared exactly where something measures it."""
    off = MAKER.gpu("HOPPER", altered={35})
    on = MAKER.gpu("HOPPER", altered={35}, nvdec0=True)
    content = MAKER.rim_content(off, "driver")
    assert mismatches(content, off.report(NONCE)) == []
    assert mismatches(content, on.report(NONCE)) == [35]


@pytest.mark.spec("NV-27")
def test_a_block_that_is_not_there_differs() -> None:
    """Leaving out a measurement is no way to match."""
    report = HOPPER.report(NONCE)
    shorter = replace(report, blocks=report.blocks[:13])
    assert mismatches(MAKER.rim_content(HOPPER, "vbios"), shorter) == []
    assert mismatches(MAKER.rim_content(HOPPER, "driver"), shorter)[:2] == [13, 14]


@pytest.mark.spec("NV-40")
def test_what_is_not_given_is_unknown_and_refused_by_default() -> None:
    """Silence is a claim."""
    claims = verify(HOPPER.evidence(NONCE), [HOPPER.chain])
    assert claims.vendor["measres"] == claims.vendor["revocation"] == "unknown"
    assert rules_broken(claims) == {"measres", "revocation", "dbgstat"}
    for rim in MAKER.rims(HOPPER):
        claims = verify(HOPPER.evidence(NONCE), [HOPPER.chain, rim])
        assert claims.vendor["measres"] == "unknown"


@pytest.mark.spec("NV-25")
@pytest.mark.parametrize(
    ("rim", "code"),
    [
        (
            MAKER.rim(MAKER.rim_content(HOPPER, "driver"), validity=PAST),
            "endorsement.expired",
        ),
        (OTHER.rim(MAKER.rim_content(HOPPER, "driver")), "endorsement.anchor"),
        (
            MAKER.rim(MAKER.rim_content(HOPPER, "driver"), signer=HOPPER.device),
            "endorsement.signature",
        ),
    ],
    ids=["expired", "another maker", "a device"],
)
def test_manifests_that_do_not_count(rim: Endorsement, code: str) -> None:
    """Each with its code."""
    assert code_of(HOPPER.evidence(NONCE), [HOPPER.chain, rim]) == code


@pytest.mark.spec("NV-26")
def test_manifests_are_of_this_gpu() -> None:
    """Another chip's, another version's, two of one kind, and indexes in both are refused."""
    driver, vbios = (MAKER.rim_content(HOPPER, kind) for kind in ("driver", "vbios"))
    older = replace(driver, version="535.86.09")
    overlapping = replace(vbios, resources=driver.resources)
    for wrong in (
        [MAKER.rim_content(BLACKWELL, "driver")],
        [older],
        [driver, driver],
        [driver, replace(driver, tag_id="another")],
        [driver, overlapping],
    ):
        endorsements = [HOPPER.chain, *(MAKER.rim(content) for content in wrong)]
        assert code_of(HOPPER.evidence(NONCE), endorsements) == "endorsement.mismatch"


@pytest.mark.spec("NV-28")
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_revoked_certificate_is_refused(depth: int) -> None:
    """Each certificate of the path but leaf and root, by lists and by responses."""
    certificate = HOPPER.device.path[depth]
    lists = MAKER.revocation_lists(HOPPER, revoked=[certificate])
    assert code_of(HOPPER.evidence(NONCE), [HOPPER.chain, *lists]) == "endorsement.revoked"
    responses = MAKER.ocsp_responses(HOPPER, status=OCSPCertStatus.REVOKED)
    one = responses[depth - 1]
    assert code_of(HOPPER.evidence(NONCE), [HOPPER.chain, one]) == "endorsement.revoked"


@pytest.mark.spec("NV-28")
def test_a_revoked_signer_of_manifests_is_refused() -> None:
    """Signers have lists too."""
    rims = MAKER.rims(HOPPER)
    signer = MAKER.signer(MAKER.validity).path[0]
    lists = MAKER.revocation_lists(HOPPER, revoked=[signer])
    endorsements = [HOPPER.chain, *rims, *lists]
    assert code_of(HOPPER.evidence(NONCE), endorsements) == "endorsement.revoked"


@pytest.mark.spec("NV-28")
def test_revocation_by_responses() -> None:
    """Responses alone vouch for everything; one that is missing or unknown leaves it unknown."""
    base = [HOPPER.chain, *MAKER.rims(HOPPER)]
    responses = MAKER.ocsp_responses(HOPPER)
    claims = verify(HOPPER.evidence(NONCE), base + responses)
    assert claims.vendor["revocation"] == "good"
    for left_out in range(len(responses)):
        some = responses[:left_out] + responses[left_out + 1 :]
        claims = verify(HOPPER.evidence(NONCE), base + some)
        assert claims.vendor["revocation"] == "unknown"
    unknown = MAKER.ocsp_responses(HOPPER, status=OCSPCertStatus.UNKNOWN)
    assert verify(HOPPER.evidence(NONCE), base + unknown).vendor["revocation"] == "unknown"


@pytest.mark.spec("NV-28")
def test_old_and_foreign_revocation_does_not_count() -> None:
    """Too old, or from later, leaves it undecided; forged is refused; others' says nothing."""
    base = [HOPPER.chain]
    for window in (PAST, (AT + 1, AT + 2)):
        lists = MAKER.revocation_lists(HOPPER, validity=window)
        assert code_of(HOPPER.evidence(NONCE), base + lists) == "endorsement.stale"
        responses = MAKER.ocsp_responses(HOPPER, validity=window)
        assert code_of(HOPPER.evidence(NONCE), base + responses) == "endorsement.stale"
    forger = Authority.root("Device Identity CA", "forger", validity=MAKER.validity)
    forged = Endorsement(
        "application/pkix-crl", forger.revocation_list((), validity=MAKER.validity)
    )
    assert code_of(HOPPER.evidence(NONCE), [*base, forged]) == "endorsement.signature"
    blackwell = MAKER.revocation_lists(BLACKWELL)[3:4]
    assert verify(HOPPER.evidence(NONCE), base + blackwell).vendor["revocation"] == "unknown"


@pytest.mark.spec("NV-6", "NV-15", "NV-40")
def test_several_gpus_at_once() -> None:
    """One nonce, several devices, their manifests shared."""
    gpus = [MAKER.gpu("HOPPER", number=n) for n in range(3)]
    claims = verify(evidence_list(gpus, NONCE), MAKER.endorsements(*gpus))
    assert claims == verify(packed_evidence(gpus, NONCE), MAKER.endorsements(*gpus))
    assert appraise(claims).accepted
    assert claims.vendor["gpus"] == 3
    assert len(claims.vendor["ueid"]) == 3
    assert (claims.hardware_id, claims.measurement) == (b"", HOPPER.fwid)
    mixed = verify(evidence_list(GPUS, NONCE), MAKER.endorsements(*GPUS))
    assert appraise(mixed).accepted
    assert mixed.measurement == b""
    assert mixed.vendor["arch"] == ["BLACKWELL", "HOPPER"]


@pytest.mark.spec("NV-40")
def test_one_bad_gpu_among_several_decides() -> None:
    """Differences and missing manifests of one are those of all."""
    bad = MAKER.gpu("HOPPER", number=2, altered={20})
    claims = verify(evidence_list([HOPPER, bad], NONCE), MAKER.endorsements(HOPPER, bad))
    assert claims.vendor["measres"] == "fail"
    claims = verify(evidence_list(GPUS, NONCE), MAKER.rims(HOPPER))
    assert claims.vendor["measres"] == "unknown"


@pytest.mark.spec("NV-14", "NV-15")
def test_parts_of_a_list_belong_together() -> None:
    """One device twice, two nonces, two makers, an architecture that is not the chip's."""
    second = MAKER.gpu("HOPPER", number=2)
    one, two = (
        DeviceEvidence(gpu.architecture, gpu.device.pem, gpu.report(NONCE))
        for gpu in (HOPPER, second)
    )
    late = replace(two, report=second.report(bytes(32)))
    again = replace(one, report=HOPPER.report(NONCE))
    foreign = OTHER.gpu("HOPPER")
    other = DeviceEvidence("HOPPER", foreign.device.pem, foreign.report(NONCE))
    for devices in ((one, again), (one, late), (one, other), (replace(one, arch="BLACKWELL"),)):
        evidence = Evidence(LIST_MEDIA_TYPE, devices_to_json(devices))
        anchors = [*MAKER.anchors, *OTHER.anchors]
        assert code_of(evidence, (), anchors=anchors) == "evidence.parts"


@pytest.mark.spec("NV-9")
def test_eight_gpus_fit_into_an_envelope() -> None:
    """As many as a machine has, where they are packed."""
    gpus = [MAKER.gpu("HOPPER", number=n) for n in range(8)]
    evidence = packed_evidence(gpus, NONCE)
    assert Evidence.from_bytes(evidence.to_bytes()) == evidence
    assert verify(evidence, MAKER.rims(HOPPER)).vendor["gpus"] == 8


@pytest.mark.spec("NV-15")
def test_one_chip_with_two_firmwares_is_one_chip() -> None:
    """A GPU that was started twice has two leaves and two reports, and is still one."""
    first, again = HOPPER, MAKER.gpu("HOPPER", boot=2)
    assert first.device.path[0].public_key != again.device.path[0].public_key
    assert first.device.path[1].der == again.device.path[1].der
    assert code_of(evidence_list([first, again], NONCE), ()) == "evidence.parts"


@pytest.mark.spec("NV-4")
def test_versions_that_are_none_are_malformed() -> None:
    """Signed nonsense is nonsense."""
    for evidence in (
        changed(HOPPER, driver_version=b"x"),
        changed(HOPPER, vbios_version=b"x"),
        changed(HOPPER, nvdec0_status=b"x"),
    ):
        endorsements = MAKER.endorsements(HOPPER)
        assert code_of(evidence, endorsements) in {"evidence.malformed", "endorsement.mismatch"}


def test_evidence_is_the_same_for_the_same_seed() -> None:
    """Vectors can be made again."""
    again = SimulatedNvidia("verifier", at=AT)
    assert again.anchors == MAKER.anchors
    assert again.gpu("HOPPER").evidence(NONCE) == HOPPER.evidence(NONCE)
    assert again.endorsements(again.gpu("HOPPER")) == MAKER.endorsements(HOPPER)
    assert GpuReport.from_bytes(HOPPER.evidence(NONCE).body) == HOPPER.report(NONCE)
