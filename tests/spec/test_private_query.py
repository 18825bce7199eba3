"""The vectors of private-query-v1, through the code that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.digest import sha256
from cloister.crypto.kem import XWingKey
from cloister.crypto.signature import VerifyingKey
from cloister.crypto.x509 import Identity
from cloister.errors import CloisterError
from cloister.inference.private.binary_http import (
    read_request,
    read_response,
    write_request,
    write_response,
)
from cloister.inference.private.envelope import PRIVATE, SUITE, open_request
from cloister.inference.private.keys import MAX_BYTES, MAX_LIFETIME_S, verify_keys
from cloister.inference.private.request_auth import Askers, Binding, SignedRequest
from cloister.inference.private.ring import Terms

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/spec/private-query-v1.md"
FOLDER = ROOT / "docs/spec/vectors/private-query-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def keys(case: dict[str, Any]) -> None:
    """A key configuration under what a client pinned."""
    found, peer = verify_keys(
        bytes.fromhex(case["bytes"]),
        ca_pem=case["ca"].encode(),
        expected=Identity.from_uri(case["identity"]),
        policy=bytes.fromhex(case["policy"]),
        at=case["at"],
    )
    assert found.digest.hex() == case["digest"]
    assert sha256(found.to_bytes()) == found.digest
    assert peer.identity.uri == case["identity"]


def request(case: dict[str, Any]) -> None:
    """A request that opens, and the answer to it."""
    opened = open_request(
        bytes.fromhex(case["bytes"]),
        XWingKey(bytes.fromhex(case["secret"])),
        suite=SUITE,
        purpose=PRIVATE,
    )
    assert opened.plaintext.hex() == case["plaintext"]
    answer = opened.seal_response(b"answer", nonce=bytes.fromhex(case["nonce"]))
    assert answer.hex() == case["answer"]


def signed(case: dict[str, Any]) -> None:
    """Who asked."""
    found = SignedRequest.from_bytes(bytes.fromhex(case["bytes"]))
    askers = Askers(
        keys={name: VerifyingKey(bytes.fromhex(raw)) for name, raw in case["keys"].items()},
        clients=[Identity.from_uri(uri) for uri in case["clients"]],
        ca_pem=case["ca"].encode(),
    )
    said = case["binding"]
    binding = Binding(bytes.fromhex(said["keys"]), said["key_id"], bytes.fromhex(said["enc"]))
    assert askers.require(found, binding, at=case["at"]) == case["asker"]
    assert found.inner.hex() == case["inner"]
    assert found.to_bytes().hex() == case["bytes"]
    if "message" in case:
        assert found.signed(binding).hex() == case["message"]


def bhttp(case: dict[str, Any]) -> None:
    """An inner message; one that is bad is neither a request nor a response."""
    data = bytes.fromhex(case["bytes"])
    if case.get("message") == "response":
        response = read_response(data)
        assert (response.status, response.headers) == (case["status"], case["headers"])
        assert response.body.hex() == case["body"]
        assert write_response(response) == data
        return
    if case["expect"] != "ok":
        with pytest.raises(CloisterError):
            read_response(data)
    found = read_request(data)
    assert (found.method, found.target) == (case["method"], case["target"])
    assert (dict(found.headers), found.body.hex()) == (case["headers"], case["body"])
    if case.get("canonical"):
        assert write_request(found) == data


READERS: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "keys": keys, "request": request, "signed": signed, "bhttp": bhttp,
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.spec(*sorted({case["clause"] for case in VECTORS.values()}))
def test_vectors(name: str) -> None:
    """What is good is read as it says; what is not has its code."""
    case = VECTORS[name]
    if case["expect"] == "ok":
        READERS[case["kind"]](case)
        return
    with pytest.raises(CloisterError) as found:
        READERS[case["kind"]](case)
    assert found.value.code == case["expect"]


def test_vectors_are_written_again() -> None:
    """From the generator, without a difference, more than half of them bad."""
    before = {path: path.read_bytes() for path in FOLDER.glob("*.json")}
    subprocess.run([sys.executable, str(FOLDER / "generate.py")], check=True, timeout=60)
    assert {path: path.read_bytes() for path in FOLDER.glob("*.json")} == before
    assert 2 * sum(case["expect"] == "ok" for case in VECTORS.values()) < len(VECTORS)


@pytest.mark.spec("PQ-1", "PQ-4")
def test_limits_are_those_of_the_page() -> None:
    """As numbers."""
    page = PAGE.read_text("utf-8")
    assert "65 536 bytes" in page
    assert (MAX_BYTES, MAX_LIFETIME_S) == (65536, 86400)
    terms = Terms.__dataclass_fields__
    assert (terms["window_s"].default, terms["lifetime_s"].default) == (60, 3600)
