"""The vectors of tdx-launch-v1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from cloister.errors import CloisterError
from cloister.tee.tdx.firmware import MAX_IMAGE_BYTES, MAX_PAGES, MAX_SECTIONS, TdxFirmware

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs/spec/vectors/tdx-launch-v1"
VECTORS: Final = {p.stem: json.loads(p.read_text("utf-8")) for p in sorted(FOLDER.glob("*.json"))}


def image(vector: dict[str, Any]) -> bytes:
    """The bytes that a vector tells in pieces."""
    data = bytearray(vector["size"])
    for at, piece in vector["pieces"]:
        found = bytes.fromhex(piece)
        data[at : at + len(found)] = found
    return bytes(data)


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.spec(
    "TDL-1", "TDL-2", "TDL-3", "TDL-4", "TDL-5", "TDL-6", "TDL-7", "TDL-8", "TDL-9", "TDL-10",
    "TDL-11", "TDL-12",
)  # fmt: skip
def test_images(name: str) -> None:
    """An image has the measurement of its vector, in both orders, or is refused with its code."""
    vector = VECTORS[name]
    data = image(vector)
    assert len(data) == vector["size"]
    if vector["expect"] == "ok":
        found = TdxFirmware.from_bytes(data)
        assert found.mrtd("page").hex() == vector["mrtd"]["page"]
        assert found.mrtd("section").hex() == vector["mrtd"]["section"]
        return
    with pytest.raises(CloisterError) as caught:
        TdxFirmware.from_bytes(data)
    assert caught.value.code == vector["expect"]


@pytest.mark.spec("TDL-9")
def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    """Written once in each, and compared."""
    page = (ROOT / "docs/spec/tdx-launch-v1.md").read_text("utf-8")
    for limit in (MAX_IMAGE_BYTES, MAX_PAGES, MAX_SECTIONS):
        assert f"{limit:,}".replace(",", " ") in page
    with pytest.raises(CloisterError) as caught:
        TdxFirmware.from_bytes(bytes(MAX_IMAGE_BYTES + 1))
    assert caught.value.code == "firmware.malformed"


def test_the_worked_example_is_on_the_page() -> None:
    """With its measurement."""
    page = (ROOT / "docs/spec/tdx-launch-v1.md").read_text("utf-8")
    assert VECTORS["one-page"]["mrtd"]["page"] in page


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
