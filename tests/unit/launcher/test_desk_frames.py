"""Frames between a workload and its desk."""

from __future__ import annotations

import pytest

from cloister.errors import MalformedError, ReleaseDeniedError, UnavailableError
from cloister.keyservice.budget_messages import MAX_AMOUNT, padded
from cloister.launcher.desk_frames import FRAME_BYTES, DeskAnswer, DeskQuestion
from cloister.wire import encode

QUESTION = {"version": 1, "budget": "queries", "principal": "alice", "amount": 1}
ANSWER = {"version": 1, "left": 3, "code": "", "message": ""}


@pytest.mark.spec("MEM-91")
@pytest.mark.parametrize(
    "question", [DeskQuestion("q", "a", 0), DeskQuestion("q" * 64, "a" * 255, MAX_AMOUNT)]
)
def test_questions_have_one_size(question: DeskQuestion) -> None:
    """And come back as they were."""
    frame = question.to_frame()
    assert len(frame) == FRAME_BYTES
    assert DeskQuestion.from_frame(frame) == question


@pytest.mark.spec("MEM-91")
@pytest.mark.parametrize(
    "answer",
    [DeskAnswer(7), DeskAnswer(0, "budget.spent", "so"), DeskAnswer(2**62, "c" * 64, "")],
)
def test_answers_have_one_size(answer: DeskAnswer) -> None:
    """And come back as they were."""
    frame = answer.to_frame()
    assert len(frame) == FRAME_BYTES
    assert DeskAnswer.from_frame(frame) == answer


@pytest.mark.spec("MEM-91")
def test_a_long_sentence_is_cut() -> None:
    """Between characters, so that the frame can be read."""
    found = DeskAnswer.from_frame(DeskAnswer(0, "budget.spent", "é" * 1000).to_frame())
    assert found.message == "é" * 100


@pytest.mark.spec("MEM-91", "MEM-92")
@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": "1"},
        {"more": 1},
        {"budget": ""},
        {"budget": "a/b"},
        {"principal": ""},
        {"principal": "a b"},
        {"principal": b"a"},
        {"amount": -1},
        {"amount": MAX_AMOUNT + 1},
        {"amount": True},
    ],
)
def test_what_is_no_question_is_refused(changes: dict[str, object]) -> None:
    """Each field strictly."""
    frame = padded(encode(QUESTION | changes), FRAME_BYTES)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(MalformedError):
        DeskQuestion.from_frame(frame)


@pytest.mark.spec("MEM-91")
@pytest.mark.parametrize(
    "frame",
    [b"", b"\0" * FRAME_BYTES, b"\xff" * FRAME_BYTES, padded(encode(QUESTION), FRAME_BYTES)[:-1],
     padded(encode(QUESTION), FRAME_BYTES)[:-1] + b"x", padded(b"\x81" * 400, FRAME_BYTES)],
)  # fmt: skip
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    """Other sizes, other ends, and bytes that say nothing."""
    for kind in (DeskQuestion, DeskAnswer):
        with pytest.raises(MalformedError):
            kind.from_frame(frame)


def test_an_answer_tells_what_is_left_or_raises() -> None:
    """By the code, and its class."""
    assert DeskAnswer(3).require_spent() == 3
    for code, kind in (
        ("budget.spent", ReleaseDeniedError),
        ("keyservice.unreachable", UnavailableError),
    ):
        with pytest.raises(kind) as e:
            DeskAnswer(3, code, "a sentence").require_spent()
        assert (e.value.code, e.value.public) == (code, "a sentence")
    with pytest.raises(MalformedError):
        DeskAnswer.from_frame(padded(encode(ANSWER | {"left": -1}), FRAME_BYTES))
