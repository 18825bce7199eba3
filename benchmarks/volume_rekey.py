"""Compare rekeying a volume with a plain sequential rewrite of the same bytes on the same disk.

    python benchmarks/volume_rekey.py --directory /var/tmp/bench --megabytes 256 512 1024

Each row is one JSON object. For each size a volume with one file of it and one with files of 20 KB
are rekeyed in a process of their own, which tells its peak memory; the rewrite reads the stored
bytes and writes them beside, with a sync for each 64 MiB, as a commit has one. Both read what is in
the page cache. Seconds are the best of several rounds, taken in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cloister.crypto.keyring import KeyRing
from cloister.volume.anchor_file import FileAnchor
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.opening import create_volume, open_volume
from cloister.volume.rekey import COMMIT_BYTES

MIB = 1 << 20
SMALL = 20_000
RING = KeyRing.first(b"1" * 32).rotated(b"2" * 32)


def main() -> None:
    """Measure each size, print rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--megabytes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inside", type=Path, metavar="STORE", help="rekey one volume")
    chosen = parser.parse_args()
    if chosen.inside is not None:
        rekey_here(chosen.inside)
        return
    for megabytes in chosen.megabytes:
        for name, size in (("one file", megabytes * MIB), ("files of 20 KB", SMALL)):
            folder = Path(tempfile.mkdtemp(prefix="bench-rekey-", dir=chosen.directory))
            try:
                row = measure(folder, megabytes * MIB, size, chosen.rounds)
            finally:
                shutil.rmtree(folder)
            print(json.dumps({"test": f"rekey {name}", "megabytes": megabytes} | row), flush=True)


def measure(folder: Path, total: int, size: int, rounds: int) -> dict[str, object]:
    """Rekey and rewrite in turns; return seconds, their ratio and the peak memory."""
    rekeyed, rewritten, peaks = [], [], []
    for number in range(rounds):
        store = folder / str(number)
        fill(store, total, size)
        seconds, peak = rekey_apart(store)
        rekeyed.append(seconds)
        peaks.append(peak)
        rewritten.append(rewrite(store / "volume" / "objects", folder / "copy"))
        shutil.rmtree(store)
    return {
        "seconds": round(min(rekeyed), 2),
        "rewrite_seconds": round(min(rewritten), 2),
        "ratio": round(min(rekeyed) / min(rewritten), 2),
        "megabytes_a_second": round(total / MIB / min(rekeyed)),
        "peak_mib": round(max(peaks)),
    }


def fill(store: Path, total: int, size: int) -> None:
    """Make a volume under the first key."""
    store.mkdir()
    made = create_volume(store / "volume", RING.keys[0])
    FileAnchor.make(store / "anchor", version=made.version, root=made.root)
    anchor = FileAnchor.acquire(store / "anchor")
    fs = open_volume(store / "volume", KeyRing.first(RING.keys[0]), anchor=anchor, writable=True)
    block = os.urandom(MIB)
    for number in range(total // size):
        ino = fs.create(ROOT_INO, b"%d" % number, 0o644, 0, 0).ino
        for offset in range(0, size, MIB):
            fs.write(ino, offset, memoryview(block)[: min(MIB, size - offset)])
    fs.close()


def rekey_apart(store: Path) -> tuple[float, float]:
    """Rekey in a process that does nothing else; return its seconds and peak memory in MiB."""
    command = [sys.executable, str(Path(__file__).resolve()), "--inside", str(store)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    seconds, peak = json.loads(done.stdout)
    return float(seconds), float(peak)


def rekey_here(store: Path) -> None:
    """Rekey and print what it took."""
    begun = time.perf_counter()
    anchor = FileAnchor.acquire(store / "anchor")
    fs = open_volume(store / "volume", RING, anchor=anchor, writable=True)
    fs.rekeying().run(progress=lambda _: None)
    fs.close()
    seconds = time.perf_counter() - begun
    status = Path("/proc/self/status").read_text("utf-8")  # ru_maxrss has the parent's in it
    [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    print(json.dumps([seconds, int(peak) / 1024]))


def rewrite(source: Path, target: Path) -> float:
    """Write every stored byte beside, and sync as often as commits do."""
    begun = time.perf_counter()
    written = 0
    with target.open("wb") as output:
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            with path.open("rb") as stored:
                while part := stored.read(MIB):
                    output.write(part)
                    written += len(part)
                    if written >= COMMIT_BYTES:
                        output.flush()
                        os.fdatasync(output.fileno())
                        written = 0
        output.flush()
        os.fdatasync(output.fileno())
    seconds = time.perf_counter() - begun
    target.unlink()
    return seconds


if __name__ == "__main__":
    main()
