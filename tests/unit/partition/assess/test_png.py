"""Pictures: what another reader makes of them, and strips of many."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

from cloister.partition.assess.png import data_url, png, strip

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_another_reader_sees_the_same(channels: int) -> None:
    """Matplotlib's reader gives back every byte."""
    image = pytest.importorskip("matplotlib.image")
    drawn = RANDOM.integers(256, size=(7, 5, channels), dtype=np.uint8)
    seen = np.rint(255 * image.imread(io.BytesIO(png(drawn)), format="png")).astype(np.uint8)
    assert np.array_equal(seen.reshape(drawn.shape), drawn)


def test_a_url_holds_the_file() -> None:
    """Base64 of the file, and nothing that leads elsewhere."""
    drawn = np.zeros((2, 2, 1), np.uint8)
    head, _, body = data_url(drawn).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == png(drawn)


def test_a_strip_is_side_by_side_and_small() -> None:
    """Large images are shrunk by means; of more than three channels the first are shown."""
    images = RANDOM.integers(256, size=(3, 50, 30, 1), dtype=np.uint8)
    beside = strip(images, side=64)
    assert beside.shape == (50, 92, 2)
    assert np.array_equal(beside[:, 31:61, :1], images[1])
    assert (beside[:, [30, 61], 1] == 0).all()
    assert (np.delete(beside, [30, 61], axis=1)[..., 1] == 255).all()
    flat = np.full((2, 100, 100, 4), 9, np.uint8)
    small = strip(flat, side=32)
    assert small.shape == (25, 51, 4)
    assert (small[:, :25, :3] == 9).all()
