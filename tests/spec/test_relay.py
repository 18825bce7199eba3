"""Vectors of relay-v1, through the code that ships and through a second reader."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cloister.crypto.x509 import Identity
from cloister.errors import CloisterError
from cloister.network.frames import Answer, Greeting, Unframer
from cloister.network.members import task_of

FOLDER = Path(__file__).parents[2] / "docs" / "spec" / "vectors" / "relay-v1"
PATHS = sorted(FOLDER.glob("*.json"))


def load(name: str) -> ModuleType:
    """A script beside the vectors."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def greeting(case: dict[str, Any]) -> None:
    """What the opener says first."""
    message = bytes.fromhex(case["message"])
    found = Greeting.from_bytes(message)
    assert found.port == case["port"]
    assert found.to_bytes() == message


def answer(case: dict[str, Any]) -> None:
    """What the acceptor answers."""
    message = bytes.fromhex(case["message"])
    found = Answer.read_from(message)
    assert found == case["code"]
    assert found.encoded() == message


def instance(case: dict[str, Any]) -> None:
    """A member's name and its index."""
    found = task_of(Identity("d.example", "lab", "digits", "worker", case["instance"]))
    assert (found.role, found.index) == ("worker", case["index"])


def frames(case: dict[str, Any]) -> None:
    """One direction."""
    unframer = Unframer()
    found = b""
    for piece in case["pieces"]:
        data = (
            bytes.fromhex(piece["hex"])
            if "hex" in piece
            else piece["letter"].encode() * piece["length"]
        )
        found += unframer.feed(data)
    expected = case["data"] if "data" in case else case["letter"] * case["length"]
    assert found == expected.encode()
    assert unframer.mark.value == case["mark"]


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
    kinds = {"greeting": greeting, "answer": answer, "instance": instance, "frames": frames}
    found = "ok"
    try:
        kinds[case["kind"]](case)
    except CloisterError as e:
        found = e.code
    assert found == case["outcome"], case["comment"]


def test_a_second_reader_agrees() -> None:
    """Written from the page alone."""
    assert load("reader").main() == []


def test_the_generator_leaves_no_diff(tmp_path: Path) -> None:
    """What is checked in is what it writes."""
    load("generate").main(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in PATHS}


def test_at_least_half_of_the_vectors_fail() -> None:
    """Refusals are what vectors are for."""
    expected = [json.loads(path.read_text())["outcome"] for path in PATHS]
    assert 2 * expected.count("ok") <= len(expected)
