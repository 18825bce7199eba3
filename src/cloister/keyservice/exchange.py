"""One exchange with the pinned key service: ask, check who answered, ask again while it may help.

Every answer is checked against the pinned identity before anything in it is read. Retrying happens
in one place (`Call.until_deadline`), only for what `retryable` says, until a deadline.

Spec: key-release-v1.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from cloister.attestation.binding import NONCE_BYTES
from cloister.crypto.digest import require_equal
from cloister.crypto.kdf import random_bytes
from cloister.errors import CloisterError, IdentityError, MalformedError, UnavailableError
from cloister.keyservice.clock import Clock
from cloister.keyservice.messages import (
    CHALLENGE_PATH,
    Challenge,
    ChallengeRequest,
    Failure,
    SignedReply,
)
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.transport import Transport

__all__ = ["DEADLINE_S", "MAX_SKEW_S", "Call", "another_service"]

MAX_SKEW_S: Final = 300
DEADLINE_S: Final = 30.0
_ATTEMPT_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.02
_LAST_PAUSE_S: Final = 1.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Call:
    """One exchange over a transport, with its limits."""

    transport: Transport
    service: PinnedService
    clock: Clock
    deadline_s: float

    def until_deadline(self, attempt: Callable[[float], Result]) -> Result:
        """Call `attempt` with the seconds it has, again while it raises what may pass.

        A last attempt that the deadline cut short says less than the one before: whose reason is
        raised then.
        """
        end = time.monotonic() + self.deadline_s
        pause = _FIRST_PAUSE_S
        before: UnavailableError | None = None
        while True:
            seconds = min(max(end - time.monotonic(), 0.001), _ATTEMPT_S)
            try:
                return attempt(seconds)
            except UnavailableError as e:
                over = time.monotonic() + pause >= end
                if over and before and e.code == "keyservice.slow" and seconds < _ATTEMPT_S:
                    raise before from e
                if over or not _may_pass(e):
                    raise
                before = e
            time.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE_S)

    def exchange(self, path: str, request: bytes, *, timeout_s: float) -> bytes:
        """Post once; return the result's bytes if the pinned service gave them to this request.

        Raises:
            IdentityError: Somebody else answered (`identity.keyservice`), or the clocks differ by
                more than `MAX_SKEW_S` (`identity.clock`).
            CloisterError: What the service refused with.
        """
        data = self.transport.post(path, request, timeout_s=timeout_s)
        try:
            signed = SignedReply.from_bytes(data)
        except MalformedError as e:
            raise IdentityError(
                "what answered is not the pinned key service", code="identity.keyservice"
            ) from e
        answer = signed.open(path=path, request=request, service=self.service.identity)
        _require_same_time(answer.at, self.clock().at)
        if isinstance(answer, Failure):
            raise answer.error()
        return answer.result

    def challenge(self, *, timeout_s: float, path: str = CHALLENGE_PATH) -> bytes:
        """Ask for a nonce for one request; `path` says for which kind it is good."""
        request = ChallengeRequest(random_bytes(NONCE_BYTES)).to_bytes()
        challenge = Challenge.from_bytes(self.exchange(path, request, timeout_s=timeout_s))
        require_equal(challenge.service, self.service.identity.raw, error=another_service())
        return challenge.nonce


def _may_pass(error: CloisterError) -> bool:
    """A full disk or a broken state is for a person; the rest may be over in a moment."""
    return error.code in {
        "keyservice.unreachable",
        "keyservice.slow",
        "keyservice.busy",
        "keyservice.database",
        "keyservice.moved",
        "keyservice.source",
        "volume.leased",
    }


def _require_same_time(theirs: int, ours: int) -> None:
    if abs(theirs - ours) > MAX_SKEW_S:
        raise IdentityError(
            f"the key service's clock says {_time(theirs)} and this machine's {_time(ours)}",
            code="identity.clock",
            hint="set the clock that is wrong",
        )


def _time(at: int) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(at, tz=dt.UTC):%F %T} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{at} s after 1970"


def another_service() -> IdentityError:
    """Return what an answer that is not to this request is refused with."""
    return IdentityError(
        "the answer is not the pinned key service's to this request", code="identity.keyservice"
    )
