"""Messages between launcher and stage."""

from __future__ import annotations

import os
import socket

import pytest

from cloister.confinement.channel import MAX_MESSAGE_BYTES, Channel
from cloister.errors import ConfinementError, MalformedError


def test_a_message_arrives_with_its_descriptors() -> None:
    """What is sent is received, and descriptors name the same file."""
    ours, theirs = Channel.pair()
    reader, writer = os.pipe()
    ours.send({"do": "go"}, [writer])
    os.close(writer)
    fields, descriptors = theirs.receive(timeout_s=1)
    assert fields.text("do") == "go"
    os.write(descriptors[0], b"x")
    assert os.read(reader, 10) == b"x"
    for descriptor in (reader, *descriptors):
        os.close(descriptor)
    ours.close()
    theirs.close()


def test_silence_is_bounded() -> None:
    """A stage that says nothing is `confinement.setup` after the time that it has."""
    ours, theirs = Channel.pair()
    with pytest.raises(ConfinementError) as caught:
        ours.receive(timeout_s=0.01)
    assert caught.value.code == "confinement.setup"
    ours.close()
    theirs.close()


@pytest.mark.parametrize("sent", [b"", b"\x00\x00", b"\x00\x00\x00\x09abc"])
def test_a_stage_that_dies_is_noticed(sent: bytes) -> None:
    """A channel that ends before or within a message is `confinement.setup`."""
    left, right = socket.socketpair()
    right.sendall(sent)
    right.close()
    channel = Channel(left)
    with pytest.raises(ConfinementError) as caught:
        channel.receive(timeout_s=1)
    assert caught.value.code == "confinement.setup"
    channel.close()


def test_a_message_that_is_too_long_is_refused() -> None:
    """The length is judged before memory is taken."""
    left, right = socket.socketpair()
    right.sendall((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"))
    channel = Channel(left)
    with pytest.raises(ConfinementError) as caught:
        channel.receive(timeout_s=1)
    assert caught.value.code == "confinement.setup"
    channel.close()
    right.close()


def test_a_message_that_is_no_map_is_malformed() -> None:
    """`message.malformed` for bytes that are CBOR but not ours."""
    left, right = socket.socketpair()
    right.sendall(b"\x00\x00\x00\x01\x01")
    channel = Channel(left)
    with pytest.raises(MalformedError) as caught:
        channel.receive(timeout_s=1)
    assert caught.value.code == "message.malformed"
    channel.close()
    right.close()


def test_sending_to_nobody_is_an_error() -> None:
    """A launcher learns that the stage is gone."""
    ours, theirs = Channel.pair()
    theirs.close()
    with pytest.raises(ConfinementError) as caught:
        ours.send({"do": "kill"})
    assert caught.value.code == "confinement.setup"
    ours.close()
