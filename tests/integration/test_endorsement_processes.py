"""Several processes that fetch the same endorsements, and one that is killed while it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cloister.attestation.endorsement_bundle import EndorsementBundle
from cloister.endorsing.cache import Cache
from cloister.testing.endorsers import FakeEndorsers
from endorsing_bench import AUTHORITY, MINTED, NOW, WISH

DEADLINE_S: Final = 60.0


class Crowd:
    """Processes in one home."""

    def __init__(self, endorsers: FakeEndorsers, home: Path) -> None:
        self.endorsers = endorsers
        self.home = home
        (home / "authority.pem").write_bytes(AUTHORITY.pem)
        (home / "quote.bin").write_bytes(MINTED.quote)
        self.cache = home / ".cache" / "cloister" / "endorsements"

    def start(self, bundle: str) -> subprocess.Popen[bytes]:
        """Fetch in a process of its own."""
        words = ["endorsements", "fetch", "quote.bin", "--kind", "tdx", "-o", bundle]
        program = "from cloister.cli.main import main; main()"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "CLOISTER_SOURCES": " ".join(self.endorsers.sources),
            "CLOISTER_SOURCES_AUTHORITY": str(self.home / "authority.pem"),
        }
        return subprocess.Popen(
            [sys.executable, "-c", program, *words],
            cwd=self.home,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def wait_for(self, count: int) -> None:
        """Wait until so many requests have come."""
        deadline = time.monotonic() + DEADLINE_S
        while len(self.endorsers.asked) < count:
            assert time.monotonic() < deadline, "nobody asks"
            time.sleep(0.02)


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    """A simulated Intel's service that holds its answers back."""
    with FakeEndorsers(AUTHORITY, at=NOW) as endorsers:
        endorsers.intel(MINTED)
        endorsers.hold = threading.Event()
        yield Crowd(endorsers, tmp_path)


@pytest.mark.spec("ES-7")
def test_processes_ask_once_together(crowd: Crowd) -> None:
    """Each has its bundle, by the one collector that the first of them made."""
    started = [crowd.start(f"{number}.cbor") for number in range(3)]
    crowd.wait_for(1)
    time.sleep(0.5)  # the others arrive; if they are late, the cache has it: four either way
    assert crowd.endorsers.hold is not None
    crowd.endorsers.hold.set()
    for each in started:
        _, said = each.communicate(timeout=DEADLINE_S)
        assert each.returncode == 0, said
    assert len(crowd.endorsers.asked) == 4
    bundles = [(crowd.home / f"{number}.cbor").read_bytes() for number in range(3)]
    assert len({EndorsementBundle.claimed_collector(each) for each in bundles}) == 1
    assert len(list((crowd.home / ".config" / "cloister").iterdir())) == 2


@pytest.mark.spec("ES-7", "ES-22")
def test_a_killed_process_is_in_nobodys_way(crowd: Crowd) -> None:
    """Its lock ends with it, what it had is kept, and what it had not is asked again."""
    hold = crowd.endorsers.hold
    assert hold is not None
    crowd.endorsers.hold = None
    first_answer = crowd.endorsers.shelf["/intel" + WISH.questions()[0].target]
    crowd.endorsers.faults = [first_answer, lambda _: hold.wait(DEADLINE_S)]
    first = crowd.start("a.cbor")
    crowd.wait_for(2)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=DEADLINE_S)
    assert not (crowd.home / "a.cbor").exists()
    cache = Cache.open(crowd.cache)
    kept = [each.stem for each in crowd.cache.iterdir() if each.suffix == ".entry"]
    assert len(kept) == 1
    assert all(cache.read(name) is not None for name in kept)
    before = len(crowd.endorsers.asked)
    second = crowd.start("b.cbor")
    _, said = second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 0, said
    assert len(crowd.endorsers.asked) - before == 3
    hold.set()
