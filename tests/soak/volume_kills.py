"""Kill a volume's server again and again while a program writes checkpoints; check each reopening.

    cd tests && python -m soak.volume_kills --kills 1000 --seed 1

Each round mounts the volume in a private namespace, lets a writer save numbered, checksummed
checkpoints (write, fsync, rename, fsync of the directory) and append to a log (with fsync), and
sends SIGKILL to the server at a random moment; in some rounds while it is still opening. Then the
volume is opened again, every byte of it is read, and what the writer was told is durable must be
there, or something newer: never anything older, torn or mixed.

The anchor lies outside the volume's directory and only ever moves forward.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import stat
import struct
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloister.errors import CloisterError, UnavailableError, WorkloadError
from cloister.testing.file_volume import describe_volume, make_file_volume, open_file_volume
from cloister.testing.private_mount import enter_private_namespace
from cloister.volume.filesystem import ROOT_INO, Filesystem
from cloister.volume.fuse.mount import open_and_mount
from cloister.volume.fuse.process import VolumeServerProcess
from cloister.volume.fuse.session import SessionOptions
from cloister.volume.regions import ENCRYPTED_ONLY, Regions

HEAD = struct.Struct("<QI32s")
RECORD = struct.Struct("<Q32s")
CHECKPOINT = b"checkpoint"
TIMEOUT_S = 60.0


class LostError(Exception):
    """A promise was broken."""


@dataclass
class Promised:
    """What the writer was told is durable: the newest checkpoint, and records in a round's log."""

    checkpoint: int = -1
    records: int = 0


@dataclass
class Report:
    """What happened in all rounds."""

    kills: int = 0
    kills_while_opening: int = 0
    promises: int = 0
    checkpoints: int = 0
    newer_than_promised: int = 0
    version: int = 0


def checkpoint_bytes(number: int) -> bytes:
    """Return a checkpoint that says which it is and whether it is whole."""
    rng = np.random.default_rng(number)
    body = rng.bytes(int(rng.choice([100, 5_000, 70_000, 300_000])))
    return HEAD.pack(number, len(body), hashlib.sha256(body).digest()) + body


def record_bytes(number: int) -> bytes:
    """Return a log record that says which it is and whether it is whole."""
    return RECORD.pack(number, hashlib.sha256(b"%d" % number).digest())


def soak(directory: Path, *, kills: int, seed: int, regions: Regions = ENCRYPTED_ONLY) -> Report:
    """Run rounds in an empty directory; return what happened, or raise `LostError`."""
    rng = np.random.default_rng(seed)
    mount_point = directory / "mnt"
    mount_point.mkdir()
    config = bytes(directory / "state")
    make_file_volume(directory / "state", regions=regions)
    report, durable = Report(), Promised()
    for number in range(kills):
        opening = bool(rng.random() < 0.1)
        delay = float(rng.uniform(0, 0.02 if opening else 0.3))
        promised = one_round(
            config, mount_point, number, durable, delay=delay, while_opening=opening
        )
        report.kills += 1
        report.kills_while_opening += opening
        durable = check(config, number, promised, report)
        if report.kills % 50 == 0:
            sys.stderr.write(f"{report}\n")
    return report


def one_round(
    config: bytes,
    mount_point: Path,
    number: int,
    durable: Promised,
    *,
    delay: float,
    while_opening: bool,
) -> Promised:
    """Serve, write, kill; return what was promised by then."""
    server = VolumeServerProcess.start(open_filesystem=open_file_volume, describe=describe_volume)
    if while_opening:
        kill_while_opening(server, config, delay)
        return Promised(durable.checkpoint, 0)
    server.open(config, timeout_s=TIMEOUT_S)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    acknowledged, acknowledge = os.pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        os.close(acknowledged)
        try:
            enter_private_namespace(user_namespace=True)
            mounted = open_and_mount(mount_point, name="soak", read_only=False)
            socket.send_fds(theirs, [b"mounted"], [mounted.descriptor])
            os.close(mounted.descriptor)
            theirs.recv(16)
            write(mount_point, number, durable.checkpoint + 1, acknowledge)
        except OSError:
            os._exit(0)
        finally:
            os._exit(1)
    theirs.close()
    os.close(acknowledge)
    with ours:
        _, descriptors, _, _ = socket.recv_fds(ours, 64, 1)
        server.serve(descriptors[0], options=SessionOptions(), timeout_s=TIMEOUT_S)
        os.close(descriptors[0])
        ours.send(b"go")
    time.sleep(delay)
    os.kill(server.pid, signal.SIGKILL)
    with os.fdopen(acknowledged, "rb") as stream:
        promised = read_promises(stream.read(), durable)
    os.waitpid(pid, 0)
    server.kill()
    return promised


