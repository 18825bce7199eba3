"""Put together what an Azure confidential VM has: report, vTPM's quote, and for TDX a TD quote.

Azure's firmware had the processor report on the vTPM's key at boot, and left the report in the
vTPM. The guest can ask for it anew with 64 bytes of its own in it; what is fresh in any case is the
quote over the nonce.

Spec: azure-evidence-v1, clauses AZ-10 to AZ-14.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cloister.attestation.evidence import REPORT_DATA_BYTES, Evidence, ReportData
from cloister.crypto.digest import sha256
from cloister.errors import (
    CallerError,
    CloisterError,
    ConfigError,
    UnavailableError,
    UnsupportedError,
)
from cloister.tee.azure.layout import (
    SNP_TYPE,
    TDX_TYPE,
    AzureEvidence,
    HclReport,
    Platform,
    RuntimeData,
)
from cloister.tee.azure.metadata import TD_REPORT_BYTES, MetadataService
from cloister.tee.snp.layout import Report
from cloister.tee.tdx.layout import read_quote
from cloister.tee.tpm.attester import quote_registers
from cloister.tee.tpm.commands import Tpm
from cloister.tee.tpm.layout import PCRS, Selection

__all__ = ["AK_HANDLE", "HCL_INDEX", "USER_DATA_INDEX", "AzureAttester"]

HCL_INDEX: Final = 0x01400001
USER_DATA_INDEX: Final = 0x01400002
AK_HANDLE: Final = 0x81000003
_DEADLINE_S: Final = 15.0
_PAUSE_S: Final = 0.5
_TYPES: Final[dict[Platform, str]] = {"snp": SNP_TYPE, "tdx": TDX_TYPE}


@dataclass(frozen=True, slots=True)
class AzureAttester:
    """Collects evidence of the VM that this code runs in.

    Attributes:
        tpm: The VM's, open.
        platform: Which kind of evidence is wanted; a VM of the other kind refuses.
        metadata: Where TD quotes come from; only TDX asks there.
        user_data: 64 bytes that a new report shall cover; empty takes the report as it lies there.
        pcrs: Registers of SHA-256 that are quoted.
        log: The firmware's log; empty for none.
        deadline_s: How long a new report is waited for.
        sleep: Waits.
        clock: Tells how long.
    """

    tpm: Tpm
    platform: Platform
    metadata: MetadataService = field(default_factory=MetadataService)
    user_data: bytes = b""
    pcrs: tuple[int, ...] = tuple(range(PCRS))
    log: bytes = b""
    deadline_s: float = _DEADLINE_S
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """User data is 64 bytes or none; registers ascend."""
        if len(self.user_data) not in {0, REPORT_DATA_BYTES}:
            raise ConfigError("user data has 64 bytes", code="config.value")
        if not self.pcrs or list(self.pcrs) != sorted({*self.pcrs} & {*range(PCRS)}):
            raise ConfigError("registers are numbers from 0 to 23, ascending", code="config.value")

    def collect(self, report_data: ReportData) -> Evidence:
        """Return evidence whose quote is over these 64 bytes; raises as `collect_over` does."""
        return self.collect_over(report_data.value)

    def collect_over(self, data: bytes) -> Evidence:
        """Return evidence whose quote is over 1 to 64 bytes.

        Raises:
            UnsupportedError: No such VM, or its vTPM takes fewer bytes (`machine.attester`).
            UnavailableError: Busy, or parts that do not belong together (`attester.busy`,
                `attester.failed`).
            MalformedError: The vTPM's report or the log cannot be read.
            EvidenceError: The log does not lead to the registers (`evidence.log`).
        """
        if not 0 < len(data) <= REPORT_DATA_BYTES:
            raise CallerError("a quote binds 1 to 64 bytes", code="caller.misuse")
        # 1. The report, with our data in it where that is asked for.
        hcl, runtime = self._report()
        # 2. The vTPM's key is the one that the report covers.
        key = self.tpm.read_public(AK_HANDLE)
        key.require_attestation_key()
        if key.spki != runtime.ak:
            raise _apart("the vTPM's key is not the one that the report names")
        # 3. It quotes.
        quote = quote_registers(
            self.tpm,
            AK_HANDLE,
            key.spki,
            data=data,
            selections=[Selection("sha256", self.pcrs)],
            log=self.log,
        )
        # 4. What the processor signed covers the runtime data.
        td_quote = b""
        if self.platform == "tdx":
            td_quote = self.metadata.td_quote(hcl.hardware[:TD_REPORT_BYTES])
        covered = _covered(td_quote or hcl.hardware, self.platform)
        if covered != sha256(hcl.runtime_data).ljust(REPORT_DATA_BYTES, b"\0"):
            raise _apart("the processor's report does not cover the runtime data")
        body = AzureEvidence.of(hcl, quote, td_quote=td_quote).to_bytes()
        return Evidence(_TYPES[self.platform], body)

    def _report(self) -> tuple[HclReport, RuntimeData]:
        """Read the report; ask for a new one where there is data for it to cover."""
        if self.user_data:
            self.tpm.nv_write(USER_DATA_INDEX, self.user_data)
        end = self.clock() + self.deadline_s
        while True:
            found = self.tpm.nv_read(HCL_INDEX)
            # The firmware may put a new one there between two pieces of it.
            if self.tpm.nv_read(HCL_INDEX) == found:
                hcl = self._of_this_platform(found)
                runtime = RuntimeData.from_bytes(hcl.runtime_data)
                if not self.user_data or runtime.user_data == self.user_data:
                    return hcl, runtime
            if self.clock() >= end:
                raise UnavailableError(
                    "the firmware made no report over this user data", code="attester.busy"
                )
            self.sleep(_PAUSE_S)

    def _of_this_platform(self, found: bytes) -> HclReport:
        hcl = HclReport.from_bytes(found)
        if hcl.platform != self.platform:
            raise UnsupportedError(
                f"this VM's reports are of {hcl.platform}, not of {self.platform}",
                code="machine.attester",
                hint=f"--kind azure-{hcl.platform}",
            )
        return hcl


def _covered(report: bytes, platform: Platform) -> bytes:
    """Return the report data of what the processor signed."""
    try:
        if platform == "snp":
            return Report.from_bytes(report).report_data
        return read_quote(report)[1].report_data
    except CloisterError as e:
        raise UnsupportedError(
            "this platform's reports are of a kind that is not known here",
            code="machine.attester",
            detail=e.public,
        ) from e


def _apart(why: str) -> UnavailableError:
    return UnavailableError(why, code="attester.failed")
