"""Requests of the kernel: what is read, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from cloister.errors import MalformedError
from cloister.testing import fuse_kernel
from cloister.volume.fuse import protocol


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(MalformedError) as caught:
        call()
    assert caught.value.code == "message.malformed"


def test_header_is_read() -> None:
    """A header's operation, request, inode and sender are read from their places."""
    request = fuse_kernel.request(3, bytes(16), node=9, unique=5, uid=10, gid=20)
    header = protocol.parse_header(request)
    assert header == (3, 5, 9, 10, 20)


@pytest.mark.parametrize("length", [0, 1, 39])
def test_short_header_is_refused(length: int) -> None:
    """Fewer bytes than a header are refused."""
    refused(lambda: protocol.parse_header(memoryview(bytes(length))))


@pytest.mark.parametrize("change", [-1, 1])
def test_header_with_another_length_is_refused(change: int) -> None:
    """A request that is not as long as it says is refused."""
    data = bytearray(fuse_kernel.request(3, bytes(16)))
    struct.pack_into("=I", data, 0, len(data) + change)
    refused(lambda: protocol.parse_header(memoryview(data)))


def test_extensions_are_refused() -> None:
    """Extensions that were never negotiated are refused."""
    data = bytearray(fuse_kernel.request(3, bytes(16)))
    struct.pack_into("=H", data, 36, 1)
    refused(lambda: protocol.parse_header(memoryview(data)))


def test_fixed_body_must_have_its_length() -> None:
    """A structure is read only from exactly its size."""
    parse = protocol.fixed("QI")
    assert parse(memoryview(struct.pack("=QI", 1, 2))) == (1, 2)
    refused(lambda: parse(memoryview(bytes(11))))
    refused(lambda: parse(memoryview(bytes(13))))


def test_empty_body_must_be_empty() -> None:
    """An operation without a body refuses one."""
    assert protocol.nothing(memoryview(b"")) == ()
    refused(lambda: protocol.nothing(memoryview(b"x")))


@pytest.mark.parametrize(
    "body", [b"", b"x", b"\0", b".\0", b"..\0", b"a/b\0", b"a\0b\0", b"a\0\0", b"x" * 4096 + b"\0"]
)
def test_bad_names_are_refused(body: bytes) -> None:
    """A name that no directory entry can have is refused."""
    refused(lambda: protocol.parse_name(memoryview(body)))


def test_names_may_be_any_other_bytes() -> None:
    """Names are bytes, not text."""
    assert protocol.parse_name(memoryview(b"\xff \n\0")) == b"\xff \n"


def test_structure_and_names() -> None:
    """Names follow a structure and are told apart by NUL."""
    body = memoryview(struct.pack("=QII", 5, 1, 0) + b"old\0new\0")
    assert protocol.fixed_and_two_names("QII")(body) == ((5, 1, 0), b"old", b"new")
    assert protocol.fixed_and_name("Q")(memoryview(bytes(8) + b"n\0")) == ((0,), b"n")
    refused(lambda: protocol.fixed_and_two_names("QII")(body[:-4]))
    refused(lambda: protocol.fixed_and_name("Q")(memoryview(bytes(7))))


def test_symlink_target_may_have_slashes() -> None:
    """A link's target is any text of 1 to 4095 bytes."""
    assert protocol.parse_symlink(memoryview(b"n\0/a/b\0")) == (b"n", b"/a/b")
    refused(lambda: protocol.parse_symlink(memoryview(b"n\0\0")))
    refused(lambda: protocol.parse_symlink(memoryview(b"n\0" + b"x" * 4096 + b"\0")))
    refused(lambda: protocol.parse_symlink(memoryview(b"n\0")))


def test_init_has_two_lengths() -> None:
    """INIT is read as old and as new kernels send it, and refused otherwise."""
    short = struct.pack("=IIII", 7, 31, 4096, 3)
    assert protocol.parse_init(memoryview(short)) == (7, 31, 4096, 3)
    assert protocol.parse_init(memoryview(short + bytes(48))) == (7, 31, 4096, 3)
    refused(lambda: protocol.parse_init(memoryview(short + bytes(4))))


def test_setattr_times_are_nanoseconds() -> None:
    """Seconds, before 1970 too, and nanoseconds become one number."""
    body = fuse_kernel.setattr_body(0x30, atime=(-2, 5), mtime=(3, 999_999_999))
    read = protocol.parse_setattr(memoryview(body))
    assert (read.atime_ns, read.mtime_ns) == (-1_999_999_995, 3_999_999_999)


def test_setattr_time_out_of_range_becomes_the_nearest() -> None:
    """A time that 64 bits of nanoseconds cannot hold is cut to what they can."""
    body = fuse_kernel.setattr_body(0x30, atime=(-(2**63), 0), mtime=(2**63 - 1, 0))
    read = protocol.parse_setattr(memoryview(body))
    assert (read.atime_ns, read.mtime_ns) == (-(2**63) + 1, 2**63 - 1)


@pytest.mark.parametrize("which", ["atime", "mtime"])
def test_setattr_with_too_many_nanoseconds_is_refused(which: str) -> None:
    """A second or more of nanoseconds is refused where the time counts, ignored elsewhere."""
    body = fuse_kernel.setattr_body(0x30, **{which: (0, 1_000_000_000)})
    refused(lambda: protocol.parse_setattr(memoryview(body)))
    protocol.parse_setattr(memoryview(fuse_kernel.setattr_body(0, **{which: (0, 10**9)})))
    refused(lambda: protocol.parse_setattr(memoryview(body[:-1])))


def test_write_data_is_not_copied() -> None:
    """WRITE's data is a view of the request."""
    request = fuse_kernel.write(2, 100, b"data")
    offset, data = protocol.parse_write(request[40:])
    request[80:84] = b"DATA"
    assert (offset, bytes(data)) == (100, b"DATA")


def test_write_with_another_size_is_refused() -> None:
    """WRITE must carry as many bytes as it says."""
    body = fuse_kernel.write(2, 0, b"data")[40:]
    refused(lambda: protocol.parse_write(body[:-1]))
    refused(lambda: protocol.parse_write(body[:39]))


def test_batch_forget_items() -> None:
    """BATCH_FORGET's items are read, and their number must be right."""
    body = fuse_kernel.batch_forget([(5, 1), (6, 2)])[40:]
    assert protocol.parse_batch_forget(body) == [(5, 1), (6, 2)]
    refused(lambda: protocol.parse_batch_forget(body[:-16]))
    refused(lambda: protocol.parse_batch_forget(body[:4]))
