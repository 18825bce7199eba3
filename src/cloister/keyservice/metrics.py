"""Counters of a running service, and their text for Prometheus. No I/O; nothing untrusted inside.

A label is a registered path or a registered code; anything else is counted under `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.errors import CODES
from cloister.keyservice.messages import ANCHOR_PATH, CHALLENGE_PATH, OWNER_PATH, RELEASE_PATH
from cloister.keyservice.state.freshness import Freshness
from cloister.keyservice.state.record import Head

__all__ = ["Gauges", "Histogram", "Metrics", "TimedFreshness"]

PROTOCOL_PATHS: Final = frozenset({CHALLENGE_PATH, RELEASE_PATH, ANCHOR_PATH, OWNER_PATH})
_GRANTED: Final = "ok"
_OTHER: Final = "other"
_PREFIX: Final = "cloister_keyservice_"
_GROUP_BOUNDS: Final = (1, 2, 4, 8, 16, 32)
_SECONDS_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read at the moment of asking."""

    connections: int
    sequence: int
    log_size: int
    policies: int
    volumes: int


class Histogram:
    """How often a value was at most each bound; a value beyond all counts in the total only."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Take the bounds, rising."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> Iterator[str]:
        """Return its lines in Prometheus' text format."""
        running = 0
        for bound, count in zip(self._bounds, self._counts, strict=False):
            running += count
            yield f'{name}_bucket{{le="{bound}"}} {running}'
        total = sum(self._counts)
        yield f'{name}_bucket{{le="+Inf"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """One process's counters; they start at zero with it."""

    def __init__(self) -> None:
        """Start at zero."""
        self._view_paths: frozenset[str] = frozenset()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._releases: Counter[str] = Counter()
        self._views: Counter[tuple[str, int]] = Counter()
        self.groups: Final = Histogram(_GROUP_BOUNDS)
        self.commits: Final = Histogram(_SECONDS_BOUNDS)

    def add_view_paths(self, paths: Iterable[str]) -> None:
        """Take the paths beside the protocol's that may become labels."""
        self._view_paths |= frozenset(paths)

    def answered(self, path: str, code: str) -> None:
        """Count a request of the protocol; `code` is empty where it was granted."""
        label = _code(code)
        self._requests[path if path in PROTOCOL_PATHS else _OTHER, label] += 1
        if path == RELEASE_PATH:
            self._releases[label] += 1

    def viewed(self, path: str, status: int) -> None:
        """Count a request to look at something, by the path as the table has it."""
        self._views[path if path in self._view_paths else _OTHER, status] += 1

    def text(self, gauges: Gauges) -> str:
        """Return everything in Prometheus' text format."""
        return "".join(f"{line}\n" for line in self._lines(gauges))

    def _lines(self, gauges: Gauges) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Protocol requests by path and code.")
        for (path, code), count in sorted(self._requests.items()):
            yield _line("requests_total", {"path": path, "code": code}, count)
        yield from _head("releases_total", "counter", "Releases, granted (ok) or refused, by code.")
        for code, count in sorted(self._releases.items()):
            yield _line("releases_total", {"code": code}, count)
        yield from _head("views_total", "counter", "Requests to look, by path and HTTP status.")
        for (path, status), count in sorted(self._views.items()):
            yield _line("views_total", {"path": path, "status": str(status)}, count)
        yield from _head("group_size", "histogram", "Requests decided and committed together.")
        yield from self.groups.lines(f"{_PREFIX}group_size")
        yield from _head("commit_seconds", "histogram", "From sealing to the witness's word.")
        yield from self.commits.lines(f"{_PREFIX}commit_seconds")
        for name, text, value in (
            ("connections", "Open connections.", gauges.connections),
            ("state_sequence", "Number of the newest state record.", gauges.sequence),
            ("log_size", "Entries in the log.", gauges.log_size),
            ("policies", "Policies, replaced ones too.", gauges.policies),
            ("volumes", "Registered volumes.", gauges.volumes),
        ):
            yield from _head(name, "gauge", text)
            yield _line(name, {}, value)


class TimedFreshness:
    """A witness whose answer ends a commit; tells how long commits take, and decides nothing."""

    def __init__(
        self, witness: Freshness, *, clock: Callable[[], float], observe: Callable[[float], None]
    ) -> None:
        """Wrap a witness."""
        self._witness = witness
        self._clock = clock
        self._observe = observe
        self._began = 0.0

    def reading(self) -> None:
        """Pass on."""
        self._witness.reading()

    def opened(self, head: Head) -> None:
        """Pass on."""
        self._witness.opened(head)

    def abandoned(self) -> None:
        """Pass on."""
        self._witness.abandoned()

    def committing(self, head: Head) -> None:
        """Note the time, and pass on."""
        self._began = self._clock()
        self._witness.committing(head)

    def committed(self, before: Head, head: Head) -> None:
        """Pass on, and tell the time since `committing`."""
        self._witness.committed(before, head)
        self._observe(self._clock() - self._began)

    def close(self) -> None:
        """Pass on."""
        self._witness.close()


def _code(code: str) -> str:
    if not code:
        return _GRANTED
    return code if code in CODES else _OTHER


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {kind}"


def _line(name: str, labels: Mapping[str, str], value: int) -> str:
    inside = ",".join(f'{key}="{label}"' for key, label in labels.items())
    return f"{_PREFIX}{name}{{{inside}}} {value}" if inside else f"{_PREFIX}{name} {value}"
