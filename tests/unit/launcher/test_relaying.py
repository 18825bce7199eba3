"""What the relay tells is one sentence for people."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from cloister.launcher import relaying
from cloister.launcher.relaying import RunRelay, _sentence
from cloister.wire import Fields


@pytest.mark.parametrize(
    ("reason", "place", "line", "expected"),
    [
        (
            "unreachable",
            "gpu.example:9000",
            "",
            "nobody answers at gpu.example:9000 (unreachable); the policy allows it",
        ),
        ("not-found", "ps-1:2222", "", "the network shield refused ps-1:2222 (not-found)"),
        (
            "port",
            "gpu.example:9",
            "egress: [9]",
            "the network shield refused gpu.example:9 (port); the policy would allow it by "
            "egress: [9]",
        ),
        ("slow", "connection with ps-1", "", "connection with ps-1 was cut (slow)"),
    ],
)
def test_only_what_the_policy_forbids_is_called_refused(
    reason: str, place: str, line: str, expected: str
) -> None:
    """Where nobody answers, the policy has no part in it."""
    message = Fields({"reason": reason, "place": place, "line": line}, what="report")
    assert _sentence(message) == expected


def test_what_is_told_before_the_counts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that came while the workload ended lies before the counts in the channel."""

    def child(channel: Any, *_: object) -> None:
        try:
            assert channel.receive(timeout_s=20)[0].text("do") == "finish"
            channel.send({"told": "turned-away", "role": "client", "code": "identity.member"})
            counts = {"epoch": 1, "refused": {"port": 3}, "peers": {}, "egress": {}}
            channel.send({"told": "counts", "counts": counts})
        finally:
            os._exit(0)

    monkeypatch.setattr(relaying, "_child", child)
    heard: list[str] = []
    settings: Any = SimpleNamespace(address=("127.0.0.1", 0), tells=True, peers=None)
    plan: Any = SimpleNamespace(task="lab/job", address="10.0.0.1")
    relay = RunRelay(plan, settings, tell=heard.append)
    found = relay.finish(None)
    assert found["refused"] == {"port": 3}
    assert heard == ["a client was refused: identity.member; it is not in the job"]
