"""A sandbox from outside: what a program in it sees, what it cannot, and how it ends."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cloister.confinement import (
    Bind,
    Command,
    FuseMount,
    Sandbox,
    SandboxSpec,
    namespaces,
    syscalls,
)
from cloister.confinement.sandbox import PlacedFile
from integration.apart import run_apart, users

pytestmark = pytest.mark.fuse
everybody = pytest.mark.parametrize("user_id", users())

_BASE = str(Path(sys.base_prefix).resolve())
_PYTHON = str(Path(sys.executable).resolve())
_SPEC = SandboxSpec(binds=(Bind(_BASE, _BASE),))


def _run(
    argv: tuple[str, ...],
    *,
    spec: SandboxSpec = _SPEC,
    files: tuple[PlacedFile, ...] = (),
    environment: Mapping[str, str] | None = None,
    listeners: Mapping[str, int] | None = None,
) -> tuple[int, str, str]:
    """Run a program to its end; return status, output, errors."""
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    with Sandbox(spec) as sandbox:
        sandbox.start()
        sandbox.place(files)
        command = Command(argv, {"PATH": "/usr/bin:/bin"} | dict(environment or {}), "/")
        sandbox.go(command, stdout=out_end, stderr=err_end, listeners=listeners or {})
        os.close(out_end)
        os.close(err_end)
        output, errors = _drain(out), _drain(err)
        found = sandbox.wait(timeout_s=20)
    assert found is not None
    return found.status, output, errors


def _drain(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read().decode()


def _python(code: str, **options: Any) -> tuple[int, str, str]:
    return _run((_PYTHON, "-I", "-c", code), **options)


@everybody
def test_a_program_runs_and_its_output_and_status_come_back(user_id: int) -> None:
    """Output, errors and exit status of the workload reach the launcher."""
    status, output, errors = run_apart(
        user_id, _python, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    )
    assert (status, output, errors) == (7, "out\n", "err\n")


@everybody
def test_a_signal_that_ends_the_workload_is_reported_as_shells_do(user_id: int) -> None:
    """Death by signal n gives the status 128 + n."""
    status, _, _ = run_apart(user_id, _python, "import os; os.kill(os.getpid(), 9)")
    assert status == 137


_READS = """
import os, sys
for path in sys.argv[1:]:
    try:
        os.scandir(path) if path.endswith('/') else open(path, 'rb').read(1)
        print('open', path)
    except OSError as e:
        print(e.errno, path)
"""


@everybody
def test_host_files_outside_the_binds_do_not_exist(user_id: int) -> None:
    """Neither secrets of the host nor the sources of this test can be named inside."""
    paths = (
        "/etc/shadow",
        "/etc/machine-id",
        "/root/.bashrc",
        __file__,
        "/var/",
        "/.host/",
        "/mnt/",
    )
    status, output, errors = run_apart(user_id, _run, (_PYTHON, "-I", "-c", _READS, *paths))
    assert (status, errors) == (0, "")
    assert output.splitlines() == [f"{errno.ENOENT} {path}" for path in paths]


_WRITES = """
import os, sys
for path in sys.argv[1:]:
    try:
        with open(path + '/probe', 'w') as f: f.write('x')
        print('wrote', path)
    except OSError as e:
        print(e.errno, path)
