"""How many threads NumPy's products of matrices take.

OpenBLAS, which comes with NumPy, takes a thread for every core that it sees, also for products that
are done in microseconds, and waits for them in a loop. Beside another process that computes, such
as a middle on the same machine, every product then waits for a core that is not free.

NumPy has no word for it, so the library that it has loaded is told by its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

__all__ = ["blas_threads", "limit_blas"]

_MAPS: Final = Path("/proc/self/maps")
_COLUMNS: Final = 6
# As NumPy's own library says it, and as others do; with 64 bit numbers and without.
_PREFIXES: Final = ("scipy_openblas_", "openblas_")
_SUFFIXES: Final = ("64_", "")


def limit_blas(threads: int) -> bool:
    """Let products of matrices in this process take so many threads; tell whether anybody listened.

    Nobody does where NumPy computes with another library than OpenBLAS.
    """
    found = [each(threads) for each in _functions("set_num_threads", returns=None)]
    return bool(found)


def blas_threads() -> tuple[int, ...]:
    """Return how many threads each OpenBLAS in this process takes."""
    return tuple(int(each()) for each in _functions("get_num_threads", returns=ctypes.c_int))


def _functions(word: str, *, returns: Any) -> Iterator[Callable[..., Any]]:
    for path in _libraries():
        library = ctypes.CDLL(path)
        for name in (f"{prefix}{word}{suffix}" for prefix in _PREFIXES for suffix in _SUFFIXES):
            function = getattr(library, name, None)
            if function is not None:
                function.restype = returns
                yield function
                break


def _libraries() -> list[str]:
    """Return the files of every OpenBLAS that is loaded."""
    import numpy.linalg  # noqa: F401, PLC0415  # loads it, if nothing has yet

    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return []
    files = {line.split(maxsplit=_COLUMNS - 1)[-1] for line in lines if "openblas" in line}
    return sorted(path for path in files if "openblas" in Path(path).name)
