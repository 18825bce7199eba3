"""A model that was cut: its secret parts run here, the exposed one elsewhere.

What the package says of itself is checked before a byte of it is used: who signed it, and whether
its report shows what is required. Nothing is served otherwise.

Spec: serving-v1, clause SRV-47.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from cloister.errors import UnsupportedError
from cloister.inference.model import Model

__all__ = ["open_partitioned"]


def open_partitioned(options: argparse.Namespace) -> Model:
    """Return a model whose exposed part runs at `--middle`.

    Raises:
        UnsupportedError: `machine.program`: this version cannot.
        CloisterError: The package is not what is required; its own codes.
    """
    try:
        package: Any = import_module("cloister.partition.package")
        partitioned: Any = import_module("cloister.inference.partitioned")
    except ModuleNotFoundError as e:
        raise UnsupportedError(
            "this version of Cloister cannot serve packages", code="machine.program"
        ) from e
    opened = package.open_package(
        options.package, options.secret, signers=options.signer, thresholds=options.require
    )
    model: Model = partitioned.open_served(opened, middle=options.middle, threads=options.threads)
    return model
