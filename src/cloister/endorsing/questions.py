"""What is asked of a source, and what it answered; no I/O.

An answer is untrusted, whether it comes from the network or from the cache: the question that it
answers judges it each time.

Spec: endorsement-sources-v1, clauses ES-1 to ES-3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloister.errors import EndorsementError

__all__ = ["MAX_ANSWER_BYTES", "Answer", "Post", "Question", "Window"]

MAX_ANSWER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when something counts, both ends included, in seconds since the epoch."""

    start: int
    end: int

    def holds(self, at: int) -> bool:
        """Tell whether an instant is in it."""
        return self.start <= at <= self.end

    def within(self, other: Window) -> Window:
        """Return what both have in common."""
        return Window(max(self.start, other.start), min(self.end, other.end))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source said; untrusted.

    Attributes:
        url: What was asked.
        at: When it was said.
        headers: Those that the question wants, by their names in lower case.
        body: The body.
    """

    url: str
    at: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, *names: str) -> str:
        """Return the first header that is there under one of these names.

        Raises:
            EndorsementError: None is.
        """
        for name in names:
            for found, value in self.headers:
                if found == name:
                    return value
        raise EndorsementError(
            "an answer lacks the header with its issuers",
            code="endorsement.mismatch",
            detail=names[0],
        )


@dataclass(frozen=True, slots=True)
class Post:
    """What is posted.

    Attributes:
        body: The bytes, with a nonce.
        media_type: Of the body.
        identity: What is asked, without the nonce: names the answer in the cache.
        require_fresh: Raises unless a body answers exactly this request; for new answers only.
    """

    body: bytes
    media_type: str
    identity: bytes
    require_fresh: Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Question:
    """One request whose answer can be kept.

    Attributes:
        service: Who is asked, a name of `services.ADDRESSES`.
        target: Path and query below his address.
        about: What is asked for, for people.
        judge: Says from when to when an answer counts; raises one of our errors where it is no
            answer to this question.
        headers: Response headers that belong to the answer, in lower case.
        post: For a POST; None for a GET.
        max_bytes: The longest answer.
    """

    service: str
    target: str
    about: str
    judge: Callable[[Answer], Window]
    headers: tuple[str, ...] = ()
    post: Post | None = None
    max_bytes: int = MAX_ANSWER_BYTES
