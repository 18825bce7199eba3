"""What the relay tells is one sentence for people."""

from __future__ import annotations

import pytest

from cloister.launcher.relaying import _sentence
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
