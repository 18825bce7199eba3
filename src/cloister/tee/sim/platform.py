"""A simulated platform's state: the directory that stands for what hardware would hold.

Invariants:
    1. The directory is 0700 and each file in it 0600; others' access is refused at loading.
    2. The signing key is the trust anchor. It never changes after `create`.
    3. A counter never goes back by this code. Whoever can write the directory can put it back:
       that is what "simulated" means, and every claim says `hardware_rooted: false`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cloister.crypto.kdf import derive_key, random_bytes
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import ConfigError

__all__ = ["MonotonicCounter", "SimPlatform", "read_secret_file", "write_secret_file"]

_FORMAT: Final = "cloister/sim-platform/v1"
_SEAL_LABEL: Final = b"cloister/sim-platform/v1/seal"
_SECRET_BYTES: Final = 32
_COUNTER_BYTES: Final = 8
_MAX_STATE_BYTES: Final = 4096
_MAX_SVN: Final = 65535
_LOCK_PAUSE_S: Final = 0.002


class SimPlatform:
    """What a TEE's hardware would hold: a signing key, a sealing secret, a version, counters."""

    def __init__(
        self, directory: Path, *, signing: SigningKey, sealing: bytes, svn: int, debug: bool
    ) -> None:
        """Wrap loaded state; use `create` or `load`."""
        self._directory = directory
        self._signing = signing
        self._sealing = sealing
        self.svn: Final = svn
        self.debug: Final = debug

    @classmethod
    def create(cls, directory: Path, *, svn: int, debug: bool) -> SimPlatform:
        """Make a new platform in a directory that does not exist yet.

        Raises:
            ConfigError: The directory exists, or `svn` is out of range.
        """
        if not 0 <= svn <= _MAX_SVN:
            raise ConfigError("a security version is between 0 and 65535", code="config.value")
        try:
            directory.mkdir(mode=0o700, parents=False)
        except FileExistsError as e:
            raise ConfigError(f"{directory} exists already", code="config.exists") from e
        signing, sealing = SigningKey.generate(), random_bytes(_SECRET_BYTES)
        write_secret_file(directory / "signing.key", signing.to_secret())
        write_secret_file(directory / "sealing.key", sealing)
        state = {"format": _FORMAT, "svn": svn, "debug": debug}
        write_secret_file(directory / "platform.json", json.dumps(state, indent=2).encode() + b"\n")
        return cls(directory, signing=signing, sealing=sealing, svn=svn, debug=debug)

    @classmethod
    def load(cls, directory: Path) -> SimPlatform:
        """Load an existing platform.

        Raises:
            ConfigError: A file is missing, malformed, or readable by others.
        """
        signing = read_secret_file(directory / "signing.key", max_bytes=_SECRET_BYTES)
        sealing = read_secret_file(directory / "sealing.key", max_bytes=_SECRET_BYTES)
        svn, debug = _read_state(directory / "platform.json")
        if len(signing) != _SECRET_BYTES or len(sealing) != _SECRET_BYTES:
            raise ConfigError(f"a key in {directory} has the wrong length", code="config.file")
        return cls(directory, signing=SigningKey(signing), sealing=sealing, svn=svn, debug=debug)

    @property
    def anchor(self) -> VerifyingKey:
        """The public key that a policy names to accept this platform."""
        return self._signing.public

    def sign(self, label: bytes, message: bytes) -> bytes:
        """Sign as the platform; what a TEE's quoting hardware would do."""
        return self._signing.sign(label, message)

    def sealing_key(self, purpose: bytes) -> bytes:
        """Derive the 32-byte key that only this platform can derive again, one for each purpose."""
        return derive_key(self._sealing, label=_SEAL_LABEL, salt=purpose)

    def counter(self, name: str) -> MonotonicCounter:
        """Open a named counter, starting at zero."""
        return MonotonicCounter(self._directory / f"counter-{name}")


class MonotonicCounter:
    """A number that only grows, kept outside the state whose age it witnesses.

    It is written without waiting for the disk: after a power cut it may be behind, never ahead of
    the state, and being behind makes it say less, not something false.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(path, flags, 0o600)
            found = os.pread(self._fd, _COUNTER_BYTES, 0)
        except OSError as e:
            raise ConfigError(f"{path} cannot be opened: {e.strerror}", code="config.file") from e
        self._value = int.from_bytes(found, "big")
        self._held = False

    @property
    def value(self) -> int:
        """The largest number ever written."""
        return self._value

    def read(self) -> int:
        """Return the number as it is now; another process may have moved it on."""
        found = os.pread(self._fd, _COUNTER_BYTES, 0)
        self._value = max(self._value, int.from_bytes(found, "big"))
        return self._value

    def raise_to(self, value: int) -> None:
        """Move forward to `value`; a smaller value changes nothing."""
        with self._alone():
            if value > self.read():
                self._write(value)

    def exchange(self, expected: int, value: int) -> bool:
        """Move forward from `expected` to `value`; False where it is not at `expected`."""
        with self._alone():
            if self.read() != expected or value <= expected:
                return False
            self._write(value)
        return True

    def acquire(self, wait_s: float) -> bool:
        """Keep every other process from moving the counter, until `release`; False if one does."""
        end = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    return False
                time.sleep(_LOCK_PAUSE_S)
            else:
                self._held = True
                return True

    def release(self) -> None:
        """Let others move the counter."""
        self._held = False
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self._held:
            yield
            return
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _write(self, value: int) -> None:
        os.pwrite(self._fd, value.to_bytes(_COUNTER_BYTES, "big"), 0)
        self._value = value

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def write_secret_file(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read, and make it durable; or leave none.

    Raises:
        ConfigError: It exists already.
        OSError: The disk is full, or fails.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags, 0o600)
    except FileExistsError as e:
        raise ConfigError(f"{path} exists already", code="config.exists") from e
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def read_secret_file(path: Path, *, max_bytes: int) -> bytes:
    """Read a file that only its owner may read.

    Raises:
        ConfigError: Missing, too long, not a plain file, or others have access to it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {e.strerror}", code="config.missing") from e
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o077:
            raise ConfigError(
                f"{path} holds a secret and is open to others",
                code="config.file",
                hint=f"chmod 600 {path}; if others could read it, make a new one",
            )
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ConfigError(f"{path} is longer than {max_bytes} bytes", code="config.file")
    return data


def _read_state(path: Path) -> tuple[int, bool]:
    wrong = ConfigError(f"{path} is not a simulated platform's state", code="config.file")
    try:
        state = json.loads(read_secret_file(path, max_bytes=_MAX_STATE_BYTES))
    except (ValueError, RecursionError) as e:
        raise wrong from e
    if not isinstance(state, dict) or set(state) != {"format", "svn", "debug"}:
        raise wrong
    svn, debug = state["svn"], state["debug"]
    if state["format"] != _FORMAT or type(svn) is not int or type(debug) is not bool:
        raise wrong
    if not 0 <= svn <= _MAX_SVN:
        raise wrong
    return svn, debug
