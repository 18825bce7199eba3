"""The TDREPORT that Azure's vTPM holds, compared with the TD quote that was made of it. Pure.

Nobody outside its machine can verify a TDREPORT, and evidence leaves it out. Whoever puts evidence
together from a VM's files has both, and refuses a report that another quote was made of: then a
folder's files belong together, or are no evidence. What no quote repeats (the processor's own SVN
and the MAC, which only that processor checks) stays unjudged, and counts for nothing.

Intel TDX Module ABI specification, section 4.4 (TDREPORT_STRUCT); offsets:

    REPORTMACSTRUCT 0: type 4 (81, 00, version 0 or 1, 00), reserved 12, CPU SVN 16,
        SHA-384 of TEE_TCB_INFO 48, SHA-384 of TDINFO 48, report data 64, reserved 32, MAC 32
    TEE_TCB_INFO 256: valid 8, tee_tcb_svn 16, mr_seam 48, mr_signer_seam 48, attributes 8,
        reserved or tee_tcb_svn2 111; then 17 reserved
    TDINFO 512: attributes 8, xfam 8, mr_td 48, mr_config_id 48, mr_owner 48, mr_owner_config 48,
        rtmr0 to rtmr3 48 each, and from TDX 1.5 on what it adds

Spec: azure-evidence-v1, clause AZ-5.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cloister.crypto.digest import require_equal
from cloister.errors import EvidenceError
from cloister.tee.tdx.layout import read_quote

__all__ = ["require_same_td"]

_BYTES: Final = 1024
# Type 81, subtype 0; the version is 1 where service TDs are bound.
_TYPES: Final = tuple(bytes([0x81, 0, version]).ljust(16, b"\0") for version in (0, 1))
_TCB_INFO: Final = slice(256, 495)
_TD_INFO: Final = slice(512, 1024)


def require_same_td(hardware: bytes, td_quote: bytes) -> None:
    """Check that a TDREPORT and a TD quote say the same of one TD.

    Args:
        hardware: The report's place in what the vTPM holds: a TDREPORT and zeros. Untrusted.
        td_quote: Untrusted.

    Raises:
        MalformedError: The quote does not parse.
        EvidenceError: They are of different TDs, or of different moments (`evidence.parts`).
    """
    _, td = read_quote(td_quote)
    tcb_info, td_info = hardware[_TCB_INFO], hardware[_TD_INFO]
    names = (
        "td_attributes", "xfam", "mr_td", "mr_config_id", "mr_owner", "mr_owner_config",
        "rtmr0", "rtmr1", "rtmr2", "rtmr3",
    )  # fmt: skip
    said = b"".join(getattr(td, name) for name in names)
    platform = td.tee_tcb_svn + td.mr_seam + td.mr_signer_seam + td.seam_attributes
    found = (
        hardware[32:80],
        hardware[80:128],
        hardware[128:192],
        hardware[192:224],
        tcb_info[8 : 8 + len(platform)],
        hardware[495:512],
        td_info[: len(said)],
        hardware[_BYTES:],
    )
    wanted = (
        hashlib.sha384(tcb_info).digest(),
        hashlib.sha384(td_info).digest(),
        td.report_data,
        bytes(32),
        platform,
        bytes(17),
        said,
        bytes(max(0, len(hardware) - _BYTES)),
    )
    error = EvidenceError("the TD quote is not of this TD's report", code="evidence.parts")
    if hardware[:16] not in _TYPES:
        raise error
    for have, want in zip(found, wanted, strict=True):
        require_equal(have, want, error=error)
