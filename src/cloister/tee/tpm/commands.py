"""The few commands to a TPM that attestation takes, each authorized by an empty password.

Source: TCG TPM 2.0 Library Part 3, revision 1.59.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cloister.errors import CallerError, CloisterError, UnavailableError, UnsupportedError
from cloister.tee.tpm.exchange import SIZE, Answer, Answered, build, odd, refusal, sized
from cloister.tee.tpm.layout import BANKS, PCRS, Bank, Selection
from cloister.tee.tpm.public import PublicArea
from cloister.tee.tpm.transport import TpmTransport

__all__ = ["ENDORSEMENT", "OWNER", "NvPublic", "Tpm"]

OWNER: Final = 0x40000001
ENDORSEMENT: Final = 0x4000000B

_CREATE_PRIMARY: Final = 0x131
_NV_DEFINE: Final = 0x12A
_NV_WRITE: Final = 0x137
_NV_READ: Final = 0x14E
_QUOTE: Final = 0x158
_FLUSH: Final = 0x165
_NV_READ_PUBLIC: Final = 0x169
_READ_PUBLIC: Final = 0x173
_PCR_READ: Final = 0x17E

_DEADLINE_S: Final = 10.0
_PAUSE_S: Final = 0.02
_BANK_IDS: Final[dict[Bank, int]] = {"sha1": 4, "sha256": 0xB, "sha384": 0xC, "sha512": 0xD}
_BANKS: Final[dict[int, Bank]] = {number: bank for bank, number in _BANK_IDS.items()}
_NULL: Final = b"\0\x10"
_BITMAP_BYTES: Final = 3
_MAX_ATTEST: Final = 1024
_MAX_PUBLIC: Final = 2048
_MAX_NAME: Final = 66
_MAX_PIECE: Final = 512
_MAX_NV_BYTES: Final = 16384
_SHA256: Final = 0xB

_OWNER_WRITE: Final = 1 << 1
_AUTH_WRITE: Final = 1 << 2
_OWNER_READ: Final = 1 << 17
_AUTH_READ: Final = 1 << 18
_WRITTEN: Final = 1 << 29


@dataclass(frozen=True, slots=True)
class NvPublic:
    """What a TPM says of an NV index.

    Attributes:
        index: Its handle.
        attributes: TPMA_NV.
        size: Bytes that it holds.
    """

    index: int
    attributes: int
    size: int


class Tpm:
    """A TPM that is asked over an open transport."""

    def __init__(
        self,
        transport: TpmTransport,
        *,
        deadline_s: float = _DEADLINE_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the transport.

        Args:
            transport: Open.
            deadline_s: For how long a busy TPM is asked again.
            sleep: Waits.
            clock: Tells how long.
        """
        self._transport = transport
        self._deadline_s = deadline_s
        self._sleep = sleep
        self._clock = clock

    def execute(
        self,
        code: int,
        what: str,
        *,
        handles: Sequence[int] = (),
        authorized: int = 0,
        parameters: bytes = b"",
        made: int = 0,
    ) -> Answered:
        """Run any command; returns a success.

        Args:
            code: TPM_CC.
            what: What cannot be done, where it cannot: begins the error's sentence.
            handles: Those of the command.
            authorized: How many of them need authorization.
            parameters: Of the command, as bytes.
            made: How many handles the answer has.

        Raises:
            UnsupportedError: What a handle names is not there, or no such command
                (`machine.attester`).
            UnavailableError: It stayed busy (`attester.busy`), refused, or answered with something
                that cannot be read (`attester.failed`).
        """
        answered = self._ask(code, handles, authorized, parameters, made)
        if answered.code:
            raise refusal(answered, what)
        return answered

    def create_primary(self, hierarchy: int, template: bytes) -> tuple[int, PublicArea]:
        """Make the primary key of a template; returns its handle, to be flushed, and its public.

        Raises:
            UnsupportedError: The TPM has no such keys (`machine.attester`).
            UnavailableError: It does not make one.
        """
        nothing = sized(b"")
        answered = self.execute(
            _CREATE_PRIMARY,
            "a key cannot be made",
            handles=(hierarchy,),
            authorized=1,
            parameters=sized(nothing + nothing) + sized(template) + nothing + bytes(4),
            made=1,
        )
        handle = answered.handles[0]
        try:
            public = PublicArea.from_bytes(Answer(answered.parameters).sized(_MAX_PUBLIC))
        except CloisterError:
            with suppress(CloisterError):  # the first error is the one to tell
                self.flush(handle)
            raise
        return handle, public

    def read_public(self, handle: int) -> PublicArea:
        """Return what the TPM says of a loaded or persistent key.

        Raises:
            UnsupportedError: There is none (`machine.attester`).
            UnavailableError: It does not say.
        """
        answered = self.execute(_READ_PUBLIC, f"key {handle:#x} cannot be read", handles=(handle,))
        answer = Answer(answered.parameters)
        public = PublicArea.from_bytes(answer.sized(_MAX_PUBLIC))
        answer.sized(_MAX_NAME)
        answer.sized(_MAX_NAME)
        answer.end()
        return public

    def flush(self, handle: int) -> None:
        """Unload a key."""
        self.execute(_FLUSH, "a key cannot be unloaded", parameters=handle.to_bytes(4, "big"))

    def quote(self, key: int, data: bytes, selections: Sequence[Selection]) -> tuple[bytes, bytes]:
        """Have a key quote registers over data; returns TPMS_ATTEST and TPMT_SIGNATURE.

        Raises:
            UnsupportedError: The TPM takes less data (`machine.attester`).
            UnavailableError: It makes no quote.
        """
        answered = self._ask(_QUOTE, (key,), 1, sized(data) + _NULL + _selected(selections), 0)
        if answered.about == SIZE:
            raise UnsupportedError(
                f"this TPM does not quote over {len(data)} bytes",
                code="machine.attester",
                hint="bind 32 bytes",
            )
        if answered.code:
            raise refusal(answered, "no quote can be made")
        answer = Answer(answered.parameters)
        message = answer.sized(_MAX_ATTEST)
        return message, answer.take(answer.left)

    def read_pcrs(self, selections: Sequence[Selection]) -> tuple[bytes, ...]:
        """Return registers in the order of the selections, all of one moment.

        Raises:
            UnsupportedError: The TPM does not have that bank or register (`machine.attester`).
            UnavailableError: It does not say, or they were extended meanwhile.
        """
        left = {each.bank: list(each.pcrs) for each in selections}
        found: dict[tuple[Bank, int], bytes] = {}
        moments = set()
        while any(left.values()):
            wanted = [Selection(bank, tuple(pcrs)) for bank, pcrs in left.items() if pcrs]
            moment, values = self._read_some(wanted)
            moments.add(moment)
            if not values:
                raise UnsupportedError(
                    "this TPM does not have these registers",
                    code="machine.attester",
                    detail=", ".join(each.bank for each in wanted),
                    hint="name another bank",
                )
            for (bank, pcr), value in values.items():
                if pcr not in left.get(bank, ()):
                    raise odd("registers that nobody asked for")
                left[bank].remove(pcr)
                found[bank, pcr] = value
        if len(moments) > 1:
            raise UnavailableError("registers were extended meanwhile", code="attester.busy")
        return tuple(found[each.bank, pcr] for each in selections for pcr in each.pcrs)

    def nv_public(self, index: int) -> NvPublic | None:
        """Return what the TPM says of an NV index; None where it is not defined.

        Raises:
            UnavailableError: It does not say.
        """
        answered = self._ask(_NV_READ_PUBLIC, (index,), 0, b"", 0)
        if answered.absent:
            return None
        if answered.code:
            raise refusal(answered, f"NV index {index:#x} cannot be read")
        answer = Answer(answered.parameters)
        inner = Answer(answer.sized(_MAX_PUBLIC))
        answer.sized(_MAX_NAME)
        answer.end()
        named, _algorithm, attributes = inner.number(4), inner.number(2), inner.number(4)
        inner.sized(_MAX_NAME)
        size = inner.number(2)
        inner.end()
        if named != index or size > _MAX_NV_BYTES:
            raise odd("another NV index, or one that is too long")
        return NvPublic(index, attributes, size)

    def nv_read(self, index: int) -> bytes:
        """Return what an NV index holds.

        Raises:
            UnsupportedError: It is not there, was never written, or is not for everybody to read
                (`machine.attester`).
            UnavailableError: It does not say.
        """
        public = self.nv_public(index)
        if public is None or not public.attributes & _WRITTEN:
            raise UnsupportedError(
                f"the TPM holds nothing at NV index {index:#x}",
                code="machine.attester",
                hint="cloister doctor shows what this machine offers",
            )
        by = _by(public, owner=_OWNER_READ, itself=_AUTH_READ)
        data = bytearray()
        while len(data) < public.size:
            length = min(_MAX_PIECE, public.size - len(data))
            answered = self.execute(
                _NV_READ,
                f"NV index {index:#x} cannot be read",
                handles=(by, index),
                authorized=1,
                parameters=length.to_bytes(2, "big") + len(data).to_bytes(2, "big"),
            )
            answer = Answer(answered.parameters)
            piece = answer.sized(length)
            answer.end()
            if len(piece) != length:
                raise odd("less than was asked for")
            data += piece
        return bytes(data)

    def nv_write(self, index: int, data: bytes) -> None:
        """Put data into an NV index of its length; one that is not there is defined.

        Raises:
            CallerError: It is more than one command takes (`caller.misuse`).
            UnsupportedError: The index has another length, or others write it.
            UnavailableError: It cannot be written.
        """
        if not 0 < len(data) <= _MAX_PIECE:
            raise CallerError("an NV index is written in one piece", code="caller.misuse")
        public = self.nv_public(index) or self._nv_define(index, len(data))
        if public.size != len(data):
            raise UnsupportedError(
                f"NV index {index:#x} holds {public.size} bytes, not {len(data)}",
                code="machine.attester",
            )
        self.execute(
            _NV_WRITE,
            f"NV index {index:#x} cannot be written",
            handles=(_by(public, owner=_OWNER_WRITE, itself=_AUTH_WRITE), index),
            authorized=1,
            parameters=sized(data) + bytes(2),
        )

    def _nv_define(self, index: int, size: int) -> NvPublic:
        attributes = _OWNER_WRITE | _AUTH_WRITE | _OWNER_READ | _AUTH_READ
        public = (
            index.to_bytes(4, "big")
            + _SHA256.to_bytes(2, "big")
            + attributes.to_bytes(4, "big")
            + sized(b"")
            + size.to_bytes(2, "big")
        )
        self.execute(
            _NV_DEFINE,
            f"NV index {index:#x} cannot be defined",
            handles=(OWNER,),
            authorized=1,
            parameters=sized(b"") + sized(public),
        )
        return NvPublic(index, attributes, size)

    def _read_some(
        self, selections: Sequence[Selection]
    ) -> tuple[int, dict[tuple[Bank, int], bytes]]:
        """Return the update counter, and as many registers as the TPM gives at once."""
        answered = self.execute(
            _PCR_READ, "registers cannot be read", parameters=_selected(selections)
        )
        answer = Answer(answered.parameters)
        moment = answer.number(4)
        places = _places(answer)
        if answer.number(4) != len(places):
            raise odd("not a value for each register")
        values = {}
        for bank, pcr in places:
            values[bank, pcr] = answer.sized(BANKS[bank])
            if len(values[bank, pcr]) != BANKS[bank]:
                raise odd("a register of another length")
        answer.end()
        return moment, values

    def _ask(
        self, code: int, handles: Sequence[int], authorized: int, parameters: bytes, made: int
    ) -> Answered:
        """Run a command until the TPM is not busy any more."""
        command = build(code, handles=handles, authorized=authorized, parameters=parameters)
        end = self._clock() + self._deadline_s
        while True:
            data = self._transport.exchange(command)
            answered = Answered.read(data, handles=made, authorized=authorized)
            if not answered.again or self._clock() >= end:
                return answered
            self._sleep(_PAUSE_S)


