"""Requests and responses of the Open Inference Protocol v2 over HTTP, as bytes and back.

With the binary extension, a header tells how many bytes of the body are JSON; the tensors that say
`binary_data_size` follow in order. No sockets here; both sides use this module.

Spec: serving-v1, clauses SRV-10 to SRV-29.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloister.errors import MalformedError
from cloister.inference.json_answer import Lists, write_answer
from cloister.inference.json_body import read_body, turn_at_long
from cloister.inference.tensor import (
    Array,
    TensorSpec,
    datatype_of,
    from_binary,
    from_json,
    read_shape,
    require_fits,
    to_binary,
    to_json,
)
from cloister.inference.text_tensor import (
    TEXTS,
    texts_from_binary,
    texts_from_json,
    texts_to_binary,
    texts_to_json,
)

__all__ = [
    "BINARY_HEADER",
    "Body",
    "InferenceRequest",
    "OutputWish",
    "read_request",
    "read_response",
    "write_request",
    "write_response",
]

BINARY_HEADER: Final = "inference-header-content-length"
# Of the first tensor within a body: a runtime copies what begins at an odd place.
_ALIGNMENT: Final = 16
_MAX_TENSORS: Final = 64
_MAX_ID: Final = 256
_MAX_TOP: Final = 1024
_MAX_TIMEOUT_US: Final = 3_600_000_000
_REQUEST_KEYS: Final = frozenset({"id", "parameters", "inputs", "outputs"})
_INPUT_KEYS: Final = frozenset({"name", "shape", "datatype", "parameters", "data"})
_OUTPUT_KEYS: Final = frozenset({"name", "parameters"})


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes of a message, and how many of them are JSON; None says all."""

    data: bytes | bytearray
    json_bytes: int | None

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with it."""
        if self.json_bytes is None:
            return {"content-type": "application/json"}
        return {
            "content-type": "application/octet-stream",
            BINARY_HEADER: str(self.json_bytes),
        }


@dataclass(frozen=True, slots=True)
class OutputWish:
    """An output that is asked for, whether in binary, and how many classes instead of scores."""

    name: str
    binary: bool
    top: int = 0


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """A request that fits the model: every input, nothing else.

    Attributes:
        id: The caller's mark, to be given back; empty for none.
        inputs: Arrays by the names of the model's inputs.
        outputs: What is asked for, in that order.
        timeout_s: How long an answer is of use; None for as long as the server likes.
    """

    id: str
    inputs: Mapping[str, Array]
    outputs: tuple[OutputWish, ...]
    timeout_s: float | None = None


def read_request(
    body: Body, *, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> InferenceRequest:
    """Read a request from untrusted bytes, for a model with these inputs and outputs.

    Of requests with much JSON one is read at a time; the others wait.

    Raises:
        MalformedError: `message.malformed`, with a sentence for the caller.
    """
    with turn_at_long(len(body.data) if body.json_bytes is None else body.json_bytes):
        return _read_request(body, inputs, outputs)


def _read_request(
    body: Body, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> InferenceRequest:
    message, rest = _split(body)
    _require_keys(message, _REQUEST_KEYS, required=("inputs",), what="the request")
    mark = message.get("id", "")
    if not isinstance(mark, str) or len(mark) > _MAX_ID:
        raise _wrong(f"id is not a text of at most {_MAX_ID} characters")
    parameters = _parameters(message)
    arrays = _read_inputs(message["inputs"], rest, {spec.name: spec for spec in inputs})
    usual = OutputWish("", _flag(parameters, "binary_data_output"), _top(parameters, 0))
    wishes = _read_wishes(message.get("outputs"), [spec.name for spec in outputs], usual)
    timeout_us = _count(parameters, "timeout", 0, _MAX_TIMEOUT_US)
    return InferenceRequest(mark, arrays, wishes, timeout_us / 1e6 if timeout_us else None)


def write_response(
    request: InferenceRequest, results: Mapping[str, Array], *, model: str, version: str
) -> Body:
    """Write the response to a request.

    Raises:
        MalformedError: `message.malformed`: JSON cannot say a result; ask for binary.
    """
    items: list[dict[str, Any]] = []
    blobs: list[bytes | memoryview] = []
    for wish in request.outputs:
        array = results[wish.name]
        texts = array.dtype.kind == "O"
        datatype = TEXTS if texts else datatype_of(array.dtype)
        item: dict[str, Any] = {
            "name": wish.name,
            "datatype": datatype,
            "shape": list(array.shape),
        }
        if wish.binary:
            blobs.append(texts_to_binary(array) if texts else to_binary(array, datatype))
            item["parameters"] = {"binary_data_size": len(blobs[-1])}
        elif texts:
            item["data"] = Lists(texts_to_json(array))
        else:
            item["data"] = Lists(to_json(array, datatype, name=wish.name))
        items.append(item)
    message: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id:
        message["id"] = request.id
    return _join(message | {"outputs": items}, blobs)


def write_request(inputs: Mapping[str, Array], *, outputs: Sequence[str]) -> Body:
    """Write a request with binary tensors that asks for binary results."""
    items: list[dict[str, Any]] = []
    blobs: list[bytes | memoryview] = []
    for name, array in inputs.items():
        datatype = datatype_of(array.dtype)
        blobs.append(to_binary(array, datatype))
        items.append(
            {
                "name": name,
                "datatype": datatype,
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(blobs[-1])},
            }
        )
    wishes = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return _join({"inputs": items, "outputs": wishes}, blobs)


def read_response(body: Body, *, outputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Read a response from bytes; the server is attested, its bytes are checked all the same.

    Raises:
        MalformedError: `message.malformed`.
    """
    message, rest = _split(body)
    specs = {spec.name: spec for spec in outputs}
    return _read_inputs(message.get("outputs"), rest, specs)