"""


@everybody
def test_only_memory_can_be_written(user_id: int) -> None:
    """Programs, settings and the root are read-only; /tmp, /dev/shm, /run and /home are not."""
    closed = ("/usr", "/etc", "/", "/dev", "/code", _BASE)
    opened = ("/tmp", "/dev/shm", "/run", "/home")  # noqa: S108  # inside the sandbox
    files = (PlacedFile("/code/main.py", b"pass", 0o444),)

    def probe() -> tuple[int, str, str]:
        return _run((_PYTHON, "-I", "-c", _WRITES, *closed, *opened), files=files)

    status, output, errors = run_apart(user_id, probe)
    assert (status, errors) == (0, "")
    expected = [f"{errno.EROFS} {path}" for path in closed] + [f"wrote {path}" for path in opened]
    assert output.splitlines() == expected
    assert not Path("/tmp/probe").exists()  # noqa: S108  # nothing came out


@everybody
def test_other_processes_and_the_launcher_memory_are_out_of_sight(user_id: int) -> None:
    """Only pid 1 and the workload exist; pid 1 shows neither environment nor memory."""
    code = (
        "import os\n"
        "print(sorted(int(n) for n in os.listdir('/proc') if n.isdigit()))\n"
        "for name in ('environ', 'mem', 'maps', 'fd'):\n"
        "    try:\n"
        "        os.readlink('/proc/1/fd/3') if name == 'fd' else open('/proc/1/' + name).read(1)\n"
        "        print('open', name)\n"
        "    except OSError as e: print(e.errno, name)\n"
    )
    status, output, _ = run_apart(user_id, _python, code)
    lines = output.splitlines()
    assert (status, lines[0]) == (0, "[1, 2]")
    assert all(line.startswith(str(errno.EACCES)) for line in lines[1:])


@everybody
def test_kernel_switches_cannot_be_written(user_id: int) -> None:
    """/proc is read-only, even for the uid that owns its switches outside."""
    code = (
        "for path in ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', "
        "'/proc/sys/kernel/hostname', '/proc/self/oom_score_adj'):\n"
        "    try:\n"
        "        open(path, 'w').write('0'); print('wrote', path)\n"
        "    except OSError as e: print('refused')\n"
    )
    _, output, _ = run_apart(user_id, _python, code)
    assert output.splitlines() == ["refused"] * 4


_CONNECTS = """
import socket
for target in (('127.0.0.1', PORT), ('192.0.2.1', 80)):
    try: socket.create_connection(target, 2); print('connected')
    except OSError as e: print(e.errno)
s = socket.create_server(('127.0.0.1', 0))
socket.create_connection(s.getsockname(), 2); print('own loopback')
try: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
except OSError as e: print(e.errno)
"""


@everybody
def test_no_network_but_its_own_loopback(user_id: int) -> None:
    """A server on the host's loopback cannot be reached; the workload's own can."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = _CONNECTS.replace("PORT", str(port))
        _, output, _ = run_apart(user_id, _python, code)
    assert output.splitlines() == [
        str(errno.ECONNREFUSED), str(errno.ENETUNREACH), "own loopback", str(errno.EAFNOSUPPORT),
    ]  # fmt: skip


_PRIVILEGES = """
import ctypes, os, resource
lines = open('/proc/self/status').read().splitlines()
f = dict(l.split(':\\t') for l in lines if ':\\t' in l)
sets = [int(f[k], 16) for k in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')]
print(sets, f['NoNewPrivs'], f['Seccomp'])
print(resource.getrlimit(resource.RLIMIT_CORE), open('/proc/self/coredump_filter').read().strip())
libc = ctypes.CDLL(None, use_errno=True)
print(libc.unshare(0x10000000), libc.unshare(0x20000), libc.ptrace(0, 0, 0, 0))
clone = 56 if os.uname().machine == 'x86_64' else 220
print(libc.syscall(clone, 0x10000000 | 17, 0, 0, 0, 0))
print(open('/proc/sys/user/max_user_namespaces').read().strip())
"""


@everybody
def test_no_privilege_is_left_and_none_can_be_gained(user_id: int) -> None:
    """No capability, no new privileges, a filter, no core dumps, no nested user namespace."""
    _, output, errors = run_apart(user_id, _python, _PRIVILEGES)
    assert errors == ""
    assert output.splitlines() == [
        "[0, 0, 0, 0, 0] 1 2", "(1, 1) 00000000", "-1 -1 -1", "-1", "0",
    ]  # fmt: skip


