"""The server's process as the launcher sees it: opened, told to stop, failing, dying."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloister.errors import CloisterError, TamperedError, UnavailableError, WorkloadError
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.filesystem import Filesystem
from cloister.volume.fuse.process import VolumeServerProcess


def memory(config: bytes) -> MemoryFilesystem:
    """Make a file system that fails as `config` says."""
    if config == b"tampered":
        raise TamperedError("a block was changed", code="volume.tampered")
    if config == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if config == b"no store":
        raise FileNotFoundError(2, "No such file or directory")
    made = MemoryFilesystem(clock=time.time_ns)
    if config == b"cannot commit":
        made.close = lambda: _raise(UnavailableError("no anchor", code="volume.anchor"))
    if config == b"slow":
        made.close = lambda: time.sleep(60)
    return made


def _raise(error: CloisterError) -> None:
    raise error


def describe(filesystem: Filesystem) -> bytes:
    """Tell whether it was closed."""
    assert isinstance(filesystem, MemoryFilesystem)
    return b"closed" if filesystem.closed else b"open"


@contextmanager
def server(
    opener: Callable[[bytes], Filesystem] = memory,
) -> Iterator[VolumeServerProcess]:
    started = VolumeServerProcess.start(open_filesystem=opener, describe=describe)
    try:
        yield started
    finally:
        started.kill()


def test_it_opens_and_commits_when_told_to_stop() -> None:
    """Opening and finishing report the state before and after the last commit."""
    with server() as started:
        assert started.open(b"", timeout_s=10) == b"open"
        assert started.check()
        assert started.finish(grace_s=0, timeout_s=10) == b"closed"
        assert not started.check()


@pytest.mark.parametrize(
    ("config", "code"), [(b"tampered", "volume.tampered"), (b"no store", "volume.io")]
)
def test_failure_to_open_is_the_callers_error(config: bytes, code: str) -> None:
    """What opening raised there is raised here, by its code."""
    with server() as started, pytest.raises(CloisterError) as caught:
        started.open(config, timeout_s=10)
    assert caught.value.code == code


def test_failure_to_commit_is_told_at_the_end() -> None:
    """A last commit that fails is not a success."""
    with server() as started:
        started.open(b"cannot commit", timeout_s=10)
        with pytest.raises(UnavailableError) as caught:
            started.finish(grace_s=0, timeout_s=10)
    assert caught.value.code == "volume.anchor"


def test_commit_has_a_deadline() -> None:
    """A server that does not finish in time is killed, and that is an error."""
    with server() as started:
        started.open(b"slow", timeout_s=10)
        with pytest.raises(UnavailableError) as caught:
            started.finish(grace_s=0, timeout_s=0.05)
        assert caught.value.code == "volume.busy"
        with pytest.raises(ProcessLookupError):
            os.kill(started.pid, 0)


def test_death_is_noticed() -> None:
    """A server that dies without a report is an error at the next call."""
    with server() as started, pytest.raises(WorkloadError) as caught:
        started.open(b"die", timeout_s=10)
    assert caught.value.code == "workload.volume-server"
    with server() as started:
        started.open(b"", timeout_s=10)
        os.kill(started.pid, signal.SIGKILL)
        with pytest.raises(WorkloadError):
            started.finish(grace_s=10, timeout_s=10)


def test_death_is_noticed_by_check() -> None:
    """`check` raises once the channel says that nobody is there."""
    with server() as started:
        started.open(b"", timeout_s=10)
        os.kill(started.pid, signal.SIGKILL)
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(WorkloadError) as caught:
            started.check()
    assert caught.value.code == "workload.volume-server"


def test_terminated_server_commits_first() -> None:
    """SIGTERM, which is also the notice of the parent's death, commits and ends."""
    with server() as started:
        started.open(b"", timeout_s=10)
        os.kill(started.pid, signal.SIGTERM)
        _, status = os.waitpid(started.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 1
        started._status = status


def test_server_outlives_a_killed_parent_only_to_commit(tmp_path: Path) -> None:
    """When the launcher is killed its server commits what it has and ends."""
    closed = tmp_path / "closed"

    def opener(config: bytes) -> Filesystem:
        made = MemoryFilesystem(clock=time.time_ns)
        made.close = closed.touch
        return made

    report, tell = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        try:
            started = VolumeServerProcess.start(open_filesystem=opener, describe=lambda _: b"")
            started.open(b"", timeout_s=10)
            os.write(tell, b"%d" % started.pid)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(launcher, 0)
    os.close(tell)
    pid = int(os.read(report, 20))
    os.close(report)
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        os.sched_yield()
    assert not is_alive(pid)
    assert closed.exists()


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_it_ignores_interrupts_and_cannot_be_dumped(tmp_path: Path) -> None:
    """Ctrl-C is not for it; no core, no tracing, no new rights, no other descriptors."""
    extra = os.open(tmp_path, os.O_RDONLY)
    with server() as started:
        os.close(extra)
        started.open(b"", timeout_s=10)
        os.kill(started.pid, signal.SIGINT)
        proc = Path(f"/proc/{started.pid}")
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
        assert status["NoNewPrivs"] == "1"
        assert int(status["SigIgn"], 16) & 1 << (signal.SIGINT - 1)
        core = [x for x in (proc / "limits").read_text().splitlines() if "core file" in x]
        assert core[0].split()[4:6] == ["0", "0"]
        links = {str(fd.readlink()) for fd in (proc / "fd").iterdir()}
        assert str(tmp_path) not in links
        assert len(list((proc / "fd").iterdir())) == 4
        assert started.finish(grace_s=0, timeout_s=10) == b"closed"
