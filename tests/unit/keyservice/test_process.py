"""How a server process begins and ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import pytest

from cloister.errors import ConfigError, UnavailableError
from cloister.keyservice.process import listen_tcp

CHILD = """
import ctypes, logging, resource, sys, time
from cloister.errors import ConfigError
from cloister.keyservice.process import run

def serve(ready):
    if sys.argv[1] == "fail":
        raise ConfigError("no such folder", code="config.missing", detail="the detail")
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
    try:
        ready({"core": str(resource.getrlimit(resource.RLIMIT_CORE)), "dumpable": str(dumpable)})
        if sys.argv[1] == "break":
            raise ConfigError("it broke", code="config.missing", detail="the detail")
        time.sleep(60)
    finally:
        if sys.argv[1] == "serve":
            print("closed", flush=True)

sys.exit(run(serve, logging.StreamHandler()))
"""


def child(argument: str) -> subprocess.Popen[str]:
    """Start a server process that serves nothing."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, argument],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_through_the_ordinary_way_out(number: signal.Signals) -> None:
    """And until then its memory is out of others' reach."""
    with child("serve") as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        process.send_signal(number)
        assert process.communicate(timeout=20)[0] == "closed\n"
    assert process.returncode == 0
    assert facts == {"core": "(0, 0)", "dumpable": "0"}


def test_one_that_fails_later_says_why_in_its_log_only() -> None:
    """Nobody listens to what it prints any more; the status is the error's."""
    with child("break") as process:
        assert process.stdout is not None
        assert "core" in json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.stderr is not None
        assert "server.failed code=config.missing detail=the detail" in process.stderr.read()
    assert process.returncode == ConfigError.exit_status


def test_one_that_cannot_start_says_why() -> None:
    """The public sentence in a line of JSON, the detail in the log, the error's status."""
    with child("fail") as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == 65
    assert json.loads(out)["error"] == {"code": "config.missing", "message": "no such folder"}
    assert "server.failed code=config.missing detail=the detail" in err
    assert "the detail" not in out


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ":-1"])
def test_an_address_is_host_and_port(address: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ConfigError) as e:
        listen_tcp(address, backlog=1)
    assert e.value.code == "config.value"


def test_without_a_host_it_is_loopback() -> None:
    """Nothing is open to the network unasked."""
    listener, url = listen_tcp(":0", backlog=1)
    with listener:
        host, port = listener.getsockname()
        assert (host, url) == ("127.0.0.1", f"http://127.0.0.1:{port}")


def test_an_address_in_use_is_refused() -> None:
    """With a code that says to try again."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UnavailableError) as e:
        listen_tcp(f"127.0.0.1:{taken.getsockname()[1]}", backlog=1)
    assert e.value.code == "keyservice.busy"
