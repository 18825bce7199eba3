"""A certificate authority with credentials for tests: one trust domain, any role, any time."""

from __future__ import annotations

from typing import Final

from cloister.crypto.x509 import CertificateAuthority, Identity, TLSKey
from cloister.network.tls import Credential

__all__ = ["POLICY_HASH", "FakeDomain"]

_DAY_S: Final = 86400
POLICY_HASH: Final = bytes(range(32))


class FakeDomain:
    """A trust domain that signs whatever a test asks for."""

    def __init__(self, name: str, *, at: int) -> None:
        """Make a new authority that is good for a day from `at`."""
        self.name = name
        self._at = at
        self._authority = CertificateAuthority.create(trust_domain=name, at=at, lifetime_s=_DAY_S)

    @property
    def ca_pem(self) -> bytes:
        """The certificate that clients pin."""
        return self._authority.certificate_pem

    def identity(self, role: str, *, instance: str = "*") -> Identity:
        """Return the identity of a role in the policy `digits` of the tenant `clinic`."""
        return Identity(self.name, "clinic", "digits", role, instance)

    def credential(
        self,
        role: str,
        *,
        at: int | None = None,
        lifetime_s: int = _DAY_S // 2,
        instance: str = "i-1",
        policy: str = "digits",
        policy_hash: bytes = POLICY_HASH,
        namespace: str = "clinic",
    ) -> Credential:
        """Sign a fresh key for an instance of a role."""
        key = TLSKey.generate()
        certificate = self._authority.issue(
            key.request(),
            Identity(self.name, namespace, policy, role, instance),
            policy_hash=policy_hash,
            hardware_rooted=False,
            at=self._at if at is None else at,
            lifetime_s=lifetime_s,
        )
        return Credential(certificate, key.pem())