@everybody
def test_environment_and_descriptors_are_as_given(user_id: int) -> None:
    """Nothing of the launcher's environment or open files arrives."""
    code = (
        "import os\n"
        "print(sorted(os.environ))\n"
        "print([fd for fd in range(256) if os.path.exists(f'/proc/self/fd/{fd}')])\n"
        "print(os.readlink('/proc/self/fd/0'), os.getcwd(), oct(os.umask(0)))\n"
    )

    def probe() -> tuple[int, str, str]:
        os.environ["SECRET_OF_THE_HOST"] = "1"
        keep = os.open("/etc/hostname", os.O_RDONLY)
        os.set_inheritable(keep, True)  # noqa: FBT003  # the function takes it so
        return _run((_PYTHON, "-I", "-c", code), environment={"LANG": "C.UTF-8"})

    _, output, _ = run_apart(user_id, probe)
    assert output.splitlines() == ["['LANG', 'PATH']", "[0, 1, 2]", "/dev/null / 0o77"]


@everybody
def test_listening_sockets_are_passed_in_the_way_of_socket_activation(user_id: int) -> None:
    """A socket that the launcher bound is served from inside, where no network exists."""
    code = (
        "import os, socket\n"
        "assert os.environ['LISTEN_PID'] == str(os.getpid())\n"
        "print(os.environ['LISTEN_FDS'], os.environ['LISTEN_FDNAMES'], flush=True)\n"
        "s = socket.socket(fileno=3)\n"
        "c, _ = s.accept(); c.sendall(b'hello from inside'); c.close()\n"
    )

    def probe() -> list[str]:
        server = socket.create_server(("127.0.0.1", 0))
        out, out_end = os.pipe()
        with Sandbox(_SPEC) as sandbox:
            sandbox.start()
            command = Command((_PYTHON, "-I", "-c", code), {}, "/")
            sandbox.go(command, stdout=out_end, stderr=2, listeners={"https": server.fileno()})
            os.close(out_end)
            with socket.create_connection(server.getsockname(), 10) as client:
                said = client.recv(100).decode()
            sandbox.wait(timeout_s=10)
        return [said, _drain(out)]

    assert run_apart(user_id, probe) == ["hello from inside", "1 https\n"]


@everybody
def test_placed_files_keep_their_mode_and_content(user_id: int) -> None:
    """An identity file is readable by the workload alone."""
    files = (PlacedFile("/run/cloister/identity/key.pem", b"secret\n", 0o400),)
    code = (
        "import os; p='/run/cloister/identity/key.pem'\n"
        "print(oct(os.stat(p).st_mode), open(p).read())"
    )

    def probe() -> tuple[int, str, str]:
        return _python(code, files=files)

    assert run_apart(user_id, probe)[1] == "0o100400 secret\n\n"


@everybody
def test_a_fuse_mount_without_a_server_fails_closed(user_id: int) -> None:
    """When the last descriptor of a mount is gone, calls on it fail instead of waiting."""
    code = (
        "import os\n"
        "try: os.listdir('/data'); print('listed')\n"
        "except OSError as e: print(e.errno)\n"
    )

    def probe() -> list[Any]:
        out, out_end = os.pipe()
        with Sandbox(_SPEC) as sandbox:
            sandbox.start()
            mounted = sandbox.mount([FuseMount("/data", fsname="cloister", read_only=True)])
            os.close(mounted[0].descriptor)
            command = Command((_PYTHON, "-I", "-c", code), {}, "/")
            sandbox.go(command, stdout=out_end, stderr=2, listeners={})
            os.close(out_end)
            text = _drain(out)
            sandbox.wait(timeout_s=10)
        return [text, mounted[0].device]

    text, device = run_apart(user_id, probe)
    assert text == f"{errno.ENOTCONN}\n"
    assert device.startswith("0:")


@everybody
def test_a_program_that_is_not_there_is_refused_by_name(user_id: int) -> None:
    """`workload.start` names the program."""
    outcome = run_apart(user_id, _run, ("/nowhere/program",))
    assert outcome["code"] == "workload.start"
    assert "/nowhere/program" in outcome["public"]


@everybody
def test_a_volume_cannot_cover_the_runtime(user_id: int) -> None:
    """`config.value` for a mount point inside /usr."""

    def probe() -> None:
        with Sandbox(_SPEC) as sandbox:
            sandbox.start()
            sandbox.mount([FuseMount("/usr/lib", fsname="cloister", read_only=True)])

    assert run_apart(user_id, probe)["code"] == "config.value"


