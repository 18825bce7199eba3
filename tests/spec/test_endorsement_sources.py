"""docs/spec/endorsement-sources-v1.md, its vectors, and a second reader of them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from cloister.endorsing.amd import AmdWish
from cloister.endorsing.cache import read_answer
from cloister.endorsing.intel import IntelWish, signed_text
from cloister.endorsing.nvidia import WantedRim, rim_question
from cloister.endorsing.questions import Question
from cloister.endorsing.services import ADDRESSES, Service
from cloister.errors import CloisterError
from docs.pages import ROOT

VECTORS: Final = ROOT / "docs" / "spec" / "vectors" / "endorsement-sources-v1"
PATHS: Final = sorted(VECTORS.glob("*.json"))


def asked(case: dict[str, Any]) -> list[Question]:
    """What is asked by a case's facts."""
    if "rim" in case:
        return [rim_question(WantedRim(case["rim"]))]
    if "tee" in case:
        return list(IntelWish(case["tee"], bytes.fromhex(case["fmspc"]), case["ca"]).questions())
    chip, tcb = bytes.fromhex(case["chip_id"]), bytes.fromhex(case["tcb"])
    return list(AmdWish(case["product"], case["key"], chip, tcb).questions())


def targets(case: dict[str, Any]) -> None:
    """Facts to what is asked."""
    assert [f"{each.service} {each.target}" for each in asked(case)] == case["targets"]


def statement(case: dict[str, Any]) -> None:
    """An answer of Intel's to what was signed."""
    found = signed_text(case["body"].encode(), "tcbInfo")
    assert found == (case["signed"], case["signature"])


def entry(case: dict[str, Any]) -> None:
    """An entry of the cache."""
    assert read_answer(bytes.fromhex(case["entry"])).body.hex() == case["body"]


def address(case: dict[str, Any]) -> None:
    """A service's address."""
    found = Service.of("intel", case["url"])
    assert [found.host, found.port, found.path] == case["read"]


KINDS: Final[dict[str, Callable[[dict[str, Any]], None]]] = {
    "targets": targets,
    "statement": statement,
    "entry": entry,
    "address": address,
}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.stem, marks=pytest.mark.spec(json.loads(path.read_text())["clause"])
        )
        for path in PATHS
    ],
)
def test_vector(path: Path) -> None:
    """The code comes to the result that the vector expects."""
    case = json.loads(path.read_text())
    found = "ok"
    try:
        KINDS[case["kind"]](case)
    except CloisterError as e:
        found = e.code
    assert found == case["expect"], case["comment"]


def script(name: str) -> ModuleType:
    """A script beside the vectors."""
    spec = importlib.util.spec_from_file_location(f"sources_{name}", VECTORS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generator_leaves_no_difference(tmp_path: Path) -> None:
    """What is checked in is what it writes; more than half of it is refused."""
    script("generate").main(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in PATHS}
    refused = [path for path in PATHS if json.loads(path.read_text())["expect"] != "ok"]
    assert len(refused) * 2 > len(PATHS)


def test_a_second_reader_agrees() -> None:
    """Written from the page alone."""
    assert script("reader").main() == []


@pytest.mark.spec("ES-4")
def test_the_page_has_the_addresses() -> None:
    """Name for name."""
    page = (ROOT / "docs" / "spec" / "endorsement-sources-v1.md").read_text("utf-8")
    assert all(f"| `{name}` | `{url}` |" in page for name, url in ADDRESSES.items())
