"""Working memory begins where a page does."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from cloister.volume.memory import PAGE_BYTES, page_aligned, whole_pages


def address(memory: memoryview) -> int:
    """Return where in this process some memory begins."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


@pytest.mark.parametrize(("size", "pages"), [(0, 0), (1, 1), (PAGE_BYTES, 1), (PAGE_BYTES + 1, 2)])
def test_whole_pages(size: int, pages: int) -> None:
    """Sizes are rounded up, never down."""
    assert whole_pages(size) == pages * PAGE_BYTES


@pytest.mark.parametrize("size", [1, PAGE_BYTES, 3 * PAGE_BYTES + 5])
def test_memory_is_aligned_zeroed_and_exact(size: int) -> None:
    """The first byte begins a page; there are as many bytes as asked for, all zero."""
    memory = page_aligned(size)
    assert address(memory) % PAGE_BYTES == 0
    assert bytes(memory) == bytes(size)


def test_memory_is_not_shared_with_a_child(tmp_path: Path) -> None:
    """What a forked child writes stays in the child, and the other way round."""
    memory = page_aligned(PAGE_BYTES)
    pid = os.fork()
    if pid == 0:
        memory[:] = b"x" * PAGE_BYTES
        (tmp_path / "written").touch()
        os._exit(0)
    os.waitpid(pid, 0)
    assert (tmp_path / "written").exists()
    assert bytes(memory) == bytes(PAGE_BYTES)
