"""The calls that attesters make to files of the kernel, so that a test can stand for the kernel.

The kernel inside a TEE is trusted like the rest of what was measured; what it answers is bounded
here all the same, since an interface of another version may answer with anything.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, Protocol

from cloister.errors import CloisterError, UnavailableError, UnsupportedError

__all__ = ["KernelFiles", "LinuxFiles", "refused"]

_PIECE: Final = 65536
_BUSY: Final = frozenset({errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT})
_ABSENT: Final = frozenset(
    {errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOTDIR, errno.EOPNOTSUPP, errno.ENOSYS}
)


class KernelFiles(Protocol):
    """Files whose reads and writes are requests. Every method may raise `OSError`."""

    def make_directory(self, path: Path) -> None:
        """Make a directory, which makes an object of the kernel's."""
        ...

    def remove_directory(self, path: Path) -> None:
        """Remove it with everything that the kernel put in it."""
        ...

    def read(self, path: Path, *, max_bytes: int) -> bytes:
        """Return the whole answer; `EFBIG` where it is longer."""
        ...

    def write(self, path: Path, data: bytes) -> None:
        """Hand over all of it in one call, from offset 0."""
        ...


class LinuxFiles:
    """The kernel's own."""

    def make_directory(self, path: Path) -> None:
        """Make a directory."""
        path.mkdir(mode=0o700)

    def remove_directory(self, path: Path) -> None:
        """Remove a directory."""
        path.rmdir()

    def read(self, path: Path, *, max_bytes: int) -> bytes:
        """Read to the end, in as many pieces as the kernel gives."""
        data = bytearray()
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while piece := os.read(fd, min(_PIECE, max_bytes + 1 - len(data))):
                data += piece
                if len(data) > max_bytes:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        finally:
            os.close(fd)
        return bytes(data)

    def write(self, path: Path, data: bytes) -> None:
        """Write once; a part is an error, since the kernel takes each write for a whole request."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.EIO, "it took a part only", str(path))
        finally:
            os.close(fd)


def refused(error: OSError, what: str) -> CloisterError:
    """Return our error for what the kernel answered.

    `attester.busy` may go away by itself, `machine.attester` says that the interface is not here,
    and anything else is `attester.failed`.
    """
    sentence = f"{what}: {error.strerror or type(error).__name__}"
    detail = f"errno {error.errno}, {error.filename}"
    if error.errno in _BUSY:
        return UnavailableError(sentence, code="attester.busy", detail=detail)
    if error.errno in _ABSENT:
        return UnsupportedError(
            sentence,
            code="machine.attester",
            detail=detail,
            hint="cloister doctor shows what this machine offers",
        )
    return UnavailableError(sentence, code="attester.failed", detail=detail)
