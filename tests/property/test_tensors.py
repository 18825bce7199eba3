"""Tensors survive both forms, bit for bit."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import MalformedError
from cloister.inference.json_answer import Lists, write_answer
from cloister.inference.message import Body, read_request, read_response, write_request
from cloister.inference.tensor import (
    DATATYPES,
    TensorSpec,
    from_binary,
    from_json,
    to_binary,
    to_json,
)

shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(st.binary(min_size=4, max_size=400).map(lambda b: b[: len(b) // 4 * 4]))
def test_a_finite_float_survives_json(data: bytes) -> None:
    """Any FP32, subnormal or not, comes back with its bits."""
    array = np.frombuffer(data, dtype="<f4")
    array = np.where(np.isfinite(array), array, np.float32(0)).astype("<f4")
    spec = TensorSpec("t", "FP32", array.shape)
    text = write_answer({"t": Lists(to_json(array, "FP32", name="t"))})
    again = from_json(json.loads(text)["t"], spec=spec, shape=array.shape)
    assert again.tobytes() == array.tobytes()


@given(st.sampled_from(sorted(DATATYPES)), shapes, st.data())
def test_any_tensor_survives_binary(
    datatype: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    """NaN payloads included."""
    size = int(np.prod(shape)) * DATATYPES[datatype].itemsize
    bits = st.sampled_from([0, 1]) if datatype == "BOOL" else st.integers(0, 255)
    raw = bytes(data.draw(st.lists(bits, min_size=size, max_size=size)))
    array = from_binary(memoryview(raw), spec=TensorSpec("t", datatype, shape), shape=shape)
    assert array.shape == shape
    assert to_binary(array, datatype) == raw


@given(st.sampled_from([d for d in DATATYPES if d[0] in "UI"]), st.data())
def test_any_integer_survives_json(datatype: str, data: st.DataObject) -> None:
    """The whole range, and not one beyond."""
    limits = np.iinfo(DATATYPES[datatype])
    values = data.draw(st.lists(st.integers(int(limits.min), int(limits.max)), min_size=1))
    spec = TensorSpec("t", datatype, (len(values),))
    array = from_json(values, spec=spec, shape=(len(values),))
    assert to_json(array, datatype, name="t").tolist() == values
    try:
        from_json([int(limits.max) + 1], spec=spec, shape=(1,))
    except MalformedError:
        return
    raise AssertionError


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_written_request_is_read(rows: int, seed: int) -> None:
    """Both sides of the wire agree."""
    specs = (TensorSpec("a", "FP32", (-1, 3)), TensorSpec("b", "INT64", (2,)))
    generator = np.random.default_rng(seed)
    arrays = {
        "a": generator.standard_normal((rows, 3), dtype=np.float32),
        "b": generator.integers(-(2**62), 2**62, 2),
    }
    body = write_request(arrays, outputs=["a"])
    request = read_request(body, inputs=specs, outputs=specs)
    assert {name: array.tobytes() for name, array in request.inputs.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    again = read_response(_as_response(arrays), outputs=specs)
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


def _as_response(arrays: dict[str, np.ndarray]) -> Body:
    items = [
        {
            "name": name,
            "datatype": {"f": "FP32", "i": "INT64"}[array.dtype.kind],
            "shape": list(array.shape),
            "data": array.ravel().tolist(),
        }
        for name, array in arrays.items()
    ]
    return Body(json.dumps({"outputs": items}).encode(), None)
