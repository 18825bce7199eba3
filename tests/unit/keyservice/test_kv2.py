"""What is read of a source's answer, beside the vectors."""

from __future__ import annotations

import json

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.kv2 import MAX_ANSWER_BYTES, kv2_value
from cloister.keyservice.policy.secret_rules import ExternalForm

FORM = ExternalForm(source="vault", path="secret/data/a", field="b", max_bytes=65_536)


def body(value: object) -> bytes:
    """An answer with this value."""
    metadata = {"destroyed": False, "deletion_time": ""}
    return json.dumps({"data": {"data": {"b": value}, "metadata": metadata}}).encode()


@pytest.mark.spec("EXT-33", "EXT-46")
@pytest.mark.parametrize(
    "answer", [body("planted")[:-1], body(["planted"]), body("planted" * 10_000), b'{"planted"']
)
def test_no_refusal_shows_a_part_of_the_answer(answer: bytes) -> None:
    """Neither sentence, detail nor cause."""
    with pytest.raises(CloisterError) as e:
        kv2_value(200, answer, FORM)
    assert e.value.code == "source.malformed"
    shown = [str(e.value), repr(e.value.__dict__), repr(e.value.__cause__)]
    assert not any("planted" in text for text in shown)


@pytest.mark.spec("EXT-33")
def test_the_longest_value_in_the_longest_spelling_fits() -> None:
    """Each byte escaped."""
    answer = body("\x01" * 65_536)
    assert len(answer) < MAX_ANSWER_BYTES
    assert kv2_value(200, answer, FORM) == b"\x01" * 65_536


@pytest.mark.spec("EXT-34")
def test_a_longer_answer_is_not_read() -> None:
    """Whoever brought it."""
    with pytest.raises(CloisterError) as e:
        kv2_value(200, body("a") + b" " * MAX_ANSWER_BYTES, FORM)
    assert e.value.code == "source.malformed"
