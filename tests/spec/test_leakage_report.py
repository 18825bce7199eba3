"""The vectors of leakage-report-v1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from cloister.errors import CloisterError
from cloister.partition.report import FORMAT, read_report, write_report
from cloister.partition.thresholds import judge, read_thresholds

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs/spec/vectors/leakage-report-v1"
VECTORS: Final = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))
}


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.spec(
    "LR-1", "LR-2", "LR-3", "LR-4", "LR-5", "LR-6", "LR-7", "LR-8", "LR-9", "LR-10", "LR-11",
    "LR-12", "LR-13",
)  # fmt: skip
def test_reading(name: str) -> None:
    """A report is read and written again to the same bytes, or refused with its code."""
    vector = VECTORS[name]
    data = vector["text"].encode()
    if vector["expect"] == "ok":
        assert write_report(read_report(data)) == data
        return
    with pytest.raises(CloisterError) as caught:
        read_report(data)
    assert caught.value.code == vector["expect"]


@pytest.mark.parametrize("name", [name for name in VECTORS if "judged" in VECTORS[name]])
@pytest.mark.spec(
    "LR-20", "LR-21", "LR-22", "LR-23", "LR-24", "LR-25", "LR-26", "LR-27", "LR-28", "LR-29"
)
def test_judging(name: str) -> None:
    """A report passes the thresholds of its vector, or does not."""
    vector = VECTORS[name]
    report = read_report(vector["text"].encode())

    def judged() -> None:
        judge(
            report,
            front=vector["front"],
            back=vector["back"],
            thresholds=read_thresholds(vector["thresholds"]),
        )

    if vector["judged"] == "ok":
        judged()
        return
    with pytest.raises(CloisterError) as caught:
        judged()
    assert caught.value.code == vector["judged"]


def test_the_page_has_the_format() -> None:
    """The name stands in the page and in the code."""
    assert FORMAT in (ROOT / "docs/spec/leakage-report-v1.md").read_text("utf-8")


def test_more_than_half_of_the_vectors_are_refusals() -> None:
    """A page is tested by what it refuses."""
    refused = [v for v in VECTORS.values() if (v["expect"], v.get("judged", "ok")) != ("ok", "ok")]
    assert 2 * len(refused) > len(VECTORS) > 50


def test_the_generator_leaves_no_difference(tmp_path: Path) -> None:
    """Running it again writes the same files."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    subprocess.run([sys.executable, script], check=True, timeout=60)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
