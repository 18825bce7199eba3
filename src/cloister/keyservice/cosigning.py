"""What witnesses add to a checkpoint, and how many of them a reader requires. Pure.

A cosignature (C2SP tlog-cosignature, its Ed25519 type) says: as of this time, this is the largest
tree of that log that I have seen, and it extends all that I saw before.

Spec: release-log-v1, clauses RL-13 to RL-15.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from cloister.crypto.signature import PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import ConfigError, MalformedError, WitnessError
from cloister.keyservice.notes import (
    MAX_NUMBER,
    Note,
    NoteLine,
    from_base64,
    is_key_name,
    key_id,
)

__all__ = ["Cosignature", "Cosigner", "Quorum", "WitnessKey"]

_TYPE: Final = b"\x04"
_TIME_BYTES: Final = 8
_MAX_NAME: Final = 64
_TEXT: Final = re.compile(r"([^+]{1,64})\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{44})")


@dataclass(frozen=True, slots=True)
class Cosignature:
    """One witness's statement, verified: who, and as of when by its own clock."""

    witness: str
    at: int


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness as its readers know it: a name, and a key that is used for this name only."""

    name: str
    key: VerifyingKey

    def __post_init__(self) -> None:
        """A name is one plain word, short enough for sixteen lines in a note."""
        if not is_key_name(self.name) or len(self.name) > _MAX_NAME:
            raise MalformedError("not a witness's name", code="message.malformed")

    @property
    def id(self) -> bytes:
        """The 4 bytes under which its lines name it."""
        return key_id(self.name, _TYPE, self.key)

    @property
    def text(self) -> str:
        """The key as `<name>+<id>+<base64>`."""
        blob = base64.b64encode(_TYPE + self.key.raw).decode()
        return f"{self.name}+{self.id.hex()}+{blob}"

    @classmethod
    def from_text(cls, text: str) -> WitnessKey:
        """Read `<name>+<id>+<base64>` (RL-14).

        Raises:
            MalformedError: Not of this form, or the id is not that of name and key.
        """
        wrong = MalformedError(
            "a witness's key is written <name>+<8 hex digits>+<base64>, as the witness prints it",
            code="message.malformed",
        )
        match = _TEXT.fullmatch(text)
        if match is None:
            raise wrong
        blob = from_base64(match.group(3))
        if len(blob) != 1 + PUBLIC_BYTES or blob[:1] != _TYPE:
            raise wrong
        found = cls(match.group(1), VerifyingKey(blob[1:]))
        if found.id.hex() != match.group(2):
            raise wrong
        return found

    def verify(self, note: Note) -> Cosignature | None:
        """Return what this witness says of a note; None where it says nothing.

        Raises:
            WitnessError: A line names this key and does not hold (`log.witnesses`).
        """
        newest: int | None = None
        for line in note.lines:
            if (line.name, line.key_id) == (self.name, self.id):
                at = self._verify_line(note, line)
                newest = at if newest is None else max(newest, at)
        return None if newest is None else Cosignature(self.name, newest)

    def _verify_line(self, note: Note, line: NoteLine) -> int:
        error = WitnessError(
            f"a cosignature in the name of {self.name} does not hold", code="log.witnesses"
        )
        at = int.from_bytes(line.signature[:_TIME_BYTES], "big")
        if len(line.signature) != _TIME_BYTES + SIGNATURE_BYTES or at > MAX_NUMBER:
            raise error
        self.key.verify_text(_message(at, note.body), line.signature[_TIME_BYTES:], error=error)
        return at


class Cosigner:
    """A witness's signing side. The key is secret; `public` is what readers configure."""

    def __init__(self, name: str, key: SigningKey) -> None:
        """Take a key that signs under this name only."""
        self._key = key
        self.public: Final = WitnessKey(name, key.public)

    def cosign(self, note: Note, *, at: int) -> NoteLine:
        """Return the line for a note. The caller has established everything that it says."""
        signature = self._key.sign_text(_message(at, note.body))
        stamped = at.to_bytes(_TIME_BYTES, "big") + signature
        return NoteLine(self.public.name, self.public.id, stamped)


@dataclass(frozen=True, slots=True)
class Quorum:
    """Of these witnesses, at least so many; no witnesses and none is a reader who asks for none.

    Attributes:
        witnesses: No key stands twice.
        required: From 1 to their number.
    """

    witnesses: tuple[WitnessKey, ...]
    required: int

    def __post_init__(self) -> None:
        """A number that can be met, of witnesses that are different."""
        if len({witness.key for witness in self.witnesses}) != len(self.witnesses):
            raise ConfigError("one key is given for two witnesses", code="config.value")
        if not min(1, len(self.witnesses)) <= self.required <= len(self.witnesses):
            raise ConfigError(
                f"{self.required} of {len(self.witnesses)} witnesses cannot be required",
                code="config.value",
                hint="name the witnesses' keys, and a quorum from 1 to their number",
            )

    def require(self, note: Note) -> tuple[Cosignature, ...]:
        """Return the cosignatures of a note, each witness once.

        Raises:
            WitnessError: Fewer than required, or one of these witnesses' lines does not hold
                (`log.witnesses`).
        """
        verified = (witness.verify(note) for witness in self.witnesses)
        found = tuple(each for each in verified if each is not None)
        if len(found) < self.required:
            raise WitnessError(
                f"{len(found)} of {len(self.witnesses)} witnesses have cosigned the checkpoint, "
                f"and {self.required} are required",
                code="log.witnesses",
            )
        return found


def _message(at: int, body: str) -> bytes:
    return f"cosignature/v1\ntime {at}\n{body}".encode()
