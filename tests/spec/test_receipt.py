"""The vectors of receipt-v1."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloister.crypto.signature import VerifyingKey
from cloister.errors import CloisterError
from cloister.launcher.receipt import FORMAT, LABEL, verify_run_receipt

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors/receipt-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.spec(
    "RR-1",
    "RR-2",
    "RR-3",
    "RR-5",
    "RR-6",
    "RR-8",
    "RR-10",
    "RR-11",
    "RR-12",
    "RR-13",
    "RR-14",
    "RR-15",
)
def test_receipts(name: str) -> None:
    """A receipt holds under the pinned facts of its vector, or is refused with its code."""
    vector = VECTORS[name]
    pinned = {
        "ca": vector["ca"].encode(),
        "service": VerifyingKey.from_text(vector["service"]),
        "origin": vector["origin"],
    }
    if vector["expect"] == "ok":
        verified = verify_run_receipt(vector["receipt"].encode(), **pinned)
        assert verified.body == json.loads(vector["receipt"])["body"]
        assert verified.hardware_rooted is False
        assert verified.spent == ({"exposure": 15} if name == "ok-spent" else {})
        return
    with pytest.raises(CloisterError) as caught:
        verify_run_receipt(vector["receipt"].encode(), **pinned)
    assert caught.value.code == vector["expect"]


@pytest.mark.spec("RR-5")
def test_the_page_has_the_label_and_the_format() -> None:
    """Names stand once in the page and once in the code."""
    page = (ROOT / "docs/spec/receipt-v1.md").read_text("utf-8")
    assert FORMAT in page
    assert LABEL.decode() in page


def test_half_of_the_vectors_are_refusals() -> None:
    """A page is tested by what it refuses."""
    refused = [name for name, vector in VECTORS.items() if vector["expect"] != "ok"]
    assert 2 * len(refused) >= len(VECTORS)


def test_the_generator_leaves_no_difference(tmp_path: Path) -> None:
    """Running it again writes the same files."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, script], check=True, timeout=60, env=environment)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
