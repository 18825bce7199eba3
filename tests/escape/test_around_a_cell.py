"""Around a cell: its pipe, its siblings, and what a use leaves behind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloister.cleanroom.encoding import Limits, Message
from cloister.cleanroom.pipe import Pipe
from cloister.confinement.cell import Cell, Warm
from cloister.errors import CloisterError, UnsupportedError
from escape.ground import SPEC
from escape.talk import SAYINGS

_FOLDER = Path(__file__).parent
_FRAME_BYTES = 256
_IN_TIME_S = 0.6
_SLACK_S = 8.0
_REFUSALS = {
    "too-large": {"wire.too-large"},
    "nonsense": {"wire.malformed"},
    "filled": {"wire.malformed"},
    "idle": {"wire.malformed"},
    "half": {"cell.ended"},
    "silent": {"cell.late"},
    "hung-up": {"cell.ended"},
    "dribble": {"cell.late"},
    "flood": {"wire.malformed"},
    "deaf": {"cell.late"},
    "early": {"cell.ended"},
}


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """One parent of all cells."""
    with Warm(replace(SPEC, preload=("ctypes", "json", "pathlib"))) as found:
        try:
            found.start()
        except UnsupportedError as e:
            pytest.skip(f"this machine cannot: {e.public}")
        yield found


def _cell(warm: Warm, module: str, entry: str) -> Cell:
    return warm.fork({f"{module}.py": (_FOLDER / f"{module}.py").read_bytes()}, f"{module}:{entry}")


def _pipe(cell: Cell) -> Pipe:
    limits = Limits(message_bytes=1 << 16)
    return Pipe(os.dup(cell.fileno()), _FRAME_BYTES, limits, send_s=_IN_TIME_S)


@pytest.mark.spec("CC-30", "CC-31", "CC-33", "CC-34")
@pytest.mark.parametrize("saying", SAYINGS)
def test_nothing_said_on_a_pipe_holds_the_trusted_side(warm: Warm, saying: str) -> None:
    """It is refused for what it is, in time, and the cell can be ended."""
    with _cell(warm, "talk", saying.replace("-", "_")) as cell:
        pipe = _pipe(cell)
        began = time.monotonic()
        with pytest.raises(CloisterError) as caught:
            _talk(pipe, saying)
        assert caught.value.code in _REFUSALS[saying]
        if caught.value.code == "cell.late":
            assert _IN_TIME_S <= time.monotonic() - began < _IN_TIME_S + _SLACK_S
        with pytest.raises(CloisterError):  # nothing more is heard from it
            pipe.receive(1.0)
        pipe.close()
        cell.kill()
        cell.wait(20)


def _talk(pipe: Pipe, saying: str) -> None:
    if saying == "deaf":
        pipe.send(Message("question", {}, {"x": np.zeros(64 << 20, np.uint8)}))
    pipe.receive(_IN_TIME_S if saying in {"silent", "dribble"} else 30.0)


@pytest.mark.spec("CELL-15")
def test_a_descriptor_cannot_travel_to_a_cell(warm: Warm) -> None:
    """Not even where the trusted side sends one: bytes are read, and it is dropped."""
    source = b"""
import os
def main(pipe):
    os.write(pipe, b"ready")
    read = os.read(pipe, 9)
    found = []
    for number in range(64):
        try:
            os.fstat(number)
            found.append(number)
        except OSError:
            pass
    os.write(pipe, read + repr(found).encode())
"""
    with (
        warm.fork({"p.py": source}, "p:main") as cell,
        socket.socket(fileno=os.dup(cell.fileno())) as ours,
        Path("/etc/passwd").open() as held,
    ):
        assert ours.recv(5) == b"ready"
        socket.send_fds(ours, [b"x"], [held.fileno()])
        assert ours.recv(99) == b"x[0, 1, 2, 3]"


@pytest.mark.spec("CELL-20")
def test_a_cell_cannot_read_what_a_sibling_answers(warm: Warm) -> None:
    """Of two cells, one hears what it was told alone, and the other's answer is whole."""
    speaks = b"""
import os
def main(pipe):
    os.read(pipe, 9)
    os.write(pipe, b"the answer")
    os.read(pipe, 1)
"""
    listens = b"""
import os, select
def main(pipe):
    heard = []
    for number in range(256):
        try:
            os.set_blocking(number, False)
            heard.append((number, len(os.read(number, 99))))
        except OSError as e:
            if number == pipe:
                heard.append((number, e.errno))
    for path in ("/proc/2/fd/3", "/proc/1/fd/3", "/dev/fd/3"):
        try:
            heard.append((path, os.open(path, os.O_RDONLY)))
        except OSError:
            pass
    os.write(pipe, repr(heard).encode())
"""
    with (
        warm.fork({"p.py": speaks}, "p:main") as one,
        warm.fork({"p.py": listens}, "p:main") as two,
    ):
        os.write(one.fileno(), b"question")
        assert os.read(two.fileno(), 999) == b"[(0, 0), (1, 0), (2, 0), (3, 11)]"
        assert os.read(one.fileno(), 99) == b"the answer"


