"""Have the secure processor report on this guest, through Linux's configfs-tsm."""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence import Collected, Evidence, ReportData
from cloister.errors import CloisterError, UnavailableError, UnsupportedError
from cloister.tee.snp.host_table import read_host_table
from cloister.tee.snp.layout import MEDIA_TYPE, REPORT_BYTES, Report
from cloister.tee.tsm import TsmInterface

__all__ = ["SnpAttester"]

_PROVIDER: Final = "sev_guest"


class SnpAttester:
    """Collects reports of the guest that this code runs in."""

    def __init__(self, interface: TsmInterface, *, vmpl: int) -> None:
        """Take the kernel's interface, and the privilege level to report (0 is the highest)."""
        self._interface: Final = interface
        self._options: Final = {"privlevel": str(vmpl)}

    def collect(self, report_data: ReportData) -> Evidence:
        """Return a report over these 64 bytes; raises as `collect_all` does."""
        return self.collect_all(report_data).evidence

    def collect_all(self, report_data: ReportData) -> Collected:
        """Return a report over these 64 bytes, with the host's certificates.

        Raises:
            UnsupportedError: No SEV-SNP here, or reports of a newer kind (`machine.attester`).
            UnavailableError: Busy, or no report over these bytes was made (`attester.busy`,
                `attester.failed`).
            MalformedError: The host's table of certificates cannot be read.
        """
        report = self._interface.collect(report_data, provider=_PROVIDER, options=self._options)
        body = report.outblob[:REPORT_BYTES]
        try:
            found = Report.from_bytes(body)
        except CloisterError as e:
            raise UnsupportedError(
                "this platform's reports are of a kind that is not known here",
                code="machine.attester",
                detail=e.public,
            ) from e
        if found.report_data != report_data.value:
            raise UnavailableError("the report is over other bytes", code="attester.failed")
        return Collected(Evidence(MEDIA_TYPE, body), tuple(read_host_table(report.auxblob)))
