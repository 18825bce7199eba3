"""A model that was cut: its secret parts run here, the exposed one elsewhere.

What the package says of itself is checked before a byte of it is used: who signed it, and whether
its report shows what is required. Nothing is served otherwise. The exposed part's answers are
checked by Freivalds' test where that is cheaper, and computed again elsewhere.

Spec: serving-v1, clause SRV-47.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from cloister.crypto.signature import VerifyingKey
from cloister.errors import UnsupportedError
from cloister.inference.model import Model

__all__ = ["open_partitioned"]


def open_partitioned(options: argparse.Namespace) -> tuple[Model, tuple[str, ...] | None]:
    """Return a model whose exposed part runs at `--middle`, and its secret labels.

    Raises:
        UnsupportedError: `machine.program`: this version cannot.
        CloisterError: The package is not what is required; its own codes.
    """
    try:
        package: Any = import_module("cloister.partition.package")
        thresholds: Any = import_module("cloister.partition.thresholds")
        checking: Any = import_module("cloister.partition.checking")
        partitioned: Any = import_module("cloister.inference.partitioned")
    except ModuleNotFoundError as e:
        raise UnsupportedError(
            "this version of Cloister cannot serve packages", code="machine.program"
        ) from e
    opened = package.open_package(
        options.package,
        options.secret,
        signers=tuple(VerifyingKey.from_text(text) for text in options.signer),
        thresholds=thresholds.read_thresholds(options.require),
    )
    model: Model = partitioned.PartitionedModel.of_package(
        opened, address=options.middle, mode=checking.Freivalds(), threads=options.threads
    )
    return model, opened.labels
