"""Parts that are loaded: inputs that fit, whatever the batch, from several threads."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloister.errors import ConfigError, MalformedError

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from cloister.partition.graph import PartFile
from cloister.partition.litert_source import LiteRTSource
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import Array, open_part, with_outputs
from partition_models import onnx_block_net

MODELS = Path(__file__).parents[2] / "data" / "models"
PARTS = {
    "onnx": ONNXSource(onnx_block_net()).part(["image"], ["label"]),
    "litert": LiteRTSource((MODELS / "digits.tflite").read_bytes()).part(["image"], ["output_0"]),
}
both = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())


def images(part: PartFile, rows: int, seed: int = 1) -> Array:
    shape = (rows, *part.inputs[0].shape[1:])
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


@both
def test_batches_of_any_size_run(part: PartFile) -> None:
    """A row is what it is in any company."""
    running = open_part(part, threads=1)
    assert running.part is part
    (name,) = (info.name for info in part.outputs)
    many = running.run({"image": images(part, 5)})[name]
    one = running.run({"image": images(part, 5)[:1]})[name]
    assert many.shape[0] == 5
    assert np.allclose(many[:1], one, atol=1e-6)


@both
def test_answers_are_the_same_every_time_and_on_each_thread(part: PartFile) -> None:
    running = open_part(part, threads=2)
    (name,) = (info.name for info in part.outputs)
    found: dict[int, bytes] = {}

    def ask(number: int) -> None:
        rows = images(part, 1 + number % 3, seed=number % 3)
        found[number] = running.run({"image": rows})[name].tobytes()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert all(found[number] == found[number % 3] for number in found)


@both
def test_inputs_that_do_not_fit_are_refused(part: PartFile) -> None:
    running = open_part(part, threads=1)
    good = images(part, 1)
    for feeds in ({}, {"image": good[0]}, {"image": good.astype("f8")}, {"image": good[:, :-1]}):
        with pytest.raises(ConfigError) as caught:
            running.run(feeds)
        assert caught.value.code == "config.value"


@both
def test_bytes_that_are_no_part_are_malformed(part: PartFile) -> None:
    for data in (b"", b"\0" * 100, part.data[: len(part.data) // 2]):
        with pytest.raises(MalformedError) as caught:
            open_part(replace(part, data=data), threads=1)
        assert caught.value.code == "model.malformed"


@both
def test_a_part_whose_names_are_others_is_malformed(part: PartFile) -> None:
    named = replace(part, outputs=(replace(part.outputs[0], name="other"),))
    with pytest.raises(MalformedError):
        open_part(named, threads=1).run({"image": images(part, 1)})


def test_another_format_does_not_run() -> None:
    with pytest.raises(ConfigError) as caught:
        open_part(replace(PARTS["onnx"], format="keras"), threads=1)
    assert caught.value.code == "config.value"


def test_onnx_runs_fast_where_exactness_is_given_up() -> None:
    part = PARTS["onnx"]
    feeds = {"image": images(part, 2)}
    exact, fast = (open_part(part, threads=1, exact=e).run(feeds)["label"] for e in (True, False))
    assert np.allclose(exact, fast, atol=1e-5)


@both
def test_inner_tensors_can_be_asked_for(part: PartFile) -> None:
    inner = {"onnx": "add", "litert": "sequential_1/dense_1/MatMul2"}[part.format]
    shown = with_outputs(part, [inner])
    assert [info.name for info in shown.outputs] == [part.outputs[0].name, inner]
    assert inner in open_part(shown, threads=1).run({"image": images(part, 1)})
