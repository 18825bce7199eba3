"""Networks of hundreds of layers, by commands alone: assess, cut, check, serve, ask.

Their weights are random, and all that crosses is one number. It is the mechanics that is shown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from integration.cli.desk import Desk
from integration.cli.test_serve import free_port
from integration.partition.served_cut import middle_process, served

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.jobs,
    pytest.mark.frameworks("tensorflow", "sklearn", "h5py"),
    pytest.mark.timeout(21600),
]
pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")

MAKER: Final = Path(__file__).with_name("family_model.py")
SLOW_S: Final = 14700.0


@pytest.mark.parametrize("family", ["ResNet50", "MobileNetV2"])
def test_a_known_architecture_goes_all_the_way(tmp_path: Path, family: str) -> None:
    """Its first cut is unsafe and is not made; the one that leaves one number is served."""
    desk = Desk(tmp_path)
    subprocess.run(
        [sys.executable, MAKER, family, desk.folder],
        check=True,
        timeout=SLOW_S,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    places = json.loads((desk.folder / "places.json").read_text())
    said, last = str(places["said"]), str(places["last"])
    desk.run("init", "--name", "example.org").good()
    try:
        assessed = desk.json(
            "model", "assess", "family.keras", "--sample", "sample.npz", "--proxy", "public.npz",
            "--ends", "0:1", "--seconds", "14400", "--steps", "300", "--cuts", f"1,{said}",
            "--backs", last, "--out", "report.json", "--page", "report.html", timeout_s=SLOW_S,
        ).good().record  # fmt: skip
        verdicts = {cut["position"]: cut["verdict"] for cut in assessed["cuts"]}
        assert verdicts == {1: "unsafe", places["said"]: "safe"}, assessed["cuts"]
        words = ("model", "cut", "family.keras", "--report", "report.json", "--back", last)
        early = desk.json(
            *words, "--front", "1", "--out", "exposed-early", "--volume", "sealed/early",
            timeout_s=SLOW_S,
        )  # fmt: skip
        assert early.code == "model.refused"
        made = desk.json(
            *words, "--front", "recommended", "--out", "exposed-model", "--volume", "sealed/model",
            timeout_s=SLOW_S,
        ).good().record  # fmt: skip
        check = ("model", "check", "exposed-model", "--signer", made["signer"])
        assert desk.json(*check, "--secret", "sealed/model").good().record["secret_checked"]
        _asked(desk, made["signer"])
    finally:
        desk.stop_service()


def _asked(desk: Desk, signer: str) -> None:
    """Serve it and ask; the exposed part runs in a process of its own."""
    port = free_port()
    with (
        served(desk, signer=signer, middle=port, timeout_s=SLOW_S) as (url, identity),
        middle_process(desk, port),
    ):
        words = ("query", url, "questions.npy", "--identity", identity, "--output", "found.npy")
        desk.json(*words).good()
    found, right = (np.load(desk.folder / f"{name}.npy") for name in ("found", "answers"))
    np.testing.assert_allclose(found, right, atol=1e-4)
