"""Vectors of secret-release-v1, through the code that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.digest import require_equal
from cloister.errors import CloisterError, MalformedError
from cloister.keyservice.policy.secret_rules import PARTS
from cloister.keyservice.policy.templates import Reference, parse_template
from cloister.keyservice.secret_messages import (
    MAX_SECRET_BYTES,
    SECRET_LABEL,
    secret_value_info,
)
from cloister.keyservice.secret_release import MAX_RESOLVED_BYTES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors/secret-release-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}


def template(case: dict[str, Any]) -> None:
    """A template's pieces, or its bytes with values in place."""
    read = parse_template(case["template"])
    if "pieces" in case:
        wanted = tuple(
            piece if isinstance(piece, str) else Reference(piece[0], piece[1] or None, piece[2])
            for piece in case["pieces"]
        )
        assert read.pieces == wanted
    else:
        values = {place: bytes.fromhex(value) for place, value in case["values"].items()}
        assert read.resolve(lambda found: values[str(found)]).hex() == case["resolved"]


def info(case: dict[str, Any]) -> None:
    """The context of a seal."""
    found = secret_value_info(
        service=bytes.fromhex(case["service"]),
        namespace=case["namespace"],
        policy=case["policy"],
        name=case["name"],
        epoch=case["epoch"],
    )
    wrong = MalformedError("another place", code="message.malformed")
    require_equal(found, bytes.fromhex(case["info"]), error=wrong)


@pytest.mark.parametrize("name", sorted(VECTORS))
@pytest.mark.spec("SEC-21", "SEC-22", "SEC-23", "SEC-24", "SEC-50")
def test_vectors(name: str) -> None:
    """A template is read and resolved as the page says, or refused with its code."""
    case = VECTORS[name]
    run = info if "info" in case else template
    if case["expect"] == "ok":
        run(case)
        return
    with pytest.raises(CloisterError) as caught:
        run(case)
    assert caught.value.code == case["expect"]


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


def test_the_page_has_the_label_limits_and_parts_of_the_code() -> None:
    """They stand once in the page and once in the code, and agree."""
    page = (ROOT / "docs/spec/secret-release-v1.md").read_text("utf-8")
    assert SECRET_LABEL.decode() in page
    for number in (MAX_SECRET_BYTES, MAX_RESOLVED_BYTES):
        assert f"{number:,}".replace(",", " ") in page
    for kind, parts in PARTS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{kind}` |"))
        assert all(f"`{part}`" in row.split("|")[3] for part in parts if part), kind
