"""The shared procedure: from when to when a result holds."""

from __future__ import annotations

import pytest

from cloister.errors import CloisterError
from cloister.tee.intel.layout import TEE_SGX, Quote
from cloister.tee.intel.procedure import Tee, Vouched, vouch
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

AT = 1767225600
INTEL = SimulatedIntel(b"procedure", at=AT)
TEE = Tee(TEE_SGX, "SGX", "QE")


def _vouch(case: IntelCase, at: int) -> Vouched:
    minted = INTEL.mint(case)
    quote = Quote.from_bytes(minted.quote)
    return vouch(quote, minted.endorsements, TEE, anchors=(INTEL.anchor,), at=at)


@pytest.mark.parametrize(
    "what", ["ca", "pck", "signer", "pck_crl", "root_crl", "tcb_info", "qe_identity"]
)
@pytest.mark.spec("INTEL-16", "INTEL-21", "INTEL-35")
def test_the_window_is_the_one_in_which_everything_counts(what: str) -> None:
    """Whatever begins last and ends first decides, to the second."""
    case = IntelCase("sgx3", windows={what: (AT - 5, AT + 7)})
    for at in (AT - 5, AT, AT + 7):
        found = _vouch(case, at)
        assert (found.valid_from, found.valid_until) == (AT - 5, AT + 7)
    for at in (AT - 6, AT + 8):
        with pytest.raises(CloisterError) as e:
            _vouch(case, at)
        assert e.value.code in {"endorsement.stale", "endorsement.expired"}


@pytest.mark.spec("INTEL-31")
def test_what_is_vouched_for() -> None:
    """The platform, its authority and the older evaluation."""
    found = _vouch(IntelCase("sgx3"), AT)
    assert (found.authority, found.evaluation, found.qe_svn) == ("platform", 17, 8)
    assert found.platform.fmspc == found.tcb_info.fmspc
    case = IntelCase("sgx3", names={"ca": "Intel SGX PCK Processor CA"})
    assert _vouch(case, AT).authority == "processor"
