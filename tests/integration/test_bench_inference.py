"""How benchmarks of private inference measure: servers beside each other, and engines."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

import numpy as np
import pytest

from cloister.inference.onnx_model import ONNXModel
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import open_part


class _Asked:
    """A client that adds one, or something else."""

    def __init__(self, step: float = 1.0, *, fails_after: int | None = None) -> None:
        self.step, self.left = step, fails_after

    def predict(self, x: Any) -> Any:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise ConnectionResetError
        return x + self.step

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def onnx() -> None:
    """What most of these need."""
    pytest.importorskip("onnx", reason="ONNX is not installed")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


def _sides(servers: Any, *names: str, steps: dict[str, float] | None = None) -> dict[str, Any]:
    return {
        name: servers.Side(lambda name=name: _Asked((steps or {}).get(name, 1.0)), os.getpid())
        for name in names
    }


def test_each_side_is_compared_with_the_one_before_it(load: Any) -> None:
    """Latency and throughput by the batch, then memory; aims stand where they were set."""
    servers = load("servers")
    sides = _sides(servers, "plain", "whole", "cut")
    examples = {1: np.zeros((1, 4), np.float32), 32: np.zeros((32, 4), np.float32)}
    rows = list(servers.compared("n", sides, examples, rounds=0.01))
    assert len(rows) == 2 * 2 * 2 + 2
    latency = [row for row in rows if "p50" in row.name]
    assert [(row.facts["batch"], row.aim) for row in latency] == [
        (1, "at most 1.10 times"),
        (1, "at most 1.30 times"),
        (32, ""),
        (32, "at most 1.30 times"),
    ]
    assert [row.met is None for row in latency] == [False, False, True, False]
    assert all(set(row.facts["p99_ms"]) == set(sides) for row in latency)
    rates = [row for row in rows if "rows a second" in row.name]
    assert all(min(row.facts["rows_a_second"].values()) > 0 for row in rates)
    assert {row.facts["connections"] for row in rates} == {servers.CONNECTIONS}
    assert all(min(row.facts["bytes"].values()) > 1 << 20 for row in rows[-2:])


def test_servers_that_answer_differently_are_not_compared(load: Any) -> None:
    """One bit more than is allowed ends the benchmark, and so does what is no number."""
    servers = load("servers")
    x = np.zeros((1, 4), np.float32)
    for step, apart, agree in ((1.01, 0.0, False), (1.01, 0.1, True), (np.nan, 0.1, False)):
        sides = _sides(servers, "plain", "whole", steps={"whole": step})
        expected = contextlib.nullcontext() if agree else pytest.raises(SystemExit)
        with expected:
            servers.taken_in_turns(sides, x, rounds=0, apart=apart)


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_a_connection_that_ends_is_an_error_and_no_number(load: Any, answers: int) -> None:
    """Whether it ends before the others are ready, or later."""
    servers = load("servers")
    broken, lock = iter([_Asked(fails_after=answers)]), threading.Lock()

    def connect() -> _Asked:
        with lock:
            return next(broken, _Asked())

    side = servers.Side(connect, os.getpid())
    with pytest.raises((ConnectionResetError, threading.BrokenBarrierError)):
        servers.asked_by_many(side, np.zeros((1, 1)), connections=3, seconds=0.05)


def test_what_is_missing_is_a_row_that_says_so(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ONNX Runtime no cut is served, and the table says what it takes."""
    module = load("serving_cut")
    monkeypatch.setattr(module, "not_installed", lambda *_: ["onnxruntime"])
    (row,) = module.rows(rounds=1)
    assert row.facts["left_out"] == "not installed"
    assert "onnxruntime" in row.result
    assert row.met is None
    assert load("pairs").not_installed("json", "no_such_module") == ["no_such_module"]


