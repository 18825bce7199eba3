"""A copy of the log as a folder: its leaves in one append-only file, and the newest checkpoint.

Bytes in and out; `auditing` decides. The folder is untrusted: whoever keeps it may have changed it.

Invariants:
    1. Leaves are only appended, and durable before the checkpoint that covers them is put.
    2. The checkpoint is replaced whole or not at all: a new file, durable, renamed.
    3. One writer at a time: a lock on the file of leaves.

Spec: release-log-v1, clauses RL-30 to RL-32.
"""

from __future__ import annotations

import base64
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cloister.errors import (
    ConfigError,
    MalformedError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice.folder_errors import using_folder
from cloister.keyservice.log import MAX_ENTRY_BYTES
from cloister.keyservice.notes import MAX_NOTE_BYTES, from_base64

__all__ = ["Mirror", "MirrorWriter", "read_note_file", "replace_durably"]

_WHAT: Final = "the mirror of the log"
_LEAVES: Final = "entries"
_CHECKPOINT: Final = "checkpoint"
_MAX_LINE: Final = 4 * ((MAX_ENTRY_BYTES + 2) // 3)


class Mirror:
    """A mirror for reading."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is opened yet."""
        self.folder: Final = folder

    def note(self) -> str:
        """Return the newest checkpoint's note, unverified.

        Raises:
            ConfigError: There is no mirror here (`config.missing`), or it cannot be read.
            MalformedError: Not a text that a note can be.
        """
        if not (self.folder / _CHECKPOINT).exists():
            raise ConfigError(
                f"there is no mirror of a log in {self.folder}",
                code="config.missing",
                hint=f"make one with: cloister audit fetch {self.folder}",
            )
        return read_note_file(self.folder / _CHECKPOINT)

    def leaves(self) -> Iterator[bytes]:
        """Yield each leaf in order, unverified; a last line without its end is none.

        Raises:
            TamperedError: A line is not one that a writer of mirrors writes (`log.proof`).
        """
        try:
            with (self.folder / _LEAVES).open("rb") as file:
                while (line := file.readline(_MAX_LINE + 2)).endswith(b"\n"):
                    yield _leaf(line[:-1])
                if len(line) > _MAX_LINE:
                    raise _changed_line()
        except FileNotFoundError:
            return
        except OSError as e:
            raise _unreadable(self.folder / _LEAVES, e) from e


class MirrorWriter(Mirror):
    """A mirror for reading and writing, locked. Use as a context."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, which is made, 0700, where it is missing.

        Raises:
            UnavailableError: Another process writes this mirror (`keyservice.busy`).
            ConfigError: It cannot be written.
        """
        super().__init__(folder)
        with using_folder(folder, what=_WHAT):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(folder / _LEAVES, flags, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(self._fd)
            raise UnavailableError(
                f"another process fetches into {folder}", code="keyservice.busy"
            ) from e

    def __enter__(self) -> MirrorWriter:
        """Use as a context that lets the lock go."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the lock go."""
        os.close(self._fd)

    @property
    def is_new(self) -> bool:
        """Whether no checkpoint was ever put here."""
        return not (self.folder / _CHECKPOINT).exists()

    def keep(self, count: int) -> None:
        """Drop everything behind the first `count` leaves, a torn last line among it."""
        end = seen = 0
        with using_folder(self.folder, what=_WHAT), (self.folder / _LEAVES).open("rb") as file:
            while seen < count and (line := file.readline(_MAX_LINE + 2)).endswith(b"\n"):
                seen, end = seen + 1, end + len(line)
            os.ftruncate(self._fd, end)
            os.fsync(self._fd)

    def append(self, leaves: Iterable[bytes]) -> None:
        """Append leaves durably."""
        data = b"".join(base64.b64encode(leaf) + b"\n" for leaf in leaves)
        with using_folder(self.folder, what=_WHAT):
            written = 0
            while written < len(data):
                written += os.write(self._fd, data[written:])
            os.fsync(self._fd)

    def put_note(self, note: str) -> None:
        """Replace the checkpoint durably, whole or not at all."""
        with using_folder(self.folder, what=_WHAT):
            replace_durably(self.folder / _CHECKPOINT, note.encode())


def read_note_file(path: Path) -> str:
    """Read a note from a file, unverified and bounded.

    Raises:
        ConfigError: It cannot be read.
        MalformedError: Not a text that a note can be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_NOTE_BYTES + 1)
    except OSError as e:
        raise _unreadable(path, e) from e
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise MalformedError(f"{path} is not a checkpoint", code="message.malformed") from e


def replace_durably(path: Path, data: bytes) -> None:
    """Put a file in place of an earlier one, whole or not at all, and make that durable."""
    temporary = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(temporary, flags, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _leaf(line: bytes) -> bytes:
    try:
        leaf = from_base64(line.decode("ascii", "replace"))
    except MalformedError as e:
        raise _changed_line() from e
    if not 0 < len(leaf) <= MAX_ENTRY_BYTES:
        raise _changed_line()
    return leaf


def _changed_line() -> TamperedError:
    return TamperedError("the mirror of the log was changed: a line is no entry", code="log.proof")


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot read {path}: {error.strerror}", code="config.file")
