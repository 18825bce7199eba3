"""Have the TDX module quote this trust domain, through Linux's configfs-tsm."""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence import Evidence, ReportData
from cloister.errors import CloisterError, UnavailableError, UnsupportedError
from cloister.tee.tdx.layout import MEDIA_TYPE, read_quote
from cloister.tee.tsm import TsmInterface

__all__ = ["TdxAttester"]

_PROVIDER: Final = "tdx_guest"


class TdxAttester:
    """Collects quotes of the trust domain that this code runs in."""

    def __init__(self, interface: TsmInterface) -> None:
        """Take the kernel's interface."""
        self._interface: Final = interface

    def collect(self, report_data: ReportData) -> Evidence:
        """Return a quote over these 64 bytes.

        Raises:
            UnsupportedError: No TDX here, or quotes of a newer kind (`machine.attester`).
            UnavailableError: Busy, or no quote over these bytes was made (`attester.busy`,
                `attester.failed`).
        """
        report = self._interface.collect(report_data, provider=_PROVIDER)
        try:
            _, quoted = read_quote(report.outblob)
        except CloisterError as e:
            raise UnsupportedError(
                "this platform's quotes are of a kind that is not known here",
                code="machine.attester",
                detail=e.public,
            ) from e
        if quoted.report_data != report_data.value:
            raise UnavailableError("the quote is over other bytes", code="attester.failed")
        return Evidence(MEDIA_TYPE, report.outblob)
