"""Judge attestation tokens of Arm CCA realms.

Spec: cca-evidence-v1, clauses CCA-10 to CCA-21.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.digest import require_equal
from cloister.errors import EvidenceError
from cloister.tee.anchors import require_anchors
from cloister.tee.cca.endorsements import require_platform_key
from cloister.tee.cca.layout import (
    MEDIA_TYPE,
    CcaToken,
    PlatformToken,
    RealmToken,
    SoftwareComponent,
)

__all__ = ["CcaVerifier"]

# States by the upper byte of the lifecycle claim (DEN0137, platform lifecycle claim).
_LIFECYCLES: Final = {
    0x00: "unknown",
    0x10: "assembly_and_test",
    0x20: "platform_rot_provisioning",
    0x30: "secured",
    0x40: "non_cca_platform_debug",
    0x50: "recoverable_cca_platform_debug",
    0x60: "decommissioned",
}


class CcaVerifier:
    """Accepts tokens of platforms whose keys it was given."""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        """Take SHA-256 of the SubjectPublicKeyInfo of each accepted platform's key."""
        self._anchors: Final = require_anchors(anchors)

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what a genuine token says; `hardware_rooted` is false in every case.

        Args:
            evidence: Untrusted, exactly as received.
            endorsements: Untrusted: the platform's public key.
            at: Not used: tokens and keys name no time. Freshness is the realm's challenge.

        Raises:
            MalformedError: The token or the key does not parse.
            EvidenceError: Another kind, a signature that does not hold, or a realm of another
                platform.
            EndorsementError: The platform's key is not accepted.
            UnavailableError: The platform's key is missing.
        """
        del at
        # 1. The kind is ours, and it parses.
        if evidence.media_type != MEDIA_TYPE:
            raise EvidenceError("not a CCA token", code="evidence.kind")
        token = CcaToken.from_bytes(evidence.body)
        platform = PlatformToken.from_bytes(token.platform.payload)
        realm = RealmToken.from_bytes(token.realm.payload)
        # 2. The platform's key is one that the caller accepts.
        key, anchor = require_platform_key(endorsements, self._anchors)
        # 3. It signed the platform's token.
        token.platform.require_signed(key)
        # 4. The platform's token is about the realm manager that holds the realm's key.
        require_equal(
            platform.challenge,
            realm.key_digest,
            error=EvidenceError("the realm is another platform's", code="evidence.parts"),
        )
        # 5. That key signed the realm's token.
        token.realm.require_signed(realm.key)
        # 6. The claims.
        lifecycle = _LIFECYCLES.get(platform.lifecycle >> 8, f"{platform.lifecycle:#06x}")
        return Claims(
            root_of_trust="cca",
            anchor=anchor,
            hardware_rooted=False,
            measurement=realm.initial_measurement,
            report_data=realm.challenge,
            debug=lifecycle.endswith("_debug"),
            security_version=0,
            status="",
            advisories=(),
            hardware_id=platform.instance_id,
            vendor={
                "lifecycle": lifecycle,
                "software": [_as_text(each) for each in platform.components],
                "implementation_id": platform.implementation_id,
                "config": platform.config,
                "platform_profile": platform.profile,
                "platform_hash": platform.hash_algorithm,
                "verification_service": platform.verification_service,
                "personalization_value": realm.personalization_value,
                "extensible": {
                    str(n): value for n, value in enumerate(realm.extensible_measurements)
                },
                "realm_hash": realm.hash_algorithm,
            },
        )


def _as_text(component: SoftwareComponent) -> str:
    """Write a component so that each different one has a different text."""
    names = [component.measurement_type, component.version, component.hash_algorithm]
    quoted = [name.replace("%", "%25").replace(" ", "%20") or "-" for name in names]
    return " ".join((*quoted, component.measurement.hex(), component.signer_id.hex()))
