"""Whether parts, one after the other, give what the whole model gives: tried on random inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cloister.errors import ConfigError, RefusedError
from cloister.partition.graph import PartFile, TensorInfo
from cloister.partition.runtime import Array, RunningPart, open_part

__all__ = ["Equality", "random_feeds", "require_equal", "run_parts"]

_OPEN_SIZE: Final = 64
_BATCHES: Final = (1, 3)
_INTEGERS: Final = 10


@dataclass(frozen=True, slots=True)
class Equality:
    """What was found.

    Attributes:
        runtime: `onnx` or `litert`.
        trials: Random inputs that were tried.
        worst: The worst difference, as a share of the largest magnitude in the whole's output or of
            1 where that is smaller; 0 is bit for bit.
        bound: What was allowed.
    """

    runtime: str
    trials: int
    worst: float
    bound: float


def require_equal(
    whole: PartFile,
    parts: Sequence[PartFile],
    *,
    bound: float,
    trials: int,
    seed: int,
    threads: int = 1,
    exact: bool = True,
) -> Equality:
    """Compare parts, run one after the other, with the whole.

    Args:
        whole: The whole model as a part.
        parts: In the order in which they run.
        bound: The source's; 0 asks for the same bits.
        trials: Random inputs; batches of one and of three take turns where the batch is open.
        seed: Of the inputs.
        threads: Threads of one computation.
        exact: Run as `open_part` does with it; without it ONNX Runtime may melt operators together,
            and a bound of 0 will hardly hold.

    Raises:
        RefusedError: `partition.differs`: an output differs by more than the bound, or is missing.
        ConfigError: `config.value`: no trials, or no such bound.
        MalformedError: `model.malformed`: a part does not run.
    """
    if trials < 1 or not math.isfinite(bound) or bound < 0:
        raise ConfigError("equality needs a trial, and a finite bound", code="config.value")
    rng = np.random.default_rng(seed)
    model = open_part(whole, threads=threads, exact=exact)
    running = [open_part(part, threads=threads, exact=exact) for part in parts]
    worst = 0.0
    for trial in range(trials):
        feeds = random_feeds(whole.inputs, rng, batch=_BATCHES[trial % len(_BATCHES)])
        wanted = model.run(feeds)
        found = run_parts(running, feeds)
        for name, array in wanted.items():
            if name not in found:
                raise _differs(f"no part gives the output {name}")
            worst = max(worst, _difference(array, found[name]))
    if worst > bound:
        raise _differs(f"the worst difference is {worst:.3g}, and {bound:.3g} is allowed")
    return Equality(whole.format, trials, worst, bound)


def run_parts(parts: Sequence[RunningPart], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return all that is known after the last part: the feeds, and what each part gave."""
    known = dict(feeds)
    for part in parts:
        known.update(part.run(known))
    return known


def random_feeds(
    infos: Sequence[TensorInfo], rng: np.random.Generator, *, batch: int
) -> dict[str, Array]:
    """Return random inputs: normal numbers, small integers; 64 where another size is open."""
    return {info.name: _random(info, rng, batch) for info in infos}


def _random(info: TensorInfo, rng: np.random.Generator, batch: int) -> Array:
    shape = [size if size >= 0 else _OPEN_SIZE for size in info.shape]
    if info.shape and info.shape[0] < 0:
        shape[0] = batch
    dtype = np.dtype(info.datatype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.integers(0, _INTEGERS, shape).astype(dtype)


def _difference(wanted: Array, found: Array) -> float:
    """Return 0 for the same bits, and infinity where no number says how far apart they are."""
    if wanted.dtype != found.dtype or wanted.shape != found.shape:
        return math.inf
    if wanted.tobytes() == found.tobytes():
        return 0.0
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    apart: Any = np.abs(a - b).max()
    # Zeros of two signs are other bits and the same number: the smallest difference there is.
    return max(float(apart) / max(1.0, float(np.abs(a).max())), math.ulp(0.0))


def _differs(what: str) -> RefusedError:
    return RefusedError(
        f"the parts do not give what the whole model gives: {what}",
        code="partition.differs",
        hint="do not publish them; report the model that they came from",
    )
