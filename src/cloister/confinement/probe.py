"""What this machine can and cannot do, for `cloister doctor`: facts, never failures.

Each probe is isolated: it runs for a bounded time, and whatever goes wrong in it becomes a fact.
Probes that need to try (user namespaces, /dev/fuse) try in a child process.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cloister.confinement import namespaces, network, syscalls
from cloister.confinement.diagnosis import explain_failure, observe_limits
from cloister.confinement.seccomp import ARCHITECTURES
from cloister.errors import extra_hint

__all__ = ["Fact", "State", "probe"]

State = Literal["ok", "missing", "partial"]
_TRY_TIMEOUT_S: Final = 3.0
_OLDEST_PYTHON: Final = (3, 11)
_OLDEST_KERNEL: Final = (5, 12)
_LIBRARIES: Final = ("cryptography", "cbor2", "h11", "uvicorn")
_FRAMEWORKS: Final = (
    "tensorflow",
    "tensorflow-cpu",
    "torch",
    "jax",
    "scikit-learn",
    "ai-edge-litert",
    "onnxruntime",
    "flwr",
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing about the machine.

    Attributes:
        name: Short, stable, for machines and people.
        state: `ok`, `missing`, or `partial` where something works with a limit.
        detail: What was found.
        cost: What its absence costs; empty where nothing is lost.
        remedy: How to get it; empty where there is nothing to do.
    """

    name: str
    state: State
    detail: str
    cost: str = ""
    remedy: str = ""

    def as_record(self) -> dict[str, str]:
        """Return what `--json` prints."""
        return {
            "name": self.name,
            "state": self.state,
            "detail": self.detail,
            "cost": self.cost,
            "remedy": self.remedy,
        }


def probe() -> list[Fact]:
    """Run every probe; one that breaks is reported and hides no other."""
    facts: list[Fact] = []
    for one in _PROBES:
        try:
            facts += one()
        except (OSError, ValueError) as e:
            name = one.__name__.strip("_").replace("_", "-")
            facts.append(Fact(name, "partial", f"could not be probed: {e}"))
    return facts


def _kernel() -> Iterator[Fact]:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    new_enough = sys.platform == "linux" and numbers >= _OLDEST_KERNEL
    yield Fact(
        "kernel",
        "ok" if new_enough else "missing",
        f"{platform.system()} {release} on {platform.machine()}",
        cost="" if new_enough else "workloads cannot be confined",
        remedy="" if new_enough else "Linux 5.12 or newer",
    )


def _fuse() -> Iterator[Fact]:
    cost = "sealed volumes cannot be mounted; cloister volume open still reads them"
    path = Path("/dev/fuse")
    if not path.exists():
        yield Fact(
            "fuse", "missing", "there is no /dev/fuse", cost,
            "modprobe fuse; in a container: --device /dev/fuse",
        )  # fmt: skip
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        detail = f"/dev/fuse cannot be opened by user {os.geteuid()}: {e.strerror}"
        yield Fact("fuse", "missing", detail, cost, "as root: chmod 0666 /dev/fuse")
        return
    mode = path.stat().st_mode & 0o777
    for_all = mode & 0o006 == 0o006  # noqa: PLR2004  # read and write for others
    yield Fact(
        "fuse",
        "ok" if for_all else "partial",
        f"/dev/fuse opens; its mode is {mode:04o}",
        cost="" if for_all else "users other than its owner cannot mount volumes",
        remedy="" if for_all else "as root: chmod 0666 /dev/fuse",
    )


def _user_namespaces() -> Iterator[Fact]:
    yield _tried(
        "user-namespaces",
        syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID,
        cost="workloads cannot be confined: cloister run and serve do not work",
        use=_mount_one,
    )


def _mount_one() -> None:
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("probe", "/tmp", "tmpfs", 0)  # noqa: S108  # in the child's namespace


def _network_namespaces() -> Iterator[Fact]:
    yield _tried(
        "network-namespaces",
        syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET,
        cost="workloads cannot be cut off from the network: cloister run and serve do not work",
        use=syscalls.raise_loopback,
    )


def _nftables() -> Iterator[Fact]:
    """Redirect one connection, in a network namespace that ends with the attempt."""
    yield _tried(
        "nftables",
        syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET,
        cost="a workload has a network only under a policy that names every port",
        step="nftables",
        use=_redirect_one,
    )


def _redirect_one() -> None:
    syscalls.raise_loopback()
    spec = network.NetworkSpec("10.77.0.1", hosts=(), static=None)
    network.prepare_interface(spec)
    network.redirect(spec, network.make_sockets(spec))


def _landlock() -> Iterator[Fact]:
    cost = "cells cannot be made unless it is accepted as missing; workloads do without it"
    try:
        abi = syscalls.landlock_abi()
    except OSError as e:
        remedy = "a kernel with CONFIG_SECURITY_LANDLOCK and landlock in lsm="
        yield Fact("landlock", "missing", e.strerror or str(e), cost, remedy)
        return
    yield Fact("landlock", "ok", f"ABI {abi}; used by cells")


def _seccomp() -> Iterator[Fact]:
    cost = "workloads cannot be confined: cloister run and serve do not work"
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    if not actions.exists() or "errno" not in actions.read_text(encoding="ascii").split():
        yield Fact("seccomp", "missing", "no filters", cost, "a kernel with CONFIG_SECCOMP_FILTER")
    elif platform.machine() not in ARCHITECTURES:
        detail = f"no filter is written for {platform.machine()}"
        yield Fact("seccomp", "missing", detail, cost, "an x86-64 or AArch64 machine")
    else:
        yield Fact("seccomp", "ok", "system call filters")


