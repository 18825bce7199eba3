"""From a hostile TPM's answers, only our errors escape, and soon."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import CloisterError
from cloister.tee.tpm.attester import PersistentAk, TpmAttester
from cloister.tee.tpm.commands import ENDORSEMENT, Tpm
from cloister.tee.tpm.layout import Selection
from cloister.tee.tpm.public import PublicArea, ak_template

CODES = frozenset({"", "attester.failed", "attester.busy", "machine.attester"})
REGISTERS = [Selection("sha256", (0, 1))]
ASKS: tuple[Callable[[Tpm], object], ...] = (
    lambda tpm: tpm.read_public(0x81000003),
    lambda tpm: tpm.create_primary(ENDORSEMENT, ak_template("ecc")),
    lambda tpm: tpm.quote(0x81000003, b"nonce", REGISTERS),
    lambda tpm: tpm.read_pcrs(REGISTERS),
    lambda tpm: tpm.nv_read(0x01400001),
    lambda tpm: tpm.nv_write(0x01400002, b"x"),
    lambda tpm: tpm.flush(0x80000000),
    lambda tpm: TpmAttester(tpm, PersistentAk(0x81000003)).collect_all(b"nonce"),
)


class Hostile:
    """Answers with what it was given, and an end."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.asked = 0

    def exchange(self, _command: bytes) -> bytes:
        """Answer; few enough questions are asked."""
        self.asked += 1
        assert self.asked < 200
        return self.answers.pop(0) if self.answers else b""


def code_of(ask: Callable[[], object]) -> str:
    """The code of our error; empty where there is none."""
    try:
        ask()
    except CloisterError as e:
        return e.code
    return ""


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Bytes, or an answer whose header fits and whose content is anything."""
    body = draw(st.binary(max_size=80))
    if draw(st.booleans()):
        return body
    code = draw(st.sampled_from([0, 0, 0, 0x922, 0x18B, 0x1D5]) | st.integers(0, 0xFFFFFFFF))
    if draw(st.booleans()):
        head = b"\x80\x01"
    else:
        head, body = b"\x80\x02", len(body).to_bytes(4, "big") + body + b"\0\0\1\0\0"
    return head + (10 + len(body)).to_bytes(4, "big") + code.to_bytes(4, "big") + body


@pytest.mark.spec("TPM-13")
@given(st.sampled_from(ASKS), st.lists(answers(), max_size=6))
def test_answers(ask: Callable[[Tpm], object], given_answers: list[bytes]) -> None:
    """Whatever it answers, and however often it is busy."""
    tpm = Tpm(Hostile(given_answers), deadline_s=0, sleep=lambda _seconds: None, clock=lambda: 0.0)
    assert code_of(lambda: ask(tpm)) in CODES


@given(st.binary(max_size=120))
def test_public_areas(data: bytes) -> None:
    """Keys of any kind."""
    assert code_of(lambda: PublicArea.from_bytes(data)) in CODES