def kill_while_opening(server: VolumeServerProcess, config: bytes, delay: float) -> None:
    """Kill the server while it recovers the volume, or right after."""
    with contextlib.suppress(UnavailableError, WorkloadError):
        server.open(config, timeout_s=delay)
    server.kill()


def write(mount_point: Path, number: int, checkpoint: int, acknowledge: int) -> None:
    """Write until the server is gone, and say after each fsync what is now durable."""
    os.chdir(mount_point)
    for old in Path().glob("log-*"):
        old.unlink()
    root = os.open(".", os.O_RDONLY)
    log = os.open(f"log-{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    records = 0
    while True:
        temporary = f"{CHECKPOINT.decode()}.{checkpoint % 3}.tmp"
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(file, checkpoint_bytes(checkpoint))
        os.fsync(file)
        os.close(file)
        Path(temporary).replace(CHECKPOINT.decode())
        os.fsync(root)
        os.write(acknowledge, b"C%d\n" % checkpoint)
        for _ in range(3):
            os.write(log, record_bytes(records))
            records += 1
            os.fsync(log)
            os.write(acknowledge, b"L%d\n" % records)
        Path(f"loose-{checkpoint % 5}").write_bytes(checkpoint_bytes(checkpoint)[:50_000])
        if checkpoint % 7 == 0:
            for loose in Path().glob("loose-*"):
                loose.unlink()
        checkpoint += 1


def read_promises(data: bytes, durable: Promised) -> Promised:
    """Read what the writer was told, up to the last whole line."""
    promised = Promised(durable.checkpoint, 0)
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        if line[:1] == b"C":
            promised.checkpoint = int(line[1:])
        else:
            promised.records = int(line[1:])
    return promised


def check(config: bytes, number: int, promised: Promised, report: Report) -> Promised:
    """Open the volume as the kill left it, read all of it, and compare with the promises."""
    try:
        filesystem = open_file_volume(config)
        files = dict(read_all(filesystem))
        version = int(describe_volume(filesystem))
        filesystem.close()
    except CloisterError as e:
        raise LostError(f"round {number}: the volume does not open or read: {e}") from e
    if version < report.version:
        raise LostError(f"round {number}: version {version} after {report.version}")
    found = newest_checkpoint(files, number)
    if found < promised.checkpoint:
        raise LostError(f"round {number}: checkpoint {found}, promised {promised.checkpoint}")
    check_log(files, number, promised.records)
    report.version = version
    report.promises += promised.records + (promised.checkpoint - report.checkpoints)
    report.checkpoints = promised.checkpoint
    report.newer_than_promised += found > promised.checkpoint
    return Promised(found, 0)


def read_all(filesystem: Filesystem) -> list[tuple[bytes, bytes]]:
    """Read every file in the root directory."""
    found = []
    for entry in filesystem.list_directory(ROOT_INO):
        if stat.S_ISREG(entry.mode):
            size = filesystem.attributes(entry.ino).size
            out = bytearray(size)
            if filesystem.read_into(entry.ino, 0, memoryview(out)) != size:
                raise LostError(f"{entry.name!r} is shorter than its size")
            found.append((entry.name, bytes(out)))
    return found


def newest_checkpoint(files: dict[bytes, bytes], number: int) -> int:
    """Return which checkpoint is in place; it must be whole. -1 where there is none."""
    data = files.get(CHECKPOINT)
    if data is None:
        return -1
    found = HEAD.unpack_from(data)[0]
    if data != checkpoint_bytes(found):
        raise LostError(f"round {number}: checkpoint {found} is not what was written")
    return int(found)


def check_log(files: dict[bytes, bytes], number: int, promised: int) -> None:
    """Require every promised record, whole and in order; after those, only true prefixes."""
    data = files.get(b"log-%d" % number, b"")
    count = -(-len(data) // RECORD.size)
    expected = b"".join(record_bytes(n) for n in range(count))
    if len(data) < promised * RECORD.size:
        raise LostError(f"round {number}: log of {len(data)} bytes, {promised} records promised")
    if data != expected[: len(data)]:
        raise LostError(f"round {number}: the log is not what was written")


def main() -> int:
    """Run from the command line; 0 when nothing was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    start = time.monotonic()
    try:
        report = soak(directory, kills=chosen.kills, seed=chosen.seed)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    sys.stdout.write(f"{report} in {time.monotonic() - start:.0f} s; nothing lost\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
