"""What the workload's tree is planned to hold."""

from __future__ import annotations

import pytest

from cloister.confinement.mounts import (
    RESERVED,
    Bind,
    HostView,
    plan_root,
    require_volume_target,
)
from cloister.confinement.network import NetworkSpec
from cloister.errors import ConfigError

_HOST = HostView(
    links={"/bin": "usr/bin", "/lib": "usr/lib", "/etc/localtime": "/usr/share/zoneinfo/UTC"},
    existing=frozenset({"/bin", "/lib", "/usr", "/etc/localtime", "/etc/ld.so.cache", "/sbin"}),
)


def _targets(*binds: Bind) -> list[str]:
    plan = plan_root(
        binds, (), host=_HOST, user_id=7, group_id=8, hostname="cloister", network=None
    )
    return [bind.target for bind in plan.binds]


def test_links_stay_links_and_folders_are_bound() -> None:
    """A merged /usr keeps its links; a separate /sbin is bound."""
    plan = plan_root((), (), host=_HOST, user_id=7, group_id=8, hostname="cloister", network=None)
    assert {link.path for link in plan.links} == {"/bin", "/lib", "/etc/localtime"}
    assert [bind.target for bind in plan.binds] == ["/sbin", "/usr", "/etc/ld.so.cache"]


def test_what_the_host_lacks_is_left_out() -> None:
    """Nothing is bound that was not found."""
    plan = plan_root(
        (),
        (),
        host=HostView({}, frozenset()),
        user_id=7,
        group_id=8,
        hostname="cloister",
        network=None,
    )
    assert plan.binds == plan.links == ()


def test_a_bind_inside_another_with_the_same_source_is_left_out() -> None:
    """An interpreter in /usr/local needs no bind of its own; one elsewhere does."""
    assert "/usr/local" not in _targets(Bind("/usr/local", "/usr/local"))
    assert "/opt/py" in _targets(Bind("/opt/py", "/opt/py"))
    assert "/usr/x" in _targets(Bind("/opt/py", "/usr/x"))
    assert _targets(Bind("/opt/py", "/opt/py"), Bind("/opt/py/lib", "/opt/py/lib"))[-1] == "/opt/py"


def test_only_one_user_exists_inside() -> None:
    """The settings that Cloister writes name the workload's user and nobody else."""
    plan = plan_root((), (), host=_HOST, user_id=7, group_id=8, hostname="cloister", network=None)
    files = {file.path: file.content for file in plan.files}
    assert files["/etc/passwd"].startswith("workload:x:7:8:")
    assert files["/etc/passwd"].count("\n") == 1
    assert files["/etc/resolv.conf"] == ""
    assert "/etc/shadow" not in files


def test_with_a_network_names_come_from_a_file_and_then_from_its_relay() -> None:
    """The hostname is the workload's own; questions go to the loopback, and wait a second."""
    network = NetworkSpec("10.77.4.1", (("10.77.0.1", ("ps-0", "ps")),), None)
    plan = plan_root(
        (), (), host=_HOST, user_id=7, group_id=8, hostname="worker-0", network=network
    )
    files = {file.path: file.content for file in plan.files}
    assert files["/etc/hosts"].splitlines()[2:] == ["10.77.4.1 worker-0", "10.77.0.1 ps-0 ps"]
    assert files["/etc/hostname"] == "worker-0\n"
    assert files["/etc/resolv.conf"] == "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
    assert "hosts: files dns\n" in files["/etc/nsswitch.conf"]
    assert len({file.path for file in plan.files}) == len(plan.files)


@pytest.mark.parametrize("target", ["/data", "/data/in", "/tmp/x", "/home/me", "/code", "/usr2"])  # noqa: S108  # in the sandbox
def test_ordinary_places_take_volumes(target: str) -> None:
    """Outside of the runtime's places, any folder may be a mount point."""
    require_volume_target(target)


@pytest.mark.parametrize(
    "target", [*RESERVED, "/usr/lib/x", "/run/cloister", "/", "data", "/a/../etc", "/a/", "//a", ""]
)
def test_the_runtime_cannot_be_covered(target: str) -> None:
    """`config.value` for reserved, relative and untidy places."""
    with pytest.raises(ConfigError) as caught:
        require_volume_target(target)
    assert caught.value.code == "config.value"
