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
    """The workload's end; several threads may use it.

    Frames are of one size and answered in order: an answer that comes after nobody waits for it any
    more is known by its place, and is that of the same question, if it is asked next.
    """

    def __init__(self, end: socket.socket, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Take over a connected stream socket.

        Args:
            end: The workload's.
            timeout_s: For one answer.
        """
        self._end = end
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._broken = False
        self._owed = b""  # the question whose answer nobody waits for any more
        self._came = bytearray()  # of an answer that is not whole

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
            self._broken = True  # but for an answer, or one that may still come
            try:
                answer = self._ask(question)
            except OSError as e:
                raise _gone() from e
            self._broken = False
        return answer.require_spent()

    def _ask(self, question: bytes) -> DeskAnswer:
        """Return the answer to a question; that to an earlier one is not waited for.

        Raises:
            TimeoutError: It is late, and may come.
            OSError: None comes.
        """
        if self._owed:
            owed, answer = self._owed, self._receive(0)
            if owed == question:
                return answer
        self._end.settimeout(self._timeout_s)
        self._end.sendall(question)
        self._owed = question
        return self._receive(self._timeout_s)

    def _receive(self, timeout_s: float) -> DeskAnswer:
        """Return the answer that is owed."""
        self._end.settimeout(timeout_s)
        try:
            while len(self._came) < FRAME_BYTES:
                part = self._end.recv(FRAME_BYTES - len(self._came))
                if not part:
                    raise ConnectionAbortedError("the launcher closed the desk")
                self._came += part
        except (TimeoutError, BlockingIOError) as e:
            self._broken = False
            raise TimeoutError("no answer in time") from e
        frame, self._came, self._owed = bytes(self._came), bytearray(), b""
        return DeskAnswer.from_frame(frame)


def _gone() -> UnavailableError:
    return UnavailableError("the launcher's desk does not answer", code="keyservice.unreachable")
