"""`cloister volume mount`: the owner's own look at, and work on, a volume."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.apart import run_apart
from integration.cli.conftest import SECRET
from integration.cli.desk import Desk, await_true
from integration.mounting import needs_program

pytestmark = pytest.mark.fuse


@pytest.fixture
def mounted(desk: Desk) -> Iterator[Path]:
    """A new writable volume and a folder to mount it on."""
    desk.run("volume", "create", "sealed/work").good()
    point = desk.folder / "mnt"
    point.mkdir()
    yield point
    point.rmdir()
    shutil.rmtree(desk.folder / "sealed" / "work")


def _on(desk: Desk, script: str, *, folder: Path) -> str:
    """Run a shell script on the writable mount; it must succeed."""
    words = ("volume", "mount", "--write", "sealed/work", folder)
    return desk.run(*words, "--", "sh", "-ec", f"cd {folder}\n{script}").good().stdout


def test_a_command_reads_what_was_sealed(desk: Desk, mounted: Path) -> None:
    """The files are there for the command, read-only, and for nobody else."""
    script = f"cat {mounted}/secret.txt; touch {mounted}/new 2>/dev/null || exit 5"
    done = desk.run("volume", "mount", "sealed/data", mounted, "--", "sh", "-c", script)
    assert (done.status, done.stdout) == (5, SECRET + "\n")
    assert "version 1, unchanged" in done.stderr
    assert list(mounted.iterdir()) == []
    assert "fuse.cloister" not in Path("/proc/self/mounts").read_text()


def test_what_a_command_writes_is_committed_and_reported(desk: Desk, mounted: Path) -> None:
    """With `--write` the new version is printed, and holds what was written."""
    words = ("volume", "mount", "--write", "sealed/work", mounted)
    script = f"echo written > {mounted}/file; echo said; exit 3"
    done = desk.json(*words, "--", "sh", "-c", script)
    assert (done.status, done.record["status"], done.record["troubles"]) == (3, 3, [])
    assert done.record["version"] > 1
    assert "said\n" in done.stderr
    assert desk.json("volume", "verify", "sealed/work").record["root"] == done.record["root"]
    assert desk.read("sealed/work") == {"file": b"written\n"}


def test_the_lease_is_given_back(desk: Desk, mounted: Path) -> None:
    """After a writable mount, also after one that was killed off, the next writer is let in."""
    words = ("volume", "mount", "--write", "sealed/work", mounted)
    began = time.monotonic()
    assert desk.json(*words, "--", "sh", "-c", "kill -9 $$").status == 137
    desk.json(*words, "--", "true").good()
    assert time.monotonic() - began < 25


def test_the_command_is_told_to_stop_and_its_work_is_kept(desk: Desk, mounted: Path) -> None:
    """SIGTERM reaches the command; what it then writes is committed."""
    script = (
        f"trap 'echo last > {mounted}/word; exit 6' TERM; echo in; while :; do sleep 0.05; done"
    )
    words = ("volume", "mount", "--write", "sealed/work", mounted)
    with desk.running(*words, "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        process.terminate()
        assert process.wait(timeout=30) == 6
    assert desk.read("sealed/work") == {"word": b"last\n"}


def test_a_command_that_does_not_exist_is_named(desk: Desk, mounted: Path) -> None:
    """The volume is given back untouched."""
    words = ("volume", "mount", "--write", "sealed/work", mounted)
    done = desk.json(*words, "--", "no-such-program")
    assert (done.status, done.code) == (73, "workload.start")
    assert "no-such-program" in done.error["message"]
    desk.json(*words, "--", "true").good()


def test_a_mount_point_that_is_not_there_is_named(desk: Desk) -> None:
    """The folder is not made; the next step is."""
    done = desk.json("volume", "mount", "sealed/data", "nowhere", "--", "true")
    assert (done.status, done.code) == (65, "config.missing")
    assert done.error["hint"] == "mkdir -p nowhere"


def test_a_sealed_volume_is_not_mounted_for_writing(desk: Desk, mounted: Path) -> None:
    """An immutable volume stays as it is."""
    done = desk.json("volume", "mount", "--write", "sealed/data", mounted, "--", "true")
    assert done.status != 0
    assert done.code == "caller.misuse"
    desk.json("volume", "verify", "sealed/data").good()


def _mount_for_the_machine(folder: str) -> dict[str, Any]:
    """As root, in what passes for the machine's namespace: mount, look, write, interrupt."""
    desk = Desk(Path(folder))
    point = desk.folder / "mnt"
    with desk.running("volume", "mount", "--write", "sealed/work", point) as process:
        await_true(lambda: "fuse.cloister" in Path("/proc/self/mounts").read_text())
        (point / "from-outside").write_text("seen by all\n")
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=30)
        said = process.stderr.read() if process.stderr is not None else ""
    left = "fuse.cloister" in Path("/proc/self/mounts").read_text()
    return {"status": status, "said": said, "left": left}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts for the whole machine")
