"""The contents of Keras files, as data: the configuration's JSON and the arrays of the weights.

Keras' own loaders can be talked into running code: a class that is imported by its name, a
function as marshalled bytes, a layer that reads what a path in the file names. They are not used.
The archive is read with limits, and HDF5 only where it is what Keras writes: numbers that stand in
the file as they are.
"""

from __future__ import annotations

import copy
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from cloister.errors import MalformedError, RefusedError
from cloister.partition.hdf5_blocks import Blocks, Message
from cloister.partition.hdf5_values import array_of, attributes_of
from cloister.partition.unpacking import UNPACKING_ERRORS, is_plain
from cloister.wire.strict_json import read_json

__all__ = ["KerasFile", "Weights", "read_keras_archive", "read_keras_h5"]

Weights = Mapping[str, npt.NDArray[Any]]

MAX_BYTES: Final = 2**31 - 1
MAX_CONFIG_BYTES: Final = 1 << 25
MAX_CONFIG_DEPTH: Final = 64
_CONFIG: Final = "config.json"
_WEIGHTS: Final = "model.weights.h5"
_MEMBERS: Final = frozenset({"metadata.json", _CONFIG, _WEIGHTS})
_MAX_RATIO: Final = 200
_SMALL: Final = 1 << 20
_PIECE: Final = 1 << 20
_MAX_OBJECTS: Final = 50_000
_MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class KerasFile:
    """What a Keras file says, unchecked but for its form.

    Attributes:
        config: The model's configuration, as Keras writes it.
        weights: Every array, by its path in the file.
        order: For each layer of a legacy file, the paths of its arrays in their order; None where
            the paths themselves say it.
    """

    config: Any
    weights: Weights
    order: Mapping[str, tuple[str, ...]] | None


def read_keras_archive(data: bytes) -> KerasFile:
    """Read a `.keras` file.

    Raises:
        MalformedError: `model.malformed`: not an archive as Keras writes it.
        RefusedError: `model.unsafe`: it has other files, leads to one, or unpacks to far more.
    """
    if len(data) > MAX_BYTES:
        raise _broken("it is larger than 2 GiB")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except UNPACKING_ERRORS as e:
        raise _broken("it is no archive") from e
    members = _members(archive)
    try:
        config, weights = (_unpacked(archive, members[name]) for name in (_CONFIG, _WEIGHTS))
    except UNPACKING_ERRORS as e:
        raise _broken("its archive cannot be unpacked") from e
    blocks = Blocks(weights)
    return KerasFile(_json(config), _arrays(blocks, blocks.messages(blocks.root)), None)


def read_keras_h5(data: bytes) -> KerasFile:
    """Read a legacy `.h5` file.

    Raises:
        MalformedError: `model.malformed`.
        RefusedError: `model.unsafe`: it leads to another file, or holds what is no number.
    """
    if len(data) > MAX_BYTES:
        raise _broken("it is larger than 2 GiB")
    blocks = Blocks(data)
    root = blocks.messages(blocks.root)
    config = attributes_of(blocks, root, "model_config").get("model_config")
    if config is None or len(config) != 1:
        raise _broken("it has no configuration: weights alone are no model")
    group = _group(blocks, _members_of(blocks, root), "model_weights")
    order: dict[str, tuple[str, ...]] = {}
    members = _members_of(blocks, group)
    for name in _names(attributes_of(blocks, group, "layer_names"), "layer_names"):
        inner = attributes_of(blocks, _group(blocks, members, name), "weight_names")
        order[name] = tuple(f"{name}/{path}" for path in _names(inner, "weight_names"))
    return KerasFile(_json(config[0]), _arrays(blocks, group), order)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename not in _MEMBERS or info.is_dir():
            raise RefusedError("the Keras file has parts that are not read", code="model.unsafe")
        if info.filename in members:
            raise _broken("a part that stands twice")
        if not is_plain(info):
            raise _broken("how its parts are packed")
        limit = MAX_BYTES if info.filename == _WEIGHTS else MAX_CONFIG_BYTES
        if info.file_size > limit:
            raise _broken("the size of its parts")
        if info.file_size > max(_SMALL, _MAX_RATIO * info.compress_size):
            raise RefusedError("the Keras file unpacks to far more", code="model.unsafe")
        members[info.filename] = info
    if not {_CONFIG, _WEIGHTS} <= members.keys():
        raise _broken("a part is missing")
    return members


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return a part, unpacked a piece at a time: it ends where the archive says, or is refused."""
    # One byte more than the archive says, for whoever has said too little.
    more = copy.copy(info)
    more.file_size += 1
    pieces: list[bytes] = []
    left = info.file_size
    with archive.open(more) as stream:
        while left >= 0 and (piece := stream.read(min(_PIECE, left + 1))):
            pieces.append(piece)
            left -= len(piece)
    if left:
        raise _broken("the size of its parts")
    return b"".join(pieces)


def _json(data: bytes) -> Any:
    return read_json(
        data,
        what="a Keras model's configuration",
        max_bytes=MAX_CONFIG_BYTES,
        max_depth=MAX_CONFIG_DEPTH,
        code="model.malformed",
    )


def _arrays(blocks: Blocks, messages: list[Message]) -> dict[str, npt.NDArray[Any]]:
    """Return every array below a group with its path; refuse what is met twice."""
    found: dict[str, npt.NDArray[Any]] = {}
    seen: set[int] = set()
    left = MAX_BYTES
    waiting = [("", _members_of(blocks, messages), 0)]
    while waiting:
        prefix, members, depth = waiting.pop()
        for name, place in members.items():
            path = f"{prefix}{name}"
            if place in seen or len(seen) >= _MAX_OBJECTS or depth >= _MAX_DEPTH:
                raise _broken("weights that are met twice, too many, or too deep")
            seen.add(place)
            inner = blocks.messages(place)
            children = blocks.children(inner)
            if children is not None:
                waiting.append((f"{path}/", children, depth + 1))
                continue
            array = array_of(blocks, inner)
            left -= array.nbytes
            if left < 0:
                raise _broken("the size of its weights")
            found[path] = array
    return found


def _members_of(blocks: Blocks, messages: list[Message]) -> dict[str, int]:
    members = blocks.children(messages)
    if members is None:
        raise _broken("a group that is none")
    return members


def _group(blocks: Blocks, members: Mapping[str, int], path: str) -> list[Message]:
    """Return the messages of what stands among members by a name, or below it by a path."""
    names = [name for name in path.split("/") if name]
    if not 1 <= len(names) <= _MAX_DEPTH:
        raise _broken("a name that leads nowhere")
    messages: list[Message] = []
    for depth, name in enumerate(names):
        inner = _members_of(blocks, messages) if depth else members
        if name not in inner:
            raise _broken(f"{name[:100]} is missing")
        messages = blocks.messages(inner[name])
    return messages


def _names(texts: Mapping[str, list[bytes]], key: str) -> list[str]:
    """Return a list of names from an attribute, which Keras splits where it is long."""
    parts = [key] if key in texts else []
    while f"{key}{len(parts)}" in texts:
        parts.append(f"{key}{len(parts)}")
    names = [_decoded(value) for part in parts for value in texts[part]]
    if len(set(names)) != len(names) or len(names) > _MAX_OBJECTS:
        raise _broken(key)
    return names


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as e:
        raise _broken("a name") from e


def _broken(what: str) -> MalformedError:
    return MalformedError(f"the Keras file is damaged: {what}", code="model.malformed")
