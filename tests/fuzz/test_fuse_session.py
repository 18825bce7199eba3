"""Garbage in place of the kernel's requests: always a reply, silence, or `MalformedError`."""

from __future__ import annotations

import struct
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import MalformedError
from cloister.testing import fuse_kernel
from cloister.testing.fuse_kernel import Reply
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.fuse.session import Session, SessionOptions

OPCODES = st.one_of(st.integers(0, 60), st.integers(0, 2**32 - 1))
NODES = st.one_of(st.integers(0, 8), st.integers(0, 2**64 - 1))
NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"d", b"", b".", b"..", b"x" * 256]), st.binary(max_size=20)
)
NUMBERS = st.one_of(st.integers(0, 9), st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64 - 1]))
# Bodies that look right: some 64-bit numbers, some names, some bytes.
BODIES = st.builds(
    lambda numbers, names, tail: (
        struct.pack(f"={len(numbers)}Q", *numbers) + b"".join(name + b"\0" for name in names) + tail
    ),
    st.lists(NUMBERS, max_size=11),
    st.lists(NAMES, max_size=2),
    st.binary(max_size=9),
)
REQUESTS = st.tuples(OPCODES, NODES, st.one_of(BODIES, st.binary(max_size=200)))


def new_session() -> Session:
    filesystem = MemoryFilesystem(clock=count(1).__next__, capacity=1 << 22)
    session = Session(filesystem, options=SessionOptions(), on_failure=lambda _: None)
    session.handle(fuse_kernel.init())
    session.handle(fuse_kernel.request(35, bytes(16) + b"a\0"))
    session.handle(fuse_kernel.request(9, bytes(8) + b"d\0"))
    session.handle(fuse_kernel.request(27, bytes(8)))
    return session


@given(st.lists(REQUESTS, max_size=30))
def test_any_request_is_answered_or_ignored(requests: list[tuple[int, int, bytes]]) -> None:
    """Whatever the body says, the reply is one that a kernel accepts, and carries its number."""
    session = new_session()
    for opcode, node, body in requests:
        reply = session.handle(fuse_kernel.request(opcode, body, node=node, unique=99))
        if reply is None:
            assert opcode in (2, 42)
        else:
            assert Reply.parse(reply).unique == 99
    session.end()


@given(st.binary(max_size=100))
def test_any_bytes_are_malformed_or_answered(data: bytes) -> None:
    """Bytes that are no request raise `MalformedError` and nothing else."""
    session = new_session()
    try:
        session.handle(memoryview(bytearray(data)))
    except MalformedError as e:
        if e.code != "message.malformed":
            raise
