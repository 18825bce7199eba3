"""The blocks of an HDF5 file in the form that h5py writes: objects, their messages, and groups.

The library that everybody reads HDF5 with is native code with a long list of findings, and follows
links to other files and loads filters by name. A model's weights need none of that: this reads the
first version's superblock, object headers and symbol tables, from memory, and refuses the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cloister.errors import MalformedError, RefusedError

__all__ = ["Blocks", "Message", "damaged", "refused"]

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK: Final = struct.Struct("<8sBBBxBBBxHHI4Q")
_ENTRY: Final = struct.Struct("<QQI4x16x")
_HEADER: Final = struct.Struct("<BxHII4x")
_MESSAGE: Final = struct.Struct("<HHB3x")
_NODE: Final = struct.Struct("<4sBBHQQ")
_TABLE: Final = struct.Struct("<4sBxH")
_HEAP: Final = struct.Struct("<4sB3xQQQ")
_PAIR: Final = struct.Struct("<QQ")
_NOWHERE: Final = 2**64 - 1
_SIZES: Final = (0, 0, 0, 0, 8, 8)
_CONTINUATION: Final = 0x10
_SYMBOL_TABLE: Final = 0x11
_LINKS: Final = frozenset({0x02, 0x06})
_SHARED: Final = 2
_SOFT: Final = 2
_MAX_MESSAGES: Final = 4096
_MAX_DEPTH: Final = 8
_MAX_NAME: Final = 1024
# Of a whole file, however often its objects share what stands in it.
_MAX_BLOCKS: Final = 200_000
_MAX_ALL_MESSAGES: Final = 1 << 20
_MAX_MEMBERS: Final = 1 << 18
_MAX_TEXT: Final = 1 << 26
_TEXT_COST: Final = 64


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an object's header: its kind, and its bytes."""

    kind: int
    data: memoryview


