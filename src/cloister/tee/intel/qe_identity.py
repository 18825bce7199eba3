"""QE identity: which enclave of Intel's may sign quotes, and what is said of its versions.

Spec: intel-evidence-v1, clauses INTEL-26 and INTEL-33.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cloister.errors import EvidenceError, MalformedError
from cloister.tee.intel.layout import EnclaveReport
from cloister.tee.intel.statement import Statement
from cloister.tee.intel.tcb import SvnLevel, read_svn_level

__all__ = ["QeIdentity", "read_qe_identity"]

_VERSION: Final = 2
_MAX_WORD: Final = 65535
_MAX_EVALUATION: Final = 2**31 - 1
_IDS: Final = ("QE", "TD_QE")


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """An enclave's identity: its signer, product and levels.

    Attributes:
        id: `QE` signs quotes of enclaves, `TD_QE` those of TDs.
        issued: When the statement was made.
        next_update: Until when it counts.
        evaluation: The number of Intel's evaluation; larger is newer.
        miscselect: What the report's MISCSELECT is under the mask.
        miscselect_mask: Which bits count.
        attributes: What the report's attributes are under the mask; debug is among them.
        attributes_mask: Which bits count.
        mrsigner: Who signed the enclave.
        isvprodid: Which product of his it is.
        levels: Newest first.
    """

    id: str
    issued: int
    next_update: int
    evaluation: int
    miscselect: int
    miscselect_mask: int
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isvprodid: int
    levels: tuple[SvnLevel, ...]

    def require_is(self, report: EnclaveReport) -> None:
        """Check that a report is this enclave's, whatever its version.

        Raises:
            EvidenceError: It is another's (`evidence.parts`).
        """
        if (
            report.mr_signer != self.mrsigner
            or report.isv_prod_id != self.isvprodid
            or report.misc_select & self.miscselect_mask != self.miscselect & self.miscselect_mask
            or _masked(report.attributes, self.attributes_mask)
            != _masked(self.attributes, self.attributes_mask)
        ):
            raise EvidenceError(
                "the enclave that signed the quote is not the quoting enclave",
                code="evidence.parts",
            )


@lru_cache(maxsize=16)
def read_qe_identity(text: bytes) -> QeIdentity:
    """Read text whose signature has been checked; a pure function, so the last few stay read.

    Raises:
        MalformedError: It is no identity of version 2 of a quoting enclave
            (`endorsement.malformed`).
    """
    identity = Statement.from_text(text, "QE identity")
    kind = identity.text("id")
    if identity.integer("version", _MAX_WORD) != _VERSION or kind not in _IDS:
        raise MalformedError(
            "a QE identity of a kind that is not known",
            code="endorsement.malformed",
            detail=kind,
        )
    return QeIdentity(
        id=kind,
        issued=identity.instant("issueDate"),
        next_update=identity.instant("nextUpdate"),
        evaluation=identity.integer("tcbEvaluationDataNumber", _MAX_EVALUATION),
        # A report holds MISCSELECT as a number; the statement holds its bytes, lowest first.
        miscselect=int.from_bytes(identity.octets("miscselect", 4), "little"),
        miscselect_mask=int.from_bytes(identity.octets("miscselectMask", 4), "little"),
        attributes=identity.octets("attributes", 16),
        attributes_mask=identity.octets("attributesMask", 16),
        mrsigner=identity.octets("mrsigner", 32),
        isvprodid=identity.integer("isvprodid", _MAX_WORD),
        levels=tuple(read_svn_level(each, _MAX_WORD) for each in identity.each("tcbLevels")),
    )


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(have & bits for have, bits in zip(value, mask, strict=True))
