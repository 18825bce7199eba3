"""What a differentially private step costs beside an ordinary one, and how its memory grows.

    python benchmarks/privacy.py steps MODEL ROUNDS
    python benchmarks/privacy.py memory MODEL BATCH MICROBATCH

print a line of JSON each; `rows` runs both, each in a process of its own, for `run.py`. Both kinds
of step take turns, on the same model, batch and optimizer.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairs import Row, Spread

HERE = Path(__file__).resolve()
MODELS = ("dense", "convolution")
BATCH = 256
MIB = 1024


def rows(*, rounds: int) -> Iterator[Row]:
    """Measure steps of each model, and memory of a small and a large batch."""
    for model in MODELS:
        found = _child("steps", model, str(rounds))
        ordinary, private = Spread.of(found["ordinary"]), Spread.of(found["private"])
        ratio = Spread.of([b / a for a, b in zip(found["ordinary"], found["private"], strict=True)])
        yield Row(
            part="privacy",
            name=f"a step of {BATCH} examples, {model}, {found['weights']} weights",
            left=f"{ordinary.text('.1f', 1e3)} ms",
            right=f"{private.text('.1f', 1e3)} ms",
            result=f"{ratio.text('.1f')} times",
            facts={
                "ordinary_s": ordinary.record(),
                "private_s": private.record(),
                "times": ratio.record(),
            },
        )
    small, large, wide = (
        _child("memory", "convolution", str(batch), str(microbatch))["peak_mib"]
        for batch, microbatch in ((256, 32), (4096, 32), (4096, 512))
    )
    yield Row(
        part="privacy",
        name="peak memory of batches of 256 and of 4096, microbatches of 32",
        left=f"{small:.0f} MiB",
        right=f"{large:.0f} MiB",
        result=f"{large - small:+.0f} MiB; microbatches of 512: {wide - small:+.0f} MiB",
        facts={"small_mib": small, "large_mib": large, "large_microbatch_mib": wide},
    )


def _child(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, str(HERE), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1] / "src"), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    return json.loads(done.stdout.splitlines()[-1])


def _model(name: str) -> Any:
    import keras  # noqa: PLC0415  # needs what only `.[bench]` installs

    layers = keras.layers
    hidden = {
        "dense": [layers.Flatten(), layers.Dense(256, "relu"), layers.Dense(128, "relu")],
        "convolution": [
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, "relu"),
        ],
    }[name]
    return keras.Sequential([keras.Input((28, 28, 1)), *hidden, layers.Dense(10, "softmax")])


def _private(model: Any, *, batch: int, microbatch: int) -> Any:
    from cloister.training.privacy import (  # noqa: PLC0415  # loads TensorFlow
        PrivacyParameters,
        make_private,
    )

    parameters = PrivacyParameters(
        examples=60_000, batch=batch, epochs=20, clip=1.0, delta=1e-6, noise_multiplier=1.0,
        microbatch=microbatch,
    )  # fmt: skip
    private = make_private(model, parameters)
    private.compile("sgd", loss="sparse_categorical_crossentropy")
    return private


def _batch(count: int) -> tuple[Any, Any, Any]:
    import numpy as np  # noqa: PLC0415  # needs what only `.[bench]` installs
    import tensorflow as tf  # noqa: PLC0415  # the same

    generator = np.random.default_rng(1)
    images = generator.random((count, 28, 28, 1), "float32")
    return (
        tf.constant(images),
        tf.constant(generator.integers(0, 10, count)),
        tf.ones((count,)),
    )


def _steps(name: str, rounds: int) -> dict[str, Any]:
    import tensorflow as tf  # noqa: PLC0415  # needs what only `.[bench]` installs

    ordinary, inner, batch = _model(name), _model(name), _batch(BATCH)
    ordinary.compile("sgd", loss="sparse_categorical_crossentropy", jit_compile=False)
    private = _private(inner, batch=BATCH, microbatch=64)
    sides = {
        "ordinary": tf.function(lambda: ordinary.train_step(batch)),
        "private": tf.function(lambda: private.train_step(batch)),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for side, step in sides.items():
        step()
        seconds[side].clear()
    for _ in range(rounds):
        for side, step in sides.items():
            began = time.perf_counter()
            for _ in range(5):
                step()
            seconds[side].append((time.perf_counter() - began) / 5)
    return seconds | {"weights": ordinary.count_params()}


def _memory(name: str, count: int, microbatch: int) -> dict[str, Any]:
    import tensorflow as tf  # noqa: PLC0415  # needs what only `.[bench]` installs

    private, batch = _private(_model(name), batch=count, microbatch=microbatch), _batch(count)
    step = tf.function(lambda: private.train_step(batch))
    for _ in range(3):
        step()
    return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB}


if __name__ == "__main__":
    if sys.argv[1] == "steps":
        print(json.dumps(_steps(sys.argv[2], int(sys.argv[3]))))
    else:
        print(json.dumps(_memory(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