class Blocks:
    """A file in memory.

    Every block, message, member and text that is read is counted, for the whole file: none makes
    this go on for long, or take much more memory than the file.
    """

    def __init__(self, data: bytes) -> None:
        """Look at a file.

        Raises:
            MalformedError: `model.malformed`.
        """
        self._data: Final = memoryview(data)
        self._left = _MAX_BLOCKS
        self._messages_left = _MAX_ALL_MESSAGES
        self._members_left = _MAX_MEMBERS
        self._text_left = _MAX_TEXT
        signature, *versions, _, _, _, base, _, end, driver = _SUPERBLOCK.unpack(
            self.bytes_at(0, _SUPERBLOCK.size)
        )
        if signature != _SIGNATURE or tuple(versions) != _SIZES:
            raise damaged("it is no HDF5 of the first version")
        if base or driver != _NOWHERE or end > len(data):
            raise damaged("where it begins and ends")
        _, self.root, _ = _ENTRY.unpack(self.bytes_at(_SUPERBLOCK.size, _ENTRY.size))

    def bytes_at(self, place: int, size: int) -> memoryview:
        """Return so many bytes at a place in the file.

        Raises:
            MalformedError: `model.malformed`: they are not there.
        """
        self._left -= 1
        if place < 0 or size < 0 or place + size > len(self._data):
            raise damaged("an address outside")
        if self._left < 0:
            raise damaged("too many blocks")
        return self._data[place : place + size]

    def pay_for_text(self, count: int, size: int) -> None:
        """Count texts before they are made.

        Args:
            count: How many.
            size: Their bytes together.

        Raises:
            MalformedError: `model.malformed`: the file has no more to spend.
        """
        self._text_left -= size + _TEXT_COST * count
        if self._text_left < 0:
            raise damaged("too much text")

    def messages(self, place: int) -> list[Message]:
        """Return the messages of the object at a place.

        Raises:
            MalformedError: `model.malformed`.
            RefusedError: `model.unsafe`: one of them stands elsewhere.
        """
        version, count, _, size = _HEADER.unpack(self.bytes_at(place, _HEADER.size))
        if version != 1 or count > _MAX_MESSAGES:
            raise damaged("an object's header")
        found: list[Message] = []
        waiting = [(place + _HEADER.size, size)]
        total = 0
        while waiting:
            for message in _messages_in(self.bytes_at(*waiting.pop())):
                total += 1
                self._messages_left -= 1
                if total > _MAX_MESSAGES or self._messages_left < 0:
                    raise damaged("the number of an object's messages")
                if message.kind == _CONTINUATION:
                    waiting.append(_pair(message))
                else:
                    found.append(message)
        return found

    def children(self, messages: list[Message]) -> dict[str, int] | None:
        """Return the members of a group by name, or None for what is no group.

        Raises:
            MalformedError: `model.malformed`.
            RefusedError: `model.unsafe`: a link that leads elsewhere.
        """
        kinds = {message.kind for message in messages}
        if kinds & _LINKS:
            raise refused("links that lead elsewhere, or are of a newer form")
        if _SYMBOL_TABLE not in kinds:
            return None
        tree, heap = _pair(next(each for each in messages if each.kind == _SYMBOL_TABLE))
        names = self._heap(heap)
        members: dict[str, int] = {}
        for leaf in self._leaves(tree, _MAX_DEPTH):
            signature, version, count = _TABLE.unpack(self.bytes_at(leaf, _TABLE.size))
            if signature != b"SNOD" or version != 1:
                raise damaged("a group's table")
            self._members_left -= count
            if self._members_left < 0:
                raise damaged("too many members of groups")
            entries = self.bytes_at(leaf + _TABLE.size, count * _ENTRY.size)
            for offset, place, cached in _ENTRY.iter_unpack(entries):
                if cached == _SOFT:
                    raise refused("a link by name")
                name = _name_at(names, offset)
                if name in members:
                    raise damaged("two members of one name")
                members[name] = place
        return members

    def _leaves(self, place: int, depth: int) -> Iterator[int]:
        signature, kind, level, count, _, _ = _NODE.unpack(self.bytes_at(place, _NODE.size))
        if signature != b"TREE" or kind or level > depth or (depth < _MAX_DEPTH and level != depth):
            raise damaged("a group's tree")
        words = self.bytes_at(place + _NODE.size, 8 * (2 * count + 1))
        for child in struct.unpack(f"<{2 * count + 1}Q", words)[1::2]:
            if level:
                yield from self._leaves(child, level - 1)
            else:
                yield child

    def _heap(self, place: int) -> memoryview:
        signature, version, size, _, start = _HEAP.unpack(self.bytes_at(place, _HEAP.size))
        if signature != b"HEAP" or version:
            raise damaged("a group's names")
        return self.bytes_at(start, size)


def _pair(message: Message) -> tuple[int, int]:
    if len(message.data) < _PAIR.size:
        raise damaged("a message's size")
    first, second = _PAIR.unpack(message.data[: _PAIR.size])
    return first, second


def _messages_in(block: memoryview) -> Iterator[Message]:
    place = 0
    while place + _MESSAGE.size <= len(block):
        kind, size, flags = _MESSAGE.unpack(block[place : place + _MESSAGE.size])
        place += _MESSAGE.size
        if place + size > len(block):
            raise damaged("a message's size")
        if flags & _SHARED:
            raise refused("messages that stand elsewhere")
        yield Message(kind, block[place : place + size])
        place += size


def _name_at(names: memoryview, offset: int) -> str:
    text = bytes(names[offset : offset + _MAX_NAME])
    name, end, _ = text.partition(b"\0")
    if not name or not end or b"/" in name or name in {b".", b".."}:
        raise damaged("the name of a member")
    try:
        return name.decode()
    except UnicodeDecodeError as e:
        raise damaged("the name of a member") from e


def damaged(what: str) -> MalformedError:
    """Return the error for a file that does not hold together."""
    return MalformedError(f"the Keras file's weights are damaged: {what}", code="model.malformed")


def refused(what: str) -> RefusedError:
    """Return the error for what a model's weights have no need of."""
    return RefusedError(f"the Keras file's weights have {what}", code="model.unsafe")
