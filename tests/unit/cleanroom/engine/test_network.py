from __future__ import annotations

import numpy as np
import pytest

from cloister.cleanroom.description import weights
from cloister.cleanroom.engine.network import joined, network_of
from unit.cleanroom.engine.networks import described, everything, mixing


@pytest.mark.spec("CC-45")
@pytest.mark.parametrize("description", [everything(), mixing()], ids=["everything", "mixing"])
def test_weights_lie_where_the_page_has_them(description: object) -> None:
    network = network_of(description)  # type: ignore[arg-type]  # pytest knows no better
    found = sorted((*network.trained, *network.kept), key=lambda each: each.start)
    declared = weights(description)  # type: ignore[arg-type]  # the same
    assert [(each.layer, each.role, each.shape) for each in found] == [
        (each.layer, each.name, each.shape) for each in declared
    ]
    starts = np.cumsum([0, *(each.size for each in declared)])
    assert [each.start for each in found] == list(starts[:-1])
    assert network.size == starts[-1]
    assert [each.role for each in network.kept] == [
        each.name for each in declared if not each.trained
    ]


def test_views_write_through() -> None:
    network = network_of(mixing())
    flat = np.zeros(network.size, np.float32)
    for number, view in enumerate((*network.weights(flat), *network.averages(flat)), 1):
        assert not view.any()
        view[...] = number
    assert flat.all()
    assert network.trained_size + 8 == network.size


def test_joined_is_a_copy_in_order() -> None:
    parts = [np.ones((2, 2), np.float32), np.zeros(1, np.float32)]
    found = joined(parts)
    parts[0][...] = 7
    np.testing.assert_array_equal(found, [1, 1, 1, 1, 0])
    assert joined([]).shape == (0,)


@pytest.mark.spec("CC-44")
@pytest.mark.parametrize(
    ("window", "strides", "pads"),
    [
        ([3, 3], [1, 1], ((1, 1), (1, 1))),
        ([3, 2], [2, 1], ((1, 1), (0, 1))),
        ([1, 1], [4, 4], ((0, 0), (0, 0))),
        ([4, 4], [2, 3], ((1, 2), (1, 1))),
    ],
)
def test_the_smaller_half_of_same_comes_before(
    window: list[int], strides: list[int], pads: object
) -> None:
    network = network_of(
        described(
            {"kind": "conv2d", "filters": 2, "kernel": window, "strides": strides},
            {"kind": "flatten"},
            {"kind": "dense", "units": 5},
        )
    )
    assert network.steps[0].pads == pads


def test_steps_take_what_they_name() -> None:
    network = network_of(everything())
    joins = {step.kind: step.inputs for step in network.steps if len(step.inputs) > 1}
    assert joins == {"concatenate": (7, 5), "add": (11, 10)}
    assert network.steps[0].inputs == (-1,)
    assert network.dropped == (((24,), 0.25),)
