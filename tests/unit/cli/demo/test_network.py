"""A network of the demonstration's own."""

from __future__ import annotations

import errno

import pytest

from cloister.cli.demo import network
from cloister.errors import UnsupportedError


def test_a_machine_that_forbids_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With where to look for the setting."""

    def refuse(_flags: int) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(network.syscalls, "unshare", refuse)
    with pytest.raises(UnsupportedError) as caught:
        network.enter_own_network()
    assert caught.value.code == "machine.namespaces"
    assert "cloister doctor" in str(caught.value.hint)


def test_the_machines_root_keeps_its_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where users may stay as they are, and root may have a network alone; else as anybody."""
    asked: list[int] = []
    monkeypatch.setattr(network.os, "getuid", lambda: 0)
    monkeypatch.setattr(network.syscalls, "unshare", asked.append)
    monkeypatch.setattr(network.syscalls, "raise_loopback", lambda: asked.append(-1))
    monkeypatch.setattr(network, "map_own_identity", lambda *_: asked.append(-2))
    alone, both = (
        network.syscalls.CLONE_NEWNET,
        network.syscalls.CLONE_NEWNET | network.syscalls.CLONE_NEWUSER,
    )
    network.enter_own_network(users=False)
    assert asked == [alone, -1]
    asked.clear()
    network.enter_own_network()
    assert asked == [both, -2, -1]
    asked.clear()

    def refuse_root(flags: int) -> None:
        asked.append(flags)
        if flags == alone:
            raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(network.syscalls, "unshare", refuse_root)
    network.enter_own_network(users=False)
    assert asked == [alone, both, -2, -1]
