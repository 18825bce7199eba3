"""Quotes of this trust domain, from a kernel that behaves and from others."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.attestation.evidence import ReportData
from cloister.errors import CloisterError
from cloister.tee.tdx.attester import TdxAttester
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.tee.tsm import TsmInterface
from cloister.testing.kernel import FakeTsm
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

ROOT = Path("/tsm/report")
NOW = 1_800_000_000
INTEL = SimulatedIntel(b"seed", at=NOW)
DATA = ReportData(bytes(range(64)))


def attester(files: FakeTsm) -> TdxAttester:
    """Reach a kernel."""
    return TdxAttester(TsmInterface(root=ROOT, files=files))


def quote(data: bytes) -> bytes:
    """Have the simulated manufacturer's platform quote."""
    return INTEL.mint(IntelCase("tdx5", report_data=data)).quote


def test_what_is_collected_verifies() -> None:
    """From the kernel's files to claims."""
    evidence = attester(FakeTsm(ROOT, "tdx_guest", make=quote)).collect(DATA)
    given = INTEL.mint(IntelCase("tdx5")).endorsements
    claims = TdxVerifier([INTEL.anchor]).verify(evidence, given, at=NOW)
    assert claims.report_data == DATA.value


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (FakeTsm(ROOT, "sev_guest", make=quote), "machine.attester"),
        (FakeTsm(ROOT, "tdx_guest", make=lambda _: b"\xd2\x84CWT"), "machine.attester"),
        (FakeTsm(ROOT, "tdx_guest", make=lambda _: quote(bytes(64))), "attester.failed"),
    ],
)
def test_other_evidence_is_refused(files: FakeTsm, code: str) -> None:
    """Another provider's, of a newer kind, or over other bytes."""
    with pytest.raises(CloisterError) as e:
        attester(files).collect(DATA)
    assert e.value.code == code