def _cgroups() -> Iterator[Fact]:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        yield Fact("cgroups", "ok", "version 2; used by cells, where delegated")
    elif root.is_dir() and any(root.iterdir()):
        yield Fact("cgroups", "ok", "version 1; used by cells, where delegated")
    else:
        cost = "a workload's memory and processes cannot be limited"
        yield Fact("cgroups", "missing", "none mounted", cost, "mount cgroup2 at /sys/fs/cgroup")


def _trusted_hardware() -> Iterator[Fact]:
    """List roots of trust; with none of them, everything runs with simulated evidence."""
    devices = {
        "sgx": ("/dev/sgx_enclave", "/dev/sgx/enclave"),
        "tdx": ("/dev/tdx_guest", "/dev/tdx-guest"),
        "sev-snp": ("/dev/sev-guest",),
        "configfs-tsm": ("/sys/kernel/config/tsm/report",),
        "tpm": ("/dev/tpmrm0", "/dev/tpm0"),
        "nvidia": ("/dev/nvidiactl",),
    }
    found = [
        f"{name} ({path})"
        for name, paths in devices.items()
        for path in paths
        if Path(path).exists()
    ]
    if any(name.startswith("configfs-tsm") for name in found):
        yield Fact("tee", "ok", ", ".join(found))
    elif found:
        yield Fact(
            "tee", "partial", ", ".join(found),
            "runs attest by TDX and SEV-SNP through configfs-tsm only: here evidence is simulated",
            "Linux 6.7 or newer in the guest, with configfs mounted",
        )  # fmt: skip
    else:
        yield Fact(
            "tee", "missing", "no SGX, TDX, SEV-SNP, TPM or NVIDIA device",
            "evidence is simulated: the operator of this machine could read what runs on it",
            "a confidential virtual machine (TDX or SEV-SNP)",
        )  # fmt: skip


def _swap() -> Iterator[Fact]:
    lines = Path("/proc/swaps").read_text(encoding="utf-8").splitlines()[1:]
    if not lines:
        yield Fact("swap", "ok", "off")
        return
    names = ", ".join(line.split()[0] for line in lines)
    yield Fact(
        "swap", "partial", f"on: {names}",
        "plaintext in memory and in a workload's /tmp may reach the disk",
        "swapoff -a, or encrypted swap",
    )  # fmt: skip


def _core_pattern() -> Iterator[Fact]:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8").strip()
    yield Fact("core-dumps", "ok", f"pattern {pattern!r}; off for workloads and volume servers")


def _memory() -> Iterator[Fact]:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield Fact("memory", "ok", f"{free >> 20} MiB free of {total >> 20} MiB")


def _python() -> Iterator[Fact]:
    good = sys.version_info[:2] >= _OLDEST_PYTHON
    yield Fact(
        "python",
        "ok" if good else "missing",
        f"{platform.python_version()} at {sys.executable}",
        cost="" if good else "Cloister does not start",
        remedy="" if good else "Python 3.11 or newer",
    )


def _libraries() -> Iterator[Fact]:
    for name in _LIBRARIES:
        version = _version_of(name)
        cost = "" if version else "Cloister does not start"
        remedy = "" if version else f"pip install {name}"
        yield Fact(name, "ok" if version else "missing", version or "not installed", cost, remedy)
    found = {name: version for name in _FRAMEWORKS if (version := _version_of(name))}
    if found:
        yield Fact("frameworks", "ok", ", ".join(f"{name} {v}" for name, v in found.items()))
    else:
        yield Fact(
            "frameworks", "missing", "no TensorFlow, PyTorch, JAX, LiteRT or ONNX Runtime",
            "cloister demo and serve have nothing to run", extra_hint("demo"),
        )  # fmt: skip


def _version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tried(
    name: str, flags: int, *, cost: str, use: Callable[[], None], step: str = "namespaces"
) -> Fact:
    """Enter namespaces in a child and use a privilege there: some systems grant only the first."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _try_namespaces(flags, writer, step, use)
    os.close(writer)
    answered = bool(select.select([reader], [], [], _TRY_TIMEOUT_S)[0])
    answer = os.read(reader, 512).decode("utf-8", "replace") if answered else ""
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if answer == "ok":
        return Fact(name, "ok", "usable by this user")
    failed, number, text = (*answer.split(" ", 2), "", "")[:3]
    if not number.isdigit():
        return Fact(name, "missing", "the attempt did not end", cost, "run cloister doctor again")
    error = explain_failure(failed, int(number), text, observe_limits())
    return Fact(name, "missing", error.public, cost, error.hint or "")


def _try_namespaces(flags: int, writer: int, step: str, use: Callable[[], None]) -> None:
    doing = "namespaces"
    try:
        user_id, group_id = os.geteuid(), os.getegid()
        syscalls.unshare(flags)
        namespaces.map_own_identity(user_id, group_id)
        doing = step
        use()
        os.write(writer, b"ok")
    except OSError as e:
        os.write(writer, f"{doing} {e.errno or 0} {e.strerror}".encode())
    finally:
        os._exit(0)


_PROBES: Final[Iterable[Callable[[], Iterator[Fact]]]] = (
    _kernel, _python, _libraries, _user_namespaces, _network_namespaces, _nftables, _fuse, _seccomp,
    _landlock, _cgroups, _trusted_hardware, _swap, _core_pattern, _memory,
)  # fmt: skip
