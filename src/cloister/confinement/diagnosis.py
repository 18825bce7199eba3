"""Why building the stage failed, in words that say what to change. No I/O but `observe_limits`.

A failed system call says `EPERM`; which of the five usual causes it was can be read from a few
files of /proc. The table here is the one place that knows them.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.errors import CloisterError, ConfinementError, UnsupportedError

__all__ = ["KernelLimits", "explain_failure", "observe_limits"]

_NAMESPACE_STEPS: Final = frozenset(
    {
        "namespaces",
        "identity",
        "private-mounts",
        "root",
        "proc",
        "loopback",
        "network",
        "nested-namespaces",
    }
)
_REFUSALS: Final = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSPC})
_FUSE_STEPS: Final = frozenset({"fuse-open", "fuse-mount"})
_KERNEL_STEPS: Final = frozenset({"read-only", "filter"})


@dataclass(frozen=True, slots=True)
class KernelLimits:
    """What /proc says about who may make namespaces; -1 where the kernel has no such switch."""

    max_user_namespaces: int
    unprivileged_clone: int
    apparmor_restricts: int
    in_container: bool
    user_id: int


def observe_limits() -> KernelLimits:
    """Read the switches; unreadable ones count as absent."""
    return KernelLimits(
        max_user_namespaces=_number("/proc/sys/user/max_user_namespaces"),
        unprivileged_clone=_number("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricts=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        in_container=Path("/.dockerenv").exists() or Path("/run/.containerenv").exists(),
        user_id=os.geteuid(),
    )


def explain_failure(step: str, number: int, text: str, limits: KernelLimits) -> CloisterError:
    """Return the error that a failed step of the stage deserves.

    Args:
        step: The step's name, as the stage reports it.
        number: The errno; 0 where the step failed without one.
        text: What the system call said.
        limits: The machine's switches.

    Returns:
        `machine.fuse`, `machine.nftables`, `machine.namespaces` or `machine.kernel` where the
        machine lacks something, `confinement.setup` for the rest.
    """
    if step == "nftables":
        return _explain_nftables(number, text)
    if step in _FUSE_STEPS:
        return _explain_fuse(number, text, limits)
    if number == errno.ENOSYS or (step in _KERNEL_STEPS and number == errno.EINVAL):
        return UnsupportedError(
            f"this kernel is too old or too small for the step {step}: {text}",
            code="machine.kernel",
            hint="Linux 5.12 or newer with user namespaces and seccomp filters is needed",
        )
    if step == "namespaces" or (step in _NAMESPACE_STEPS and number in _REFUSALS):
        return _explain_namespaces(step, number, text, limits)
    return ConfinementError(
        f"the sandbox could not be built at the step {step}: {text}", code="confinement.setup"
    )


def _explain_fuse(number: int, text: str, limits: KernelLimits) -> CloisterError:
    if number == errno.ENOENT:
        problem = "there is no /dev/fuse"
        hint = "load the module (modprobe fuse), or start the container with --device /dev/fuse"
    elif number in {errno.ENODEV, errno.ENXIO}:
        problem = "the kernel has no FUSE"
        hint = "load the module: modprobe fuse"
    elif number == errno.EACCES:
        problem = f"/dev/fuse may not be opened by user {limits.user_id}"
        hint = "as root: chmod 0666 /dev/fuse (Debian's and Ubuntu's default), or a udev rule"
    elif limits.in_container:
        problem = f"this container does not let FUSE mount ({text})"
        hint = "start it with --device /dev/fuse and a seccomp profile that allows mount"
    else:
        problem = f"FUSE could not be mounted: {text}"
        hint = "run cloister doctor"
    return UnsupportedError(problem, code="machine.fuse", hint=hint)


def _explain_nftables(number: int, text: str) -> UnsupportedError:
    """Tell a program that is not there from a kernel, or a container, that refuses its rules."""
    otherwise = "or a policy whose connections and egress name every port"
    if number == errno.ENOENT and "no program" in text:
        problem = "the program nft is not there, and connections cannot be redirected without it"
        hint = f"as root: apt-get install nftables; {otherwise}"
    else:
        problem = f"connections could not be redirected by nftables: {text}"
        modules = "nf_tables nft_chain_nat nft_nat nft_ct nft_reject_inet nf_conntrack"
        hint = f"as root: modprobe -a {modules}; {otherwise}"
    return UnsupportedError(problem, code="machine.nftables", hint=hint)


def _explain_namespaces(
    step: str, number: int, text: str, limits: KernelLimits
) -> UnsupportedError:
    if limits.max_user_namespaces == 0 or number == errno.ENOSPC:
        problem = "user namespaces are switched off or used up (user.max_user_namespaces)"
        hint = "as root: sysctl -w user.max_user_namespaces=15000"
    elif limits.unprivileged_clone == 0 and limits.user_id != 0:
        problem = "only root may make user namespaces (kernel.unprivileged_userns_clone is 0)"
        hint = "as root: sysctl -w kernel.unprivileged_userns_clone=1"
    elif limits.apparmor_restricts == 1 and limits.user_id != 0:
        problem = (
            "AppArmor keeps user namespaces from unconfined programs "
            "(kernel.apparmor_restrict_unprivileged_userns is 1)"
        )
        hint = (
            "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, "
            "or add an AppArmor profile with `userns` for this Python"
        )
    elif limits.in_container:
        problem = f"this container does not let user namespaces be used ({step}: {text})"
        hint = (
            "its seccomp profile must allow unshare and mount, and /proc must not be masked: "
            "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
        )
    else:
        problem = f"user namespaces do not work here ({step}: {text})"
        hint = "run cloister doctor"
    return UnsupportedError(problem, code="machine.namespaces", hint=hint)


def _number(path: str) -> int:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return -1
