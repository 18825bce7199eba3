"""The untrusted side as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("ai_edge_litert")

from cloister.crypto.digest import sha256
from cloister.errors import CloisterError, MissingExtraError
from cloister.inference import middle
from cloister.inference.middle import main, read_part
from cloister.inference.middle_client import MiddleClient
from cloister.inference.middle_message import Layout
from cloister.inference.middle_process import Run
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


@pytest.mark.parametrize("word", [["--torch", "no-device"], ["--provider", "NoExecutionProvider"]])
def test_an_engine_that_is_named_is_tried_before_anybody_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: list[str]
) -> None:
    """What it lacks is said at the start, and nothing listens."""
    (tmp_path / "m.onnx").write_bytes(dense_net(width=8, layers=2))
    address = f"unix:{tmp_path}/s"
    assert main(["--part", str(tmp_path / "m.onnx"), "--listen", address, *word]) in {65, 66}
    said = capsys.readouterr().err
    assert any(f"[{code}]" in said for code in ("config.value", "extra.missing"))
    assert "listening" not in said
    assert not (tmp_path / "s").exists()


def test_without_an_engine_steps_under_pads_are_left(caplog: pytest.LogCaptureFixture) -> None:
    """The reason and the next step are in the log."""
    missing = MissingExtraError("no runtime", code="extra.missing", hint="install it")

    def opened(outputs: Sequence[str]) -> Run:
        raise missing

    part = ONNXSource(dense_net(width=8, layers=2)).part(["hr1"], ["h2"])
    middle._try(part, opened, needed=False)
    assert "only steps under pads are answered here: no runtime [extra.missing]" in caplog.text
    assert "install it" in caplog.text
    with pytest.raises(MissingExtraError):
        middle._try(part, opened, needed=True)
