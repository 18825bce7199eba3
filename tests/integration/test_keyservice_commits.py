"""SIGKILL at each point of a commit: nothing acknowledged is lost, nothing half done is seen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from cloister.keyservice import merkle
from cloister.keyservice.records import VolumeRecord
from cloister.keyservice.state.key_rows import KeyChange, put_key_change
from cloister.keyservice.state.platform_key import seal_next_state_key, slots_after
from cloister.keyservice.state.record import StateKey
from cloister.keyservice.store import ServiceSecrets, Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.postgres import PostgresServer

SECRETS: Final = ServiceSecrets(b"s" * 32, b"h", b"c", b"d", b"r" * 32, b"o", "example.test")
VOLUME: Final = VolumeRecord(b"v" * 16, b"k" * 32, "data", 0, b"r" * 32, 0, 0, None)
COMMITS: Final = 3
Slot = tuple[str, bytes]
Slots = tuple[Slot, ...]
# What a process does that is killed at its last commit: it says which ones it could acknowledge.
PROGRAM: Final = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from integration.test_keyservice_commits import COMMITS, VOLUME, open_store

folder, address, point = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
store = open_store(folder, address)
backend, freshness = store._backend, store._freshness

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def patched(owner, name, *, first):
    genuine = getattr(owner, name)
    def call(*arguments, **named):
        if last and first:
            die()
        genuine(*arguments, **named)
        if last:
            die()
    setattr(type(owner), name, staticmethod(call))

last = False
if point != "before":
    patched(*{
        "before-append": (backend, "append"), "after-append": (backend, "append"),
        "before-witness": (freshness, "committed"), "after-witness": (freshness, "committed"),
    }[point], first=point.startswith("before"))
for number in range(1, COMMITS + 1):
    last = number == COMMITS
    with store.group():
        with store.transaction():
            store.append(b"entry %d" % number)
            store.put_volume(replace(VOLUME, version=number))
        if last and point == "before":
            die()
    print(number, flush=True)
"""


# What a process does that is killed while it changes the state key.
CHANGE: Final = """
import os, signal, sys
from pathlib import Path
from cloister.tee.sim.platform import MonotonicCounter
from integration.test_keyservice_commits import change_key, open_store

folder, address, point = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
store = open_store(folder, address)
def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying(slots):
    for slot in slots:
        yield slot
        die()

if point == "in-slots":
    change_key(folder, store, dying)
owner, name = {
    "rekey": (type(store._backend), "rekey"),
    "log": (type(store), "_every_entry"),
    "witness": (type(store._freshness), "committed"),
    "slot-seen": (MonotonicCounter, "raise_to"),
}[point.partition("-")[2]]
genuine = getattr(owner, name)
first = point.startswith("before-")

def call(self, *arguments, **named):
    if first:
        die()
    if name == "raise_to" and store.key.name == before:
        return genuine(self, *arguments, **named)
    genuine(self, *arguments, **named)
    die()

def entries(self, durable):
    for entry in genuine(self, durable):
        yield entry
        if first:
            die()
    die()

before = store.key.name
setattr(owner, name, entries if name == "_every_entry" else call)
change_key(folder, store)
"""


def change_key(
    folder: Path, store: Store, given: Callable[[Slots], Iterable[Slot]] = tuple
) -> StateKey:
    """Change the state key, and write it down; `given` is what slots are read through."""
    platform = SimPlatform.load(folder / "platform")
    key = StateKey(b"n" * 32)
    new = seal_next_state_key(key, platform)

    def slots(present: Iterable[Slot], retired: StateKey) -> Iterable[Slot]:
        return given(slots_after(present, retired, new=new))

    with store.changing_key(key, slots), store.transaction():
        put_key_change(store.tables, KeyChange(key.name, b"s" * 32, 1))
        store.append(b"change")
    return key


