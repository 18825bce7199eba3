"""The untrusted side as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

from cloister.crypto.digest import sha256
from cloister.errors import CloisterError
from cloister.inference.middle import main, read_part
from cloister.inference.middle_client import MiddleClient
from cloister.inference.middle_message import Layout
from cloister.partition.onnx_source import ONNXSource
from cloister.testing.middle_models import dense_net

ROOT = Path(__file__).parents[3]


def test_it_serves_until_told_to_stop(tmp_path: Path) -> None:
    part = ONNXSource(dense_net(width=8, layers=2)).part(["hr1"], ["h2"])
    path, address = tmp_path / "middle.onnx", f"unix:{tmp_path}/s"
    path.write_bytes(part.data)
    command = [sys.executable, "-m", "cloister.inference.middle", "--part", path, "--listen"]
    with subprocess.Popen(
        [*command, address],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"listening at {address}\n".encode()
        client = MiddleClient(address, part=sha256(part.data), outputs=["h2"], shared=True)
        given = {"hr1": np.ones((3, 8), np.float32)}
        assert client.ask(given, Layout((("h2", "float32", (3, 8)),)))["h2"].shape == (3, 8)
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not (tmp_path / "s").exists()


def test_parts_are_read_by_their_suffix(tmp_path: Path) -> None:
    part = ONNXSource(dense_net(width=8, layers=2)).part(["hr1"], ["h2"])
    (tmp_path / "m.onnx").write_bytes(part.data)
    assert read_part(tmp_path / "m.onnx") == part
    found = read_part(ROOT / "tests/data/models/digits.tflite")
    assert found.format == "litert"
    assert len(found.inputs) == 1
    (tmp_path / "m.onnx").write_bytes(b"no")
    with pytest.raises(CloisterError) as caught:
        read_part(tmp_path / "m.onnx")
    assert caught.value.code == "model.malformed"


def test_what_cannot_be_served_ends_with_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--part", str(tmp_path / "none.onnx"), "--listen", "unix:/nowhere"]
    assert main(arguments) == 65
    assert "[config.file]" in capsys.readouterr().err


@pytest.mark.parametrize("roots", [("flatbuffers", "ai_edge_litert"), ("flatbuffers",)])
def test_a_part_whose_extra_is_missing_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], roots: tuple[str, ...]
) -> None:
    """Whoever runs it reads what to install, and no traceback."""
    loaded = [name for name in sys.modules if name.partition(".")[0] in roots]
    for name in (*loaded, *roots):
        monkeypatch.setitem(sys.modules, name, None)
    part = str(ROOT / "tests/data/models/digits.tflite")
    assert main(["--part", part, "--listen", "unix:/nowhere"]) == 66
    assert "[extra.missing]" in capsys.readouterr().err
