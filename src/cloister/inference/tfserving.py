"""The JSON of TensorFlow Serving's REST interface: questions by row and by column, and answers.

Numbers and booleans only: this server's models take no strings, so `{"b64": …}` is refused. What
differs from TensorFlow Serving is stricter: no key twice, no NaN, no other key.

Spec: serving-v1, clauses SRV-80 to SRV-86.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from cloister.errors import MalformedError
from cloister.inference.json_answer import Lists, Rows
from cloister.inference.json_body import read_body, turn_at_long
from cloister.inference.tensor import MAX_RANK, Array, TensorSpec, from_json, require_fits

__all__ = [
    "SIGNATURE",
    "Question",
    "metadata_record",
    "predictions",
    "read_examples",
    "read_predict",
    "regressions",
    "sayable",
    "status_record",
]

SIGNATURE: Final = "serving_default"
_TYPES: Final = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
}
_MAX_ROWS: Final = 65_536
_MAX_SHARED: Final = 2**22  # numbers of one feature that all examples share, all copies together


@dataclass(frozen=True, slots=True)
class Question:
    """Arrays that fit the model, and whether they came as rows."""

    inputs: Mapping[str, Array]
    by_row: bool


def read_predict(body: bytes, *, inputs: Sequence[TensorSpec]) -> Question:
    """Read the body of `:predict` from untrusted bytes; of long ones, one at a time.

    Raises:
        MalformedError: `message.malformed`, with a sentence for the caller.
    """
    with turn_at_long(len(body)):
        return _read_predict(body, inputs)


def _read_predict(body: bytes, inputs: Sequence[TensorSpec]) -> Question:
    record = _object(body, {"signature_name", "instances", "inputs"}, verb="predict")
    if ("instances" in record) == ("inputs" in record):
        raise _wrong("a request has either instances or inputs")
    if "inputs" in record:
        return Question(_columns(record["inputs"], inputs), by_row=False)
    return Question(_rows(record["instances"], inputs, "instances"), by_row=True)


def read_examples(body: bytes, *, inputs: Sequence[TensorSpec], verb: str) -> dict[str, Array]:
    """Read the body of `:classify` or `:regress` from untrusted bytes; of long ones, one at a time.

    Features of `context` count for every example. They are read once, and repeated only when all
    names, shapes and numbers of rows are known to be right: a few bytes may stand for many.

    Raises:
        MalformedError: `message.malformed`.
    """
    with turn_at_long(len(body)):
        return _read_examples(body, inputs, verb)


def _read_examples(body: bytes, inputs: Sequence[TensorSpec], verb: str) -> dict[str, Array]:
    record = _object(body, {"signature_name", "context", "examples"}, verb=verb)
    context, examples = record.get("context", {}), record.get("examples")
    if not isinstance(context, dict) or not isinstance(examples, list):
        raise _wrong("a request has examples, a list of objects, and may have context, an object")
    if not 1 <= len(examples) <= _MAX_ROWS or not all(isinstance(each, dict) for each in examples):
        raise _wrong(f"examples are not a list of 1 to {_MAX_ROWS} objects")
    own = {spec.name for spec in inputs} - context.keys()
    for each in examples:
        _require_features(each, own, context, inputs)
    shared = [spec for spec in inputs if spec.name in context]
    if len(shared) != len(context):
        raise _wrong(f"the features are not {_names(inputs)}")
    return {
        spec.name: _array([each[spec.name] for each in examples], spec)
        if spec.name in own
        else _repeated(context[spec.name], spec, len(examples))
        for spec in inputs
    }


def predictions(results: Mapping[str, Array], *, by_row: bool) -> dict[str, Any]:
    """Return the answer to `:predict`, for `write_answer`.

    Raises:
        MalformedError: `message.malformed`: JSON cannot say a result, or it is not by rows.
    """
    arrays = {name: sayable(array, name) for name, array in results.items()}
    first = next(iter(arrays.values()))
    if not by_row:
        several = {name: Lists(array) for name, array in arrays.items()}
        return {"outputs": several if len(arrays) > 1 else Lists(first)}
    sizes = {array.shape[:1] for array in results.values()}
    if len(sizes) != 1 or sizes == {()}:
        raise _wrong("the model's outputs have no rows in common; ask with inputs")
    if len(arrays) == 1:
        return {"predictions": Lists(first)}
    return {"predictions": Rows(arrays)}


def regressions(results: Mapping[str, Array]) -> dict[str, Any]:
    """Return the answer to `:regress`, for `write_answer`: one number for each example.

    Raises:
        MalformedError: `message.malformed`: the model gives something else.
    """
    array = next(iter(results.values()))
    one = array.ndim >= 1 and array.size == array.shape[0]
    if len(results) != 1 or not one or array.dtype.kind not in "fiu":
        raise _wrong("the model does not give one number for each example")
    return {"results": Lists(sayable(array.reshape(-1), next(iter(results))))}


def metadata_record(
    name: str, version: str, *, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> dict[str, Any]:
    """Return what `/metadata` says of a model."""
    signature = {
        "inputs": {spec.name: _tensor_info(spec) for spec in inputs},
        "outputs": {spec.name: _tensor_info(spec) for spec in outputs},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def status_record(states: Mapping[str, str]) -> dict[str, Any]:
    """Return what is said of a model's versions.

    Args:
        states: The code of the error that keeps a version from being served, or nothing.
    """
    return {
        "model_version_status": [
            {
                "version": version,
                "state": "END" if code else "AVAILABLE",
                "status": {
                    "error_code": "FAILED_PRECONDITION" if code else "OK",
                    "error_message": code,
                },
            }
            for version, code in states.items()
        ]
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    dims = [{"size": str(size), "name": ""} for size in spec.shape]
    shape = {"dim": dims, "unknown_rank": False}
    return {"dtype": _TYPES[spec.datatype], "tensor_shape": shape, "name": spec.name}


def _object(body: bytes, known: set[str], *, verb: str) -> dict[str, Any]:
    try:
        record = read_body(body)
    except ValueError as e:
        raise _wrong(f"JSON Parse error: {e}"[:200]) from e
    if not isinstance(record, dict) or not known.issuperset(record):
        raise _wrong(f"the body is not an object with {', '.join(sorted(known))}")
    name = record.get("signature_name", "")
    if not isinstance(name, str):
        raise _wrong("'signature_name' key must be a string value.")
    if name not in {"", SIGNATURE, f"tensorflow/serving/{verb}"}:
        raise _wrong("Serving signature name not found in signature def")
    return record


def _columns(value: object, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    named = value
    if len(inputs) == 1 and (not isinstance(value, dict) or _is_string(value, inputs[0])):
        named = {inputs[0].name: value}
    if not isinstance(named, dict) or set(named) != {spec.name for spec in inputs}:
        raise _wrong(f"inputs are not {_names(inputs)}")
    return {spec.name: _array(named[spec.name], spec) for spec in inputs}


def _rows(value: object, inputs: Sequence[TensorSpec], what: str) -> dict[str, Array]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_ROWS:
        raise _wrong(f"{what} are not a list of 1 to {_MAX_ROWS}")
    if len(inputs) == 1 and not any(isinstance(row, dict) for row in value):
        return {inputs[0].name: _array(value, inputs[0])}
    names = {spec.name for spec in inputs}
    for row in value:
        if not isinstance(row, dict):
            raise _wrong(f"{what} are not all objects with {_names(inputs)}")
        if set(row) == {"b64"}:
            raise _strings()
        if set(row) != names:
            raise _wrong(f"{what} are not all objects with {_names(inputs)}")
    return {spec.name: _array([row[spec.name] for row in value], spec) for spec in inputs}


def _require_features(
    example: Mapping[str, Any],
    own: set[str],
    context: Mapping[str, Any],
    inputs: Sequence[TensorSpec],
) -> None:
    if set(example) == {"b64"}:
        raise _strings()
    if not context.keys().isdisjoint(example):
        raise _wrong("a feature is both in context and in an example")
    if set(example) != own:
        raise _wrong(f"the features are not {_names(inputs)}")


def _repeated(value: object, spec: TensorSpec, rows: int) -> Array:
    """Return a feature that all examples have in common, once for each."""
    one = _array([value], replace(spec, shape=(1, *spec.shape[1:])) if spec.shape else spec)
    require_fits(spec, spec.datatype, (rows, *one.shape[1:]))
    if one.size * rows > _MAX_SHARED:
        raise _wrong(f"context, once for each example, has more than {_MAX_SHARED} numbers")
    return np.repeat(one, rows, axis=0)


def _array(value: object, spec: TensorSpec) -> Array:
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if len(shape) > MAX_RANK:
            raise _wrong(f"{spec.name} has more than {MAX_RANK} axes")
        inner = inner[0] if inner else None
    if isinstance(inner, dict):
        raise _strings() if set(inner) == {"b64"} else _wrong(f"{spec.name} holds an object")
    if spec.datatype == "FP16":
        raise _wrong(f"{spec.name} is FP16, which has no JSON form; ask at /v2/models, in binary")
    require_fits(spec, spec.datatype, tuple(shape))
    return from_json(value if shape else [value], spec=spec, shape=tuple(shape))


def sayable(array: Array, name: str) -> Array:
    """Return an array as it is, whose lists JSON can say.

    Raises:
        MalformedError: `message.malformed`: JSON cannot say a number in it.
    """
    if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
        raise _wrong(f"tensor {name}: holds NaN or infinity, which JSON cannot say")
    return array


def _is_string(value: Mapping[str, Any], spec: TensorSpec) -> bool:
    """Tell whether an object stands for a string, and not for the one input."""
    return set(value) == {"b64"} and spec.name != "b64"


def _names(inputs: Sequence[TensorSpec]) -> str:
    return ", ".join(spec.name for spec in inputs)


def _strings() -> MalformedError:
    return _wrong("b64 is for strings, and this model takes none: send numbers")


def _wrong(problem: str) -> MalformedError:
    return MalformedError(problem, code="message.malformed")
