"""Checking a linear step's claimed output without computing the step (Freivalds 1977).

For a secret random vector `r`, `r.(W x + b)` is `(r W).x + r.b`: one folded channel in place of
all. It costs 1/channels of the step, and holds at every position of the output or the claim is
wrong.

The vector is drawn from the kernel's randomness after the claim has arrived (or ahead, into a
`Stock`), serves one check, and is forgotten. Each of its numbers has a random sign and a magnitude
in [1, 2), of 2^24 possible values. Take a claim whose largest error at one position is `t` times
the bound, `t > 1`. Whatever the other channels add up to, the number of that channel has to lie in
an interval of length `2/t` for the claim to pass. So one vector misses it with probability at most
`min(1/2, 1/t) + 12 channels 2^-24` (the last part is for the check's own rounding of large errors),
and independent vectors with the product. A single wrong number above twice the bound is always
seen.

Honest claims differ from the exact result by rounding. What `bound` allows is derived, not tuned.
Let `u` be the unit roundoff, and roundings of mean zero that do not depend on one another (Higham
and Mary 2019). In whatever order an engine adds: over all channels, the squares of any partial sums
add up to at most `(s |x| + |b|)^2`, with `s` the largest singular value of `W`, for no part of a
matrix has a larger one. So the errors of one position have a norm of at most
`sqrt(n + 2) u (s |x| + |b|)`, for `n` products in a sum. Signs of `r` are independent of them: by
Hoeffding's inequality `r.e` is beyond `8 * 2` times that with probability 2 exp(-32), or 3 in
10^14, at one position. The check's own sums are bounded alike, each at eight times its deviation.
This holds for IEEE float32 in any order, with or without fused products. It does not hold for TF32
or half precision: those have another `unit`. And it does not hold for thousands of equal products
that are added one by one, which all round the same way: an engine that adds in blocks passes there.

Norms are read of a part of the channels first. They are no more than those of all, so what is
within the bound for them is within the bound; whatever is not is judged by all.

Squares and sums of large inputs are beyond float32, and squares of small ones below it. What
float32 does not find to be within the bound is judged by the same vectors in float64, which has
room for both. Where a step reads numbers that are not finite, or may overflow and is claimed to, no
claim is right or wrong: the input is refused, and nobody is blamed.

Wrong claims below the bound are not seen; `bound` says how large it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from cloister.crypto.kdf import random_bytes
from cloister.errors import RefusedError
from cloister.partition.finite import not_finite
from cloister.partition.gather import Gather
from cloister.partition.linear_step import Array, LinearStep
from cloister.partition.single_use import SingleUse, Stock
from cloister.partition.spectrum import spectral_bound

__all__ = ["Fold", "LinearCheck", "SecretFold", "draw_vectors"]

FLOAT32_UNIT: Final = 2.0**-24
_DEVIATIONS: Final = 8.0
_LARGEST: Final = 2.0  # of the vectors' numbers
_MANTISSA: Final = np.uint32(0x807FFFFF)
_PIECE: Final = 1 << 20  # bytes of weights that are folded without a pause
_TOGETHER: Final = 1 << 22  # bytes of maps, or of sixteen times as much input, in one pass
_LEAST_MAPS: Final = 1 / 16
_PART: Final = 16
_BELOW: Final = np.float32(0.99)  # so that sums in another order are below as well
_TINY: Final = np.float32(1e-35)
_ONE: Final = np.uint32(0x3F800000)
_OVERFLOW: Final = 2.0**124  # float32 ends at 2^128; engines have sums on the way that are larger


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Fold:
    """What one check needs, and nothing outside may know before.

    Attributes:
        vectors: (repetitions, out).
        folded: (repetitions, kernel, in) for convolutions, (repetitions, in) for dense steps.
        constants: The vectors times the bias.
    """

    vectors: Array
    folded: Array
    constants: Array


SecretFold = SingleUse[Fold]


class LinearCheck:
    """Checks claimed outputs of one step. The step's weights are trusted, claims are not."""

    def __init__(
        self, step: LinearStep, *, repetitions: int = 2, unit: float = FLOAT32_UNIT
    ) -> None:
        """Prepare the bound.

        Args:
            step: What should have been computed.
            repetitions: Independent vectors in a check.
            unit: Unit roundoff of who claims; 2^-24 is IEEE float32.
        """
        self.step: Final = step
        self.repetitions: Final = repetitions
        groups, inner = step.groups, step.terms
        # (groups, out / groups, in / groups * kernel): a product for each group folds all of it.
        self._matrix: Final = step.weights.reshape(groups, -1, inner)
        self._norm: Final = (
            max(spectral_bound(each) for each in self._matrix)
            if self._matrix.shape[1] > 1
            else float(np.linalg.norm(self._matrix, axis=2).max())
        )
        bias = step.bias
        self._bias_norm: Final = 0.0 if bias is None else float(np.linalg.norm(bias))
        terms = math.sqrt(inner + 2)
        # Its sums of the vectors with the claim and with the weights; then the folded vector is
        # rounded, whose norm is at most that of the vector, 2 sqrt(channels), times the matrix's.
        own = terms + (2 + _LARGEST / _DEVIATIONS) * math.sqrt(step.channels)
        self._gathers: dict[tuple[int, ...], Gather] = {}
        factor = _DEVIATIONS * (_LARGEST * terms * unit + own * FLOAT32_UNIT)
        self._slope: Final = np.float32(factor * self._norm)
        self._least: Final = np.float32(factor * self._bias_norm)

    def missed(self, times: float) -> float:
        """Return the probability at most of missing a claim wrong by `times` the bound."""
        if times <= 1:
            return 1.0
        floor = 12 * self.step.channels * 2.0**-24
        return float(min(1.0, min(0.5, 1 / times) + floor) ** self.repetitions)

    def bound(self, norms: Array) -> Array:
        """Return the least error of one number that counts, where the inputs have these norms."""
        return np.asarray(norms * self._slope + self._least)

    @property
    def fold_bytes(self) -> int:
        """How much memory one fold takes."""
        step = self.step
        of_one = step.channels + step.channels_in * math.prod(step.kernel) + 1
        return self.repetitions * of_one * np.dtype(np.float32).itemsize

    def draw(self, count: int = 1) -> tuple[SecretFold, ...]:
        """Fold fresh secret vectors for so many checks; costs 1/positions of the step, each."""
        *_, folds = self.drawing(count)
        return folds

    def drawing(self, count: int = 1) -> Iterator[tuple[SecretFold, ...]]:
        """Do what `draw` does in small pieces of work; the last one gives all folds."""
        step, rows = self.step, count * self.repetitions
        vectors = draw_vectors(rows, step.channels)
        folded = np.zeros((rows, step.groups, step.terms), np.float32)
        for group, matrix in enumerate(self._matrix):
            mine = vectors.reshape(rows, step.groups, -1)[:, group]
            # Some rows of the weights at a time stay in the cache from one vector to the next.
            size = max(_PIECE // matrix[:1].nbytes, 1)
            for first in range(0, len(matrix), size):
                block = matrix[first : first + size]
                for vector, total in zip(mine[:, first : first + size], folded, strict=True):
                    total[group] += vector @ block
                yield ()
        bias = np.zeros(step.channels) if step.bias is None else step.bias.astype(np.float64)
        shape = (count, self.repetitions, step.channels_in, -1)
        # (count, repetitions, kernel, in): rows of one product with the input.
        folded = np.ascontiguousarray(folded.reshape(shape).swapaxes(2, 3))
        vectors = vectors.reshape(count, self.repetitions, -1)
        constants = (vectors.astype(np.float64) @ bias).astype(np.float32)
        yield tuple(
            SecretFold(Fold(*each)) for each in zip(vectors, folded, constants, strict=True)
        )

    def stock(self, *, most: int) -> Stock[Fold]:
        """Return an empty stock of folds that are prepared when nobody waits."""
        return Stock(self.drawing, most=most)

    def require(self, given: Array, claimed: Array, *, fold: SecretFold | None = None) -> None:
        """Refuse a claim that is not this step's output for a trusted input.

        Args:
            given: What the step reads.
            claimed: What somebody says that the step makes of it; in private memory.
            fold: From the stock; drawn now where it is None.

        Raises:
            RefusedError: `middle.wrong`.
            MalformedError: `message.malformed`: the step reads numbers that are not finite, or
                makes some, so that no claim is right.
        """
        secret = (self.draw()[0] if fold is None else fold).take()
        self._require_form(given, claimed)
        count = self._together(given)
        for first in range(0, len(given), count):
            rows = slice(first, first + count)
            if not self._holds(secret, given[rows], claimed[rows]):
                self._require_in_float64(secret, given[rows], claimed[rows])

    def _together(self, given: Array) -> int:
        """Return how many examples are checked in one pass, within memory that is bounded."""
        if not self.step.kernel:
            return max(len(given), 1)
        maps = self.repetitions * math.prod(self.step.kernel) / self.step.channels_in
        return max(int(_TOGETHER / max(given[:1].nbytes * max(maps, _LEAST_MAPS), 1)), 1)

    def _holds(self, secret: Fold, given: Array, claimed: Array) -> bool:
        with np.errstate(all="ignore"):  # what is not finite is refused, not warned of
            if not self.step.kernel:
                apart, norms = self._dense(secret, given, claimed)
                return _within(apart, self._allowed(norms))
            gather, given = self._read(given)
            apart = self._conv(secret, given, claimed, gather)
            # A norm over some channels is no more than that over all: what is within the bound for
            # it is within the bound. Honest claims are, so that the others are seldom read.
            every = self.step.channels_in
            below = self._norms(given, gather, channels=max(every // _PART, 1)) * _BELOW
            return _within(apart, self._allowed(below)) or _within(
                apart, self._allowed(self._norms(given, gather, channels=every))
            )

    def _require_in_float64(self, secret: Fold, given: Array, claimed: Array) -> None:
        """Do what `_holds` does with room for every number, and refuse what does not hold."""
        step = self.step
        wide = Fold(*(each.astype(np.float64) for each in _arrays(secret)))
        given, claimed = given.astype(np.float64), claimed.astype(np.float64)
        with np.errstate(all="ignore"):
            if not step.kernel:
                apart, norms = self._dense(wide, given, claimed)
            else:
                gather, given = self._read(given)
                apart = self._conv(wide, given, claimed, gather)
                norms = self._norms(given, gather, channels=step.channels_in)
            allowed = self._allowed(norms)
            wrong = ~((np.abs(apart) <= allowed) & np.isfinite(allowed)).all(axis=1)
            largest = norms * self._norm + self._bias_norm
            overflows = (largest >= _OVERFLOW) & ~np.isfinite(apart).all(axis=1)
            nobodys = ~np.isfinite(norms) | overflows
        if bool((wrong & ~nobodys).any()):
            raise RefusedError(
                "the middle's answer is wrong", code="middle.wrong", detail=step.output
            )
        if bool(wrong.any()):
            raise not_finite(step.output)

    def _read(self, given: Array) -> tuple[Gather, Array]:
        """Return who adds up, and what of an input is read at all."""
        gather = self._gather(given)
        if gather.thinned:
            given = given[gather.thinning(first=self.step.layout == "NCHW")]
        return gather, given

    def _allowed(self, norms: Array) -> Array:
        """Return what may remain, (batch, repetitions, positions), from (batch, positions)."""
        return np.asarray(self.bound(norms)[:, None, :] + _TINY)

    def _require_form(self, given: Array, claimed: Array) -> None:
        step = self.step
        shape: tuple[int, ...]
        if not step.kernel:
            shape = (*given.shape[:-1], step.channels)
        elif step.layout == "NCHW":
            shape = (given.shape[0], step.channels, *self._gather(given).sizes)
        else:
            shape = (given.shape[0], *self._gather(given).sizes, step.channels)
        if claimed.shape != shape or claimed.dtype != np.float32 or given.dtype != np.float32:
            raise RefusedError(
                "the middle's answer is wrong", code="middle.wrong", detail=f"{step.output}: form"
            )

    def _dense(self, secret: Fold, given: Array, claimed: Array) -> tuple[Array, Array]:
        rows, answers = _rows(given), _rows(claimed)
        expected = rows @ secret.folded.reshape(self.repetitions, -1).T
        found = (answers @ secret.vectors.T).T
        norms = np.sqrt(np.einsum("pc,pc->p", rows, rows))
        return (found - expected.T - secret.constants[:, None])[None], norms[None]

    def _gather(self, given: Array) -> Gather:
        """Return who adds up for inputs of this size."""
        spatial = given.shape[2:] if self.step.layout == "NCHW" else given.shape[1:-1]
        gather = self._gathers.get(spatial)
        if gather is None:
            gather = self._gathers[spatial] = Gather(self.step, spatial)
        return gather

    def _conv(self, secret: Fold, given: Array, claimed: Array, gather: Gather) -> Array:
        """Return the differences, (batch, repetitions, positions)."""
        step, batch = self.step, len(given)
        folded = secret.folded.reshape(-1, step.channels_in)
        if step.layout == "NCHW":
            maps = np.matmul(folded, given.reshape(batch, step.channels_in, -1))
            found = np.matmul(secret.vectors, claimed.reshape(batch, step.channels, -1))
        else:
            maps = np.matmul(given.reshape(batch, -1, step.channels_in), folded.T).swapaxes(1, 2)
            answers = claimed.reshape(batch, -1, step.channels)
            found = np.matmul(answers, secret.vectors.T).swapaxes(1, 2)
        expected = gather.taps(maps.reshape(batch, self.repetitions, -1, maps.shape[-1]))
        return np.asarray(found - expected - secret.constants[:, None])

    def _norms(self, given: Array, gather: Gather, *, channels: int) -> Array:
        """Return the norms of what each position reads in the first channels."""
        if self.step.layout == "NCHW":
            flat = given.reshape(len(given), self.step.channels_in, -1)[:, :channels]
            squares = np.einsum("bcp,bcp->bp", flat, flat)
        else:
            flat = given.reshape(len(given), -1, self.step.channels_in)[..., :channels]
            squares = np.einsum("bpc,bpc->bp", flat, flat)
        return np.sqrt(gather.box(squares))


def draw_vectors(rows: int, channels: int) -> Array:
    """Draw secret numbers: random signs, magnitudes in [1, 2), 24 random bits in each."""
    drawn = np.frombuffer(random_bytes(4 * rows * channels), np.uint32)
    return ((drawn & _MANTISSA) | _ONE).view(np.float32).reshape(rows, channels)


def _arrays(fold: Fold) -> tuple[Array, Array, Array]:
    return fold.vectors, fold.folded, fold.constants


def _rows(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])


def _within(apart: Array, allowed: Array) -> bool:
    """Tell whether nothing is further apart than is allowed; what is not a number is.

    Where squares of an input are beyond their type, no bound is known, and nothing is within it.
    """
    return bool((np.abs(apart) <= allowed).all()) and bool(np.isfinite(allowed).all())
