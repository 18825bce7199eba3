"""Models that only their framework reads: not without trust, and never in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import (
    ConfigError,
    MissingExtraError,
    RefusedError,
    UnsupportedError,
    extra_hint,
)
from cloister.partition import converting
from cloister.partition.importing import open_model

MODELS = Path(__file__).parents[2] / "data" / "models"
DIGITS, BLOCKS = ((MODELS / f"{name}.tflite").read_bytes() for name in ("digits", "blocks"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a folder that looks like a SavedModel."""
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"program")
    return path


def give(monkeypatch: pytest.MonkeyPatch, data: bytes, code: int = 0) -> list[list[str]]:
    """Have every conversion give these bytes; return what was run."""
    asked: list[list[str]] = []

    def run(command: list[str], **settings: Any) -> Any:
        asked.append(command)
        (descriptor,) = settings["pass_fds"]
        os.write(descriptor, data)
        return type("Done", (), {"returncode": code, "stderr": b"what went wrong"})

    monkeypatch.setattr("subprocess.run", run)
    return asked


def test_without_trust_nothing_is_loaded(
    saved: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = give(monkeypatch, DIGITS)
    for path in (saved, exported):
        with pytest.raises(RefusedError) as caught:
            open_model(path)
        assert caught.value.code == "model.unsafe"
    assert not asked


def test_what_comes_back_is_read_as_data(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    asked = give(monkeypatch, DIGITS)
    source = open_model(saved, trusted=True)
    assert asked[0][:5] == [
        sys.executable,
        "-P",
        "-m",
        "cloister.partition.converting",
        "saved-model",
    ]
    assert (source.graph.format, source.bound) == ("litert", 0.0)
    assert source.part(["image"], ["output_0"]).format == "litert"
    give(monkeypatch, b"what a converter does not write")
    with pytest.raises(Exception, match="not a TensorFlow Lite model"):
        open_model(saved, trusted=True)


def test_the_digest_is_of_every_file_and_its_name(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    give(monkeypatch, DIGITS)
    digests = [open_model(saved, trusted=True).digest]
    (saved / "variables" / "variables.index").write_bytes(b"other")
    digests.append(open_model(saved, trusted=True).digest)
    (saved / "variables" / "variables.index").rename(saved / "variables" / "renamed")
    digests.append(open_model(saved, trusted=True).digest)
    (saved / "assets").write_bytes(b"")
    digests.append(open_model(saved, trusted=True).digest)
    assert len(set(digests)) == 4
    assert digests[-1] == open_model(saved, trusted=True).digest


def test_the_digest_is_of_what_was_made_of_it_too(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report on what a framework made of a model is none on what it makes another time."""
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    give(monkeypatch, DIGITS)
    first = open_model(saved, trusted=True).digest
    give(monkeypatch, BLOCKS)
    assert open_model(saved, trusted=True).digest != first


def test_a_framework_that_is_missing_or_fails(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, b"", code=3)
    with pytest.raises(MissingExtraError) as missing:
        open_model(exported, trusted=True)
    assert missing.value.hint == extra_hint("onnx", "pytorch")
    for data, code in ((b"half", 1), (b"", 0)):
        give(monkeypatch, data, code)
        with pytest.raises(UnsupportedError) as failed:
            open_model(exported, trusted=True)
        assert failed.value.code == "model.convert"
        assert failed.value.detail == "what went wrong"


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt2", tmp_path):
        with pytest.raises(ConfigError) as caught:
            open_model(path, trusted=True)
        assert caught.value.code == "config.file"
    with pytest.raises(ConfigError):
        converting.open_saved_model(tmp_path / "none", trusted=True)


def test_the_process_writes_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(converting, "_KINDS", {"a": lambda path: path.encode()})
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT)
    assert converting.main(["a", "made", str(descriptor)]) == 0
    assert out.read_bytes() == b"made"

    def lacking(path: str) -> bytes:
        raise ImportError(path)

    monkeypatch.setattr(converting, "_KINDS", {"a": lacking})
    assert converting.main(["a", "x", "0"]) == 3
