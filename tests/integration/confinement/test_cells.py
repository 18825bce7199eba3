"""A cell from outside: what runs in it, what it cannot do, and how it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from cloister.confinement import Bind
from cloister.confinement.cell import Cell, CellSpec, Warm
from cloister.errors import ConfigError, ConfinementError, LocalProtocolError, UnsupportedError
from integration.apart import run_apart, users
from integration.confinement.cells import SPEC, ask, run_to_end


def _warm(spec: CellSpec) -> Iterator[Warm]:
    with Warm(spec) as warm:
        try:
            warm.start()
        except UnsupportedError as e:
            pytest.skip(f"this machine cannot: {e.public}")
        yield warm


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """One parent for all tests of this file: that they do not disturb each other is a property."""
    yield from _warm(replace(SPEC, preload=("numpy",)))


@pytest.mark.spec("CELL-12")
def test_code_runs_and_answers_on_its_pipe(warm: Warm) -> None:
    """The entry is called with its descriptor, and what is written comes out."""
    assert ask(warm, "import numpy as np; return float((np.eye(300) @ np.ones((300, 300))).sum())")
    source = b"import os\ndef f(n):\n os.write(n, os.read(n, 9)[::-1])"
    with warm.fork({"a/b.py": source}, "a.b:f") as cell:
        os.write(cell.fileno(), b"cloister")
        assert os.read(cell.fileno(), 99) == b"retsiolc"
        assert cell.wait(10).status == 0


@pytest.mark.spec("CELL-12")
def test_files_given_to_a_cell_shadow_nothing_of_ours(warm: Warm) -> None:
    """Its own folder is the last that modules come from."""
    files = {"numpy.py": b"taken = True", "json.py": b"taken = True"}
    body = "import numpy, json; return hasattr(numpy, 'taken') or hasattr(json, 'taken')"
    assert ask(warm, body, **files) is False


@pytest.mark.spec("CELL-13", "CELL-14")
def test_a_cell_sees_its_tree_and_nothing_of_the_machine(warm: Warm) -> None:
    """No home, no devices but two, no procfs, nothing of /etc but its own."""
    assert ask(warm, "return sorted(os.listdir('/dev'))") == ["null", "urandom"]
    assert ask(warm, "return sorted(os.listdir('/proc'))") == ["cpuinfo", "meminfo", "self"]
    assert ask(warm, "return os.listdir('/proc/self')") == ["exe"]
    assert ask(warm, "return open('/etc/passwd').read()").startswith("cell:x:65534:")
    for path in ("/etc/hostname", "/home", "/run", "/var", "/usr/bin", "/sys/kernel", "/.host"):
        assert ask(warm, f"return os.stat({path!r}).st_size").startswith("FileNotFoundError"), path


@pytest.mark.spec("CELL-13")
def test_nothing_but_the_scratch_can_be_written(warm: Warm) -> None:
    """The runtime, its own files and the root are read-only; the scratch starts empty."""
    here = str(Path(__file__).resolve())
    assert ask(warm, f"return open({here!r}).read()").startswith("FileNotFoundError")
    for path in (os.__file__, "/cell/probe.py", "/new", "/cell/new", "/proc/new", "/usr/lib/new"):
        found = ask(warm, f"open({path!r}, 'a')")
        assert found.startswith(("OSError: [Errno 30]", "PermissionError")), (path, found)
    body = "import tempfile; tempfile.mkstemp(); return len(os.listdir('/scratch'))"
    assert ask(warm, body) == 1  # by /tmp, but for an interpreter below it
    assert ask(warm, "return os.listdir('/scratch')") == []


@pytest.mark.spec("CELL-10", "CELL-15")
def test_a_cell_has_its_pipe_and_no_environment(
    warm: Warm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No variable of whoever started the parent, and four descriptors."""
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "1")
    held = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(held, True)  # noqa: FBT003  # its only form
    with Warm(replace(SPEC, environment={"PARENT_ONLY": "1"})) as other:
        other.start()
        assert ask(other, "return dict(os.environ)") == {}
        body = """
        found = []
        for number in range(256):
            try:
                os.fstat(number)
                found.append(number)
            except OSError:
                pass
        return found
        """
        assert ask(other, body) == [0, 1, 2, 3]
    os.close(held)
    assert ask(warm, "return [os.uname().nodename, os.getcwd()]") == ["cell", "/scratch"]


