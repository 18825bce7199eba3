"""PyTorch as the untrusted middle's engine: runs an exposed ONNX part on a processor or a GPU.

For machines that have PyTorch for their device and no such ONNX Runtime. Nothing here is believed:
the inside checks what comes of it. Arithmetic is IEEE float32: TF32 is another one than the
inside's bound is for, and is switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cloister.errors import ConfigError, MalformedError, MissingExtraError, extra_hint
from cloister.inference.middle_steps import Attributes, Run, new_shape, pads_of, read_steps
from cloister.inference.tensor import Array
from cloister.partition.graph import PartFile

__all__ = ["TORCH_OPERATORS", "torch_engine"]

_Operator = Callable[[Any, Sequence[Any], Attributes], Any]


def torch_engine(part: PartFile, *, threads: int, device: str) -> Run:
    """Return what runs a part in PyTorch.

    Args:
        part: ONNX, with the outputs that are asked for.
        threads: Threads of one computation on the processor; the whole process's.
        device: PyTorch's word, such as `cpu` or `cuda:0`.

    Raises:
        ConfigError: `config.value`: another format, an operator that is not known here, or no such
            device.
        MissingExtraError: PyTorch is not installed.
    """
    try:
        import torch  # noqa: PLC0415  # seconds, optional
    except ImportError as e:
        raise MissingExtraError(
            "this engine of the middle needs PyTorch",
            code="extra.missing",
            hint=extra_hint("pytorch"),
        ) from e
    read = read_steps(part, TORCH_OPERATORS, engine="PyTorch")
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    try:
        constants = {
            name: torch.from_numpy(array.copy()).to(device)
            for name, array in read.constants.items()
        }
    except (RuntimeError, AssertionError) as e:  # PyTorch's words for a device that is not there
        raise ConfigError(f"PyTorch has no device {device!r}", code="config.value") from e
    outputs = [info.name for info in part.outputs]

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        have = dict(constants)
        try:
            with torch.inference_mode():
                for info in part.inputs:
                    have[info.name] = torch.from_numpy(feeds[info.name].copy()).to(device)
                for step in read.steps:
                    given = [have[name] if name else None for name in step.inputs]
                    made = TORCH_OPERATORS[step.operator](torch, given, step.attributes)
                    have[step.output] = made
                return {name: have[name].cpu().numpy() for name in outputs}
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as e:
            raise MalformedError(
                "the part does not run", code="model.malformed", detail=str(e)[:500]
            ) from e

    return run


def _conv(torch: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    image, weights, *bias = given
    axes = weights.ndim - 2
    convolve = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}[axes]
    return convolve(
        _padded(torch, image, attributes, axes, 0.0),
        weights,
        bias[0] if bias else None,
        stride=attributes.get("strides") or [1] * axes,
        dilation=attributes.get("dilations") or [1] * axes,
        groups=int(attributes.get("group", 1)),
    )


def _padded(torch: Any, image: Any, attributes: Attributes, axes: int, value: float) -> Any:
    # PyTorch names the last axis first, and both of its ends together.
    pairs = [size for ends in reversed(pads_of(attributes, axes)) for size in ends]
    return torch.nn.functional.pad(image, pairs, value=value) if any(pairs) else image


def _max_pool(torch: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    kernel = list(attributes["kernel_shape"])
    axes = len(kernel)
    pool = {1: torch.max_pool1d, 2: torch.max_pool2d, 3: torch.max_pool3d}[axes]
    return pool(
        _padded(torch, given[0], attributes, axes, float("-inf")),
        kernel,
        stride=attributes.get("strides") or [1] * axes,
        dilation=attributes.get("dilations") or [1] * axes,
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def _gemm(torch: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    left, right, *added = given
    left = left.T if attributes.get("transA", 0) else left
    right = right.T if attributes.get("transB", 0) else right
    product = attributes.get("alpha", 1.0) * torch.matmul(left, right)
    return product + attributes.get("beta", 1.0) * added[0] if added else product


def _normalised(torch: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    image, scale, shift, mean, variance = given
    return torch.nn.functional.batch_norm(
        image, mean, variance, scale, shift, eps=attributes.get("epsilon", 1e-5)
    )


def _clip(torch: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    least, most = (*given[1:], None, None)[:2]
    return torch.clamp(given[0], attributes.get("min", least), attributes.get("max", most))


def _reshape(_torch: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    return given[0].reshape(new_shape(given[0].shape, given[1].tolist(), attributes))


def _flatten(_torch: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    axis = attributes.get("axis", 1)
    head = given[0].shape[:axis]
    return given[0].reshape(head.numel(), -1)


TORCH_OPERATORS: Final[Mapping[str, _Operator]] = {
    "Add": lambda torch, given, _: torch.add(*given),
    "BatchNormalization": _normalised,
    "Clip": _clip,
    "Concat": lambda torch, given, attributes: torch.cat(list(given), attributes["axis"]),
    "Conv": _conv,
    "Div": lambda torch, given, _: torch.div(*given),
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, given, __: given[0].mean(
        tuple(range(2, given[0].ndim)), keepdim=True
    ),
    "Identity": lambda _, given, __: given[0],
    "MatMul": lambda torch, given, _: torch.matmul(*given),
    "MaxPool": _max_pool,
    "Mul": lambda torch, given, _: torch.mul(*given),
    "Relu": lambda torch, given, _: torch.relu(given[0]),
    "Reshape": _reshape,
    "Sigmoid": lambda torch, given, _: torch.sigmoid(given[0]),
    "Softmax": lambda torch, given, attributes: torch.softmax(given[0], attributes.get("axis", -1)),
    "Sub": lambda torch, given, _: torch.sub(*given),
    "Tanh": lambda torch, given, _: torch.tanh(given[0]),
}
"""The operators that parts may have, each as ONNX means it."""
