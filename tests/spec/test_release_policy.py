"""The vectors of release-policy-v1, through every entry point that reads policies."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.measurement import LaunchMeasurement
from cloister.errors import CloisterError
from cloister.keyservice.policy.appraisal import appraise
from cloister.keyservice.policy.canonical import (
    HASH_LABEL,
    MAX_CANONICAL_BYTES,
    canonical_bytes,
    policy_from_canonical,
    policy_hash,
)
from cloister.keyservice.policy.document import MAX_DEPTH, MAX_NODES
from cloister.keyservice.policy.explain import explain
from cloister.keyservice.policy.node import MAX_PROBLEMS
from cloister.keyservice.policy.reader import MAX_POLICY_BYTES, parse_policy

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors/release-policy-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def text_of(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["text_hex"]) if "text_hex" in vector else vector["text"].encode()


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("text-")])
@pytest.mark.spec(
    "EXT-1", "POL-30", "POL-31", "POL-32", "POL-33", "POL-34", "POL-35",
    "POL-2", "POL-3", "POL-4", "POL-5", "POL-6", "POL-8", "POL-10", "POL-11", "POL-12", "POL-13",
    "POL-14", "POL-15", "POL-19", "POL-41", "POL-42",
)  # fmt: skip
def test_texts(name: str) -> None:
    """A text is read to the canonical form and hash of its vector, or refused with its code."""
    vector = VECTORS[name]
    if vector["expect"] == "ok":
        policy = parse_policy(text_of(vector), source=name)
        assert canonical_bytes(policy).hex() == vector["canonical"]
        assert policy_hash(policy).hex() == vector["hash"]
        return
    with pytest.raises(CloisterError) as caught:
        parse_policy(text_of(vector), source=name)
    assert caught.value.code == vector["expect"]


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("canonical-")])
@pytest.mark.spec("POL-40", "POL-41", "POL-43")
def test_canonical_forms(name: str) -> None:
    """Canonical bytes are read to the hash of their vector, or refused with its code."""
    vector = VECTORS[name]
    data = bytes.fromhex(vector["canonical"])
    if vector["expect"] == "ok":
        assert policy_hash(policy_from_canonical(data)).hex() == vector["hash"]
        return
    with pytest.raises(CloisterError) as caught:
        policy_from_canonical(data)
    assert caught.value.code == vector["expect"]


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("appraise-")])
@pytest.mark.spec(
    "POL-50", "POL-51", "POL-52", "POL-53", "POL-54", "POL-55", "POL-56", "POL-57", "POL-58",
    "POL-59", "POL-60", "POL-61",
)  # fmt: skip
def test_appraisals(name: str) -> None:
    """Claims are admitted or refused with the code of the vector, and explained likewise."""
    vector = VECTORS[name]
    said = vector["claims"]
    claims = Claims(
        root_of_trust=said["root_of_trust"],
        anchor=bytes.fromhex(said["anchor"]),
        hardware_rooted=said["hardware_rooted"],
        measurement=bytes.fromhex(said["measurement"]),
        report_data=bytes(64),
        debug=said["debug"],
        security_version=said["security_version"],
        status="",
        advisories=(),
        hardware_id=b"",
        vendor={},
    )
    launch = LaunchMeasurement(**{k: bytes.fromhex(v) for k, v in vector["measurement"].items()})
    roots = {name: bytes.fromhex(root) for name, root in vector["volume_roots"].items()}
    policy = parse_policy(text_of(vector), source=name)
    explanation = explain(policy, vector["workload"], claims, launch, volume_roots=roots)
    if vector["expect"] == "ok":
        assert explanation.refused_by is None
        result = appraise(policy, vector["workload"], claims, launch, volume_roots=roots)
        assert result.hardware_rooted is False
        assert len(result.checked) + len(result.not_checked) == len(explanation.rules)
        return
    assert explanation.refused_by is not None
    assert explanation.refused_by.code == vector["expect"]
    with pytest.raises(CloisterError) as caught:
        appraise(policy, vector["workload"], claims, launch, volume_roots=roots)
    assert caught.value.code == vector["expect"]


def test_at_least_half_of_the_vectors_are_refusals() -> None:
    """Readers are judged by what they refuse."""
    refused = [name for name, vector in VECTORS.items() if vector["expect"] != "ok"]
    assert 2 * len(refused) >= len(VECTORS) > 50


def test_the_generator_writes_the_same_vectors_again(tmp_path: Path) -> None:
    """A second run of the generator leaves no difference."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    subprocess.run([sys.executable, str(script)], check=True)
    again = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert again == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}


def test_the_page_has_the_labels_and_limits_of_the_code() -> None:
    """Labels and limits stand once in the page and once in the code, and agree."""
    page = (ROOT / "docs/spec/release-policy-v1.md").read_text("utf-8")
    assert HASH_LABEL.decode() in page
    for number in (MAX_POLICY_BYTES, MAX_CANONICAL_BYTES, MAX_NODES, MAX_DEPTH, MAX_PROBLEMS):
        assert f"{number:,}".replace(",", " ") in page