@everybody
def test_a_placed_file_cannot_replace_another(user_id: int) -> None:
    """`confinement.setup` names the step and the path."""

    def probe() -> None:
        with Sandbox(_SPEC) as sandbox:
            sandbox.start()
            sandbox.place([PlacedFile("/etc/passwd", b"", 0o644)])

    outcome = run_apart(user_id, probe)
    assert outcome["code"] == "confinement.setup"
    assert "/etc/passwd" in outcome["public"]


@everybody
def test_signals_reach_the_workload_and_killing_ends_every_process(user_id: int) -> None:
    """SIGTERM is forwarded; `kill` takes the workload's children along."""
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: os.write(1, b'term'))\n"
        "if os.fork() == 0: time.sleep(60)\n"
        "os.write(1, b'ready ')\n"
        "while True: time.sleep(60)\n"
    )

    def probe() -> list[Any]:
        out, out_end = os.pipe()
        with Sandbox(_SPEC) as sandbox:
            sandbox.start()
            command = Command((_PYTHON, "-I", "-c", code), {}, "/")
            sandbox.go(command, stdout=out_end, stderr=2, listeners={})
            os.close(out_end)
            seen = os.read(out, 100)
            sandbox.signal(signal.SIGTERM)
            seen += os.read(out, 100)
            running = sandbox.wait(timeout_s=0.05)
            sandbox.kill()
            found = sandbox.wait(timeout_s=10)
            # The child held the pipe too: the end of it shows that the child is gone.
            ended = os.read(out, 100)
        assert found is not None
        return [seen.decode(), running is None, found.status, ended.decode()]

    assert run_apart(user_id, probe) == ["ready term", True, 137, ""]


@everybody
def test_the_stage_dies_with_the_launcher(user_id: int) -> None:
    """A launcher that is killed leaves no process behind."""
    code = "import time; print('ready', flush=True); time.sleep(60)"

    def probe() -> bool:
        out, out_end = os.pipe()
        launcher = os.fork()
        if launcher == 0:
            sandbox = Sandbox(_SPEC)
            sandbox.start()
            command = Command((_PYTHON, "-I", "-c", code), {}, "/")
            sandbox.go(command, stdout=out_end, stderr=2, listeners={})
            time.sleep(60)
        os.close(out_end)
        assert os.read(out, 100) == b"ready\n"
        os.kill(launcher, signal.SIGKILL)
        os.waitpid(launcher, 0)
        # End of file: nobody is left who could write.
        return bool(select.select([out], [], [], 5)[0]) and os.read(out, 1) == b""

    assert run_apart(user_id, probe) is True


def _mount_one() -> None:
    with Sandbox(_SPEC) as sandbox:
        sandbox.start()
        sandbox.mount([FuseMount("/data", fsname="cloister", read_only=True)])


@pytest.mark.parametrize(
    ("replacement", "hint"), [(0o020600, "chmod 0666 /dev/fuse"), (None, "modprobe fuse")]
)
def test_a_machine_without_fuse_is_named(
    monkeypatch: pytest.MonkeyPatch, replacement: int | None, hint: str
) -> None:
    """`machine.fuse` says what is wrong with the device, and how to change that."""
    if os.geteuid() != 0:
        pytest.skip("needs root to take the device away")
    monkeypatch.setenv("CLOISTER_TEST_EXPECTS_FAILURE", "1")
    outcome = run_apart(users()[-1], _mount_one, fuse=replacement)
    assert outcome["code"] == "machine.fuse"
    assert hint in outcome["hint"]


def test_a_machine_without_user_namespaces_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """`machine.namespaces` names the switch that forbids them."""
    monkeypatch.setenv("CLOISTER_TEST_EXPECTS_FAILURE", "1")

    def probe() -> None:
        # An outer namespace that allows no further one stands for a machine without them.
        user, group = os.geteuid(), os.getegid()
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        namespaces.map_own_identity(user, group)
        namespaces.limit_nested_namespaces(0)
        _mount_one()

    outcome = run_apart(users()[-1], probe)
    assert outcome["code"] == "machine.namespaces"
    assert "user.max_user_namespaces" in outcome["public"]


