"""Witnesses as processes, asked over HTTP: forks and rollbacks are refused, across SIGKILL too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.errors import UnavailableError
from cloister.keyservice.cosigning import WitnessKey
from cloister.keyservice.notes import Note
from cloister.keyservice.witnessing import WitnessCircle, WitnessEndpoint
from cloister.testing.log import ORIGIN, MemoryLog, decision


class WitnessProcess:
    """`cloister keyservice witness`, which can be killed and started again on the same port."""

    def __init__(self, state: Path, log: MemoryLog) -> None:
        """Start it."""
        self.state = state
        self.log = log
        self.url = "http://127.0.0.1:0"
        self.start()

    def start(self) -> None:
        """Start and wait until it is ready."""
        words = ["keyservice", "witness", "--state", str(self.state), "--name", self.state.name]
        words += ["--origin", ORIGIN, "--service-key", self.log.key.public.text]
        words += ["--listen", self.url.removeprefix("http://")]
        code = "from cloister.cli.main import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        facts = json.loads(self.process.stdout.readline())
        self.url = facts["url"]
        self.key = WitnessKey.from_text(facts["witness"])

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait; returns the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def endpoint(self) -> WitnessEndpoint:
        """Where and as whom it answers."""
        return WitnessEndpoint(self.url, self.key)


@pytest.fixture
def log() -> MemoryLog:
    """Five decisions."""
    log = MemoryLog()
    log.decide(5)
    return log


@pytest.fixture
def witnesses(tmp_path: Path, log: MemoryLog) -> Iterator[list[WitnessProcess]]:
    """Three of them."""
    found = [WitnessProcess(tmp_path / f"w{n}", log) for n in range(3)]
    yield found
    for each in found:
        if each.process.poll() is None:
            each.end(signal.SIGKILL)


def cosign(witnesses: list[WitnessProcess], log: MemoryLog, required: int) -> str:
    """Ask all of them once, as a service does that knows nothing of them yet."""
    endpoints = [each.endpoint() for each in witnesses]
    circle = WitnessCircle(endpoints, required=required, deadline_s=10.0)
    note = circle.cosign(log.note(), log.prove)
    circle.quorum.require(Note.from_text(note))
    return note


def refused(witnesses: list[WitnessProcess], log: MemoryLog) -> str:
    """Ask, expecting that too few cosign; returns why."""
    with pytest.raises(UnavailableError) as e:
        cosign(witnesses, log, 1)
    assert e.value.code == "keyservice.witnesses"
    return e.value.detail or ""


@pytest.mark.spec("RL-41", "RL-42", "RL-44")
def test_witnesses_keep_a_log_to_one_history(
    witnesses: list[WitnessProcess], log: MemoryLog
) -> None:
    """What grew is cosigned; a fork, a fork of the same size and a rollback are not, ever."""
    cosign(witnesses, log, 3)
    log.decide(4)
    cosign(witnesses, log, 3)
    for number in (signal.SIGKILL, signal.SIGTERM):
        for each in witnesses:
            each.end(number)
            before = each.key
            each.start()
            assert each.key == before
        fork = MemoryLog()
        fork.leaves = [*log.leaves[:3], decision(99).to_bytes(), *log.leaves[4:]]
        assert "holds 9 entries" in refused(witnesses, fork)
        fork.decide(3)
        assert "answered 422" in refused(witnesses, fork)
        back = MemoryLog()
        back.leaves = log.leaves[:6]
        assert "holds 9 entries" in refused(witnesses, back)
        cosign(witnesses, log, 3)
    log.decide(1)
    cosign(witnesses, log, 3)


@pytest.mark.spec("RL-44")
def test_one_witness_may_be_away(witnesses: list[WitnessProcess], log: MemoryLog) -> None:
    """Two of three are a quorum; the third catches up later."""
    witnesses[0].process.send_signal(signal.SIGSTOP)
    note = cosign(witnesses, log, 2)
    assert witnesses[0].key.verify(Note.from_text(note)) is None
    witnesses[0].process.send_signal(signal.SIGCONT)
    log.decide(2)
    cosign(witnesses, log, 3)


def test_a_witness_ends_when_it_is_told(witnesses: list[WitnessProcess]) -> None:
    """Without an error; and a second one on its folder is refused with a status."""
    first = witnesses[0]
    words = ["keyservice", "witness", "--state", str(first.state), "--name", first.state.name]
    words += ["--origin", ORIGIN, "--service-key", first.log.key.public.text]
    code = "from cloister.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, check=False, timeout=60
    )
    assert json.loads(done.stdout)["error"]["code"] == "keyservice.busy"
    assert done.returncode == 75
    assert first.end(signal.SIGTERM) == 0
