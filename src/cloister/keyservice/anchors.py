"""Anchors over one key service: where a volume's newest committed state is kept.

Spec: key-release-v1.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from cloister.attestation.binding import NONCE_BYTES
from cloister.crypto.kdf import random_bytes
from cloister.crypto.keyring import FIRST_KEY_EPOCH
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.anchoring import AnchorReply, AnchorRequest
from cloister.keyservice.bundle import Lease
from cloister.keyservice.clock import Clock
from cloister.keyservice.exchange import DEADLINE_S, Call
from cloister.keyservice.leases import AnchorMove
from cloister.keyservice.messages import ANCHOR_PATH
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.transport import Transport

__all__ = ["AnchoredState", "KeyServiceAnchor"]


@dataclass(frozen=True, slots=True)
class AnchoredState:
    """The newest committed state of a volume, as the key service holds it."""

    version: int
    root: bytes
    epoch: int


class KeyServiceAnchor:
    """A volume's anchor at the key service, for one lease; matches the volume's `Anchor`.

    Whoever writes calls `renew` well before `ttl_s` has passed since the last `advance` or `renew`.
    Safe to share between the thread that commits and the one that renews.
    """

    def __init__(
        self,
        transport: Transport,
        service: PinnedService,
        *,
        volume: bytes,
        lease: Lease,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Use a lease as the bundle gave it; an epoch of 0 only reads."""
        self._call = Call(transport, service, clock, deadline_s)
        self._volume = volume
        self._secret = lease.secret
        self._epoch = lease.epoch
        self._lock = threading.Lock()
        self.ttl_s: Final = lease.ttl_s

    @property
    def epoch(self) -> int:
        """The epoch of the lease held here; 0 where the volume may only be read."""
        return self._epoch

    def state(self) -> AnchoredState:
        """Return the newest committed state."""
        return _state_of(self._ask("state", move=None))

    def advance(
        self,
        *,
        version: int,
        root: bytes,
        new_version: int,
        new_root: bytes,
        oldest_key: int = FIRST_KEY_EPOCH,
    ) -> None:
        """Replace one state by the next; asking again for what is already there succeeds.

        Raises:
            ReleaseDeniedError: A newer writer, or another state (`release.fenced`): stop writing.
            UnavailableError: Not known whether it happened; ask again.
        """
        self._ask("advance", move=AnchorMove(version, root, new_version, new_root, oldest_key))

    def renew(self) -> None:
        """Let the lease run for a full lifetime from now."""
        self._ask("renew", move=None)

    def take_over(self) -> AnchoredState:
        """Fence whoever used this lease before, and go on under a new epoch at once.

        For a volume server that replaces one that died in the same run.
        """

        def attempt(timeout_s: float) -> AnchorReply:
            nonce = self._call.challenge(timeout_s=timeout_s)
            return self._send("takeover", nonce, move=None, timeout_s=timeout_s)

        with self._lock:
            reply = self._call.until_deadline(attempt)
            self._epoch = reply.epoch
        return _state_of(reply)

    def release(self) -> None:
        """Give the lease back, so that another may write at once. Twice is once."""
        try:
            self._ask("release", move=None)
        except ReleaseDeniedError as e:
            if e.code != "release.fenced":
                raise

    def _ask(self, operation: str, *, move: AnchorMove | None) -> AnchorReply:
        return self._call.until_deadline(
            lambda timeout_s: self._send(
                operation, random_bytes(NONCE_BYTES), move=move, timeout_s=timeout_s
            )
        )

    def _send(
        self, operation: str, nonce: bytes, *, move: AnchorMove | None, timeout_s: float
    ) -> AnchorReply:
        request = AnchorRequest(
            service=self._call.service.identity.raw,
            nonce=nonce,
            volume=self._volume,
            epoch=self._epoch,
            operation=operation,
            move=move,
        )
        body = request.sealed(self._secret).to_bytes()
        return AnchorReply.from_bytes(self._call.exchange(ANCHOR_PATH, body, timeout_s=timeout_s))


def _state_of(reply: AnchorReply) -> AnchoredState:
    return AnchoredState(reply.version, reply.root, reply.state_epoch)
