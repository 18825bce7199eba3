"""What a relay counts, for the receipt of a run; and what it reports, for a person.

Counts are kept for ever, so their keys come from the policy alone: tasks of the plan, hosts that it
names, and our own words for reasons. Nothing that a peer or a program chose becomes a key.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from cloister.network.addresses import Task

__all__ = ["Counters", "Event", "Traffic"]

_MAX_REPORTED: Final = 1024


@dataclass(slots=True)
class Traffic:
    """Between us and one peer or host.

    Attributes:
        opened: Connections that we opened.
        accepted: Connections that we accepted.
        sent: Bytes of the program's that went out.
        received: Bytes that came in for it.
    """

    opened: int = 0
    accepted: int = 0
    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was refused or cut, told once for each place and reason.

    Attributes:
        reason: A word for counting, or an error's code.
        place: Where it was going, or where it came from, for a person.
        line: The line of the policy that would allow it; empty where none would.
    """

    reason: str
    place: str
    line: str = ""


@dataclass(slots=True)
class Counters:
    """All that one relay counts. Written by its loop alone; others may read."""

    peers: dict[Task, Traffic] = field(default_factory=dict)
    egress: dict[str, Traffic] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    names: int = 0
    _reported: set[Event] = field(default_factory=set)

    def peer(self, task: Task) -> Traffic:
        """Return the counts of a peer, which is a task of the plan."""
        return self.peers.setdefault(task, Traffic())

    def host(self, host: str) -> Traffic:
        """Return the counts of a host that the policy names."""
        return self.egress.setdefault(host, Traffic())

    def is_news(self, event: Event) -> bool:
        """Count a refusal; return whether it is to be reported: once each, and not without end."""
        self.refused[event.reason] += 1
        if event in self._reported or len(self._reported) >= _MAX_REPORTED:
            return False
        self._reported.add(event)
        return True

    def snapshot(self) -> dict[str, object]:
        """Return the counts as plain values, in order."""
        return {
            "peers": {str(task): _plain(self.peers[task]) for task in sorted(self.peers)},
            "egress": {host: _plain(self.egress[host]) for host in sorted(self.egress)},
            "refused": dict(sorted(self.refused.items())),
            "names": self.names,
        }


def _plain(traffic: Traffic) -> dict[str, int]:
    return {
        "opened": traffic.opened,
        "accepted": traffic.accepted,
        "sent": traffic.sent,
        "received": traffic.received,
    }
