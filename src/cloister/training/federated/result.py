"""What a run leaves: everything that its ServerApp wrote, or nothing.

The ServerApp runs in an empty folder beside the place of the result, on the same volume. When the
run has completed, the record is added, all is written through, and one rename makes it the result.

Spec: federation-v1, clauses FED-12 and FED-13.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cloister.errors import ConfigError, StorageFullError, UnavailableError
from cloister.training.federated.gate import FORMAT

__all__ = ["RECORD", "Record", "prepare_result", "publish_result", "withdraw_result"]

RECORD: Final = "federation.json"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Record:
    """How a run went.

    Attributes:
        app: Publisher and name.
        version: The app's.
        digest: SHA-256 of its bundle, in hex.
        settings: Over the app's own.
        expected: How many sites the policy's command names.
        minimum: How many had to be there all the time.
        started_with: The numbers of those that were there when the first round began.
        ended_with: The numbers of those that were there at its end.
        failures: How often a site answered with an error.
        seconds: From the first round's begin to the end.
    """

    app: str
    version: str
    digest: str
    settings: Mapping[str, bool | int | float | str]
    expected: int
    minimum: int
    started_with: Sequence[int]
    ended_with: Sequence[int]
    failures: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {"format": FORMAT} | asdict(self)


def prepare_result(place: Path) -> Path:
    """Return an empty folder in which the ServerApp may write.

    What a killed run left there is deleted: it was never a result.

    Raises:
        ConfigError: `config.exists`: there is a result; `config.missing`: no folder above it, or
            one that cannot be written.
    """
    if place.exists() or place.is_symlink():
        raise ConfigError(
            f"there is a result at {place}", code="config.exists", hint="name another --result"
        )
    work = _work(place)
    try:
        if work.exists():
            shutil.rmtree(work)
        work.mkdir()
    except OSError as e:
        raise ConfigError(
            f"{place.parent} is no folder that can be written", code="config.missing"
        ) from e
    return work


def publish_result(place: Path, record: Record) -> None:
    """Make what was written the result, in one step, with its record.

    Raises:
        ConfigError: `config.exists`: the app wrote a file of the record's name.
        StorageFullError: `storage.full`. UnavailableError: `volume.io`.
    """
    try:
        _publish(place, record)
    except OSError as e:
        if e.errno in _FULL:
            raise StorageFullError("no room for the result", code="storage.full") from e
        raise UnavailableError("the result cannot be written", code="volume.io") from e


def _publish(place: Path, record: Record) -> None:
    work = _work(place)
    try:
        with (work / RECORD).open("x", encoding="utf-8") as file:
            json.dump(record.as_json(), file, indent=2, sort_keys=True)
    except FileExistsError as e:
        raise ConfigError(f"the app wrote a {RECORD} of its own", code="config.exists") from e
    for path in sorted(work.rglob("*"), reverse=True):
        if not path.is_symlink():
            _sync(path)
    _sync(work)
    work.rename(place)
    _sync(place.parent)


def withdraw_result(place: Path) -> None:
    """Delete what a run wrote that did not complete."""
    shutil.rmtree(_work(place), ignore_errors=True)


def _work(place: Path) -> Path:
    return place.with_name(f".{place.name}.unfinished")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
