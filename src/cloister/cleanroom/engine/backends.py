"""What the engine asks of a framework: gradients, and outputs. All else is its own.

One framework in a process: each takes its threads and its memory when it is loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol, get_args

import numpy as np

from cloister.cleanroom.engine.network import Network
from cloister.errors import ConfigError, MissingExtraError, extra_hint

__all__ = ["Backend", "Framework", "load_ahead", "load_backend"]

Framework = Literal["tensorflow", "jax", "torch"]
Floats = np.ndarray[Any, np.dtype[np.float32]]
_EXTRAS: Final = {"tensorflow": "tensorflow", "jax": "jax", "torch": "pytorch"}


class Backend(Protocol):
    """A network in a framework. Arrays are NumPy's in both directions."""

    def gradient(
        self, flat: Floats, x: Floats, targets: Floats, masks: Sequence[Floats]
    ) -> tuple[list[Floats], list[Floats]]:
        """Return the gradient of the mean loss, and the batch's moments.

        Args:
            flat: The parameters.
            x: A batch.
            targets: For each example as many numbers as there are outputs.
            masks: Factors for each dropout.
        """

    def example_gradients(
        self, flat: Floats, x: Floats, targets: Floats, masks: Sequence[Floats]
    ) -> list[Floats]:
        """Return the gradient of each example's loss, for each weight; examples come first.

        In the forward pass of each, there is no other example.
        """

    def outputs(self, flat: Floats, x: Floats) -> Floats:
        """Return what comes out, without dropout, with the averages."""


def load_ahead(framework: Framework) -> None:
    """Begin to load a framework in a thread; whoever needs it waits for the rest, and sees errors.

    It takes seconds, in which a recipe can look at its records already.
    """

    def load() -> None:
        with contextlib.suppress(Exception):  # `load_backend` meets it again, and says so
            importlib.import_module(_module(framework))

    threading.Thread(target=load, name=f"load {framework}", daemon=True).start()


def load_backend(framework: Framework, network: Network) -> Backend:
    """Load a framework, and give it a network.

    Raises:
        ConfigError: `config.value`: there is no such framework here.
        MissingExtraError: `extra.missing`: it is not installed.
    """
    if framework not in get_args(Framework):
        raise ConfigError(
            f"models are trained by {', '.join(get_args(Framework))}, not by {framework}",
            code="config.value",
        )
    try:
        module = importlib.import_module(_module(framework))
    except ImportError as e:
        raise MissingExtraError(
            f"training by {framework} needs it installed",
            code="extra.missing",
            hint=extra_hint(_EXTRAS[framework]),
        ) from e
    backend: Backend = module.make_backend(network)
    return backend


def _module(framework: Framework) -> str:
    return f"cloister.cleanroom.engine.on_{framework}"
