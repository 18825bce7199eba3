"""LiteRT files written anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloister.errors import UnsupportedError

pytest.importorskip("ai_edge_litert.schema_py_generated", reason="LiteRT is not installed")

from cloister.partition import litert_write
from cloister.partition.constants import part_constants
from cloister.partition.litert_file import LiteRTFile, Operator, Tensor, read_litert
from cloister.partition.litert_source import LiteRTSource
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


def sharing(count: int, numbers: int) -> bytes:
    """Return a model that joins an input and tensors of one buffer."""
    buffer = np.frombuffer(np.random.default_rng(1).random(numbers).astype("<f4").tobytes(), "u1")
    tensors = [Tensor("x", 0, (numbers,), (), None, {})]
    tensors += [Tensor(f"c{i}", 0, (numbers,), (), buffer, {}) for i in range(count)]
    tensors.append(Tensor("y", 0, (numbers * (count + 1),), (), None, {}))
    joined = Operator(2, 1, tuple(range(count + 1)), (count + 1,), 0, None)
    return write_litert(LiteRTFile(tuple(tensors), (joined,), (0,), (count + 1,)))


def test_a_buffer_that_tensors_share_is_written_once() -> None:
    data = sharing(200, 1 << 14)
    assert len(data) < 4 << 16
    part = LiteRTSource(data).part(["x"], ["y"])
    assert len(part.data) < 4 << 16
    constants = [t.constant for t in read_litert(part.data).tensors if t.constant is not None]
    assert len(constants) == 200
    assert len({id(constant) for constant in constants}) == 1
    assert len(part_constants(part)) == 1


def test_a_file_that_would_be_too_large_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    file = read_litert(BLOCKS)
    monkeypatch.setattr(litert_write, "MAX_BYTES", 1 << 12)
    with pytest.raises(UnsupportedError) as caught:
        write_litert(file)
    assert caught.value.code == "model.convert"
