"""Requests and responses as bytes."""

import json
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.message import (
    Body,
    OutputWish,
    read_request,
    read_response,
    write_request,
    write_response,
)
from cloister.inference.tensor import TensorSpec

INPUTS = (TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "INT32", (1,)))
OUTPUTS = (TensorSpec("x", "FP32", (-1, 2)), TensorSpec("y", "BOOL", (1,)))
A = {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2]}
B = {"name": "b", "datatype": "INT32", "shape": [1], "data": [7]}


def body(message: object, rest: bytes = b"", *, binary: bool = False) -> Body:
    head = json.dumps(message).encode()
    return Body(head + rest, len(head) if binary else None)


def read(message: object, rest: bytes = b"", *, binary: bool = False) -> Any:
    return read_request(body(message, rest, binary=binary), inputs=INPUTS, outputs=OUTPUTS)


@pytest.mark.spec("SRV-10", "SRV-11")
def test_a_json_request_is_read() -> None:
    """Inputs in any order, all outputs where none is named, the mark kept."""
    request = read({"id": "42", "inputs": [B, A], "parameters": {"unknown": 1}})
    assert request.id == "42"
    assert request.inputs["a"].tolist() == [[1.5, 2.0]]
    assert request.outputs == (OutputWish("x", binary=False), OutputWish("y", binary=False))


@pytest.mark.spec("SRV-12", "SRV-13")
def test_a_binary_request_survives_both_ways() -> None:
    """What is written is read, bit for bit, and answered in binary."""
    values = np.array([[np.nan, -0.0], [np.inf, 1e-45]], dtype=np.float32)
    written = write_request({"a": values, "b": np.array([7], np.int32)}, outputs=["y", "x"])
    request = read_request(written, inputs=INPUTS, outputs=OUTPUTS)
    assert request.inputs["a"].tobytes() == values.tobytes()
    assert request.outputs == (OutputWish("y", binary=True), OutputWish("x", binary=True))
    results = {"x": values, "y": np.array([True])}
    answer = write_response(request, results, model="m", version="1")
    assert answer.json_bytes is not None
    again = read_response(answer, outputs=OUTPUTS)
    assert again["x"].tobytes() == values.tobytes()
    assert again["y"].tolist() == [True]


@pytest.mark.spec("SRV-13")
def test_binary_outputs_are_chosen_by_output_or_for_all() -> None:
    """The output's own word goes before the request's."""
    request = read(
        {
            "inputs": [A, B],
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "y", "parameters": {"binary_data": False}}, {"name": "x"}],
        }
    )
    assert request.outputs == (OutputWish("y", binary=False), OutputWish("x", binary=True))


@pytest.mark.spec("SRV-24")
def test_a_float_in_json_comes_back_with_its_bits() -> None:
    """The decimal form is exact."""
    values = np.array([[0.1, 1 / 3]], dtype=np.float32)
    request = read({"inputs": [A, B], "outputs": [{"name": "x"}]})
    answer = write_response(request, {"x": values}, model="m", version="1")
    record = json.loads(answer.data)
    again = np.array(record["outputs"][0]["data"], dtype=np.float32)
    assert again.tobytes() == values.tobytes()


BINARY_A = {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}


@pytest.mark.spec("SRV-10", "SRV-11", "SRV-12", "SRV-13")
@pytest.mark.parametrize(
    ("message", "rest"),
    [
        ([], b""),
        ({}, b""),
        ({"inputs": []}, b""),
        ({"inputs": {}}, b""),
        ({"inputs": [A]}, b""),
        ({"inputs": [A, A, B]}, b""),
        ({"inputs": [A, B, A | {"name": "c"}]}, b""),
        ({"inputs": [A, B, 7]}, b""),
        ({"inputs": [A, B], "extra": 1}, b""),
        ({"inputs": [A | {"extra": 1}, B]}, b""),
        ({"inputs": [A | {"name": 7}, B]}, b""),
        ({"inputs": [A | {"parameters": []}, B]}, b""),
        ({"inputs": [A, B], "id": 7}, b""),
        ({"inputs": [A, B], "id": "x" * 300}, b""),
        ({"inputs": [A, B], "parameters": 7}, b""),
        ({"inputs": [A, B], "parameters": {"binary_data_output": 1}}, b""),
        ({"inputs": [A, B], "outputs": [{"name": "z"}]}, b""),
        ({"inputs": [A, B], "outputs": [{"name": ["x"]}]}, b""),
        ({"inputs": [A, B], "outputs": [{"name": "x"}, {"name": "x"}]}, b""),
        ({"inputs": [A, B], "outputs": [{"no": "x"}]}, b""),
        ({"inputs": [A, B], "outputs": [{"name": "x", "parameters": {"binary_data": "yes"}}]}, b""),
        ({"inputs": [{"name": "a", "shape": [1, 2], "datatype": "FP32"}, B]}, b""),
        ({"inputs": [BINARY_A, B]}, bytes(7)),
        ({"inputs": [BINARY_A, B]}, bytes(9)),
        ({"inputs": [BINARY_A | {"data": [1, 2]}, B]}, bytes(8)),
        ({"inputs": [BINARY_A | {"parameters": {"binary_data_size": -8}}, B]}, bytes(8)),
        ({"inputs": [BINARY_A | {"parameters": {"binary_data_size": 8.0}}, B]}, bytes(8)),
        ({"inputs": [BINARY_A | {"parameters": {"binary_data_size": True}}, B]}, bytes(1)),
        ({"inputs": [BINARY_A | {"parameters": {"binary_data_size": 10**30}}, B]}, bytes(8)),
    ],
)
def test_a_request_that_the_model_does_not_take_is_refused(message: object, rest: bytes) -> None:
    """Each with a sentence, none with anything but `message.malformed`."""
    with pytest.raises(MalformedError) as caught:
        read(message, rest, binary=True)
    assert caught.value.code == "message.malformed"


@pytest.mark.spec("SRV-10", "SRV-12")
@pytest.mark.parametrize(
    "raw",
    [
        Body(b"", None),
        Body(b"{", None),
        Body(b"\xff", None),
        Body(b'{"inputs": 1, "inputs": 2}', None),
        Body(b'{"inputs": NaN}', None),
        Body(b"[" * 100_000, None),
        Body(b"9" * 10_000, None),
        Body(b"{}", 0),
        Body(b"{}", 3),
    ],
)
def test_a_body_that_is_no_json_is_refused(raw: Body) -> None:
    """Cut, repeated, nested without end, numbers without end."""
    with pytest.raises(MalformedError) as caught:
        read_request(raw, inputs=INPUTS, outputs=OUTPUTS)
    assert caught.value.code == "message.malformed"


@pytest.mark.spec("SRV-12")
@pytest.mark.parametrize("name", ["x", "xy", "a longer name"])
def test_a_first_tensor_begins_where_a_runtime_need_not_copy_it(name: str) -> None:
    """The JSON ends in spaces up to a multiple of 16; what came in memory of its own is aligned."""
    body = write_request({name: np.arange(6, dtype=np.float64).reshape(2, 3)}, outputs=[name])
    assert body.json_bytes is not None
    assert body.json_bytes % 16 == 0
    came = Body(bytearray(body.data), body.json_bytes)
    spec = TensorSpec(name, "FP64", (2, 3))
    array = read_request(came, inputs=[spec], outputs=[spec]).inputs[name]
    assert array.flags.aligned
    assert array.flags.writeable
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.shares_memory(array, np.frombuffer(came.data, np.uint8))
