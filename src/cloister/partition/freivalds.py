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

Wrong claims below the bound are not seen; `bound` says how large it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from cloister.crypto.kdf import random_bytes
from cloister.errors import RefusedError
from cloister.partition.gather import Gather
from cloister.partition.linear_step import Array, LinearStep
from cloister.partition.single_use import SingleUse, Stock
from cloister.partition.spectrum import spectral_bound

__all__ = ["Fold", "LinearCheck", "SecretFold", "draw_vectors"]

FLOAT32_UNIT: Final = 2.0**-24
_DEVIATIONS: Final = 8.0
_LARGEST: Final = 2.0  # of the vectors' numbers
_MANTISSA: Final = np.uint32(0x807FFFFF)
_CACHED: Final = 1 << 19  # bytes of an input
_ONE: Final = np.uint32(0x3F800000)


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
        self._factor: Final = _DEVIATIONS * (_LARGEST * terms * unit + own * FLOAT32_UNIT)

    def missed(self, times: float) -> float:
        """Return the probability at most of missing a claim wrong by `times` the bound."""
        if times <= 1:
            return 1.0
        floor = 12 * self.step.channels * 2.0**-24
        return float(min(1.0, min(0.5, 1 / times) + floor) ** self.repetitions)

    def bound(self, norms: Array) -> Array:
        """Return the least error of one number that counts, where the inputs have these norms."""
        return np.asarray(self._factor * (self._norm * norms + self._bias_norm))

    def draw(self, count: int = 1) -> tuple[SecretFold, ...]:
        """Fold fresh secret vectors for so many checks; costs 1/positions of the step, each."""
        step, rows = self.step, count * self.repetitions
        vectors = draw_vectors(rows, step.channels)
        grouped = vectors.reshape(rows, step.groups, -1).transpose(1, 0, 2)
        folded = np.matmul(grouped, self._matrix).transpose(1, 0, 2)
        bias = np.zeros(step.channels) if step.bias is None else step.bias.astype(np.float64)
        shape = (count, self.repetitions, step.channels_in, -1)
        # (count, repetitions, kernel, in): rows of one product with the input.
        folded = np.ascontiguousarray(folded.reshape(shape).swapaxes(2, 3))
        vectors = vectors.reshape(count, self.repetitions, -1)
        constants = (vectors.astype(np.float64) @ bias).astype(np.float32)
        return tuple(
            SecretFold(Fold(*each)) for each in zip(vectors, folded, constants, strict=True)
        )

    def stock(self, *, most: int) -> Stock[Fold]:
        """Return an empty stock of folds that are prepared when nobody waits."""
        return Stock(self.draw, most=most)

    def require(self, given: Array, claimed: Array, *, fold: SecretFold | None = None) -> None:
        """Refuse a claim that is not this step's output for a trusted input.

        Args:
            given: What the step reads.
            claimed: What somebody says that the step makes of it; in private memory.
            fold: From the stock; drawn now where it is None.

        Raises:
            RefusedError: `middle.wrong`.
        """
        secret = (self.draw()[0] if fold is None else fold).take()
        self._require_form(given, claimed)
        dense = not self.step.kernel
        # A few examples at a time stay in the processor's cache from one product to the next.
        count = len(given) if dense else max(_CACHED // max(given[:1].nbytes, 1), 1)
        for first in range(0, len(given), max(count, 1)):
            rows = slice(first, first + count)
            with np.errstate(all="ignore"):  # what is not finite is refused, not warned of
                apart, norms = (self._dense if dense else self._conv)(
                    secret, given[rows], claimed[rows]
                )
                # A claim that is not a number is not within the bound either.
                good = np.abs(apart) <= self._allowed(norms)
            if not bool(good.all()):
                raise RefusedError(
                    "the middle's answer is wrong", code="middle.wrong", detail=self.step.output
                )

    def _allowed(self, norms: Array) -> Array:
        """Return what may remain, (batch, repetitions, positions), from (batch, positions)."""
        return np.asarray(self.bound(norms)[:, None, :] + 1e-35)

    def _require_form(self, given: Array, claimed: Array) -> None:
        step = self.step
        shape: tuple[int, ...]
        if not step.kernel:
            shape = (*given.shape[:-1], step.channels)
        elif step.layout == "NCHW":
            shape = (given.shape[0], step.channels, *step.sizes_out(given.shape[2:]))
        else:
            shape = (given.shape[0], *step.sizes_out(given.shape[1:-1]), step.channels)
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

    def _conv(self, secret: Fold, given: Array, claimed: Array) -> tuple[Array, Array]:
        step, first = self.step, self.step.layout == "NCHW"
        spatial = given.shape[2:] if first else given.shape[1:-1]
        gather = self._gathers.get(spatial)
        if gather is None:
            gather = self._gathers[spatial] = Gather(step, spatial)
        if gather.thinned:
            given = given[gather.thinning(first=first)]
        batch, folded = given.shape[0], secret.folded.reshape(-1, step.channels_in)
        if first:
            flat = given.reshape(batch, step.channels_in, -1)
            maps = np.matmul(folded, flat)
            squares = np.einsum("bcp,bcp->bp", flat, flat)
            answers = claimed.reshape(batch, step.channels, -1)
            found = np.empty((batch, self.repetitions, answers.shape[2]), np.float32)
            for i, vector in enumerate(secret.vectors):
                np.matmul(vector, answers, out=found[:, i])
        else:
            flat = given.reshape(batch, -1, step.channels_in)
            maps = np.ascontiguousarray(np.matmul(flat, folded.T).swapaxes(1, 2))
            squares = np.einsum("bpc,bpc->bp", flat, flat)
            answers = claimed.reshape(batch, -1, step.channels)
            found = np.stack([np.matmul(answers, vector) for vector in secret.vectors], 1)
        expected = gather.taps(maps.reshape(batch, self.repetitions, -1, maps.shape[-1]))
        return found - expected - secret.constants[:, None], np.sqrt(gather.box(squares))


def draw_vectors(rows: int, channels: int) -> Array:
    """Draw secret numbers: random signs, magnitudes in [1, 2), 24 random bits in each."""
    drawn = np.frombuffer(random_bytes(4 * rows * channels), np.uint32)
    return ((drawn & _MANTISSA) | _ONE).view(np.float32).reshape(rows, channels)


def _rows(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])
