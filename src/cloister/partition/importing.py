"""Models by the name of their file: which reader reads what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cloister.errors import ConfigError
from cloister.partition.graph import Source
from cloister.partition.keras_source import KerasSource
from cloister.partition.litert_source import LiteRTSource
from cloister.partition.onnx_source import ONNXSource

__all__ = ["MAX_MODEL_BYTES", "open_model"]

MAX_MODEL_BYTES: Final = 2**31 - 1
_READERS: Final[Mapping[str, Callable[[bytes, bool], Source]]] = {
    ".h5": lambda data, unfused: KerasSource(data, legacy=True, unfused=unfused),
    ".hdf5": lambda data, unfused: KerasSource(data, legacy=True, unfused=unfused),
    ".keras": lambda data, unfused: KerasSource(data, unfused=unfused),
    ".onnx": lambda data, _: ONNXSource(data),
    ".tflite": lambda data, unfused: LiteRTSource(data, unfused=unfused),
}


def open_model(path: Path, *, unfused: bool = False) -> Source:
    """Read a model, as data; nothing in it is run.

    Args:
        path: A file whose suffix says its format: `.keras`, `.h5`, `.onnx` or `.tflite`.
        unfused: In LiteRT, make fused activations of linear operators operators of their own.

    Raises:
        ConfigError: `config.file`: no such file, too large, or of a format that is not read.
        MalformedError: `model.malformed`.
        RefusedError: `model.unsafe` or `model.operator`: it would run code, leads to another file,
            or has what is not allowed.
        MissingExtraError: A package for the format is not installed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"models of this kind are not read: {path}",
            code="config.file",
            hint="known are " + ", ".join(sorted(_READERS)),
        )
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MODEL_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"cannot read the model {path}: {e.strerror}", code="config.file") from e
    if len(data) > MAX_MODEL_BYTES:
        raise ConfigError(f"the model {path} is larger than 2 GiB", code="config.file")
    return reader(data, unfused)
