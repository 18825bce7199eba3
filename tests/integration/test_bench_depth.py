"""What a cut costs by its depth is measured in real processes, and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

PNG = b"\x89PNG\r\n\x1a\n"
WAYS = ("whole", "checked", "believed")


def test_without_onnx_runtime_a_row_says_so(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is measured."""
    depth = load("depth")
    monkeypatch.setattr(depth, "not_installed", lambda *_: ["onnxruntime"])
    (row,) = depth.rows(blocks=(0,), plan=depth.Plan(turns={1: 1}, seconds=0))
    assert row.facts["left_out"] == "not installed"
    assert "onnxruntime" in row.result
    assert row.met is None


@pytest.mark.slow
def test_a_cut_is_measured_by_its_depth_and_drawn(load: Any, tmp_path: Path) -> None:
    """Two cuts at two batches, in real processes: bytes are exact, and a plot is written."""
    for module in ("matplotlib", "onnx", "onnxruntime"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    depth, report = load("depth"), load("report")
    plan = depth.Plan(turns={1: 3, 2: 2}, seconds=0.01)
    rows = list(depth.rows(blocks=(0, 2), plan=plan, size=16, each=1))
    latency = [row for row in rows if row.facts["benchmark"] == "cut_depth.latency"]
    rates = [row for row in rows if row.facts["benchmark"] == "cut_depth.load"]
    assert [(row.facts["block"], row.facts["batch"]) for row in latency] == [
        (0, 1), (0, 2), (2, 1), (2, 2),
    ]  # fmt: skip
    for row in latency:
        assert row.met is (row.facts["ratio"]["checked"]["median"] <= 1.3)
        assert set(row.facts["p50_ms"]) == {*WAYS, "ahead"}
        assert all(row.facts["p99_ms"][way] >= row.facts["p50_ms"][way] > 0 for way in WAYS)
    sent = {0: 64 * 16 * 16 * 4, 2: 128 * 4 * 4 * 4}
    # Of a block that halves: two convolutions, and the one around them.
    back = {2: 3 * 256 * 2 * 2 * 4}
    back[0] = back[2] + 3 * 64 * 8 * 8 * 4 + 3 * 128 * 4 * 4 * 4
    for row in latency:
        assert row.facts["sent_bytes"] == sent[row.facts["block"]]
        assert row.facts["received_bytes"] == back[row.facts["block"]]
    for row in rates:
        assert 0 < row.facts["work_inside"] < 1
        assert min(row.facts["per_s"].values()) > 0
        held = row.facts["memory"]
        assert set(held) == {"whole", "checked", "outside"}
        assert all(each["resident_bytes"] > 10 << 20 for each in held.values())
    assert rates[0].facts["work_inside"] < rates[-1].facts["work_inside"]
    facts = load("pairs").machine() | {
        "date": "today", "mode": "quick", "seconds": 1, "commit": "c", "load_before": 0,
        "load_after": 0,
    }  # fmt: skip
    assert report.write(tmp_path, rows, facts)[-1] == "cut-depth.png"
    assert (tmp_path / "cut-depth.png").read_bytes().startswith(PNG)
    assert len(json.loads((tmp_path / "bench.json").read_text())["rows"]) == len(rows)
    assert "cut-depth.png" not in report.write(tmp_path / "none", [], facts)
    assert not (tmp_path / "none" / "cut-depth.png").exists()
