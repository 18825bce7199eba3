"""Ask a model so that only its attested server reads the question, whoever carries it.

Example::

    from cloister.inference.private import PrivateClient, Principal

    client = PrivateClient("https://models.example", trust="domain.json", policy="sha256:…",
                           identity="spiffe://clinic/…/*", asker=Principal("alice", key))
    print(client.predict(images))

What must hold before a byte of a question is sealed: the server's key is signed by a certificate of
the trust domain's authority, for the identity that was named, under the policy whose hash was
pinned, and good at this machine's time. There is no way to leave one of these out by accident.

Spec: private-query-v1, clauses PQ-60 to PQ-67.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from cloister.crypto.digest import digest_from_text
from cloister.crypto.x509 import PeerCertificate
from cloister.errors import ConfigError, MalformedError
from cloister.inference.client import ModelClient, authority_of, read_identity
from cloister.inference.private.channel import Pins, PrivateChannel, raise_refusal
from cloister.inference.private.keys import AnyPolicy
from cloister.inference.private.request_auth import Asker
from cloister.inference.service import HTTPRequest, HTTPResponse

__all__ = ["AnyPolicy", "PrivateClient", "pins_of"]

_BATCH_BYTES: Final = 8 * 2**20


class PrivateClient(ModelClient):
    """A client of one server. It may be shared between threads; queries go one at a time."""

    def __init__(
        self,
        url: str,
        *,
        trust: str | Path | bytes,
        identity: str,
        policy: str | AnyPolicy,
        asker: Asker,
        model: str | None = None,
        timeout_s: float = 30.0,
        batch_bytes: int = _BATCH_BYTES,
    ) -> None:
        """Say who is to be asked, and who asks; nothing is opened yet.

        Args:
            url: `https://…` or `http://…` of the server or of anything before it; only a way.
            trust: The trust domain's `domain.json`, as a path; or its CA certificate, as PEM bytes.
            identity: SPIFFE ID that the server must prove; the instance may be `*`.
            policy: Hash of the policy that it must run under, `sha256:…`, as its owner tells; or
                the reason why any will do.
            asker: A `Principal` by name and key, or a `Member` by certificate.
            model: The model's name; may be left out where the server has one model.
            timeout_s: For each exchange, connecting included.
            batch_bytes: Larger inputs are sent in several queries, cut along the first axis; so
                are those whose answer would not fit.

        Raises:
            ConfigError: An argument that cannot be meant.
        """
        channel = PrivateChannel(
            url,
            pins=pins_of(trust=trust, identity=identity, policy=policy),
            asker=asker,
            clock=_now,
            timeout_s=timeout_s,
        )
        super().__init__(
            _Raising(channel),
            model=model,
            batch_bytes=batch_bytes,
            answer_bytes=channel.answer_bytes,
        )


class _Raising:
    """The channel, with the server's refusals as errors."""

    def __init__(self, channel: PrivateChannel) -> None:
        self._channel = channel

    @property
    def where(self) -> str:
        return self._channel.where

    @property
    def peer(self) -> PeerCertificate:
        return self._channel.peer

    def exchange(self, request: HTTPRequest) -> HTTPResponse:
        response = self._channel.exchange(request)
        raise_refusal(response)
        return response

    def close(self) -> None:
        self._channel.close()


def pins_of(*, trust: str | Path | bytes, identity: str, policy: str | AnyPolicy) -> Pins:
    """Return what a server must be, from what people write.

    Raises:
        ConfigError: Something cannot be meant (`config.value`, `config.file`).
        IdentityError: Trust domain and identity do not fit (`identity.peer`).
    """
    expected = read_identity(identity)
    ca_pem = trust if isinstance(trust, bytes) else authority_of(Path(trust), expected)
    if isinstance(policy, AnyPolicy):
        return Pins(ca_pem, expected, policy)
    try:
        return Pins(ca_pem, expected, digest_from_text(policy))
    except MalformedError as e:
        raise ConfigError(
            "a policy is pinned by its hash, sha256: and 64 hex digits", code="config.value"
        ) from e


def _now() -> int:
    return int(time.time())  # noqa: TID251  # the caller's process is this module's edge
