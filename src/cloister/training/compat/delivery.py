"""Which files a workload that trains with TensorFlow gets beside its own.

The folder stands first in its `PYTHONPATH`, so that its interpreter runs `sitecustomize` at its
start. The files are part of this package, and measured with it.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

__all__ = ["COMPAT_FOLDER", "compat_files"]

COMPAT_FOLDER: Final = "/run/cloister/compat"
_NAMES: Final = ("cloister_keras.py", "sitecustomize.py")


def compat_files() -> list[tuple[str, bytes]]:
    """Return name and content of each file that belongs into the folder."""
    package = resources.files("cloister.training.compat.workload")
    return [(name, package.joinpath(name).read_bytes()) for name in _NAMES]
