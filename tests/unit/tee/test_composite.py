"""Processor and accelerator: both, for each other, for this request, or nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloister.attestation.evidence import Evidence, EvidenceVerifier, ReportData
from cloister.attestation.evidence_rules import Field, OneOf
from cloister.attestation.verdict import default_rules
from cloister.crypto.digest import framed, sha256
from cloister.errors import CloisterError, MalformedError
from cloister.tee.composite import (
    COMPOSITE_MEDIA_TYPE,
    CompositeClaims,
    CompositeEvidence,
    CompositeVerdict,
    PartVerifier,
    accelerator_nonce,
    appraise_composite,
    composite_report_data,
    verify_composite,
)
from cloister.tee.nvidia.fields import FIELDS
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.platform import SimPlatform
from cloister.tee.sim.verifier import SimVerifier
from cloister.testing.manufacturers.nvidia import SimulatedNvidia, evidence_list
from cloister.wire import encode

AT = 1_800_000_000
NONCE = bytes(range(32))
REQUEST = ReportData(b"r" * 64)
MAKER = SimulatedNvidia("composite", at=AT)
GPUS = [MAKER.gpu("HOPPER", number=n) for n in range(2)]
CPU_FIELDS = (
    Field("debug", "boolean", required=True, default=OneOf((False,)), about="whether it is debug"),
)


class Machine:
    """A machine with a simulated processor and two GPUs."""

    def __init__(self, folder: Path) -> None:
        self.platform = SimPlatform.create(folder, svn=1, debug=False)
        self._attester = SimAttester(self.platform, image=b"m" * 32)

    def cpu(self, report_data: ReportData) -> Evidence:
        return self._attester.collect(report_data)

    def composite(
        self, *, nonce: bytes = NONCE, request: ReportData = REQUEST
    ) -> CompositeEvidence:
        gpu = evidence_list(GPUS, accelerator_nonce(nonce, request))
        return CompositeEvidence(self.cpu(composite_report_data(request, gpu)), gpu)

    def verifiers(self) -> dict[str, PartVerifier]:
        cpu: EvidenceVerifier = SimVerifier((self.platform.anchor,))
        gpu: EvidenceVerifier = NvidiaVerifier(MAKER.anchors)
        return {"cpu": PartVerifier(cpu, ()), "gpu": PartVerifier(gpu, MAKER.endorsements(*GPUS))}

    def verify(self, evidence: CompositeEvidence, nonce: bytes = NONCE) -> CompositeClaims:
        return verify_composite(evidence, self.verifiers(), nonce=nonce, request=REQUEST, at=AT)

    def code_of(self, evidence: CompositeEvidence, nonce: bytes = NONCE) -> str:
        with pytest.raises(CloisterError) as caught:
            self.verify(evidence, nonce)
        return caught.value.code


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine."""
    return Machine(tmp_path / "platform")


@pytest.mark.spec("CE-2", "CE-10", "CE-15")
def test_both_parts_for_each_other_are_accepted(machine: Machine) -> None:
    """The result names its parts."""
    evidence = CompositeEvidence.from_evidence(machine.composite().to_evidence())
    claims = machine.verify(evidence)
    assert (claims.cpu.root_of_trust, claims.gpu.root_of_trust) == ("sim", "nvidia")
    assert not claims.hardware_rooted
    verdict = appraise_composite(
        claims,
        {
            "cpu": (CPU_FIELDS, default_rules(CPU_FIELDS)),
            "gpu": (FIELDS, default_rules(FIELDS)),
        },
    )
    assert verdict.accepted
    assert verdict.as_record()["verdict"] == "accept"


@pytest.mark.spec("CE-15")
def test_one_part_that_is_refused_refuses_all(machine: Machine) -> None:
    """Each part's rules are its own; a part without rules or without a verdict is no part."""
    claims = machine.verify(machine.composite())
    cpu = (CPU_FIELDS, {"debug": OneOf((True,))})
    gpu = (FIELDS, default_rules(FIELDS))
    verdict = appraise_composite(claims, {"cpu": cpu, "gpu": gpu})
    assert not verdict.accepted
    assert verdict.parts["gpu"].accepted
    assert verdict.as_record()["verdict"] == "reject"
    assert not CompositeVerdict({"gpu": verdict.parts["gpu"]}).accepted
    for rules in ({"gpu": gpu}, {}, {"cpu": cpu, "gpu": gpu, "tpm": gpu}):
        with pytest.raises(MalformedError) as caught:
            appraise_composite(claims, rules)
        assert caught.value.code == "policy.invalid"


@pytest.mark.spec("CE-15")
def test_hardware_takes_both(machine: Machine) -> None:
    """One simulated part makes the whole simulated."""
    claims = machine.verify(machine.composite())
    cpu, gpu = (replace(each, hardware_rooted=True) for each in (claims.cpu, claims.gpu))
    assert CompositeClaims(cpu, gpu).hardware_rooted
    assert not CompositeClaims(cpu, claims.gpu).hardware_rooted
    assert not CompositeClaims(claims.cpu, gpu).hardware_rooted


