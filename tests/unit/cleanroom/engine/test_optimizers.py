from __future__ import annotations

import numpy as np
import pytest

from cloister.cleanroom.description import Adam, Optimizer, Sgd
from cloister.cleanroom.engine.optimizers import make_optimizer
from cloister.errors import ConfigError

GRADIENTS = [np.array([1.0, -2.0], np.float32), np.array([0.5, 4.0], np.float32)]


def changes(declared: Optimizer) -> list[list[float]]:
    optimizer = make_optimizer(declared, 2)
    return [optimizer.change(each, 0.1).tolist() for each in GRADIENTS]


def test_plain_descent() -> None:
    assert changes(Sgd(rate=1)) == [pytest.approx([-0.1, 0.2]), pytest.approx([-0.05, -0.4])]


@pytest.mark.spec("CC-46")
def test_momentum_keeps_going() -> None:
    second = [-0.1 * (0.9 + 0.5), -0.1 * (-1.8 + 4)]
    assert changes(Sgd(rate=1, momentum=0.9)) == [
        pytest.approx([-0.1, 0.2]),
        pytest.approx(second),
    ]


def test_nesterov_looks_ahead() -> None:
    second = [-0.1 * (0.5 + 0.9 * 1.4), -0.1 * (4 + 0.9 * 2.2)]
    assert changes(Sgd(rate=1, momentum=0.9, nesterov=True)) == [
        pytest.approx([-0.19, 0.38]),
        pytest.approx(second),
    ]


def test_adam_begins_with_steps_of_the_rate() -> None:
    first, second = changes(Adam(rate=1))
    assert first == pytest.approx([-0.1, 0.1], rel=1e-5)
    mean = (0.9 * 0.1 + 0.1 * 0.5) / (1 - 0.81)
    root = np.sqrt((0.999 * 0.001 + 0.001 * 0.25) / (1 - 0.999**2))
    assert second[0] == pytest.approx(-0.1 * mean / root, rel=1e-4)


def test_another_optimizer_is_refused() -> None:
    class Other(Optimizer):
        kind = "other"

    with pytest.raises(ConfigError):
        make_optimizer(Other(rate=1), 2)
