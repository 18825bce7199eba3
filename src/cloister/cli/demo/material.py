"""What the owner brings: real digits and an ordinary training script, with markers planted.

A marker is a string or a row of numbers that occurs nowhere else, so that finding it on the
operator's side would mean that something leaked.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloister.cli.demo.places import Places
from cloister.crypto.kdf import random_bytes
from cloister.errors import MissingExtraError, extra_hint

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCRIPT", "Material", "inspect_script", "weight_markers"]

SCRIPT: Final = "digits_train.py"
_FILES: Final = "cloister.cli.demo.files"
_WEIGHT_BYTES: Final = 96
_WEIGHT_MARKERS: Final = 8


@dataclass(slots=True)
class Material:
    """The plain inputs, the query, and the markers in them by secret.

    Attributes:
        labels: The true digits of `query`.
        query: float32[n, 8, 8, 1], in 0 to 1: images that the client asks about.
        markers: Secret (`data`, `code`, `query`, later `weights`) to byte patterns.
    """

    query: Any
    labels: Any
    markers: dict[str, list[bytes]] = field(default_factory=dict)

    @classmethod
    def make(cls, places: Places) -> Material:
        """Write data set and script into the owner's folders and plant the markers.

        Raises:
            MissingExtraError: scikit-learn, which ships the digits, is not installed.
        """
        try:
            import numpy as np  # the demo alone needs it
            from sklearn.datasets import load_digits
        except ImportError as e:
            raise MissingExtraError(
                "the demonstration needs scikit-learn and TensorFlow",
                code="extra.missing",
                hint=extra_hint("demo"),
            ) from e
        digits = load_digits()
        note = _text_marker("DATA")
        # A breath of noise that nobody else has on a few digits: their bytes, and the weights that
        # are trained on them, then occur nowhere else, not even in another demonstration.
        images = digits.images.copy()
        breath = np.frombuffer(random_bytes(8 * 64), dtype=np.uint8).reshape(8, 8, 8)
        images[:8] += breath / 2**16
        np.savez(
            places.data / "digits.npz",
            images=images,
            labels=digits.target,
            note=np.frombuffer(note, dtype=np.uint8),
        )
        code = _text_marker("CODE")
        source = resources.files(_FILES).joinpath(SCRIPT).read_bytes()
        (places.code / SCRIPT).write_bytes(source + b"\n# " + code + b"\n")
        (places.code / "inspect_data.py").write_text(inspect_script())
        query = (digits.images[:32].reshape(-1, 8, 8, 1) / 16).astype("float32")
        # One image of noise that nobody else has: its bytes are the query's marker.
        noise = np.frombuffer(random_bytes(256), dtype=np.uint8).astype("float32") / 255
        query[0] = noise[:64].reshape(8, 8, 1)
        markers = {
            "data": [note, images[0].tobytes(), images[5].tobytes()],
            "code": [code],
            "query": [query[0].tobytes()[:128], query[0].tobytes()[128:]],
        }
        return cls(query, digits.target[:32], markers)


def inspect_script() -> str:
    """Return a script that reads every byte of the data set, quickly: for attacks on volumes."""
    return (
        "import hashlib, pathlib, sys\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).rglob('*')):\n"
        "    if path.is_file():\n"
        "        print(path, hashlib.sha256(path.read_bytes()).hexdigest())\n"
    )


def weight_markers(model: Path) -> list[bytes]:
    """Return pieces of a trained LiteRT model that are weights: bytes that vary."""
    content = model.read_bytes()
    found: list[bytes] = []
    for start in range(len(content) // 4, len(content) - _WEIGHT_BYTES, _WEIGHT_BYTES):
        piece = content[start : start + _WEIGHT_BYTES]
        if len(set(piece)) > _WEIGHT_BYTES // 2:
            found.append(piece)
        if len(found) == _WEIGHT_MARKERS:
            break
    return found


def read_metrics(folder: Path) -> Mapping[str, Any]:
    """Return what the script wrote about its model."""
    metrics: Mapping[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def copy_store(source: Path, target: Path) -> Path:
    """Copy a volume's store, as an operator can."""
    shutil.copytree(source, target)
    return target


def _text_marker(what: str) -> bytes:
    return f"CLOISTER-{what}-MARKER-{random_bytes(16).hex()}".encode()
