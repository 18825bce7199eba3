"""Readers of models for `targets.py`, with good bytes for each.

ONNX is read by native code, which a fuzzer that runs for long may break: then the finding
is theirs.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cloister.partition.keras_config import read_plan
from cloister.partition.keras_file import read_keras_archive, read_keras_h5
from cloister.partition.litert_file import read_litert
from cloister.partition.litert_write import write_litert
from cloister.partition.onnx_file import read_onnx
from cloister.wire.strict_json import read_json
from partition_models import onnx_block_net

__all__ = ["MODELS"]

_FILES: Final = Path(__file__).parents[1] / "data" / "models"


def _litert(data: bytes) -> bytes:
    return write_litert(read_litert(data))


def _configuration(data: bytes) -> object:
    return read_plan(
        read_json(data, what="it", max_bytes=1 << 20, max_depth=64, code="model.malformed")
    )


def _configurations() -> list[bytes]:
    found = []
    for name in ("blocks", "nested"):
        with zipfile.ZipFile(io.BytesIO((_FILES / f"{name}.keras").read_bytes())) as archive:
            found.append(json.dumps(json.loads(archive.read("config.json"))).encode())
    return found


MODELS: Final[Sequence[tuple[Callable[[bytes], object], Sequence[bytes]]]] = [
    (_litert, [(_FILES / f"{name}.tflite").read_bytes() for name in ("digits", "blocks")]),
    (read_onnx, [onnx_block_net()]),
    (read_keras_archive, [(_FILES / "nested.keras").read_bytes()]),
    (read_keras_h5, [(_FILES / "blocks.h5").read_bytes()]),
    (_configuration, _configurations()),
]
