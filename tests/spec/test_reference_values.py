"""The vectors of reference-values-v1, and the draft's own examples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import cbor2
import pytest

from cloister.attestation.evidence_rules import AtLeast, OneOf, Rule
from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import CloisterError, EndorsementError, MalformedError
from cloister.tee.corim import MAX_CORIM_BYTES, Corim, ReferenceValues, translate
from cloister.tee.registry import by_name

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs/spec/vectors/reference-values-v1"
VECTORS: Final = {p.stem: json.loads(p.read_text("utf-8")) for p in sorted(FOLDER.glob("*.json"))}


def judge(vector: dict[str, Any]) -> tuple[ReferenceValues, dict[str, Any]]:
    """Read, judge and translate a vector's file; returns what it means, and its rules."""
    corim = Corim.from_bytes(bytes.fromhex(vector["file"]))
    if "key" in vector:
        curve = "P-384" if corim.signature is None else corim.signature.curve
        try:
            key = EcdsaKey.from_spki(bytes.fromhex(vector["key"]), curve)
        except MalformedError as e:
            raise EndorsementError("another curve", code="corim.signature") from e
        corim.require_signed(key, at=vector["at"])
    else:
        corim.require_unsigned(at=vector["at"])
    root = by_name(vector["kind"])
    assert root is not None
    found = translate(corim, root.name, root.fields())
    return found, {path: shown(rule) for path, rule in found.merged().items()}


def shown(rule: Rule) -> dict[str, Any]:
    """A rule as vectors write it."""
    if isinstance(rule, AtLeast):
        return {"at_least": rule.minimum}
    assert isinstance(rule, OneOf)
    return {"one_of": [v.hex() if isinstance(v, bytes) else v for v in rule.values]}


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.spec(
    "REF-1", "REF-2", "REF-3", "REF-4", "REF-5", "REF-6", "REF-7", "REF-8", "REF-10", "REF-11",
    "REF-12", "REF-14", "REF-16", "REF-20", "REF-21", "REF-22", "REF-23", "REF-24", "REF-25",
    "REF-26",
)  # fmt: skip
def test_files(name: str) -> None:
    """A file gives the rules of its vector and names what it leaves out, or is refused."""
    vector = VECTORS[name]
    if vector["expect"] == "ok":
        found, rules = judge(vector)
        assert rules == vector["rules"]
        assert list(found.unread) == vector.get("unread", [])
        return
    with pytest.raises(CloisterError) as caught:
        judge(vector)
    assert caught.value.code == vector["expect"]


def tagged(tag: int, value: object) -> cbor2.CBORTag:
    """A value with a tag."""
    return cbor2.CBORTag(tag, value)


ACME: Final = {
    0: {
        0: tagged(37, bytes.fromhex("67b28b6c34cc40a19117ab5b05911e37")),
        1: "ACME Inc.",
        2: "ACME RoadRunner",
        3: 1,
    }
}
ENTITY: Final = {0: "ACME Inc.", 1: tagged(32, "https://acme.example"), 2: [0]}
TAG: Final = {0: bytes.fromhex("3f06af63a93c11e4979700505690773f")}


@pytest.mark.spec("REF-11", "REF-16")
def test_the_drafts_first_example() -> None:
    """`cddl/examples/corim-1.diag` of draft-ietf-rats-corim: a version and a digest, no key."""
    digest = bytes.fromhex("44aa336af4cb14a879432e53dd6571c7fa9bccafb75f488259262d6ea3a4d91b")
    comid = {
        1: TAG,
        2: [ENTITY],
        4: {0: [[ACME, [{1: {0: {0: "1.0.0", 1: 16384}, 2: [[1, digest]]}}]]]},
    }
    body = {
        0: bytes.fromhex("284e6c3e5d9f4f6b851f5a4247f243a7"),
        1: [tagged(506, cbor2.dumps(comid))],
    }
    corim = Corim.from_bytes(cbor2.dumps(tagged(501, body)))
    assert corim.id == "284e6c3e5d9f4f6b851f5a4247f243a7"
    [triple] = corim.triples
    assert triple.environment.endswith("ACME Inc. ACME RoadRunner 1")
    assert [(each.form, each.values) for each in triple.statements] == [
        ("version", ("1.0.0",)),
        ("digests", (digest,)),
    ]
    assert corim.unread == triple.unread == ()


@pytest.mark.spec("REF-12")
def test_the_drafts_example_of_registers_is_read_where_it_keeps_its_own_rules() -> None:
    """`comid-integrity-registers.diag` has a digest of 31 bytes, and no list around measurements.

    Both contradict the draft's CDDL; with a whole digest in a list, it is read.
    """
    first = bytes.fromhex("44aa336af4cb14a879432e53dd6571c7fa9bccafb75f488259262d6ea3a4d91b")
    second = bytes.fromhex("50aa341af9cb20a879440e58dd6581c14fa14bccafb75f488259262d6ea3a4d9")

    def corim(fifth: bytes) -> bytes:
        registers = {
            0: [[1, first], ["my-alg-id", b"\xde\xad\xbe\xef"]],
            5: [[1, fifth], ["my-alg-id", b"\xfe\xfe\xfa\xfa"]],
        }
        comid = {1: TAG, 2: [ENTITY], 4: {0: [[ACME, [{1: {14: registers}}]]]}}
        return cbor2.dumps(tagged(501, {0: "x", 1: [tagged(506, cbor2.dumps(comid))]}))

    whole = second.ljust(32, b"\0")
    [triple] = Corim.from_bytes(corim(whole)).triples
    found = {each.name: each.values for each in triple.statements}
    assert found == {0: (first,), 5: (whole,)}
    assert len(triple.unread) == 2
    with pytest.raises(MalformedError):
        Corim.from_bytes(corim(second[:31]))


@pytest.mark.spec("REF-4")
def test_the_limit_of_the_page_is_that_of_the_code() -> None:
    """Written once in each, and compared."""
    page = (ROOT / "docs/spec/reference-values-v1.md").read_text("utf-8")
    assert f"{MAX_CORIM_BYTES:,}".replace(",", " ") in page
    with pytest.raises(MalformedError):
        Corim.from_bytes(bytes(MAX_CORIM_BYTES + 1))


def test_half_of_the_vectors_are_refusals() -> None:
    """A page is tested by what it refuses."""
    refused = [name for name, vector in VECTORS.items() if vector["expect"] != "ok"]
    assert 2 * len(refused) >= len(VECTORS)


def test_the_generator_leaves_no_difference(tmp_path: Path) -> None:
    """Running it again writes the same files."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    subprocess.run([sys.executable, script], check=True, timeout=60)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
