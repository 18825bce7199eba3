"""A network in JAX: compiled functions for gradients, of batches and of single examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cloister.cleanroom.engine.forward import forward
from cloister.cleanroom.engine.network import Network

__all__ = ["make_backend"]

_AXES: Final = ("NHWC", "HWIO", "NHWC")
_ACTIVATIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "softmax": jax.nn.softmax,
}


class _Operations:
    """See `forward.Operations`."""

    def dense(self, x: Any, kernel: Any) -> Any:
        return x @ kernel

    def convolve(self, x: Any, kernel: Any, strides: tuple[int, int]) -> Any:
        return lax.conv_general_dilated(x, kernel, strides, "VALID", dimension_numbers=_AXES)

    def convolve_each(self, x: Any, kernel: Any, strides: tuple[int, int]) -> Any:
        rows, columns, channels, filters = kernel.shape
        grouped = kernel.reshape(rows, columns, 1, channels * filters)
        return lax.conv_general_dilated(
            x, grouped, strides, "VALID", dimension_numbers=_AXES, feature_group_count=channels
        )

    def pool_max(self, x: Any, window: tuple[int, int], strides: tuple[int, int]) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), "VALID")

    def pool_sum(self, x: Any, window: tuple[int, int], strides: tuple[int, int]) -> Any:
        return lax.reduce_window(x, 0.0, lax.add, (1, *window, 1), (1, *strides, 1), "VALID")

    def pad(self, x: Any, pads: Sequence[tuple[int, int]], value: float) -> Any:
        return jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)

    def mean(self, x: Any, axes: tuple[int, ...]) -> Any:
        return jnp.mean(x, axes, keepdims=True)

    def sqrt(self, x: Any) -> Any:
        return jnp.sqrt(x)

    def activate(self, function: str, x: Any) -> Any:
        return _ACTIVATIONS[function](x)

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        return jnp.reshape(x, (-1, *shape))

    def flatten(self, x: Any) -> Any:
        return jnp.ravel(x)

    def concatenate(self, parts: Sequence[Any]) -> Any:
        return jnp.concatenate(parts, -1)

    def constant(self, value: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        return jnp.asarray(value)


_OPERATIONS: Final = _Operations()


@dataclass(frozen=True, slots=True)
class _Jax:
    """See `backends.Backend`."""

    network: Network
    of_batch: Callable[..., Any]
    of_each: Callable[..., Any]
    of_outputs: Callable[..., Any]

    def gradient(self, flat: Any, x: Any, targets: Any, masks: Any) -> Any:
        found = self.of_batch(*self._arrays(flat), x, targets, list(masks))
        return tuple([np.asarray(each) for each in part] for part in found)

    def example_gradients(self, flat: Any, x: Any, targets: Any, masks: Any) -> Any:
        found = self.of_each(*self._arrays(flat), x, targets, list(masks))
        return [np.asarray(each) for each in found]

    def outputs(self, flat: Any, x: Any) -> Any:
        return np.asarray(self.of_outputs(*self._arrays(flat), x))

    def _arrays(self, flat: Any) -> tuple[list[Any], list[Any]]:
        return self.network.weights(flat), self.network.averages(flat)


def make_backend(network: Network) -> _Jax:
    """Return the network in JAX."""

    def loss(weights: Any, averages: Any, x: Any, targets: Any, masks: Any) -> tuple[Any, Any]:
        outputs, moments = forward(_OPERATIONS, network, weights, averages, x, masks=masks)
        return jnp.mean(_losses(network, outputs, targets)), moments

    def of_batch(weights: Any, averages: Any, x: Any, targets: Any, masks: Any) -> Any:
        return jax.grad(loss, has_aux=True)(weights, averages, x, targets, masks)

    def of_each(weights: Any, averages: Any, x: Any, targets: Any, masks: Any) -> Any:
        def of_one(one: Any) -> Any:
            batch = jax.tree.map(lambda each: each[None], one)
            return of_batch(weights, averages, *batch)[0]

        # One after the other. Under vmap, XLA computes some grouped convolutions as a product with
        # a large matrix that has zeros in it, and zero times one example's NaN is all others' NaN.
        return lax.map(of_one, (x, targets, masks))

    def of_outputs(weights: Any, averages: Any, x: Any) -> Any:
        return forward(_OPERATIONS, network, weights, averages, x, masks=None)[0]

    return _Jax(
        network=network,
        of_batch=jax.jit(of_batch),
        of_each=jax.jit(of_each),
        of_outputs=jax.jit(of_outputs),
    )


def _losses(network: Network, outputs: Any, targets: Any) -> Any:
    if network.loss == "mse":
        return jnp.mean(jnp.square(outputs - targets), -1)
    return -jnp.sum(targets * jax.nn.log_softmax(outputs), -1)