@pytest.mark.spec("CELL-20", "CELL-23")
def test_a_cell_is_alone(warm: Warm) -> None:
    """It is process 1 of 1, its own user, in namespaces that are not ours."""
    assert ask(warm, "return [os.getpid(), os.getppid()]") == [1, 0]
    if os.geteuid() == 0:
        assert ask(warm, "return [os.getuid(), os.getgid()]") == [65534, 65534]  # CELL-23


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "import socket; socket.socket(40, socket.SOCK_STREAM)",
        "import socket; socket.socketpair()",
        "import socket; socket.socket(fileno=3).send(b'x')",
        "import socket; socket.socket(fileno=3).recv(1)",
        "os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "os.kill(-1, 0)",
        "os.kill(0, 0)",
        "os.kill(2, 0)",
        "os.mkfifo('/scratch/fifo')",
        "os.mknod('/scratch/null', 0o20666, os.makedev(1, 3))",
        "os.chroot('/scratch')",
        "os.setuid(0)",
        "os.setpriority(0, 0, 5)",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))",
        "import fcntl; fcntl.flock(open('/cell/probe.py'), fcntl.LOCK_EX)",
        "import fcntl; fcntl.lockf(open('/scratch/a', 'w'), fcntl.LOCK_EX)",
        "import mmap; mmap.mmap(-1, 4096)",
        "os.memfd_create('x')",
        "import os; os.posix_fadvise(os.open('/cell/probe.py', 0), 0, 0, 4)",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    ],
)
@pytest.mark.spec("CELL-21", "CELL-31", "CELL-32", "CELL-33", "CELL-34")
def test_what_leads_out_is_refused(warm: Warm, attempt: str) -> None:
    """It fails at once, and the cell goes on."""
    found = ask(warm, attempt)
    assert str(found).startswith(("PermissionError", "OSError", "ValueError", "BlockingIO")), found


@pytest.mark.spec("CELL-35")
def test_a_cell_cannot_use_more_than_it_has(warm: Warm) -> None:
    """Memory, scratch, descriptors and threads end, each with an error and no more."""
    assert ask(warm, "return len(bytearray(300 << 20))") == 300 << 20
    assert ask(warm, "return len(bytearray(600 << 20))").startswith("MemoryError")
    assert "File too large" in ask(warm, "open('/scratch/a', 'wb').write(bytes(5 << 20))")
    full = """
    for name in 'abc':
        with open('/scratch/' + name, 'wb') as stream:
            stream.write(bytes(2 << 20))
    """
    assert "No space left" in ask(warm, full)
    assert "Too many open files" in ask(warm, "x = [os.open('/dev/null', 0) for _ in range(999)]")
    threads = """
    import threading
    gate, made = threading.Event(), []
    try:
        for _ in range(99):
            made.append(threading.Thread(target=gate.wait, daemon=True))
            made[-1].start()
    except RuntimeError:
        return len(made)
    finally:
        gate.set()
    """
    assert ask(warm, threads) <= SPEC.tasks


@pytest.mark.spec("CELL-35")
def test_processor_time_ends() -> None:
    """Whoever computes longer than agreed is killed."""
    for warm in _warm(replace(SPEC, processor_s=1)):
        written, end = run_to_end(warm, "while True: pass")
        assert (written, end.status) == (b"", 128 + signal.SIGKILL)
        assert 500 <= end.processor_ms <= 3000


@pytest.mark.spec("CELL-37")
def test_memory_can_be_taken_beforehand() -> None:
    """What a cell allocates later adds nothing to what it holds from the start."""
    for warm in _warm(replace(SPEC, memory_bytes=1 << 27, reserve=True)):
        body = """
        import resource
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(3):
            held = bytearray(100 << 20)
            del held
        return [before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
        """
        before, after = ask(warm, body)
        assert before >= (1 << 27 >> 10) * 15 // 16
        assert after - before < 4 << 10


