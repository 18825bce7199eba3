"""Have the quoting enclave quote this one, through Gramine's `/dev/attestation`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cloister.attestation.evidence import Evidence, ReportData
from cloister.errors import UnavailableError
from cloister.tee.gramine import GRAMINE_ROOT, gramine_quote
from cloister.tee.intel.layout import EnclaveReport, Quote
from cloister.tee.kernel import KernelFiles
from cloister.tee.sgx.layout import MEDIA_TYPE

__all__ = ["SgxAttester"]


class SgxAttester:
    """Collects quotes of the enclave that this code runs in."""

    def __init__(self, *, root: Path = GRAMINE_ROOT, files: KernelFiles | None = None) -> None:
        """Name the place; nothing is touched yet.

        Args:
            root: Where Gramine has its files.
            files: Who answers; None for the library OS.
        """
        self._root: Final = root
        self._files: Final = files

    def collect(self, report_data: ReportData) -> Evidence:
        """Return a quote over these 64 bytes.

        Raises:
            UnsupportedError: No enclave, or one without DCAP (`machine.attester`).
            UnavailableError: No quote over these bytes was made (`attester.busy`,
                `attester.failed`).
            MalformedError: What came is no quote.
        """
        quote = gramine_quote(report_data, root=self._root, files=self._files)
        body = EnclaveReport.from_bytes(Quote.from_bytes(quote).body)
        if body.report_data != report_data.value:
            raise UnavailableError("the quote is over other bytes", code="attester.failed")
        return Evidence(MEDIA_TYPE, quote)
