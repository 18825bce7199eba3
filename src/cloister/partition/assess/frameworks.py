"""Keras 3 on TensorFlow, loaded when an attack needs it, or an error that says what to install."""

from __future__ import annotations

from typing import Any, NamedTuple

from cloister.errors import ConfigError, MissingExtraError, extra_hint

__all__ = ["Frameworks", "frameworks"]


class Frameworks(NamedTuple):
    """The modules; a GPU is used by them when they see one."""

    keras: Any
    tf: Any


def frameworks() -> Frameworks:
    """Return Keras and TensorFlow.

    Raises:
        MissingExtraError: `extra.missing`: not installed.
        ConfigError: `config.value`: Keras runs on another framework; attacks take gradients in
            TensorFlow.
    """
    try:
        import keras  # noqa: PLC0415  # seconds, optional
        import tensorflow as tf  # noqa: PLC0415  # optional, and 4 s
    except ImportError as e:
        raise MissingExtraError(
            "assessing a model needs Keras and TensorFlow",
            code="extra.missing",
            hint=extra_hint("tensorflow"),
        ) from e
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"Keras runs on {keras.backend.backend()}; attacks here take gradients in TensorFlow",
            code="config.value",
            hint="KERAS_BACKEND=tensorflow",
        )
    return Frameworks(keras, tf)
