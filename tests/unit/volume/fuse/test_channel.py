"""Messages between the launcher and a volume server."""

from __future__ import annotations

import os

import pytest

from cloister.errors import MalformedError, UnavailableError, WorkloadError
from cloister.volume.fuse.channel import Channel


def test_messages_keep_their_boundaries_fields_and_descriptor() -> None:
    """A message arrives as one, with its fields and the descriptor that it carried."""
    one, two = Channel.pair()
    read, write = os.pipe()
    one.send("first", number=5)
    one.send("second", descriptor=write)
    os.close(write)
    first = two.receive(timeout_s=1)
    assert (first.kind, first.fields.integer("number"), first.descriptor) == ("first", 5, None)
    second = two.receive(timeout_s=1)
    assert second.descriptor is not None
    os.write(second.descriptor, b"x")
    assert os.read(read, 1) == b"x"
    os.close(second.descriptor)
    os.close(read)
    one.close()
    two.close()


def test_silence_is_unavailable() -> None:
    """Waiting has a deadline."""
    one, two = Channel.pair()
    with pytest.raises(UnavailableError) as caught:
        one.receive(timeout_s=0.01)
    assert caught.value.code == "volume.busy"
    one.close()
    two.close()


def test_end_of_the_other_side_is_told() -> None:
    """A closed other end is an error in both directions."""
    one, two = Channel.pair()
    two.close()
    for call in (lambda: one.receive(timeout_s=1), lambda: one.send("x")):
        with pytest.raises(WorkloadError) as caught:
            call()
        assert caught.value.code == "workload.volume-server"
    one.close()


def test_ended_input_reads_as_the_end_but_still_sends() -> None:
    """After `end_input` this side hears nothing more and can still report."""
    one, two = Channel.pair()
    one.end_input()
    with pytest.raises(WorkloadError):
        one.receive(timeout_s=1)
    one.send("last")
    assert two.receive(timeout_s=1).kind == "last"
    one.close()
    two.close()


def test_garbage_is_malformed() -> None:
    """Bytes that are no message are refused."""
    one, two = Channel.pair()
    os.write(one.fileno(), b"\xff\xff")
    with pytest.raises(MalformedError) as caught:
        two.receive(timeout_s=1)
    assert caught.value.code == "wire.malformed"
    one.close()
    two.close()
