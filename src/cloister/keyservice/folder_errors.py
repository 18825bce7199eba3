"""What is said when a folder that a program keeps its own state in cannot be written."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from cloister.errors import ConfigError, StorageFullError

__all__ = ["using_folder"]


@contextlib.contextmanager
def using_folder(folder: Path, *, what: str) -> Iterator[None]:
    """Turn the system's errors inside into ours.

    Args:
        folder: Somebody's own.
        what: What lies there, such as `the mirror of the log`.

    Raises:
        StorageFullError: The disk is full.
        ConfigError: The folder cannot be used (`config.file`).
    """
    try:
        yield
    except OSError as e:
        if e.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFullError(f"no room for {what}", code="storage.full") from e
        raise ConfigError(f"cannot write in {folder}: {e.strerror}", code="config.file") from e
