"""Who calls whom in a Keras configuration: references to tensors, old form and new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cloister.errors import MalformedError, RefusedError

__all__ = ["Reference", "input_shape", "read_calls", "read_ends"]

Reference = tuple[str, int, int]
"""A layer's name, which of its calls, and which of that call's outputs."""

_MAX_CALLS: Final = 20_000
_MAX_INPUTS: Final = 4096
_MAX_RANK: Final = 8
_MAX_SIZE: Final = 1 << 24
_REFERENCE: Final = 3
_WITH_ARGUMENTS: Final = 4


def read_calls(nodes: Any) -> tuple[tuple[Reference, ...], ...]:
    """Return what goes in at each call of a layer.

    Raises:
        MalformedError: `model.malformed`.
        RefusedError: `model.operator`: an argument that is no tensor.
    """
    if not isinstance(nodes, list) or len(nodes) > _MAX_CALLS:
        raise _broken()
    return tuple(_new(node) if isinstance(node, dict) else _old(node) for node in nodes)


def read_ends(ends: Any) -> tuple[Reference, ...]:
    """Return the inputs or outputs of a model.

    Raises:
        MalformedError: `model.malformed`.
    """
    if not isinstance(ends, list) or not ends:
        raise _broken()
    if isinstance(ends[0], str):
        ends = [ends]
    return tuple(_reference(end) for end in ends)


def input_shape(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """Return an input's shape, -1 standing for any size.

    Raises:
        MalformedError: `model.malformed`.
        RefusedError: `model.operator`: an input that is no dense tensor of float32.
    """
    shape = settings.get("batch_shape", settings.get("batch_input_shape"))
    if not isinstance(shape, list) or not 1 <= len(shape) <= _MAX_RANK:
        raise _broken()
    if settings.get("sparse") or settings.get("ragged") or settings.get("optional"):
        raise RefusedError("the Keras model's input is sparse or optional", code="model.operator")
    if settings.get("dtype", "float32") != "float32":
        raise RefusedError("the Keras model's input is not of float32", code="model.operator")
    if any(size is not None and not _is_size(size) for size in shape):
        raise _broken()
    return tuple(-1 if size is None else size for size in shape)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MAX_SIZE


def _new(node: Mapping[str, Any]) -> tuple[Reference, ...]:
    args, kwargs = node.get("args"), node.get("kwargs")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise _broken()
    if len(args) != 1:
        raise _refused()
    _require_plain(kwargs)
    return tuple(_tensors(args[0]))


def _tensors(value: Any) -> Iterator[Reference]:
    if isinstance(value, list) and len(value) <= _MAX_INPUTS:
        for entry in value:
            if isinstance(entry, list):
                raise _refused()
            yield from _tensors(entry)
        return
    if not isinstance(value, dict) or value.get("class_name") != "__keras_tensor__":
        raise _refused()
    config = value.get("config")
    if not isinstance(config, dict):
        raise _broken()
    yield _reference(config.get("keras_history"))


def _old(node: Any) -> tuple[Reference, ...]:
    if not isinstance(node, list) or not 1 <= len(node) <= _MAX_INPUTS:
        raise _broken()
    entries = [node] if isinstance(node[0], str) else node
    found: list[Reference] = []
    for entry in entries:
        if not isinstance(entry, list) or len(entry) not in {_REFERENCE, _WITH_ARGUMENTS}:
            raise _broken()
        if len(entry) == _WITH_ARGUMENTS:
            if not isinstance(entry[3], dict):
                raise _broken()
            _require_plain(entry[3])
        found.append(_reference(entry[:_REFERENCE]))
    return tuple(found)


def _require_plain(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments beside the tensors, but for what says what is so anyway."""
    for key, value in arguments.items():
        said = key in {"mask", "training"} and not (
            any(value) if isinstance(value, list) else value
        )
        if not said:
            raise _refused()


def _reference(value: Any) -> Reference:
    if not isinstance(value, list) or len(value) != _REFERENCE:
        raise _broken()
    name, node, index = value
    if not isinstance(name, str) or not _is_index(node) or not _is_index(index):
        raise _broken()
    return name, node, index


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MAX_CALLS


def _broken() -> MalformedError:
    return MalformedError(
        "the Keras model is damaged: how its layers are joined", code="model.malformed"
    )


def _refused() -> RefusedError:
    return RefusedError(
        "the Keras model calls a layer with what is no tensor", code="model.operator"
    )
