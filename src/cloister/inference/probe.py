"""Load a model once in a process that may die.

Runtimes are native code: a damaged file can end the process that loads it. A child goes first, runs
the model on zeros, and only when it has come back alive does the server load the same bytes.
This finds damage; it is no defence against a model that was made to attack (it could tell the two
processes apart), which is what the sandbox is for.

A server that starts has one thread and forks. One that runs has many, and starts a program: this
module, which reads the model from its standard input. Its status says how it went, and its standard
output has the sentence of a refusal, of which no more is read than one sentence has.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from cloister.errors import (
    CloisterError,
    MalformedError,
    MissingExtraError,
    UnavailableError,
)
from cloister.inference.formats import load_model
from cloister.inference.tensor import DATATYPES, TensorSpec

__all__ = ["main", "require_survives", "require_survives_apart"]

_TIME_S: Final = 120
_FINE, _REFUSED, _MISSING = 0, 1, 2
_MAX_SENTENCE_BYTES: Final = 500
_SENTENCE: Final = "the model is damaged, or cannot run on zeros"

Tell = Callable[[str], object]


def require_survives(data: bytes, *, threads: int, kind: str = "litert") -> None:
    """Refuse a model whose loading or first computation ends the process.

    To be called while this process has one thread: it forks.

    Raises:
        MalformedError: `model.malformed`.
    """
    child = os.fork()
    if child == 0:
        os._exit(_try(data, threads, kind, tell=len))  # the child's only way out
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise _crashes(os.WTERMSIG(status))


def require_survives_apart(data: bytes, *, threads: int, kind: str) -> None:
    """Refuse a model that ends the program that loads it, or that it refuses; from any thread.

    A model whose runtime is not installed passes: loading it says what is missing.

    Raises:
        MalformedError: `model.malformed`.
        UnavailableError: `server.busy`: the program could not be started.
    """
    command = [sys.executable, "-m", "cloister.inference.probe", kind, str(threads)]
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(reading, "rb", 0) as told, os.fdopen(writing, "wb", 0) as telling:
        try:
            done = subprocess.run(  # noqa: S603  # this interpreter, this module
                command,
                input=data,
                stdout=telling,
                stderr=subprocess.DEVNULL,
                timeout=2 * _TIME_S,
                check=False,
            )
        except subprocess.TimeoutExpired as e:
            raise _crashes(signal.SIGALRM) from e
        except OSError as e:
            raise UnavailableError("a model cannot be tried now", code="server.busy") from e
        sentence = _sentence(told.read(_MAX_SENTENCE_BYTES + 1) or b"")
    if done.returncode < 0:
        raise _crashes(-done.returncode)
    if done.returncode not in {_FINE, _MISSING}:
        raise MalformedError(sentence, code="model.malformed")


def main(arguments: Sequence[str]) -> int:
    """Try the model on standard input: `probe KIND THREADS`; the status says how it went."""
    kind, threads = arguments
    data = sys.stdin.buffer.read()
    with os.fdopen(os.dup(1), "wb", 0) as out:
        return _try(data, int(threads), kind, tell=lambda text: out.write(text.encode()))


def _try(data: bytes, threads: int, kind: str, *, tell: Tell) -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 1)  # runtimes print
    os.dup2(null, 2)
    signal.alarm(_TIME_S)
    try:
        model = load_model(data, kind=kind, threads=threads)
    except MissingExtraError:
        return _MISSING
    except CloisterError as e:
        tell(e.public)
        return _REFUSED
    except MemoryError:
        return _REFUSED
    try:
        model.predict({spec.name: _zeros(spec) for spec in model.inputs})
    except (CloisterError, MemoryError):
        tell("the model cannot run on zeros")
        return _REFUSED
    return _FINE


def _sentence(said: bytes) -> str:
    """Return what the program said, where that is one sentence of printable text."""
    with contextlib.suppress(UnicodeDecodeError):
        text = said.decode()
        if text and text.isprintable() and len(said) <= _MAX_SENTENCE_BYTES:
            return text
    return _SENTENCE


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
