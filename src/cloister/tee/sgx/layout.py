"""SGX evidence: the bytes of a quote as `tee.intel.layout` has them, with an enclave's report."""

from __future__ import annotations

from typing import Final

from cloister.errors import EvidenceError
from cloister.tee.intel.layout import SGX_BODY, EnclaveReport, Quote

__all__ = ["DEBUG", "MEDIA_TYPE", "read_quote"]

MEDIA_TYPE: Final = "application/vnd.cloister.sgx"
# Bit 1 of the attributes' first byte (Intel SDM volume 3D, table 36-3).
DEBUG: Final = 0x02


def read_quote(data: bytes) -> tuple[Quote, EnclaveReport]:
    """Read an enclave's quote from untrusted bytes.

    Raises:
        MalformedError: They are no quote.
        EvidenceError: A TD's quote (`evidence.kind`).
    """
    quote = Quote.from_bytes(data)
    if quote.body_type != SGX_BODY:
        raise EvidenceError("not an enclave's quote", code="evidence.kind")
    return quote, EnclaveReport.from_bytes(quote.body)
