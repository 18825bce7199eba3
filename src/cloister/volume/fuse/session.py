"""One mount's conversation with the kernel: request bytes in, reply bytes out, no I/O of its own.

Invariants:
    1. Nothing is served before INIT agreed on a version. What may be asked when is a table.
    2. Whatever bytes come, `handle` returns a reply, None, or raises `MalformedError`.
    3. Once the store was found tampered with, or its writer fenced off, every request is
       answered EIO until the end: nothing that cannot be vouched for is served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import EINVAL, EIO, ENOSPC, ENOSYS, EPROTO
from typing import Final

from cloister.errors import (
    CloisterError,
    MalformedError,
    RefusedError,
    StorageFullError,
    TamperedError,
)
from cloister.volume.filesystem import Filesystem
from cloister.volume.fuse import protocol
from cloister.volume.fuse.directories import OpenDirectories
from cloister.volume.fuse.inodes import KnownInodes
from cloister.volume.fuse.operations import NO_REPLY, OPERATIONS, Context, Operation
from cloister.volume.fuse.protocol import Header, InitFlag, InitRequest, Opcode
from cloister.volume.fuse.replies import OUT_HEADER, InitReply, Presentation, put_init
from cloister.volume.memory import PAGE_BYTES, page_aligned

__all__ = ["REQUEST_BYTES", "Session", "SessionOptions"]

MAX_TRANSFER: Final = 1024 * 1024
REQUEST_BYTES: Final = MAX_TRANSFER + PAGE_BYTES
_MAX_BACKGROUND: Final = 64
_RETRY_S: Final = 1.0
_ERRNO_LIMIT: Final = 512
_WANTED: Final = (
    InitFlag.ASYNC_READ
    | InitFlag.BIG_WRITES
    | InitFlag.DO_READDIRPLUS
    | InitFlag.READDIRPLUS_AUTO
    | InitFlag.ASYNC_DIO
    | InitFlag.NO_OPEN_SUPPORT
    | InitFlag.PARALLEL_DIROPS
    | InitFlag.ABORT_ERROR
    | InitFlag.MAX_PAGES
    | InitFlag.CACHE_SYMLINKS
    | InitFlag.INIT_EXT
)
_NEEDED: Final = InitFlag.BIG_WRITES | InitFlag.MAX_PAGES | InitFlag.NO_OPEN_SUPPORT
_SILENT: Final = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET})


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a mount is served.

    Args:
        writeback: Let the kernel collect small writes and send them in large pieces.
        owner: (uid, gid) shown for every file, or None to show what is stored.
        valid_s: How long the kernel may keep names and attributes, in seconds.
    """

    writeback: bool = True
    owner: tuple[int, int] | None = None
    valid_s: int = 86400


