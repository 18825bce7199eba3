"""Vectors of confinement-channel-v1, through the code that ships and through a second reader."""

from __future__ import annotations

import importlib.util
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.cleanroom.description import ModelDescription, parameters, shapes
from cloister.cleanroom.encoding import Limits, Message, decode, encode
from cloister.cleanroom.frames import Deframer, split
from cloister.errors import CloisterError

FOLDER = Path(__file__).parents[2] / "docs" / "spec" / "vectors" / "confinement-channel-v1"
PATHS = sorted(FOLDER.glob("*.json"))


def shown(value: Any) -> Any:
    """A field as the vectors write it."""
    if isinstance(value, float):
        return {"=f64": struct.pack(">d", value).hex()}
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [shown(each) for each in value]
    if isinstance(value, dict):
        return {key: shown(each) for key, each in value.items()}
    return value


def written(message: Message) -> dict[str, Any]:
    """A message as the vectors write it."""
    return {
        "kind": message.kind,
        "fields": shown(message.fields),
        "arrays": {
            name: [array.dtype.name, list(array.shape), array.tobytes().hex()]
            for name, array in message.arrays.items()
        },
    }


def message(case: dict[str, Any]) -> None:
    """One message, and its one spelling."""
    limits, data = case["limits"], bytes.fromhex(case["bytes"])
    found = decode(data, Limits(limits["message"], limits["head"], limits["arrays"]))
    assert written(found) == case["written"]
    assert encode(found) == data


def frames(case: dict[str, Any]) -> None:
    """Frames, and the messages in them."""
    deframer = Deframer(case["frame"], case["limit"])
    pieces = [bytes.fromhex(piece) for piece in case["pieces"]]
    found = [got for piece in pieces if (got := deframer.feed(piece)) is not None]
    assert [each.hex() for each in found] == case["messages"]
    again = [frame for each in found for frame in split(each, case["frame"])]
    if deframer.between:
        assert again == [piece for piece in pieces if any(piece)]


def description(case: dict[str, Any]) -> None:
    """A model, its shapes and its size."""
    found = ModelDescription.from_fields(case["description"])
    assert parameters(found) == case["parameters"]
    given = {name: list(shape) for name, shape in shapes(found).items() if name != "input"}
    assert given == case["output"]
    assert ModelDescription.from_fields(found.to_fields()) == found


@pytest.mark.spec("CC-61")
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
    kinds = {"message": message, "frames": frames, "description": description}
    found = "ok"
    try:
        kinds[case["kind"]](case)
    except CloisterError as e:
        found = e.code
    assert found == case["expect"], case["comment"]


def test_a_second_reader_agrees() -> None:
    """Written from the page alone."""
    done = subprocess.run(
        [sys.executable, FOLDER / "reader.py"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{len(PATHS)} agree\n", "")


def test_the_generator_leaves_no_diff(tmp_path: Path) -> None:
    """What is checked in is what it writes."""
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert made == {path.name: path.read_bytes() for path in PATHS}


def test_at_least_half_of_the_vectors_fail() -> None:
    """Refusals are what vectors are for."""
    expected = [json.loads(path.read_text())["expect"] for path in PATHS]
    assert 2 * expected.count("ok") <= len(expected)
