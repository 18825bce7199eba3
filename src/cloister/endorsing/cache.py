"""Answers on disk, for their user only: whole or not there, and never believed for lying there.

Invariants:
    1. A file appears by renaming one that is complete and durable: a killed process leaves none
       that is half there.
    2. What is read is untrusted: bytes that are not exactly an entry are no entry, and whoever
       asked judges the answer like one from the network.
    3. Locks are the kernel's and end with their process.

Spec: endorsement-sources-v1, clauses ES-20 to ES-24.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.crypto.digest import framed, require_equal, sha256
from cloister.endorsing.questions import MAX_ANSWER_BYTES, Answer
from cloister.errors import (
    CloisterError,
    ConfigError,
    MalformedError,
    TamperedError,
    UnavailableError,
)
from cloister.wire import Fields, Value, encode

__all__ = ["Cache", "answer_bytes", "entry_name", "read_answer"]

_VERSION: Final = 1
_LABEL: Final = b"cloister/endorsement-cache/v1"
_MAX_ENTRY: Final = MAX_ANSWER_BYTES + 65536
_MAX_ENTRIES: Final = 2048
_MAX_HEADERS: Final = 8
_MAX_PAUSE_S: Final = 3600
_POLL_S: Final = 0.05
_PRIVATE: Final = 0o700


def entry_name(url: str, identity: bytes) -> str:
    """Return the name of an answer's file: of what was asked, without a nonce."""
    return sha256(framed(_LABEL, url.encode(), identity)).hex()


def answer_bytes(answer: Answer) -> bytes:
    """Return an entry's canonical bytes."""
    inner = encode(
        {
            "version": _VERSION,
            "url": answer.url,
            "at": answer.at,
            "headers": [[name, value] for name, value in answer.headers],
            "body": answer.body,
        }
    )
    return encode({"answer": inner, "digest": sha256(framed(_LABEL, inner))})


def read_answer(data: bytes) -> Answer:
    """Read an entry from untrusted bytes.

    Raises:
        MalformedError: They are no entry.
        TamperedError: They were changed, or not written to their end (`state.tampered`).
    """
    outer = Fields.decode(data, what="cached answer", max_bytes=_MAX_ENTRY)
    inner = outer.octets("answer", max_length=_MAX_ENTRY)
    digest = outer.octets("digest", length=32)
    outer.end()
    changed = TamperedError("a cached answer was changed", code="state.tampered")
    require_equal(digest, sha256(framed(_LABEL, inner)), error=changed)
    fields = Fields.decode(inner, what="cached answer", max_bytes=_MAX_ENTRY)
    fields.constant("version", _VERSION)
    answer = Answer(
        url=fields.text("url", max_length=2048),
        at=fields.integer("at"),
        headers=tuple(_header(each) for each in fields.array("headers", max_items=_MAX_HEADERS)),
        body=fields.octets("body", max_length=MAX_ANSWER_BYTES),
    )
    fields.end()
    return answer


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of answers. Anybody who can write to it can waste time, and no more."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Cache:
        """Make the folder, or take one that is its user's alone.

        Raises:
            ConfigError: It cannot be made, or others have access to it.
        """
        try:
            folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            status = folder.lstat()
        except OSError as e:
            raise ConfigError(f"{folder}: {e.strerror}", code="config.file") from e
        if (
            not stat.S_ISDIR(status.st_mode)
            or status.st_uid != os.geteuid()
            or stat.S_IMODE(status.st_mode) & 0o077
        ):
            raise ConfigError(
                f"{folder} is no folder of yours alone",
                code="config.file",
                hint=f"chmod 700 {folder}, or name another with --cache",
            )
        return cls(folder)

    def read(self, name: str) -> Answer | None:
        """Return an answer that is there, whole; None for anything else."""
        data = self._read(f"{name}.entry", _MAX_ENTRY)
        try:
            return None if data is None else read_answer(data)
        except CloisterError:
            return None

    def write(self, name: str, answer: Answer) -> None:
        """Keep an answer; the caller holds its lock.

        Raises:
            ConfigError: It cannot be written.
        """
        self._make_room()
        self._write(f"{name}.entry", answer_bytes(answer))

    def paused(self, host: str, *, now: int) -> int:
        """Return until when a host asked to be left alone; 0 where it did not."""
        data = self._read(_pause_name(host), 32)
        text = b"" if data is None else data
        until = int(text) if text.isdigit() else 0
        return until if now < until <= now + _MAX_PAUSE_S else 0

    def pause(self, host: str, *, now: int, for_s: float) -> None:
        """Let everybody who shares this cache leave a host alone for so long, an hour at most."""
        until = now + int(min(for_s, _MAX_PAUSE_S - 1)) + 1
        self._write(_pause_name(host), str(until).encode())

    @contextlib.contextmanager
    def lock(
        self, name: str, *, left: Callable[[], float], sleep: Callable[[float], None]
    ) -> Iterator[None]:
        """Keep other processes from asking the same; some other questions wait too.

        Raises:
            UnavailableError: Somebody held it for as long as there was time (`server.busy`).
        """
        path = self.folder / f"lock-{name[:2]}"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as e:
            raise ConfigError(f"{path}: {e.strerror}", code="config.file") from e
        try:
            while not _locked(descriptor):
                if left() <= 0:
                    raise UnavailableError(
                        "another process asks the same, and has no answer yet", code="server.busy"
                    )
                sleep(_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def _read(self, name: str, limit: int) -> bytes | None:
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            with os.fdopen(os.open(self.folder / name, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return None
                data = file.read(limit + 1)
        except OSError:
            return None
        return data if len(data) <= limit else None

    def _write(self, name: str, data: bytes) -> None:
        unfinished = self.folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
        try:
            unfinished.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.folder / name)
        except OSError as e:
            unfinished.unlink(missing_ok=True)
            raise ConfigError(
                f"{self.folder} cannot be written: {e.strerror}", code="config.file"
            ) from e

    def _make_room(self) -> None:
        """Forget the oldest quarter where there is too much, and what killed processes left."""
        entries = [each for each in self.folder.iterdir() if each.suffix == ".entry"]
        if len(entries) < _MAX_ENTRIES:
            return
        aged = sorted(entries, key=lambda each: each.lstat().st_mtime)
        newest = aged[-1].lstat().st_mtime
        for each in aged[: _MAX_ENTRIES // 4]:
            each.unlink(missing_ok=True)
        for each in self.folder.glob(".*.*"):
            with contextlib.suppress(FileNotFoundError):
                if each.lstat().st_mtime < newest - _MAX_PAUSE_S:
                    each.unlink()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pause_name(host: str) -> str:
    return f"pause-{sha256(host.encode()).hex()[:32]}"


def _header(value: Value) -> tuple[str, str]:
    match value:
        case [str(name), str(text)] if len(name) + len(text) <= _MAX_ENTRY:
            return name, text
        case _:
            raise MalformedError("a header is a name and a text", code="message.malformed")