def test_root_mounts_for_all_until_interrupted(desk: Desk, mounted: Path) -> None:
    """Without a command the mount is everybody's; an interrupt unmounts and commits."""
    found = run_apart(0, _mount_for_the_machine, str(desk.folder))
    assert (found["status"], found["left"]) == (0, False)
    assert "committed" in found["said"]
    assert desk.read("sealed/work") == {"from-outside": b"seen by all\n"}


@needs_program("sqlite3")
def test_sqlite(desk: Desk, mounted: Path) -> None:
    """A database made in one mount is whole in the next."""
    fill = (
        "create table t(x); insert into t with recursive n(i) as "
        "(select 1 union all select i+1 from n where i<5000) select i from n;"
    )
    _on(desk, f"sqlite3 a.db 'pragma journal_mode=wal; {fill}'", folder=mounted)
    checks = "sqlite3 a.db 'pragma integrity_check; select sum(x) from t'"
    assert _on(desk, checks, folder=mounted).split() == ["ok", "12502500"]


@needs_program("git")
def test_git(desk: Desk, mounted: Path, tmp_path: Path) -> None:
    """A repository cloned in one mount is found whole in the next."""
    git = "git -c user.name=a -c user.email=a@b -c safe.directory='*'"
    make = f"cd {tmp_path}; git init -q .; seq 1 9999 > f; {git} add f; {git} commit -qm one"
    subprocess.run(["sh", "-ec", make], check=True, timeout=60, env=desk._environment())
    _on(desk, f"{git} clone -q --no-local {tmp_path} copy", folder=mounted)
    _on(desk, f"cd copy; {git} fsck --full --strict; {git} log --oneline", folder=mounted)


@needs_program("tar")
def test_tar(desk: Desk, mounted: Path) -> None:
    """An archive unpacked in one mount compares equal in the next."""
    archive = desk.folder / "archive.tar"
    subprocess.run(["tar", "cf", str(archive), "-C", str(desk.folder), "plain"], check=True)
    _on(desk, f"tar xf {archive}", folder=mounted)
    _on(desk, f"tar df {archive}", folder=mounted)


@needs_program("fio")
def test_fio(desk: Desk, mounted: Path) -> None:
    """What fio writes in one mount, its checksums confirm in the next."""
    words = "fio --name=v --rw=randwrite --size=8m --bs=16k --verify=crc32c --verify_fatal=1"
    _on(desk, f"{words} --do_verify=0", folder=mounted)
    _on(desk, f"{words} --verify_only", folder=mounted)


@pytest.mark.frameworks("h5py")
def test_hdf5(desk: Desk, mounted: Path) -> None:
    """An HDF5 file written in one mount is read in the next."""
    python = desk._command(())[0]
    write = "import h5py; h5py.File('a.h5', 'w').create_dataset('x', data=range(100000))"
    read = "import h5py; print(int(h5py.File('a.h5')['x'][:].sum()))"
    _on(desk, f'{python} -c "{write}"', folder=mounted)
    assert _on(desk, f'{python} -c "{read}"', folder=mounted).strip() == "4999950000"


def _as_user() -> list[Any]:
    from integration.cli.user import furnished_for_user  # noqa: PLC0415  # after the fork

    with furnished_for_user() as desk:
        point = tempfile.mkdtemp(dir=desk.folder)
        words = ("volume", "mount", "--write", "sealed/out", point, "--")
        script = f"id -u; echo mine > {point}/file; stat -c %u {point}/file"
        done = desk.json(*words, "sh", "-c", script)
        run = desk.json("run", "policy.yaml", "--workload", "seven")
        files = {name: data.decode() for name, data in desk.read("sealed/out").items()}
        return [done.status, done.stderr, run.status, files, json.loads(run.stdout)["troubles"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to become another user")
def test_an_ordinary_user_mounts_and_runs() -> None:
    """Mount and run work for user 1000 with nothing but user namespaces and /dev/fuse."""
    status, said, run_status, files, troubles = run_apart(1000, _as_user)
    assert status == 0, said
    assert said.splitlines()[:2] == ["1000", "1000"]
    assert (run_status, troubles) == (7, [])
    assert files == {"file": "mine\n", "copy.txt": f"{SECRET}, changed\n"}