def _selected(selections: Sequence[Selection]) -> bytes:
    """Return TPML_PCR_SELECTION."""
    parts = [len(selections).to_bytes(4, "big")]
    for each in selections:
        bits = sum(1 << pcr for pcr in each.pcrs)
        parts.append(_BANK_IDS[each.bank].to_bytes(2, "big") + bytes([_BITMAP_BYTES]))
        parts.append(bits.to_bytes(_BITMAP_BYTES, "little"))
    return b"".join(parts)


def _places(answer: Answer) -> list[tuple[Bank, int]]:
    """Read TPML_PCR_SELECTION: bank and number of each register, in its order."""
    count = answer.number(4)
    if count > len(BANKS):
        raise odd("more selections than banks")
    found: list[tuple[Bank, int]] = []
    for _ in range(count):
        bank = _BANKS.get(answer.number(2))
        bits = int.from_bytes(answer.take(answer.number(1)), "little")
        if bits >> PCRS or (bank is None and bits):
            raise odd("registers of another kind")
        if bank is not None:
            found += [(bank, pcr) for pcr in range(PCRS) if bits >> pcr & 1]
    if len(set(found)) != len(found):
        raise odd("a register twice")
    return found


def _by(public: NvPublic, *, owner: int, itself: int) -> int:
    """Say whose empty password opens an NV index."""
    if public.attributes & owner:
        return OWNER
    if public.attributes & itself:
        return public.index
    raise UnsupportedError(
        f"NV index {public.index:#x} is not for everybody", code="machine.attester"
    )
