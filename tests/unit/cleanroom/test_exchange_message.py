"""Messages of one size: each has one reading, and nothing hides in what is not used."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.exchange_message import (
    HEAD_BYTES,
    NO_WISH,
    SERVER,
    ExchangeMessage,
    Kind,
    message_bytes,
    read_message,
    write_message,
)
from cloister.errors import LocalProtocolError, MalformedError
from rounds_bench import LIFE, RULES, floats, rules


def written(message: ExchangeMessage) -> bytearray:
    out = bytearray(b"\xff" * message_bytes(RULES))
    write_message(message, RULES, out)
    return out


MESSAGES = [
    ExchangeMessage(Kind.HELLO, 1, 0),
    ExchangeMessage(Kind.IDLE, 0, 7, epoch=2, life=LIFE, version=4, durable=2, wish=12),
    ExchangeMessage(Kind.PLAN, 0, 3, total=40, offset=8, body=b"some of it"),
    ExchangeMessage(Kind.INITIAL, 0, 4, body=floats(1, 2, 3)),
    ExchangeMessage(
        Kind.PUSH, 1, 9, version=3, body=floats(*range(8)), round=2, metrics=(0.5, None)
    ),
    ExchangeMessage(Kind.WELCOME, SERVER, 2**32 - 2, epoch=1, life=LIFE, total=40, held=40),
    ExchangeMessage(Kind.PARAMETERS, SERVER, 5, epoch=1, version=2**63, body=floats(np.nan, 1)),
]


@pytest.mark.spec("TR-10", "TR-11")
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind.name)
def test_what_is_written_is_what_is_read(message: ExchangeMessage) -> None:
    """Whatever it holds, a message has one size."""
    data = written(message)
    assert len(data) == 256 + 4 * RULES.parameters_max
    found = read_message(data, RULES)
    for field in dataclasses.fields(ExchangeMessage):
        if field.name not in {"body", "metrics"}:
            assert getattr(found, field.name) == getattr(message, field.name), field.name
    assert bytes(memoryview(found.body).cast("B")) == bytes(memoryview(message.body).cast("B"))
    assert found.metrics == (message.metrics or (None, None))


@pytest.mark.spec("TR-12", "TR-13", "TR-14", "TR-15", "TR-16")
@pytest.mark.parametrize(
    ("place", "value", "code"),
    [
        (0, b"CXR2", "message.malformed"),
        (4, b"\x07", "message.malformed"),  # no such kind
        (4, b"\x06", "message.malformed"),  # the server's, from a trainer
        (5, b"\x02", "message.malformed"),  # no such trainer
        (5, b"\xff", "message.malformed"),  # a trainer's, from the server
        (6, b"\x04\x00", "message.malformed"),  # a third metric
        (6, b"\x00\x00", "message.malformed"),  # a value without its flag
        (53, b"\x00", "message.malformed"),  # another room
        (84, b"\x01\x01\x00\x00", "message.malformed"),  # wishes for what no plan has
        (88, b"\x01\x00\x00\x00", "message.malformed"),  # an offset without a plan
        (92, b"\x01\x01\x00\x00", "message.malformed"),  # a plan that is too long
        (96, b"\x09\x00\x00\x00", "message.malformed"),  # more than the body has
        (96, b"\x00\x00\x00\x00", "message.malformed"),  # a difference of nothing
        (96, b"\x07\x00\x00\x00", "message.malformed"),  # numbers behind the last
        (100, b"\x01\x00\x00\x00", "message.malformed"),  # holds more of a plan than there is
        (104, b"\x00\x00\x00\x00\x00\x00\xf8\x7f", "message.malformed"),  # a metric that is NaN
        (104, b"\x00\x00\x00\x00\x00\x00\xf0\xff", "message.malformed"),  # infinity
        (112, b"\x01", "message.malformed"),  # a metric without its flag
        (232, b"\x01", "message.malformed"),
        (255, b"\x80", "message.malformed"),
    ],
)  # fmt: skip
def test_a_changed_byte(place: int, value: bytes, code: str) -> None:
    data = written(MESSAGES[4])
    data[place : place + len(value)] = value
    with pytest.raises(MalformedError) as caught:
        read_message(data, RULES)
    assert caught.value.code == code


@pytest.mark.spec("TR-13")
@pytest.mark.parametrize("place", [HEAD_BYTES, HEAD_BYTES + 5, HEAD_BYTES + 31])
def test_nothing_hides_in_a_body_that_is_not_used(place: int) -> None:
    data = written(MESSAGES[1])
    data[place] = 1
    with pytest.raises(MalformedError):
        read_message(data, RULES)


@pytest.mark.spec("TR-15")
def test_a_piece_beyond_the_plan() -> None:
    beyond = dataclasses.replace(MESSAGES[2], offset=38)
    with pytest.raises(MalformedError):
        read_message(written(beyond), RULES)


@pytest.mark.spec("TR-10")
@pytest.mark.parametrize("size", [0, 255, 256, 287, 289])
def test_another_size(size: int) -> None:
    with pytest.raises(MalformedError) as caught:
        read_message(bytes(size), RULES)
    assert caught.value.code == "wire.too-large"


@pytest.mark.parametrize(
    "changes", [{"body": bytes(33)}, {"tick": 2**32}, {"tick": -1}, {"body": floats(*range(9))}]
)
def test_what_has_no_form_is_our_mistake(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        written(dataclasses.replace(MESSAGES[3], **changes))


def test_the_buffer_is_a_messages() -> None:
    with pytest.raises(LocalProtocolError):
        write_message(MESSAGES[0], RULES, bytearray(10))


def test_a_message_of_another_room_of_the_same_size() -> None:
    with pytest.raises(MalformedError):
        read_message(written(MESSAGES[0]), rules(room=b"x" * 32))


def test_a_wish_for_nothing_is_the_largest_number() -> None:
    assert NO_WISH == 2**32 - 1
    assert written(MESSAGES[0])[84:88] == b"\xff" * 4
