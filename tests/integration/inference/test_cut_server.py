"""A server of a cut model, as a process: it answers while it prepares, and ends when it is told."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from cloister.partition.runtime import open_part
from cloister.partition.thresholds import DEFAULT
from cloister.testing.certificates import FakeDomain
from cloister.testing.serving import write_identity
from unit.inference.test_packaged import KEY, Stage, stage

__all__ = ["stage"]

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like


@pytest.fixture(params=["freivalds", "blinded"])
def server(
    stage: Stage, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    domain = FakeDomain("clinic.example", at=NOW)
    identity = write_identity(tmp_path / "id", domain.credential("serve"), ca_pem=domain.ca_pem)
    folder = str(stage.folder)
    command = [
        sys.executable, "-m", "cloister.inference.server", "--package", folder, "--secret", folder,
        "--signer", KEY.public.text, "--require", DEFAULT, "--name", "m",
        "--middle", stage.address, "--check", request.param, "--batch", "8",
        "--identity", str(identity),
        "--any-client", "a test of serving", "--port", "0",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("serving port="):
                break
        else:
            pytest.fail("".join(said))
        try:
            yield process, int(said[-1].partition("=")[2])
        finally:
            process.kill()


@pytest.mark.spec("SRV-47", "SRV-48")
def test_it_answers_and_ends(server: tuple[subprocess.Popen[str], int], stage: Stage) -> None:
    process, port = server
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=30)
    whole = open_part(stage.source.part(["x"], ["label"]), threads=1)
    blinded = "blinded" in process.args
    for seed in range(5):
        rows = np.random.default_rng(seed).random((2, 64), np.float32)
        tensor = {"name": "x", "shape": [2, 64], "datatype": "FP32", "data": rows.ravel().tolist()}
        connection.request("POST", "/v2/models/m/infer", json.dumps({"inputs": [tensor]}))
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        found = np.array(answer["outputs"][0]["data"]).reshape(2, -1)
        right = whole.run({"x": rows})["label"]
        near = {"atol": 0.02} if blinded else {"rtol": 1e-4, "atol": 1e-6}
        np.testing.assert_allclose(found, right, **near)
    connection.request("GET", "/v2/models/m")
    assert ("one-time pads" in connection.getresponse().read().decode()) is blinded
    connection.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
