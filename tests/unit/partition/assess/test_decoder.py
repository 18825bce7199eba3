"""How a decoder is chosen; decoders that are trained are in `attack/test_cut_leakage.py`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cloister.partition.assess import decoder as module
from cloister.partition.assess.attack import Target

IMAGES = np.random.default_rng(4).random((400, 8, 8, 1)).astype(np.float32)


def test_who_reads_a_tenth_in_full_is_chosen_before_who_reads_all_a_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A verdict is about the tenth that fares worst, and so is the choice of a decoder."""
    monkeypatch.setattr(module, "MAX_NUMBERS", 0)
    cut = Target(front=lambda x: (x,), tensors=(), private=IMAGES, proxy=IMAGES, low=0.0, high=1.0)
    crossing = (IMAGES,)
    learner = module._Learner(cut, crossing, jitters=(0.0,), seed=1, codes=True)
    few = IMAGES[:, 0, 0, 0] < 0.15

    def all_a_little(features: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        noise = np.random.default_rng(5).standard_normal(features[0].shape).astype(np.float32)
        return 0.3 + 0.4 * _pixels(features) + 0.3 * noise

    def some_in_full(features: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        pixels = _pixels(features)
        return np.where(pixels[:, :1, :1] < 0.15, pixels, np.float32(0.5))

    learner._offer("all a little", all_a_little)
    learner._offer("some in full", some_in_full)
    _, little, some = (score for score, _, _ in learner._decoders)
    assert little.similarity > some.similarity
    name, made = learner.decode(crossing)
    assert name == "some in full"
    assert made[few] == pytest.approx(IMAGES[few], abs=0.02)
    assert learner.decode_best(crossing, IMAGES)[0] == "some in full"


def _pixels(features: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    made: npt.NDArray[np.float32] = features[0] * IMAGES.std() + IMAGES.mean()
    return made
