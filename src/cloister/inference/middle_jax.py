"""JAX as the untrusted middle's engine: XLA compiles an exposed ONNX part for its device.

For machines whose accelerator XLA knows. Nothing here is believed: the inside checks what comes of
it. Arithmetic is IEEE float32, which the inside's bound is for: products are asked for in the
highest precision, because XLA's default is TF32 or bfloat16 on some devices. Each size of a batch
is compiled when it first comes, which takes a second and more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from cloister.errors import ConfigError, MalformedError, MissingExtraError, extra_hint
from cloister.inference.middle_steps import Attributes, Run, new_shape, pads_of, read_steps
from cloister.inference.tensor import Array
from cloister.partition.graph import PartFile

__all__ = ["JAX_OPERATORS", "jax_engine"]

_MAX_COMPILED: Final = 64  # whoever connects says how large a batch is
_Operator = Callable[[Any, Sequence[Any], Attributes], Any]


def jax_engine(part: PartFile, *, threads: int, device: str) -> Run:
    """Return what runs a part in JAX.

    Args:
        part: ONNX, of float32, with the outputs that are asked for.
        threads: Threads of computation on the processor; the whole process's, where JAX has not
            computed in it before.
        device: JAX's word for a platform, such as `cpu` or `cuda`; of several devices the one
            with a number, such as `cuda:1`.

    Raises:
        ConfigError: `config.value`: another format or type, an operator that is not known here, or
            no such device.
        MissingExtraError: JAX is not installed.
    """
    try:
        import jax  # noqa: PLC0415  # seconds, optional
    except ImportError as e:
        raise MissingExtraError(
            "this engine of the middle needs JAX", code="extra.missing", hint=extra_hint("jax")
        ) from e
    read = read_steps(part, JAX_OPERATORS, engine="JAX")
    os.environ["NPROC"] = str(threads)  # XLA looks when it is first used
    place = _place(jax, device)
    # Numbers are handed over at each run: as part of a program they would be compiled with it.
    # Whole numbers say shapes, which a program has to know.
    numbers = {name: a for name, a in read.constants.items() if a.dtype.kind == "f"}
    shapes = {name: a for name, a in read.constants.items() if a.dtype.kind == "i"}
    kinds = {str(a.dtype) for a in read.constants.values()} - {"float32", "int32", "int64"}
    if kinds or any(info.datatype != "float32" for info in part.inputs):
        raise ConfigError("JAX runs parts of float32 only", code="config.value")
    outputs = [info.name for info in part.outputs]

    def program(constants: Mapping[str, Any], feeds: Mapping[str, Any]) -> list[Any]:
        have = {**shapes, **constants, **feeds}
        for step in read.steps:
            given = [have[name] if name else None for name in step.inputs]
            have[step.output] = JAX_OPERATORS[step.operator](jax, given, step.attributes)
        return [have[name] for name in outputs]

    constants = jax.device_put(numbers, place)
    compiled: Any = jax.jit(program)
    seen, lock = set[tuple[tuple[int, ...], ...]](), threading.Lock()

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        given = {info.name: feeds[info.name] for info in part.inputs}
        sizes = tuple(array.shape for array in given.values())
        with lock:
            if sizes not in seen and len(seen) >= _MAX_COMPILED:
                compiled.clear_cache()
                seen.clear()
            seen.add(sizes)
        try:
            made = compiled(constants, jax.device_put(given, place))
            return {name: np.asarray(each) for name, each in zip(outputs, made, strict=True)}
        except (RuntimeError, ArithmeticError, ValueError, TypeError, LookupError) as e:
            raise MalformedError(
                "the part does not run", code="model.malformed", detail=str(e)[:500]
            ) from e

    return run


def _place(jax: Any, device: str) -> Any:
    platform, _, number = device.partition(":")
    try:
        return jax.devices(platform)[int(number or 0)]
    except (RuntimeError, ValueError, IndexError) as e:
        raise ConfigError(f"JAX has no device {device!r}", code="config.value") from e


def _conv(jax: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    image, weights, *bias = given
    axes = weights.ndim - 2
    made = jax.lax.conv_general_dilated(
        image,
        weights,
        window_strides=attributes.get("strides") or [1] * axes,
        padding=pads_of(attributes, axes),
        rhs_dilation=attributes.get("dilations") or [1] * axes,
        feature_group_count=int(attributes.get("group", 1)),
        precision=jax.lax.Precision.HIGHEST,
    )
    return made + bias[0].reshape(-1, *[1] * axes) if bias else made


def _max_pool(jax: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    image, kernel = given[0], list(attributes["kernel_shape"])
    axes = len(kernel)
    strides = list(attributes.get("strides") or [1] * axes)
    dilations = list(attributes.get("dilations") or [1] * axes)
    pads = pads_of(attributes, axes)
    if attributes.get("ceil_mode", 0):
        lengths = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        rows = zip(image.shape[2:], lengths, strides, pads, strict=True)
        pads = [_ceiled(*row) for row in rows]
    return jax.lax.reduce_window(
        image,
        -np.inf,
        jax.lax.max,
        window_dimensions=(1, 1, *kernel),
        window_strides=(1, 1, *strides),
        padding=[(0, 0), (0, 0), *pads],
        window_dilation=(1, 1, *dilations),
    )


def _ceiled(size: int, length: int, stride: int, pads: tuple[int, int]) -> tuple[int, int]:
    """Return an axis's pads that give a last window to what is left over, if it begins inside."""
    before, after = pads
    windows = -(-(size + before + after - length) // stride) + 1
    if (windows - 1) * stride >= size + before:
        windows -= 1
    return before, max(after, (windows - 1) * stride + length - size - before)


def _gemm(jax: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    left, right, *added = given
    left = left.T if attributes.get("transA", 0) else left
    right = right.T if attributes.get("transB", 0) else right
    product = attributes.get("alpha", 1.0) * _product(jax, (left, right), {})
    return product + attributes.get("beta", 1.0) * added[0] if added else product


def _product(jax: Any, given: Sequence[Any], _: Attributes) -> Any:
    return jax.numpy.matmul(*given, precision=jax.lax.Precision.HIGHEST)


def _normalised(jax: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    image, *rows = given
    scale, shift, mean, variance = (each.reshape(-1, *[1] * (image.ndim - 2)) for each in rows)
    by = scale * jax.lax.rsqrt(variance + attributes.get("epsilon", 1e-5))
    return (image - mean) * by + shift


def _clip(jax: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    least, most = (*given[1:], None, None)[:2]
    return jax.numpy.clip(given[0], attributes.get("min", least), attributes.get("max", most))


def _reshape(_jax: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    return given[0].reshape(new_shape(given[0].shape, given[1].tolist(), attributes))


def _flatten(_jax: Any, given: Sequence[Any], attributes: Attributes) -> Any:
    head = given[0].shape[: attributes.get("axis", 1)]
    return given[0].reshape(int(np.prod(head)), -1)


JAX_OPERATORS: Final[Mapping[str, _Operator]] = {
    "Add": lambda jax, given, _: jax.numpy.add(*given),
    "BatchNormalization": _normalised,
    "Clip": _clip,
    "Concat": lambda jax, given, attributes: jax.numpy.concatenate(given, attributes["axis"]),
    "Conv": _conv,
    "Div": lambda jax, given, _: jax.numpy.divide(*given),
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, given, __: given[0].mean(
        tuple(range(2, given[0].ndim)), keepdims=True
    ),
    "Identity": lambda _, given, __: given[0],
    "MatMul": _product,
    "MaxPool": _max_pool,
    "Mul": lambda jax, given, _: jax.numpy.multiply(*given),
    "Relu": lambda jax, given, _: jax.nn.relu(given[0]),
    "Reshape": _reshape,
    "Sigmoid": lambda jax, given, _: jax.nn.sigmoid(given[0]),
    "Softmax": lambda jax, given, attributes: jax.nn.softmax(given[0], attributes.get("axis", -1)),
    "Sub": lambda jax, given, _: jax.numpy.subtract(*given),
    "Tanh": lambda jax, given, _: jax.numpy.tanh(given[0]),
}
"""The operators that parts may have, each as ONNX means it."""
