"""How commands reach a TPM: its device, or the socket of a software TPM.

A device keeps what a program loads for as long as the program has it open, so one stays open for
all commands that belong together. The whole of an answer is read, as its header counts it, and no
more than a TPM can say.

Source: TCG TPM 2.0 Library Part 1, revision 1.59, 18 (headers); Linux, drivers/char/tpm.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, Self

from cloister.errors import UnavailableError
from cloister.tee.kernel import refused

__all__ = ["MAX_ANSWER_BYTES", "TPM_DEVICE", "TpmPath", "TpmTransport"]

TPM_DEVICE: Final = Path("/dev/tpmrm0")
MAX_ANSWER_BYTES: Final = 4096
_HEADER_BYTES: Final = 10
_SIZE: Final = slice(2, 6)
_TIMEOUT_S: Final = 120.0


class TpmTransport(Protocol):
    """Carries one command at a time."""

    def exchange(self, command: bytes) -> bytes:
        """Return the answer to a command.

        Raises:
            UnsupportedError: There is no TPM any more (`machine.attester`).
            UnavailableError: It does not take the command or does not answer (`attester.busy`,
                `attester.failed`).
        """
        ...


class TpmPath:
    """What is at a path: the kernel's device, or a Unix socket of a software TPM such as swtpm.

    Example::

        with TpmPath() as transport:
            Tpm(transport).read_public(0x81000003)
    """

    def __init__(
        self, path: Path = TPM_DEVICE, *, opener: Callable[[Path], int] | None = None
    ) -> None:
        """Name the place; nothing is touched yet.

        Args:
            path: Of the device, behind its resource manager, or of the socket.
            opener: Opens it; None for the kernel's way.
        """
        self._path: Final = path
        self._opener: Final = _open if opener is None else opener
        self._fd: int | None = None

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            UnsupportedError: There is none (`machine.attester`).
            UnavailableError: It is another's, or this user may not (`attester.busy`,
                `attester.failed`).
        """
        try:
            self._fd = self._opener(self._path)
        except OSError as e:
            raise refused(_as_absent(e), "the TPM cannot be opened") from e
        return self

    def __exit__(self, *_: object) -> None:
        """Close it; a resource manager forgets what was loaded."""
        if self._fd is not None:
            with suppress(OSError):  # what was decided stands
                os.close(self._fd)
            self._fd = None

    def exchange(self, command: bytes) -> bytes:
        """Hand over a whole command and return the whole answer."""
        if self._fd is None:
            raise UnavailableError("the TPM is not open", code="attester.failed")
        try:
            if os.write(self._fd, command) != len(command):
                raise OSError(errno.EIO, "it took a part only", str(self._path))
            return _answer(self._fd)
        except OSError as e:
            raise refused(e, "the TPM does not answer") from e


def _answer(fd: int) -> bytes:
    """Read as many bytes as the header says, in as many pieces as they come."""
    data = bytearray()
    wanted = _HEADER_BYTES
    while len(data) < wanted:
        piece = os.read(fd, MAX_ANSWER_BYTES + 1 - len(data))
        if not piece:
            raise UnavailableError("the TPM's answer is cut off", code="attester.failed")
        data += piece
        if len(data) >= _HEADER_BYTES:
            wanted = int.from_bytes(data[_SIZE])
        if max(wanted, len(data)) > MAX_ANSWER_BYTES:
            raise UnavailableError("the TPM's answer is too long", code="attester.failed")
    return bytes(data)


def _open(path: Path) -> int:
    mode = path.stat().st_mode
    if not stat.S_ISSOCK(mode):
        if not stat.S_ISCHR(mode):  # a file would be written over
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), str(path))
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(str(path))
        connection.setblocking(True)  # noqa: FBT003  # the library's own parameter
        for which in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, which, _timeval(_TIMEOUT_S))
    except BaseException:
        connection.close()
        raise
    return connection.detach()


def _timeval(seconds: float) -> bytes:
    """Return a `struct timeval` of two native longs."""
    return struct.pack("ll", int(seconds), 0)


def _as_absent(error: OSError) -> OSError:
    """Nobody listens at a socket whose program ended: there is no TPM."""
    if error.errno == errno.ECONNREFUSED:
        return OSError(errno.ENXIO, error.strerror, error.filename)
    return error