def _split(body: Body) -> tuple[dict[str, Any], memoryview]:
    data = memoryview(body.data)
    size = len(data) if body.json_bytes is None else body.json_bytes
    if not 0 < size <= len(data):
        raise _wrong("the JSON part is empty or longer than the body")
    try:
        message = read_body(bytes(data[:size]))
    except ValueError as e:
        raise _wrong("the body is not JSON") from e
    if not isinstance(message, dict):
        raise _wrong("the body is not a JSON object")
    return message, data[size:]


def _join(message: Mapping[str, Any], blobs: list[bytes | memoryview]) -> Body:
    head = write_answer(message)
    if blobs:
        head += b" " * (-len(head) % _ALIGNMENT)
    return Body(b"".join((head, *blobs)), len(head) if blobs else None)


def _read_inputs(
    items: object, rest: memoryview, specs: Mapping[str, TensorSpec]
) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    used = 0
    for item in _objects(items, what="tensors"):
        _require_keys(item, _INPUT_KEYS, required=("name", "shape", "datatype"), what="a tensor")
        spec = specs.get(item["name"]) if isinstance(item["name"], str) else None
        if spec is None:
            known = ", ".join(specs)
            raise _wrong(f"no tensor of that name; this model has {known}")
        if spec.name in arrays:
            raise _wrong(f"tensor {spec.name} is there twice")
        shape = read_shape(item["shape"], name=spec.name)
        require_fits(spec, item["datatype"], shape)
        size = _parameters(item).get("binary_data_size")
        if (size is None) == ("data" not in item):
            raise _wrong(f"tensor {spec.name} has neither or both of data and binary_data_size")
        if size is None:
            arrays[spec.name] = _from_json(item["data"], spec=spec, shape=shape)
            continue
        if type(size) is not int or not 0 <= size <= len(rest) - used:
            raise _wrong(f"tensor {spec.name} has a binary_data_size beyond the body")
        arrays[spec.name] = _from_binary(rest[used : used + size], spec=spec, shape=shape)
        used += size
    if used != len(rest):
        raise _wrong("the body has bytes that belong to no tensor")
    missing = [name for name in specs if name not in arrays]
    if missing:
        raise _wrong(f"tensor {missing[0]} is missing")
    return arrays


def _from_json(data: object, *, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    if spec.datatype == TEXTS:
        return texts_from_json(data, shape=shape, name=spec.name)
    return from_json(data, spec=spec, shape=shape)


def _from_binary(data: memoryview, *, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    if spec.datatype == TEXTS:
        return texts_from_binary(data, shape=shape, name=spec.name)
    return from_binary(data, spec=spec, shape=shape)


def _read_wishes(items: object, known: list[str], usual: OutputWish) -> tuple[OutputWish, ...]:
    if items is None or items == []:
        return tuple(OutputWish(name, usual.binary, usual.top) for name in known)
    wishes: list[OutputWish] = []
    for item in _objects(items, what="outputs"):
        _require_keys(item, _OUTPUT_KEYS, required=("name",), what="an output")
        if item["name"] not in known:
            raise _wrong(f"no output of that name; this model has {', '.join(known)}")
        if any(wish.name == item["name"] for wish in wishes):
            raise _wrong(f"output {item['name']} is asked for twice")
        parameters = _parameters(item)
        own = _flag(parameters, "binary_data") if "binary_data" in parameters else usual.binary
        wishes.append(OutputWish(item["name"], own, _top(parameters, usual.top)))
    return tuple(wishes)


def _objects(items: object, *, what: str) -> list[dict[str, Any]]:
    if not isinstance(items, list) or not 1 <= len(items) <= _MAX_TENSORS:
        raise _wrong(f"{what} are not a list of 1 to {_MAX_TENSORS}")
    objects = [item for item in items if isinstance(item, dict)]
    if len(objects) != len(items):
        raise _wrong(f"{what} are not all objects")
    return objects


def _parameters(item: Mapping[str, Any]) -> dict[str, Any]:
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict):
        raise _wrong("parameters are not an object")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(f"{name} is neither true nor false")
    return value


def _top(parameters: Mapping[str, Any], default: int) -> int:
    return _count(parameters, "classification", default, _MAX_TOP)


def _count(parameters: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = parameters.get(name, default)
    if type(value) is not int or not 0 <= value <= most:
        raise _wrong(f"{name} is not a whole number from 0 to {most}")
    return value


def _require_keys(
    item: Mapping[str, Any], known: frozenset[str], *, required: tuple[str, ...], what: str
) -> None:
    for name in required:
        if name not in item:
            raise _wrong(f"{what} has no {name}")
    if not known.issuperset(item):
        raise _wrong(f"{what} has a key that the protocol does not")


def _wrong(problem: str) -> MalformedError:
    return MalformedError(problem, code="message.malformed")
