"""Attempts on files: the machine's, others', the runtime, and more than a scratch holds."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from escape.table import Nothing, Place, call, libc, probe

_READ_ONLY: Final = ("EROFS", "EACCES")
_AT_FDCWD: Final = -100


def _read_secret(path: str, place: Place) -> str:
    text = Path(path).read_text("utf-8")
    if place.canary not in text:
        raise Nothing(f"{path} is another file")
    return text


@probe("files.shadow", "Read the machine's passwords", "ENOENT")
def _shadow(_: Place) -> object:
    return Path("/etc/shadow").read_bytes()


@probe("files.machine-users", "Read who has an account on the machine", "nothing")
def _machine_users(_: Place) -> object:
    names = [line.split(":")[0] for line in Path("/etc/passwd").read_text("utf-8").splitlines()]
    if names == ["cell"]:
        raise Nothing("there is but the cell's own line")
    return names


@probe("files.secret", "Read a file of the trusted side by its path", "ENOENT")
def _secret(place: Place) -> object:
    return _read_secret(place.secret, place)


@probe("files.volumes", "List the folder where the trusted side has its volumes", "ENOENT")
def _volumes(place: Place) -> object:
    return os.listdir(Path(place.secret).parent)  # noqa: PTH208  # names are enough


@probe("files.dot-dot", "Read it by a path that climbs above the root", "ENOENT")
def _dot_dot(place: Place) -> object:
    return _read_secret("/" + "../" * 64 + place.secret, place)


@probe("files.dot-dot-descriptor", "Climb above the root from an open folder", "ENOENT")
def _dot_dot_descriptor(place: Place) -> object:
    folder = os.open("/usr", os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(64):
        folder = os.open("..", os.O_PATH | os.O_DIRECTORY, dir_fd=folder)
    relative = place.secret.lstrip("/")
    return os.read(os.open(relative, os.O_RDONLY, dir_fd=folder), 99)


@probe("files.symlink-out", "Read it through a link from the scratch", "ENOENT")
def _symlink_out(place: Place) -> object:
    link = Path(place.folder, "link-out")
    link.symlink_to(place.secret)
    return _read_secret(str(link), place)


@probe("files.symlink-chain", "Read it through a link to a folder and one in the middle", "ENOENT")
def _symlink_chain(place: Place) -> object:
    secret = Path(place.secret)
    link = Path(place.folder, "link-folder")
    link.symlink_to(secret.parent)
    return _read_secret(f"{link}/./{secret.name}", place)


@probe("files.hard-link", "Make a hard link to it", "ENOENT")
def _hard_link(place: Place) -> object:
    Path(place.folder, "hard-link").hardlink_to(place.secret)
    return _read_secret(f"{place.folder}/hard-link", place)


@probe("files.write-secret", "Write to it", "ENOENT")
def _write_secret(place: Place) -> object:
    with Path(place.secret).open("r+b") as stream:
        return stream.write(b"")


@probe("files.new-in-root", "Make a folder at the top of the tree", *_READ_ONLY)
def _new_in_root(place: Place) -> object:
    Path(f"{place.root}/escaped").mkdir()
    return "made"


_Change = Callable[[str, Place], object]


def _write(path: str, _: Place) -> object:
    with Path(path).open("r+b") as stream:
        return stream.write(b"x")


def _truncate(path: str, _: Place) -> object:
    return os.truncate(path, 1)


def _mode(path: str, _: Place) -> object:
    return Path(path).chmod(0o777)


def _times(path: str, _: Place) -> object:
    return os.utime(path)


def _remove(path: str, _: Place) -> object:
    return Path(path).unlink()


def _rename_over(path: str, place: Place) -> object:
    mine = Path(place.folder, "mine")
    mine.write_bytes(b"taken")
    return mine.replace(path)


def _move_away(path: str, place: Place) -> object:
    return Path(path).rename(Path(place.folder, "moved"))


def _beside(path: str, _: Place) -> object:
    return Path(path + ".new").write_bytes(b"x")


def _link_in(path: str, place: Place) -> object:
    return Path(place.folder, "linked").hardlink_to(path)


def _map_shared(path: str, _: Place) -> object:
    with Path(path).open("r+b") as stream:
        return len(mmap.mmap(stream.fileno(), 0))


_CHANGES: Final[tuple[tuple[str, str, _Change, tuple[str, ...]], ...]] = (
    ("write", "Write into", _write, _READ_ONLY),
    ("truncate", "Cut", _truncate, _READ_ONLY),
    ("mode", "Change who may write to", _mode, _READ_ONLY),
    ("times", "Change the times of", _times, _READ_ONLY),
    ("remove", "Remove", _remove, _READ_ONLY),
    ("rename-over", "Put a file of its own in the place of", _rename_over, ("EXDEV", *_READ_ONLY)),
    ("move", "Move away", _move_away, ("EXDEV", *_READ_ONLY)),
    ("beside", "Make a file beside", _beside, _READ_ONLY),
    ("link", "Hard link into the scratch", _link_in, ("EXDEV", *_READ_ONLY)),
    ("map", "Map for writing", _map_shared, _READ_ONLY),
)


def _put_changes() -> None:
    for index, which in enumerate(("a file of the runtime", "the code it was given")):
        area = ("runtime", "code")[index]
        for name, words, change, denied in _CHANGES:

            def run(place: Place, change: _Change = change, index: int = index) -> object:
                return change(place.read_only[index], place)

            probe(f"{area}.{name}", f"{words} {which}", *denied)(run)


_put_changes()


@probe("scratch.overflow", "Fill the scratch with several files", "ENOSPC", alone=True)
def _overflow(place: Place) -> object:
    for index in range(4):
        Path(place.folder, f"part-{index}").write_bytes(bytes(place.scratch_bytes // 2 + 1))
    return "written"


@probe(
    "scratch.one-large-file", "Write one file that is larger than the scratch", "EFBIG", alone=True
)
def _large_file(place: Place) -> object:
    return Path(place.folder, "large").write_bytes(bytes(place.scratch_bytes + 4096))


@probe("scratch.sparse-file", "Write far behind the end of a file", "EFBIG", alone=True)
def _sparse_file(place: Place) -> object:
    with Path(place.folder, "sparse").open("wb") as stream:
        return os.pwrite(stream.fileno(), b"x", 2 * place.scratch_bytes)


@probe(
    "scratch.allocate", "Have more reserved for a file than there is", "EFBIG", "ENOSPC", alone=True
)
def _allocate(place: Place) -> object:
    with Path(place.folder, "allocated").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, 2 * place.scratch_bytes)
    return "allocated"


@probe("scratch.many-files", "Make more empty files than there may be", "ENOSPC", alone=True)
def _many_files(place: Place) -> object:
    for index in range(place.inodes):
        Path(place.folder, f"empty-{index}").touch()
    return place.inodes


@probe("scratch.map-and-run", "Map a file of the scratch for execution", "EPERM", "EACCES")
def _map_and_run(place: Place) -> object:
    path = Path(place.folder, "code")
    path.write_bytes(b"\xc3" * 4096)
    with path.open("rb") as stream:
        return len(mmap.mmap(stream.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | 4))


@probe("scratch.map-then-run", "Map it to be read, and make that executable", "EPERM", "EACCES")
def _map_then_run(place: Place) -> object:
    path = Path(place.folder, "code")
    path.write_bytes(b"\xc3" * 4096)
    with path.open("r+b") as stream:
        held = mmap.mmap(stream.fileno(), 4096)
        address = ctypes.addressof(ctypes.c_char.from_buffer(held))
        if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), 5) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    return "executable"


@probe("scratch.load-library", "Load a shared library from the scratch", "nothing")
def _load_library(place: Place) -> object:
    import _ctypes  # noqa: PLC0415  # a library that is surely there

    copy = Path(place.folder, "library.so")
    copy.write_bytes(Path(_ctypes.__file__).read_bytes())
    try:
        return ctypes.CDLL(str(copy))
    except OSError as e:  # dlopen gives no number
        raise Nothing(str(e)) from e


@probe("scratch.fifo", "Make a named pipe", "EPERM")
def _fifo(place: Place) -> object:
    return os.mkfifo(f"{place.folder}/fifo")


@probe("files.handle", "Take a file's handle, which needs no path", "EPERM")
def _handle(place: Place) -> object:
    handle = ctypes.create_string_buffer(b"\x80\0\0\0", 8 + 128)
    mount = ctypes.c_int()
    return call(
        "name_to_handle_at", _AT_FDCWD, place.read_only[0].encode(), handle, ctypes.byref(mount), 0
    )


@probe("files.open-handle", "Open a file by a handle that was made up", "EPERM")
def _open_handle(_: Place) -> object:
    handle = ctypes.create_string_buffer(b"\x08\0\0\0\x01\0\0\0" + bytes(8), 8 + 128)
    folder = os.open("/usr", os.O_RDONLY)
    return call("open_by_handle_at", folder, handle, 0, reached=("ESTALE", "EOPNOTSUPP", "EINVAL"))


@probe("files.openat2", "Open by the call whose flags no filter can read", "ENOSYS")
def _openat2(_: Place) -> object:
    how = (ctypes.c_uint64 * 3)(0, 0, 0)
    return call("openat2", _AT_FDCWD, b"/", how, ctypes.sizeof(how))


@probe("files.watch", "Have the kernel tell who opens which file (inotify)", "EPERM")
def _watch(_: Place) -> object:
    return call("inotify_init1", 0)


@probe("files.watch-all", "Have the kernel tell it of every file (fanotify)", "EPERM")
def _watch_all(_: Place) -> object:
    return call("fanotify_init", 0, 0)


@probe("files.statistics", "Ask how full a file system is", "EPERM")
def _statistics(_: Place) -> object:
    return os.statvfs("/")


@probe("files.attribute", "Give a file an attribute that others see", "EPERM")
def _attribute(place: Place) -> object:
    path = Path(place.folder, "with-attribute")
    path.touch()
    return os.setxattr(path, "user.note", b"x")


def _fcntl(command: int, argument: int | bytes = 0) -> Callable[[Place], object]:
    def run(place: Place) -> object:
        return fcntl.fcntl(os.open(place.read_only[1], os.O_RDONLY), command, argument)

    return run


_LOCK: Final = bytes(32)
for _name, _tried, _command, _argument in (
    ("lock", "Lock a file that other cells have open", fcntl.F_SETLK, _LOCK),
    ("lock-description", "Lock it for the open file", 37, _LOCK),
    ("see-lock", "See whether others have locked it", fcntl.F_GETLK, b"\x01" + bytes(31)),
    ("lease", "Be told when others open it", fcntl.F_SETLEASE, fcntl.F_RDLCK),
    ("owner", "Have signals about a file sent", fcntl.F_SETOWN, 1),
    ("signal", "Choose the signal", fcntl.F_SETSIG, 10),
):
    probe(f"files.{_name}", _tried, "EPERM")(_fcntl(_command, _argument))


@probe("files.notify", "Be told of changes of a folder (dnotify)", "EPERM")
def _notify(_: Place) -> object:
    return fcntl.fcntl(os.open("/usr", os.O_RDONLY), fcntl.F_NOTIFY, 2)


@probe("files.flock", "Lock it as a whole", "ENOSYS")
def _flock(place: Place) -> object:
    return fcntl.flock(os.open(place.read_only[1], os.O_RDONLY), fcntl.LOCK_SH)


@probe("files.larger-pipe", "Make a pipe larger than pipes are", "EPERM")
def _larger_pipe(_: Place) -> object:
    return fcntl.fcntl(os.pipe()[1], 1031, 1 << 20)


@probe("files.page-cache", "Ask which pages of a file others have read lately", "ENOSYS")
def _page_cache(_: Place) -> object:
    held = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(held))
    return call("mincore", address, 4096, ctypes.create_string_buffer(1))


@probe("files.page-cache-counts", "Ask how much of a file is in memory (cachestat)", "EPERM")
def _page_cache_counts(place: Place) -> object:
    held = os.open(place.read_only[0], os.O_RDONLY)
    extent, counts = (ctypes.c_uint64 * 2)(0, 4096), (ctypes.c_uint64 * 5)()
    return call("cachestat", held, extent, counts, 0)


@probe("files.any-writable", "Look for a folder that may be written to", "nothing")
def _any_writable(place: Place) -> object:
    folders, found = ["/usr", "/lib", "/etc", "/dev", "/proc", "/sys", "/cell", "/tmp/.."], []  # noqa: S108  # of the cell
    for _level in range(3):
        found += [folder for folder in folders if os.access(folder, os.W_OK)]
        folders = [path for folder in folders for path in _folders_in(folder)][:400]
    if found:
        return found[:3]
    raise Nothing("all folders but the scratch are read-only")


def _folders_in(folder: str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, PermissionError):
        return []


@probe("files.hidden-tree", "Find the tree that was left when this one was entered", "nothing")
def _hidden_tree(place: Place) -> object:
    for name in (".host", ".cells", ".old", ".oldroot", "old_root", ".pivot_root"):
        if Path(f"{place.root}/{name}").exists():
            return name
    raise Nothing("there is no such folder")


@probe("files.top", "List the top of the tree", "EACCES")
def _top(_: Place) -> object:
    return os.listdir("/")  # noqa: PTH208  # names are enough
