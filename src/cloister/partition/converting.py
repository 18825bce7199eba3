"""Models that only their framework can read, made into files that are read as data.

A SavedModel's graph may read files and call code when it is loaded, and so may what a `.pt2` file
holds. That happens in a process of its own, and only for a model that the caller says to trust: the
process has the caller's rights. The converted file comes back through memory, is as foreign as any
other, and is read like one.

    python -m cloister.partition.converting saved-model|torch-export PATH DESCRIPTOR
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from cloister.errors import (
    ConfigError,
    MissingExtraError,
    RefusedError,
    UnsupportedError,
    extra_hint,
)
from cloister.partition.graph import Graph, PartFile, Source
from cloister.partition.litert_source import LiteRTSource
from cloister.partition.onnx_source import ONNXSource

__all__ = ["Converted", "open_saved_model", "open_torch_export"]

_LONGEST_S: Final = 3600
_MAX_BYTES: Final = 2**31 - 1
_MAX_FILES: Final = 10_000
_MISSING: Final = 3
_CHUNK: Final = 1 << 20


class Converted:
    """A source that was converted: its parts are of the converted model.

    Its digest is of both: SHA-256 of the digest of what it was before and that of the converted
    file. Each use converts anew, and what a framework made of a model the first time it need not
    make of it the second: a report about one is none about the other.
    """

    def __init__(self, source: Source, digest: bytes) -> None:
        """Take the converted model, and the digest of what it was before."""
        self._source: Final = source
        self.digest: Final = hashlib.sha256(digest + source.digest).digest()

    @property
    def graph(self) -> Graph:
        """What is in the converted model."""
        return self._source.graph

    @property
    def bound(self) -> float:
        """How far parts may differ from the converted model."""
        return self._source.bound

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> PartFile:
        """Return the part between, as `Source.part` says."""
        return self._source.part(inputs, outputs)


def open_saved_model(folder: Path, *, trusted: bool, unfused: bool = False) -> Converted:
    """Convert a SavedModel to LiteRT.

    Args:
        folder: The model's; its default signature is taken.
        trusted: Whoever made it may run code as the caller.
        unfused: Make fused activations of linear operators operators of their own.

    Raises:
        RefusedError: `model.unsafe`: it is not trusted; or what `LiteRTSource` raises.
        UnsupportedError: `model.convert`: TensorFlow does not convert it.
        MissingExtraError: TensorFlow is not installed.
        ConfigError: `config.file`: it cannot be read, or is too large.
    """
    _require_trusted(trusted=trusted)
    digest = _digest_of_folder(folder)
    data = _converted("saved-model", folder, ("tensorflow",))
    return Converted(LiteRTSource(data, unfused=unfused), digest)


def open_torch_export(path: Path, *, trusted: bool) -> Converted:
    """Convert a program that `torch.export.save` wrote to ONNX.

    Args:
        path: The `.pt2` file.
        trusted: Whoever made it may run code as the caller.

    Raises:
        RefusedError: `model.unsafe`: it is not trusted; or what `ONNXSource` raises.
        UnsupportedError: `model.convert`: PyTorch does not convert it.
        MissingExtraError: PyTorch or onnxscript is not installed.
        ConfigError: `config.file`: it cannot be read, or is too large.
    """
    _require_trusted(trusted=trusted)
    digest = _digest_of_file(path).digest()
    return Converted(ONNXSource(_converted("torch-export", path, ("onnx", "pytorch"))), digest)


def _require_trusted(*, trusted: bool) -> None:
    if not trusted:
        raise RefusedError(
            "a model of this kind is loaded by its framework, which may run what it says",
            code="model.unsafe",
            hint="say that you trust it, or export it as .keras, .onnx or .tflite",
        )


def _converted(kind: str, path: Path, extras: tuple[str, ...]) -> bytes:
    descriptor = os.memfd_create("converted", os.MFD_CLOEXEC)
    try:
        # -P: a module that lies beside the model, in the current folder, is not taken for another.
        done = subprocess.run(  # noqa: S603  # our own interpreter and module
            [
                *(sys.executable, "-P", "-m", "cloister.partition.converting"),
                *(kind, str(path.absolute()), str(descriptor)),
            ],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[descriptor],
            timeout=_LONGEST_S,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        if done.returncode == _MISSING:
            raise MissingExtraError(
                "converting this model needs its framework",
                code="extra.missing",
                hint=extra_hint(*extras),
            )
        size = os.fstat(descriptor).st_size
        if done.returncode or not 0 < size <= _MAX_BYTES:
            raise UnsupportedError(
                "the framework does not convert this model",
                code="model.convert",
                detail=done.stderr[-500:].decode(errors="replace"),
            )
        return os.pread(descriptor, size, 0)
    except subprocess.TimeoutExpired as e:
        raise UnsupportedError("the conversion takes too long", code="model.convert") from e
    finally:
        os.close(descriptor)


def _digest_of_folder(folder: Path) -> bytes:
    """Return the digest of a folder's files with their names, in the order of these."""
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
    except OSError as e:
        raise ConfigError(f"cannot read {folder}: {e.strerror}", code="config.file") from e
    if not files or len(files) > _MAX_FILES:
        raise ConfigError(f"no SavedModel, or one of too many files: {folder}", code="config.file")
    whole = hashlib.sha256()
    for path in files:
        name = str(path.relative_to(folder)).encode()
        whole.update(len(name).to_bytes(4, "big") + name + _digest_of_file(path).digest())
    return whole.digest()


def _digest_of_file(path: Path) -> hashlib._Hash:
    whole = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                whole.update(chunk)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
    return whole


def _from_saved_model(path: str) -> bytes:
    import tensorflow as tf  # noqa: PLC0415  # in the process that converts

    return bytes(tf.lite.TFLiteConverter.from_saved_model(path).convert())


def _from_torch_export(path: str) -> bytes:
    import onnxscript  # noqa: F401, PLC0415  # PyTorch's exporter needs it, and says so late
    import torch  # noqa: PLC0415  # in the process that converts

    program = torch.onnx.export(torch.export.load(path), dynamo=True, external_data=False)
    if program is None:
        raise ValueError("PyTorch gives no program")
    return bytes(program.model_proto.SerializeToString())


_KINDS: Final[Mapping[str, Callable[[str], bytes]]] = {
    "saved-model": _from_saved_model,
    "torch-export": _from_torch_export,
}


def main(arguments: Sequence[str]) -> int:
    """Convert one model into a descriptor; 3 says that a framework is missing."""
    kind, path, descriptor = arguments
    try:
        data = _KINDS[kind](path)
    except ImportError:
        return _MISSING
    with os.fdopen(int(descriptor), "wb") as file:
        file.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
