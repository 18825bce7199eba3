"""Commands to a TPM: a software one that is not ours, and one that lies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from cloister.errors import CallerError, CloisterError
from cloister.tee.tpm.commands import ENDORSEMENT, Tpm
from cloister.tee.tpm.exchange import sized
from cloister.tee.tpm.layout import Quote, Selection, Signature
from cloister.tee.tpm.public import ak_template
from cloister.testing.swtpm import SoftwareTpm
from unit.tee.tpm.test_public import ECC

INDEX = 0x01400002
SHA256 = [Selection("sha256", (0, 7, 16))]
BUSY = bytes.fromhex("8001 0000000a 00000922")


@dataclass
class Scripted:
    """Answers in turn; keeps what was asked."""

    answers: list[bytes]
    asked: list[bytes] = field(default_factory=list)

    def exchange(self, command: bytes) -> bytes:
        """Answer with the next, the last one for ever."""
        self.asked.append(command)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def ok(parameters: bytes) -> bytes:
    """An answer without a password."""
    return b"\x80\x01" + (10 + len(parameters)).to_bytes(4, "big") + bytes(4) + parameters


def passed(parameters: bytes, *, handle: bytes = b"") -> bytes:
    """An answer to a command with one."""
    body = handle + len(parameters).to_bytes(4, "big") + parameters + b"\0\0\1\0\0"
    return b"\x80\x02" + (10 + len(body)).to_bytes(4, "big") + bytes(4) + body


def refused(code: int) -> bytes:
    """An error."""
    return bytes.fromhex("8001 0000000a") + code.to_bytes(4, "big")


def pcrs(moment: int, bank: int, *numbers: int, value: bytes = bytes(32)) -> bytes:
    """An answer with registers."""
    bits = sum(1 << number for number in numbers).to_bytes(3, "little")
    head = moment.to_bytes(4, "big") + bytes.fromhex("00000001") + bank.to_bytes(2, "big")
    values = len(numbers).to_bytes(4, "big") + sized(value) * len(numbers)
    return ok(head + b"\x03" + bits + values)


def scripted(*answers: bytes) -> Tpm:
    """A TPM of these answers, in whose time nothing waits."""
    clock = iter(range(1000))
    return Tpm(
        Scripted(list(answers)),
        deadline_s=20,
        sleep=lambda _seconds: None,
        clock=lambda: float(next(clock)),
    )


@pytest.fixture
def tpm(swtpm: SoftwareTpm) -> Iterator[Tpm]:
    """A software TPM, open."""
    with swtpm.transport() as transport:
        yield Tpm(transport)


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_primary_keys_are_the_same_each_time_and_leave_room(tpm: Tpm, kind: str) -> None:
    """A TPM holds three; this one makes five, and unloads each."""
    found = set()
    for _ in range(5):
        handle, public = tpm.create_primary(ENDORSEMENT, ak_template(kind))
        assert tpm.read_public(handle) == public
        tpm.flush(handle)
        found.add(public.spki)
    assert len(found) == 1
    handles = [tpm.create_primary(ENDORSEMENT, ak_template(kind))[0] for _ in range(3)]
    with pytest.raises(CloisterError) as e:
        tpm.create_primary(ENDORSEMENT, ak_template(kind))
    assert (e.value.code, e.value.hint) == (
        "attester.failed",
        "use it through its resource manager, /dev/tpmrm0",
    )
    for handle in handles:
        tpm.flush(handle)


def test_a_quote_and_the_registers_that_it_is_about(swtpm: SoftwareTpm) -> None:
    """Extended ones among them, in the order of the selection, more than fit into one answer."""
    swtpm.extend(16, b"m" * 32)
    selections = [Selection("sha256", tuple(range(24))), Selection("sha1", (0, 16))]
    with swtpm.transport() as transport:
        tpm = Tpm(transport)
        values = tpm.read_pcrs(selections)
        handle, _ = tpm.create_primary(ENDORSEMENT, ak_template("ecc"))
        message, signature = tpm.quote(handle, b"nonce", selections)
    assert values[16] == hashlib.sha256(bytes(32) + b"m" * 32).digest()
    assert [len(each) for each in values] == [32] * 24 + [20] * 2
    quote = Quote.from_bytes(message)
    assert quote.extra_data == b"nonce"
    assert quote.pcr_digest == hashlib.sha256(b"".join(values)).digest()
    assert Signature.from_bytes(signature).scheme == "ECDSA"


def test_an_nv_index_is_written_and_read(swtpm: SoftwareTpm) -> None:
    """One that is not there is defined; a long one is read in pieces."""
    with swtpm.transport() as transport:
        tpm = Tpm(transport)
        assert tpm.nv_public(INDEX) is None
        tpm.nv_write(INDEX, b"u" * 64)
        tpm.nv_write(INDEX, b"v" * 64)
        assert tpm.nv_read(INDEX) == b"v" * 64
        with pytest.raises(CloisterError) as other_length:
            tpm.nv_write(INDEX, b"short")
        assert other_length.value.code == "machine.attester"
    long = bytes(range(256)) * 8
    swtpm.store(0x01400001, long[:2000])
    with swtpm.transport() as transport:
        assert Tpm(transport).nv_read(0x01400001) == long[:2000]


@pytest.mark.parametrize("attributes", [0x0002_0002, 0x0004_0002])
def test_an_nv_index_is_read_by_its_owner_or_by_itself(swtpm: SoftwareTpm, attributes: int) -> None:
    """Whichever its attributes allow."""
    swtpm.store(INDEX, b"data", attributes=attributes)
    with swtpm.transport() as transport:
        assert Tpm(transport).nv_read(INDEX) == b"data"


def test_what_is_not_there_says_so(tpm: Tpm) -> None:
    """Keys, NV indexes, and those that were never written."""
    asks: list[Callable[[], object]] = [
        lambda: tpm.read_public(0x81000003),
        lambda: tpm.read_public(0x80000001),
        lambda: tpm.nv_read(INDEX),
        lambda: tpm.quote(0x81000003, b"nonce", SHA256),
        lambda: tpm.create_primary(ENDORSEMENT, b"\0\x25" + ak_template("ecc")[2:])[0],
    ]
    codes = []
    for ask in asks:
        with pytest.raises(CloisterError) as e:
            ask()
        codes.append(e.value.code)
    assert codes == ["machine.attester"] * 4 + ["attester.failed"]


@pytest.mark.spec("TPM-11")
def test_a_quote_over_more_than_the_tpm_takes(swtpm: SoftwareTpm) -> None:
    """Is refused, and not cut: TPMs differ."""
    with swtpm.transport() as transport:
        tpm = Tpm(transport)
        handle, _ = tpm.create_primary(ENDORSEMENT, ak_template("ecc"))
        with pytest.raises(CloisterError) as e:
            tpm.quote(handle, bytes(67), SHA256)
    assert (e.value.code, e.value.hint) == ("machine.attester", "bind 32 bytes")


@pytest.mark.spec("TPM-13")
def test_a_busy_tpm_is_asked_again() -> None:
    """Until the deadline; then it says that it was busy."""
    assert scripted(BUSY, BUSY, pcrs(1, 0xB, 0, 7, 16)).read_pcrs(SHA256) == (bytes(32),) * 3
    with pytest.raises(CloisterError) as e:
        scripted(BUSY).read_pcrs(SHA256)
    assert e.value.code == "attester.busy"


@pytest.mark.spec("TPM-12")
def test_registers_of_two_moments_are_not_taken_together() -> None:
    """The counter says that something was extended between two answers."""
    with pytest.raises(CloisterError) as e:
        scripted(pcrs(1, 0xB, 0), pcrs(2, 0xB, 7, 16)).read_pcrs(SHA256)
    assert e.value.code == "attester.busy"


@pytest.mark.spec("TPM-13")
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (pcrs(1, 0xB), "machine.attester"),
        (pcrs(1, 0xB, 1), "attester.failed"),
        (pcrs(1, 4, 0, value=bytes(20)), "attester.failed"),
        (pcrs(1, 0x12, 0), "attester.failed"),
        (pcrs(1, 0xB, 0, value=bytes(20)), "attester.failed"),
        (pcrs(1, 0xB, 0)[:-1], "attester.failed"),
        (ok(bytes(4) + b"\0\0\0\x05"), "attester.failed"),
        (ok(bytes.fromhex("00000001 00000001 000b 04 00000001 00000001 0000")), "attester.failed"),
        (ok(bytes.fromhex("00000001 00000001 000b 03 010000 00000002")), "attester.failed"),
    ],
)
def test_registers_that_nobody_asked_for_are_refused(answer: bytes, code: str) -> None:
    """None, others, other banks, other lengths, twice, cut off."""
    with pytest.raises(CloisterError) as e:
        scripted(answer).read_pcrs(SHA256)
    assert e.value.code == code


@pytest.mark.spec("TPM-13")
def test_a_register_that_comes_twice_is_refused() -> None:
    """Nobody could say which value is quoted."""
    head = bytes.fromhex("00000001 00000002" + "000b 03 010000" * 2 + "00000002")
    twice = ok(head + sized(bytes(32)) + sized(b"x" * 32))
    with pytest.raises(CloisterError) as e:
        scripted(twice).read_pcrs([Selection("sha256", (0,))])
    assert (e.value.code, e.value.detail) == ("attester.failed", "a register twice")


@pytest.mark.spec("TPM-13")
@pytest.mark.parametrize(
    "public",
    [
        "01400003 000b 00060006 0000 0040",
        "01400002 000b 00060006 0000 ffff",
        "01400002 000b 00060006 0000 0040 00",
        "01400002 000b 00060006 ffff 0040",
    ],
)
def test_an_nv_index_that_is_another_is_refused(public: str) -> None:
    """Of another number, too long, or not to be read."""
    with pytest.raises(CloisterError) as e:
        scripted(ok(sized(bytes.fromhex(public)) + sized(b""))).nv_public(INDEX)
    assert e.value.code == "attester.failed"


def nv(attributes: int, size: int = 4) -> bytes:
    """What is said of the index."""
    head = INDEX.to_bytes(4, "big") + b"\0\x0b" + attributes.to_bytes(4, "big")
    return ok(sized(head + b"\0\0" + size.to_bytes(2, "big")) + sized(b""))


@pytest.mark.spec("TPM-13")
@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([nv(0x0006_0006)], "machine.attester"),
        ([nv(0x2001_0001)], "machine.attester"),
        ([nv(0x2006_0006), passed(sized(b"ab"))], "attester.failed"),
        ([nv(0x2006_0006), passed(sized(b""))], "attester.failed"),
        ([nv(0x2006_0006), passed(sized(b"abcde"))], "attester.failed"),
        ([nv(0x2006_0006), passed(sized(b"abcd") + b"x")], "attester.failed"),
        ([nv(0x2006_0006), refused(0x98E)], "attester.failed"),
        ([nv(0x2006_0006), refused(0x149)], "attester.failed"),
        ([refused(0x101)], "attester.failed"),
    ],
)
def test_an_nv_index_that_cannot_be_read_says_why(answers: list[bytes], code: str) -> None:
    """Not written, not for everybody, other lengths, a password, a lock, a failing TPM."""
    with pytest.raises(CloisterError) as e:
        scripted(*answers).nv_read(INDEX)
    assert e.value.code == code


@pytest.mark.spec("TPM-13")
def test_a_key_that_cannot_be_read_is_unloaded() -> None:
    """What was made is not left behind; the first error is told."""
    transport = Scripted([passed(sized(b"\0\x25"), handle=b"\x80\0\0\x05"), ok(b"")])
    with pytest.raises(CloisterError) as e:
        Tpm(transport).create_primary(ENDORSEMENT, ak_template("ecc"))
    assert e.value.code == "attester.failed"
    assert transport.asked[-1].hex() == "80010000000e0000016580000005"
    with pytest.raises(CloisterError):
        scripted(ok(sized(ECC) + sized(b"") + sized(b"") + b"x")).read_public(0x81000003)


def test_what_is_written_fits_into_one_command() -> None:
    """The caller's mistake."""
    for data in (b"", bytes(513)):
        with pytest.raises(CallerError):
            scripted(BUSY).nv_write(INDEX, data)
