"""Reports of this guest, with the host's certificates, from a kernel that stands for it."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

import pytest

from cloister.attestation.evidence import ReportData
from cloister.errors import CloisterError
from cloister.tee.snp.attester import SnpAttester
from cloister.tee.snp.verifier import SnpVerifier
from cloister.tee.tsm import TsmInterface
from cloister.testing.kernel import FakeTsm
from cloister.testing.manufacturers.amd import SimulatedAmd

ROOT = Path("/tsm/report")
NOW = 1_800_000_000
AMD = SimulatedAmd(b"seed", "Milan", now=NOW)
CHIP = AMD.chip()
DATA = ReportData(bytes(range(64)))
VCEK = uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd")


def attester(files: FakeTsm) -> SnpAttester:
    """Reach a kernel."""
    return SnpAttester(TsmInterface(root=ROOT, files=files), vmpl=0)


def report(data: bytes) -> bytes:
    """Have the simulated chip report."""
    return CHIP.report(version=3, report_data=data)


def table(leaf: bytes) -> bytes:
    """Write the host's table with one certificate."""
    entry = struct.pack("<16sII", VCEK.bytes_le, 48, len(leaf))
    return entry + bytes(24) + leaf


def test_what_is_collected_verifies() -> None:
    """With the certificate that the host put beside it."""
    leaf = AMD.endorsements(CHIP)[0].body
    files = FakeTsm(ROOT, "sev_guest", make=report, auxblob=table(leaf))
    collected = attester(files).collect_all(DATA)
    assert [each.body for each in collected.endorsements] == [leaf]
    given = [*collected.endorsements, *AMD.endorsements(CHIP)[1:]]
    claims = SnpVerifier([AMD.anchor]).verify(collected.evidence, given, at=NOW)
    assert claims.report_data == DATA.value
    assert attester(files).collect(DATA) == collected.evidence


def test_a_host_without_certificates_gives_none() -> None:
    """They are asked for elsewhere then."""
    files = FakeTsm(ROOT, "sev_guest", make=report)
    assert attester(files).collect_all(DATA).endorsements == ()


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (FakeTsm(ROOT, "tdx_guest", make=report), "machine.attester"),
        (FakeTsm(ROOT, "sev_guest", make=lambda _: b"new"), "machine.attester"),
        (FakeTsm(ROOT, "sev_guest", make=lambda _: report(bytes(64))), "attester.failed"),
        (FakeTsm(ROOT, "sev_guest", make=report, options=frozenset()), "machine.attester"),
        (FakeTsm(ROOT, "sev_guest", make=report, auxblob=b"x" * 30), "endorsement.malformed"),
    ],
)
def test_other_evidence_is_refused(files: FakeTsm, code: str) -> None:
    """Another provider's, of a newer kind, over other bytes, or beside a table that is none."""
    with pytest.raises(CloisterError) as e:
        attester(files).collect_all(DATA)
    assert e.value.code == code
