"""The vectors of evidence of devices: through our readers, and out of their generators."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence, EvidenceVerifier, ReportData
from cloister.crypto.signature import VerifyingKey
from cloister.errors import CloisterError
from cloister.tee.cca.verifier import CcaVerifier
from cloister.tee.composite import CompositeEvidence, PartVerifier, verify_composite
from cloister.tee.nitro.verifier import NitroVerifier
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.tee.sim.verifier import SimVerifier

ROOT: Final = Path(__file__).parents[2]
VERIFIERS: Final[dict[str, Callable[[Sequence[bytes]], EvidenceVerifier]]] = {
    "nvidia-evidence-v1": NvidiaVerifier,
    "nitro-evidence-v1": NitroVerifier,
    "cca-evidence-v1": CcaVerifier,
}
PAGES: Final = [*VERIFIERS, "composite-evidence-v1"]
CASES: Final = [
    (page, path.stem)
    for page in PAGES
    for path in sorted((ROOT / "docs/spec/vectors" / page).glob("*.json"))
]


def judge(page: str, case: dict[str, Any]) -> Claims:
    """Judge one vector."""
    evidence = Evidence(case["media_type"], bytes.fromhex(case["body"]))
    if page == "composite-evidence-v1":
        anchors = [VerifyingKey(bytes.fromhex(each)) for each in case["cpu_anchors"]]
        gpu_anchors = [bytes.fromhex(each) for each in case["gpu_anchors"]]
        verifiers = {
            "cpu": PartVerifier(SimVerifier(anchors), ()),
            "gpu": PartVerifier(NvidiaVerifier(gpu_anchors), ()),
        }
        return verify_composite(
            CompositeEvidence.from_evidence(evidence),
            verifiers,
            nonce=bytes.fromhex(case["nonce"]),
            request=ReportData(bytes.fromhex(case["request"])),
            at=case["at"],
        ).gpu
    endorsements = [
        Endorsement(
            each["media_type"],
            bytes.fromhex(each["body"]) if "body" in each else each["text"].encode(),
        )
        for each in case["endorsements"]
    ]
    verifier = VERIFIERS[page]([bytes.fromhex(anchor) for anchor in case["anchors"]])
    return verifier.verify(evidence, endorsements, at=case["at"])


@pytest.mark.parametrize(("page", "name"), CASES)
def test_our_reader_agrees(page: str, name: str) -> None:
    """Genuine evidence gives the claims of its vector; the rest is refused with its code."""
    path = ROOT / "docs/spec/vectors" / page / f"{name}.json"
    case = json.loads(path.read_text("utf-8"))
    if case["expect"] == "ok":
        claims = judge(page, case)
        assert not claims.hardware_rooted
        assert {key: claims.vendor[key] for key in case.get("claims", {})} == case.get("claims", {})
        assert claims.debug is case.get("debug", claims.debug)
        return
    with pytest.raises(CloisterError) as caught:
        judge(page, case)
    assert caught.value.code == case["expect"], caught.value


@pytest.mark.parametrize("page", PAGES)
def test_vectors_are_about_the_page(page: str) -> None:
    """Each names a clause that the page has, and more than half fail."""
    folder = ROOT / "docs/spec/vectors" / page
    cases = [json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")]
    text = (ROOT / f"docs/spec/{page}.md").read_text("utf-8")
    clauses = set(re.findall(r"^\[([A-Z]+-\d+)\]", text, re.MULTILINE))
    assert {case["clause"] for case in cases} <= clauses
    assert sum(case["expect"] != "ok" for case in cases) > len(cases) / 2


@pytest.mark.parametrize("page", PAGES)
def test_second_reader_agrees(page: str) -> None:
    """A reader written from the page alone gives the same for every vector."""
    folder = ROOT / "docs/spec/vectors" / page
    done = subprocess.run(
        [sys.executable, folder / "reader.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    count = len(list(folder.glob("*.json")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} of {count} vectors agree" in done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_the_generator_writes_the_same_again(page: str, tmp_path: Path) -> None:
    """Bytes of vectors come from the generator and from nowhere else."""
    folder = ROOT / "docs/spec/vectors" / page
    subprocess.run([sys.executable, str(folder / "generate.py"), str(tmp_path)], check=True)
    written = {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.json")}
    kept = {path.name: path.read_text("utf-8") for path in folder.glob("*.json")}
    assert written == kept
