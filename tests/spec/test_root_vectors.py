"""Vectors of roots of trust: evidence, endorsements, anchors and an instant in, a code out."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from cloister.attestation.evidence import Endorsement, Evidence, EvidenceVerifier
from cloister.errors import CloisterError
from cloister.tee.azure.verifier import AzureSnpVerifier
from cloister.tee.snp.verifier import SnpVerifier
from cloister.tee.tpm.verifier import TpmVerifier

ROOT: Final = Path(__file__).parents[2] / "docs" / "spec" / "vectors"
FORMATS: Final[dict[str, Callable[[Sequence[bytes]], EvidenceVerifier]]] = {
    "snp-evidence-v1": SnpVerifier,
    "tpm-evidence-v1": TpmVerifier,
    "azure-evidence-v1": AzureSnpVerifier,
}
CASES: Final = [
    pytest.param(
        name,
        path,
        id=f"{name}/{path.stem}",
        marks=pytest.mark.spec(json.loads(path.read_text())["clause"]),
    )
    for name in FORMATS
    for path in sorted((ROOT / name).glob("*.json"))
]


@pytest.mark.parametrize(("name", "path"), CASES)
def test_vector(name: str, path: Path) -> None:
    """The code comes to the result that the vector expects."""
    case = json.loads(path.read_text())
    found = "ok"
    try:
        claims = FORMATS[name]([bytes.fromhex(anchor) for anchor in case["anchors"]]).verify(
            Evidence(case["media_type"], bytes.fromhex(case["body"])),
            [Endorsement(x["media_type"], bytes.fromhex(x["body"])) for x in case["endorsements"]],
            at=case["at"],
        )
        assert not claims.hardware_rooted
        assert claims.report_data == b"d" * 64
    except CloisterError as e:
        found = e.code
    assert found == case["expect"], case["comment"]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_most_vectors_fail(name: str) -> None:
    """What is refused is told by more than half of them."""
    expected = [json.loads(path.read_text())["expect"] for path in (ROOT / name).glob("*.json")]
    assert expected.count("ok") < len(expected) / 2


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_generators_leave_no_diff(name: str, tmp_path: Path) -> None:
    """What is checked in is what the generator writes."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / name / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in (ROOT / name).glob("*.json")}
