"""Which runtime a model file needs, by its suffix, and how it is loaded.

Spec: serving-v1, clause SRV-60.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cloister.errors import ConfigError, MissingExtraError, extra_hint
from cloister.inference.model import LiteRTModel, Model
from cloister.inference.onnx_model import ONNXModel

__all__ = ["FORMATS", "format_of", "load_model", "mixes", "remembers", "require_runtime"]

FORMATS: Final[Mapping[str, Callable[..., Model]]] = {"litert": LiteRTModel, "onnx": ONNXModel}
_RUNTIMES: Final = {"litert": ("ai_edge_litert",), "onnx": ("onnx", "onnxruntime")}
_SUFFIXES: Final = {".tflite": "litert", ".onnx": "onnx"}


def format_of(path: Path) -> str:
    """Return the format that a file's name says.

    Raises:
        ConfigError: `config.value`: none that is served.
    """
    found = _SUFFIXES.get(path.suffix)
    if found is None:
        raise ConfigError(
            f"{path.name} is no model that is served",
            code="config.value",
            hint="models end in .tflite or .onnx",
        )
    return found


def load_model(data: bytes, *, kind: str, threads: int) -> Model:
    """Load a model from its bytes.

    Args:
        data: The file's content.
        kind: A key of `FORMATS`.
        threads: Threads of one computation.

    Raises:
        MalformedError: `model.malformed`.
        MissingExtraError: The runtime is not installed.
    """
    return FORMATS[kind](data, threads=threads)


def require_runtime(kind: str) -> None:
    """Refuse a format whose runtime is not installed in this environment; nothing is loaded.

    Raises:
        MissingExtraError: It is not.
    """
    for module in _RUNTIMES[kind]:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(
                f"serving models of this format needs {module}",
                code="extra.missing",
                hint=extra_hint(kind),
            )


def remembers(model: Model) -> bool:
    """Tell whether a model may keep something from one computation to the next; unknown is yes."""
    return bool(getattr(model, "remembers", True))


def mixes(model: Model) -> bool:
    """Tell whether rows of a model may see each other, by its operators; unknown is yes."""
    return bool(getattr(model, "mixes", True))
