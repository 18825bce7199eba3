"""A witness's folder: its key and name, and for each log the newest note that it has cosigned.

Invariants:
    1. A note is replaced whole, and is durable when `put` returns.
    2. Each note is the log's own, signed: a folder that holds anything else is refused at opening.
    3. One process at a time: a lock.
    4. The key is made together with the folder and lies in it. Whoever loses what was seen has lost
       the key too, and cannot be led into cosigning a second history under the old name.

Spec: release-log-v1, clauses RL-42 and RL-43.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cloister.crypto.digest import sha256
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import (
    ConfigError,
    IdentityError,
    MalformedError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice.cosigning import Cosigner, WitnessKey
from cloister.keyservice.folder_errors import using_folder
from cloister.keyservice.log import Checkpoint
from cloister.keyservice.mirror import read_note_file, replace_durably
from cloister.keyservice.witness import Held
from cloister.tee.sim.platform import read_secret_file, write_secret_file

__all__ = ["WitnessState"]

_WHAT: Final = "the witness's state"
_KEY: Final = "witness.key"
_NAME: Final = "name"
_LOCK: Final = "lock"
_SEED_BYTES: Final = 32


class WitnessState:
    """The open folder. Use as a context."""

    def __init__(self, folder: Path, name: str, logs: Mapping[str, VerifyingKey]) -> None:
        """Open a witness's folder, or make one with a new key where there is none.

        Args:
            folder: 0700; its parent is there.
            name: Under which the key signs, from its making on: what it signs does not hold it.
            logs: The key of each log by its origin; what was seen of them is loaded.

        Raises:
            UnavailableError: Another process has it open (`keyservice.busy`).
            ConfigError: It cannot be used (`config.file`), or has another name (`config.value`).
            MalformedError: The name is none.
            TamperedError: What it holds of a log is not signed by that log (`state.tampered`).
        """
        self._folder: Final = folder
        with using_folder(folder, what=_WHAT):
            folder.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = os.open(folder / _LOCK, flags, 0o600)
        try:
            _lock(self._lock, folder)
            self.cosigner: Final = Cosigner(name, _load_key(folder, name))
            self._held: Final = {
                origin: held
                for origin, service in logs.items()
                if (held := _load(self._path(origin), service, origin)) is not None
            }
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> WitnessState:
        """Use as a context that lets the folder go."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the folder go."""
        os.close(self._lock)

    @property
    def held(self) -> Mapping[str, Held]:
        """What was made durable last, for each log of which anything was seen."""
        return self._held

    def put(self, origin: str, held: Held, note: str) -> None:
        """Make durable what is about to be cosigned.

        Raises:
            CloisterError: Not known to be durable; nothing may be cosigned.
        """
        with using_folder(self._folder, what=_WHAT):
            replace_durably(self._path(origin), note.encode())
        self._held[origin] = held

    def _path(self, origin: str) -> Path:
        return self._folder / f"{sha256(origin.encode()).hex()}.note"


def _lock(fd: int, folder: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        raise UnavailableError(f"another witness has {folder} open", code="keyservice.busy") from e


def _load_key(folder: Path, name: str) -> SigningKey:
    path = folder / _KEY
    if not path.exists():
        if any(folder.glob("*.note")):
            raise ConfigError(
                f"{folder} has notes and no key",
                code="config.file",
                hint="a witness that lost its key is given up: make another in a new folder",
            )
        key = SigningKey.generate()
        WitnessKey(name, key.public)
        with using_folder(folder, what=_WHAT):
            replace_durably(folder / _NAME, name.encode())
            write_secret_file(path, key.to_secret())
    seed = read_secret_file(path, max_bytes=_SEED_BYTES)
    if len(seed) != _SEED_BYTES:
        raise ConfigError(f"{path} is not a witness's key", code="config.file")
    if read_note_file(folder / _NAME) != name:
        raise ConfigError(
            f"the witness in {folder} has another name",
            code="config.value",
            hint=f"its name is in {folder / _NAME}; another witness wants a folder of its own",
        )
    return SigningKey(seed)


def _load(path: Path, service: VerifyingKey, origin: str) -> Held | None:
    if not path.exists():
        return None
    try:
        note = Checkpoint.from_note(read_note_file(path), service=service, origin=origin)
    except (MalformedError, IdentityError) as e:
        raise TamperedError(
            f"what the witness holds of {origin} is not signed by that log",
            code="state.tampered",
            hint=f"the key for it was exchanged, or {path} was changed",
        ) from e
    return Held(note.size, note.root)
