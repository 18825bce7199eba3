"""A network in PyTorch: gradients of batches by autograd, of single examples by torch.func."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from cloister.cleanroom.engine.forward import forward
from cloister.cleanroom.engine.network import Network

__all__ = ["make_backend"]

_ACTIVATIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "relu": torch.relu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "softmax": lambda x: torch.softmax(x, -1),
}


class _Operations:
    """See `forward.Operations`. PyTorch wants channels second: a change of strides."""

    def dense(self, x: Any, kernel: Any) -> Any:
        return x @ kernel

    def convolve(self, x: Any, kernel: Any, strides: tuple[int, int]) -> Any:
        return _last(functional.conv2d(_second(x), kernel.permute(3, 2, 0, 1), stride=strides))

    def convolve_each(self, x: Any, kernel: Any, strides: tuple[int, int]) -> Any:
        rows, columns, channels, filters = kernel.shape
        grouped = kernel.permute(2, 3, 0, 1).reshape(channels * filters, 1, rows, columns)
        return _last(functional.conv2d(_second(x), grouped, stride=strides, groups=channels))

    def pool_max(self, x: Any, window: tuple[int, int], strides: tuple[int, int]) -> Any:
        return _last(functional.max_pool2d(_second(x), window, strides))

    def pool_sum(self, x: Any, window: tuple[int, int], strides: tuple[int, int]) -> Any:
        return _last(functional.avg_pool2d(_second(x), window, strides, divisor_override=1))

    def pad(self, x: Any, pads: Sequence[tuple[int, int]], value: float) -> Any:
        rows, columns = pads
        return functional.pad(x, (0, 0, *columns, *rows), value=value)

    def mean(self, x: Any, axes: tuple[int, ...]) -> Any:
        return torch.mean(x, axes, keepdim=True)

    def sqrt(self, x: Any) -> Any:
        return torch.sqrt(x)

    def activate(self, function: str, x: Any) -> Any:
        return _ACTIVATIONS[function](x)

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        return torch.reshape(x, (-1, *shape))

    def flatten(self, x: Any) -> Any:
        return torch.reshape(x, (-1,))

    def concatenate(self, parts: Sequence[Any]) -> Any:
        return torch.cat(list(parts), -1)

    def constant(self, value: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        return torch.from_numpy(value)


_OPERATIONS: Final = _Operations()


@dataclass(frozen=True, slots=True)
class _Torch:
    """See `backends.Backend`."""

    network: Network

    def gradient(self, flat: Any, x: Any, targets: Any, masks: Any) -> Any:
        weights, averages = self._tensors(flat)
        for each in weights:
            each.requires_grad_()
        loss, moments = self._loss(weights, averages, *_all(x, targets, masks))
        found = torch.autograd.grad(loss, weights, materialize_grads=True)
        return _arrays(found), _arrays([each.detach() for each in moments])

    def example_gradients(self, flat: Any, x: Any, targets: Any, masks: Any) -> Any:
        weights, averages = self._tensors(flat)

        def of_one(weights: Any, x: Any, targets: Any, masks: Any) -> Any:
            one = [each[None] for each in masks]
            return self._loss(weights, averages, x[None], targets[None], one)[0]

        each = torch.func.vmap(torch.func.grad(of_one), in_dims=(None, 0, 0, 0))
        return _arrays(each(weights, *_all(x, targets, masks)))

    def outputs(self, flat: Any, x: Any) -> Any:
        weights, averages = self._tensors(flat)
        with torch.inference_mode():
            given = torch.from_numpy(x)
            return forward(_OPERATIONS, self.network, weights, averages, given, masks=None)[
                0
            ].numpy()

    def _tensors(self, flat: Any) -> tuple[list[Any], list[Any]]:
        weights, averages = self.network.weights(flat), self.network.averages(flat)
        return [torch.from_numpy(each) for each in weights], [
            torch.from_numpy(each) for each in averages
        ]

    def _loss(self, weights: Any, averages: Any, x: Any, targets: Any, masks: Any) -> Any:
        outputs, moments = forward(_OPERATIONS, self.network, weights, averages, x, masks=masks)
        return torch.mean(_losses(self.network, outputs, targets)), moments


def make_backend(network: Network) -> _Torch:
    """Return the network in PyTorch."""
    return _Torch(network)


def _losses(network: Network, outputs: Any, targets: Any) -> Any:
    if network.loss == "mse":
        return torch.mean(torch.square(outputs - targets), -1)
    return -torch.sum(targets * torch.log_softmax(outputs, -1), -1)


def _all(x: Any, targets: Any, masks: Any) -> Any:
    return torch.from_numpy(x), torch.from_numpy(targets), [torch.from_numpy(e) for e in masks]


def _arrays(tensors: Any) -> list[Any]:
    return [each.numpy() for each in tensors]


def _second(x: Any) -> Any:
    return x.permute(0, 3, 1, 2)


def _last(x: Any) -> Any:
    return x.permute(0, 2, 3, 1)
