"""The vectors of privacy-statement-v1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from cloister.errors import CloisterError
from cloister.training.privacy.accounting import Mechanism
from cloister.training.privacy.statement import FORMAT, Statement

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs/spec/vectors/privacy-statement-v1"
VECTORS: Final = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))
}


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.spec("PS-1", "PS-2", "PS-3", "PS-7")
def test_reading(name: str) -> None:
    """A statement is read, and written again means the same; or it is refused with its code."""
    vector = VECTORS[name]
    data = vector["text"].encode()
    if vector["expect"] == "ok":
        statement = Statement.from_bytes(data)
        again = Statement.from_bytes(statement.to_bytes())
        assert again == statement
        return
    with pytest.raises(CloisterError) as caught:
        Statement.from_bytes(data)
    assert caught.value.code == vector["expect"]


@pytest.mark.parametrize("name", [name for name in VECTORS if "verify" in VECTORS[name]])
@pytest.mark.spec("PS-4", "PS-8")
@pytest.mark.frameworks("dp_accounting")
def test_computing_again(name: str) -> None:
    """Epsilon is what its mechanisms give, by a closed form for those without sampling."""
    vector = VECTORS[name]
    statement = Statement.from_bytes(vector["text"].encode())
    if vector["verify"] == "ok":
        statement.verify()
        return
    with pytest.raises(CloisterError) as caught:
        statement.verify()
    assert caught.value.code == vector["verify"]


@pytest.mark.spec("PS-5", "PS-6")
@pytest.mark.frameworks("dp_accounting")
def test_writing() -> None:
    """Every number comes back as it was; epsilon is rounded up; what was not done is left out."""
    mechanisms = tuple(
        Mechanism(examples=1437, batch=256, clip=0.1, noise_multiplier=3.1415926, steps=steps)
        for steps in (7, 0)
    )
    statement = Statement.of(mechanisms, delta=1e-7, metrics_shown=True)
    read = Statement.from_bytes(statement.to_bytes())
    assert read.mechanisms == statement.mechanisms == mechanisms[:1]
    assert (read.delta, read.metrics_shown) == (1e-7, True)
    assert statement.epsilon <= read.epsilon <= statement.epsilon + 1e-4
    read.verify()


def test_the_page_has_the_format() -> None:
    """The name stands once in the page and once in the code."""
    assert FORMAT in (ROOT / "docs/spec/privacy-statement-v1.md").read_text("utf-8")


def test_half_of_the_vectors_are_refusals() -> None:
    """A page is tested by what it refuses."""
    refused = [vector for vector in VECTORS.values() if vector["expect"] != "ok"]
    assert 2 * len(refused) >= len(VECTORS)


def test_the_generator_leaves_no_difference(tmp_path: Path) -> None:
    """Running it again writes the same files."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    subprocess.run([sys.executable, script], check=True, timeout=60)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
