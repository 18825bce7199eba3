"""Attempts on other processes, to become several, and to become somebody else."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from escape.table import APART, NO_CONTROL, X86, Nothing, Place, call, libc, probe

_QUEUED: Final = bytes(8) + b"\xff" * 4 + bytes(116)  # a signal as a program queues it


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _vectors(place: Place) -> tuple[ctypes.Array[ctypes.c_char], _Vector, _Vector]:
    size = len(place.canary)
    mine = ctypes.create_string_buffer(size)
    return mine, _Vector(ctypes.addressof(mine), size), _Vector(place.address, size)


@probe("process.read-memory", "Read the memory of the trusted process", "EPERM")
def _read_memory(place: Place) -> object:
    mine, local, remote = _vectors(place)
    call(
        "process_vm_readv",
        place.trusted,
        ctypes.byref(local),
        1,
        ctypes.byref(remote),
        1,
        0,
    )
    if mine.raw != place.canary.encode():
        raise Nothing("other bytes")
    return mine.raw


@probe("process.write-memory", "Write into it", "EPERM")
def _write_memory(place: Place) -> object:
    mine, local, remote = _vectors(place)
    mine.raw = place.canary.encode()
    return call(
        "process_vm_writev",
        place.trusted,
        ctypes.byref(local),
        1,
        ctypes.byref(remote),
        1,
        0,
    )


@probe("process.trace", "Trace it", "EPERM")
def _trace(place: Place) -> object:
    call("ptrace", 0x4206, place.trusted, 0, 0)  # PTRACE_SEIZE, which stops nobody
    return call("ptrace", 17, place.trusted, 0, 0, reached=("ESRCH",))


@probe("process.trace-me", "Be traced by the parent", "EPERM")
def _trace_me(_: Place) -> object:
    return call("ptrace", 0, 0, 0, 0)


@probe("process.handle", "Take a handle of it", "EPERM")
def _handle(place: Place) -> object:
    return os.pidfd_open(place.trusted)


@probe("process.own-handle", "Take a handle of itself", "EPERM")
def _own_handle(_: Place) -> object:
    return os.pidfd_open(os.getpid())


@probe("process.take-descriptor", "Take a descriptor out of it", "EPERM")
def _take_descriptor(place: Place) -> object:
    try:
        handle = os.pidfd_open(place.trusted)
    except PermissionError:
        handle = place.pipe
    return call("pidfd_getfd", handle, 0, 0)


@probe("process.signal-by-handle", "Send a signal by a handle", "EPERM")
def _signal_by_handle(place: Place) -> object:
    return call("pidfd_send_signal", place.pipe, 0, None, 0, reached=("EBADF",))


@probe("process.signal-trusted", "Send a signal to the trusted process", "EPERM")
def _signal_trusted(place: Place) -> object:
    return os.kill(place.trusted, 0)


@probe("process.signal-parent", "Send one to the parent", "EPERM")
def _signal_parent(_: Place) -> object:
    return os.kill(os.getppid(), 0)


@probe("process.signal-group", "Send one to its group", "EPERM")
def _signal_group(_: Place) -> object:
    return os.kill(0, 0)


@probe("process.signal-all", "Send one to everybody", "EPERM", control=APART)
def _signal_all(_: Place) -> object:
    try:
        return os.kill(-1, 0)
    except ProcessLookupError:  # there was nobody else to send it to
        return "nobody"


@probe("process.signal-next", "Send one to the next number", "EPERM", control=NO_CONTROL,
       why="somebody else may have that number")  # fmt: skip
def _signal_next(_: Place) -> object:
    return os.kill(2, 0)


@probe("process.signal-thread", "Send one to a thread of it (tgkill)", "EPERM")
def _signal_thread(place: Place) -> object:
    return call("tgkill", place.trusted, place.trusted, 0)


@probe("process.signal-number", "Send one to any thread by its number (tkill)", "EPERM")
def _signal_number(place: Place) -> object:
    return call("tkill", place.trusted, 0)


@probe("process.queue-signal", "Queue one with a value", "EPERM")
def _queue_signal(place: Place) -> object:
    return call("rt_sigqueueinfo", place.trusted, 0, _QUEUED)


@probe("process.queue-signal-thread", "Queue one for a thread", "EPERM")
def _queue_signal_thread(place: Place) -> object:
    return call("rt_tgsigqueueinfo", place.trusted, place.trusted, 0, _QUEUED)


@probe("process.high-bits", "Hide another's number behind high bits", "EPERM")
def _high_bits(place: Place) -> object:
    return call("kill", (os.getpid() << 32) | place.trusted, 0)


@probe("process.compare", "Compare kernel objects with it (kcmp)", "EPERM")
def _compare(place: Place) -> object:
    return call("kcmp", os.getpid(), place.trusted, 0, 0, 0)


@probe("process.advise", "Advise the kernel about its memory", "EPERM")
def _advise(place: Place) -> object:
    return call("process_madvise", place.pipe, None, 0, 4, 0, reached=("EBADF",))


@probe("process.reap-memory", "Release its memory", "EPERM")
def _reap_memory(place: Place) -> object:
    return call("process_mrelease", place.pipe, 0, reached=("EBADF",))


@probe("process.limits-of-trusted", "Read its limits", "EPERM")
def _limits_of_trusted(place: Place) -> object:
    return resource.prlimit(place.trusted, resource.RLIMIT_NOFILE)


@probe("process.own-limits", "Set a limit of its own, even to what it is", "EPERM")
def _own_limits(_: Place) -> object:
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    return resource.prlimit(0, resource.RLIMIT_NPROC, (soft, hard))


@probe("process.schedule-trusted", "Change how it is scheduled", "EPERM")
def _schedule_trusted(place: Place) -> object:
    return os.sched_setscheduler(place.trusted, os.SCHED_OTHER, os.sched_param(0))


@probe("process.real-time", "Be scheduled before everybody", "EPERM")
def _real_time(_: Place) -> object:
    return os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


@probe("process.deadline", "Reserve processor time (sched_setattr)", "EPERM")
def _deadline(_: Place) -> object:
    return call("sched_setattr", 0, None, 0, reached=("EINVAL",))


@probe("process.affinity", "Choose a processor", "ENOSYS")
def _affinity(_: Place) -> object:
    return os.sched_setaffinity(0, os.sched_getaffinity(0))


@probe("process.nice", "Change its priority", "EPERM")
def _nice(_: Place) -> object:
    return os.setpriority(os.PRIO_PROCESS, 0, 1)


@probe("process.disk-priority", "Change its priority at disks", "EPERM")
def _disk_priority(_: Place) -> object:
    return call("ioprio_set", 1, 0, (2 << 13) | 4)


@probe("process.fork", "Be two", "EPERM")
def _fork(_: Place) -> object:
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)


@probe("process.vfork", "Be two that share memory", "EPERM", machine=X86)
def _vfork(_: Place) -> object:
    return call("clone", 0x4000 | signal.SIGCHLD, 0, 0, 0, 0) or os._exit(0)


@probe("process.old-fork", "Be two by the oldest call", "EPERM", machine=X86)
def _old_fork(_: Place) -> object:
    child = call("fork")
    return os.waitpid(child, 0) if child else os._exit(0)


@probe("process.clone3", "Be two by the call whose flags no filter can read", "ENOSYS")
def _clone3(_: Place) -> object:
    return call("clone3", None, 0, reached=("EINVAL", "EFAULT"))


_NAMESPACES: Final = {
    "mounts": 0x00020000, "groups": 0x02000000, "names": 0x04000000, "ipc": 0x08000000,
    "users": 0x10000000, "processes": 0x20000000, "network": 0x40000000, "time": 0x80,
}  # fmt: skip


def _new_namespace(flag: int) -> object:
    return call("unshare", flag)


def _child_in_namespace(flag: int) -> object:
    child = call("clone", flag | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)


for _name, _flag in _NAMESPACES.items():
    probe(f"namespace.{_name}", f"Enter a new namespace of {_name}", "EPERM", control=APART)(
        lambda _, flag=_flag: _new_namespace(flag)
    )
    if _name != "time":
        probe(
            f"namespace.child-{_name}", f"Have a child in one of {_name}", "EPERM", control=APART
        )(lambda _, flag=_flag: _child_in_namespace(flag))


@probe("namespace.thread-users", "Hide such a flag among those of a thread", "EPERM",
       control=NO_CONTROL, why="the kernel refuses this mixture everywhere")  # fmt: skip
def _thread_users(_: Place) -> object:
    return call("clone", 0x10000000 | 0x00010F00, 0, 0, 0, 0)


@probe("namespace.enter", "Enter a namespace that there is", "EPERM")
def _enter(place: Place) -> object:
    return call("setns", place.pipe, 0, reached=("EINVAL", "EBADF"))


@probe("exec.program", "Run a program", "EPERM", "ENOENT")
def _program(_: Place) -> object:
    return subprocess.run(["/bin/true"], check=True)


@probe("exec.spawn", "Run one by posix_spawn", "EPERM", "ENOENT")
def _spawn(_: Place) -> object:
    return os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


@probe("exec.loader", "Become a program that lies in the runtime", "EPERM")
def _loader(_: Place) -> object:
    names = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
    loader = next(name for name in names if Path(name).exists())
    return os.execve(loader, [loader, "--version"], {})  # noqa: S606  # that is the attempt


@probe("exec.interpreter", "Become another Python", "EPERM", "ENOENT")
def _interpreter(_: Place) -> object:
    return os.execve(sys.executable, [sys.executable, "-c", ""], {})  # noqa: S606  # that is the attempt


@probe("exec.scratch", "Become a program that it wrote", "EPERM")
def _scratch(place: Place) -> object:
    path = Path(place.folder, "program")
    path.write_bytes(b"#!/bin/true\n")
    path.chmod(0o755)
    return os.execve(path, [str(path)], {})  # noqa: S606  # that is the attempt


@probe("exec.memory", "Make a program in memory without a path", "ENOSYS")
def _memory(_: Place) -> object:
    return os.memfd_create("program")


@probe("exec.descriptor", "Become a program by its descriptor", "EPERM")
def _descriptor(place: Place) -> object:
    held = os.open(place.folder, os.O_RDONLY)
    return call("execveat", held, b"", None, None, 0x1000, reached=("EACCES", "EFAULT"))


@probe("exec.ask", "Ask whether it could (AT_EXECVE_CHECK)", "EPERM")
def _ask(_: Place) -> object:
    return call("execveat", -100, b"/", None, None, 0x10000, reached=("EACCES", "EINVAL"))


@probe("who.root", "Become root", "EPERM", control=APART)
def _root(_: Place) -> object:
    return os.setuid(0)


@probe("who.root-group", "Be of root's group", "EPERM", control=APART)
def _root_group(_: Place) -> object:
    return os.setgid(0)


@probe("who.groups", "Be of more groups", "EPERM", control=APART)
def _groups(_: Place) -> object:
    return os.setgroups([0, 1])


@probe("who.all-ids", "Become root in every way at once", "EPERM", control=APART)
def _all_ids(_: Place) -> object:
    return os.setresuid(0, 0, 0)


@probe("who.capabilities", "Take capabilities", "EPERM", control=APART)
def _capabilities(_: Place) -> object:
    head, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(1, 1)
    return call("capset", head, data)


@probe("who.session", "Leave its session", "EPERM", control=APART)
def _session(_: Place) -> object:
    return os.setsid()


@probe("who.group", "Leave its process group", "EPERM")
def _group(_: Place) -> object:
    return os.setpgid(0, 0)


_PRCTLS: Final[dict[str, tuple[int, ...]]] = {
    "dumpable": (4, 1), "parent-death": (1, 0), "keep-capabilities": (8, 1), "seccomp-off": (22, 0),
    "seccomp-more": (22, 2, 0), "timestamps": (26, 1), "securebits": (28, 0),
    "timer-slack": (29, 1),
    "memory-map": (35, 14, 0), "subreaper": (36, 1), "tracer": (0x59616D61, -1),
    "ambient": (47, 1, 0), "speculation": (53, 0, 4), "schedule-core": (62, 0, 0, 0),
    "no-new-privileges": (38, 1), "drop-capability": (24, 0), "merge-pages": (67, 1),
    "system-call-dispatch": (59, 99), "memory-errors": (33, 1, 0),
}  # fmt: skip
for _name, _arguments in _PRCTLS.items():
    probe(f"prctl.{_name}", f"prctl {_arguments[0]}: {_name}", "EPERM", control=APART)(
        lambda _, arguments=_arguments: call(
            "prctl", *arguments, reached=("EINVAL", "EFAULT", "ENXIO", "ENODEV")
        )
    )


@probe("prctl.visible-name", "Say something outside by the name of its process", "nothing")
def _visible_name(_: Place) -> object:
    name = ctypes.create_string_buffer(16)
    libc.prctl(16, name)
    before = name.value
    libc.prctl(15, b"says-something")
    libc.prctl(16, name)
    libc.prctl(15, before)
    if name.value == before:
        raise Nothing("it has no other name than before")
    return name.value


@probe("seccomp.filter", "Load a filter of its own", "EPERM")
def _filter(_: Place) -> object:
    return call("seccomp", 1, 0, None, reached=("EFAULT", "EACCES"))


@probe("seccomp.listener", "Ask what filters can", "EPERM")
def _listener(_: Place) -> object:
    sizes = (ctypes.c_uint16 * 3)()
    return call("seccomp", 3, 0, sizes)


@probe("bombs.processes", "Have very many processes", "EPERM", control=NO_CONTROL,
       why="it would; process.fork has one", alone=True)  # fmt: skip
def _many_processes(_: Place) -> object:
    made = 0
    for _attempt in range(200):
        if os.fork() == 0:
            signal.pause()
        made += 1
    return made


@probe("bombs.threads", "Have more threads than agreed", "EAGAIN", alone=True)
def _many_threads(place: Place) -> object:
    gate = threading.Event()
    try:
        for _attempt in range(place.tasks):
            threading.Thread(target=gate.wait, daemon=True).start()
    finally:
        gate.set()
    return place.tasks


@probe("bombs.processor", "Compute for longer than agreed", "SIGKILL", control=NO_CONTROL,
       why="it would for ever", alone=True)  # fmt: skip
def _processor(_: Place) -> object:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass


@probe("bombs.descriptors", "Have very many descriptors", "EMFILE", alone=True)
def _many_descriptors(_: Place) -> object:
    made = [os.open("/dev/null", os.O_RDONLY) for _attempt in range(400)]
    return len(made)


@probe("environment.variables", "Find a variable of whoever started it", "nothing")
def _variables(_: Place) -> object:
    pointer = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
    found: list[object] = [*os.environ]
    index = 0
    while pointer and pointer[index]:
        found.append(pointer[index])
        index += 1
    if found:
        return found[:3]
    raise Nothing("there is none")


@probe("environment.command-line", "Find how it was started", "nothing")
def _command_line(_: Place) -> object:
    if sys.argv == ["cell"] and not Path("/proc/self/cmdline").exists():
        raise Nothing("it is called cell")
    return sys.argv


@probe("environment.parent", "Find out who its parent is", "nothing")
def _parent(_: Place) -> object:
    if os.getppid() == 0 and os.getpid() == 1:
        raise Nothing("it is the first, and has none")
    return os.getppid()


@probe("environment.host-name", "Find the name of the machine", "nothing")
def _host_name(_: Place) -> object:
    if os.uname().nodename == "cell":
        raise Nothing("it is called cell")
    return os.uname().nodename


@probe("environment.children", "Wait for somebody's child", "EPERM", "ECHILD", control=NO_CONTROL,
       why="the kernel gives nobody another's child")  # fmt: skip
def _children(place: Place) -> object:
    return os.waitpid(place.trusted, os.WNOHANG)
