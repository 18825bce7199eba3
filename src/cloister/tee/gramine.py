"""Quotes of SGX enclaves through Gramine's `/dev/attestation`.

Source: Gramine's documentation, "Attestation and secret provisioning" (1.9).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cloister.attestation.evidence import ReportData
from cloister.errors import UnavailableError, UnsupportedError
from cloister.tee.kernel import KernelFiles, LinuxFiles, refused

__all__ = ["GRAMINE_ROOT", "gramine_quote", "require_dcap"]

GRAMINE_ROOT: Final = Path("/dev/attestation")
MAX_QUOTE_BYTES: Final = 65536
_MAX_TEXT: Final = 64


def gramine_quote(
    report_data: ReportData, *, root: Path = GRAMINE_ROOT, files: KernelFiles | None = None
) -> bytes:
    """Return a DCAP quote of this enclave over these 64 bytes.

    Raises:
        UnsupportedError: This is no enclave under Gramine, or one without DCAP
            (`machine.attester`).
        UnavailableError: No quote was made (`attester.busy`, `attester.failed`).
    """
    kernel: KernelFiles = LinuxFiles() if files is None else files
    require_dcap(root, files=kernel)
    try:
        kernel.write(root / "user_report_data", report_data.value)
        quote = kernel.read(root / "quote", max_bytes=MAX_QUOTE_BYTES)
    except OSError as e:
        raise refused(e, "the enclave's quote cannot be read") from e
    if not quote:
        raise UnavailableError("the enclave's quote is empty", code="attester.failed")
    return quote


def require_dcap(root: Path = GRAMINE_ROOT, *, files: KernelFiles | None = None) -> None:
    """Raise unless this is an enclave under Gramine that attests by DCAP.

    Raises:
        UnsupportedError: It is not (`machine.attester`).
        UnavailableError: Gramine does not say (`attester.busy`, `attester.failed`).
    """
    kernel: KernelFiles = LinuxFiles() if files is None else files
    try:
        kind = kernel.read(root / "attestation_type", max_bytes=_MAX_TEXT)
    except OSError as e:
        raise refused(e, "the enclave's quote cannot be read") from e
    if kind.rstrip(b"\n\0") != b"dcap":
        raise UnsupportedError(
            "this enclave does not attest by DCAP",
            code="machine.attester",
            hint='sgx.remote_attestation = "dcap" in its manifest',
        )
