"""Look at how a key service is run, without changing anything; `checkup` judges what was seen."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.errors import CloisterError, LocalProtocolError, TamperedError
from cloister.keyservice.checkup import FileMode, Observations
from cloister.keyservice.clock import Clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.messages import CHALLENGE_PATH, ChallengeRequest, Failure, SignedReply
from cloister.keyservice.state.record import Head
from cloister.keyservice.store import Store
from cloister.keyservice.transport import HTTPTransport, Transport
from cloister.tee.sim.platform import MonotonicCounter

__all__ = ["examine", "peer_skew", "state_code"]

_PRIVATE: Final = ("keyservice", "platform", "owner")
_MAX_FILES: Final = 1000
_NONCE_BYTES: Final = 32
_PEER_TIMEOUT_S: Final = 5.0
_SWAPS: Final = Path("/proc/swaps")


def examine(
    domain: TrustDomain, *, listen: str, peer: str, clock: Clock, core_limit: int
) -> Observations:
    """Look at the trust domain's service on this machine.

    Args:
        domain: Whose service it is.
        listen: Where it is, or will be, told to listen; empty for its unix socket.
        peer: The address of a replica whose clock is compared; empty for none.
        clock: This machine's.
        core_limit: The user's limit, read before this process set its own to 0.
    """
    skew, peer_code = None, ""
    if peer:
        try:
            with HTTPTransport(peer) as transport:
                skew = peer_skew(domain, transport, clock=clock)
        except CloisterError as e:
            peer_code = e.code
    room = os.statvfs(domain.keyservice_directory)
    return Observations(
        files=tuple(_private_files(domain.directory)),
        owner_key=(domain.directory / "owner" / "owner.key").exists(),
        core_limit=core_limit,
        swap=_swap_areas(),
        state_code=state_code(domain),
        free_bytes=room.f_bavail * room.f_frsize,
        listen=listen,
        skew_s=skew,
        peer_code=peer_code,
    )


def state_code(domain: TrustDomain) -> str:
    """Open the state, check all of it and close it; return the code of what kept it from that."""
    try:
        Store.inspect(domain.keyservice_directory, domain.platform(), _Looking).close()
    except CloisterError as e:
        return e.code
    return ""


def peer_skew(domain: TrustDomain, peer: Transport, *, clock: Clock) -> int:
    """Return how many seconds a replica's clock is ahead, from an answer that it signs.

    Raises:
        IdentityError: It is no replica of this service (`identity.keyservice`).
        UnavailableError: It does not answer.
    """
    body = ChallengeRequest(random_bytes(_NONCE_BYTES)).to_bytes()
    began = clock().at
    answer = peer.post(CHALLENGE_PATH, body, timeout_s=_PEER_TIMEOUT_S)
    ended = clock().at
    reply = SignedReply.from_bytes(answer).open(
        path=CHALLENGE_PATH, request=body, service=domain.identity
    )
    if isinstance(reply, Failure):
        raise reply.error()
    if reply.at < began:
        return reply.at - began
    return max(0, reply.at - ended)


class _Looking:
    """A witness that is only read: it refuses an old copy, and is not moved on by a newer one."""

    def __init__(self, counter: MonotonicCounter) -> None:
        self._counter = counter

    def reading(self) -> None:
        """Nothing is noted."""

    def abandoned(self) -> None:
        """Nothing was announced."""

    def opened(self, head: Head) -> None:
        """Refuse a state behind the counter."""
        if head.sequence < self._counter.read():
            raise TamperedError("the key service's state is an old copy", code="state.rolled-back")

    def committing(self, head: Head) -> None:
        """Refuse: who looks does not write."""
        raise LocalProtocolError(
            "who looks does not write", code="protocol.local", detail=str(head)
        )

    def committed(self, before: Head, head: Head) -> None:
        """Refuse likewise."""
        del before
        self.committing(head)

    def close(self) -> None:
        """Close the counter."""
        self._counter.close()


def _private_files(directory: Path) -> Iterator[FileMode]:
    """Return the secret folders and what is in them; sockets and links are not followed."""
    found = [
        path for name in _PRIVATE for path in (directory / name, *(directory / name).glob("*"))
    ]
    for path in sorted(found)[:_MAX_FILES]:
        try:
            facts = path.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISLNK(facts.st_mode):
            yield FileMode(
                str(path.relative_to(directory)), facts.st_mode, facts.st_uid == os.geteuid()
            )


def _swap_areas() -> tuple[str, ...]:
    try:
        lines = _SWAPS.read_text().splitlines()[1:]
    except OSError:
        return ()
    return tuple(line.split()[0] for line in lines if line.split())
