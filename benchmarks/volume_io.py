"""Compare a mounted volume with plain files and with gocryptfs, on the same data in one run.

    python benchmarks/volume_io.py --directory /var/tmp/bench --megabytes 1024 > rows.jsonl

Each row is one JSON object: system, test, value, unit, and the processor seconds that client and
server spent together where that can be told. "Cold" means that the mount's pages were dropped
(posix_fadvise) while the store's own files stay in the page cache, so the cost of the file system
is measured and not the disk. Throughput is the best of several rounds.

What a system serves is a command prefix that runs a program inside it: `--system NAME=PREFIX`
adds one, where `{dir}` is a fresh empty directory and the program's working directory is the mount.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MIB = 1 << 20
SMALL = 4096
GOCRYPTFS = """
set -e
mkdir {dir}/store {dir}/mnt
echo password > {dir}/pw
gocryptfs -q -init -scryptn 10 -passfile {dir}/pw {dir}/store
gocryptfs -q -fg -nosyslog -passfile {dir}/pw {dir}/store {dir}/mnt &
export CLOISTER_SERVER_PID=$!
until grep -q {dir}/mnt /proc/self/mountinfo; do kill -0 $CLOISTER_SERVER_PID; sleep 0.05; done
cd {dir}/mnt
{command}
cd /
fusermount -u {dir}/mnt
wait
"""
SERVED = """
mkdir {dir}/mnt
{python} -m cloister.testing.private_mount --filesystem cloister.testing.FILESYSTEM \
    --config=CONFIG {dir}/mnt -- {command}
"""
VOLUME = SERVED.replace("FILESYSTEM", "file_volume:open_file_volume").replace("CONFIG", "{dir}/v")
AUTHENTICATED = SERVED.replace("FILESYSTEM", "file_volume:open_readable_file_volume").replace(
    "CONFIG", "{dir}/v"
)
MEMORY = SERVED.replace("FILESYSTEM", "private_mount:open_memory").replace("CONFIG", "")
PLAIN = "cd {dir}; {command}"


def main() -> None:
    """Run every system, print rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inside", action="store_true", help="measure the working directory")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--system", action="append", default=[], metavar="NAME=PREFIX")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    chosen = parser.parse_args()
    if chosen.inside:
        for test, value, unit in measure(chosen.megabytes, chosen.files, chosen.rounds):
            print(json.dumps({"test": test, "value": round(value, 3), "unit": unit}), flush=True)
        return
    for name, prefix in systems(chosen.system):
        if not chosen.only or name in chosen.only:
            run_system(name, prefix, chosen)


def systems(more: list[str]) -> Iterator[tuple[str, str]]:
    """Yield what can be measured here."""
    yield "plain", PLAIN
    if shutil.which("gocryptfs") and shutil.which("fusermount"):
        yield "gocryptfs", "unshare --mount sh -c " + shlex.quote(GOCRYPTFS)
    yield "cloister", VOLUME
    yield "authenticated", AUTHENTICATED
    yield "memory", MEMORY
    for item in more:
        name, _, prefix = item.partition("=")
        yield name, prefix


