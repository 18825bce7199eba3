"""The contents of Keras files, as data: the configuration's JSON and the arrays of the weights.

Keras' own loaders can be talked into running code: a class that is imported by its name, a
function as marshalled bytes, a layer that reads what a path in the file names. They are not used.
The archive is read with limits, and HDF5 only where it is what Keras writes: numbers that stand in
the file as they are. HDF5's reader is native code; a file that breaks it can break this process.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloister.errors import MalformedError, MissingExtraError, RefusedError
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
_MAX_OBJECTS: Final = 50_000
_MAX_DEPTH: Final = 32
_MAX_RANK: Final = 8
_MAX_NAME: Final = 1024
_ENCRYPTED: Final = 1
_UNPACKING: Final = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    struct.error,
)
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_HDF5: Final = b"\x89HDF\r\n\x1a\n"


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
        MissingExtraError: h5py is not installed.
    """
    if len(data) > MAX_BYTES:
        raise _broken("it is larger than 2 GiB")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _UNPACKING as e:
        raise _broken("it is no archive") from e
    members = _members(archive)
    try:
        config, weights = archive.read(members[_CONFIG]), archive.read(members[_WEIGHTS])
    except _UNPACKING as e:
        raise _broken("its archive cannot be unpacked") from e
    return KerasFile(_json(config), dict(_arrays(_opened(weights))), None)


def read_keras_h5(data: bytes) -> KerasFile:
    """Read a legacy `.h5` file.

    Raises:
        MalformedError: `model.malformed`.
        RefusedError: `model.unsafe`: it leads to another file, or holds what is no number.
        MissingExtraError: h5py is not installed.
    """
    if len(data) > MAX_BYTES:
        raise _broken("it is larger than 2 GiB")
    file = _opened(data)
    config = _text(file, "model_config")
    group = _child(file, "model_weights")
    order: dict[str, tuple[str, ...]] = {}
    for name in _names(group, "layer_names"):
        order[name] = tuple(
            f"{name}/{path}" for path in _names(_child(group, name), "weight_names")
        )
    return KerasFile(_json(config), dict(_arrays(group)), order)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename not in _MEMBERS or info.is_dir():
            raise RefusedError("the Keras file has parts that are not read", code="model.unsafe")
        if info.filename in members:
            raise _broken("a part that stands twice")
        if info.flag_bits & _ENCRYPTED or info.compress_type not in {
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        }:
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


def _json(data: bytes) -> Any:
    return read_json(
        data,
        what="a Keras model's configuration",
        max_bytes=MAX_CONFIG_BYTES,
        max_depth=MAX_CONFIG_DEPTH,
        code="model.malformed",
    )


def _opened(data: bytes) -> Any:
    """Return the root group of an HDF5 file in memory."""
    try:
        import h5py  # noqa: PLC0415  # optional
    except ImportError as e:
        raise MissingExtraError(
            "reading a Keras model needs h5py",
            code="extra.missing",
            hint="pip install 'cloister[tensorflow]'",
        ) from e
    if data[: len(_HDF5)] != _HDF5:
        raise _broken("its weights are no HDF5")
    try:
        return h5py.File(io.BytesIO(data), "r")
    except (OSError, ValueError, RuntimeError, KeyError) as e:
        raise _broken("its weights are no HDF5") from e


