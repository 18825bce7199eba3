"""A simulated maker of Arm CCA platforms, the same for the same seed.

Example::

    maker = SimulatedCca("one")
    claims = CcaVerifier([maker.anchor]).verify(maker.evidence(), [maker.key], at=0)
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.digest import sha256
from cloister.crypto.jose import to_base64url
from cloister.crypto.vendor_keys import Curve, EcdsaKey
from cloister.tee.cca.endorsements import KEY_MEDIA_TYPE
from cloister.tee.cca.layout import (
    MEDIA_TYPE,
    PLATFORM_PROFILES,
    REALM_PROFILE,
    CcaToken,
    PlatformToken,
    RealmToken,
    SoftwareComponent,
)
from cloister.tee.cose import ES256, ES384, CoseSign1
from cloister.testing.manufacturers.device_pki import device_key, raw_signature, spki

__all__ = ["SECURED", "SimulatedCca", "sign_token"]

SECURED: Final = 0x3000


class SimulatedCca:
    """A platform and the realm manager on it, made from a seed."""

    def __init__(self, seed: str, *, curve: Curve = "P-384") -> None:
        """Derive the platform's key, on the curve given, and the realm manager's."""
        self.seed = seed
        self.curve: Final = curve
        self.platform_key = device_key(f"{seed}/platform", curve)
        self.realm_key = device_key(f"{seed}/realm")

    @property
    def anchor(self) -> bytes:
        """SHA-256 of the platform key's SubjectPublicKeyInfo."""
        return sha256(spki(self.platform_key))

    @property
    def key(self) -> Endorsement:
        """The platform's public key."""
        point = EcdsaKey.from_spki(spki(self.platform_key), self.curve).point
        half = len(point) // 2
        text = {
            "kty": "EC",
            "crv": self.curve,
            "x": to_base64url(point[:half]),
            "y": to_base64url(point[half:]),
        }
        return Endorsement(KEY_MEDIA_TYPE, json.dumps(text).encode())

    def platform(
        self, realm: RealmToken, *, lifecycle: int = SECURED, verification_service: str = ""
    ) -> PlatformToken:
        """State the platform, about the realm manager that holds a realm's key."""
        components = tuple(
            SoftwareComponent(
                measurement=self._digest(f"component/{name}"),
                signer_id=self._digest("signer"),
                measurement_type=name,
                version="1.2.3",
                hash_algorithm="",
            )
            for name in ("BL", "RMM")
        )
        return PlatformToken(
            profile=PLATFORM_PROFILES[-1],
            challenge=realm.key_digest,
            implementation_id=self._digest("implementation"),
            instance_id=b"\x01" + self.anchor,
            config=b"\xcf\xcf\xcf\xcf",
            lifecycle=lifecycle,
            components=components,
            hash_algorithm="sha-256",
            verification_service=verification_service,
        )

    def realm(self, challenge: bytes = bytes(range(64))) -> RealmToken:
        """State a realm."""
        return RealmToken(
            profile=REALM_PROFILE,
            challenge=challenge,
            personalization_value=bytes(64),
            initial_measurement=self._digest("realm"),
            extensible_measurements=tuple(self._digest(f"rem/{n}") for n in range(4)),
            hash_algorithm="sha-256",
            public_key=RealmToken.encode_key(EcdsaKey.from_spki(spki(self.realm_key), "P-384")),
            key_hash_algorithm="sha-512",
        )

    def evidence(
        self, *, platform: PlatformToken | None = None, realm: RealmToken | None = None
    ) -> Evidence:
        """Sign both tokens."""
        stated = realm or self.realm()
        about = platform or self.platform(stated)
        token = CcaToken(
            sign_token(self.platform_key, about.to_bytes()),
            sign_token(self.realm_key, stated.to_bytes()),
        )
        return Evidence(MEDIA_TYPE, token.to_bytes())

    def _digest(self, what: str) -> bytes:
        return hashlib.sha256(f"{self.seed}/{what}".encode()).digest()


def sign_token(key: ec.EllipticCurvePrivateKey, payload: bytes) -> CoseSign1:
    """Sign a payload with the algorithm of the key's curve."""
    algorithm = ES384 if key.curve.name == "secp384r1" else ES256
    unsigned = CoseSign1(algorithm, payload, b"")
    return CoseSign1(algorithm, payload, raw_signature(key, unsigned.signed))
