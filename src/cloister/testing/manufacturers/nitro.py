"""A simulated AWS: Nitro documents under a root of its own, the same for the same seed.

Example::

    maker = SimulatedNitro("one", at=1_800_000_000)
    claims = NitroVerifier([maker.anchor]).verify(maker.evidence(), (), at=maker.at)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cloister.attestation.evidence import Evidence
from cloister.tee.cose import ES384, CoseSign1
from cloister.tee.nitro.layout import MEDIA_TYPE, AttestationDocument
from cloister.testing.manufacturers.device_pki import Authority, raw_signature

__all__ = ["SimulatedNitro"]

_HOURS_S = 3 * 3600


class SimulatedNitro:
    """A manufacturer made from a seed."""

    def __init__(self, seed: str, *, at: int) -> None:
        """Make the root, a region, and an instance's certificate for three hours from `at`."""
        self.seed = seed
        self.at = at
        validity = (at - 86400, at + 86400)
        self._root = Authority.root("nitro-enclaves", f"{seed}/root", validity=validity)
        self._region = self._root.issue("region", f"{seed}/region", validity=validity, ca=True)

    @property
    def anchor(self) -> bytes:
        """The root's fingerprint."""
        return self._root.path[0].fingerprint

    def instance(
        self, *, validity: tuple[int, int] | None = None, curve: str = "P-384", ca: bool = False
    ) -> Authority:
        """Certify an enclave's signer."""
        return self._region.issue(
            "i-0123456789abcdef0-enc0123456789abcdef",
            f"{self.seed}/instance",
            validity=validity or (self.at, self.at + _HOURS_S),
            ca=ca,
            curve=curve,
        )

    def document(
        self,
        *,
        signer: Authority | None = None,
        debug: bool = False,
        pcrs: Mapping[int, bytes] | None = None,
        user_data: bytes | None = bytes(range(64)),
        nonce: bytes | None = None,
        public_key: bytes | None = None,
    ) -> AttestationDocument:
        """State something; `debug` leaves the registers of the image zero."""
        by = signer or self.instance()
        registers = {
            n: hashlib.sha384(f"{self.seed}/pcr/{n}".encode()).digest()
            if n in (4, 8)
            else bytes(48)
            for n in range(16)
        }
        if not debug:
            image = [hashlib.sha384(f"{self.seed}/pcr/{n}".encode()).digest() for n in range(3)]
            registers.update(enumerate(image))
        return AttestationDocument(
            module_id=by.path[0].common_name,
            timestamp=self.at * 1000 + 346,
            pcrs=registers if pcrs is None else pcrs,
            certificate=by.path[0].der,
            cabundle=tuple(each.der for each in reversed(by.path[1:])),
            public_key=public_key,
            user_data=user_data,
            nonce=nonce,
        )

    def sign(self, payload: bytes, *, signer: Authority | None = None) -> CoseSign1:
        """Sign a payload."""
        by = signer or self.instance()
        unsigned = CoseSign1(ES384, payload, b"")
        return CoseSign1(ES384, payload, raw_signature(by.key, unsigned.signed))

    def evidence(
        self, document: AttestationDocument | None = None, *, signer: Authority | None = None
    ) -> Evidence:
        """Return a signed document as evidence."""
        stated = document or self.document(signer=signer)
        message = self.sign(stated.to_bytes(), signer=signer)
        return Evidence(MEDIA_TYPE, message.to_bytes(tagged=False))
