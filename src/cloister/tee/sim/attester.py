"""Have the simulated platform sign what the launcher's image was measured to be."""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence import Evidence, ReportData
from cloister.tee.sim.image import installed_image
from cloister.tee.sim.layout import MEDIA_TYPE, REPORT_LABEL, SignedReport, SimReport
from cloister.tee.sim.platform import SimPlatform

__all__ = ["SimAttester"]


class SimAttester:
    """Collects evidence about the Cloister installation that runs this very code.

    The image is measured once, when the attester is made.
    """

    def __init__(self, platform: SimPlatform, *, image: bytes | None = None) -> None:
        """Take what signs.

        Args:
            platform: It signs.
            image: What `installed_image` returned to this very run; None measures now.
        """
        self._platform = platform
        self.measurement: Final = installed_image() if image is None else image

    def collect(self, report_data: ReportData) -> Evidence:
        """Return evidence over these 64 bytes."""
        report = SimReport(
            anchor=self._platform.anchor.raw,
            measurement=self.measurement,
            report_data=report_data.value,
            debug=self._platform.debug,
            svn=self._platform.svn,
        ).to_bytes()
        signature = self._platform.sign(REPORT_LABEL, report)
        return Evidence(MEDIA_TYPE, SignedReport(report, signature).to_bytes())