class Session:
    """Decides every reply of one mount over one `Filesystem`, from one thread.

    Args:
        filesystem: What is served. Its `close` is left to the caller.
        options: How.
        on_failure: Told each failure of the store itself (not a file's ordinary errors), so that
            somebody can name what the workload only sees as EIO or ENOSPC.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        *,
        options: SessionOptions,
        on_failure: Callable[[CloisterError], None],
    ) -> None:
        """Wait for INIT."""
        self._filesystem = filesystem
        self._options = options
        self._on_failure = on_failure
        # The header ends where a page begins, so that what follows it is copied page by page.
        self._reply = page_aligned(PAGE_BYTES + REQUEST_BYTES)[PAGE_BYTES - OUT_HEADER.size :]
        self._known = KnownInodes(filesystem)
        shown = Presentation(valid_s=options.valid_s, owner=options.owner)
        self._context = Context(
            filesystem=filesystem,
            known=self._known,
            directories=OpenDirectories(filesystem, self._known, shown),
            shown=shown,
            out=self._reply[OUT_HEADER.size :],
        )
        init = Operation(lambda body: (protocol.parse_init(body),), self._init)
        self._operations: Mapping[int, Operation] = {Opcode.INIT: init}
        self._otherwise = EIO
        self._ready = False
        self._broken: CloisterError | None = None

    @property
    def ready(self) -> bool:
        """True once INIT has been answered."""
        return self._ready

    @property
    def broken(self) -> CloisterError | None:
        """The failure after which nothing more is served, if there was one."""
        return self._broken

    @property
    def known(self) -> KnownInodes:
        """What the kernel has looked up and not forgotten."""
        return self._known

    def handle(self, request: memoryview) -> memoryview | None:
        """Answer one request.

        Args:
            request: One request of the kernel, exactly. It may be overwritten after the call.

        Returns:
            The reply, valid until the next call; None where the protocol wants none.

        Raises:
            MalformedError: There is not even a header that could be answered.
        """
        header = protocol.parse_header(request)
        operation = self._operations.get(header.opcode)
        if operation is None:
            return self._error(header, self._otherwise)
        try:
            arguments = operation.parse(request[protocol.HEADER_BYTES :])
        except MalformedError:
            return self._error(header, EINVAL)
        try:
            size = operation.act(self._context, header, *arguments)
        except OSError as e:
            return self._error(header, e.errno or EIO)
        except CloisterError as e:
            self._failed(e)
            return self._error(header, ENOSPC if isinstance(e, StorageFullError) else EIO)
        if size == NO_REPLY:
            return None
        size += OUT_HEADER.size
        OUT_HEADER.pack_into(self._reply, 0, size, 0, header.unique)
        return self._reply[:size]

    def tick(self) -> float:
        """Let the file system do what is due; return seconds until the next call."""
        if self._broken is not None:
            return _RETRY_S
        try:
            return self._filesystem.tick()
        except CloisterError as e:
            self._failed(e)
        except OSError:
            pass
        return _RETRY_S

    def end(self) -> None:
        """Let go of everything that the kernel held: the mount is gone."""
        self._context.directories.close_all()
        try:
            self._known.forget_all()
        except CloisterError as e:
            self._failed(e)

    def _init(self, context: Context, header: Header, request: InitRequest) -> int:
        del header
        if request.major > protocol.FUSE_MAJOR:
            return put_init(context.out, _version_only())
        if request.major < protocol.FUSE_MAJOR or request.minor < protocol.MINIMUM_MINOR:
            raise OSError(EPROTO, "kernel speaks too old a version")
        if request.flags & _NEEDED != _NEEDED:
            raise OSError(EPROTO, "kernel lacks something that this server needs")
        self._ready = True
        self._operations = OPERATIONS | {Opcode.DESTROY: Operation(protocol.nothing, self._destroy)}
        self._otherwise = ENOSYS
        wanted = _WANTED | (InitFlag.WRITEBACK_CACHE if self._options.writeback else 0)
        reply = InitReply(
            major=protocol.FUSE_MAJOR,
            minor=min(request.minor, protocol.MAXIMUM_MINOR),
            max_readahead=MAX_TRANSFER,
            flags=request.flags & wanted,
            max_background=_MAX_BACKGROUND,
            max_write=MAX_TRANSFER,
            max_pages=MAX_TRANSFER // PAGE_BYTES,
        )
        return put_init(context.out, reply)

    def _destroy(self, context: Context, header: Header) -> int:
        del context, header
        self.end()
        return 0

    def _error(self, header: Header, number: int) -> memoryview | None:
        if header.opcode in _SILENT:
            return None
        if not 0 < number < _ERRNO_LIMIT:
            number = EIO
        OUT_HEADER.pack_into(self._reply, 0, OUT_HEADER.size, -number, header.unique)
        return self._reply[: OUT_HEADER.size]

    def _failed(self, error: CloisterError) -> None:
        if isinstance(error, TamperedError | RefusedError) and self._broken is None:
            self._broken = error
            self._operations = {code: OPERATIONS[code] for code in _SILENT}
            self._otherwise = EIO
        self._on_failure(error)


def _version_only() -> InitReply:
    """Name our version to a newer kernel, which then asks again."""
    return InitReply(
        major=protocol.FUSE_MAJOR,
        minor=protocol.MAXIMUM_MINOR,
        max_readahead=0,
        flags=0,
        max_background=0,
        max_write=0,
        max_pages=0,
    )
