"""Whether to believe an untrusted computation of a model's middle, and what to take from it.

Three ways, of which one has to be named:

`Freivalds`: the middle also gives the outputs of its linear steps. From these claims everything
between them is computed again inside, in one run: each step's input, and the middle's own outputs.
Then each claim is checked against its step's input. In the order in which steps can run, the first
wrong claim is about a right input, and is caught there; the middle's own outputs are never used.

`Recompute`: examples are chosen by secret randomness when the answer is there, and computed inside.

`Unchecked`: with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from cloister.crypto.kdf import random_bytes
from cloister.errors import ConfigError, MalformedError, RefusedError
from cloister.partition.finite import is_finite, require_finite
from cloister.partition.freivalds import FLOAT32_UNIT, LinearCheck
from cloister.partition.graph import PartFile, Source
from cloister.partition.linear import linear_steps
from cloister.partition.linear_step import Array
from cloister.partition.litert_source import LiteRTSource, unfused_part
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import open_part

__all__ = [
    "Freivalds",
    "Mode",
    "Recompute",
    "Unchecked",
    "Verifier",
    "build_verifier",
    "checkable",
    "part_between",
]

_LEAST_REASON: Final = 8  # characters, as everywhere where a check is left out
_DRAW_BITS: Final = 53


@dataclass(frozen=True, slots=True)
class Freivalds:
    """Check linear steps, and compute everything else again.

    Attributes:
        repetitions: Independent secret vectors for each step and answer.
        unit: Unit roundoff of whoever computes the middle: 2^-24 is IEEE float32.
        least_gain: A step is checked where folding makes it this many times cheaper; others, such
            as depthwise convolutions, are computed again.
        stock: How many folds are kept for each step, where somebody prepares them.
        stock_bytes: How much memory all of them may take.
    """

    repetitions: int = 2
    unit: float = FLOAT32_UNIT
    least_gain: float = 8.0
    stock: int = 64
    stock_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        """Refuse what would check nothing."""
        if self.repetitions < 1 or not 0 < self.unit < 1 or min(self.stock, self.stock_bytes) < 0:
            raise ConfigError("a check needs a vector and a unit roundoff", code="config.value")


@dataclass(frozen=True, slots=True)
class Recompute:
    """Compute each example again with a probability.

    Attributes:
        share: That probability; 1 computes everything again.
        bound: How far an answer may be off, as a share of the largest magnitude in the same
            example's right one.
    """

    share: float
    bound: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse what would check nothing."""
        if not 0 < self.share <= 1 or not 0 <= self.bound < 1:
            raise ConfigError("a share lies above 0, and up to 1", code="config.value")


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Believe whatever the middle says, for a stated reason."""

    reason: str

    def __post_init__(self) -> None:
        """A reason is a sentence, not a shrug."""
        if len(self.reason.strip()) < _LEAST_REASON:
            raise ConfigError(
                "a middle that is not checked needs a reason of 8 characters or more",
                code="config.value",
            )


Mode = Freivalds | Recompute | Unchecked


class Verifier(Protocol):
    """Decides whether an answer is believed."""

    @property
    def claims(self) -> tuple[str, ...]:
        """The tensors that the middle has to give."""
        ...

    @property
    def description(self) -> str:
        """What is found, and with which probability, in a sentence for people."""
        ...

    def accept(self, given: Mapping[str, Array], claimed: Mapping[str, Array]) -> dict[str, Array]:
        """Return the middle's outputs.

        Args:
            given: What the middle was given; trusted.
            claimed: What it says, of the right shapes and types, in private memory.

        Raises:
            RefusedError: `middle.wrong`.
            MalformedError: `message.malformed`: a right answer would have, or be made of, numbers
                that are not finite.
        """
        ...

    def prepare(self, count: int) -> int:
        """Prepare for so many answers when nobody waits; return for how many that was done."""
        ...

    def prepare_piece(self) -> bool:
        """Do a small piece of preparing; return whether there was something to do."""
        ...

    def forget(self) -> None:
        """Forget what was prepared."""
        ...


def build_verifier(middle: PartFile, mode: Mode, *, threads: int) -> Verifier:
    """Return what checks this middle's answers.

    Args:
        middle: The part, trusted as data: its digest was checked.
        mode: How.
        threads: Threads of what is computed inside.
    """
    if isinstance(mode, Freivalds):
        return _Checked(middle, mode, threads=threads)
    if isinstance(mode, Recompute):
        return _Recomputed(middle, mode, threads=threads)
    return _Believed(middle, mode)


class _Checked:
    def __init__(self, middle: PartFile, mode: Freivalds, *, threads: int) -> None:
        middle = checkable(middle)
        steps = [step for step in linear_steps(middle) if step.gain >= mode.least_gain]
        if not steps:
            raise ConfigError(
                "the middle has no linear step that is worth a check",
                code="config.value",
                hint="compute a share of its answers again",
            )
        self.claims: Final = tuple(step.output for step in steps)
        self._outputs: Final = tuple(info.name for info in middle.outputs)
        known = {info.name for info in middle.inputs} | set(self.claims)
        wanted = dict.fromkeys((*(step.input for step in steps), *self._outputs))
        self._elsewhere: Final = part_between(
            middle, sorted(known), [n for n in wanted if n not in known]
        )
        self._running: Final = (
            None
            if self._elsewhere is None
            else open_part(self._elsewhere, threads=threads, exact=False)
        )
        self._checks: Final = tuple(
            LinearCheck(step, repetitions=mode.repetitions, unit=mode.unit) for step in steps
        )
        of_one = sum(check.fold_bytes for check in self._checks)
        most = min(mode.stock, mode.stock_bytes // of_one)
        self._stocks: Final = tuple(check.stock(most=most) for check in self._checks)
        near = max(check.missed(1 + 1e-9) for check in self._checks)
        far = max(check.missed(1000) for check in self._checks)
        self.description: Final = (
            f"Each answer of the middle: {len(steps)} linear steps are checked by "
            f"{mode.repetitions} fresh secret vectors each, everything else is computed again. A "
            "number that is wrong by more than the bound of rounding is missed with probability "
            f"at most {near:.2g}, one that is wrong by a thousand times the bound with {far:.1g}."
        )

    def accept(self, given: Mapping[str, Array], claimed: Mapping[str, Array]) -> dict[str, Array]:
        have = {**given, **claimed}
        if self._running is not None:
            try:
                have.update(self._running.run(have))
            except MalformedError as e:  # it ran when the inside learnt its forms
                raise _wrong("nothing can be computed from the claims") from e
        for check, stock in zip(self._checks, self._stocks, strict=True):
            fold = stock.take_or_none()
            check.require(have[check.step.input], claimed[check.step.output], fold=fold)
        return {name: have[name] for name in self._outputs}

    def prepare(self, count: int) -> int:
        return min(stock.fill(count) for stock in self._stocks)

    def prepare_piece(self) -> bool:
        return min(self._stocks, key=len).piece()

    def forget(self) -> None:
        for stock in self._stocks:
            stock.clear()


class _Recomputed:
    def __init__(self, middle: PartFile, mode: Recompute, *, threads: int) -> None:
        self._mode: Final = mode
        self._running: Final = open_part(middle, threads=threads, exact=False)
        self.claims: Final = tuple(info.name for info in middle.outputs)
        self.description: Final = (
            f"Each example of an answer of the middle is computed again inside with probability "
            f"{mode.share:g}: a wrong one is found with that probability, where it is off by more "
            f"than {mode.bound:g} of the largest magnitude."
        )

    def accept(self, given: Mapping[str, Array], claimed: Mapping[str, Array]) -> dict[str, Array]:
        rows = next(iter(given.values())).shape[0]
        chosen = _chosen(rows, self._mode.share)
        if not all(map(is_finite, claimed.values())):  # whether that is right is always looked at
            chosen = np.union1d(chosen, _rows_not_finite(claimed))
        if len(chosen):
            right = self._running.run({name: array[chosen] for name, array in given.items()})
            for name, array in right.items():
                _require_near(array, claimed[name][chosen], self._mode.bound)
            require_finite(right)
        return dict(claimed)

    def prepare(self, count: int) -> int:
        return count

    def prepare_piece(self) -> bool:
        return False

    def forget(self) -> None:
        pass


class _Believed:
    def __init__(self, middle: PartFile, mode: Unchecked) -> None:
        self.claims: Final = tuple(info.name for info in middle.outputs)
        self.description: Final = (
            f"The middle's answers are not checked, and may be anything. Reason: {mode.reason}"
        )

    def accept(self, given: Mapping[str, Array], claimed: Mapping[str, Array]) -> dict[str, Array]:
        del given
        for name, array in claimed.items():
            if not is_finite(array):
                raise _wrong(f"{name} is not finite")
        return dict(claimed)

    def prepare(self, count: int) -> int:
        return count

    def prepare_piece(self) -> bool:
        return False

    def forget(self) -> None:
        pass


def checkable(middle: PartFile) -> PartFile:
    """Return the part as a part whose linear outputs are tensors; both sides do the same.

    In LiteRT, activations that are fused into linear operators become operators of their own.
    """
    return unfused_part(middle) if middle.format == "litert" else middle


def part_between(middle: PartFile, given: Sequence[str], wanted: Sequence[str]) -> PartFile | None:
    """Return what makes some of a middle's tensors of others as a part, None where none is wanted.

    Args:
        middle: As `checkable` gives it.
        given: Tensors that are known; those that are not read are left out.
        wanted: Tensors that are not.
    """
    if not wanted:
        return None
    source: Source = (
        ONNXSource(middle.data) if middle.format == "onnx" else LiteRTSource(middle.data)
    )
    return source.part(given, wanted)


def _chosen(rows: int, share: float) -> Array:
    """Choose each row with a probability, by secret randomness; at 1 all of them."""
    drawn = np.frombuffer(random_bytes(8 * rows), np.uint64) >> np.uint64(64 - _DRAW_BITS)
    return np.flatnonzero(drawn < np.uint64(math.ceil(share * 2**_DRAW_BITS)))


def _require_near(right: Array, claimed: Array, bound: float) -> None:
    """Refuse what is not near; each example has a scale of its own, since askers differ.

    Examples are left out whose right answer is not finite: nothing is near it, and nothing a lie.
    """
    if claimed.shape != right.shape:
        raise _wrong("an example that was computed again")
    axes = tuple(range(1, right.ndim))
    with np.errstate(all="ignore"):
        exact = right.astype(np.float64)
        scale = np.abs(exact).max(axis=axes, keepdims=True, initial=1e-30)
        near = np.abs(claimed.astype(np.float64) - exact) <= bound * scale
        good = near.all(axis=axes) | ~np.isfinite(exact).all(axis=axes)
    if not bool(good.all()):
        raise _wrong("an example that was computed again")


def _rows_not_finite(claimed: Mapping[str, Array]) -> Array:
    """Return the examples of which something that is claimed is not finite."""
    found = [
        np.flatnonzero(~np.isfinite(array).all(axis=tuple(range(1, array.ndim))))
        for array in claimed.values()
        if array.dtype.kind == "f"
    ]
    return np.unique(np.concatenate(found))


def _wrong(detail: str) -> RefusedError:
    return RefusedError("the middle's answer is wrong", code="middle.wrong", detail=detail)