def test_nested_inside_an_outer_user_namespace() -> None:
    """The sandbox also works where user and network are already namespaces."""

    def probe() -> tuple[int, str, str]:
        user, group = os.geteuid(), os.getegid()
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS)
        namespaces.map_own_identity(user, group)
        return _python("print('nested')")

    assert run_apart(users()[-1], probe)[:2] == [0, "nested\n"]


def test_an_unfinished_sandbox_is_cleaned_up() -> None:
    """Closing before `go` leaves no process and raises nothing."""

    def probe() -> list[int]:
        sandbox = Sandbox(_SPEC)
        sandbox.start()
        supervisor = sandbox._supervisor
        sandbox.close()
        sandbox.close()
        try:
            os.kill(supervisor, 0)
        except ProcessLookupError:
            return [0]
        return [supervisor]

    assert run_apart(users()[0], probe) == [0]


def test_start_failure_names_the_step() -> None:
    """A bind whose source is gone is `confinement.setup` with the path."""

    def probe() -> None:
        spec = SandboxSpec(binds=(Bind("/nowhere/at/all", "/opt/x"),))
        with Sandbox(spec) as sandbox:
            sandbox.start()
            sandbox.place([PlacedFile("/run/x", b"", 0o400)])

    outcome = run_apart(users()[0], probe)
    assert outcome["code"] in {"confinement.setup", "config.missing"}
    assert "/nowhere/at/all" in outcome["public"]


_LOOK = """
import os, sys
path = sys.argv[1]
print(open(path).read(), oct(os.stat(path).st_mode & 0o777), os.listdir('/'))
print([line.split(' - ')[1].split()[0] for line in open('/proc/self/mountinfo')
       if line.split()[4] == path])
for act in (lambda: open(path, 'w'), lambda: os.unlink(path), lambda: os.chmod(path, 0o777)):
    try:
        act()
        print('done')
    except OSError as e:
        print(e.errno)
"""


@pytest.mark.spec("SEC-62")
@everybody
@pytest.mark.parametrize("path", ["/run/secrets/a", "/etc/app/a", "/home/a", "/deep/er/a"])
def test_kept_files_are_in_memory_that_is_not_swapped(user_id: int, path: str) -> None:
    """A ramfs at its place alone, with its mode; the workload reads it, and cannot change it."""

    def inside() -> Any:
        out, out_end = os.pipe()
        with Sandbox(_SPEC) as sandbox:
            sandbox.start()
            sandbox.keep([PlacedFile(path, b"kept", 0o440)])
            sandbox.place([PlacedFile("/code/x", b"", 0o444)])
            command = Command((_PYTHON, "-c", _LOOK, path), {}, "/")
            sandbox.go(command, stdout=out_end, stderr=2, listeners={})
            os.close(out_end)
            text = _drain(out)
            found = sandbox.wait(timeout_s=20)
        assert found is not None
        return [found.status, text]

    status, text = run_apart(user_id, inside)
    lines = text.splitlines()
    assert status == 0
    assert lines[0].startswith("kept 0o440 ")
    assert ".unswapped" not in lines[0]
    assert lines[1] == "['ramfs']"
    refused = {str(number) for number in (errno.EROFS, errno.EACCES, errno.EBUSY, errno.EPERM)}
    assert set(lines[2:]) <= refused


@pytest.mark.spec("SEC-62")
def test_files_are_kept_before_any_volume_and_only_where_nothing_is() -> None:
    """A path that is taken, one below a read-only bind, and one that a volume could swallow."""

    def refused(path: str, *, mounted: bool) -> Any:
        with Sandbox(_SPEC) as sandbox:
            sandbox.start()
            if mounted:
                (mount,) = sandbox.mount([FuseMount("/data", fsname="test", read_only=False)])
                os.close(mount.descriptor)
            sandbox.keep([PlacedFile(path, b"kept", 0o400)])

    for path, mounted in (("/etc/passwd", False), ("/usr/x", False), ("/data/x", True)):
        found = run_apart(users()[0], lambda p=path, m=mounted: refused(p, mounted=m))
        assert found["code"] == "confinement.setup"
