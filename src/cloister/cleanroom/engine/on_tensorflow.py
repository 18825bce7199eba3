"""A network in TensorFlow: traced functions for gradients, of batches and of single examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf

from cloister.cleanroom.engine.forward import forward
from cloister.cleanroom.engine.network import Network

__all__ = ["make_backend"]

_ACTIVATIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "relu": tf.nn.relu,
    "silu": tf.nn.silu,
    "softplus": tf.nn.softplus,
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "softmax": tf.nn.softmax,
}


class _Operations:
    """See `forward.Operations`."""

    def dense(self, x: Any, kernel: Any) -> Any:
        return tf.tensordot(x, kernel, 1) if len(x.shape) > 2 else tf.matmul(x, kernel)  # noqa: PLR2004  # a batch of rows

    def convolve(self, x: Any, kernel: Any, strides: tuple[int, int]) -> Any:
        return tf.nn.conv2d(x, kernel, strides, "VALID")

    def convolve_each(self, x: Any, kernel: Any, strides: tuple[int, int]) -> Any:
        if strides[0] == strides[1]:
            return tf.nn.depthwise_conv2d(x, kernel, (1, *strides, 1), "VALID")
        all_places = tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "VALID")
        return all_places[:, :: strides[0], :: strides[1]]

    def pool_max(self, x: Any, window: tuple[int, int], strides: tuple[int, int]) -> Any:
        return tf.nn.max_pool2d(x, window, strides, "VALID")

    def pool_sum(self, x: Any, window: tuple[int, int], strides: tuple[int, int]) -> Any:
        return tf.nn.avg_pool2d(x, window, strides, "VALID") * float(window[0] * window[1])

    def pad(self, x: Any, pads: Sequence[tuple[int, int]], value: float) -> Any:
        padded = tf.pad(x, ((0, 0), *pads, (0, 0)))
        if value == 0:
            return padded
        # TensorFlow's vectorised map takes any other value of a pad for zero.
        inside = np.pad(np.ones(x.shape[1:3], bool), pads)[None, :, :, None]
        return tf.where(inside, padded, tf.constant(value, x.dtype))

    def mean(self, x: Any, axes: tuple[int, ...]) -> Any:
        return tf.reduce_mean(x, axes, keepdims=True)

    def sqrt(self, x: Any) -> Any:
        return tf.sqrt(x)

    def activate(self, function: str, x: Any) -> Any:
        return _ACTIVATIONS[function](x)

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        return tf.reshape(x, (-1, *shape))

    def flatten(self, x: Any) -> Any:
        return tf.reshape(x, (-1,))

    def concatenate(self, parts: Sequence[Any]) -> Any:
        return tf.concat(parts, -1)

    def constant(self, value: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        return tf.constant(value)


_OPERATIONS: Final = _Operations()


@dataclass(frozen=True, slots=True)
class _TensorFlow:
    """See `backends.Backend`."""

    network: Network
    of_batch: Callable[..., Any]
    of_each: Callable[..., Any]
    of_outputs: Callable[..., Any]

    def gradient(self, flat: Any, x: Any, targets: Any, masks: Any) -> Any:
        found = self.of_batch(*self._tensors(flat), *_all((x, targets, list(masks))))
        return tuple([each.numpy() for each in part] for part in found)

    def example_gradients(self, flat: Any, x: Any, targets: Any, masks: Any) -> Any:
        found = self.of_each(*self._tensors(flat), *_all((x, targets, list(masks))))
        return [each.numpy() for each in found]

    def outputs(self, flat: Any, x: Any) -> Any:
        return self.of_outputs(*self._tensors(flat), tf.constant(x)).numpy()

    def _tensors(self, flat: Any) -> Any:
        return _all((self.network.weights(flat), self.network.averages(flat)))


def make_backend(network: Network) -> _TensorFlow:
    """Return the network in TensorFlow."""

    def loss(weights: Any, averages: Any, x: Any, targets: Any, masks: Any) -> tuple[Any, Any]:
        outputs, moments = forward(_OPERATIONS, network, weights, averages, x, masks=masks)
        return tf.reduce_mean(_losses(network, outputs, targets)), moments

    def of_batch(weights: Any, averages: Any, x: Any, targets: Any, masks: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value, moments = loss(weights, averages, x, targets, masks)
        return tape.gradient(value, weights, unconnected_gradients="zero"), moments

    def of_each(weights: Any, averages: Any, x: Any, targets: Any, masks: Any) -> Any:
        def of_one(one: Any) -> Any:
            batch = tf.nest.map_structure(lambda each: each[None], one)
            return of_batch(weights, averages, *batch)[0]

        return tf.vectorized_map(of_one, (x, targets, masks), warn=False)

    def of_outputs(weights: Any, averages: Any, x: Any) -> Any:
        return forward(_OPERATIONS, network, weights, averages, x, masks=None)[0]

    return _TensorFlow(
        network=network,
        of_batch=tf.function(of_batch, autograph=False),
        of_each=tf.function(of_each, autograph=False),
        of_outputs=tf.function(of_outputs, autograph=False),
    )


def _losses(network: Network, outputs: Any, targets: Any) -> Any:
    if network.loss == "mse":
        return tf.reduce_mean(tf.square(outputs - targets), -1)
    return -tf.reduce_sum(targets * tf.nn.log_softmax(outputs), -1)


def _all(arrays: Any) -> Any:
    return tf.nest.map_structure(tf.convert_to_tensor, arrays)
