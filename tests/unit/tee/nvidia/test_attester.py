"""Reports of simulated GPUs through a fake of NVIDIA's library: collected, and accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.attestation.evidence import MAX_EVIDENCE_BYTES, ReportData
from cloister.attestation.evidence_rules import OneOf
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.errors import CloisterError
from cloister.tee.composite import (
    CompositeEvidence,
    PartVerifier,
    accelerator_nonce,
    composite_report_data,
    verify_composite,
)
from cloister.tee.nvidia.attester import NvidiaAttester
from cloister.tee.nvidia.fields import FIELDS
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.testing.nvml import FakeNvml

AT = 1_800_000_000
NONCE = bytes(range(32))
MAKER = SimulatedNvidia("attester", at=AT)


def plug(fake: FakeNvml, count: int, nonce: bytes = NONCE) -> list[object]:
    """Put GPUs into the machine, whose reports are over a nonce; returns their endorsements."""
    gpus = [MAKER.gpu("HOPPER", number=number + 1) for number in range(count)]
    fake.put("count0", count)
    for number, gpu in enumerate(gpus):
        fake.put(f"report{number}", gpu.report(nonce).to_bytes())
        fake.put(f"certificates{number}", gpu.chain.body)
    given = MAKER.endorsements(*gpus)
    return [each for each in given if each.media_type != "application/pem-certificate-chain"]


@pytest.mark.spec("NV-50", "NV-51")
@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_gpus_of_a_machine_are_one_piece_of_evidence(nvml: FakeNvml, count: int) -> None:
    """Which brings its certificates, and is accepted under the maker's roots."""
    given = plug(nvml, count)
    evidence = NvidiaAttester(nvml.library).collect(NONCE)
    assert nvml.written("nonces") == NONCE * count
    claims = NvidiaVerifier(MAKER.anchors).verify(evidence, given, at=AT)
    rules = default_rules(FIELDS) | {"report_data": OneOf((NONCE,))}
    verdict = appraise_claims(claims, FIELDS, rules)
    assert verdict.accepted, verdict.reasons
    assert claims.vendor["gpus"] == count


@pytest.mark.spec("NV-50")
def test_a_report_over_another_nonce_is_not_given_out(nvml: FakeNvml) -> None:
    """It is somebody else's, or an old one."""
    plug(nvml, 1, nonce=NONCE[::-1])
    with pytest.raises(CloisterError) as e:
        NvidiaAttester(nvml.library).collect(NONCE)
    assert e.value.code == "attester.failed"


@pytest.mark.spec("NV-50")
@pytest.mark.parametrize("name", ["report0", "certificates0"])
def test_what_cannot_be_read_is_of_a_kind_that_is_not_known(nvml: FakeNvml, name: str) -> None:
    """Newer reports, or no certificates."""
    plug(nvml, 1)
    nvml.put(name, b"something else")
    with pytest.raises(CloisterError) as e:
        NvidiaAttester(nvml.library).collect(NONCE)
    assert e.value.code == "machine.attester"


@pytest.mark.spec("NV-52")
def test_more_gpus_than_evidence_has_room_for(nvml: FakeNvml) -> None:
    """Are refused: none is left out."""
    plug(nvml, 16)
    with pytest.raises(CloisterError) as e:
        NvidiaAttester(nvml.library).collect(NONCE)
    assert e.value.code == "machine.attester"
    nvml.put("count0", 17)
    with pytest.raises(CloisterError):
        NvidiaAttester(nvml.library).collect(NONCE)
    plug(nvml, 10)
    body = NvidiaAttester(nvml.library).collect(NONCE).body
    assert len(body) <= MAX_EVIDENCE_BYTES


@pytest.mark.spec("NV-50")
def test_gpus_that_do_not_attest_say_so(nvml: FakeNvml, tmp_path: Path) -> None:
    """Confidential computing off, another architecture, no library."""
    plug(nvml, 1)
    for name, value in (("feature0", 0), ("architecture0", 8)):
        nvml.put(name, value)
        with pytest.raises(CloisterError) as e:
            NvidiaAttester(nvml.library).collect(NONCE)
        assert e.value.code == "machine.attester"
        (nvml.folder / name).unlink()
    with pytest.raises(CloisterError) as absent:
        NvidiaAttester(tmp_path / "none.so").collect(NONCE)
    assert absent.value.code == "machine.attester"


def test_a_nonce_has_32_bytes() -> None:
    """Nothing is cut or padded."""
    for length in (0, 31, 33, 64):
        with pytest.raises(CloisterError) as e:
            NvidiaAttester(Path("none")).collect(bytes(length))
        assert e.value.code == "caller.misuse"


def test_a_processor_beside_them_names_them_and_they_name_its_request(nvml: FakeNvml) -> None:
    """Both directions, in the order in which an attester does it."""
    nonce, request = bytes(32), ReportData(bytes(range(64)))
    given = plug(nvml, 1, nonce=accelerator_nonce(nonce, request))
    gpu = NvidiaAttester(nvml.library).collect(accelerator_nonce(nonce, request))
    intel = SimulatedIntel(b"composite", at=AT)
    bound = composite_report_data(request, gpu)
    minted = intel.mint(IntelCase("tdx4", report_data=bound.value))
    claims = verify_composite(
        CompositeEvidence(minted.evidence, gpu),
        {
            "cpu": PartVerifier(TdxVerifier([intel.anchor]), minted.endorsements),
            "gpu": PartVerifier(NvidiaVerifier(MAKER.anchors), given),
        },
        nonce=nonce,
        request=request,
        at=AT,
    )
    assert claims.gpu.vendor["gpus"] == 1
