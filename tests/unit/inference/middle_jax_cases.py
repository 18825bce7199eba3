"""What JAX in the untrusted middle does, in a process of its own: JAX's threads outlive no fork.

    python middle_jax_cases.py

prints a record of the cases, each with None or a traceback.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from cloister.errors import CloisterError
from cloister.inference import middle_jax
from cloister.inference.middle_jax import jax_engine
from cloister.inference.middle_process import engine
from cloister.partition.graph import PartFile
from unit.inference.middle_parts import (
    CASES,
    IMAGE,
    floats,
    part_of,
    require_checked,
    require_operator,
)


def operator(number: int) -> None:
    """It gives what ONNX Runtime does."""
    require_operator(*CASES[number], jax_engine)


def model(kind: str) -> None:
    """A model whose middle JAX runs is answered, and checked."""
    with TemporaryDirectory() as folder:
        require_checked(
            kind,
            Path(folder),
            lambda part: engine(part, threads=1, provider=None, jax_device="cpu:0"),
        )


def refused() -> None:
    """An operator that is not known, other formats, types and devices; two engines."""
    mul = part_of("Mul", [floats(4, 1, 1)], IMAGE)
    for part, device in (
        (part_of("Erf", [], IMAGE), "cpu"),
        (PartFile("litert", b"", (), ()), "cpu"),
        (mul, "nowhere"),
        (mul, "cpu:99"),
        (mul, "cpu:x"),
    ):
        with pytest.raises(CloisterError) as caught:
            jax_engine(part, threads=1, device=device)
        assert caught.value.code == "config.value", (device, caught.value)
    for other in ({"provider": "CUDAExecutionProvider"}, {"provider": None, "torch_device": "cpu"}):
        with pytest.raises(CloisterError) as caught:
            engine(mul, threads=1, jax_device="cpu", **other)
        assert caught.value.code == "config.value"


def does_not_run() -> None:
    """An input of another size; the next one is answered."""
    run = jax_engine(part_of("MatMul", [floats(8, 5)], (8,)), threads=1, device="cpu")
    with pytest.raises(CloisterError) as caught:
        run({"x": floats(3, 7)})
    assert caught.value.code == "model.malformed"
    assert run({"x": floats(3, 8)})["y"].shape == (3, 5)


def many_sizes() -> None:
    """Programs of sizes that came long ago are forgotten, and made again."""
    middle_jax._MAX_COMPILED = 3
    run = jax_engine(part_of("Relu", [], (2,)), threads=1, device="cpu")
    for size in (1, 2, 3, 4, 5, 6, 7, 1):
        given = floats(size, 2)
        np.testing.assert_array_equal(run({"x": given})["y"], np.maximum(given, 0))


def main() -> None:
    """Run all."""
    cases: dict[str, Callable[[], None]] = {
        **{f"{n}": partial(operator, n) for n in range(len(CASES))},
        "dense": partial(model, "dense"),
        "convolutions": partial(model, "convolutions"),
        "refused": refused,
        "does_not_run": does_not_run,
        "many_sizes": many_sizes,
    }
    report: dict[str, str | None] = {}
    for name, case in cases.items():
        try:
            case()
            report[name] = None
        except BaseException:  # noqa: BLE001  # whatever it is, the test fails with it
            report[name] = traceback.format_exc()
    sys.stdout.write(json.dumps(report))
    sys.stdout.flush()
    os._exit(0)  # threads of the middle's


if __name__ == "__main__":
    main()
