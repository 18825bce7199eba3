"""A trainer's program takes part to the end, whatever becomes of the process that learns."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cloister.cleanroom import trainer
from cloister.cleanroom.agreement import Room
from cloister.cleanroom.exchange_message import message_bytes
from cloister.cleanroom.round_rules import RoundRules
from cloister.testing.cleanroom import sample_agreement
from cloister.testing.traffic import Tap, messages
from rounds_bench import coordinator, serving
from unit.cleanroom.test_server import quick_room

# What the process that learns does, with its end of the pipe.
LEARNERS = {
    "speaks and fails": "import os; os.write(1, b'x' * 9999); os.write(2, b'y'); sys.exit(x)",
    "is killed": "import os; os.kill(os.getpid(), 9)",
    "hangs up": "import os; os.close(fd)\nwhile True: pass",
    "floods": "import os\nwhile True: os.write(fd, b'\\xff' * 65536)",
    "asks what is no question": (
        "from cloister.cleanroom.encoding import Limits, Message\n"
        "from cloister.cleanroom.pipe import Pipe\n"
        "pipe = Pipe(fd, 1 << 16, Limits(message_bytes=1 << 20))\n"
        "pipe.receive(9); pipe.send(Message('close')); pipe.receive(None)"
    ),
}
_QUICK = quick_room().terms
ROOM = Room(
    sample_agreement(
        dataclasses.replace(_QUICK, training=dataclasses.replace(_QUICK.training, join_s=1))
    )
)
RULES = RoundRules.of(ROOM)


@pytest.mark.spec("TR-74")
def test_a_learner_computes_with_its_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by its environment, before it loads a framework."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    told: list[dict[str, str]] = []

    def start(_command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        told.append(options["env"])
        raise OSError("nothing learns here")

    monkeypatch.setattr(subprocess, "Popen", start)
    with serving(RULES, coordinator(RULES)) as server:
        trainer.take_part(ROOM, index=0, server=server.address, data=tmp_path, recipe=tmp_path)
    assert ROOM.terms.trainers == 2
    assert [each["OMP_NUM_THREADS"] for each in told] == ["3"]


@pytest.mark.spec("TR-70", "TR-71", "TR-72")
@pytest.mark.parametrize("what", LEARNERS)
def test_nothing_of_a_learner_shows_outside(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Messages of one size at every tick, nothing printed, nobody left, and an end at its time."""
    begun = tmp_path / "begun"
    code = f"import sys; fd = int(sys.argv[1]); open({str(begun)!r}, 'w').close()\n"
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        at = command.index("-m")
        changed = [*command[:at], "-c", code + LEARNERS[what], *command[at + 2 :]]
        started.append(real(changed, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with serving(RULES, coordinator(RULES)) as server, Tap(server.address) as tap:
        begins = time.monotonic()
        trainer.take_part(
            ROOM, index=0, server=("127.0.0.1", tap.port), data=tmp_path, recipe=tmp_path
        )
        took_s = time.monotonic() - begins
        record = messages(tap.notes, size=message_bytes(RULES))
    assert begun.exists()
    assert [process.poll() is not None for process in started] == [True]
    assert {each.size for each in record} == {message_bytes(RULES)}
    schedule = RULES.schedule
    sent = sum(each.direction == "out" for each in record)
    assert schedule.ticks / 2 <= sent <= schedule.ticks + 1
    lasts_s = RULES.join_s + schedule.ticks * schedule.tick_s  # the second trainer never comes
    assert lasts_s - 1 < took_s < lasts_s + 5
    assert capfd.readouterr() == ("", "")


def test_a_machine_that_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is a trainer that learns nothing, and takes part all the same."""

    def start(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", start)
    with serving(RULES, coordinator(RULES)) as server:
        trainer.take_part(ROOM, index=0, server=server.address, data=tmp_path, recipe=tmp_path)
        heard = server.mind.seats[0].heard
    assert heard >= RULES.schedule.ticks / 2


def test_threads_end() -> None:
    """Of the trainers above none is at work any more."""
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"exchange", "exchange-in", "learner"}
