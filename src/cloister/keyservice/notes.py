"""Signed notes (C2SP signed-note): a text, an empty line, and one line for each signer. Pure.

Nothing here verifies: a parsed note is as untrusted as its bytes. `log.Checkpoint` and `cosigning`
say whose line counts for what.

Spec: release-log-v1, clause RL-11.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import sha256
from cloister.crypto.signature import VerifyingKey
from cloister.errors import MalformedError

__all__ = [
    "KEY_ID_BYTES",
    "MAX_NOTE_BYTES",
    "MAX_NUMBER",
    "Note",
    "NoteLine",
    "from_base64",
    "is_key_name",
    "key_id",
    "read_decimal",
]

MAX_NOTE_BYTES: Final = 4096
MAX_NUMBER: Final = 2**63 - 1
KEY_ID_BYTES: Final = 4
_MARK: Final = "\u2014 "
_MAX_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class NoteLine:
    """One signer's line: who, by which key and type, and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def to_text(self) -> str:
        """Return the line with its line feed."""
        blob = base64.b64encode(self.key_id + self.signature).decode()
        return f"{_MARK}{self.name} {blob}\n"

    @classmethod
    def from_text(cls, line: str) -> NoteLine:
        """Read an untrusted line, without its line feed."""
        name, separator, blob = line.removeprefix(_MARK).partition(" ")
        if not line.startswith(_MARK) or not separator or not is_key_name(name):
            raise _not_a_note()
        octets = from_base64(blob)
        if len(octets) <= KEY_ID_BYTES:
            raise _not_a_note()
        return cls(name, octets[:KEY_ID_BYTES], octets[KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends in a line feed and has no empty line, and its signers' lines."""

    body: str
    lines: tuple[NoteLine, ...]

    @property
    def first_line(self) -> str:
        """The text's first line: a checkpoint's origin, as untrusted as the note."""
        return self.body.partition("\n")[0]

    def to_text(self) -> str:
        """Return the note."""
        return self.body + "\n" + "".join(line.to_text() for line in self.lines)

    @classmethod
    def from_text(cls, text: str) -> Note:
        """Read an untrusted note.

        Raises:
            MalformedError: Not a signed note, or longer than one may be (`message.malformed`).
        """
        body, separator, tail = text.partition("\n\n")
        if not separator or not tail.endswith("\n") or len(text) > MAX_NOTE_BYTES:
            raise _not_a_note()
        try:
            too_long = len(text.encode()) > MAX_NOTE_BYTES
        except UnicodeEncodeError as e:
            raise _not_a_note() from e
        if too_long or any(c < " " and c != "\n" for c in text):
            raise _not_a_note()
        lines = tuple(NoteLine.from_text(line) for line in tail[:-1].split("\n"))
        return cls(body + "\n", lines)


def key_id(name: str, kind: bytes, key: VerifyingKey) -> bytes:
    """Return the id under which a line names its key; `kind` is the signature type's byte."""
    return sha256(name.encode() + b"\n" + kind + key.raw)[:KEY_ID_BYTES]


def is_key_name(name: str) -> bool:
    """Tell whether a text may name a key: no spaces, control characters or plus signs."""
    return bool(name) and name.isprintable() and "+" not in name and not any(map(str.isspace, name))


def read_decimal(text: str) -> int:
    """Read a number in its one spelling, up to `MAX_NUMBER`."""
    if not text.isascii() or not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise _not_a_note()
    number = int(text)
    if str(number) != text or number > MAX_NUMBER:
        raise _not_a_note()
    return number


def from_base64(text: str) -> bytes:
    """Read base64 in its one spelling."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError) as e:
        raise _not_a_note() from e
    if base64.b64encode(data).decode() != text:
        raise _not_a_note()
    return data


def _not_a_note() -> MalformedError:
    return MalformedError("not a signed checkpoint of a log", code="message.malformed")