@pytest.mark.spec("CELL-11")
def test_a_canary_of_one_use_is_not_in_the_next(warm: Warm) -> None:
    """Not in files, objects, the environment or any memory; in the same cell it is."""
    canary = os.urandom(32)
    masked = bytes(byte ^ 0xFF for byte in canary)
    with _cell(warm, "left", "leave") as cell:
        os.write(cell.fileno(), canary)
        assert os.read(cell.fileno(), 9) == b"left"
        cell.wait(20)
    with _cell(warm, "left", "find") as cell:
        os.write(cell.fileno(), masked)
        assert json.loads(os.read(cell.fileno(), 999)) == []
    with _cell(warm, "left", "leave_and_find") as cell:
        os.write(cell.fileno(), canary)
        assert os.read(cell.fileno(), 4) == b"left"
        os.write(cell.fileno(), masked)
        found = json.loads(os.read(cell.fileno(), 999))
    assert found == [
        "a file", "any file", "a builtin", "a module", "the environment", "the path", "an object",
        "memory",
    ]  # fmt: skip


@pytest.mark.spec("CELL-11", "CELL-12")
def test_a_canary_is_not_in_the_warm_parent(warm: Warm) -> None:
    """Neither what a cell was given as files nor what it was told comes to lie there."""
    canary = os.urandom(32)
    source = b"""
import os
def main(pipe):
    kept = os.read(pipe, 64)
    os.write(pipe, b"kept")
    os.read(pipe, 1)
"""
    parents = _descendants(warm._process.pid if warm._process else 0)[:2]
    assert len(parents) == 2
    assert any(_memory_holds(parent, b"cloister.confinement") for parent in parents)
    with warm.fork({"p.py": source, "data.bin": canary}, "p:main") as cell:
        os.write(cell.fileno(), canary)
        assert os.read(cell.fileno(), 9) == b"kept"
        inside = _inside(parents)
        assert _memory_holds(inside, canary)
        others = [each for each in _descendants(parents[0]) if each != inside]
        assert set(parents) <= set(others)  # and what is forked ahead for the next
        assert not any(_memory_holds(other, canary) for other in others)
    assert not any(_memory_holds(parent, canary) for parent in parents)


def _inside(parents: list[int]) -> int:
    """Return the only cell that there is: what is forked ahead is younger."""
    return _descendants(parents[0])[2]


def _descendants(process: int) -> list[int]:
    """Return a process and all below it."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text("utf-8")
    return [process] + [each for child in text.split() for each in _descendants(int(child))]


def _memory_holds(process: int, wanted: bytes) -> bool:
    """Look through what a process may write to."""
    try:
        memory = os.open(f"/proc/{process}/mem", os.O_RDONLY)
    except PermissionError:
        pytest.skip("only root may look into other processes that are not dumpable")
    try:
        for line in Path(f"/proc/{process}/maps").read_text("utf-8").splitlines():
            place, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, end = (int(part, 16) for part in place.split("-"))
                if wanted in os.pread(memory, end - start, start):
                    return True
    finally:
        os.close(memory)
    return False


@pytest.mark.spec("CELL-35")
def test_a_cell_is_the_first_that_goes(warm: Warm) -> None:
    """Where the machine's memory does not suffice, the kernel ends it before anybody else."""
    parents = _descendants(warm._process.pid if warm._process else 0)[:2]
    with _cell(warm, "talk", "silent"):
        inside = _inside(parents)
        assert Path(f"/proc/{inside}/oom_score_adj").read_text("ascii") == "1000\n"
        assert Path(f"/proc/{parents[1]}/oom_score_adj").read_text("ascii") != "1000\n"


@pytest.mark.spec("CELL-30", "CELL-33")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="has no older entry")
def test_what_is_refused_is_not_in_the_kernels_log(warm: Warm) -> None:
    """Neither a name nor a number of the cell's choice is recorded where others read it."""
    source = b"""
import ctypes, os
from escape.machine import _run
def main(pipe):
    ctypes.CDLL(None).prctl(15, b"name-of-a-cell")
    code = b"\\x53\\xb8\\x67\\x45\\x23\\x01\\xcd\\x80\\x5b\\xc3"  # call 0x1234567 by int 0x80
    os.write(pipe, b"%x" % (_run(code) & 0xFFFFFFFF))
    os.read(pipe, 1)
"""
    files = {f"escape/{name}.py": (_FOLDER / f"{name}.py").read_bytes() for name in _CODE}
    parents = _descendants(warm._process.pid if warm._process else 0)[:2]
    with warm.fork({"p.py": source, **files}, "p:main") as cell:
        answer = os.read(cell.fileno(), 99)
        if not answer:
            pytest.skip("this kernel has no older entry")
        assert answer == b"%x" % (2**32 - errno.ENOSYS)
        inside = _inside(parents)
        assert Path(f"/proc/{inside}/comm").read_text("ascii") != "name-of-a-cell\n"
    assert f"syscall={0x01234567}" not in _kernel_log()


_CODE = ("table", "machine")


def _kernel_log() -> str:
    """Return what the kernel has said, as whoever reads the machine's console sees it."""
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError as e:
        pytest.skip(f"only root may read the kernel's log: {e}")
    records = []
    try:
        while True:
            with contextlib.suppress(BrokenPipeError):  # a record that was overwritten meanwhile
                records.append(os.read(log, 8192).decode("utf-8", "replace"))
    except BlockingIOError:
        return "".join(records)
    finally:
        os.close(log)
