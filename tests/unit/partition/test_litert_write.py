"""LiteRT files written anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert.schema_py_generated", reason="LiteRT is not installed")

from cloister.partition.litert_file import read_litert
from cloister.partition.litert_write import pruned, write_litert

MODELS = Path(__file__).parents[2] / "data" / "models"
BLOCKS = (MODELS / "blocks.tflite").read_bytes()


def test_what_is_written_reads_as_it_was() -> None:
    file = read_litert(BLOCKS)
    again = read_litert(write_litert(file))
    assert again.inputs == file.inputs
    assert again.outputs == file.outputs
    for old, new in zip(file.operators, again.operators, strict=True):
        assert (old.code, old.version, old.inputs, old.outputs) == (
            new.code,
            new.version,
            new.inputs,
            new.outputs,
        )
        assert {k: np.asarray(v).tolist() for k, v in vars(old.options or object).items()} == {
            k: np.asarray(v).tolist() for k, v in vars(new.options or object).items()
        } or old.options is None
    for before, after in zip(file.tensors, again.tensors, strict=True):
        assert (before.name, before.shape, before.signature) == (
            after.name,
            after.shape,
            after.signature,
        )
        assert (before.constant is None) == (after.constant is None)
        if before.constant is not None:
            assert np.array_equal(before.constant, after.constant)


def test_constants_stand_where_native_code_reads_numbers() -> None:
    """At multiples of sixteen bytes."""
    data = write_litert(read_litert(BLOCKS))
    for tensor in read_litert(data).tensors:
        if tensor.constant is not None and tensor.constant.nbytes > 64:
            assert data.index(tensor.constant.tobytes()) % 16 == 0


def test_pruning_leaves_what_the_operators_name() -> None:
    file = read_litert(BLOCKS)
    first = file.operators[0]
    part = pruned(file, [first], [first.inputs[0]], first.outputs)
    kept = {file.tensors[i].name for i in (*first.inputs, *first.outputs) if i >= 0}
    assert {tensor.name for tensor in part.tensors} == kept
    assert read_litert(write_litert(part)).outputs == part.outputs


def test_the_same_model_gives_the_same_file() -> None:
    assert write_litert(read_litert(BLOCKS)) == write_litert(read_litert(BLOCKS))
