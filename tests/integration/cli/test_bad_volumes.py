"""Volumes that somebody damaged, swapped or put back: refused by code, and the good one lives."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from integration.cli.conftest import SECRET
from integration.cli.desk import Desk, copy_of

pytestmark = pytest.mark.fuse


def _largest(store: Path) -> Path:
    return max((path for path in store.rglob("*") if path.is_file()), key=_size)


def _size(path: Path) -> int:
    return path.stat().st_size


def _truncate(store: Path) -> None:
    path = _largest(store)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content[: len(content) // 2])


def _cut_the_index(store: Path) -> None:
    path = max((store / "journal").iterdir(), key=_size)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content[: len(content) // 2])


def _flip(store: Path) -> None:
    path = _largest(store)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def _empty_directory(store: Path) -> None:
    shutil.rmtree(store)
    store.mkdir()


def _empty_files(store: Path) -> None:
    for path in store.rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"")


def _another_volume(store: Path) -> None:
    shutil.rmtree(store)
    shutil.copytree(store.with_name("code"), store)


def _gone(store: Path) -> None:
    shutil.rmtree(store)


# What is done to a copy of the sealed data; the code for a run, and for the owner who verifies.
DAMAGE: Final[dict[str, tuple[Callable[[Path], None], str, str | None]]] = {
    "truncated": (_truncate, "volume.truncated", "volume.truncated"),
    "index-cut": (_cut_the_index, "volume.truncated", "volume.truncated"),
    "corrupted": (_flip, "volume.tampered", "volume.tampered"),
    "empty-directory": (_empty_directory, "volume.truncated", "volume.truncated"),
    "empty-files": (_empty_files, "volume.malformed", "volume.malformed"),
    "foreign": (_another_volume, "volume.foreign", None),
    "gone": (_gone, "config.missing", "config.missing"),
}


def test_a_refused_run_gives_its_leases_back(desk: Desk) -> None:
    """After a volume was refused, the volumes that were released beside it can be had at once."""
    began = time.monotonic()
    refused = desk.json("run", "policy.yaml", "--workload", "copy", "--volume", "data=nowhere")
    assert refused.code == "config.missing"
    desk.json("run", "policy.yaml", "--workload", "copy").good()
    assert time.monotonic() - began < 12


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_volume_is_refused_and_named(desk: Desk, name: str) -> None:
    """The owner's check and a run refuse it with a stable code; the real volume opens."""
    damage, run_code, verify_code = DAMAGE[name]
    store = copy_of(desk.folder / "sealed" / "data", f"damaged-{name}")
    try:
        damage(store)
        if verify_code is not None:
            verified = desk.json("volume", "verify", store)
            assert verified.code == verify_code, verified
        done = desk.json("run", "policy.yaml", "--workload", "read", "--volume", f"data={store}")
        assert done.code == run_code, done
        assert "volume data" in done.error["message"]
        assert SECRET not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    finally:
        shutil.rmtree(store, ignore_errors=True)
    assert desk.json("volume", "verify", "sealed/data").good().record["files"] == 2


def test_a_volume_of_another_trust_domain_is_refused(desk: Desk, tmp_path: Path) -> None:
    """A volume whose key this key service does not have cannot be read, nor run on."""
    other = Desk(tmp_path)
    (tmp_path / "plain").mkdir()
    other.run("init").good()
    other.run("volume", "seal", "plain", "sealed").good()
    other.stop_service()
    done = desk.json("volume", "verify", tmp_path / "sealed")
    assert (done.status, done.code) == (77, "release.volume-unknown")
    run = desk.json(
        "run", "policy.yaml", "--workload", "copy", "--volume", f"data={tmp_path}/sealed"
    )
    assert (run.status, run.code) == (76, "volume.foreign")


def test_an_older_copy_is_refused_and_the_newest_stays(desk: Desk) -> None:
    """A whole volume put back as it was before the last run is neither read nor written."""
    desk.run("run", "policy.yaml", "--workload", "copy").good()
    old = copy_of(desk.folder / "sealed" / "out", "old-out")
    try:
        desk.run("run", "policy.yaml", "--workload", "copy").good()
        assert desk.json("volume", "verify", old).code == "volume.rolled-back"
        done = desk.json("run", "policy.yaml", "--workload", "copy", "--volume", f"out={old}")
        assert (done.status, done.code) == (76, "volume.rolled-back")
    finally:
        shutil.rmtree(old)
    assert desk.read("sealed/out")["copy.txt"].decode() == f"{SECRET}, changed\n"
    desk.run("run", "policy.yaml", "--workload", "copy").good()