@pytest.mark.spec("CE-10")
@pytest.mark.parametrize("missing", ["cpu", "gpu"])
def test_half_a_composite_is_refused(machine: Machine, missing: str) -> None:
    """Either half alone is no evidence of a machine with an accelerator."""
    whole = machine.composite()
    parts = {
        name: {"media_type": part.media_type, "body": part.body}
        for name, part in (("cpu", whole.cpu), ("gpu", whole.gpu))
        if name != missing
    }
    half = Evidence(COMPOSITE_MEDIA_TYPE, encode({"version": 1, **parts}))
    with pytest.raises(CloisterError) as caught:
        CompositeEvidence.from_evidence(half)
    assert caught.value.code == "evidence.parts"


@pytest.mark.spec("CE-2", "CE-10")
def test_other_forms_are_refused(machine: Machine) -> None:
    """Another kind, another version, one field more."""
    good = machine.composite()
    with pytest.raises(CloisterError) as caught:
        CompositeEvidence.from_evidence(good.cpu)
    assert caught.value.code == "evidence.kind"
    part = {"media_type": "a/b", "body": b""}
    for content in (
        {"version": 2, "cpu": part, "gpu": part},
        {"version": 1, "cpu": part, "gpu": part, "tpm": part},
        {"version": 1, "cpu": part, "gpu": b""},
        {"version": 1, "cpu": part, "gpu": part | {"more": 1}},
        {"version": 1, "cpu": part, "gpu": part | {"media_type": "x" * 128}},
        {"version": 1, "cpu": part, "gpu": part | {"body": bytes(262145)}},
    ):
        with pytest.raises(MalformedError) as malformed:
            CompositeEvidence.from_evidence(Evidence(COMPOSITE_MEDIA_TYPE, encode(content)))
        assert malformed.value.code == "message.malformed"


@pytest.mark.spec("CE-11")
def test_both_parts_are_judged(machine: Machine) -> None:
    """No part without a verifier; a part that is not genuine refuses with its own code."""
    good = machine.composite()
    for names in (["cpu"], ["gpu"], []):
        some = {name: machine.verifiers()[name] for name in names}
        with pytest.raises(CloisterError) as caught:
            verify_composite(good, some, nonce=NONCE, request=REQUEST, at=AT)
        assert caught.value.code == "evidence.parts"
    forged = replace(good.cpu, body=good.cpu.body[:-1] + bytes([good.cpu.body[-1] ^ 1]))
    assert machine.code_of(replace(good, cpu=forged)) == "evidence.signature"
    assert machine.code_of(replace(good, gpu=good.cpu)) == "evidence.kind"
    assert machine.code_of(replace(good, cpu=good.gpu)) == "evidence.kind"


@pytest.mark.spec("CE-12")
def test_one_kind_twice_is_refused(machine: Machine) -> None:
    """Two processors are no processor and accelerator."""
    verifiers = machine.verifiers()
    both = {"cpu": verifiers["cpu"], "gpu": verifiers["cpu"]}
    gpu = machine.cpu(REQUEST)
    evidence = CompositeEvidence(machine.cpu(composite_report_data(REQUEST, gpu)), gpu)
    with pytest.raises(CloisterError) as caught:
        verify_composite(evidence, both, nonce=NONCE, request=REQUEST, at=AT)
    assert caught.value.code == "evidence.parts"


@pytest.mark.spec("CE-4", "CE-13")
def test_the_gpu_of_another_machine_is_refused(machine: Machine) -> None:
    """The processor signed the digest of its own GPUs' evidence."""
    good = machine.composite()
    elsewhere = evidence_list([MAKER.gpu("HOPPER", number=9)], accelerator_nonce(NONCE, REQUEST))
    assert machine.code_of(replace(good, gpu=elsewhere)) == "evidence.binding"


@pytest.mark.spec("CE-13")
def test_a_processor_that_bound_the_request_only_is_refused(machine: Machine) -> None:
    """Evidence for a machine without accelerator does not vouch for one."""
    good = machine.composite()
    assert machine.code_of(replace(good, cpu=machine.cpu(REQUEST))) == "evidence.binding"


@pytest.mark.spec("CE-13")
def test_another_request_is_refused(machine: Machine) -> None:
    """The keys of somebody else are not vouched for."""
    other = machine.composite(request=ReportData(b"o" * 64))
    assert machine.code_of(other) == "evidence.binding"


@pytest.mark.spec("CE-3", "CE-14")
def test_an_old_gpu_report_is_refused(machine: Machine) -> None:
    """Also where a processor signs its digest: the nonce is the verifier's."""
    stale = evidence_list(GPUS, accelerator_nonce(bytes(32), REQUEST))
    cpu = machine.cpu(composite_report_data(REQUEST, stale))
    assert machine.code_of(CompositeEvidence(cpu, stale)) == "evidence.binding"
    plain = evidence_list(GPUS, NONCE)
    cpu = machine.cpu(composite_report_data(REQUEST, plain))
    assert machine.code_of(CompositeEvidence(cpu, plain)) == "evidence.binding"
    assert machine.code_of(machine.composite(), nonce=bytes(32)) == "evidence.binding"


@pytest.mark.spec("CE-3", "CE-4")
def test_derivations_are_those_of_the_page() -> None:
    """Labels and order, once more by hand."""
    label = b"cloister/composite-evidence/v1/accelerator-nonce"
    assert accelerator_nonce(NONCE, REQUEST) == sha256(framed(label, NONCE, REQUEST.value))
    with pytest.raises(MalformedError):
        accelerator_nonce(bytes(31), REQUEST)
    one, two = Evidence("a/b", b"c"), Evidence("a/bc", b"")
    assert composite_report_data(REQUEST, one) != composite_report_data(REQUEST, two)
