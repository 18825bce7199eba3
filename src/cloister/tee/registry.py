"""The table of roots of trust. Code is imported on first use; nothing can add itself.

There is no discovery of installed plug-ins on purpose: otherwise any installed package could add
something that mints trust.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloister.attestation.evidence import EvidenceVerifier
from cloister.crypto.signature import VerifyingKey
from cloister.errors import EvidenceError, MissingExtraError

__all__ = ["ROOTS_OF_TRUST", "RootOfTrust", "by_media_type"]


@dataclass(frozen=True, slots=True)
class RootOfTrust:
    """One row of the table.

    Attributes:
        name: As policies spell it.
        media_type: Of its evidence.
        hardware_rooted: Whether hardware signs its evidence.
        verifier_module: Where its verifier lives.
        verifier_class: What it is called; constructed from trust anchors.
        extra: The optional extra that it needs, empty for none.
    """

    name: str
    media_type: str
    hardware_rooted: bool
    verifier_module: str
    verifier_class: str
    extra: str

    def verifier(self, anchors: Sequence[VerifyingKey]) -> EvidenceVerifier:
        """Build the verifier over the trust anchors that the caller decided to accept.

        Raises:
            MissingExtraError: The optional extra is not installed.
            ConfigError: No anchor was given.
        """
        try:
            module = importlib.import_module(self.verifier_module)
        except ModuleNotFoundError as e:
            raise MissingExtraError(
                f"evidence of {self.name} needs an optional part of Cloister",
                code="extra.missing",
                hint=f"pip install 'cloister[{self.extra}]'",
            ) from e
        verifier: EvidenceVerifier = getattr(module, self.verifier_class)(anchors)
        return verifier


ROOTS_OF_TRUST: Final = (
    RootOfTrust(
        name="sim",
        media_type="application/vnd.cloister.sim+cbor",
        hardware_rooted=False,
        verifier_module="cloister.tee.sim.verifier",
        verifier_class="SimVerifier",
        extra="",
    ),
)


def by_media_type(media_type: str) -> RootOfTrust:
    """Find the root of trust whose evidence this is.

    Raises:
        EvidenceError: No row of the table has this media type (code `evidence.kind`).
    """
    for root in ROOTS_OF_TRUST:
        if root.media_type == media_type:
            return root
    raise EvidenceError("evidence of an unknown kind", code="evidence.kind")
