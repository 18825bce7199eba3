"""The vectors of intel-evidence-v1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.evidence_rules import claim
from cloister.errors import CloisterError
from cloister.tee.intel.endorsements import COLLATERAL_TYPE
from cloister.tee.intel.layout import INTEL_QE
from cloister.tee.intel.pck import PCK_CA_NAMES, PCK_NAME, ROOT_NAME, SIGNER_NAME
from cloister.tee.intel.roots import INTEL_SGX_ROOT_CA
from cloister.tee.sgx.layout import MEDIA_TYPE as SGX_TYPE
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.tdx.layout import LOGGED_TYPE
from cloister.tee.tdx.layout import MEDIA_TYPE as TDX_TYPE
from cloister.tee.tdx.verifier import TdxVerifier

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs/spec/vectors/intel-evidence-v1"
VECTORS: Final[dict[str, Any]] = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))
}


def _verify(vector: dict[str, Any]) -> Claims:
    anchors = [bytes.fromhex(each) for each in vector["anchors"]]
    verifier = SgxVerifier if vector["media_type"] == SGX_TYPE else TdxVerifier
    evidence = Evidence(vector["media_type"], bytes.fromhex(vector["body"]))
    bundle = vector["collateral"]
    endorsements = (
        () if bundle is None else (Endorsement(COLLATERAL_TYPE, json.dumps(bundle).encode()),)
    )
    return verifier(anchors).verify(evidence, endorsements, at=vector["at"])


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    """Evidence says what its vector says, or is refused with its code."""
    vector = VECTORS[name]
    if vector["expect"] == "ok":
        claims = _verify(vector)
        assert not claims.hardware_rooted
        for path, wanted in vector["claims"].items():
            have = claim(claims, path)
            assert (have.hex() if isinstance(have, bytes) else have) == wanted, path
        return
    with pytest.raises(CloisterError) as caught:
        _verify(vector)
    assert caught.value.code == vector["expect"]


def test_half_of_the_vectors_are_refusals() -> None:
    """A page is tested by what it refuses."""
    refused = [name for name, vector in VECTORS.items() if vector["expect"] != "ok"]
    assert 2 * len(refused) >= len(VECTORS) > 20


@pytest.mark.spec("INTEL-1", "INTEL-10", "INTEL-13", "INTEL-30", "INTEL-53")
def test_the_page_has_the_names_and_numbers() -> None:
    """Media types, names in certificates, the vendor and the root stand in page and code."""
    page = (ROOT / "docs/spec/intel-evidence-v1.md").read_text("utf-8")
    for text in (SGX_TYPE, TDX_TYPE, LOGGED_TYPE, COLLATERAL_TYPE, PCK_NAME, SIGNER_NAME):
        assert f"`{text}`" in page
    for text in (ROOT_NAME, *PCK_CA_NAMES, INTEL_QE.hex(), INTEL_SGX_ROOT_CA.hex()):
        assert f"`{text}`" in page


def test_the_generator_leaves_no_difference(tmp_path: Path) -> None:
    """Running it again writes the same files."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run(
        [sys.executable, str(FOLDER / "generate.py"), str(tmp_path)], check=True, env=environment
    )
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
