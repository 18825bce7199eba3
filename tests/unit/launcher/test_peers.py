"""Where relays answer, as the operator says."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.launcher.peers import PeerDirectory, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("node-3.example.org:7443", ("node-3.example.org", 7443)),
        ("[2001:db8::1]:65535", ("2001:db8::1", 65535)),
    ],
)
def test_an_address(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, what="x") == address


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":80", "host:65536", "a b:1", "2001:db8::1:80", "h:-1", "h:1\n"]
)
def test_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        parse_address(text, what="x")


def test_a_file_is_read_anew_at_each_question(tmp_path: Path) -> None:
    file = tmp_path / "peers"
    file.write_text("# the ring\nworker-0 10.0.0.5:7443  # first\n\nworker-1\thost:1\n")
    peers = PeerDirectory(file)
    peers.check()
    assert peers.locate("worker-0") == ("10.0.0.5", 7443)
    assert peers.locate("worker-2") is None
    file.write_text("worker-0 10.0.0.6:7443\n")
    assert peers.locate("worker-0") == ("10.0.0.6", 7443)
    peers.announce("worker-0", ("127.0.0.1", 9))  # a file is its author's business
    assert peers.locate("worker-0") == ("10.0.0.6", 7443)


@pytest.mark.parametrize(
    "text",
    ["worker-0\n", "worker 1.2.3.4:5\n", "worker-0 a:1 b\n", "worker-0 a:1\nworker-0 a:2\n",
     "worker-01 a:1\n", "worker-0 nowhere\n", "worker-0 a:1\n" + "#" * (1 << 17)],
)  # fmt: skip
def test_a_wrong_file_is_an_error_at_the_start_and_nothing_later(text: str, tmp_path: Path) -> None:
    file = tmp_path / "peers"
    file.write_text(text)
    with pytest.raises(ConfigError):
        PeerDirectory(file).check()
    assert PeerDirectory(file).locate("worker-0") is None


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no"):
        PeerDirectory(tmp_path / "peers").check()
    assert PeerDirectory(tmp_path / "peers").locate("worker-0") is None
    PeerDirectory(None).check()
    assert PeerDirectory(None).locate("worker-0") is None


def test_runs_of_one_machine_announce_themselves(tmp_path: Path) -> None:
    peers = PeerDirectory(tmp_path)
    peers.announce("worker-0", ("127.0.0.1", 4000))
    peers.announce("worker-1", ("::1", 4001))
    assert peers.locate("worker-0") == ("127.0.0.1", 4000)
    assert peers.locate("worker-1") == ("::1", 4001)
    peers.announce("worker-0", ("127.0.0.1", 4002))
    peers.withdraw("worker-0", ("127.0.0.1", 4000))  # a newer run has put its own there
    assert peers.locate("worker-0") == ("127.0.0.1", 4002)
    peers.withdraw("worker-0", ("127.0.0.1", 4002))
    assert peers.locate("worker-0") is None
    assert [file.name for file in tmp_path.iterdir()] == ["worker-1"]


@pytest.mark.parametrize("name", ["../secret", "worker", "worker-1/x", "", "worker--1", "a-1000"])
def test_only_tasks_are_looked_for(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("host:1\n")
    (tmp_path / "folder").mkdir()
    assert PeerDirectory(tmp_path / "folder").locate(name) is None


def test_what_stands_in_a_folder_is_judged_like_lines(tmp_path: Path) -> None:
    (tmp_path / "worker-0").write_bytes(b"\xff:1")
    (tmp_path / "worker-1").write_text("host:99999")
    (tmp_path / "worker-2").mkdir()
    peers = PeerDirectory(tmp_path)
    assert [peers.locate(f"worker-{n}") for n in range(3)] == [None, None, None]
