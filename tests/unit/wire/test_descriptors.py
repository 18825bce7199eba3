"""Bytes and descriptors over a local socket."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from cloister.errors import WorkloadError
from cloister.wire.descriptors import DescriptorSocket, closed_on_error


def _gone(detail: str) -> WorkloadError:
    return WorkloadError("gone", code="workload.volume-server", detail=detail)


@pytest.fixture
def ends() -> Iterator[tuple[DescriptorSocket, DescriptorSocket]]:
    """Two ends of a stream."""
    left, right = socket.socketpair()
    pair = DescriptorSocket(left, gone=_gone), DescriptorSocket(right, gone=_gone)
    yield pair
    for end in pair:
        end.close()


def test_descriptors_come_with_the_first_bytes(
    ends: tuple[DescriptorSocket, DescriptorSocket],
) -> None:
    """And the rest of a stream is taken without any."""
    one, two = ends
    reader, writer = os.pipe()
    one.send(b"four", [writer])
    one.send(b"and the rest")
    data, found = two.receive(4, descriptors=1)
    assert (data, len(found)) == (b"four", 1)
    assert two.receive_exactly(12) == b"and the rest"
    os.write(found[0], b"x")
    assert os.read(reader, 1) == b"x"
    for descriptor in (reader, writer, *found):
        os.close(descriptor)


def test_the_end_and_silence_are_the_users_error(
    ends: tuple[DescriptorSocket, DescriptorSocket],
) -> None:
    """Whatever the system says, and also where it says nothing."""
    one, two = ends
    with pytest.raises(WorkloadError), one.within(0.01):
        one.receive(4, descriptors=0)
    with pytest.raises(WorkloadError), one.within(0.01):
        one.receive_exactly(4)
    two.end_input()
    with pytest.raises(WorkloadError) as e:
        two.receive(4, descriptors=0)
    assert e.value.detail == "it closed the channel"
    two.close()
    with pytest.raises(WorkloadError):
        one.send(b"nobody")


def test_what_is_refused_leaves_no_descriptor_open() -> None:
    """A peer cannot fill our table of descriptors with messages that are no messages."""
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(WorkloadError), closed_on_error([writer]):
        raise _gone("no message")
    with pytest.raises(OSError, match="Bad file descriptor") as e:
        os.fstat(writer)
    assert e.value.errno == errno.EBADF
