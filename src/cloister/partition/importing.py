"""Models by the name of their file: which reader reads what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cloister.errors import ConfigError
from cloister.partition.converting import open_saved_model, open_torch_export
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


def open_model(path: Path, *, unfused: bool = False, trusted: bool = False) -> Source:
    """Read a model, as data; nothing in it is run, unless it is trusted and there is no other way.

    Args:
        path: A file whose suffix says its format: `.keras`, `.h5`, `.onnx` or `.tflite`; or `.pt2`,
            of torch.export, or the folder of a SavedModel.
        unfused: In LiteRT, make fused activations of linear operators operators of their own.
        trusted: Whoever made it may run code as the caller: only a `.pt2` file and a SavedModel
            need that, which their frameworks load to convert them.

    Raises:
        ConfigError: `config.file`: no such file, too large, or of a format that is not read.
        MalformedError: `model.malformed`.
        RefusedError: `model.unsafe` or `model.operator`: it would run code, leads to another file,
            or has what is not allowed.
        UnsupportedError: `model.convert`: its framework does not convert it.
        MissingExtraError: A package for the format is not installed.
    """
    if (path / "saved_model.pb").is_file():
        return open_saved_model(path, trusted=trusted, unfused=unfused)
    if path.suffix.lower() == ".pt2":
        return open_torch_export(path, trusted=trusted)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"models of this kind are not read: {path}",
            code="config.file",
            hint=f"known are {', '.join(sorted(_READERS))}, .pt2 and folders of a SavedModel",
        )
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MODEL_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"cannot read the model {path}: {e.strerror}", code="config.file") from e
    if len(data) > MAX_MODEL_BYTES:
        raise ConfigError(f"the model {path} is larger than 2 GiB", code="config.file")
    return reader(data, unfused)
