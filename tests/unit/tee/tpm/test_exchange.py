"""Commands as a TPM reads them, and its answers: what fits, and what is refused."""

from __future__ import annotations

import pytest

from cloister.errors import CloisterError, UnavailableError
from cloister.tee.tpm.exchange import Answer, Answered, build, refusal

GOOD = bytes.fromhex("8001 0000000e 00000000 01020304")
WITH_PASSWORD = bytes.fromhex("8002 00000017 00000000 00000004 01020304 0000 01 0000")


def read(data: bytes, *, handles: int = 0, authorized: int = 0) -> Answered:
    return Answered.read(data, handles=handles, authorized=authorized)


def test_commands_written_by_hand() -> None:
    """Without and with an empty password: header, handles, authorization, parameters."""
    assert build(0x173, handles=[0x81000003]).hex() == "80010000000e0000017381000003"
    made = build(0x158, handles=[0x80000000], authorized=1, parameters=b"\xaa")
    assert made.hex() == ("80020000001c000001588000000000000009400000090000010000aa")


@pytest.mark.spec("TPM-13")
def test_answers_written_by_hand() -> None:
    """Handles stand before the length of the parameters."""
    assert read(GOOD) == Answered(0, (), bytes.fromhex("01020304"))
    assert read(GOOD, handles=1) == Answered(0, (0x01020304,), b"")
    assert read(WITH_PASSWORD, authorized=1) == Answered(0, (), bytes.fromhex("01020304"))
    assert read(bytes.fromhex("8001 0000000a 00000922"), authorized=1).again


@pytest.mark.spec("TPM-13")
@pytest.mark.parametrize(
    ("data", "handles", "authorized"),
    [
        (b"", 0, 0),
        (GOOD[:9], 0, 0),
        (GOOD + b"\0", 0, 0),
        (b"\x80\x02" + GOOD[2:], 0, 0),
        (b"\x00\xc4" + GOOD[2:], 0, 0),
        (GOOD, 2, 0),
        (GOOD, 0, 1),
        (bytes.fromhex("8001 0000000b 00000922 00"), 0, 0),
        (WITH_PASSWORD[:-1] + b"\x01", 0, 1),
        (bytes.fromhex("8002 00000013 00000000 00000000 0000 01 0000"), 1, 1),
        (bytes.fromhex("8002 00000018 00000000 00000004 01020304 0001 aa 01 0000"), 0, 1),
        (bytes.fromhex("8002 00000012 00000000 ffffffff 01020304"), 0, 1),
        (b"\x80\x01" + (5000).to_bytes(4, "big") + bytes(4994), 0, 0),
    ],
)
def test_answers_that_do_not_fit_are_refused(data: bytes, handles: int, authorized: int) -> None:
    """Cut off, too long, of another kind, with another length, or with more than nothing."""
    with pytest.raises(UnavailableError) as e:
        read(data, handles=handles, authorized=authorized)
    assert e.value.code == "attester.failed"


@pytest.mark.spec("TPM-13")
@pytest.mark.parametrize(
    ("code", "ours"),
    [
        (0x922, "attester.busy"),
        (0x920, "attester.busy"),
        (0x90A, "attester.busy"),
        (0x18B, "machine.attester"),
        (0x184, "machine.attester"),
        (0x910, "machine.attester"),
        (0x143, "machine.attester"),
        (0x1C4, "attester.failed"),
        (0x902, "attester.failed"),
        (0x921, "attester.failed"),
        (0x98E, "attester.failed"),
        (0x100, "attester.failed"),
        (0x101, "attester.failed"),
        (0xFFFFFFFF, "attester.failed"),
    ],
)
def test_each_response_code_has_a_meaning(code: int, ours: str) -> None:
    """Busy may pass, absent will not; a value that is wrong is about a parameter, not a handle."""
    answered = read(b"\x80\x01\x00\x00\x00\x0a" + code.to_bytes(4, "big"))
    error: CloisterError = refusal(answered, "it cannot be done")
    assert error.code == ours
    assert error.detail == f"TPM_RC {code:#x}"


def test_structures_are_taken_to_their_end() -> None:
    """And not beyond it."""
    answer = Answer(b"\0\x02ab\0\x01")
    assert answer.sized(2) == b"ab"
    for wrong in (answer.end, lambda: answer.take(3), lambda: answer.sized(0)):
        with pytest.raises(UnavailableError):
            wrong()
