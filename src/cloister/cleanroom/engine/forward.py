"""A network's steps, in whatever framework has the operations.

Arrays are channels last in every framework, and batches come first. The three frameworks run this
one function, so that a model means the same in each; `Operations` is all that they differ in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np

from cloister.cleanroom.engine.network import Network, Step

__all__ = ["Operations", "forward"]


class Operations(Protocol):
    """What a framework does. Its arrays have arithmetic operators, as all of them have."""

    def dense(self, x: Any, kernel: Any) -> Any:
        """Multiply the last axis."""

    def convolve(self, x: Any, kernel: Any, strides: tuple[int, int]) -> Any:
        """Convolve without padding; the kernel is rows, columns, channels in, channels out."""

    def convolve_each(self, x: Any, kernel: Any, strides: tuple[int, int]) -> Any:
        """Convolve each channel with its own filters: rows, columns, channels, filters of each."""

    def pool_max(self, x: Any, window: tuple[int, int], strides: tuple[int, int]) -> Any:
        """Return the largest of each window."""

    def pool_sum(self, x: Any, window: tuple[int, int], strides: tuple[int, int]) -> Any:
        """Return the sum of each window."""

    def pad(self, x: Any, pads: Sequence[tuple[int, int]], value: float) -> Any:
        """Put a value around rows and columns."""

    def mean(self, x: Any, axes: tuple[int, ...]) -> Any:
        """Return the mean over axes, which stay, of length one."""

    def sqrt(self, x: Any) -> Any:
        """Return the square root."""

    def activate(self, function: str, x: Any) -> Any:
        """Apply a function to each number, softmax to the last axis; gelu is the exact one."""

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        """Give each example another shape."""

    def flatten(self, x: Any) -> Any:
        """Give all numbers one axis."""

    def concatenate(self, parts: Sequence[Any]) -> Any:
        """Join along the last axis."""

    def constant(self, value: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        """Return an array of the framework's."""


def forward(
    operations: Operations,
    network: Network,
    weights: Sequence[Any],
    averages: Sequence[Any],
    x: Any,
    *,
    masks: Sequence[Any] | None,
) -> tuple[Any, list[Any]]:
    """Return the network's outputs, and the moments of the batch for its averages.

    Args:
        operations: The framework.
        network: What to compute.
        weights: Arrays, as in `network.trained`.
        averages: Arrays, as in `network.kept`.
        x: A batch.
        masks: For each dropout the factors, when training; None says that this is no training.
    """
    results: list[Any] = []
    moments: list[Any] = [None] * len(network.kept)
    for step in network.steps:
        given = [x if number < 0 else results[number] for number in step.inputs]
        own = [weights[number] for number in step.trained]
        if step.kind == "batch_norm":
            kept = [averages[number] for number in step.kept]
            if masks is not None:
                kept = _moments(operations, given[0])
                for number, moment in zip(step.kept, kept, strict=True):
                    moments[number] = operations.flatten(moment)
            results.append(_normalised(operations, given[0], kept, own, step.epsilon))
        elif step.kind == "dropout":
            results.append(given[0] if masks is None else given[0] * masks[step.mask])
        else:
            results.append(_OPERATIONS[step.kind](operations, step, given, own))
    return results[-1], moments


def _dense(operations: Operations, _step: Step, given: list[Any], own: list[Any]) -> Any:
    return _biased(operations.dense(given[0], own[0]), own)


def _conv2d(operations: Operations, step: Step, given: list[Any], own: list[Any]) -> Any:
    x = _padded(operations, step, given[0], 0.0)
    return _biased(operations.convolve(x, own[0], step.strides), own)


def _depthwise(operations: Operations, step: Step, given: list[Any], own: list[Any]) -> Any:
    x = _padded(operations, step, given[0], 0.0)
    return _biased(operations.convolve_each(x, own[0], step.strides), own)


def _layer_norm(operations: Operations, step: Step, given: list[Any], own: list[Any]) -> Any:
    x = given[0]
    mean = operations.mean(x, (-1,))
    variance = operations.mean((x - mean) * (x - mean), (-1,))
    return _normalised(operations, x, [mean, variance], own, step.epsilon)


def _max_pool(operations: Operations, step: Step, given: list[Any], _own: list[Any]) -> Any:
    x = _padded(operations, step, given[0], -np.inf)
    return operations.pool_max(x, step.window, step.strides)


def _average_pool(operations: Operations, step: Step, given: list[Any], _own: list[Any]) -> Any:
    """Divide by how many numbers of the input each window has: padding is none of them."""
    x = _padded(operations, step, given[0], 0.0)
    return operations.pool_sum(x, step.window, step.strides) * operations.constant(_shares(step))


def _global_average(operations: Operations, step: Step, given: list[Any], _own: list[Any]) -> Any:
    return operations.reshape(operations.mean(given[0], (1, 2)), step.shape)


def _activation(operations: Operations, step: Step, given: list[Any], _own: list[Any]) -> Any:
    return operations.activate(step.function, given[0])


def _reshape(operations: Operations, step: Step, given: list[Any], _own: list[Any]) -> Any:
    return operations.reshape(given[0], step.shape)


def _add(_operations: Operations, _step: Step, given: list[Any], _own: list[Any]) -> Any:
    total = given[0]
    for each in given[1:]:
        total = total + each
    return total


def _concatenate(operations: Operations, _step: Step, given: list[Any], _own: list[Any]) -> Any:
    return operations.concatenate(given)


def _zero_pad(operations: Operations, step: Step, given: list[Any], _own: list[Any]) -> Any:
    return operations.pad(given[0], step.pads, 0.0)


def _padded(operations: Operations, step: Step, x: Any, value: float) -> Any:
    return operations.pad(x, step.pads, value) if any(map(any, step.pads)) else x


def _biased(x: Any, own: list[Any]) -> Any:
    return x + own[1] if len(own) > 1 else x


def _moments(operations: Operations, x: Any) -> list[Any]:
    axes = tuple(range(len(x.shape) - 1))
    mean = operations.mean(x, axes)
    return [mean, operations.mean((x - mean) * (x - mean), axes)]


def _normalised(
    operations: Operations, x: Any, moments: list[Any], own: list[Any], epsilon: float
) -> Any:
    return (x - moments[0]) / operations.sqrt(moments[1] + epsilon) * own[0] + own[1]


def _shares(step: Step) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return for each window one over how many numbers of the input are in it."""
    rows, columns = (
        _covered(step.shape[axis], step.window[axis], step.strides[axis], before, step.extent[axis])
        for axis, (before, _) in enumerate(step.pads)
    )
    return (1 / np.outer(rows, columns)).astype(np.float32)[None, :, :, None]


def _covered(count: int, window: int, stride: int, before: int, extent: int) -> Any:
    starts = np.arange(count) * stride - before
    return np.minimum(starts + window, extent) - np.maximum(starts, 0)


_OPERATIONS: Final[Mapping[str, Callable[[Operations, Step, list[Any], list[Any]], Any]]] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise,
    "layer_norm": _layer_norm,
    "activation": _activation,
    "max_pool2d": _max_pool,
    "average_pool2d": _average_pool,
    "global_average_pool2d": _global_average,
    "reshape": _reshape,
    "add": _add,
    "concatenate": _concatenate,
    "zero_pad2d": _zero_pad,
}
