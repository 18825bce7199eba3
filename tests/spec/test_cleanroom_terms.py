"""The vectors of cleanroom-terms-v1, through the readers of terms and of what follows from them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.cleanroom.agreement import (
    MAX_SIGNED_BYTES,
    SIGNATURE_LABEL,
    Offer,
    SignedTerms,
)
from cloister.cleanroom.recipe import RECIPE_LABEL, recipe_digest, require_recipe
from cloister.cleanroom.room_policy import closing_policy_of, policy_of
from cloister.cleanroom.terms_text import (
    MAX_TERMS_BYTES,
    TERMS_LABEL,
    parse_terms,
    terms_bytes,
    terms_digest,
    terms_from_canonical,
    terms_to_text,
)
from cloister.errors import CloisterError
from cloister.keyservice.policy import parse_policy, policy_hash

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/spec/cleanroom-terms-v1.md"
FOLDER = ROOT / "docs/spec/vectors/cleanroom-terms-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def of(kind: str) -> list[str]:
    """The names of one kind."""
    return [name for name in VECTORS if name.startswith(f"{kind}-")]


@pytest.mark.parametrize("name", of("terms"))
@pytest.mark.spec(
    "CT-1", "CT-2", "CT-3", "CT-4", "CT-5", "CT-6", "CT-7", "CT-8", "CT-9", "CT-10", "CT-11",
    "CT-12", "CT-13", "CT-14", "CT-20", "CT-21",
)  # fmt: skip
def test_terms(name: str) -> None:
    """A text is read to the canonical form and digest of its vector, or refused with its code."""
    vector = VECTORS[name]
    if vector["expect"] == "ok":
        terms = parse_terms(vector["text"].encode(), source=name)
        assert terms_bytes(terms).hex() == vector["canonical"]
        assert terms_digest(terms).hex() == vector["digest"]
        assert terms_from_canonical(bytes.fromhex(vector["canonical"])) == terms
        assert parse_terms(terms_to_text(terms).encode(), source="written") == terms
        return
    with pytest.raises(CloisterError) as caught:
        parse_terms(vector["text"].encode(), source=name)
    assert caught.value.code == vector["expect"]


def read_signed(vector: dict[str, Any]) -> Offer | SignedTerms:
    """Read signed terms as the vector's reader does."""
    data = bytes.fromhex(vector["signed"])
    return SignedTerms.from_bytes(data) if vector["agreement"] else Offer.from_bytes(data)


@pytest.mark.parametrize("name", of("signed"))
@pytest.mark.spec("CT-20", "CT-30", "CT-31", "CT-32", "CT-33")
def test_signed_terms(name: str) -> None:
    """Bytes are an offer or an agreement, or are refused with the code of the vector."""
    vector = VECTORS[name]
    if vector["expect"] == "ok":
        assert read_signed(vector).to_bytes().hex() == vector["signed"]
        return
    with pytest.raises(CloisterError) as caught:
        read_signed(vector)
    assert caught.value.code == vector["expect"]


@pytest.mark.parametrize("name", of("policy"))
@pytest.mark.spec("CT-40", "CT-41", "CT-42", "CT-43", "CT-44", "CT-46", "CT-55")
def test_policies(name: str) -> None:
    """Both policies are those that the generator makes from the page."""
    vector = VECTORS[name]
    agreement = SignedTerms.from_bytes(bytes.fromhex(vector["signed"]))
    for make, expected in ((policy_of, "policy"), (closing_policy_of, "closing")):
        policy = parse_policy(make(agreement).encode(), source=name)
        assert policy_hash(policy).hex() == vector[expected]


@pytest.mark.parametrize("name", of("recipe"))
@pytest.mark.spec("CT-60", "CT-62")
def test_recipes(name: str) -> None:
    """Files have the digest of their vector, or are not those of the terms."""
    vector = VECTORS[name]
    files = {path: bytes.fromhex(data) for path, data in vector["files"].items()}
    if vector["expect"] == "ok":
        assert recipe_digest(files).hex() == vector["digest"]
        require_recipe(files, "sha256:" + vector["digest"])
        return
    with pytest.raises(CloisterError) as caught:
        require_recipe(files, "sha256:" + vector["digest"])
    assert caught.value.code == vector["expect"]


def test_more_than_half_of_the_vectors_are_refusals() -> None:
    """Readers are judged by what they refuse."""
    refused = [name for name, vector in VECTORS.items() if vector["expect"] != "ok"]
    assert 2 * len(refused) > len(VECTORS) > 50


def test_the_generator_writes_the_same_vectors_again(tmp_path: Path) -> None:
    """A second run of the generator leaves no difference."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    subprocess.run([sys.executable, str(script)], check=True)
    again = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert again == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}


def test_the_page_has_the_labels_and_limits_of_the_code() -> None:
    """Labels and limits stand once in the page and once in the code, and agree."""
    page = PAGE.read_text("utf-8")
    for label in (TERMS_LABEL, SIGNATURE_LABEL, RECIPE_LABEL):
        assert label.decode() in page
    for number in (MAX_TERMS_BYTES, MAX_SIGNED_BYTES):
        assert f"{number:,}".replace(",", " ") in page
