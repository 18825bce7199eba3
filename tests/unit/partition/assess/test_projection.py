"""Feature maps as pictures."""

from __future__ import annotations

import numpy as np
import pytest

from cloister.partition.assess.projection import maps_of, project, resize


def test_each_map_is_scaled_by_its_own_ends_and_repeated_for_every_channel() -> None:
    maps = np.array([[[[0.0, 1.0], [2.0, 4.0]], [[-5.0, -5.0], [-5.0, 5.0]]]])
    pictures = project(maps, height=2, width=2, channels=3)
    assert pictures.shape == (1, 2, 2, 2, 3)
    assert pictures[0, 0, ..., 0] == pytest.approx(np.array([[0, 63.75], [127.5, 255]]))
    assert pictures[0, 1, ..., 2] == pytest.approx(np.array([[0, 0], [0, 255]]))


def test_a_map_that_is_the_same_everywhere_is_black() -> None:
    pictures = project(np.full((1, 1, 3, 3), 7.0), height=6, width=6, channels=1)
    assert np.all(pictures == 0)


# tf.image.resize(method="bilinear") of TensorFlow 2.21, of 0, 1, 4 in a line.
def test_resizing_is_bilinear_with_centres_at_halves() -> None:
    line = np.array([[0.0, 1.0, 4.0]])
    wide = resize(line, 1, 6)
    assert wide[0] == pytest.approx([0, 0.25, 0.75, 1.75, 3.25, 4])
    assert resize(line, 1, 3)[0] == pytest.approx(line[0])
    assert resize(line, 2, 2) == pytest.approx(np.array([[0.25, 3.25], [0.25, 3.25]]))


def test_every_kind_of_tensor_has_maps() -> None:
    assert maps_of(np.zeros((2, 5, 6, 3))).shape == (2, 3, 5, 6)
    assert maps_of(np.zeros((2, 16, 7))).shape == (2, 7, 4, 4)
    assert maps_of(np.zeros((2, 17, 7))).shape == (2, 7, 4, 4)
    assert maps_of(np.zeros((2, 11, 7))).shape == (2, 1, 11, 7)
    assert maps_of(np.zeros((2, 9))).shape == (2, 1, 1, 9)
    grid = np.arange(2 * 4 * 3).reshape(2, 4, 3)
    assert maps_of(grid)[1, 2].ravel().tolist() == grid[1, :, 2].tolist()
