"""The vectors of partition-plan-v1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from cloister.crypto.signature import VerifyingKey
from cloister.errors import CloisterError
from cloister.partition.package import open_exposed, open_secret
from cloister.partition.plan import read_plan
from cloister.partition.sealing import memory_reading, read_labels, write_labels
from cloister.partition.thresholds import read_thresholds
from cloister.partition.wiring import require_wiring
from cloister.testing.partition import SampleCut

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs/spec/vectors/partition-plan-v1"
VECTORS: Final = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))
}


def having(key: str) -> list[str]:
    """The names of vectors that have a key."""
    return [name for name, vector in VECTORS.items() if key in vector]


def signers_of(vector: dict[str, Any]) -> list[VerifyingKey]:
    return [VerifyingKey(bytes.fromhex(text)) for text in vector["signers"]]


def plan(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["signed"])
    found = read_plan(data, signers=signers_of(vector))
    require_wiring(found.plan)
    assert found.data == data


def package(vector: dict[str, Any]) -> None:
    exposed, secret = (
        memory_reading({name: bytes.fromhex(text) for name, text in vector[side].items()})
        for side in ("exposed", "secret")
    )
    thresholds = read_thresholds(vector["thresholds"])
    opened = open_exposed(exposed, signers=signers_of(vector), thresholds=thresholds)
    found = open_secret(opened, secret)
    assert found.front.data == b"what is in front"
    assert found.labels == ("zero", "one")


def labels(vector: dict[str, Any]) -> None:
    assert read_labels(bytes.fromhex(vector["labels"])) == ("zero", "one")


READERS: Final = {"signed": plan, "exposed": package, "labels": labels}


@pytest.mark.parametrize(("key", "name"), [(key, name) for key in READERS for name in having(key)])
@pytest.mark.spec(
    "PP-1", "PP-2", "PP-3", "PP-4", "PP-5", "PP-6", "PP-7", "PP-8", "PP-9", "PP-10", "PP-11",
    "PP-12", "PP-13", "PP-14", "PP-15", "PP-22", "PP-24", "PP-25", "PP-26",
)  # fmt: skip
def test_vectors(key: str, name: str) -> None:
    """Plans, packages and files of labels are opened, or refused with their code."""
    vector = VECTORS[name]
    if vector["expect"] == "ok":
        READERS[key](vector)
        return
    with pytest.raises(CloisterError) as caught:
        READERS[key](vector)
    assert caught.value.code == vector["expect"]


@pytest.mark.spec("PP-20", "PP-21", "PP-23")
def test_writing() -> None:
    """Each side has its files; the plan lies on both; labels have the salt that they were given."""
    sample = SampleCut()
    files = sample.make()
    assert set(files.exposed) == {"plan.cbor", "report.json", "middle.onnx"}
    assert set(files.secret) == {"plan.cbor", "front.onnx", "back.onnx", "labels.json"}
    assert files.exposed["plan.cbor"] == files.secret["plan.cbor"]
    assert files.volume == {**files.secret, **files.exposed}
    assert json.loads(files.secret["labels.json"])["salt"] == sample.salt.hex()
    assert write_labels(("a",), salt=bytes(32)) != write_labels(("a",), salt=bytes([1] * 32))


@pytest.mark.spec("PP-27")
def test_each_file_is_read_once() -> None:
    """What was checked is what is used: a second reading could be of another file."""
    sample = SampleCut()
    files, read = sample.make(), []

    def counting(side: Any) -> Any:
        inner = memory_reading(side)

        def reading(name: str, max_bytes: int) -> bytes:
            read.append((id(side), name))
            return inner(name, max_bytes)

        return reading

    opened = open_exposed(
        counting(files.exposed),
        signers=(sample.key.public,),
        thresholds=read_thresholds(["default"]),
    )
    open_secret(opened, counting(files.secret))
    assert len(read) == len(set(read)) == len(files.exposed) + len(files.secret)


def test_more_than_half_of_the_vectors_are_refusals() -> None:
    """Readers are judged by what they refuse."""
    refused = [name for name, vector in VECTORS.items() if vector["expect"] != "ok"]
    assert 2 * len(refused) > len(VECTORS) > 50


def test_the_generator_leaves_no_difference(tmp_path: Path) -> None:
    """Running it again writes the same files."""
    folder = tmp_path / "partition-plan-v1"
    (tmp_path / "leakage-report-v1").mkdir()
    folder.mkdir()
    (folder / "generate.py").write_bytes((FOLDER / "generate.py").read_bytes())
    report = FOLDER.parent / "leakage-report-v1" / "ok.json"
    (tmp_path / "leakage-report-v1" / "ok.json").write_bytes(report.read_bytes())
    subprocess.run([sys.executable, folder / "generate.py"], check=True, timeout=60)
    written = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
