"""Load modules without the garbage collector looking through them again and again.

What is loaded stays until the end, so it is set aside for good: that also makes the end quicker,
and keeps the pages that forked processes share from being written to.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["loading"]


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Collect no garbage while the block runs, and never what it leaves behind."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
