"""`make bench` writes a table, JSON and a plot. How fast anything is, is not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n"


def _bench(output: Path, *arguments: str) -> dict[str, object]:
    """Run the benchmark and return its JSON, after a look at the other two files."""
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--quick", *arguments]
    command += ["--output", str(output), "--directory", str(output / "work")]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (output / "bench.png").read_bytes().startswith(PNG)
    record = json.loads((output / "bench.json").read_text())
    table = (output / "bench.md").read_text()
    for fact in ("processor", "kernel", "date"):
        assert str(record[fact]) in table
    for row in record["rows"]:
        assert row["name"] in table
    assert not list((output / "work").iterdir())
    return record


@pytest.mark.slow
@pytest.mark.jobs
def test_key_release_alone_writes_table_json_and_plot(tmp_path: Path) -> None:
    """One part gives all three files, with each aim and whether it was met, and every path."""
    pytest.importorskip("matplotlib")
    rows = _bench(tmp_path, "--only", "key service")["rows"]
    assert isinstance(rows, list)
    aimed = [row for row in rows if row["aim"]]
    assert [row["clients"] for row in aimed] == [1, 16]
    assert all(isinstance(row["met"], bool) for row in aimed)
    paths = {row["path"]: row for row in rows if row["benchmark"] == "key_release.path"}
    assert list(paths) == ["beside", "near", "far-service", "far-vendor"]
    round_trip = paths["far-vendor"]["round_trip_ms"]
    assert paths["far-service"]["p50_ms"] > 2 * round_trip
    assert paths["far-vendor"]["p50_ms"] > 3 * round_trip
    assert paths["beside"]["times_beside"] == 1
    for kind in ("tdx", "snp"):
        of = [row for row in rows if row["benchmark"] == f"key_release.release-{kind}"]
        assert [row["clients"] for row in of] == [1, 16]


@pytest.mark.bench
@pytest.mark.frameworks
@pytest.mark.fuse
@pytest.mark.timeout(1000)
def test_the_quick_run_has_every_part(tmp_path: Path) -> None:
    """Training, volumes, start-up and key service are measured in one run, each aim judged."""
    rows = _bench(tmp_path, f"--small-python={sys.executable}")["rows"]
    assert isinstance(rows, list)
    assert {row["part"] for row in rows} == {
        "training",
        "volumes",
        "start-up",
        "evidence",
        "key service",
        "privacy",
        "memory",
    }
    aimed = {row["name"] for row in rows if row["met"] is not None}
    assert any(name.startswith("training") for name in aimed)
    assert any(name.startswith("warm read") for name in aimed)
    assert any(name.startswith("attest") for name in aimed)
