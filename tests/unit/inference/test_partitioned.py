"""A model whose middle runs elsewhere answers as the whole one does."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from cloister.errors import CloisterError, UnavailableError
from cloister.inference.middle_link import listen
from cloister.inference.middle_process import MiddleServer, engine
from cloister.inference.partitioned import PartitionedModel
from cloister.inference.tensor import TensorSpec
from cloister.partition.blinded_part import Blinding
from cloister.partition.checking import Freivalds, Recompute
from cloister.partition.graph import PartFile, TensorInfo
from cloister.partition.litert_source import LiteRTSource
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import open_part
from cloister.testing.middle_models import conv_net, dense_net

DIGITS = Path(__file__).parents[2] / "data" / "models" / "digits.tflite"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """Serve a middle in a thread; return its address."""
    listeners: list[socket.socket] = []

    def serve(part: PartFile) -> str:
        address = f"unix:{tmp_path}/{len(listeners)}"
        listener = listen(address)
        listeners.append(listener)
        server = MiddleServer(part, engine(part, threads=1, provider=None))
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        return address

    yield serve
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize("shared", [False, True])
def test_of_onnx(served: Any, *, shared: bool) -> None:
    source = ONNXSource(conv_net(channels=16, blocks=1, size=8))
    middle = source.part(["first"], ["flat"])
    model = PartitionedModel(
        front=source.part(["image"], ["first"]),
        middle=middle,
        back=source.part(["flat"], ["label"]),
        address=served(middle),
        mode=Freivalds(),
        threads=1,
        shared=shared,
    )
    assert model.inputs == (TensorSpec("image", "FP32", (-1, 3, 8, 8)),)
    assert model.outputs == (TensorSpec("label", "FP32", (-1, 10)),)
    assert model.platform == "cloister_partitioned"
    whole = open_part(source.part(["image"], ["label"]), threads=1)
    for rows in (1, 5, 2):
        images = np.random.default_rng(rows).random((rows, 3, 8, 8), np.float32)
        found = model.predict({"image": images})
        right = whole.run({"image": images})
        np.testing.assert_allclose(found["label"], right["label"], rtol=1e-4, atol=1e-6)
    assert model.crossed_bytes == (8 * 16 * 64 * 4, 8 * 2 * 16 * 64 * 4)
    assert model.prepare(1) == 1
    model.close()


@pytest.mark.spec("OM-14", "OM-16")
@pytest.mark.parametrize("shared", [False, True])
def test_of_onnx_under_pads(served: Any, *, shared: bool) -> None:
    """Steps of several sizes, over one memory; examples are answered alike together and alone."""
    source = ONNXSource(conv_net(channels=16, blocks=1, size=8))
    middle = source.part(["first"], ["logits"])
    model = PartitionedModel(
        front=source.part(["image"], ["first"]),
        middle=middle,
        back=source.part(["logits"], ["label"]),
        address=served(middle),
        mode=Blinding(stock=4),
        threads=1,
        shared=shared,
    )
    assert model.prepare(2) == 2
    whole = open_part(source.part(["image"], ["label"]), threads=1)
    for rows in (1, 5, 2):
        images = np.random.default_rng(rows).random((rows, 3, 8, 8), np.float32)
        found = model.predict({"image": images})["label"]
        np.testing.assert_allclose(found, whole.run({"image": images})["label"], atol=0.03)
        alone = [model.predict({"image": image[None]})["label"][0] for image in images]
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-7)
    inside = model.inside().predict({"image": images})["label"]
    np.testing.assert_allclose(found, inside, atol=0.03)
    assert model.crossed_bytes[0] >= 16 * 2 * 16 * 64 * 4
    model.forget()
    assert model.prepare_piece()
    model.close()


def test_how_the_middle_fails_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With what was found at its address; again when it fails otherwise."""
    source = ONNXSource(dense_net(width=8, layers=2))
    model = PartitionedModel(
        front=None, middle=source.part(["x"], ["h2"]), back=None, address=f"unix:{tmp_path}/none",
        mode=Freivalds(least_gain=1), threads=1,
    )  # fmt: skip
    caplog.set_level(logging.INFO)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            model.predict({"x": np.ones((3, 8), np.float32)})
    assert caplog.text.count("middle failed code=middle.unavailable reason=") == 1
    assert "No such file or directory" in caplog.text
    model._tell(UnavailableError("no", code="middle.failed", detail="out of memory"))
    assert "code=middle.failed reason=no: out of memory" in caplog.text


