"""Load a model once in a process that may die.

Runtimes are native code: a damaged file can end the process that loads it. A child goes first, runs
the model on zeros, and only when it has come back alive does the server load the same bytes.
This finds damage; it is no defence against a model that was made to attack (it could tell the two
processes apart), which is what the sandbox is for.

A server that starts has one thread and forks. One that runs has many, and starts a program: this
module, which reads the model from its standard input.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import numpy as np

from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.inference.formats import load_model
from cloister.inference.tensor import DATATYPES, TensorSpec

__all__ = ["main", "require_survives", "require_survives_apart"]

_TIME_S: Final = 120
_FINE, _REFUSED = 0, 1


def require_survives(data: bytes, *, threads: int, kind: str = "litert") -> None:
    """Refuse a model whose loading or first computation ends the process.

    To be called while this process has one thread: it forks.

    Raises:
        MalformedError: `model.malformed`.
    """
    child = os.fork()
    if child == 0:
        os._exit(_try(data, threads, kind))  # the child's only way out
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise _crashes(os.WTERMSIG(status))


def require_survives_apart(data: bytes, *, threads: int, kind: str) -> None:
    """Refuse a model that ends the program that loads it, or that it refuses; from any thread.

    Raises:
        MalformedError: `model.malformed`.
        UnavailableError: `server.busy`: the program could not be started.
    """
    command = [sys.executable, "-m", "cloister.inference.probe", kind, str(threads)]
    try:
        done = subprocess.run(  # noqa: S603  # this interpreter, this module
            command, input=data, stderr=subprocess.DEVNULL, timeout=2 * _TIME_S, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise _crashes(signal.SIGALRM) from e
    except OSError as e:
        raise UnavailableError("a model cannot be tried now", code="server.busy") from e
    if done.returncode < 0:
        raise _crashes(-done.returncode)
    if done.returncode != _FINE:
        raise MalformedError("the model is damaged, or cannot run on zeros", code="model.malformed")


def main(arguments: Sequence[str]) -> int:
    """Try the model on standard input: `probe KIND THREADS`; the status says how it went."""
    kind, threads = arguments
    return _try(sys.stdin.buffer.read(), int(threads), kind)


def _try(data: bytes, threads: int, kind: str) -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 2)
    signal.alarm(_TIME_S)
    try:
        model = load_model(data, kind=kind, threads=threads)
        model.predict({spec.name: _zeros(spec) for spec in model.inputs})
    except (CloisterError, MemoryError):
        return _REFUSED  # the parent finds the same, with words
    return _FINE


def _crashes(number: int) -> MalformedError:
    return MalformedError(
        "the model is damaged: loading it crashes its runtime",
        code="model.malformed",
        detail=signal.Signals(number).name,
    )


def _zeros(spec: TensorSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return np.zeros([max(size, 1) for size in spec.shape], DATATYPES[spec.datatype])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
