"""What programs see on a real mount, served by this package from outside their namespace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from integration.mounting import MEMORY, VOLUME, Mount, make_mount, needs_program

pytestmark = pytest.mark.fuse

KINDS = {
    "memory": (MEMORY, ()),
    "memory-write-through": (MEMORY, ("--no-writeback",)),
    "volume": (VOLUME, ()),
    "volume-user-namespace": (VOLUME, ("--user-namespace",)),
}


@pytest.fixture(params=KINDS)
def mount(request: pytest.FixtureRequest, tmp_path: Path) -> Mount:
    """Mount each file system in each way."""
    filesystem, flags = KINDS[request.param]
    return make_mount(tmp_path, filesystem=filesystem, flags=flags)


@pytest.fixture
def volume_mount(tmp_path: Path) -> Mount:
    """Mount a volume."""
    return make_mount(tmp_path, filesystem=VOLUME)


@pytest.mark.parametrize(
    "name",
    [
        "files_and_directories",
        "rename_over",
        "unlink_while_open",
        "holes_and_truncation",
        "shared_memory_map",
        "appending",
        "listing_with_attributes",
        "links",
        "locks",
        "copies_of_open_files",
        "direct_io",
        "many_threads",
    ],
)
def test_posix_behaviour(mount: Mount, name: str) -> None:
    """Each POSIX behaviour that programs rely on holds on the mount."""
    mount.case(name)


def test_big_directory_is_listed_completely_while_it_is_emptied(mount: Mount) -> None:
    """A listing of 5 000 names neither skips nor repeats one while each is deleted."""
    mount.case("big_directory", "5000")


def test_space_is_reported(tmp_path: Path) -> None:
    """Statfs shows the store's size and what is left."""
    make_mount(tmp_path, config=str(1 << 30)).case("space_report", str(1 << 30))


