"""Load a model once in a process that may die.

LiteRT is native code: a damaged file can end the process that loads it. A child goes first, runs
the model on zeros, and only when it has come back alive does the server load the same bytes.
This finds damage; it is no defence against a model that was made to attack (it could tell the two
processes apart), which is what the sandbox is for.
"""

from __future__ import annotations

import os
import resource
import signal
from typing import Final

import numpy as np

from cloister.errors import CloisterError, MalformedError
from cloister.inference.model import LiteRTModel
from cloister.inference.tensor import DATATYPES, TensorSpec

__all__ = ["require_survives"]

_TIME_S: Final = 120
_FINE, _REFUSED = 0, 1


def require_survives(data: bytes, *, threads: int) -> None:
    """Refuse a model whose loading or first computation ends the process.

    To be called while this process has one thread: it forks.

    Raises:
        MalformedError: `model.malformed`.
    """
    child = os.fork()
    if child == 0:
        os._exit(_try(data, threads))  # the child's only way out
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise MalformedError(
            "the model is damaged: loading it crashes LiteRT",
            code="model.malformed",
            detail=signal.Signals(os.WTERMSIG(status)).name,
        )


def _try(data: bytes, threads: int) -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 2)
    signal.alarm(_TIME_S)
    try:
        model = LiteRTModel(data, threads=threads)
        model.predict({spec.name: _zeros(spec) for spec in model.inputs})
    except (CloisterError, MemoryError):
        return _REFUSED  # the parent finds the same, with words
    return _FINE


def _zeros(spec: TensorSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return np.zeros([max(size, 1) for size in spec.shape], DATATYPES[spec.datatype])
