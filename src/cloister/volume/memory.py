"""Working memory that begins at a page boundary.

The kernel copies between files and our buffers page by page. Where both begin at a page boundary
each page is one copy of one page; anywhere else it is two, each looked up and pinned by itself,
and on some processors (AMD Zen) a copy whose two sides are a few bytes apart is slow besides.
"""

from __future__ import annotations

import mmap
from typing import Final

__all__ = ["PAGE_BYTES", "page_aligned", "whole_pages"]

PAGE_BYTES: Final = 4096


def whole_pages(size: int) -> int:
    """Round a number of bytes up to whole pages."""
    return -(-size // PAGE_BYTES) * PAGE_BYTES


def page_aligned(size: int) -> memoryview:
    """Return zeroed memory of this process alone whose first byte begins a page."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return memoryview(mmap.mmap(-1, whole_pages(size), flags=flags))[:size]