def open_store(folder: Path, address: str) -> Store:
    """Open the state that a test has founded, wherever it is."""
    platform = SimPlatform.load(folder / "platform")
    return Store.open_shared(address, platform) if address else Store.open(folder, platform)


def found(folder: Path, request: pytest.FixtureRequest, backend: str) -> str:
    """Found a state; returns its database's address."""
    platform = SimPlatform.create(folder / "platform", svn=1, debug=False)
    if backend != "postgres":
        Store.create(folder, platform, SECRETS)
        return ""
    server: PostgresServer = request.getfixturevalue("postgres")
    address = server.address(server.database())
    Store.create_shared(address, platform, SECRETS)
    return address


def killed(
    program: str, folder: Path, address: str, point: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a program that kills itself at a point."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), address, point],
        capture_output=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == -9, done.stderr.decode()
    return done


@pytest.mark.spec("KR-91", "KS-32", "KS-40")
@pytest.mark.parametrize("backend", ["sqlcipher", "postgres"])
@pytest.mark.parametrize(
    ("point", "there"),
    [
        ("before", False),
        ("before-append", False),
        ("after-append", True),
        ("before-witness", True),
        ("after-witness", True),
    ],
)
def test_a_kill_at_a_commit(
    tmp_path: Path, request: pytest.FixtureRequest, backend: str, point: str, *, there: bool
) -> None:
    """The killed commit is there as a whole or not at all, and the next one follows it."""
    address = found(tmp_path, request, backend)
    done = killed(PROGRAM, tmp_path, address, point)
    assert done.stdout.split() == [b"%d" % number for number in range(1, COMMITS)]
    store = open_store(tmp_path, address)
    expected = COMMITS if there else COMMITS - 1
    assert store.entries(0, 9) == [b"entry %d" % number for number in range(1, expected + 1)]
    assert store.volume(VOLUME.id) == replace(VOLUME, version=expected)
    assert merkle.root_of_leaves(store.leaves()) == store.log_root()
    with store.transaction():
        assert store.append(b"next").index == expected
    store.close()


@pytest.mark.spec("BR-55", "KS-74", "KS-75")
@pytest.mark.parametrize("backend", ["sqlcipher", "postgres"])
@pytest.mark.parametrize(
    ("point", "there"),
    [
        ("before-rekey", False),
        ("before-log", False),
        ("after-log", False),
        ("in-slots", False),
        ("after-rekey", True),
        ("after-witness", True),
        ("after-slot-seen", True),
    ],
)
def test_a_kill_while_the_state_key_changes(
    tmp_path: Path, request: pytest.FixtureRequest, backend: str, point: str, *, there: bool
) -> None:
    """All of the state is under one key or under the other, and the change is made again."""
    address = found(tmp_path, request, backend)
    store = open_store(tmp_path, address)
    old = store.key
    for number in range(3):
        with store.transaction():
            store.append(b"entry %d" % number)
            store.put_volume(replace(VOLUME, version=number))
    before = [row.sealed for row in store._backend.log(0, 9)]
    store.close()
    killed(CHANGE, tmp_path, address, point)
    store = open_store(tmp_path, address)
    entries = [b"entry 0", b"entry 1", b"entry 2"]
    assert store.entries(0, 9) == ([*entries, b"change"] if there else entries)
    assert merkle.root_of_leaves(store.leaves()) == store.log_root()
    assert store.volume(VOLUME.id) == replace(VOLUME, version=2)
    assert (store.key.name == old.name) == (not there)
    after = [row.sealed for row in store._backend.log(0, 3)]
    assert (after == before) == (not there)
    records = [number for number, _ in store._backend.records(0)]
    assert records == ([5] if there else [1, 2, 3, 4])
    if not there:
        assert change_key(tmp_path, store).name == store.key.name
    with store.transaction():
        store.append(b"next")
    store.close()
    store = open_store(tmp_path, address)
    assert store.entries(0, 9) == [*entries, b"change", b"next"]
    assert store.key.name != old.name
    store.close()
