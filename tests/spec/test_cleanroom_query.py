"""The vectors of cleanroom-query-v1, through the code that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.query_answers import answer_of
from cloister.cleanroom.query_message import (
    CODE_OF,
    GREETING_BYTES,
    MAX_RECORD_BYTES,
    SIGNATURE_LABEL,
    Answer,
    Ask,
    Greeting,
    Outcome,
    QueryRules,
    Request,
    Session,
)
from cloister.cleanroom.query_server import SLOW_TICKS
from cloister.cleanroom.query_signal import LEAST, MOST, bell
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, IdentityError

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/spec/cleanroom-query-v1.md"
FOLDER = ROOT / "docs/spec/vectors/cleanroom-query-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def rules_of(case: dict[str, Any]) -> QueryRules:
    """The sizes of a room."""
    rules = case["rules"]
    return QueryRules(
        room=bytes.fromhex(rules["room"]),
        shape=tuple(rules["shape"]),
        classes=rules["classes"],
        kind=rules["answer"],
        top_k=rules["top_k"],
        digits=rules["digits"],
        tick_s=rules["tick_ms"] / 1000,
        limit=rules["limit"],
    )


def greeting(case: dict[str, Any]) -> None:
    """A greeting, and its one spelling."""
    found = Greeting.from_bytes(bytes.fromhex(case["bytes"]))
    assert (found.room.hex(), found.nonce.hex()) == (case["room"], case["nonce"])
    assert found.to_bytes().hex() == case["bytes"]


def request(case: dict[str, Any]) -> None:
    """A request, what it must be signed over, and the same from the client's side."""
    rules = rules_of(case)
    found = Request.from_bytes(bytes.fromhex(case["bytes"]), rules)
    found.floats(rules)
    said = case["session"]
    session = Session(rules.room, said["server"], bytes.fromhex(said["nonce"]), said["number"])
    assert (found.ask, found.principal) == (case["ask"], case["principal"])
    assert found.signed(session).hex() == case["signed"]
    key = SigningKey(bytes.fromhex(case["seed"]))
    error = IdentityError("not signed", code="query.principal")
    key.public.verify(SIGNATURE_LABEL, found.signed(session), found.signature, error=error)
    again = Request.make(
        Ask(case["ask"]), session, principal=case["principal"], record=found.record, key=key
    )
    assert again.to_bytes().hex() == case["bytes"]


def answer(case: dict[str, Any]) -> None:
    """An answer, and its one spelling."""
    rules = rules_of(case)
    found = Answer.from_bytes(bytes.fromhex(case["bytes"]), rules)
    standing = found.standing
    assert case["says"] == {
        "outcome": found.outcome,
        "number": found.number,
        "labels": list(found.labels),
        "scores": list(found.scores),
        "left": found.left,
        "standing": [standing.answered, standing.noticed, standing.signal],
    }
    assert found.to_bytes(rules).hex() == case["bytes"]


def rounded(case: dict[str, Any]) -> None:
    """Scores, and the labels and scores of the answer."""
    scores = np.array([float(each) for each in case["scores"]], np.float32)
    labels, found = answer_of(scores, rules_of(case))
    assert [list(pair) for pair in zip(labels, found, strict=True)] == case["pairs"]


def signal(case: dict[str, Any]) -> None:
    """Distances, and how much like a bell they are."""
    assert bell(case["distances"]) == pytest.approx(case["signal"], abs=1e-6)


CHECKS = {
    "greeting": greeting, "request": request, "answer": answer, "rounded": rounded,
    "signal": signal,
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.spec(
    "CQ-1", "CQ-2", "CQ-3", "CQ-4", "CQ-5", "CQ-6", "CQ-7", "CQ-8", "CQ-9", "CQ-10", "CQ-11",
    "CQ-12", "CQ-30", "CQ-31", "CQ-32", "CQ-33", "CQ-40", "CQ-41",
)  # fmt: skip
def test_vectors(name: str) -> None:
    """Each is read as it says, or refused with its code."""
    case = VECTORS[name]
    check = CHECKS[case["kind"]]
    if case["expect"] == "ok":
        check(case)
        return
    with pytest.raises(CloisterError) as caught:
        check(case)
    assert caught.value.code == case["expect"]


def test_more_than_half_of_the_vectors_are_refusals() -> None:
    """Readers are judged by what they refuse."""
    refused = [name for name, case in VECTORS.items() if case["expect"] != "ok"]
    assert 2 * len(refused) > len(VECTORS) > 60


def test_the_generator_writes_the_same_vectors_again(tmp_path: Path) -> None:
    """A second run of the generator leaves no difference."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    subprocess.run([sys.executable, str(script)], check=True)
    again = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert again == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}


@pytest.mark.spec("CQ-10")
def test_the_page_has_the_numbers_of_the_code() -> None:
    """Labels, limits and outcomes stand once in the page and once in the code, and agree."""
    page = PAGE.read_text("utf-8")
    assert SIGNATURE_LABEL.decode() in page
    assert f"{MAX_RECORD_BYTES >> 20} MiB" in page
    assert f"{GREETING_BYTES} bytes" in page
    assert f"{SLOW_TICKS} windows later" in page
    assert f"there are {LEAST} distances of a principal; the last {MOST} count" in page
    for outcome in Outcome:
        code = f"`{CODE_OF[outcome]}`" if outcome in CODE_OF else "answered"
        assert f"| {outcome.value} | {code} |" in page
