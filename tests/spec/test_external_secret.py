"""Vectors of external-secret-v1, through the code that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.digest import require_equal
from cloister.errors import CloisterError, MalformedError
from cloister.keyservice.fetching import FETCH_TIMEOUT_S, MAX_AT_ONCE
from cloister.keyservice.kv2 import MAX_ANSWER_BYTES, kv2_headers, kv2_target, kv2_value
from cloister.keyservice.policy.secret_rules import ExternalForm
from cloister.keyservice.source_messages import (
    MAX_CA_BYTES,
    MAX_TOKEN_BYTES,
    SOURCE_LABEL,
    read_address,
    source_token_info,
)

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors/external-secret-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}


def info(case: dict[str, Any]) -> None:
    """The context of a seal."""
    found = source_token_info(
        service=bytes.fromhex(case["service"]),
        namespace=case["namespace"],
        name=case["name"],
        address=case["address"],
        ca=case["ca"].encode(),
    )
    wrong = MalformedError("another place", code="message.malformed")
    require_equal(found, bytes.fromhex(case["info"]), error=wrong)


def answer(case: dict[str, Any]) -> None:
    """A source's answer."""
    found = kv2_value(case["status"], case["body"].encode(), ExternalForm(**case["form"]))
    assert found.hex() == case["value"]


def address(case: dict[str, Any]) -> None:
    """An address, in its one spelling."""
    host, port = read_address(case["address"])
    assert f"{host}:{port}" == case["address"]


@pytest.mark.parametrize("name", sorted(VECTORS))
@pytest.mark.spec("EXT-20", "EXT-22", "EXT-32", "EXT-33")
def test_vectors(name: str) -> None:
    """What the page says is read, or refused with its code."""
    case = VECTORS[name]
    run = info if "info" in case else answer if "status" in case else address
    if case["expect"] == "ok":
        run(case)
        return
    with pytest.raises(CloisterError) as caught:
        run(case)
    assert caught.value.code == case["expect"]


@pytest.mark.spec("EXT-30")
def test_the_request_is_the_one_of_the_page() -> None:
    """Its path and its fields."""
    form = ExternalForm(source="vault", path="secret/data/training/db", field="a", max_bytes=1)
    assert kv2_target(form) == "/v1/secret/data/training/db"
    assert kv2_headers(b"hvs.x") == {"X-Vault-Token": "hvs.x", "X-Vault-Request": "true"}


def test_more_than_half_of_the_vectors_fail() -> None:
    """Readers are judged by what they refuse."""
    refused = [name for name, case in VECTORS.items() if case["expect"] != "ok"]
    assert 2 * len(refused) > len(VECTORS) > 25


def test_the_generator_writes_the_same_vectors_again(tmp_path: Path) -> None:
    """A second run of the generator leaves no difference."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    subprocess.run([sys.executable, str(script)], check=True)
    again = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert again == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}


def test_the_page_has_the_label_and_limits_of_the_code() -> None:
    """They stand once in the page and once in the code, and agree."""
    page = (ROOT / "docs/spec/external-secret-v1.md").read_text("utf-8")
    assert SOURCE_LABEL.decode() in page
    for number in (MAX_CA_BYTES, MAX_TOKEN_BYTES, MAX_ANSWER_BYTES):
        assert f"{number:,}".replace(",", " ") in page
    assert f"At most {MAX_AT_ONCE} fetches" in page
    assert f"at most {FETCH_TIMEOUT_S:.0f} s together" in page
