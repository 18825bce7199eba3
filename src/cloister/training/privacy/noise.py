"""Gaussian noise whose randomness comes from the kernel, anew for each step, and from nowhere else.

There is no seed that a caller, a framework's global seed, or a checkpoint could set, and no state
that a resumed, copied or rolled-back process could use twice: key and counter of every generator
are drawn when the step runs. `gaussian` takes them as an argument and is a function of them.

Samples are sums of several (Holohan and Braghin, 2021), in double precision, and are rounded with
the gradient to its own precision after they are added: the low bits of a sum tell its summands less
(Mironov, 2012). One sample in single precision also ends at 5.8 standard deviations: over millions
of weights, the chance of a value that another data set cannot give is no small one. A sum of four
in double precision ends at 17.
"""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np

from cloister.training.privacy.frameworks import tf

__all__ = ["SUMMANDS", "WORDS", "gaussian", "kernel_words"]

SUMMANDS: Final = 4
WORDS: Final = 3  # of a generator: 64 bits of key, 128 bits of counter
_PHILOX: Final = 1


def kernel_words(count: int) -> Any:
    """Return a tensor of `count` rows of `WORDS` random words, drawn when it is computed."""
    words = tf.numpy_function(lambda: _draw(count), [], tf.uint64, stateful=True)
    return tf.ensure_shape(words, (count, WORDS))


def gaussian(shape: Any, *, deviation: Any, words: Any) -> Any:
    """Return normal noise in double precision.

    Args:
        shape: Of the result.
        deviation: Its standard deviation.
        words: `SUMMANDS` rows of `WORDS` words. Whoever knows them knows the noise.
    """
    samples = [
        tf.raw_ops.StatelessRandomNormalV2(
            shape=shape, key=words[n, :1], counter=words[n, 1:], alg=_PHILOX, dtype=tf.float64
        )
        for n in range(SUMMANDS)
    ]
    return tf.add_n(samples) * (tf.cast(deviation, tf.float64) / SUMMANDS**0.5)


def _draw(count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.frombuffer(os.urandom(8 * WORDS * count), np.uint64).reshape(count, WORDS)