def run_system(name: str, prefix: str, chosen: argparse.Namespace) -> None:
    """Run one system in a directory of its own; print its rows."""
    directory = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=chosen.directory))
    inner = [sys.executable, str(Path(__file__).resolve()), "--inside"]
    inner += ["--megabytes", str(chosen.megabytes), "--files", str(chosen.files)]
    inner += ["--rounds", str(chosen.rounds)]
    command = prefix.replace("{dir}", str(directory)).replace("{python}", sys.executable)
    command = command.replace("{command}", shlex.join(inner))
    try:
        done = subprocess.run(
            ["sh", "-c", command], stdout=subprocess.PIPE, text=True, check=False, timeout=900
        )
        for line in done.stdout.splitlines():
            print(json.dumps({"system": name} | json.loads(line)), flush=True)
        if done.returncode:
            print(json.dumps({"system": name, "failed": done.returncode}), flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def measure(megabytes: int, files: int, rounds: int) -> Iterator[tuple[str, float, str]]:
    """Yield (test, value, unit) for the working directory."""
    path = Path("large")
    block = os.urandom(MIB)

    def timed(
        test: str, work: Callable[[], None], prepare: Callable[[], object]
    ) -> Iterator[tuple[str, float, str]]:
        seconds, processor = [], []
        for _ in range(rounds):
            prepare()
            used, start = processor_seconds(), time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
            processor.append(processor_seconds() - used)
        yield test, megabytes * MIB / 1e9 / min(seconds), "GB/s"
        yield f"{test}: processor", min(processor) * 1000 * 1024 / megabytes, "ms/GiB"

    def write() -> None:
        write_blocks(path, block, megabytes, sync=False)

    def write_synced() -> None:
        write_blocks(path, block, megabytes, sync=True)

    yield from timed("sequential write 1M", write, lambda: path.unlink(missing_ok=True))
    yield from timed(
        "sequential write 1M + fsync", write_synced, lambda: path.unlink(missing_ok=True)
    )
    yield from timed("overwrite 1M + fsync", write_synced, lambda: None)
    yield from timed("cold read 1M", lambda: read(path), lambda: drop(path))
    yield from timed("warm read 1M", lambda: read(path), lambda: None)
    yield from timed("O_DIRECT read 1M", lambda: read_direct(path), lambda: drop(path))
    drop(path)
    yield "random read 4K (cold)", random_reads(path, megabytes), "us p50"
    path.unlink()
    yield "append 4K", append(Path("log"), 64 * MIB), "GB/s"
    yield from small_files(files)


def processor_seconds() -> float:
    """Return what this process and the server have used so far, kernel time included."""
    total = time.process_time()
    server = os.environ.get("CLOISTER_SERVER_PID")
    if server:
        for task in Path(f"/proc/{server}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


def write_blocks(path: Path, block: bytes, count: int, *, sync: bool) -> None:
    """Write a file from its beginning."""
    with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        for _ in range(count):
            file.write(block)
        if sync:
            os.fsync(file.fileno())


def read(path: Path) -> None:
    """Read a file to its end, into memory that begins a page.

    A `bytearray` of this size begins 16 bytes behind one. On AMD Zen processors the kernel's copy
    to such a place takes six times as long, on any file system, which hides what is compared.
    """
    with mmap.mmap(-1, MIB) as buffer, path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def read_direct(path: Path) -> None:
    """Read a file to its end, past the page cache."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, MIB) as buffer:
        offset = 0
        while count := os.preadv(descriptor, [buffer], offset):
            offset += count
    os.close(descriptor)


def drop(path: Path) -> None:
    """Drop a file's pages from this mount's cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def random_reads(path: Path, megabytes: int) -> float:
    """Return the median time of a small read, in microseconds."""
    blocks = megabytes * MIB // SMALL
    times = []
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for number in range(2000):
            offset = (number * 7919 % blocks) * SMALL
            start = time.perf_counter_ns()
            os.pread(file.fileno(), SMALL, offset)
            times.append(time.perf_counter_ns() - start)
    return sorted(times)[len(times) // 2] / 1000


def append(path: Path, size: int) -> float:
    """Append small pieces; return gigabytes per second."""
    piece = os.urandom(SMALL)
    start = time.perf_counter()
    with path.open("ab", buffering=0) as file:
        for _ in range(size // SMALL):
            file.write(piece)
    elapsed = time.perf_counter() - start
    path.unlink()
    return size / 1e9 / elapsed


def small_files(count: int) -> Iterator[tuple[str, float, str]]:
    """Yield files per second of what is done to many small files."""
    data = os.urandom(SMALL)
    directory = Path("small")
    directory.mkdir()
    paths = [directory / f"file{n}" for n in range(count)]

    def rate(work: Callable[[Path], object]) -> float:
        start = time.perf_counter()
        for path in paths:
            work(path)
        return count / (time.perf_counter() - start)

    yield "small files create+write 4K", rate(lambda p: p.write_bytes(data)), "files/s"
    for path in paths:
        drop(path)
    yield "small files open+read 4K (cold)", rate(lambda p: p.read_bytes()), "files/s"
    yield "small files open+read 4K (warm)", rate(lambda p: p.read_bytes()), "files/s"
    yield "small files stat", rate(lambda p: p.stat()), "files/s"
    yield "small files unlink", rate(lambda p: p.unlink()), "files/s"


if __name__ == "__main__":
    main()
