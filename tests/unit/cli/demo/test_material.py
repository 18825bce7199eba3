"""What the owner brings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cloister.cli.demo.material import (
    SCRIPT,
    Material,
    copy_store,
    inspect_script,
    read_metrics,
    weight_markers,
)
from cloister.cli.demo.places import Places


@pytest.mark.frameworks("sklearn")
def test_every_marker_lies_in_its_secret_and_is_new_each_time(tmp_path: Path) -> None:
    """Otherwise not finding one would mean nothing."""
    found = []
    for name in ("a", "b"):
        places = Places(tmp_path / name)
        places.make()
        material = Material.make(places)
        query = material.query.tobytes()
        assert all(marker in query for marker in material.markers["query"])
        [code] = material.markers["code"]
        assert code in (places.code / SCRIPT).read_bytes()
        assert material.query.shape[1:] == (8, 8, 1)
        assert len(material.labels) == len(material.query)
        found.append({m for markers in material.markers.values() for m in markers})
    assert found[0].isdisjoint(found[1])


def test_weights_are_told_from_padding(tmp_path: Path) -> None:
    """Only bytes that vary are markers."""
    model = tmp_path / "model"
    model.write_bytes(bytes(4000) + bytes(range(256)) * 8)
    markers = weight_markers(model)
    assert markers
    assert all(len(set(marker)) > len(marker) // 2 for marker in markers)
    model.write_bytes(bytes(6000))
    assert weight_markers(model) == []


def test_the_inspecting_script_reads_every_file(tmp_path: Path) -> None:
    """It prints one line for each."""
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/b"):
        (tmp_path / name).write_text(name)
    done = subprocess.run(
        [sys.executable, "-c", inspect_script(), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 2


def test_a_store_is_copied_and_metrics_are_read(tmp_path: Path) -> None:
    """As an operator and an owner do."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "metrics.json").write_text('{"accuracy": 0.5}')
    assert read_metrics(copy_store(tmp_path / "from", tmp_path / "to")) == {"accuracy": 0.5}
