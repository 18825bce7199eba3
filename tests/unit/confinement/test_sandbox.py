"""The launcher's handle, as far as it goes without a stage; the rest is in tests/integration."""

from __future__ import annotations

import pytest

from cloister.confinement import Command, FuseMount, Sandbox, SandboxSpec
from cloister.confinement.sandbox import PlacedFile
from cloister.errors import LocalProtocolError


def test_nothing_works_before_start() -> None:
    """`protocol.local` for every call that needs a stage."""
    sandbox = Sandbox(SandboxSpec(binds=()))
    calls = (
        lambda: sandbox.mount([FuseMount("/data", "cloister", read_only=True)]),
        lambda: sandbox.go(Command(("/x",), {}, "/"), stdout=1, stderr=2, listeners={}),
        sandbox.wait,
        sandbox.fileno,
        sandbox.kill,
    )
    for call in calls:
        with pytest.raises(LocalProtocolError) as caught:
            call()
        assert caught.value.code == "protocol.local"


def test_closing_an_unused_sandbox_does_nothing() -> None:
    """`close` is safe at any time."""
    with Sandbox(SandboxSpec(binds=())):
        pass


def test_secrets_do_not_show_in_representations() -> None:
    """Neither the environment nor the content of placed files is printed."""
    assert "s3cret" not in repr(PlacedFile("/run/x", b"s3cret", 0o400))
    assert "s3cret" not in repr(Command(("/x",), {"TOKEN": "s3cret"}, "/"))
