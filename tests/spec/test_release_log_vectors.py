"""Vectors of release-log-v1: through the code that ships, the second reader, and the generator."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import CODES, CloisterError
from cloister.keyservice.auditing import Evidence, verify
from cloister.keyservice.client import PinnedService
from cloister.keyservice.cosigning import Cosigner, Quorum, WitnessKey
from cloister.keyservice.log import Checkpoint, Receipt, read_leaf, verify_receipt
from cloister.keyservice.merkle import verify_consistency
from cloister.keyservice.mirror import Mirror
from cloister.keyservice.notes import Note
from cloister.keyservice.witness import MAX_REQUEST_BYTES, Held, Witness

SPEC = Path(__file__).parents[2] / "docs" / "spec"
VECTORS = SPEC / "vectors" / "release-log-v1"
CASES = {path.stem: json.loads(path.read_text()) for path in sorted(VECTORS.glob("*.json"))}
Case = dict[str, Any]


def service_of(case: Case) -> PinnedService:
    return PinnedService(VerifyingKey(bytes.fromhex(case["service"])), case["origin"])


def quorum_of(case: Case) -> Quorum:
    return Quorum(tuple(WitnessKey.from_text(key) for key in case["witnesses"]), case["quorum"])


def leaf(case: Case, folder: Path) -> None:
    data = bytes.fromhex(case["leaf"])
    assert read_leaf(data).to_bytes() == data


def note(case: Case, folder: Path) -> None:
    service = service_of(case)
    found = Checkpoint.from_note(case["note"], service=service.identity, origin=service.origin)
    assert found.origin == case["origin"]
    quorum_of(case).require(Note.from_text(case["note"]))


def key(case: Case, folder: Path) -> None:
    assert WitnessKey.from_text(case["key"]).text == case["key"]


def receipt(case: Case, folder: Path) -> None:
    service = service_of(case)
    found = Receipt.from_bytes(bytes.fromhex(case["receipt"]))
    verify_receipt(found, service=service.identity, origin=service.origin)


def consistency(case: Case, folder: Path) -> None:
    verify_consistency(
        old_size=case["old_size"],
        old_root=bytes.fromhex(case["old_root"]),
        size=case["size"],
        root=bytes.fromhex(case["root"]),
        proof=[bytes.fromhex(node) for node in case["proof"]],
    )


def mirror(case: Case, folder: Path) -> None:
    (folder / "entries").write_text(case["entries"])
    (folder / "checkpoint").write_text(case["checkpoint"])
    evidence = Evidence(
        notes=case["notes"],
        receipts=[Receipt.from_bytes(bytes.fromhex(text)) for text in case["receipts"]],
        quorum=quorum_of(case),
    )
    verify(Mirror(folder), service=service_of(case), evidence=evidence, progress=lambda *_: None)


def witness(case: Case) -> str:
    cosigner = Cosigner(case["witness"], SigningKey(bytes.fromhex(case["seed"])))
    judge = Witness(cosigner, {case["origin"]: service_of(case).identity}).judge
    held = Held(case["held"]["size"], bytes.fromhex(case["held"]["root"]))
    data = case["request"].encode()
    verdict = judge(data, {case["origin"]: held}, at=case["at"])
    status = 413 if len(data) > MAX_REQUEST_BYTES else verdict.status  # the server's to say
    assert verdict.body.decode() == case["answer"]
    return "ok" if status == 200 else str(status)


KINDS: dict[str, Callable[[Case, Path], None]] = {
    "leaf": leaf,
    "note": note,
    "key": key,
    "receipt": receipt,
    "consistency": consistency,
    "mirror": mirror,
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.spec(case["clause"]), id=name)
        for name, case in CASES.items()
    ],
)
def test_vector(name: str, tmp_path: Path) -> None:
    """The code comes to the result that the vector expects."""
    case = CASES[name]
    found = "ok"
    try:
        if case["kind"] == "witness":
            found = witness(case)
        else:
            KINDS[case["kind"]](case, tmp_path)
    except CloisterError as e:
        found = e.code
    assert found == case["expect"], case["comment"]


def test_at_least_half_are_refusals() -> None:
    """Refusals are what vectors are for; each names a code, or the status of a witness."""
    expected = [case["expect"] for case in CASES.values()]
    assert len(expected) > 100
    assert 2 * expected.count("ok") <= len(expected)
    assert all(each == "ok" or each in CODES or each.isdecimal() for each in expected)


def test_second_reader_agrees() -> None:
    """A reader written from the page alone gives the same for every vector."""
    done = subprocess.run(
        [sys.executable, VECTORS / "reader.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(CASES)} of {len(CASES)} vectors agree" in done.stdout


def test_generator_leaves_no_difference(tmp_path: Path) -> None:
    """Generating the vectors again changes no byte."""
    subprocess.run([sys.executable, VECTORS / "generate.py", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert made == {path.name: path.read_bytes() for path in VECTORS.glob("*.json")}


@pytest.mark.spec("RL-57")
def test_the_page_has_the_statuses_of_the_code() -> None:
    """Numbers stand once on the page and once in the code."""
    page = (SPEC / "release-log-v1.md").read_text("utf-8")
    clause = page[page.index("[RL-57]") : page.index("## Limits")]
    listed = {code: int(status) for code, status in re.findall(r"`([a-z.-]+)`\s+(\d+)", clause)}
    assert len(listed) == 6
    assert listed == {code: CODES[code].exit_status for code in listed}
