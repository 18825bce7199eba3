"""Differentially private training for Keras 3 on TensorFlow.

Example::

    from cloister.training.privacy import PrivacyParameters, make_private

    parameters = PrivacyParameters(
        examples=60_000, batch=600, epochs=20, clip=1.0, delta=1e-6, epsilon=3.0
    )
    model = make_private(model, parameters)
    model.compile("adam", loss="sparse_categorical_crossentropy")
    model.fit(images, labels)
    model.statement().write("privacy.json")

What is promised: the weights, after each step and at the end, are a differentially private function
of the examples given to `fit`, as the statement says. Nothing is promised of anything else that a
program learns from them: preprocessing, choosing among several trainings, metrics that are shown.
"""

from typing import TYPE_CHECKING

from cloister.training.privacy.parameters import PrivacyParameters
from cloister.training.privacy.statement import Statement

if TYPE_CHECKING:
    from cloister.training.privacy.callbacks import StopAtEpsilon
    from cloister.training.privacy.model import PrivateModel, make_private

__all__ = ["PrivacyParameters", "PrivateModel", "Statement", "StopAtEpsilon", "make_private"]


def __getattr__(name: str) -> object:
    """Import what needs TensorFlow when it is named: parameters and statements do not."""
    if name in ("PrivateModel", "make_private"):
        from cloister.training.privacy import model  # noqa: PLC0415  # loads TensorFlow

        return getattr(model, name)
    if name == "StopAtEpsilon":
        from cloister.training.privacy import callbacks  # noqa: PLC0415  # loads Keras

        return callbacks.StopAtEpsilon
    raise AttributeError(name)