def test_of_litert(served: Any) -> None:
    """The file is the owner's, with fused activations; both sides take them out."""
    source = LiteRTSource(DIGITS.read_bytes())
    graph = source.graph
    (given,), (made,) = graph.inputs, graph.outputs
    whole = source.part([given.name], [made.name])
    model = PartitionedModel(
        front=None, middle=whole, back=None, address=served(whole),
        mode=Freivalds(least_gain=4), threads=1,
    )  # fmt: skip
    shape = [3 if size == -1 else size for size in given.shape]
    images = np.random.default_rng(1).random(shape).astype(np.float32)
    found = model.predict({given.name: images})[made.name]
    right = open_part(whole, threads=1).run({given.name: images})[made.name]
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-6)
    model.close()


def test_of_litert_under_pads(served: Any) -> None:
    """Its dense layers are outside; its convolutions, with channels last, inside."""
    source = LiteRTSource(DIGITS.read_bytes())
    (given,), (made,) = source.graph.inputs, source.graph.outputs
    whole = source.part([given.name], [made.name])
    model = PartitionedModel(
        front=None, middle=whole, back=None, address=served(whole), mode=Blinding(), threads=1,
    )  # fmt: skip
    shape = [3 if size == -1 else size for size in given.shape]
    images = np.random.default_rng(1).random(shape).astype(np.float32)
    found = model.predict({given.name: images})[made.name]
    right = open_part(whole, threads=1).run({given.name: images})[made.name]
    np.testing.assert_allclose(found, right, atol=0.05)
    assert model.crossed_bytes[0] > 0
    model.close()


def test_of_a_package(served: Any) -> None:
    """The parts are those of an opened package; nothing else of it is read."""
    source = ONNXSource(dense_net(width=16, layers=3))
    middle = source.part(["hr1"], ["hr2"])
    package: Any = SimpleNamespace(
        front=source.part(["x"], ["hr1"]), middle=middle, back=source.part(["hr2"], ["label"])
    )
    model = PartitionedModel.of_package(
        package, address=served(middle), mode=Freivalds(), threads=1
    )
    given = {"x": np.random.default_rng(1).random((2, 16), np.float32)}
    right = open_part(source.part(["x"], ["label"]), threads=1).run(given)["label"]
    np.testing.assert_allclose(model.predict(given)["label"], right, rtol=1e-4, atol=1e-6)
    assert "1 linear steps" in model.description
    model.close()


def test_a_middle_that_runs_another_part(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    source = ONNXSource(dense_net(width=16, layers=2))
    middle = source.part(["hr1"], ["h2"])
    other = ONNXSource(dense_net(width=16, layers=2, seed=1)).part(["hr1"], ["h2"])
    model = PartitionedModel(
        front=None, middle=middle, back=None, address=served(other),
        mode=Recompute(share=1), threads=1, timeout_s=5,
    )  # fmt: skip
    with caplog.at_level(logging.INFO), pytest.raises(CloisterError) as caught:
        model.predict({"hr1": np.ones((1, 16), np.float32)})
    assert caught.value.code == "middle.unavailable"
    assert "it closed the connection" in caplog.text


def test_sizes_that_are_open_are_refused() -> None:
    middle = ONNXSource(dense_net(width=16, layers=2)).part(["hr1"], ["h2"])
    open_sizes = PartFile(
        "onnx", middle.data, (TensorInfo("hr1", "float32", (-1, -1)),), middle.outputs
    )
    with pytest.raises(CloisterError) as caught:
        PartitionedModel(
            front=None, middle=open_sizes, back=None, address="unix:/nowhere",
            mode=Recompute(share=1), threads=1,
        )  # fmt: skip
    assert caught.value.code == "config.value"
