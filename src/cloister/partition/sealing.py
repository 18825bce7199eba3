"""The secret side of a package: what its files are called and hold, and how they are read.

They go from memory into a volume (`volume.seal_memory`) and are never on a disk in plain. Where a
model is served they are files of a mounted volume; at the owner's desk they are read from the
volume without a mount.

Labels are few and often well known, so their digest, which is public, could be guessed and
confirmed. Their file therefore has 32 random bytes.

Spec: partition-plan-v1, clauses PP-20 to PP-23.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cloister.errors import ConfigError, MalformedError
from cloister.volume.filesystem import ROOT_INO, Filesystem
from cloister.wire import Fields
from cloister.wire.strict_json import read_json, write_json

__all__ = [
    "LABELS_FILE",
    "PLAN_FILE",
    "REPORT_FILE",
    "SALT_BYTES",
    "Reading",
    "folder_reading",
    "memory_reading",
    "part_file",
    "read_label_list",
    "read_labels",
    "volume_reading",
    "write_labels",
]

PLAN_FILE: Final = "plan.cbor"
REPORT_FILE: Final = "report.json"
LABELS_FILE: Final = "labels.json"
SALT_BYTES: Final = 32
MAX_LABELS: Final = 2**20
MAX_LABEL: Final = 512
MAX_LABELS_BYTES: Final = 64 * 2**20
_FORMAT: Final = "cloister/labels/v1"
_CODE: Final = "plan.malformed"
_SUFFIXES: Final[Mapping[str, str]] = {"onnx": "onnx", "litert": "tflite"}
_SALT: Final = re.compile(r"[0-9a-f]{64}")

# Returns the content of a file of a package, given its name and how many bytes it may have; one
# byte more where it has more.
Reading = Callable[[str, int], bytes]


def part_file(role: str, format_: str) -> str:
    """Return the name of a part's file, such as `middle.onnx`."""
    return f"{role}.{_SUFFIXES[format_]}"


def write_labels(labels: tuple[str, ...], *, salt: bytes) -> bytes:
    """Return the file of labels, which is secret.

    Args:
        labels: In the order of the model's last axis.
        salt: 32 secret random bytes, fresh for this package.

    Raises:
        MalformedError: `plan.malformed`: there are none, or one that no reader would take.
    """
    data = write_json({"format": _FORMAT, "salt": salt.hex(), "labels": list(labels)}) + b"\n"
    if read_labels(data) != labels:
        raise _malformed("the labels do not come back as they were")
    return data


def read_labels(data: bytes) -> tuple[str, ...]:
    """Read the file of labels from bytes that the plan's digest vouches for.

    Raises:
        MalformedError: `plan.malformed`, or `wire.too-large`.
    """
    value = read_json(data, what="labels", max_bytes=MAX_LABELS_BYTES, max_depth=2, code=_CODE)
    fields = Fields(value, what="labels", code=_CODE)
    fields.constant("format", _FORMAT)
    if _SALT.fullmatch(fields.text("salt", max_length=2 * SALT_BYTES)) is None:
        raise _malformed("the salt is not 32 bytes in hex")
    found = tuple(fields.texts("labels", max_items=MAX_LABELS, max_length=MAX_LABEL))
    fields.end()
    if not found or not all(label and label.isprintable() for label in found):
        raise _malformed("there are no labels, or one is empty or cannot be shown")
    return found


def read_label_list(data: bytes) -> tuple[str, ...]:
    """Read an owner's list: a JSON array of texts, or one label a line.

    Raises:
        ConfigError: `config.value`: it is no such list.
    """
    try:
        if data.lstrip()[:1] == b"[":
            value = read_json(
                data, what="labels", max_bytes=MAX_LABELS_BYTES, max_depth=1, code=_CODE
            )
            fields = Fields({"labels": value}, what="labels", code=_CODE)
            found = fields.texts("labels", max_items=MAX_LABELS, max_length=MAX_LABEL)
        else:
            found = data.decode().splitlines()
    except (MalformedError, UnicodeDecodeError) as e:
        raise ConfigError(
            "the labels are no list",
            code="config.value",
            hint="one label a line in UTF-8, or a JSON array of texts",
        ) from e
    wrong = [label for label in found if not label.strip() or not label.isprintable()]
    if not found or wrong or len(found) > MAX_LABELS or max(map(len, found)) > MAX_LABEL:
        raise ConfigError(
            "there are no labels, or one is empty, too long, or cannot be shown",
            code="config.value",
            hint=f"at most {MAX_LABELS} labels of {MAX_LABEL} characters",
        )
    return tuple(found)


def folder_reading(folder: Path) -> Reading:
    """Read from a folder; links are not followed."""

    def read(name: str, max_bytes: int) -> bytes:
        path = folder / name
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(path, flags)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ConfigError(f"{path} is no file", code="config.file")
                return file.read(max_bytes + 1)
        except FileNotFoundError as e:
            raise _missing(str(path)) from e
        except OSError as e:
            raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e

    return read


def memory_reading(files: Mapping[str, bytes]) -> Reading:
    """Read from what is in memory."""

    def read(name: str, max_bytes: int) -> bytes:
        if name not in files:
            raise _missing(name)
        return files[name][: max_bytes + 1]

    return read


def volume_reading(filesystem: Filesystem) -> Reading:
    """Read from an open volume's root, without a mount."""

    def read(name: str, max_bytes: int) -> bytes:
        try:
            found = filesystem.lookup(ROOT_INO, name.encode())
        except OSError as e:
            raise _missing(name) from e
        if not stat.S_ISREG(found.mode):
            raise ConfigError(f"{name} is no file", code="config.file")
        out = bytearray(min(found.size, max_bytes + 1))
        count = filesystem.read_into(found.ino, 0, memoryview(out))
        return bytes(memoryview(out)[:count])

    return read


def _missing(name: str) -> ConfigError:
    return ConfigError(f"the package has no {name}", code="config.missing")


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"labels: {problem}", code=_CODE)
