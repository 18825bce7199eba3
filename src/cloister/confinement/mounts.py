"""The file tree that the workload sees: planned first, from a look at the host, then built.

Nothing of the host is there unless the plan names it, and what is there is read-only. Invariants:

1. The root, `/etc` and everything placed before `go` become read-only before the workload starts.
2. Only `/tmp`, `/dev/shm`, `/run`, `/home` and volumes can be written; the first four are memory.
   What is mounted over parts of a volume is in `regions`.
3. Binds carry nosuid and nodev; devices are the six listed here.
4. `/proc` belongs to the new pid namespace and is read-only: to a workload started by root, its
   switches would be writable by mode bits alone. Where there may be cells, a second one can be
   written to that has no switches.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.confinement import syscalls
from cloister.confinement.network import NetworkSpec, hosts_text
from cloister.errors import ConfigError

__all__ = [
    "CELLS_PROC",
    "OLD_ROOT",
    "RESERVED",
    "Bind",
    "FuseMount",
    "HostView",
    "Link",
    "Mounted",
    "RootPlan",
    "TextFile",
    "attach_fuse",
    "build_root",
    "detach_host",
    "freeze_root",
    "mount_memory",
    "mount_proc",
    "mount_proc_for_cells",
    "observe_host",
    "plan_root",
    "require_volume_target",
]

OLD_ROOT: Final = "/.host"
CELLS_PROC: Final = "/.cells"
"""A procfs of processes alone, which a workload that may make cells can write to."""
# Where no volume may be mounted: the runtime's own places.
RESERVED: Final = (
    "/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin",
    "/sys", "/usr", CELLS_PROC, OLD_ROOT,
)  # fmt: skip

_TOP_LEVEL: Final = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_ETC: Final = (
    "alternatives", "ca-certificates.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "localtime", "mime.types", "pki", "ssl", "timezone",
)  # fmt: skip
_HARDWARE_FACTS: Final = ("/sys/devices/system/cpu", "/sys/devices/system/node")
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_MASKED_PROC: Final = (
    "acpi", "asound", "bus", "fs", "interrupts", "irq", "kallsyms", "kcore", "key-users", "keys",
    "kmsg", "kpagecount", "kpageflags", "latency_stats", "sched_debug", "scsi", "sysrq-trigger",
    "sysvipc", "timer_list",
)  # fmt: skip
_TMPFS_FLAGS: Final = syscalls.MS_NOSUID | syscalls.MS_NODEV
_READ_ONLY: Final = (
    syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
)


@dataclass(frozen=True, slots=True)
class Bind:
    """A host file or folder, shown read-only at `target`; both are absolute."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link at `path`."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class TextFile:
    """A small file that Cloister writes itself; readable by all, read-only once frozen."""

    path: str
    content: str


@dataclass(frozen=True, slots=True)
class FuseMount:
    """A file system that a process outside will serve, at `target`; its type is `fuse.<fsname>`."""

    target: str
    fsname: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount that waits for its server: the descriptor to serve, and its device number `0:53`."""

    descriptor: int
    device: str


@dataclass(frozen=True, slots=True)
class HostView:
    """What was found on the host: links by path, and which of the wanted paths exist."""

    links: dict[str, str]
    existing: frozenset[str]


@dataclass(frozen=True, slots=True)
class RootPlan:
    """All of the tree that is known before the volumes are."""

    binds: tuple[Bind, ...]
    links: tuple[Link, ...]
    files: tuple[TextFile, ...]
    hidden: tuple[str, ...]


def observe_host() -> HostView:
    """Look at the host's top-level folders and the files of /etc that the runtime may need."""
    links: dict[str, str] = {}
    existing: set[str] = set()
    wanted = [f"/{name}" for name in _TOP_LEVEL] + [f"/etc/{name}" for name in _ETC]
    for path in [*wanted, "/usr", *_HARDWARE_FACTS]:
        if Path(path).is_symlink():
            links[path] = str(Path(path).readlink())
        if Path(path).exists():
            existing.add(path)
    return HostView(links, frozenset(existing))


