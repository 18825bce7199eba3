"""Keras 3 on TensorFlow, or an error that says what to install or set."""

from __future__ import annotations

from cloister.errors import ConfigError, MissingExtraError, extra_hint

__all__ = ["keras", "tf"]

try:
    import keras
    import tensorflow as tf
except ImportError as e:
    raise MissingExtraError(
        "private training of Keras models needs TensorFlow",
        code="extra.missing",
        hint=extra_hint("tensorflow", "privacy"),
    ) from e

if keras.backend.backend() != "tensorflow":
    raise ConfigError(
        f"Keras runs on {keras.backend.backend()}; private training here is for TensorFlow",
        code="config.value",
        hint="KERAS_BACKEND=tensorflow; or jax-privacy for JAX, Opacus for PyTorch",
    )
