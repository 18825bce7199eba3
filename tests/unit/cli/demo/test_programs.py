"""Commands of the demonstration's roles."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cloister.cli.demo.programs import Finished, cloister, free_port, running, wait_for_port
from cloister.errors import ConfigError, UnavailableError, WorkloadError


def test_an_error_is_read_from_the_object(tmp_path: Path) -> None:
    """The code of a refused command is what an attack reports."""
    done = cloister(["volume", "ls", "none", "--json"], folder=tmp_path)
    assert (done.status, done.code) == (65, "config.missing")
    with pytest.raises(ConfigError):
        done.require()


def test_a_status_without_an_object_is_a_failed_workload() -> None:
    """And a good one gives its record."""
    assert Finished(0, {"a": 1}, "").require() == {"a": 1}
    with pytest.raises(WorkloadError) as caught:
        Finished(3, {}, "why").require()
    assert (caught.value.code, caught.value.detail) == ("workload.failed", "why")


def test_a_program_that_never_listens_is_noticed(tmp_path: Path) -> None:
    """When it has ended, nobody waits for it."""
    log = tmp_path / "log"
    with running(["--version"], folder=tmp_path, log=log) as process:
        process.wait(timeout=30)
        with pytest.raises(UnavailableError) as caught:
            wait_for_port(free_port(), process, log=log)
    assert caught.value.code == "server.unreachable"


def test_a_listening_port_is_seen(tmp_path: Path) -> None:
    """As soon as it accepts."""
    log = tmp_path / "log"
    words = ["keyservice", "serve", "--domain", "d", "--listen", f"127.0.0.1:{free_port()}"]
    cloister(["init", "d"], folder=tmp_path)
    with running(words, folder=tmp_path, log=log) as process:
        port = int(words[-1].rpartition(":")[2])
        wait_for_port(port, process, log=log)
        socket.create_connection(("127.0.0.1", port), 5).close()
    assert process.returncode is not None