def _arrays(group: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield every array with its path; refuse what leads elsewhere or is met twice."""
    seen: set[Any] = set()
    waiting = [("", group, 0)]
    left = MAX_BYTES
    while waiting:
        prefix, here, depth = waiting.pop()
        for name in _listed(here):
            thing = _child(here, name)
            path = f"{prefix}{name}"
            _require_new(thing, seen)
            if _is_group(thing):
                if depth >= _MAX_DEPTH:
                    raise _broken("its weights are nested too deeply")
                waiting.append((f"{path}/", thing, depth + 1))
                continue
            array = _array(thing)
            left -= array.nbytes
            if left < 0:
                raise _broken("the size of its weights")
            yield path, array


def _listed(group: Any) -> list[str]:
    try:
        if len(group) > _MAX_OBJECTS:
            raise _broken("the number of its weights")
        names = list(group)
    except (OSError, ValueError, RuntimeError, KeyError) as e:
        raise _broken("its weights") from e
    if any(not name or len(name) > _MAX_NAME or name in {".", ".."} for name in names):
        raise _broken("the name of a weight")
    return names


def _child(group: Any, name: str) -> Any:
    """Return what a group has by a name; only links within the file are followed."""
    import h5py  # noqa: PLC0415  # was there when the file was opened

    try:
        here = group
        for part in name.split("/"):
            if not isinstance(here, h5py.Group) or part not in here:
                raise _broken(f"{name[:100]} is missing")
            if not isinstance(here.get(part, getlink=True), h5py.HardLink):
                raise RefusedError("the weights lead out of their file", code="model.unsafe")
            here = here[part]
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as e:
        raise _broken("its weights") from e
    return here


def _require_new(thing: Any, seen: set[Any]) -> None:
    import h5py  # noqa: PLC0415  # was there when the file was opened

    place = h5py.h5o.get_info(thing.id).addr
    if place in seen or len(seen) >= _MAX_OBJECTS:
        raise _broken("weights that are met twice, or too many")
    seen.add(place)


def _is_group(thing: Any) -> bool:
    import h5py  # noqa: PLC0415  # was there when the file was opened

    return isinstance(thing, h5py.Group)


def _array(thing: Any) -> npt.NDArray[Any]:
    """Return the numbers of a data set that stand in the file as they are."""
    import h5py  # noqa: PLC0415  # was there when the file was opened

    try:
        if not isinstance(thing, h5py.Dataset):
            raise RefusedError("the weights hold what is no array", code="model.unsafe")
        plain = thing.dtype.kind in "fiub" and thing.dtype.hasobject is False
        if not plain or thing.dtype.names or thing.is_virtual or thing.external:
            raise RefusedError(
                "the weights hold what is no number, or stand in another file", code="model.unsafe"
            )
        if thing.id.get_create_plist().get_nfilters():
            raise RefusedError("the weights are packed", code="model.unsafe")
        if thing.shape is None or len(thing.shape) > _MAX_RANK:
            raise _broken("the shape of a weight")
        size = math.prod(thing.shape) * thing.dtype.itemsize
        if size and thing.id.get_storage_size() != size:
            raise _broken("the size of a weight")
        return np.asarray(thing[()])
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as e:
        raise _broken("a weight") from e


def _names(group: Any, key: str) -> list[str]:
    """Return a list of names from an attribute, which Keras splits where it is long."""
    parts = [key] if key in group.attrs else []
    while f"{key}{len(parts)}" in group.attrs and len(parts) < _MAX_OBJECTS:
        parts.append(f"{key}{len(parts)}")
    names: list[str] = []
    for part in parts:
        values = _attribute(group, part)
        names += [_decoded(value) for value in np.atleast_1d(values).tolist()]
    if not parts or len(set(names)) != len(names) or len(names) > _MAX_OBJECTS:
        raise _broken(key)
    return names


def _text(group: Any, key: str) -> bytes:
    if key not in group.attrs:
        raise _broken(f"it has no {key}: weights alone are no model")
    return _decoded(_attribute(group, key)).encode()


def _attribute(group: Any, key: str) -> Any:
    try:
        return group.attrs[key]
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as e:
        raise _broken(key) from e


def _decoded(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as e:
            raise _broken("a name") from e
    # Names that are no Unicode come as surrogates, which nothing can be written with.
    if not isinstance(value, str) or (not value.isascii() and _SURROGATES.search(value)):
        raise _broken("a name")
    return value


def _broken(what: str) -> MalformedError:
    return MalformedError(f"the Keras file is damaged: {what}", code="model.malformed")
