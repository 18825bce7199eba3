"""What arrays a layer must have."""

from __future__ import annotations

from typing import Any

import pytest

from cloister.errors import MalformedError
from cloister.partition.keras_weights import expected_weights

IMAGE = (None, 8, 8, 6)


@pytest.mark.parametrize(
    ("kind", "settings", "shape", "wanted"),
    [
        ("Dense", {"units": 5}, (None, 7), [(7, 5), (5,)]),
        ("Dense", {"units": 5, "use_bias": False}, (None, 3, 7), [(7, 5)]),
        ("Conv1D", {"filters": 4, "kernel_size": 3}, (None, 9, 2), [(3, 2, 4), (4,)]),
        (
            "Conv2D",
            {"filters": 4, "kernel_size": (3, 2), "groups": 2},
            IMAGE,
            [(3, 2, 3, 4), (4,)],
        ),
        (
            "Conv2D",
            {"filters": 4, "kernel_size": 3, "data_format": "channels_first"},
            (None, 3, 8, 8),
            [(3, 3, 3, 4), (4,)],
        ),
        ("Conv2DTranspose", {"filters": 4, "kernel_size": 3}, IMAGE, [(3, 3, 4, 6), (4,)]),
        (
            "DepthwiseConv2D",
            {"kernel_size": 3, "depth_multiplier": 2},
            IMAGE,
            [(3, 3, 6, 2), (12,)],
        ),
        (
            "SeparableConv2D",
            {"filters": 4, "kernel_size": 3},
            IMAGE,
            [(3, 3, 6, 1), (1, 1, 6, 4), (4,)],
        ),
        ("BatchNormalization", {}, IMAGE, [(6,)] * 4),
        ("BatchNormalization", {"axis": 1, "scale": False}, (None, 3, 8), [(3,)] * 3),
        ("LayerNormalization", {"axis": [1, 3]}, IMAGE, [(8, 6)] * 2),
        ("GroupNormalization", {"groups": 2, "center": False}, IMAGE, [(6,)]),
        ("PReLU", {"shared_axes": [1, 2]}, IMAGE, [(1, 1, 6)]),
        ("PReLU", {}, IMAGE, [(8, 8, 6)]),
        ("Normalization", {}, IMAGE, [(6,), (6,), ()]),
        ("Normalization", {"axis": None}, IMAGE, [(), (), ()]),
        ("Normalization", {"mean": 1.0, "variance": 2.0}, IMAGE, []),
        ("Normalization", {"mean": [1.0] * 6, "variance": [2.0] * 6}, IMAGE, []),
        ("Normalization", {"mean": [1.0], "variance": [2.0]}, IMAGE, []),
        ("ReLU", {}, IMAGE, []),
    ],
)
def test_shapes_in_keras_order(
    kind: str, settings: dict[str, Any], shape: Any, wanted: list[Any]
) -> None:
    assert expected_weights(kind, settings, shape) == wanted


@pytest.mark.parametrize(
    ("kind", "settings", "shape"),
    [
        ("Dense", {"units": 5}, (None, None)),
        ("Dense", {}, (None, 7)),
        ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 5}, IMAGE),
        ("BatchNormalization", {"axis": 7}, IMAGE),
        ("Normalization", {"axis": 1}, (None, None, 3)),
        ("Normalization", {"mean": [1.0, 2.0], "variance": [1.0, 2.0]}, IMAGE),
        ("Normalization", {"mean": [[1.0], [1.0, 2.0]], "variance": 1.0}, IMAGE),
        ("Normalization", {"axis": None, "mean": [1.0], "variance": [1.0]}, IMAGE),
    ],
)
def test_a_layer_that_does_not_fit_is_malformed(
    kind: str, settings: dict[str, Any], shape: Any
) -> None:
    with pytest.raises(MalformedError) as caught:
        expected_weights(kind, settings, shape)
    assert caught.value.code == "model.malformed"
