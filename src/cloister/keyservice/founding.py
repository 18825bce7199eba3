"""Found a key service: draw its keys and make its first database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.crypto.x509 import CertificateAuthority
from cloister.keyservice.store import ServiceSecrets, Store
from cloister.tee.sim.platform import SimPlatform

__all__ = ["Founded", "found_service"]

_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Founded:
    """The public side of a new key service."""

    identity: VerifyingKey
    hpke: HPKEPublicKey
    ca: bytes


def found_service(
    directory: Path,
    platform: SimPlatform,
    *,
    owner: VerifyingKey,
    trust_domain: str,
    at: int,
    ca_lifetime_s: int,
    database: str = "",
) -> Founded:
    """Make a key service's state; its secrets exist only in the encrypted database.

    Args:
        directory: Exists, is empty, and is the service's own.
        platform: Whose sealing key encrypts the database.
        owner: Whoever signs owner operations, for ever.
        trust_domain: Its name.
        at: Now.
        ca_lifetime_s: Of the certificate authority.
        database: `postgresql://` address of an empty database; else it is made in `directory`.
    """
    signing, hpke = SigningKey.generate(), HPKEPrivateKey.generate()
    authority = CertificateAuthority.create(
        trust_domain=trust_domain, at=at, lifetime_s=ca_lifetime_s
    )
    ca_key, ca_certificate = authority.to_secret()
    secrets = ServiceSecrets(
        signing_seed=signing.to_secret(),
        hpke_seed=hpke.to_secret(),
        ca_key=ca_key,
        ca_certificate=ca_certificate,
        reader_secret=random_bytes(_SECRET_BYTES),
        owner=owner.raw,
        trust_domain=trust_domain,
    )
    if database:
        Store.create_shared(database, platform, secrets)
    else:
        Store.create(directory, platform, secrets)
    return Founded(signing.public, hpke.public, authority.certificate_pem)
