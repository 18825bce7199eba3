"""The vectors of ear-v1: through our reader, the second reader, and the generator."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.attestation import ear
from cloister.attestation.ear_claims import CLOISTER_CLAIM, DIALECTS, MAX_LIFETIME_S, TRUST_CLAIMS
from cloister.crypto import jose
from cloister.crypto.jose import KeySet
from cloister.errors import CloisterError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors/ear-v1"
PAGE = (ROOT / "docs/spec/ear-v1.md").read_text("utf-8")
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def judge(vector: dict[str, Any]) -> ear.VerifiedEar:
    return ear.verify_ear(
        vector["token"],
        jwks=KeySet.from_bytes(vector["jwks"].encode()),
        audience=vector["audience"],
        nonce=bytes.fromhex(vector["nonce"]),
        at=vector["at"],
        accept_simulated=vector["accept_simulated"],
        at_least=vector["at_least"],
    )


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.spec(
    *(f"EAR-{n}" for n in (1, 2, 3, 4, 5, 6, 7)),
    *(f"EAR-{n}" for n in range(10, 15)),
    *(f"EAR-{n}" for n in range(20, 40)),
    *(f"EAR-{n}" for n in range(50, 58)),
)
def test_our_reader_agrees(name: str) -> None:
    """A token holds for the relying party of its vector, or is refused with its code."""
    vector = VECTORS[name]
    if vector["expect"] == "ok":
        found = judge(vector)
        assert found.status == vector["status"]
        assert found.hardware_rooted is vector["hardware_rooted"]
        return
    with pytest.raises(CloisterError) as caught:
        judge(vector)
    assert caught.value.code == vector["expect"], caught.value


def test_every_clause_of_reading_has_a_vector() -> None:
    """Clauses of the page and of its vectors are the same, but for writing and for definitions."""
    of_page = set(re.findall(r"^\[(EAR-\d+)\]", PAGE, re.MULTILINE))
    of_vectors = {vector["clause"] for vector in VECTORS.values()}
    assert of_vectors <= of_page
    assert of_page - of_vectors == {"EAR-35", *(f"EAR-{n}" for n in range(40, 49))}


def test_at_least_half_are_refusals() -> None:
    """A page is tested by what it refuses."""
    refused = [name for name, vector in VECTORS.items() if vector["expect"] != "ok"]
    assert 2 * len(refused) >= len(VECTORS) > 60


def test_every_code_of_tokens_has_a_vector() -> None:
    """No refusal is only on paper."""
    named = set(re.findall(r"`((?:token|wire)\.[a-z-]+)`", PAGE))
    assert named == {vector["expect"] for vector in VECTORS.values()} - {"ok"}


def test_second_reader_agrees() -> None:
    """A reader written from the page alone gives the same for every vector."""
    done = subprocess.run(
        [sys.executable, FOLDER / "reader.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(VECTORS)} of {len(VECTORS)} vectors agree" in done.stdout


def test_the_generator_leaves_no_difference(tmp_path: Path) -> None:
    """Running it again writes the same files."""
    subprocess.run([sys.executable, FOLDER / "generate.py", tmp_path], check=True, timeout=60)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}


@pytest.mark.spec("EAR-1", "EAR-10", "EAR-20", "EAR-31", "EAR-42", "EAR-52", "EAR-53")
def test_names_and_numbers_are_the_page_s() -> None:
    """Names and limits stand once on the page and once in the code."""
    for dialect in DIALECTS:
        for name in (dialect.profile, dialect.status, dialect.vector, dialect.policies):
            assert f"`{name}`" in PAGE
        assert f"`{dialect.verifier}`" in PAGE
        assert f"`{dialect.typ}`" in PAGE
    assert f"`{CLOISTER_CLAIM}`" in PAGE
    assert all(f"`{name}`" in PAGE for name in TRUST_CLAIMS)
    for number, unit in (
        (jose.MAX_TOKEN_BYTES, "characters"),
        (jose.MAX_JWKS_BYTES, "bytes"),
        (MAX_LIFETIME_S, "seconds"),
    ):
        assert f"{number:,} {unit}".replace(",", " ") in PAGE
    assert f"{ear.CLOCK_SKEW_S} seconds later" in PAGE
    assert f"{ear.MIN_NONCE_BYTES} to {ear.MAX_NONCE_BYTES} bytes" in PAGE
