"""The logs of a job's instances."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.training.job_logs import LogFollower, LogWriter, log_path
from cloister.training.supervision import Task

A, B = Task("worker", 0), Task("worker", 1)


def texts(follower: LogFollower) -> list[tuple[str, str]]:
    return [(task.name, text) for task, _, text in follower.read()]


def test_lines_are_told_in_the_order_of_their_times(tmp_path: Path) -> None:
    """Of all instances, as they come; each begins with its time."""
    first, second = (LogWriter(log_path(tmp_path, task)) for task in (A, B))
    follower = LogFollower(tmp_path, [A, B])
    assert texts(follower) == []
    first.write(["one", "two"], 1_800_000_000.25)
    second.write(["between"], 1_800_000_000.5)
    first.write(["three"], 1_800_000_001)
    first.write([], 1_800_000_001)
    assert texts(follower) == [
        ("worker-0", "one"),
        ("worker-0", "two"),
        ("worker-1", "between"),
        ("worker-0", "three"),
    ]
    assert texts(follower) == []
    second.write(["later"], 1_800_000_002)
    assert texts(follower) == [("worker-1", "later")]
    follower.close()
    first.close()
    second.close()
    assert log_path(tmp_path, A).read_text().startswith("2027-01-15T08:00:00.250Z one\n")
    assert log_path(tmp_path, A).stat().st_mode & 0o777 == 0o600


def test_a_log_has_a_largest_size(tmp_path: Path) -> None:
    """The file before is kept; a follower goes on in the next one, and misses nothing."""
    writer = LogWriter(log_path(tmp_path, A), max_bytes=1000)
    follower = LogFollower(tmp_path, [A])
    seen: list[str] = []
    for number in range(100):
        writer.write([f"line {number} " + "x" * 50], 1_800_000_000 + number)
        seen += [text for _, text in texts(follower)]
    writer.close()
    writer.write(["again"], 1_800_000_200)
    seen += [text for _, text in texts(follower)]
    writer.close()
    follower.close()
    assert [text.split()[1] for text in seen[:-1]] == [str(number) for number in range(100)]
    assert seen[-1] == "again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worker-0.log", "worker-0.log.1"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    late = LogFollower(tmp_path, [A])
    assert 10 < len(texts(late)) < 30  # of both files
    late.close()


def test_what_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    """And what cannot be written costs nobody a job."""
    log_path(tmp_path, A).mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        list(LogFollower(tmp_path, [A]).read())
    LogWriter(log_path(tmp_path, A)).write(["lost"], 0)
