"""How a workload spends: through the descriptor that the launcher passed, called `desk`.

Example::

    with Desk.passed(os.environ, process=os.getpid()) as desk:
        left = desk.spend("queries", "alice", 1)

The workload has no network and no secret for this: the launcher asks the key service in the name of
its membership, and the counter is the key service's. A workload that is started again goes on where
it was.

Spec: membership-v1, clauses MEM-90 to MEM-93.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Protocol

from cloister.errors import ConfigError, UnavailableError
from cloister.launcher.desk_frames import FRAME_BYTES, DeskAnswer, DeskQuestion

__all__ = ["Desk", "Spend"]

NAME: Final = "desk"
_FIRST: Final = 3
_TIMEOUT_S: Final = 60.0  # longer than the launcher tries


class Spend(Protocol):
    """Where budgets are spent; `Desk.spend`."""

    def __call__(self, budget: str, principal: str, amount: int) -> int:
        """Spend, and return what is left.

        Raises:
            CloisterError: Nothing was spent, or nobody knows.
        """


class Desk:
    """The workload's end; several threads may use it."""

    def __init__(self, end: socket.socket) -> None:
        """Take over a connected stream socket."""
        self._end = end
        self._lock = threading.Lock()
        self._broken = False
        end.settimeout(_TIMEOUT_S)

    @classmethod
    def passed(cls, environment: Mapping[str, str], *, process: int) -> Desk:
        """Return the desk that was passed to this process.

        Args:
            environment: The process's own.
            process: Its id.

        Raises:
            ConfigError: None was (`config.missing`).
        """
        missing = ConfigError(
            "no desk was passed to this process",
            code="config.missing",
            hint="name the policy's workload under roles of a budget, and start it with cloister",
        )
        names = environment.get("LISTEN_FDNAMES", "").split(":")
        mine = environment.get("LISTEN_PID") == str(process)
        if not mine or NAME not in names or environment.get("LISTEN_FDS") != str(len(names)):
            raise missing
        try:
            end = socket.socket(fileno=_FIRST + names.index(NAME))
        except OSError as e:
            raise missing from e
        if end.family != socket.AF_UNIX or end.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            end.close()
            raise missing
        end.set_inheritable(False)
        return cls(end)

    def __enter__(self) -> Desk:
        """Use it as a context."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close this end."""
        self._end.close()

    def spend(self, budget: str, principal: str, amount: int) -> int:
        """Spend so much of a budget in a principal's name; return what is left.

        Whatever the amount pays for happens after this returned, never before.

        Raises:
            MalformedError: That cannot be meant (`message.malformed`).
            ReleaseDeniedError: Nothing was spent: the policy lets this workload spend no such
                budget (`budget.unknown`), or not in that name (`budget.principal`), or not so much
                is left (`budget.spent`); or it is not in the job any more (`release.not-member`).
            UnavailableError: It is not known whether the amount was spent; the same asked for
                again, before anything else, spends it once.
        """
        question = DeskQuestion(budget, principal, amount).to_frame()
        with self._lock:
            if self._broken:
                raise _gone()
            self._broken = True  # until there is a whole answer: frames are not told apart
            try:
                self._end.sendall(question)
                frame = self._receive()
            except OSError as e:
                raise _gone() from e
            answer = DeskAnswer.from_frame(frame)
            self._broken = False
        return answer.require_spent()

    def _receive(self) -> bytes:
        frame = bytearray()
        while len(frame) < FRAME_BYTES:
            part = self._end.recv(FRAME_BYTES - len(frame))
            if not part:
                raise _gone()
            frame += part
        return bytes(frame)


def _gone() -> UnavailableError:
    return UnavailableError("the launcher's desk does not answer", code="keyservice.unreachable")
