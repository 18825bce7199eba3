"""Programs that run inside a private mount, as their own process, in the mounted directory.

`python mounted_cases.py NAME [ARGUMENTS]` runs one of the functions below; an assertion that
fails is a traceback and an exit status.
"""

# System calls are what is tested here, so they are spelled out; imports stay with their case.
# ruff: noqa: PTH104, PTH115, PTH208, PTH211, PLC0415, PT017, SIM115  # as said above

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

RENAME_NOREPLACE, RENAME_EXCHANGE, AT_FDCWD = 1, 2, -100


def fails_with(number: int, call: Callable[[], object]) -> None:
    try:
        call()
    except OSError as e:
        assert e.errno == number, (errno.errorcode.get(e.errno or 0), errno.errorcode[number])
    else:
        raise AssertionError(f"did not fail with {errno.errorcode[number]}")


def rename2(old: str, new: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, old.encode(), AT_FDCWD, new.encode(), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def files_and_directories() -> None:
    Path("a").write_bytes(b"hello")
    assert Path("a").read_bytes() == b"hello"
    assert Path("a").stat().st_size == 5
    fails_with(errno.ENOENT, lambda: Path("b").stat())
    Path("d/e/f").mkdir(parents=True)
    fails_with(errno.EEXIST, lambda: Path("d").mkdir())
    fails_with(errno.ENOTEMPTY, lambda: Path("d").rmdir())
    fails_with(errno.EISDIR, lambda: Path("d").write_bytes(b""))
    fails_with(errno.ENOTDIR, lambda: Path("a/x").stat())
    fails_with(errno.ENAMETOOLONG, lambda: Path("x" * 256).write_bytes(b""))
    Path("x" * 255).write_bytes(b"long name")
    Path("ünï ćode\n").write_bytes(b"odd name")
    assert sorted(os.listdir()) == sorted(["a", "d", "x" * 255, "ünï ćode\n"])
    assert Path("d").stat().st_nlink == 3
    shutil.rmtree("d")
    assert not Path("d").exists()
    Path("a").chmod(0o640)
    assert stat.S_IMODE(Path("a").stat().st_mode) == 0o640
    os.utime("a", ns=(1_000_000_001, -5_000_000_003))
    assert Path("a").stat().st_mtime_ns == -5_000_000_003
    assert Path("a").stat().st_atime_ns == 1_000_000_001
    assert os.access("a", os.R_OK)
    fails_with(errno.EPERM, lambda: os.mkfifo("pipe"))


def rename_over() -> None:
    Path("old").write_bytes(b"old" * 1000)
    with Path("old").open("rb") as reader:
        for number in range(50):
            Path("tmp").write_bytes(b"%d" % number)
            Path("tmp").replace("old")
            assert Path("old").read_bytes() == b"%d" % number
        assert reader.read() == b"old" * 1000
    assert os.listdir() == ["old"]
    Path("other").write_bytes(b"other")
    fails_with(errno.EEXIST, lambda: rename2("other", "old", RENAME_NOREPLACE))
    rename2("other", "old", RENAME_EXCHANGE)
    assert Path("old").read_bytes() == b"other"
    assert Path("other").read_bytes() == b"49"
    fails_with(errno.EINVAL, lambda: rename2("other", "old", 4))
    Path("d/sub").mkdir(parents=True)
    fails_with(errno.EINVAL, lambda: Path("d").rename("d/sub/d"))
    fails_with(errno.ENOTEMPTY, lambda: os.rename(_directory("e"), "d"))
    fails_with(errno.EISDIR, lambda: Path("old").rename("d"))
    fails_with(errno.ENOTDIR, lambda: Path("d").rename("old"))
    Path("e").rename("d/sub")
    assert os.listdir("d") == ["sub"]


def _directory(name: str) -> str:
    Path(name).mkdir()
    return name


def unlink_while_open() -> None:
    with Path("f").open("w+b") as file:
        file.write(b"before")
        file.flush()
        Path("f").unlink()
        fails_with(errno.ENOENT, lambda: Path("f").stat())
        file.write(b" after")
        file.flush()
        os.fsync(file.fileno())
        assert os.fstat(file.fileno()).st_nlink == 0
        file.seek(0)
        assert file.read() == b"before after"
        Path("f").write_bytes(b"another")
        file.seek(0)
        assert file.read() == b"before after"
    assert Path("f").read_bytes() == b"another"


def holes_and_truncation() -> None:
    with Path("f").open("w+b") as file:
        file.seek(3_000_000)
        file.write(b"end")
        file.flush()
        file.seek(0)
        assert file.read(3_000_000) == bytes(3_000_000)
        assert file.read() == b"end"
        file.truncate(100_000)
        file.truncate(200_000)
        file.seek(0)
        assert file.read() == bytes(200_000)
        file.seek(10)
        file.write(b"x" * 199_000)
        file.truncate(70_001)
        file.truncate(140_000)
        file.seek(70_000)
        assert file.read() == b"x" + bytes(69_999)
        os.posix_fallocate(file.fileno(), 0, 500_000)
        assert os.fstat(file.fileno()).st_size == 500_000
        assert os.lseek(file.fileno(), 5, os.SEEK_DATA) == 5
        assert os.lseek(file.fileno(), 5, os.SEEK_HOLE) == 500_000
    with Path("f").open("wb") as file:
        assert os.fstat(file.fileno()).st_size == 0
    os.truncate("f", 1 << 40)
    assert Path("f").stat().st_size == 1 << 40
    with Path("f").open("rb") as file:
        file.seek((1 << 40) - 5)
        assert file.read() == bytes(5)


def shared_memory_map() -> None:
    Path("f").write_bytes(b"a" * 300_000)
    with Path("f").open("r+b") as file:
        with mmap.mmap(file.fileno(), 300_000) as mapped:
            mapped[100_000:100_005] = b"12345"
            mapped.flush()
            assert os.pread(file.fileno(), 7, 99_999) == b"a12345a"
            os.pwrite(file.fileno(), b"zz", 5)
            assert mapped[4:8] == b"azza"
            Path("f").unlink()
            mapped[200_000:200_003] = b"xyz"
        assert os.pread(file.fileno(), 3, 200_000) == b"xyz"
    Path("g").write_bytes(b"b" * 10_000)
    with Path("g").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as m:
        assert m[9_990:] == b"b" * 10
    child = subprocess.run(
        [sys.executable, "-c", "import mmap;f=open('g','r+b');m=mmap.mmap(f.fileno(),0);m[0]=65"],
        check=True,
    )
    assert child.returncode == 0
    assert Path("g").read_bytes()[:2] == b"Ab"


def appending() -> None:
    one = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    two = os.open("log", os.O_WRONLY | os.O_APPEND)
    for number in range(200):
        os.write(one if number % 2 else two, b"%04d" % number)
    assert Path("log").read_bytes() == b"".join(b"%04d" % n for n in range(200))
    with Path("log").open("ab") as file:
        assert file.tell() == 800
        file.seek(0)
        file.write(b"end")
    assert Path("log").read_bytes()[-7:] == b"0199end"


def big_directory(count: str) -> None:
    names = {f"file-{n:06d}" for n in range(int(count))}
    for name in names:
        Path(name).touch()
    assert set(os.listdir()) == names
    seen = []
    with os.scandir() as entries:
        for entry in entries:
            seen.append(entry.name)
            Path(entry.name).unlink()
    assert len(seen) == len(set(seen))
    assert set(seen) == names
    assert os.listdir() == []


def listing_with_attributes() -> None:
    for number in range(700):
        Path(f"f{number}").write_bytes(b"x" * number)
    Path("d").mkdir()
    out = subprocess.run(["ls", "-ln"], capture_output=True, text=True, check=True).stdout
    sizes = {line.split()[8]: line.split()[4] for line in out.splitlines()[1:]}
    assert sizes["f699"] == "699"
    assert len(sizes) == 701
    found = subprocess.run(["find", ".", "-type", "f"], capture_output=True, text=True, check=True)
    assert len(found.stdout.splitlines()) == 700


def links() -> None:
    Path("f").write_bytes(b"data")
    os.symlink("f", "s")
    assert os.readlink("s") == "f"
    assert Path("s").read_bytes() == b"data"
    os.symlink("/nowhere/" + "x" * 3000, "long")
    assert len(os.readlink("long")) == 3009
    fails_with(errno.ENOENT, lambda: Path("long").read_bytes())
    os.link("f", "h")
    assert Path("h").stat().st_nlink == 2
    assert Path("h").stat().st_ino == Path("f").stat().st_ino
    Path("h").write_bytes(b"through h")
    assert Path("f").read_bytes() == b"through h"
    Path("f").unlink()
    assert Path("h").stat().st_nlink == 1
    assert Path("h").read_bytes() == b"through h"
    fails_with(errno.EEXIST, lambda: os.symlink("x", "h"))
    fails_with(errno.EPERM, lambda: os.link(_directory("d"), "d2"))


def space_report(capacity: str) -> None:
    info = os.statvfs(".")
    assert info.f_blocks * info.f_frsize == int(capacity)
    before = info.f_bfree
    Path("f").write_bytes(os.urandom(1_000_000))
    os.sync()
    assert os.statvfs(".").f_bfree < before
    assert info.f_namemax == 255


def full_disk() -> None:
    Path("kept").write_bytes(b"k" * 100_000)

    def fill() -> None:
        with Path("big").open("wb", buffering=0) as file:
            for _ in range(64):
                file.write(bytes(1_000_000))
            os.fsync(file.fileno())

    fails_with(errno.ENOSPC, fill)
    assert Path("kept").read_bytes() == b"k" * 100_000
    Path("big").unlink()
    _written_in_time("again", b"x" * 100_000)


def _written_in_time(name: str, data: bytes) -> None:
    """The kernel says later that nobody has a removed file open: its room is free soon, not now."""
    until = time.monotonic() + 20
    while True:
        try:
            Path(name).write_bytes(data)
        except OSError as e:
            if e.errno != errno.ENOSPC or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            break
    assert Path(name).read_bytes() == data


def locks() -> None:
    with Path("f").open("w") as one, Path("f").open("w") as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        fails_with(errno.EAGAIN, lambda: fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB))
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.lockf(one, fcntl.LOCK_EX)
        other = "import fcntl;fcntl.lockf(open('f','w'),fcntl.LOCK_EX|fcntl.LOCK_NB)"
        denied = subprocess.run([sys.executable, "-c", other], capture_output=True, check=False)
        assert b"BlockingIOError" in denied.stderr


