"""A TPM's device and socket: whole commands, whole answers, and errors of our own."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cloister.errors import CloisterError
from cloister.tee.tpm.transport import TpmPath
from cloister.testing.swtpm import SoftwareTpm

ANSWER = bytes.fromhex("8001 0000000c 00000000 abcd")


@pytest.fixture
def device() -> Iterator[Callable[..., TpmPath]]:
    """A device that answers a command with these pieces, and closes."""
    open_sockets: list[socket.socket] = []

    def make(*pieces: bytes) -> TpmPath:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        open_sockets.append(theirs)

        def serve() -> None:
            with suppress(OSError):  # the other end may be closed already
                theirs.recv(4096)
                for piece in pieces:
                    theirs.send(piece)
                theirs.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        return TpmPath(Path("/dev/none"), opener=lambda _path: ours.detach())

    yield make
    for each in open_sockets:
        each.close()


def failing(number: int) -> TpmPath:
    """A device that cannot be opened."""

    def opener(path: Path) -> int:
        raise OSError(number, os.strerror(number), str(path))

    return TpmPath(opener=opener)


@pytest.mark.spec("TPM-13")
@pytest.mark.parametrize(
    "pieces", [(ANSWER,), (ANSWER[:4], ANSWER[4:]), tuple(ANSWER[i : i + 1] for i in range(12))]
)
def test_an_answer_comes_whole(device: Callable[..., TpmPath], pieces: tuple[bytes, ...]) -> None:
    """In as many pieces as it comes."""
    with device(*pieces) as transport:
        assert transport.exchange(b"command") == ANSWER


@pytest.mark.spec("TPM-13")
@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (ANSWER[:9],),
        (ANSWER[:11],),
        (bytes.fromhex("8001 00001001 00000000"),),
        (bytes.fromhex("8001 ffffffff 00000000"),),
        (bytes.fromhex("8001 0000000a 00000000") + bytes(4087),),
    ],
)
def test_an_answer_that_is_cut_off_or_too_long_is_refused(
    device: Callable[..., TpmPath], pieces: tuple[bytes, ...]
) -> None:
    """At once, and not after as many bytes as it says."""
    with device(*pieces) as transport, pytest.raises(CloisterError) as e:
        transport.exchange(b"command")
    assert e.value.code == "attester.failed"


def test_a_command_that_is_taken_in_part_is_an_error(
    device: Callable[..., TpmPath], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is another command."""
    with device(ANSWER) as transport:
        monkeypatch.setattr("cloister.tee.tpm.transport.os.write", lambda _fd, data: len(data) - 1)
        with pytest.raises(CloisterError) as e:
            transport.exchange(b"command")
    assert e.value.code == "attester.failed"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOENT, "machine.attester"),
        (errno.ENODEV, "machine.attester"),
        (errno.ECONNREFUSED, "machine.attester"),
        (errno.EBUSY, "attester.busy"),
        (errno.EACCES, "attester.failed"),
    ],
)
def test_a_device_that_cannot_be_opened_says_why(number: int, code: str) -> None:
    """Absent, another's, or not for this user."""
    with pytest.raises(CloisterError) as e, failing(number):
        pass
    assert e.value.code == code


def test_a_file_is_no_device(tmp_path: Path) -> None:
    """And is not written over; a device that answers nothing is cut off."""
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(CloisterError) as e, TpmPath(path):
        pass
    assert e.value.code == "machine.attester"
    assert path.read_text() == "mine"
    with TpmPath(Path("/dev/null")) as transport, pytest.raises(CloisterError) as silent:
        transport.exchange(b"command")
    assert silent.value.code == "attester.failed"


def test_what_is_not_open_is_not_asked() -> None:
    """Before and after its use."""
    with pytest.raises(CloisterError) as e:
        TpmPath().exchange(b"command")
    assert e.value.code == "attester.failed"


def test_a_tpm_that_is_unplugged_is_noticed(swtpm: SoftwareTpm) -> None:
    """While it is open, and when it is opened again."""
    with swtpm.transport() as transport:
        assert transport.exchange(bytes.fromhex("8001 0000000c 00000144 0000"))
        swtpm.stop()
        with pytest.raises(CloisterError) as e:
            transport.exchange(bytes.fromhex("8001 0000000c 00000144 0000"))
        assert e.value.code == "attester.failed"
    with pytest.raises(CloisterError) as absent, swtpm.transport():
        pass
    assert absent.value.code == "machine.attester"
