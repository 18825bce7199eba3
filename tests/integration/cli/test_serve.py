"""`cloister serve` as a user types it: from plain models to an answer of a confined server."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from cloister.inference import Client
from cloister.inference.model import LiteRTModel
from integration.cli.desk import Desk, await_true

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")

MODELS = Path(__file__).parents[2] / "data" / "models"
DIGITS = MODELS / "digits.tflite"
NAMES = [f"the digit {n}" for n in range(10)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A trust domain, and a sealed catalogue with two models, one version broken."""
    desk = Desk(tmp_path)
    for name, version, config in (
        ("digits", "1", {}),
        ("classes", "3", {"classification": {"top": 2}, "batching": {"rows": 8}}),
    ):
        place = tmp_path / "plain" / name / version
        place.mkdir(parents=True)
        shutil.copy(DIGITS, place / "model.tflite")
        (place / "config.json").write_text(json.dumps(config))
    (place / "labels.json").write_text(json.dumps(NAMES))
    broken = tmp_path / "plain" / "digits" / "2"
    broken.mkdir()
    (broken / "model.tflite").write_bytes(DIGITS.read_bytes()[:500])
    desk.run("init").good()
    desk.run("volume", "seal", "plain", "sealed/models").good()
    return desk


@pytest.mark.jobs
@pytest.mark.fuse
@pytest.mark.timeout(900)
def test_a_sealed_catalogue_is_served(desk: Desk) -> None:
    """Two commands and three lines; a broken version is refused, and the one before it answers."""
    port = free_port()
    words = ["--catalogue", "--any-client", "a test of serving", "--option=--metrics"]
    try:
        drafted = desk.run("serve", "sealed/models", *words, "--port", str(port), timeout_s=600)
        assert "cloister policy apply serve.yaml" in drafted.good().stdout
        desk.run("policy", "apply", "serve.yaml").good()
        with desk.running("serve") as process:
            lines: list[str] = []
            reading = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
            reading.start()
            try:
                await_true(
                    lambda: (
                        process.poll() is not None or any("serving port" in line for line in lines)
                    ),
                    timeout_s=300,
                )
                said = "".join(lines)
                assert process.poll() is None, said
                assert "model refused version=digits/2 code=model.malformed" in said
                (identity,) = re.findall(r'identity="(spiffe://[^"]+)"', said)
                assert f'Client("https://127.0.0.1:{port}", trust=".cloister/domain.json"' in said
                ask(desk, port, identity)
            finally:
                process.terminate()
                process.wait(60)
                reading.join(60)
    finally:
        desk.stop_service()


def ask(desk: Desk, port: int, identity: str) -> None:
    trust = desk.folder / ".cloister" / "domain.json"
    images = np.random.default_rng(1).random((3, 8, 8, 1), dtype=np.float32)
    scores = LiteRTModel(DIGITS.read_bytes(), threads=1).predict({"image": images})["output_0"]
    url = f"https://127.0.0.1:{port}"
    with Client(url, trust=trust, identity=identity, model="digits", timeout_s=60) as client:
        assert client.predict(images).tobytes() == scores.tobytes()
    with Client(url, trust=trust, identity=identity, model="classes", timeout_s=60) as client:
        found = client.predict(images)
    best = [int(text.split(":")[1]) for text in found[:, 0]]
    assert best == scores.argmax(axis=1).tolist()
    assert [text.split(":")[2] for text in found[:, 0]] == [NAMES[n] for n in best]