def plan_root(
    binds: Sequence[Bind],
    hidden: Sequence[str],
    *,
    host: HostView,
    user_id: int,
    group_id: int,
    hostname: str,
    network: NetworkSpec | None,
) -> RootPlan:
    """Decide the tree: the system's programs and libraries, the caller's binds, a small /etc.

    Args:
        binds: Beyond the system: interpreter, packages, sources. A target inside `/usr` or another
            bind with the same source is already there and is left out.
        hidden: Folders inside binds that must look empty.
        host: What `observe_host` found.
        user_id: The one user that exists inside.
        group_id: The one group that exists inside.
        hostname: The machine's name inside.
        network: What names of others there are; None for no network, and none.
    """
    links: list[Link] = []
    wanted: list[Bind] = []
    for path in [f"/{name}" for name in _TOP_LEVEL] + [f"/etc/{name}" for name in _ETC]:
        target = host.links.get(path)
        if target is not None and path in host.existing:
            links.append(Link(path, target))
        elif path in host.existing:
            wanted.append(Bind(path, path))
    wanted += [Bind(path, path) for path in ("/usr", *_HARDWARE_FACTS) if path in host.existing]
    wanted += binds
    return RootPlan(
        binds=tuple(_without_covered(wanted, links)),
        links=tuple(links),
        files=(*_user_files(user_id, group_id), *_name_files(hostname, network)),
        hidden=tuple(hidden),
    )


def require_volume_target(target: str) -> None:
    """Refuse to cover what the runtime itself needs.

    Raises:
        ConfigError: `target` is not absolute and plain, or lies in a reserved place.
    """
    clean = os.path.normpath(target)
    inside_reserved = any(clean == place or clean.startswith(f"{place}/") for place in RESERVED)
    plain = clean == target and target.startswith("/") and not target.startswith("//")
    if not plain or target == "/" or inside_reserved:
        raise ConfigError(
            f"a volume cannot be mounted at {target}",
            code="config.value",
            hint="choose a folder such as /data outside of " + ", ".join(RESERVED[:-1]),
        )


def build_root(plan: RootPlan) -> None:
    """Make the tree on a new tmpfs and pivot into it; the host stays at `OLD_ROOT` for a while.

    Runs with every capability of a new user and mount namespace.

    Raises:
        OSError: The step that failed.
    """
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    staging = "/tmp"  # noqa: S108  # covered by a tmpfs that only this mount namespace has
    mount_memory(staging, "mode=0755")
    Path(staging + OLD_ROOT).mkdir()
    syscalls.pivot_root(staging, staging + OLD_ROOT)
    os.chdir("/")
    for folder, mode in (("/tmp", "1777"), ("/run", "0755"), ("/home", "0700")):  # noqa: S108  # mount points of the sandbox
        Path(folder).mkdir()
        mount_memory(folder, f"mode={mode}")
    Path("/etc").mkdir()
    for bind in sorted(plan.binds, key=lambda item: item.target.count("/")):
        _bind(OLD_ROOT + bind.source, bind.target, attributes=_READ_ONLY)
    for link in plan.links:
        Path(link.path).symlink_to(link.target)
    for file in plan.files:
        Path(file.path).write_text(file.content, encoding="utf-8")
    for folder in plan.hidden:
        mount_memory(folder, "mode=0555,size=4k", syscalls.MS_RDONLY)
    _make_devices()


def mount_proc() -> None:
    """Mount this pid namespace's /proc; the host's must still be visible at `OLD_ROOT`."""
    Path("/proc").mkdir()
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "/proc", "proc", flags)


def mount_proc_for_cells() -> None:
    """Mount a second /proc, without the machine's switches: a cell's users are written there."""
    Path(CELLS_PROC).mkdir()
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", CELLS_PROC, "proc", flags, "subset=pid")


def attach_fuse(spec: FuseMount, device: int, *, user_id: int, group_id: int) -> Mounted:
    """Open /dev/fuse in this user namespace and mount it.

    Args:
        spec: Where, and as what.
        device: A path descriptor of the host's /dev/fuse: the workload's /dev has none.
        user_id: The only user who may use the mount.
        group_id: The group it belongs to.
    """
    descriptor = os.open(f"/proc/self/fd/{device}", os.O_RDWR | os.O_CLOEXEC)
    Path(spec.target).mkdir(parents=True, exist_ok=True)
    flags = _TMPFS_FLAGS | (syscalls.MS_RDONLY if spec.read_only else 0)
    options = (
        f"fd={descriptor},rootmode=40000,user_id={user_id},group_id={group_id},default_permissions"
    )
    try:
        syscalls.mount(spec.fsname, spec.target, f"fuse.{spec.fsname}", flags, options)
    except OSError:
        os.close(descriptor)
        raise
    return Mounted(descriptor, _device_number(spec.target))


def detach_host() -> None:
    """Let go of the host's tree: from here on nothing of it can be named."""
    syscalls.umount(OLD_ROOT, syscalls.MNT_DETACH)
    Path(OLD_ROOT).rmdir()


