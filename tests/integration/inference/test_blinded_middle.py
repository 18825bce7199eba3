"""Steps under pads, through a middle that is a process of its own, as an operator starts it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from cloister.errors import CloisterError
from cloister.inference.partitioned import PartitionedModel
from cloister.partition.blinded_part import BlindedPart, Blinding, quantised_steps
from cloister.partition.graph import PartFile
from cloister.partition.litert_source import LiteRTSource
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import open_part
from cloister.testing.middle_models import conv_net, dense_net

ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def process(part: PartFile, folder: Path, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the part in a middle."""
    path = folder / ("middle.onnx" if part.format == "onnx" else "middle.tflite")
    path.write_bytes(part.data)
    command = [sys.executable, "-m", "cloister.inference.middle", "--part", str(path)]
    with subprocess.Popen(
        [*command, "--listen", address],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    ) as running:
        try:
            assert running.stderr is not None
            assert running.stderr.readline() == f"listening at {address}\n".encode()
            yield running
        finally:
            running.kill()


def model(part: PartFile, address: str, *, shared: bool = False, stock: int = 8) -> Any:
    return PartitionedModel(
        front=None, middle=part, back=None, address=address, mode=Blinding(stock=stock),
        threads=1, shared=shared,
    )  # fmt: skip


def net(name: str) -> PartFile:
    if name == "convolutions":
        return ONNXSource(conv_net(channels=24, blocks=2, size=10)).part(["first"], ["flat"])
    if name == "dense":
        return ONNXSource(dense_net(width=600, layers=3)).part(["hr1"], ["label"])
    source = LiteRTSource((ROOT / "tests/data/models/digits.tflite").read_bytes())
    return source.part(
        [each.name for each in source.graph.inputs], [each.name for each in source.graph.outputs]
    )


@pytest.mark.spec("OM-14", "OM-15", "OM-16", "OM-18")
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", ["convolutions", "dense", "litert"])
def test_answers_are_those_of_the_quantised_model(
    tmp_path: Path, name: str, *, shared: bool
) -> None:
    """To the last bit as if the steps were computed here; and near the model in float32."""
    part = net(name)
    (info,) = part.inputs
    here = BlindedPart(part, Blinding(stock=0), threads=1)
    steps = quantised_steps(part, here.steps)
    plain = open_part(part, threads=1)
    with process(part, tmp_path, f"unix:{tmp_path}/s"):
        there = model(part, f"unix:{tmp_path}/s", shared=shared)
        there.prepare(3)
        for rows in (1, 4, 2):
            shape = (rows, *info.shape[1:])
            given = {info.name: np.random.default_rng(rows).random(shape).astype(np.float32)}
            found = there.predict(given)
            exact = here.run(given, lambda step, residues, _: steps[step].answer(residues))
            right = plain.run(given)
            assert found.keys() == exact.keys() == right.keys()
            for word, array in found.items():
                np.testing.assert_array_equal(array, exact[word])
                size = float(np.abs(right[word]).max())
                np.testing.assert_allclose(array, right[word], atol=0.05 * size)
        there.close()


@pytest.mark.spec("OM-13", "OM-17")
def test_a_middle_that_was_killed_and_started_again(tmp_path: Path) -> None:
    """Queries fail while it is gone, and are answered as before when it is back."""
    part, address = net("dense"), f"unix:{tmp_path}/s"
    given = {"hr1": np.random.default_rng(1).random((2, 600), np.float32)}
    there = model(part, address)
    with process(part, tmp_path, address):
        right = there.predict(given)["label"]
    with pytest.raises(CloisterError) as caught:
        there.predict(given)
    assert caught.value.code == "middle.unavailable"
    (tmp_path / "s").unlink()
    with process(part, tmp_path, address):
        np.testing.assert_array_equal(there.predict(given)["label"], right)
    there.close()
