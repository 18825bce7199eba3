"""Quotes of this enclave, from files that stand for Gramine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.attestation.evidence import ReportData
from cloister.errors import CloisterError, UnavailableError
from cloister.tee.sgx.attester import SgxAttester
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

ROOT = Path("/dev/attestation")
NOW = 1_800_000_000
INTEL = SimulatedIntel(b"seed", at=NOW)
DATA = ReportData(bytes(range(64)))


class Enclave:
    """Gramine's files in an enclave of the simulated manufacturer's platform."""

    def __init__(self, *, fixed: bytes | None = None) -> None:
        self.data = fixed
        self.fixed = fixed is not None

    def make_directory(self, path: Path) -> None:
        """Not here."""
        raise PermissionError(str(path))

    remove_directory = make_directory

    def read(self, path: Path, *, max_bytes: int) -> bytes:
        """Answer a file."""
        if path.name == "attestation_type":
            return b"dcap"
        quote = INTEL.mint(IntelCase("sgx3", report_data=self.data or bytes(64))).quote
        assert len(quote) <= max_bytes
        return quote

    def write(self, path: Path, data: bytes) -> None:
        """Take the report data."""
        assert path == ROOT / "user_report_data"
        if not self.fixed:
            self.data = data


def test_what_is_collected_verifies() -> None:
    """From the library OS's files to claims."""
    evidence = SgxAttester(root=ROOT, files=Enclave()).collect(DATA)
    given = INTEL.mint(IntelCase("sgx3")).endorsements
    claims = SgxVerifier([INTEL.anchor]).verify(evidence, given, at=NOW)
    assert claims.report_data == DATA.value


def test_a_quote_over_other_bytes_is_refused() -> None:
    """Whoever wrote them."""
    with pytest.raises(UnavailableError) as e:
        SgxAttester(root=ROOT, files=Enclave(fixed=b"x" * 64)).collect(DATA)
    assert e.value.code == "attester.failed"


def test_outside_an_enclave_there_is_none(tmp_path: Path) -> None:
    """The kernel's own files are asked, and are not there."""
    with pytest.raises(CloisterError) as e:
        SgxAttester(root=tmp_path).collect(DATA)
    assert e.value.code == "machine.attester"
