"""SIGKILL at each point of a commit: nothing acknowledged is lost, nothing half done is seen."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from cloister.keyservice import merkle
from cloister.keyservice.records import VolumeRecord
from cloister.keyservice.store import ServiceSecrets, Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.postgres import PostgresServer

SECRETS: Final = ServiceSecrets(b"s" * 32, b"h", b"c", b"d", b"r" * 32, b"o", "example.test")
VOLUME: Final = VolumeRecord(b"v" * 16, b"k" * 32, "data", 0, b"r" * 32, 0, 0, None)
COMMITS: Final = 3
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


def open_store(folder: Path, address: str) -> Store:
    """Open the state that a test has founded, wherever it is."""
    platform = SimPlatform.load(folder / "platform")
    return Store.open_shared(address, platform) if address else Store.open(folder, platform)


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
    platform = SimPlatform.create(tmp_path / "platform", svn=1, debug=False)
    address = ""
    if backend == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        address = server.address(server.database())
        Store.create_shared(address, platform, SECRETS)
    else:
        Store.create(tmp_path, platform, SECRETS)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), address, point],
        capture_output=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == -9, done.stderr.decode()
    assert done.stdout.split() == [b"%d" % number for number in range(1, COMMITS)]
    store = open_store(tmp_path, address)
    expected = COMMITS if there else COMMITS - 1
    assert store.entries(0, 9) == [b"entry %d" % number for number in range(1, expected + 1)]
    assert store.volume(VOLUME.id) == replace(VOLUME, version=expected)
    assert merkle.root_of_leaves(store.leaves()) == store.log_root()
    with store.transaction():
        assert store.append(b"next").index == expected
    store.close()
