"""The model server behind attested TLS beside the bare engine behind a plain HTTP server.

Both run LiteRT, or ONNX Runtime, with one thread, in processes of their own, and take and give
binary tensors. They are asked in turns, one query at a time for latency and from eight connections
for throughput. Beside them the engines alone, and full TensorFlow, in this process; and a network
that was cut (`serving_cut.py`).

    python benchmarks/run.py --only serving
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import serving_cut
from pairs import Row, Spread, left_out, not_installed
from servers import (
    PART,
    Identity,
    compared,
    our_server,
    percentiles_ms,
    plain_server,
    timed_in_turns,
)

from cloister.inference.model import LiteRTModel
from cloister.inference.onnx_model import ONNXModel

BATCHES = (1, 32)
NETWORKS = ("digits", "MobileNetV2")
FORMATS = {"tflite": "LiteRT", "onnx": "ONNX Runtime"}
MOST_APART = 1e-4


@dataclass(frozen=True, slots=True)
class Network:
    """A network with random weights, as Keras has it and as the engines run it.

    Attributes:
        name: For the table.
        shape: Of an example.
        keras: Full TensorFlow's.
        files: By suffix; without ONNX where that is not installed.
    """

    name: str
    shape: tuple[int, ...]
    keras: Any
    files: Mapping[str, bytes]


def rows(*, rounds: int) -> Iterator[Row]:
    """Measure each network at each batch, in each engine; then one that was cut."""
    missing = not_installed("onnx", "onnxruntime")
    for name in NETWORKS:
        network = _network(name, onnx=not missing)
        for suffix in network.files:
            yield from _servers(network, suffix, rounds=rounds)
        yield from _engines(network, rounds=rounds)
        if missing:
            yield left_out(PART, f"{name} in ONNX Runtime", missing)
    yield from serving_cut.rows(rounds=rounds)


def _servers(network: Network, suffix: str, *, rounds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        model = Path(folder) / f"m.{suffix}"
        model.write_bytes(network.files[suffix])
        identity = Identity(Path(folder) / "id")
        with (
            plain_server(model) as plain,
            our_server(["--model", str(model)], identity.folder) as ours,
        ):
            yield from compared(
                f"{network.name} in {FORMATS[suffix]}",
                {"plain": plain, "shielded": identity.side(ours)},
                {
                    batch: np.random.default_rng(batch).random((batch, *network.shape), np.float32)
                    for batch in BATCHES
                },
                rounds=rounds,
            )


def _engines(network: Network, *, rounds: int) -> Iterator[Row]:
    """Full TensorFlow, LiteRT and ONNX Runtime in turns, in this process, one thread each."""
    loaded: dict[str, Any] = {"LiteRT": LiteRTModel(network.files["tflite"], threads=1)}
    if "onnx" in network.files:
        loaded["ONNX Runtime"] = ONNXModel(network.files["onnx"], threads=1)
    for batch in BATCHES:
        x = np.random.default_rng(batch).random((batch, *network.shape), dtype=np.float32)
        runs: dict[str, Callable[[], Any]] = {"TensorFlow": lambda x=x: network.keras(x).numpy()}
        for name, model in loaded.items():
            runs[name] = lambda model=model, x=x: _scores(model, x)
        answers = [run() for run in runs.values()]
        if any(np.abs(answers[0] - each).max() > MOST_APART for each in answers):
            raise SystemExit("the engines do not agree")
        (once,) = zip(*timed_in_turns(runs, turns=1).values(), strict=True)
        turns = max(1 + rounds * 3, min(rounds * 100, int(rounds / sum(once))))
        times = timed_in_turns(runs, turns=turns)
        shown = {each: percentiles_ms(found) for each, found in times.items()}
        rates = {each: batch * 1e3 / p50 for each, (p50, _) in shown.items()}
        facts = {
            "batch": batch,
            "turns": turns,
            "seconds": {each: Spread.of(found).record() for each, found in times.items()},
            "p50_ms": {each: pair[0] for each, pair in shown.items()},
            "p99_ms": {each: pair[1] for each, pair in shown.items()},
            "rows_a_second": rates,
        }
        for left, right in itertools.pairwise(runs):
            ratio = shown[left][0] / shown[right][0]
            yield Row(
                part=PART,
                name=f"{network.name}, batch {batch}, in one process: latency p50 / p99, {left} "
                f"and {right}",
                left="{:.2f} / {:.2f} ms".format(*shown[left]),
                right="{:.2f} / {:.2f} ms".format(*shown[right]),
                result=f"{left} takes {ratio:.1f} times as long; {rates[left]:.0f} and "
                f"{rates[right]:.0f} rows a second",
                facts=facts,
            )


def _scores(model: Any, x: Any) -> Any:
    return model.predict({model.inputs[0].name: x})[model.outputs[0].name]


def _network(name: str, *, onnx: bool) -> Network:
    import os  # noqa: PLC0415  # before TensorFlow

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf  # noqa: PLC0415  # seconds

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(1)
    if name == "digits":
        shape: tuple[int, ...] = (8, 8, 1)
        layers = tf.keras.layers
        model = tf.keras.Sequential(
            [
                layers.Input(shape),
                layers.Conv2D(32, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(10, activation="softmax"),
            ]
        )
    else:
        shape = (224, 224, 3)
        model = tf.keras.applications.MobileNetV2(weights=None, input_shape=shape)
    files = {"tflite": tf.lite.TFLiteConverter.from_keras_model(model).convert()}
    if onnx:
        from as_onnx import as_onnx  # noqa: PLC0415  # needs ONNX

        files["onnx"] = as_onnx(model)
    return Network(name, shape, tf.function(model), files)
