"""Attempts on devices, and on everything that procfs and sysfs tell or take."""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from escape.table import APART, Nothing, Place, call, probe


@probe("devices.list", "Find a device beside null and urandom", "nothing")
def _list(_: Place) -> object:
    found = {entry.name for entry in os.scandir("/dev")} - {"null", "urandom"}
    if found:
        return sorted(found)
    raise Nothing("these are all")


def _open_device(path: str, _: Place) -> object:
    return os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))


_DEVICES: Final = (
    "mem", "port", "kmsg", "kvm", "vsock", "fuse", "ptmx", "tty", "console", "userfaultfd",
    "vda", "loop-control", "loop0", "hwrng", "sev-guest", "tdx_guest", "tpm0", "nvidiactl",
    "dri/card0", "net/tun", "zero", "random", "shm", "mqueue", "fd/0", "stdin", "cpu/0/msr",
)  # fmt: skip
for _name in _DEVICES:
    probe(f"devices.{_name.replace('/', '-')}", f"Open /dev/{_name}", "ENOENT")(
        lambda place, path=f"/dev/{_name}": _open_device(path, place)
    )


@probe("devices.make-null", "Make a device that there is", "EPERM", control=APART)
def _make_null(place: Place) -> object:
    return os.mknod(f"{place.folder}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))


@probe("devices.make-disk", "Make the machine's disk", "EPERM", control=APART)
def _make_disk(place: Place) -> object:
    return os.mknod(f"{place.folder}/disk", stat.S_IFBLK | 0o666, os.makedev(254, 0))


@probe("devices.null-times", "Set the times of /dev/null, which the machine sees", "EROFS", "EPERM")
def _null_times(place: Place) -> object:
    return os.utime(place.null)


@probe("devices.urandom-times", "Set those of /dev/urandom", "EROFS", "EPERM")
def _urandom_times(place: Place) -> object:
    return os.utime("/dev/urandom" if place.peer < 0 else place.null)


@probe("devices.null-mode", "Change who may use /dev/null", "EROFS", "EPERM")
def _null_mode(place: Place) -> object:
    return Path(place.null).chmod(0o666)


@probe("devices.write-urandom", "Write into the machine's randomness", "EACCES")
def _write_urandom(_: Place) -> object:
    with Path("/dev/urandom").open("wb", buffering=0) as stream:
        return stream.write(b"x")


@probe("devices.terminal-input", "Type into a terminal (TIOCSTI)", "EPERM")
def _terminal_input(place: Place) -> object:
    try:
        return fcntl.ioctl(place.pipe, 0x5412, b"x")
    except OSError as e:
        if e.errno in {25, 22}:  # no terminal here: the kernel looked
            return "asked"
        raise


_PROC: Final = (
    "self/environ", "self/maps", "self/mem", "self/fd", "self/fdinfo", "self/root", "self/cwd",
    "self/task", "self/status", "self/ns/user", "self/mountinfo", "self/uid_map", "self/pagemap",
    "self/auxv", "self/cgroup", "self/stat", "self/map_files", "thread-self", "1/environ",
    "1/root", "2/status", "mounts", "stat", "loadavg", "uptime", "version", "cmdline", "kcore",
    "kallsyms", "keys", "key-users", "modules", "net/tcp", "net/unix", "net/dev", "interrupts",
    "sys/kernel/random/boot_id", "sys/kernel/hostname", "sys/kernel/core_pattern", "sysvipc/shm",
    "slabinfo", "vmstat", "locks", "diskstats", "pressure/cpu", "schedstat", "timer_list",
    "sysrq-trigger", "driver/rtc",
)  # fmt: skip
for _name in _PROC:
    probe(f"proc.{_name.replace('/', '-')}", f"Look at /proc/{_name}", "ENOENT")(
        lambda _, path=f"/proc/{_name}": os.lstat(path)
    )


@probe("proc.trusted", "Look at the trusted process", "ENOENT")
def _trusted(place: Place) -> object:
    return Path(f"/proc/{place.trusted}/root/").stat()


@probe("proc.trusted-memory", "Open its memory", "ENOENT")
def _trusted_memory(place: Place) -> object:
    return os.close(os.open(f"/proc/{place.trusted}/mem", os.O_RDONLY))


@probe("proc.processes", "List processes", "nothing")
def _processes(_: Place) -> object:
    found = [entry.name for entry in os.scandir("/proc") if entry.name.isdigit()]
    if found:
        return found[:5]
    raise Nothing("none is listed")


@probe("proc.pipe-by-path", "Open the pipe again by the path of its descriptor", "ENOENT")
def _pipe_by_path(place: Place) -> object:
    try:
        return os.open(f"/proc/self/fd/{place.pipe}", os.O_RDWR)
    except OSError as e:
        if e.errno == 6:  # ENXIO: a socket cannot be opened so, but it was found
            return "found"
        raise


@probe("proc.secret-by-root", "Read the secret below the root of the process", "ENOENT")
def _secret_by_root(place: Place) -> object:
    return Path(f"/proc/self/root{place.secret}").read_bytes()


@probe("proc.own-program", "Write into the program that runs", "ENOENT")
def _own_program(_: Place) -> object:
    try:
        return os.open("/proc/self/exe", os.O_WRONLY)
    except OSError as e:
        if e.errno == 26:  # ETXTBSY: found, and busy
            return "found"
        raise


@probe("proc.live-memory", "See how much memory the machine has free", "nothing")
def _live_memory(_: Place) -> object:
    lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    names = {line.split(":")[0] for line in lines}
    if names == {"MemTotal", "MemFree", "MemAvailable"} and len({x.split()[1] for x in lines}) == 1:
        raise Nothing("a text that was written before")
    return lines[:5]


@probe("proc.live-clock", "See how fast the processor runs now", "nothing", machine="x86_64")
def _live_clock(_: Place) -> object:
    text = Path("/proc/cpuinfo").read_text("utf-8")
    if "MHz" in text.split("flags")[0]:
        return "cpu MHz"
    raise Nothing("the line was left out")


_SYS: Final = (
    "kernel", "class/net", "class/dmi", "fs/cgroup", "block", "module", "power/state", "firmware",
    "bus/pci/devices", "devices/system/node", "devices/system/cpu/cpu0", "devices/virtual/net",
    "kernel/security", "kernel/debug", "fs/bpf",
)  # fmt: skip
for _name in _SYS:
    probe(f"sys.{_name.replace('/', '-')}", f"Look at /sys/{_name}", "ENOENT")(
        lambda _, path=f"/sys/{_name}": os.lstat(path)
    )

for _kind in (b"proc", b"sysfs", b"tmpfs", b"devpts", b"mqueue", b"cgroup2", b"overlay"):
    probe(f"mount.{_kind.decode()}", f"Mount a new {_kind.decode()}", "EPERM", control=APART)(
        lambda place, kind=_kind: call(
            "mount", b"none", place.folder.encode(), kind, 0, None, reached=("EINVAL",)
        )
    )


@probe("mount.bind", "Mount a folder elsewhere", "EPERM", control=APART)
def _bind(place: Place) -> object:
    return call("mount", b"/usr", place.folder.encode(), None, 0x1000, None)


@probe("mount.writable", "Make the runtime writable", "EPERM", control=APART)
def _writable(_: Place) -> object:
    return call("mount", None, b"/", None, 0x20 | 0x1000, None)


@probe("mount.attributes", "Make it writable by the newer call", "EPERM", control=APART)
def _attributes(_: Place) -> object:
    wanted = (ctypes.c_uint64 * 4)(0, 1, 0, 0)
    return call("mount_setattr", -100, b"/", 0, wanted, ctypes.sizeof(wanted))


@probe("mount.umount", "Take a mount away", "EPERM", control=APART)
def _umount(_: Place) -> object:
    return call("umount2", b"/proc", 2)


@probe("mount.pivot", "Exchange the root", "EPERM", control=APART)
def _pivot(place: Place) -> object:
    folder = place.folder.encode()
    return call("pivot_root", folder, folder, reached=("EINVAL", "EBUSY"))


@probe("mount.chroot", "Change the root", "EPERM", control=APART)
def _chroot(place: Place) -> object:
    return os.chroot(place.folder)


@probe("mount.fsopen", "Open a new file system without a path", "EPERM", control=APART)
def _fsopen(_: Place) -> object:
    return call("fsopen", b"tmpfs", 0)


@probe("mount.fsconfig", "Configure one", "EPERM", control=APART)
def _fsconfig(_: Place) -> object:
    return call("fsconfig", -1, 0, None, None, 0, reached=("EINVAL", "EBADF"))


@probe("mount.fsmount", "Make it a mount", "EPERM", control=APART)
def _fsmount(_: Place) -> object:
    return call("fsmount", -1, 0, 0, reached=("EBADF",))


@probe("mount.fspick", "Take hold of a mounted one", "EPERM", control=APART)
def _fspick(_: Place) -> object:
    return call("fspick", -100, b"/", 0, reached=("EINVAL",))


@probe("mount.open-tree", "Copy a mounted tree to a descriptor", "EPERM", control=APART)
def _open_tree(_: Place) -> object:
    return call("open_tree", -100, b"/", 1)


@probe("mount.move", "Move a mount", "EPERM", control=APART)
def _move(place: Place) -> object:
    folder = place.folder.encode()
    return call("move_mount", -100, b"/proc", -100, folder, 0, reached=("EINVAL",))


@probe("mount.list", "List mounts by number", "EPERM", control=APART)
def _list_mounts(_: Place) -> object:
    return call("listmount", None, None, 0, 0, reached=("EFAULT",))


@probe("mount.ask", "Ask what a mount is", "EPERM", control=APART)
def _ask(_: Place) -> object:
    return call("statmount", None, None, 0, 0, reached=("EFAULT",))


for _name, _arguments, _reached in (
    ("swapon", (b"/nowhere", 0), ("ENOENT", "EINVAL")),
    ("swapoff", (b"/nowhere",), ("ENOENT", "EINVAL")),
    ("acct", (b"/nowhere",), ("ENOENT",)),
    ("quotactl", (0x80000100, b"/nowhere", 0, None), ("ENOENT", "EINVAL", "ENOTBLK", "ENOSYS")),
):
    probe(f"mount.{_name}", f"Call {_name}", "EPERM")(
        lambda _, name=_name, arguments=_arguments, reached=_reached: call(
            name, *arguments, reached=reached
        )
    )
