"""Write a new file whole or not at all, for its owner only, and never over another."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cloister.errors import CloisterError, ConfigError, StorageFullError, UnavailableError

__all__ = ["new_file", "write_new_file"]


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """Give a file to write, and where it lies meanwhile; durable and in its place at the end.

    Where the body fails, or the process is killed, nothing lies at `path`; a killed process leaves
    the unfinished file beside it, which the next attempt replaces.

    Raises:
        ConfigError: It exists (`config.exists`), or cannot be made (`config.file`).
        StorageFullError: The disk is full.
        UnavailableError: The disk fails.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    if path.exists():
        raise _exists(path)
    try:
        unfinished.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(unfinished, flags, 0o600)
    except OSError as e:
        raise ConfigError(f"{path} cannot be written: {e.strerror}", code="config.file") from e
    try:
        with os.fdopen(fd, "wb") as file:
            yield file, unfinished
            file.flush()
            os.fsync(fd)
        os.link(unfinished, path)
        _sync_folder(path.parent)
    except FileExistsError as e:
        raise _exists(path) from e
    except OSError as e:
        raise _ours(path, e) from e
    finally:
        unfinished.unlink(missing_ok=True)


def write_new_file(path: Path, data: bytes) -> None:
    """Write a new file.

    Raises:
        ConfigError: It exists (`config.exists`), or cannot be made (`config.file`).
        StorageFullError: The disk is full.
        UnavailableError: The disk fails.
    """
    with new_file(path) as (file, _):
        file.write(data)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _exists(path: Path) -> ConfigError:
    return ConfigError(f"{path} exists already", code="config.exists", hint="name another file")


def _ours(path: Path, error: OSError) -> CloisterError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFullError(f"the disk is full; {path} was not written", code="storage.full")
    return UnavailableError(f"{path} cannot be written", code="keyservice.state", detail=str(error))
