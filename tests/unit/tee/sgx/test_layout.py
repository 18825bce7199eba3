"""Which quotes are enclaves'."""

import pytest

from cloister.errors import EvidenceError, MalformedError
from cloister.tee.sgx.layout import read_quote
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

INTEL = SimulatedIntel(b"sgx", at=1767225600)


def test_an_enclaves_quote_is_read() -> None:
    """With its report."""
    quote, report = read_quote(INTEL.mint(IntelCase("sgx3", measurement=b"m" * 32)).quote)
    assert quote.header.version == 3
    assert report.mr_enclave == b"m" * 32


@pytest.mark.spec("INTEL-1")
def test_a_tds_quote_is_another_kind() -> None:
    """And other bytes are none."""
    with pytest.raises(EvidenceError) as e:
        read_quote(INTEL.mint(IntelCase("tdx4")).quote)
    assert e.value.code == "evidence.kind"
    with pytest.raises(MalformedError):
        read_quote(b"x" * 600)
