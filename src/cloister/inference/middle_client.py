"""The inside's end: asks the untrusted middle, and takes from it bytes of the expected form only.

Nothing here says that an answer is right; `partition.checking` does. Whatever the middle does
(wrong form, too much, too little, nothing, never), a caller gets an error by its deadline, and the
next question goes over a new connection.

Spec: outside-middle-v1.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.errors import MalformedError, UnavailableError
from cloister.inference.middle_link import Link, SharedMemory, connect
from cloister.inference.middle_message import (
    Hello,
    Layout,
    answer_head,
    batch_head,
    hello_head,
    read_failed,
    ready_head,
)
from cloister.inference.tensor import Array
from cloister.wire.descriptors import close_descriptors

__all__ = ["MiddleClient"]

_PAGE: Final = 4096
_NUMBER_BITS: Final = 62


class MiddleClient:
    """A client of one middle. It may be shared between threads; questions go one at a time."""

    def __init__(
        self,
        address: str,
        *,
        part: bytes,
        outputs: Sequence[str],
        timeout_s: float = 30.0,
        shared: bool = False,
        blinded: bool = False,
    ) -> None:
        """Say whom to ask; nothing is opened yet.

        Args:
            address: `unix:/path` or `tcp:host:port`; nobody there is trusted.
            part: SHA-256 of the middle's file, so that an honest middle notices a mistake.
            outputs: The tensors that are asked for; where blinded, the steps, by what they make.
            timeout_s: For each question, connecting included.
            shared: Put bodies in shared memory; for local sockets.
            blinded: Ask for one linear step at a time, of residues.
        """
        self._address: Final = address
        self._part: Final = part
        self._outputs: Final = tuple(outputs)
        self._timeout_s: Final = timeout_s
        self._shared: Final = shared
        self._blinded: Final = blinded
        self._lock: Final = threading.Lock()
        self._link: Link | None = None
        self._memory: SharedMemory | None = None
        self.sent_bytes = 0
        self.received_bytes = 0

    def ask(
        self, given: Mapping[str, Array], expected: Layout, *, within_s: float | None = None
    ) -> dict[str, Array]:
        """Return what the middle says, as arrays of exactly the expected layout.

        Args:
            given: What the middle is to compute on.
            expected: Names, types and shapes of the outputs, in the order in which they were
                asked for.
            within_s: For a question of several, what these have left; at most the timeout.

        Raises:
            UnavailableError: `middle.unavailable`: nobody there, gone, or too slow;
                `middle.failed`: it says that it cannot.
            MalformedError: `middle.malformed`, `wire.malformed` or `wire.too-large`: it answered
                something else.
        """
        with self._lock:
            patience = self._timeout_s if within_s is None else min(within_s, self._timeout_s)
            deadline = time.monotonic() + patience
            old = self._link is not None
            try:
                return self._ask(given, expected, deadline)
            except UnavailableError as e:
                self._drop()
                # A middle that was started anew has closed the old connection.
                if not old or e.code != "middle.unavailable" or time.monotonic() >= deadline:
                    raise
            except BaseException:
                self._drop()
                raise
            try:
                return self._ask(given, expected, deadline)
            except BaseException:
                self._drop()
                raise

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            self._drop()

    def _ask(
        self, given: Mapping[str, Array], expected: Layout, deadline: float
    ) -> dict[str, Array]:
        layout = Layout.of(given)
        answer_at = -(-layout.size // _PAGE) * _PAGE
        link = self._connected(answer_at + expected.size, deadline)
        number = int.from_bytes(random_bytes(8), "big") >> (64 - _NUMBER_BITS)
        memory = self._memory
        if memory is not None:
            layout.write(given, memory.view)
            link.send(batch_head(number, layout), deadline=deadline)
        else:
            body = bytearray(layout.size)
            layout.write(given, memoryview(body))
            link.send(batch_head(number, layout), memoryview(body), deadline=deadline)
        self.sent_bytes += layout.size
        in_frame = 0 if memory is not None else expected.size
        head, length, _ = self._received(link, in_frame, deadline)
        self._require_answer(head, length, number, expected, in_frame)
        self.received_bytes += expected.size
        if memory is not None:
            return expected.read(memory.view[answer_at:], private=True)
        answer = bytearray(expected.size)
        link.receive_into(memoryview(answer), deadline=deadline)
        return expected.read(memoryview(answer), private=False)

    def _require_answer(
        self, head: bytes, length: int, number: int, expected: Layout, in_frame: int
    ) -> None:
        if head == answer_head(number, expected) and length == in_frame:
            return
        if not length:
            with contextlib.suppress(MalformedError):
                failed, reason = read_failed(head)
                if failed == number:
                    raise UnavailableError(
                        "the middle of the model says that it cannot answer",
                        code="middle.failed",
                        detail=reason,
                    )
        raise _malformed("the middle answered something that was not asked")

    def _connected(self, size: int, deadline: float) -> Link:
        if self._memory is not None and self._memory.size < size:
            self._drop()
        if self._link is not None:
            return self._link
        self._link = link = connect(self._address, deadline=deadline)
        descriptors: list[int] = []
        if self._shared:
            self._memory = SharedMemory.create(1 << max(size - 1, _PAGE - 1).bit_length())
            descriptors = [self._memory.descriptor]
        memory_bytes = 0 if self._memory is None else self._memory.size
        hello = Hello(self._part, self._outputs, memory_bytes, blinded=self._blinded)
        link.send(hello_head(hello), deadline=deadline, descriptors=descriptors)
        head, length, _ = self._received(link, 0, deadline)
        if head != ready_head(self._part) or length:
            raise _malformed("the middle runs another part, or is no middle")
        return link

    def _received(self, link: Link, max_body: int, deadline: float) -> tuple[bytes, int, list[int]]:
        head, length, descriptors = link.receive_head(max_body=max_body, deadline=deadline)
        if descriptors:
            close_descriptors(descriptors)
            raise _malformed("the middle sent a descriptor")
        return head, length, descriptors

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
        if self._memory is not None:
            self._memory.close()
        self._link = self._memory = None


def _malformed(sentence: str) -> MalformedError:
    return MalformedError(sentence, code="middle.malformed")