@pytest.mark.spec("CELL-11", "CELL-20")
def test_cells_do_not_see_each_other(warm: Warm) -> None:
    """Two at once have numbers, files and memory of their own."""
    source = b"""
import os, builtins
def main(pipe):
    builtins.left = getattr(builtins, 'left', 0) + 1
    open('/scratch/mine', 'x').write('x')
    os.write(pipe, b'%d %d' % (os.getpid(), builtins.left))
    os.read(pipe, 1)
"""
    with warm.fork({"p.py": source}, "p:main") as one, warm.fork({"p.py": source}, "p:main") as two:
        assert os.read(one.fileno(), 99) == os.read(two.fileno(), 99) == b"1 1"
        one.kill()
        assert one.wait(10).status == 128 + signal.SIGKILL
        os.write(two.fileno(), b"x")
        assert two.wait(10).status == 0


@pytest.mark.spec("CELL-50")
def test_how_a_cell_ended_is_told(warm: Warm) -> None:
    """Its status, whatever it was, and nothing of what it said about it."""
    for body, status in (
        ("raise SystemExit(7)", 7),
        ("raise SystemExit('no')", 1),
        ("raise ValueError('secret')", 1),
        ("os._exit(3)", 3),
        ("import ctypes; ctypes.string_at(0)", 128 + signal.SIGSEGV),
    ):
        source = f"import os\ndef main(pipe):\n    {body}\n".encode()
        with warm.fork({"p.py": source}, "p:main") as cell:
            assert os.read(cell.fileno(), 99) == b""
            assert cell.wait(10).status == status, body
    with warm.fork({}, "missing:main") as cell:
        assert cell.wait(10).status == 1


@pytest.mark.spec("CELL-50")
def test_a_cell_that_goes_on_can_be_ended(warm: Warm) -> None:
    """Waiting has an end, killing needs no help of the cell, closing kills."""
    with warm.fork({}, "time:sleep") as cell:  # sleeps for three seconds: its descriptor's number
        with pytest.raises(ConfinementError):
            cell.wait(0.05)
        cell.kill()
        assert cell.wait(10).status == 128 + signal.SIGKILL
        cell.kill()
    cell.close()


@pytest.mark.spec("CELL-50")
def test_cells_end_with_their_parent() -> None:
    """Whoever closes the parent, or dies, leaves no cell behind."""
    for warm in _warm(SPEC):
        cell = warm.fork({}, "time:sleep")
        warm.close()
        began = time.monotonic()
        assert os.read(cell.fileno(), 1) == b""
        assert time.monotonic() - began < 2
        with pytest.raises(ConfinementError):
            cell.wait(5)
        cell.close()


def _children(number: int) -> list[int]:
    tasks = Path(f"/proc/{number}/task").iterdir()
    return [int(each) for task in tasks for each in (task / "children").read_text().split()]


@pytest.mark.spec("CELL-11")
def test_a_fork_made_ahead_that_has_ended_is_an_error_and_the_next_one_works() -> None:
    """Somebody killed what waited: whoever asks is told, and nothing else changes."""
    for warm in _warm(SPEC):
        assert warm._process is not None
        (parent,) = _children(warm._process.pid)
        _await(lambda: len(_children(parent)) == 1)  # noqa: B023  # within this turn
        os.kill(_children(parent)[0], signal.SIGKILL)
        with pytest.raises(ConfinementError):
            warm.fork({}, "time:sleep")
        assert ask(warm, "return 1") == 1


