"""The vectors of launch-measurement-v1."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cloister.errors import CloisterError
from cloister.launcher.code import read_code
from cloister.launcher.manifest import CODE_LABEL, RUNTIME_LABEL, Manifest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors/launch-measurement-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.spec("LM-3", "LM-4", "LM-5", "LM-6", "LM-13")
def test_manifests(name: str) -> None:
    """A manifest has the digests of its vector, or is refused with its code."""
    vector = VECTORS[name]
    data = bytes.fromhex(vector["manifest"])
    if vector["expect"] == "ok":
        manifest = Manifest.from_bytes(data)
        assert manifest.to_bytes() == data
        assert manifest.digest(CODE_LABEL).hex() == vector["code_digest"]
        assert manifest.digest(RUNTIME_LABEL).hex() == vector["runtime_digest"]
        return
    with pytest.raises(CloisterError) as caught:
        Manifest.from_bytes(data)
    assert caught.value.code == vector["expect"]


@pytest.mark.spec("LM-30", "LM-31")
def test_the_worked_example(tmp_path: Path) -> None:
    """A folder on disk gives the digest that the page's manifest has."""
    (tmp_path / "train.py").write_bytes(b"print(1)\n")
    assert read_code(tmp_path).digest().hex() == VECTORS["one-file"]["code_digest"]
    page = (ROOT / "docs/spec/launch-measurement-v1.md").read_text("utf-8")
    assert VECTORS["one-file"]["manifest"][-64:] in page
    assert CODE_LABEL.decode() in page
    assert RUNTIME_LABEL.decode() in page


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
