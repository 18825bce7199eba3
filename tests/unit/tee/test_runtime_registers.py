"""TDX's runtime registers: an extension is what it says, or an error."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloister.errors import CallerError, CloisterError, UnavailableError
from cloister.tee.runtime_registers import RuntimeRegisters
from cloister.testing.kernel import FakeRegisters

ROOT = Path("/measurements")
DIGEST = b"d" * 48


def test_an_extension_chains() -> None:
    """New value = SHA-384(old ‖ digest)."""
    files = FakeRegisters(ROOT)
    registers = RuntimeRegisters(root=ROOT, files=files)
    first = registers.extend(3, DIGEST)
    assert first == hashlib.sha384(bytes(48) + DIGEST).digest()
    assert registers.extend(3, DIGEST) == hashlib.sha384(first + DIGEST).digest()
    assert registers.read(2) == bytes(48)


def test_somebody_elses_extension_is_seen() -> None:
    """What the register says is then not what was measured here."""
    registers = RuntimeRegisters(root=ROOT, files=FakeRegisters(ROOT, meddling=True))
    with pytest.raises(UnavailableError) as e:
        registers.extend(3, DIGEST)
    assert e.value.code == "attester.failed"


@pytest.mark.parametrize("digest", [b"", b"d" * 32, b"d" * 49])
def test_a_digest_has_48_bytes(digest: bytes) -> None:
    """The caller's mistake, before anything is written."""
    files = FakeRegisters(ROOT)
    with pytest.raises(CallerError):
        RuntimeRegisters(root=ROOT, files=files).extend(3, digest)
    assert files.values[3] == bytes(48)


@pytest.mark.parametrize("number", [-1, 4])
def test_there_are_four(number: int) -> None:
    """No path is made of anything else."""
    with pytest.raises(CallerError):
        RuntimeRegisters(root=ROOT, files=FakeRegisters(ROOT)).read(number)


@pytest.mark.parametrize(
    ("root", "number", "code"),
    [
        (Path("/elsewhere"), 3, "machine.attester"),
        (ROOT, 0, "attester.failed"),
    ],
)
def test_a_kernel_that_refuses_gives_our_errors(root: Path, number: int, code: str) -> None:
    """No registers here, or one that is the firmware's."""
    with pytest.raises(CloisterError) as e:
        RuntimeRegisters(root=root, files=FakeRegisters(ROOT)).extend(number, DIGEST)
    assert e.value.code == code


def test_a_register_of_another_length_is_refused() -> None:
    """The interface is of another version."""
    files = FakeRegisters(ROOT, values={3: b"short"})
    with pytest.raises(UnavailableError):
        RuntimeRegisters(root=ROOT, files=files).read(3)


@dataclass
class Stale(FakeRegisters):
    """A kernel that takes a write and does nothing, as over an older TDX module."""

    def write(self, path: Path, data: bytes) -> None:
        """Take it."""
        assert (self._number(path), len(data)) == (3, 48)


def test_an_extension_that_does_nothing_is_seen() -> None:
    """The value is the old one: nothing was measured."""
    registers = RuntimeRegisters(root=ROOT, files=Stale(ROOT))
    with pytest.raises(UnavailableError) as e:
        registers.extend(3, DIGEST)
    assert e.value.code == "attester.failed"


def test_a_plain_file_is_no_register(tmp_path: Path) -> None:
    """It keeps what is written, and does not extend."""
    (tmp_path / "rtmr3:sha384").write_bytes(bytes(48))
    with pytest.raises(UnavailableError) as e:
        RuntimeRegisters(root=tmp_path).extend(3, DIGEST)
    assert e.value.code == "attester.failed"


def test_a_write_that_is_taken_in_part_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not tried again: nobody knows what the register has now."""
    (tmp_path / "rtmr3:sha384").write_bytes(bytes(48))
    written: list[bytes] = []

    def part(_fd: int, data: bytes) -> int:
        written.append(data)
        return 47

    monkeypatch.setattr("cloister.tee.kernel.os.write", part)
    with pytest.raises(UnavailableError) as e:
        RuntimeRegisters(root=tmp_path).extend(3, DIGEST)
    assert e.value.code == "attester.failed"
    assert written == [DIGEST]


def test_registers_of_another_algorithm_are_not_there(tmp_path: Path) -> None:
    """The name says which; a digest of another is not written to one of the same number."""
    path = tmp_path / "rtmr3:sha512"
    path.write_bytes(bytes(64))
    with pytest.raises(CloisterError) as e:
        RuntimeRegisters(root=tmp_path).extend(3, DIGEST)
    assert e.value.code == "machine.attester"
    assert path.read_bytes() == bytes(64)
