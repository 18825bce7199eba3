"""The certificate authorities: one for each charter, and the domain's own for the root."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cloister.crypto.x509 import CertificateAuthority
from cloister.keyservice.store import Store

__all__ = ["CA_LIFETIME_S", "Authorities"]

CA_LIFETIME_S: Final = 10 * 365 * 86400


class Authorities:
    """Finds the authority that issues for a namespace. Their keys never leave the service."""

    def __init__(self, store: Store, root: CertificateAuthority) -> None:
        """Take the domain's own authority, which issues for the root."""
        self._store = store
        self._root = root

    def of(self, namespace: str) -> CertificateAuthority:
        """Return the authority of the charter that governs a namespace."""
        tenancy = self._store.tenancy
        record = tenancy.charter(tenancy.governor(namespace))
        if record is None or not record.ca_key:
            return self._root
        return _load(record.ca_key, record.ca_certificate)


@lru_cache(maxsize=64)
def _load(key: bytes, certificate: bytes) -> CertificateAuthority:
    return CertificateAuthority(key, certificate)
