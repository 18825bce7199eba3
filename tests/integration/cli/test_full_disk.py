"""A disk that fills up while a program writes its results."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from cloister.confinement import syscalls
from integration.apart import run_apart
from integration.cli.conftest import furnish
from integration.cli.desk import Desk

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk"),
]
_MIB = 1 << 20


def _fill_and_recover() -> dict[str, Any]:
    """On a disk of 24 MiB: fill it in a run, read, make room, run again."""
    folder = Path(tempfile.mkdtemp(prefix="cloister-full-"))
    desk = Desk(folder)
    try:
        (folder / "sealed").mkdir()
        syscalls.mount("none", str(folder / "sealed"), "tmpfs", 0, "size=24m,mode=0700")
        furnish(desk)
        ballast = folder / "sealed" / "ballast"
        ballast.write_bytes(bytes(8 * _MIB))
        full = desk.json("run", "policy.yaml", "--workload", "fill")
        kept = desk.read("sealed/out")
        verified = desk.json("volume", "verify", "sealed/out")
        ballast.unlink()
        after = desk.json("run", "policy.yaml", "--workload", "small")
        return {
            "status": full.status,
            "record": full.record,
            "logs": full.stderr,
            "kept": kept["kept.txt"].decode(),
            "verified": verified.status,
            "after": [after.status, after.record, after.stderr],
            "names": sorted(desk.read("sealed/out")),
        }
    finally:
        desk.stop_service()
        syscalls.umount(str(folder / "sealed"), syscalls.MNT_DETACH)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_full_disk_is_named_and_nothing_committed_is_lost() -> None:
    """The program sees ENOSPC, the run names `storage.full`, and with room it works again."""
    found = run_apart(0, _fill_and_recover)
    assert found["status"] == 28
    assert "No space left on device" in found["logs"]
    assert "storage.full" in [trouble["code"] for trouble in found["record"]["troubles"]]
    assert "[storage.full]" in found["logs"]
    assert found["kept"] == "kept\n"
    assert found["verified"] == 0
    assert found["after"][0] == 0, found["after"]
    assert found["names"] == ["big", "kept.txt"]
