"""The keys that a server has at one time: the present one, and the one before while it is good.

A key is made at start, and again when half of its life is over; private keys are in memory alone
and gone with the process. Nothing here depends on anything that a host keeps.

Spec: private-query-v1, clauses PQ-5 to PQ-8.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from cloister.crypto.certificate_signature import CertificateKey
from cloister.crypto.kdf import random_bytes
from cloister.crypto.kem import XWingKey
from cloister.errors import MalformedError, UnavailableError
from cloister.inference.private.envelope import (
    PRIVATE,
    SUITE,
    KeyConfiguration,
    OpenedRequest,
    open_request,
    read_header,
)
from cloister.inference.private.keys import PrivateKeys, Sizes, sign_keys

__all__ = ["KeyRing", "Terms"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a server binds to each of its keys.

    Attributes:
        sizes: How long answers are.
        request_bytes: Longest sealed request.
        window_s: How far a request's time may be from the server's.
        lifetime_s: How long a key is good for.
    """

    sizes: Sizes
    request_bytes: int
    window_s: int = 60
    lifetime_s: int = 3600


@dataclass(frozen=True, slots=True, repr=False)
class _Key:
    private: XWingKey
    keys: PrivateKeys
    document: bytes
    digest: bytes


class KeyRing:
    """Makes, signs and uses keys. Threads may share it."""

    def __init__(self, terms: Terms, signer: Callable[[], CertificateKey]) -> None:
        """Take the terms, and where the certificate with its key is; no key is made yet.

        Args:
            terms: The same for every key.
            signer: Asked whenever a key is made: certificates are renewed.
        """
        self._terms = terms
        self._signer = signer
        self._lock = threading.Lock()
        self._kept: list[_Key] = []
        self._next_id = random_bytes(1)[0]

    def document(self, *, at: int) -> bytes:
        """Return the signed configuration of the present key; makes one where it is time.

        Raises:
            UnavailableError: There is no certificate that is good now (`server.unreachable`).
            CloisterError: The certificate's files cannot be used.
        """
        with self._lock:
            return self._present(at).document

    def tidy(self, *, at: int) -> None:
        """Forget the keys that are not good any more; to be called now and then."""
        with self._lock:
            self._drop(at)

    def open(self, data: bytes, *, at: int) -> tuple[OpenedRequest, PrivateKeys, bytes]:
        """Open an untrusted request; return it with its key's configuration and that one's digest.

        Raises:
            MalformedError: It is sealed to none of the keys that are good now, or changed.
        """
        key_id, suite = read_header(data)
        with self._lock:
            self._drop(at)
            found = [key for key in self._kept if key.keys.configuration.key_id == key_id]
        if not found or suite != SUITE:
            raise MalformedError("not sealed to a key of this server", code="message.malformed")
        key = found[0]
        opened = open_request(data, key.private, suite=SUITE, purpose=PRIVATE)
        return opened, key.keys, key.digest

    def _present(self, at: int) -> _Key:
        self._drop(at)
        if self._kept:
            newest = self._kept[-1]
            half = max(1, (newest.keys.not_after - newest.keys.not_before) // 2)
            if newest.keys.not_before <= at < newest.keys.not_before + half:
                return newest
        made = self._make(at)
        self._kept = [*self._kept[-1:], made]
        return made

    def _make(self, at: int) -> _Key:
        signer = self._signer()
        not_after = min(at + self._terms.lifetime_s, signer.not_after)
        if not_after <= at:
            raise UnavailableError(
                "the server has no certificate that is good now", code="server.unreachable"
            )
        private = XWingKey.generate()
        symmetric = ((SUITE.kdf, SUITE.aead),)
        configuration = KeyConfiguration(self._next_id, SUITE.kem, private.public, symmetric)
        self._next_id = (self._next_id + 1) % 256
        keys = PrivateKeys(
            configuration,
            at,
            not_after,
            self._terms.sizes,
            self._terms.request_bytes,
            self._terms.window_s,
        )
        document, digest = sign_keys(keys, signer)
        return _Key(private, keys, document, digest)

    def _drop(self, at: int) -> None:
        self._kept = [key for key in self._kept if at <= key.keys.not_after]
