"""A response's head and body go out together, and nothing is lost or kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cloister.keyservice.writes import JoinedWrites


class _Transport:
    """Notes what reaches it."""

    def __init__(self) -> None:
        self.seen: list[bytes | str] = []
        self.ended = False

    def write(self, data: bytes) -> None:
        self.seen.append(data)

    def close(self) -> None:
        self.ended = True
        self.seen.append("close")

    def abort(self) -> None:
        self.ended = True
        self.seen.append("abort")

    def is_closing(self) -> bool:
        return self.ended

    def get_extra_info(self, name: str) -> str:
        return name


def _seen(*steps: Callable[[JoinedWrites], object], turns: int = 0) -> list[bytes | str]:
    async def run() -> list[bytes | str]:
        transport = _Transport()
        joined = JoinedWrites(transport)
        for step in steps:
            step(joined)
        for _ in range(turns):
            await asyncio.sleep(0)
        return list(transport.seen)

    return asyncio.run(run())


def _write(data: bytes) -> Callable[[JoinedWrites], object]:
    return lambda joined: joined.write(data)


def test_two_writes_are_one() -> None:
    """At once, without waiting for the loop."""
    assert _seen(_write(b"head"), _write(b"body")) == [b"headbody"]
    assert _seen(_write(b"head"), _write(b"body"), turns=3) == [b"headbody"]


def test_an_empty_body_sends_the_head() -> None:
    """A response without a body is complete, too."""
    assert _seen(_write(b"head"), _write(b"")) == [b"head"]


def test_a_write_alone_goes_out_in_the_next_turn() -> None:
    """Such as `100 Continue`; and nothing goes out twice."""
    assert _seen(_write(b"alone")) == []
    assert _seen(_write(b"alone"), turns=2) == [b"alone"]
    assert _seen(_write(b""), turns=2) == []


def test_every_piece_keeps_its_place() -> None:
    """Five writes arrive in their order."""
    pieces = [_write(bytes([n])) for n in range(5)]
    assert b"".join(_seen(*pieces, turns=2)) == bytes(range(5))


def test_closing_sends_what_is_held_and_aborting_does_not() -> None:
    """A refusal is read before the connection ends."""
    assert _seen(_write(b"last"), JoinedWrites.close, turns=2) == [b"last", "close"]
    assert _seen(_write(b"last"), JoinedWrites.abort, turns=2) == ["abort"]


def test_nothing_is_written_to_what_has_ended() -> None:
    """The client has gone in between."""

    def end(joined: JoinedWrites) -> None:
        joined._transport.close()

    assert _seen(_write(b"late"), end, turns=2) == ["close"]


def test_the_rest_is_the_transports() -> None:
    """Questions about the connection reach it."""
    assert JoinedWrites(_Transport()).get_extra_info("peername") == "peername"
    with pytest.raises(AttributeError):
        _ = JoinedWrites(_Transport()).nothing
