"""Vectors of membership-v1, through the code that ships and through a second reader."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cloister.crypto.signature import VerifyingKey
from cloister.errors import CloisterError
from cloister.keyservice.budget_messages import SpendDemand, SpendOutcome
from cloister.keyservice.member_messages import (
    MemberRequest,
    SealedMemberRequest,
    member_secret,
)
from cloister.keyservice.member_records import Job, Member
from cloister.keyservice.roster import Expected, SignedRoster
from cloister.launcher.desk_frames import DeskQuestion

FOLDER = Path(__file__).parents[2] / "docs" / "spec" / "vectors" / "membership-v1"
PATHS = sorted(FOLDER.glob("*.json"))


def load(name: str) -> ModuleType:
    """A script beside the vectors."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def roster(case: dict[str, Any]) -> None:
    """A signed roster, offline."""
    want = case["expected"]
    signed = SignedRoster.from_bytes(bytes.fromhex(case["message"]))
    found = signed.verify(
        Expected(
            service=VerifyingKey(bytes.fromhex(want["service"])),
            domain=want["domain"],
            namespace=want["namespace"],
            name=want["name"],
            of=want["of"],
            epoch=want["epoch"],
            at=want["now"],
            max_age_s=want["max_age_s"],
        )
    )
    assert found.to_bytes() == signed.body


def request(case: dict[str, Any]) -> None:
    """A member's request with its code."""
    sealed = SealedMemberRequest.from_bytes(bytes.fromhex(case["message"]))
    assert MemberRequest.from_bytes(sealed.body).to_bytes() == sealed.body
    sealed.require(bytes.fromhex(case["secret"]))


def secret(case: dict[str, Any]) -> None:
    """A member's secret."""
    policy = bytes.fromhex(case["policy"])
    job = Job(case["namespace"], case["name"], policy, 1, {}, None)
    key = bytes.fromhex(case["key"])
    member = Member(case["role"], case["instance"], "", policy, b"", b"", key, 0, 0, 1)
    made = member_secret(bytes.fromhex(case["service_secret"]), job, member)
    assert made.hex() == case["secret"]


def demand(case: dict[str, Any]) -> None:
    """What a member wants to spend, sealed."""
    parts = (bytes.fromhex(case[name]) for name in ("message", "secret", "nonce"))
    SpendDemand.opened(*parts)


def outcome(case: dict[str, Any]) -> None:
    """What came of it, sealed."""
    parts = (bytes.fromhex(case[name]) for name in ("message", "secret", "nonce"))
    SpendOutcome.opened(*parts)


def frame(case: dict[str, Any]) -> None:
    """What a workload asks its desk."""
    data = bytes.fromhex(case["message"])
    assert DeskQuestion.from_frame(data).to_frame() == data


KINDS = {
    "roster": roster,
    "request": request,
    "secret": secret,
    "demand": demand,
    "outcome": outcome,
    "frame": frame,
}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.stem, marks=pytest.mark.spec(json.loads(path.read_text())["clause"])
        )
        for path in PATHS
    ],
)
def test_vector(path: Path) -> None:
    """The code comes to the result that the vector expects."""
    case = json.loads(path.read_text())
    found = "ok"
    try:
        KINDS[case["kind"]](case)
    except CloisterError as e:
        found = e.code
    assert found == case["expect"], case["comment"]


def test_a_second_reader_agrees() -> None:
    """Written from the page alone, with other libraries."""
    assert load("reader").main() == []


def test_the_generator_leaves_no_diff(tmp_path: Path) -> None:
    """What is checked in is what it writes."""
    load("generate").main(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in PATHS}


def test_at_least_half_of_the_vectors_fail() -> None:
    """Refusals are what vectors are for."""
    expected = [json.loads(path.read_text())["expect"] for path in PATHS]
    assert 2 * expected.count("ok") <= len(expected)