@pytest.mark.usefixtures("onnx")
def test_parts_of_the_residual_network_are_the_whole(load: Any) -> None:
    """At every depth they compute what it computes, with as many multiplications."""
    residual = load("residual")
    source = ONNXSource(residual.residual_net(size=16, each=1))
    whole = source.part([residual.IMAGE], [residual.LABEL])
    x = {residual.IMAGE: np.random.default_rng(1).random((2, 3, 16, 16), np.float32)}
    right = open_part(whole, threads=1).run(x)[residual.LABEL]
    assert right.std() > 1e-3
    before = 0
    for block in range(len(residual.STAGES)):
        parts = residual.parts(source, block)
        have: dict[str, Any] = dict(x)
        for part in parts:
            have |= open_part(part, threads=1).run(have)
        np.testing.assert_allclose(have[residual.LABEL], right, rtol=1e-4, atol=1e-6)
        counts = [residual.multiplications(part) for part in parts]
        assert sum(counts) == residual.multiplications(whole)
        assert counts[0] > before
        before = counts[0]
    stem, first = 16 * 16 * 64 * 27, 8 * 8 * 64 * (9 + 9 + 1) * 64
    assert residual.multiplications(residual.parts(source, 1)[0]) == stem + first


@pytest.mark.usefixtures("onnx")
@pytest.mark.slow
def test_a_cut_network_is_served_beside_the_whole_and_a_plain_server(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three real servers that agree, and the process outside; every side has every number."""
    pytest.importorskip("uvicorn", reason="the demo's extra is not installed")
    cut = load("serving_cut")
    monkeypatch.setattr(cut, "BATCHES", (1,))
    rows = list(cut.rows(rounds=0.05, size=16, each=1, block=1))
    assert [row.met is None for row in rows] == [False, True, False, True, True, True, True]
    assert set(rows[0].facts["p50_ms"]) == {"plain", "whole", "cut"}
    assert min(rows[1].facts["rows_a_second"].values()) > 0
    assert "memory outside" in rows[-1].name
    assert rows[-1].facts["bytes"] > 10 << 20


def _every_layer(keras: Any, head: str) -> Any:
    """A small network with each layer that MobileNetV2 has, and numbers that are not 0."""
    layers = keras.layers
    given = layers.Input((9, 9, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(given)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    y = layers.ZeroPadding2D(((0, 1), (1, 0)))(x)
    y = layers.DepthwiseConv2D(2, padding="valid", use_bias=False)(y)
    y = layers.ReLU()(layers.BatchNormalization(epsilon=1e-2)(y))
    x = layers.Conv2D(4, 1, activation="relu")(layers.Add()([x, y]))
    x = layers.Flatten()(x) if head == "flatten" else layers.GlobalAveragePooling2D()(x)
    model = keras.Model(given, layers.Dense(5, activation="softmax")(x))
    random = np.random.default_rng(2)
    model.set_weights([random.random(each.shape) * 0.6 + 0.1 for each in model.get_weights()])
    return model


@pytest.mark.usefixtures("onnx")
@pytest.mark.frameworks("tensorflow")
@pytest.mark.parametrize("head", ["flatten", "pool"])
def test_a_keras_network_as_onnx_computes_the_same(load: Any, head: str) -> None:
    """Layouts, padding, normalization and the order of what is flattened."""
    every_layer = _every_layer(pytest.importorskip("keras", reason="Keras is not installed"), head)
    model = ONNXModel(load("as_onnx").as_onnx(every_layer), threads=1)
    x = np.random.default_rng(1).random((3, 9, 9, 3), np.float32)
    right = np.asarray(every_layer(x))
    assert right.std() > 1e-3
    np.testing.assert_allclose(model.predict({"input": x})["scores"], right, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("onnx")
@pytest.mark.frameworks("tensorflow")
def test_a_layer_that_is_not_known_is_not_written(load: Any) -> None:
    """And not left out either."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.GaussianNoise(0.1)])
    with pytest.raises(SystemExit, match="GaussianNoise"):
        load("as_onnx").as_onnx(model)