def freeze_root() -> None:
    """Make the root and /proc read-only and blank what the kernel tells about the machine."""
    empty = "/dev/.empty"
    for name in _MASKED_PROC:
        path = f"/proc/{name}"
        if Path(path).is_dir():
            _bind(empty, path, attributes=_READ_ONLY | syscalls.MOUNT_ATTR_NOEXEC)
        elif Path(path).exists():
            _bind("/dev/null", path, attributes=syscalls.MOUNT_ATTR_NOSUID)
    syscalls.mount_setattr("/proc", syscalls.MOUNT_ATTR_RDONLY, recursive=False)
    syscalls.mount_setattr("/dev", syscalls.MOUNT_ATTR_RDONLY, recursive=False)
    syscalls.mount_setattr("/", _READ_ONLY, recursive=False)


def _device_number(target: str) -> str:
    """Find a mount's device number without asking its server, which does not run yet."""
    found = ""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        columns = line.split(" ")
        if columns[4] == target:
            found = columns[2]
    return found


def _without_covered(binds: Sequence[Bind], links: Sequence[Link]) -> Iterator[Bind]:
    """Leave out what a parent bind or a top-level link already shows."""
    linked = {link.path for link in links}
    kept: dict[str, str] = {}
    for bind in sorted(binds, key=lambda item: item.target.count("/")):
        parents = [str(parent) for parent in Path(bind.target).parents] + [bind.target]
        shown = any(
            parent in kept and bind.source == kept[parent] + bind.target[len(parent) :]
            for parent in parents
        )
        if shown or any(parent in linked for parent in parents):
            continue
        kept[bind.target] = bind.source
        yield bind


def _user_files(user_id: int, group_id: int) -> Iterator[TextFile]:
    shell = "/usr/sbin/nologin"
    yield TextFile("/etc/passwd", f"workload:x:{user_id}:{group_id}::/home:{shell}\n")
    yield TextFile("/etc/group", f"workload:x:{group_id}:\n")


def _name_files(hostname: str, network: NetworkSpec | None) -> Iterator[TextFile]:
    """Say how names are found: from a file, and with a network by asking its relay for the rest.

    The relay knows no name that the file does not have. It is asked so that it can say which.
    """
    if network is None:
        hosts = "127.0.0.1 localhost cloister\n::1 localhost cloister\n"
        hostname, resolver, how = "cloister", "", "files"
    else:
        hosts = hosts_text(network, hostname)
        resolver = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
        how = "files dns"
    yield TextFile("/etc/hosts", hosts)
    yield TextFile("/etc/hostname", f"{hostname}\n")
    yield TextFile("/etc/resolv.conf", resolver)
    yield TextFile("/etc/host.conf", "multi on\n")
    yield TextFile(
        "/etc/nsswitch.conf", f"passwd: files\ngroup: files\nhosts: {how}\nservices: files\n"
    )


def mount_memory(target: str, options: str, flags: int = 0) -> None:
    """Mount memory; kept from swap where the kernel grants that to this user namespace."""
    try:
        syscalls.mount("cloister", target, "tmpfs", _TMPFS_FLAGS | flags, f"{options},noswap")
    except OSError:
        syscalls.mount("cloister", target, "tmpfs", _TMPFS_FLAGS | flags, options)


def _bind(source: str, target: str, *, attributes: int) -> None:
    place = Path(target)
    if stat.S_ISDIR(Path(source).stat().st_mode):
        place.mkdir(parents=True, exist_ok=True)
    elif not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    syscalls.mount(source, target, None, syscalls.MS_BIND | syscalls.MS_REC)
    syscalls.mount_setattr(target, attributes, recursive=True)


def _make_devices() -> None:
    Path("/dev").mkdir()
    mount_memory("/dev", "mode=0755,size=64k")
    for name in _DEVICES:
        _bind(
            f"{OLD_ROOT}/dev/{name}",
            f"/dev/{name}",
            attributes=syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NOEXEC,
        )
    for name, target in (
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ):
        Path(f"/dev/{name}").symlink_to(target)
    for folder in ("shm", "pts", ".empty"):
        Path(f"/dev/{folder}").mkdir()
    mount_memory("/dev/shm", "mode=1777")  # noqa: S108  # mount points of the sandbox
    flags = syscalls.MS_NOSUID | syscalls.MS_NOEXEC
    syscalls.mount("devpts", "/dev/pts", "devpts", flags, "newinstance,ptmxmode=0666,mode=620")
