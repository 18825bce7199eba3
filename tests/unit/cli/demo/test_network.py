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
