"""Which enclave may sign quotes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cloister.errors import EvidenceError, MalformedError
from cloister.tee.intel.layout import EnclaveReport, Quote
from cloister.tee.intel.qe_identity import read_qe_identity
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

MINTED = SimulatedIntel(b"identity", at=1767225600).mint(IntelCase("sgx3"))
TEXT = json.loads(MINTED.bundle["qe_identity"])
IDENTITY = read_qe_identity(MINTED.bundle["qe_identity"].encode())
REPORT = EnclaveReport.from_bytes(Quote.from_bytes(MINTED.quote).signature.qe_report)


@pytest.mark.spec("INTEL-26")
def test_an_identity_is_read() -> None:
    """Every member."""
    assert (IDENTITY.id, IDENTITY.isvprodid, IDENTITY.evaluation) == ("QE", 1, 17)
    assert [level.isvsvn for level in IDENTITY.levels] == [8, 5]
    IDENTITY.require_is(REPORT)


@pytest.mark.parametrize("name", sorted(TEXT))
@pytest.mark.spec("INTEL-20", "INTEL-26")
def test_a_missing_member_is_malformed(name: str) -> None:
    """Each of them."""
    text = json.dumps({k: v for k, v in TEXT.items() if k != name}).encode()
    with pytest.raises(MalformedError) as e:
        read_qe_identity(text)
    assert e.value.code == "endorsement.malformed"


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, mr_signer=bytes(32)),
        replace(REPORT, isv_prod_id=2),
        replace(REPORT, misc_select=1),
        replace(REPORT, misc_select=1 << 31),
        replace(REPORT, attributes=bytes([0x13]) + bytes(15)),
        replace(REPORT, attributes=bytes([0x01]) + bytes(15)),
    ],
    ids=["signer", "product", "misc low", "misc high", "debug", "no provisioning"],
)
@pytest.mark.spec("INTEL-33")
def test_another_enclave_is_refused(report: EnclaveReport) -> None:
    """Each thing that tells it apart."""
    with pytest.raises(EvidenceError) as e:
        IDENTITY.require_is(report)
    assert e.value.code == "evidence.parts"


@pytest.mark.spec("INTEL-33")
def test_miscselect_is_compared_with_its_lowest_byte_first() -> None:
    """The statement writes bytes, the report holds a number."""
    text = json.dumps(TEXT | {"miscselect": "01000000"}).encode()
    read_qe_identity(text).require_is(replace(REPORT, misc_select=1))
