"""The rules as text, and how their counters are read."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from cloister.confinement import nftables
from cloister.confinement.nftables import RefusedPackets, count_refused, read_counters, rules

_RULES = """\
table inet cloister {
    counter refused_udp { }
    counter refused_other { }
    chain to_relay {
        type nat hook output priority -100; policy accept;
        oifname "lo" ip daddr != { 127.0.0.0/8, 10.77.4.1 } meta l4proto tcp dnat ip to 10.77.4.1:1
    }
    chain leaving {
        type filter hook output priority 0; policy drop;
        oifname "lo" ip daddr { 127.0.0.0/8, 10.77.4.1 } accept
        oifname "lo" ip6 daddr ::1 accept
        meta l4proto udp counter name "refused_udp" reject
        counter name "refused_other" reject
    }
}
"""


def _counter(name: str, packets: Any) -> dict[str, Any]:
    return {"counter": {"family": "inet", "table": "cloister", "name": name, "packets": packets}}


def _printed(*entries: Any) -> bytes:
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *entries]}).encode()


def test_the_rules_are_these() -> None:
    """Whoever changes them changes this text, and reads it."""
    assert rules("10.77.4.1", 1) == _RULES


def test_counters_are_read_by_their_names() -> None:
    """In any order."""
    printed = _printed(_counter("refused_other", 2), _counter("refused_udp", 7))
    assert read_counters(printed) == RefusedPackets(udp=7, other=2)


@pytest.mark.parametrize(
    "printed",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        _printed(_counter("refused_udp", 7)),
        _printed(_counter("refused_udp", 7), _counter("refused_other", "2")),
        _printed(_counter("refused_udp", 7), _counter("refused_other", 2.0)),
        _printed(_counter("refused_udp", -1), _counter("refused_other", 2)),
        _printed({"counter": None}),
    ],
)
def test_a_counter_that_is_not_there_is_not_zero(printed: bytes) -> None:
    """What cannot be read is an error, never a count."""
    with pytest.raises(OSError, match="no counters of ours") as caught:
        read_counters(printed)
    assert caught.value.errno == errno.EBADMSG


def test_a_missing_program_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ENOENT, with the place where it was looked for first; PATH does not matter."""
    (tmp_path / "nft").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nftables, "PROGRAMS", ("/nowhere/nft",))
    with pytest.raises(FileNotFoundError, match="no program nft"):
        count_refused()


def test_a_program_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it said, bounded."""
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\necho \"wrong: $*\" >&2; printf '%01000d' 7 >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(nftables, "PROGRAMS", (str(program),))
    monkeypatch.setattr(nftables.syscalls, "keep_only", lambda _capability: None)
    with pytest.raises(OSError, match="wrong: -j list counters table inet cloister") as caught:
        count_refused()
    assert len(str(caught.value)) < 600


def test_a_program_that_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """ETIMEDOUT; pid 1 does not wait for ever."""
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(nftables, "PROGRAMS", (str(program),))
    monkeypatch.setattr(nftables, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(nftables.syscalls, "keep_only", lambda _capability: None)
    with pytest.raises(OSError, match="did not end") as caught:
        count_refused()
    assert caught.value.errno == errno.ETIMEDOUT
