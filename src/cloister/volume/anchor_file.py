"""An anchor in a file, for volumes whose owner opens them on her own machine.

The file is trusted: it must lie where the host that could roll the volume back cannot write. It is
replaced atomically, readable by its owner only, and safe for two processes at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.crypto.keyring import FIRST_KEY_EPOCH
from cloister.errors import (
    ConfigError,
    MalformedError,
    ReleaseDeniedError,
    TamperedError,
    UnavailableError,
)
from cloister.volume.anchor import ROOT_BYTES, AnchorState
from cloister.wire.cbor import encode
from cloister.wire.fields import Fields

__all__ = ["FileAnchor"]

_TYPE: Final = "cloister-volume-anchor"
_MAX_BYTES: Final = 256


class FileAnchor:
    """The anchor of one volume, in one small file."""

    def __init__(self, path: Path, *, epoch: int) -> None:
        """Use `read` or `acquire` instead."""
        self._path = path
        self._epoch = epoch

    @classmethod
    def make(cls, path: Path, *, version: int, root: bytes) -> FileAnchor:
        """Write the anchor of a new volume; hold no lease.

        Raises:
            ConfigError: Code `config.exists`: there is one.
        """
        anchor = cls(path, epoch=0)
        with anchor._locked():
            if path.exists():
                raise ConfigError(f"the anchor {path} exists already", code="config.exists")
            anchor._write(AnchorState(version, root, 0), lease=0)
        return anchor

    @classmethod
    def read(cls, path: Path) -> FileAnchor:
        """Open an anchor for reading the volume only."""
        anchor = cls(path, epoch=0)
        anchor.state()
        return anchor

    @classmethod
    def acquire(cls, path: Path) -> FileAnchor:
        """Take the writer's lease from whoever holds it, who is fenced from now on."""
        anchor = cls(path, epoch=0)
        with anchor._locked():
            state, lease = anchor._load()
            anchor._write(state, lease=lease + 1)
            anchor._epoch = lease + 1
        return anchor

    @property
    def epoch(self) -> int:
        """The epoch of the lease held here; 0 where the volume may only be read."""
        return self._epoch

    def state(self) -> AnchorState:
        """Return the newest committed state."""
        return self._load()[0]

    def advance(
        self,
        *,
        version: int,
        root: bytes,
        new_version: int,
        new_root: bytes,
        oldest_key: int = FIRST_KEY_EPOCH,
    ) -> None:
        """Replace `(version, root)`; see `Anchor.advance`. Keys are kept elsewhere."""
        del oldest_key
        with self._locked():
            state, lease = self._load()
            if not self._epoch or lease != self._epoch:
                raise ReleaseDeniedError(
                    "a newer writer holds this volume's lease", code="release.fenced"
                )
            if (state.version, state.root) == (new_version, new_root):
                return
            if (state.version, state.root) != (version, root) or new_version <= version:
                raise ReleaseDeniedError(
                    "the volume's committed state was changed by another writer",
                    code="release.fenced",
                )
            self._write(AnchorState(new_version, new_root, self._epoch), lease=lease)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            fd = os.open(
                self._path.with_name(self._path.name + ".lock"),
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                0o600,
            )
        except OSError as e:
            raise _unavailable(e) from e
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _load(self) -> tuple[AnchorState, int]:
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError as e:
            raise ConfigError(f"there is no anchor at {self._path}", code="config.missing") from e
        except OSError as e:
            raise _unavailable(e) from e
        try:
            fields = Fields.decode(data, what="anchor", max_bytes=_MAX_BYTES)
            fields.constant("type", _TYPE)
            state = AnchorState(
                fields.integer("version"),
                fields.octets("root", length=ROOT_BYTES),
                fields.integer("epoch"),
            )
            lease = fields.integer("lease")
            fields.end()
        except MalformedError as e:
            raise TamperedError(f"the anchor {self._path} is damaged", code="state.tampered") from e
        return state, lease

    def _write(self, state: AnchorState, *, lease: int) -> None:
        data = encode(
            {
                "type": _TYPE,
                "version": state.version,
                "root": state.root,
                "epoch": state.epoch,
                "lease": lease,
            }
        )
        new = self._path.with_name(f"{self._path.name}.{random_bytes(6).hex()}.new")
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            new.replace(self._path)
            _sync_directory(self._path.parent)
        except OSError as e:
            new.unlink(missing_ok=True)
            raise _unavailable(e) from e


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unavailable(e: OSError) -> UnavailableError:
    return UnavailableError(f"the anchor file cannot be used: {e.strerror}", code="volume.anchor")