def copies_of_open_files() -> None:
    data = os.urandom(3_000_000)
    with Path("f").open("wb") as file:
        file.write(data)
        file.flush()
        subprocess.run(["cp", "--sparse=always", "f", "g"], check=True)
        assert Path("g").read_bytes() == data
        shutil.copyfile("f", "h")
        assert Path("h").read_bytes() == data
    with Path("h").open("rb") as source, Path("i").open("wb") as target:
        assert os.copy_file_range(source.fileno(), target.fileno(), 1_000_000) > 0


def direct_io() -> None:
    data = os.urandom(4 << 20)
    Path("f").write_bytes(data)
    descriptor = os.open("f", os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, 1 << 20)
    found = b"".join(buffer[: os.preadv(descriptor, [buffer], n << 20)] for n in range(4))
    assert found == data


def many_threads() -> None:
    def work(number: int) -> None:
        for step in range(100):
            path = Path(f"t{number}-{step}")
            path.write_bytes(b"%d" % number * 1000)
            assert path.read_bytes() == b"%d" % number * 1000
            path.unlink()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.listdir() == []


def killed_server() -> None:
    Path("f").write_bytes(b"data")
    file = Path("f").open("rb")
    os.kill(int(os.environ["CLOISTER_SERVER_PID"]), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            Path("new").touch()
        except OSError as e:
            assert e.errno == errno.ENOTCONN
            break
        time.sleep(0.01)
    fails_with(errno.ENOTCONN, lambda: Path("f").stat() and Path("unseen").stat())
    fails_with(errno.ENOTCONN, os.listdir)
    fails_with(errno.ENOTCONN, lambda: os.fsync(file.fileno()))


def tampered_volume(volume: str) -> None:
    data = os.urandom(4 << 20)
    Path("f").write_bytes(data)
    Path("g").write_bytes(b"fine")
    with Path("f").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for path in Path(volume).rglob("*"):
            if path.is_file() and path.stat().st_size > 1 << 20:
                with path.open("r+b") as stored:
                    stored.seek(1 << 20)
                    old = stored.read(1)
                    stored.seek(1 << 20)
                    stored.write(bytes([old[0] ^ 1]))
        fails_with(errno.EIO, file.read)
        assert file.tell() < len(data)
    fails_with(errno.EIO, lambda: Path("unseen").stat())
    fails_with(errno.EIO, os.listdir)


def read_only() -> None:
    fails_with(errno.EROFS, lambda: Path("f").write_bytes(b""))
    fails_with(errno.EROFS, lambda: Path("d").mkdir())


def owned_by(owner: str, refusal: str) -> None:
    Path("f").write_bytes(b"")
    for path in (Path("f"), Path()):
        assert (path.stat().st_uid, path.stat().st_gid) == (int(owner), int(owner))
    fails_with(getattr(errno, refusal), lambda: os.chown("f", int(owner) + 1, -1))
    os.chown("f", int(owner), int(owner))


def written_before(what: str) -> None:
    path = Path("kept/deep/file")
    if what == "write":
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.write(b"kept" * 100_000)
        os.symlink("file", path.with_name("link"))
        path.chmod(0o604)
        os.utime(path, ns=(5, 1_234_567_890_123_456_789))
    assert path.with_name("link").read_bytes() == b"kept" * 100_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert path.stat().st_mtime_ns == 1_234_567_890_123_456_789


def interrupted() -> None:
    command = (
        "import os\nwhile True:\n f=open('x','wb');f.write(bytes(1<<20));f.flush();os.fsync(f)"
    )
    for _ in range(20):
        child = subprocess.Popen([sys.executable, "-c", command])
        time.sleep(0.1)
        child.kill()
        child.wait()
    Path("x").unlink()
    assert os.listdir() == []


def numpy_files() -> None:
    import numpy as np

    data = np.random.default_rng(7).standard_normal((512, 1024))
    np.save("a.npy", data)
    assert np.array_equal(np.load("a.npy"), data)
    assert np.array_equal(np.load("a.npy", mmap_mode="r"), data)
    mapped = np.memmap("m.bin", dtype=np.float64, mode="w+", shape=data.shape)
    mapped[:] = data
    mapped[100] = 7
    mapped.flush()
    del mapped
    again = np.memmap("m.bin", dtype=np.float64, mode="r+", shape=data.shape)
    assert np.all(again[100] == 7)
    assert np.array_equal(again[101:], data[101:])
    np.savez_compressed("z.npz", data=data)
    assert np.array_equal(np.load("z.npz")["data"], data)


def hdf5_files() -> None:
    import h5py
    import numpy as np

    data = np.random.default_rng(8).standard_normal((300, 1000))
    with h5py.File("f.h5", "w") as file:
        file.create_dataset("plain", data=data)
        grow = file.create_dataset("grow", (0, 1000), maxshape=(None, 1000), dtype="f8")
        for step in range(30):
            grow.resize((10 * (step + 1), 1000))
            grow[10 * step :] = data[10 * step : 10 * (step + 1)]
    with h5py.File("f.h5", "r+") as file:
        file["plain"][5] = 0
        file.attrs["note"] = "changed"
        fails_with(errno.EAGAIN, _lock_hdf5)
    with h5py.File("f.h5", "r") as file:
        assert np.array_equal(file["grow"][:], data)
        assert np.all(file["plain"][5] == 0)
        assert np.array_equal(file["plain"][6:], data[6:])


def _lock_hdf5() -> None:
    with Path("f.h5").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def torch_files() -> None:
    import torch

    state = {f"layer{n}": torch.randn(256, 256) for n in range(20)}
    for _ in range(3):
        torch.save(state, "model.pt.tmp")
        Path("model.pt.tmp").replace("model.pt")
    loaded = torch.load("model.pt", weights_only=True)
    assert all(torch.equal(state[k], loaded[k]) for k in state)
    mapped = torch.load("model.pt", weights_only=True, mmap=True)
    assert all(torch.equal(state[k], mapped[k]) for k in state)


def sqlite_database(journal: str) -> None:
    import sqlite3

    base = sqlite3.connect("data.db", isolation_level=None)
    assert base.execute(f"pragma journal_mode={journal}").fetchone()[0] == journal
    base.execute("create table t(n integer primary key, x blob)")
    for batch in range(20):
        base.execute("begin")
        base.executemany(
            "insert into t values(?,?)", [(batch * 50 + n, os.urandom(500)) for n in range(50)]
        )
        base.execute("rollback" if batch % 5 == 4 else "commit")
    other = sqlite3.connect("data.db")
    assert other.execute("select count(*) from t").fetchone() == (800,)
    assert other.execute("pragma integrity_check").fetchone() == ("ok",)
    other.close()
    base.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