def test_several_threads_may_make_cells(warm: Warm) -> None:
    """Orders do not mix."""
    cells: list[Cell] = []
    threads = [
        Thread(target=lambda: cells.append(warm.fork({}, "builtins:print"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [cell.wait(10).status for cell in cells] == [0] * 4
    for cell in cells:
        cell.close()


def test_a_pipe_carries_much(warm: Warm) -> None:
    """It is a stream: what does not fit at once comes later."""
    text, end = run_to_end(warm, "return 'x' * (8 << 20)")
    assert (len(text), end.status) == ((8 << 20) + 2, 0)


@pytest.mark.spec("CELL-11")
def test_modules_that_cannot_be_shared_are_refused(tmp_path: Path) -> None:
    """A missing module, and one that starts a thread, which no fork would have."""
    (tmp_path / "this.py").write_bytes(
        b"import threading, time\n"
        b"threading.Thread(target=time.sleep, args=(99,), daemon=True).start()"
    )
    place = Bind(str(tmp_path / "this.py"), str(Path(os.__file__).with_name("this.py")))
    for module in ("cloister_absent", "this"):
        spec = replace(SPEC, preload=(module,), binds=(place,))
        with Warm(spec) as warm, pytest.raises(ConfigError) as caught:
            warm.start()
        assert caught.value.code == "config.value"
        assert ("threads" if module == "this" else module) in str(caught.value.detail)


def test_an_interpreter_below_tmp_leaves_the_scratch_alone(tmp_path: Path) -> None:
    """Then `/tmp` is part of what is shown, and nothing can be written there."""
    tmp_path.chmod(0o755)  # cells of root are another user
    (tmp_path / "shown").write_text("shown")
    place = Bind(str(tmp_path), "/tmp/environment")  # noqa: S108  # of the cell's tree
    body = """
        import pathlib, tempfile
        shown = pathlib.Path("/tmp/environment/shown").read_text()
        try:
            pathlib.Path("/tmp/mine").write_text("")
        except OSError:
            return [shown, tempfile.gettempdir()]
    """
    with Warm(replace(SPEC, binds=(place,))) as warm:
        warm.start()
        assert ask(warm, body) == ["shown", "/scratch"]


def test_a_parent_is_started_once(warm: Warm) -> None:
    """Misuse is an error, not a second parent."""
    with pytest.raises(LocalProtocolError):
        warm.start()
    with pytest.raises(LocalProtocolError):
        Warm(SPEC).fork({}, "os:getpid")
    with pytest.raises(ConfigError):
        warm.fork({"../a": b""}, "os:getpid")
    with pytest.raises(ConfigError):
        warm.fork({}, "os.getpid")


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _await_end(group: Path) -> None:
    _await(lambda: not group.exists())


def _own_cgroups() -> list[Path]:
    """Return this process's folders of memory and tasks, if it may make groups in them."""
    folders = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in {"memory", "pids"}:
            folders.append(Path(f"/sys/fs/cgroup/{controllers}{path}"))
    if len(folders) != 2 or not all(os.access(folder, os.W_OK) for folder in folders):
        pytest.skip("no cgroups of version 1 are delegated to this user")
    return folders


@pytest.mark.spec("CELL-36")
def test_a_cell_has_a_cgroup_where_one_is_delegated() -> None:
    """Its limits are written, it alone is in it, and it is gone with the cell."""
    given = [folder / f"cloister-test-{os.getpid()}" for folder in _own_cgroups()]
    for folder in given:
        folder.mkdir()
    try:
        for warm in _warm(replace(SPEC, cgroups=tuple(map(str, given)))):
            with warm.fork({}, "time:sleep"):
                # The first of them: what is forked ahead for the next has one already.
                found = [min(folder.glob("cell-*")) for folder in given]
                assert [len((g / "cgroup.procs").read_text().split()) for g in found] == [1, 1]
                limits = {
                    name: (group / name).read_text().strip()
                    for group in found
                    for name in ("memory.limit_in_bytes", "pids.max")
                    if (group / name).exists()
                }
                total = SPEC.memory_bytes + SPEC.scratch_bytes + (64 << 20)
                assert limits == {"memory.limit_in_bytes": str(total), "pids.max": str(SPEC.tasks)}
            for group in found:
                _await_end(group)
        for folder in given:
            for group in folder.glob("cell-*"):
                _await_end(group)
    finally:
        for folder in given:
            folder.rmdir()


@pytest.mark.spec("CELL-36")
def test_a_folder_that_is_no_cgroup_is_refused(tmp_path: Path) -> None:
    """No cell runs without the limits that were asked for."""
    with Warm(replace(SPEC, cgroups=(str(tmp_path),))) as warm:
        warm.start()
        with pytest.raises(ConfinementError):
            warm.fork({}, "os:getpid")
    missing = replace(SPEC, cgroups=(str(tmp_path / "absent"),))
    with Warm(missing) as warm, pytest.raises(ConfinementError):
        warm.start()


def test_an_ordinary_user_makes_cells() -> None:
    """No privilege is needed: the user is the cell's own, and every layer is there."""
    found, missing = run_apart(users()[-1], _one_cell)
    assert found == [users()[-1], 1, 0, "cell"]
    assert missing == []


def _one_cell() -> list[object]:
    with Warm(SPEC) as warm:
        warm.start()
        body = "return [os.getuid(), os.getpid(), os.getppid(), os.uname().nodename]"
        return [ask(warm, body), sorted(warm.missing)]