@pytest.mark.parametrize("flags", [(), ("--no-writeback",)])
def test_full_store_is_enospc_and_is_named(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """A full store fails the write or its fsync with ENOSPC, keeps the rest, and is reported."""
    mount = make_mount(tmp_path, config=str(16 << 20), flags=flags)
    done = mount.run(sys.executable, str(Path(__file__).with_name("mounted_cases.py")), "full_disk")
    assert "storage.full" in done.stderr


def test_killed_server_fails_closed(volume_mount: Mount) -> None:
    """After the server's death calls fail with ENOTCONN, and the launcher's side is told."""
    case = str(Path(__file__).with_name("mounted_cases.py"))
    done = volume_mount.run(sys.executable, case, "killed_server")
    assert "workload.volume-server" in done.stderr


def test_tampered_volume_is_eio_and_is_named(tmp_path: Path) -> None:
    """One flipped bit in the store fails the read, then everything, and the reason is reported."""
    mount = make_mount(tmp_path, filesystem=VOLUME)
    case = str(Path(__file__).with_name("mounted_cases.py"))
    done = mount.run(sys.executable, case, "tampered_volume", str(tmp_path / "volume/volume"))
    assert "trouble" in done.stderr
    assert "volume.tampered" in done.stderr


def test_volume_keeps_what_was_written_without_any_fsync(tmp_path: Path) -> None:
    """Files, links, modes and times are there when the volume is mounted again."""
    config = str(tmp_path / "volume")
    mount = make_mount(tmp_path, filesystem=VOLUME, config=config)
    mount.case("written_before", "write")
    mount.case("written_before", "read")


def test_read_only_mount_refuses_changes(tmp_path: Path) -> None:
    """A read-only mount is EROFS for every change."""
    make_mount(tmp_path, flags=("--read-only",)).case("read_only")


def test_one_owner_can_be_shown_for_everything(tmp_path: Path) -> None:
    """Files sealed elsewhere belong to the workload's user; nobody else can be made owner."""
    make_mount(tmp_path, flags=("--owner=0", "--user-namespace")).case("owned_by", "0", "EINVAL")
    mount_point = tmp_path / "as-stored"
    mount_point.mkdir()
    make_mount(mount_point, flags=("--owner=12",)).case("owned_by", "12", "EPERM")


def test_killed_writers_do_no_harm(volume_mount: Mount) -> None:
    """Programs killed in the middle of writing leave a mount that works."""
    volume_mount.case("interrupted")


def test_numpy_files_and_maps(mount: Mount) -> None:
    """Arrays saved, mapped and compressed come back equal."""
    mount.case("numpy_files")


@pytest.mark.frameworks
def test_hdf5_files(mount: Mount) -> None:
    """HDF5 writes at random, extends, locks and comes back equal."""
    pytest.importorskip("h5py")
    mount.case("hdf5_files")


@pytest.mark.frameworks
@pytest.mark.slow
def test_torch_checkpoints(volume_mount: Mount) -> None:
    """PyTorch checkpoints written beside and renamed over come back equal, mapped or read."""
    pytest.importorskip("torch")
    volume_mount.case("torch_files")


@pytest.mark.parametrize("journal", ["wal", "delete", "persist", "truncate"])
def test_sqlite(mount: Mount, journal: str) -> None:
    """SQLite commits, rolls back and passes its integrity check in each journal mode."""
    mount.case("sqlite_database", journal)


@needs_program("sqlite3")
def test_sqlite_program(volume_mount: Mount) -> None:
    """The sqlite3 program fills, dumps and reloads a database."""
    fill = "create table t(x); with recursive c(n) as (select 1 union all select n+1 from c"
    fill += " where n<20000) insert into t select n from c;"
    script = f"""sqlite3 a.db '{fill}' && sqlite3 a.db .dump | sqlite3 b.db
    test "$(sqlite3 b.db 'select sum(x) from t')" = 200010000"""  # noqa: S608  # fixed text
    volume_mount.run("sh", "-ec", script)


@needs_program("git")
def test_git_clone_and_check(mount: Mount, tmp_path: Path) -> None:
    """Git clones, commits, repacks and finds nothing wrong."""
    source = tmp_path / "source"
    source.mkdir()
    make = """git init -q . && for n in 1 2 3 4 5; do mkdir -p d$n; seq 1 $((n*500)) > d$n/f;
    cp d$n/f g$n; git add -A; git commit -qm $n; done"""
    identity = "export HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1; git() { command git -c user.name=a "
    identity += '-c user.email=a@b -c safe.directory="*" -c protocol.file.allow=always "$@"; }\n'
    subprocess.run(["sh", "-ec", identity + make], cwd=source, check=True, timeout=60)
    script = f"""git clone -q --no-local {source} copy && cd copy && git fsck --full --strict
    seq 1 9 > new; git add new; git commit -qm new; git gc -q; git fsck --full
    git status --porcelain | wc -l | grep -qx 0; git clone -q . ../second; git -C ../second fsck"""
    mount.run("sh", "-ec", identity + script)


@needs_program("tar")
def test_tar_round_trip(mount: Mount, tmp_path: Path) -> None:
    """An archive unpacked on the mount and packed again has the same members and bytes."""
    source = tmp_path / "tree"
    (source / "deep/er").mkdir(parents=True)
    for number in range(50):
        (source / f"deep/f{number}").write_bytes(b"%d" % number * 5000)
    (source / "link").symlink_to("deep/f1")
    (source / "deep/er/hard").hardlink_to(source / "deep/f2")
    subprocess.run(["tar", "cf", str(tmp_path / "a.tar"), "-C", str(source), "."], check=True)
    script = f"""tar xpf {tmp_path}/a.tar && diff -r . {source} && tar cf {tmp_path}/b.tar .
    tar df {tmp_path}/b.tar"""
    mount.run("sh", "-ec", script)


@needs_program("fio")
def test_fio_verifies(mount: Mount) -> None:
    """Random and mixed writes read back with the checksums they were written with."""
    for engine, pattern, extra in [
        ("psync", "randrw", []),
        ("psync", "randwrite", ["--fsync=16"]),
        ("mmap", "randwrite", []),
        ("psync", "randwrite", ["--direct=1"]),
    ]:
        mount.run(
            "fio",
            "--name=v",
            f"--ioengine={engine}",
            f"--rw={pattern}",
            "--size=16m",
            "--bsrange=4k-64k",
            "--blockalign=4k",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--do_verify=1",
            "--randseed=7",
            *extra,
        )
