"""Which error a failed step of the stage deserves."""

from __future__ import annotations

import errno

import pytest

from cloister.confinement.diagnosis import KernelLimits, explain_failure, observe_limits

_OPEN = KernelLimits(
    max_user_namespaces=15000,
    unprivileged_clone=-1,
    apparmor_restricts=-1,
    in_container=False,
    user_id=1000,
)


def _with(**changes: int | bool) -> KernelLimits:
    values = {name: getattr(_OPEN, name) for name in KernelLimits.__slots__}
    return KernelLimits(**(values | changes))


@pytest.mark.parametrize(
    ("limits", "number", "word", "hint"),
    [
        (_with(max_user_namespaces=0), errno.ENOSPC, "max_user_namespaces", "sysctl"),
        (_OPEN, errno.ENOSPC, "max_user_namespaces", "sysctl"),
        (_with(unprivileged_clone=0), errno.EPERM, "unprivileged_userns_clone", "sysctl"),
        (_with(apparmor_restricts=1), errno.EPERM, "AppArmor", "apparmor"),
        (_with(in_container=True), errno.EPERM, "container", "docker"),
        (_OPEN, errno.EPERM, "do not work here", "doctor"),
    ],
)
def test_missing_user_namespaces_name_the_switch(
    limits: KernelLimits, number: int, word: str, hint: str
) -> None:
    """`machine.namespaces` says which of the usual causes it is."""
    error = explain_failure("namespaces", number, "text", limits)
    assert error.code == "machine.namespaces"
    assert word in error.public
    assert hint in (error.hint or "")


@pytest.mark.parametrize(
    ("number", "container", "word"),
    [
        (errno.ENOENT, False, "there is no /dev/fuse"),
        (errno.ENODEV, False, "no FUSE"),
        (errno.EACCES, False, "may not be opened by user 1000"),
        (errno.EPERM, True, "container"),
        (errno.EPERM, False, "could not be mounted"),
    ],
)
def test_missing_fuse_names_the_cause(number: int, *, container: bool, word: str) -> None:
    """`machine.fuse` tells a missing device from a closed one."""
    error = explain_failure("fuse-open", number, "text", _with(in_container=container))
    assert error.code == "machine.fuse"
    assert word in error.public
    assert error.hint


@pytest.mark.parametrize(
    ("step", "number"), [("root", errno.ENOSYS), ("filter", errno.EINVAL), ("namespaces", 38)]
)
def test_an_old_kernel_is_named(step: str, number: int) -> None:
    """`machine.kernel` where a call does not exist."""
    assert explain_failure(step, number, "text", _OPEN).code == "machine.kernel"


@pytest.mark.parametrize(("step", "number"), [("root", errno.ENOENT), ("place", errno.EEXIST)])
def test_other_failures_name_the_step(step: str, number: int) -> None:
    """`confinement.setup` for what no switch explains."""
    error = explain_failure(step, number, "text", _OPEN)
    assert error.code == "confinement.setup"
    assert step in error.public


@pytest.mark.parametrize(
    ("number", "text", "word", "hint"),
    [
        (errno.ENOENT, "there is no program nft (/usr/sbin/nft)", "not there", "apt-get install"),
        (errno.ENOENT, "nft: No such file or directory", "No such file", "modprobe"),
        (errno.EPERM, "nft: Operation not permitted", "not permitted", "modprobe"),
        (errno.ENOSYS, "nft: no", "nft: no", "modprobe"),
        (errno.ETIMEDOUT, "timed out", "timed out", "modprobe"),
    ],
)
def test_missing_nftables_are_told_from_refused_rules(
    number: int, text: str, word: str, hint: str
) -> None:
    """`machine.nftables` says what to install or load, and what works without."""
    error = explain_failure("nftables", number, text, _OPEN)
    assert error.code == "machine.nftables"
    assert word in error.public
    assert error.hint is not None
    assert hint in error.hint
    assert "name every port" in error.hint


def test_a_refused_address_is_a_refused_namespace() -> None:
    """Some systems give namespaces, and no privilege in them."""
    assert explain_failure("network", errno.EPERM, "no", _OPEN).code == "machine.namespaces"


def test_the_machine_switches_can_be_read() -> None:
    """Absent switches count as -1."""
    limits = observe_limits()
    assert limits.max_user_namespaces >= -1
    assert limits.unprivileged_clone in {-1, 0, 1}
