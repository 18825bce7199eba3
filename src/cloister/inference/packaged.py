"""A model that was cut: its secret parts run here, the exposed one elsewhere.

What the package says of itself is checked before a byte of it is used: who signed it, and whether
its report shows what is required. Nothing is served otherwise. What the exposed part answers is
checked too, in the way that the policy's words name.

Spec: serving-v1, clause SRV-47.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from typing import Final

from cloister.crypto.signature import VerifyingKey
from cloister.errors import ConfigError
from cloister.inference.joining import require_rows_apart
from cloister.inference.model import Model
from cloister.inference.partitioned import PartitionedModel
from cloister.inference.refusals import Counter, Refusals
from cloister.partition.blas import limit_blas
from cloister.partition.blinded_part import Blinding
from cloister.partition.checking import Freivalds, Mode, Recompute
from cloister.partition.package import open_package
from cloister.partition.thresholds import read_thresholds

__all__ = ["Partitioned", "mode_of", "open_partitioned"]

_LOG: Final = logging.getLogger(__name__)
_MIDDLE_S: Final = 30.0  # for all that a middle is asked for one computation


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A model that was cut, ready to answer.

    Attributes:
        model: Front and back inside, the middle outside and checked.
        labels: Of its classes, secret; None where it has none.
        note: How the middle's answers are checked, and how often a wrong one is missed.
    """

    model: Model
    labels: tuple[str, ...] | None
    note: str


def open_partitioned(options: argparse.Namespace, counter: Counter | None = None) -> Partitioned:
    """Return a model whose exposed part runs at `--middle`.

    Args:
        options: What the server was started with.
        counter: Is told which of the middle's answers were refused.

    Raises:
        ConfigError: `config.value`: a word cannot be meant, or nothing can be checked that way.
        MalformedError: `model.malformed`: queries cannot be joined, and `--batch` says so.
        CloisterError: The package is not what is required; its own codes.
    """
    mode = mode_of(options.check)
    limit_blas(1)  # a check's products are short: a second thread costs more than it saves
    package = open_package(
        options.package,
        options.secret,
        signers=tuple(VerifyingKey.from_text(text) for text in options.signer),
        thresholds=read_thresholds(options.require),
    )
    model = PartitionedModel.of_package(
        package,
        address=options.middle,
        mode=mode,
        threads=options.threads,
        timeout_s=min(_MIDDLE_S, options.deadline),
        deadline_s=options.deadline,
        refusals=Refusals(options.name, counter=counter),
    )
    if options.batch is not None:
        require_rows_apart(model.inside())
    _LOG.info("model %s is cut. %s", options.name, model.description)
    return Partitioned(model, package.labels, model.description)


def mode_of(text: str) -> Mode | Blinding:
    """Return how a middle is used: `freivalds`, `recompute`, `recompute:SHARE` or `blinded`.

    Raises:
        ConfigError: `config.value`: no such way. There is none that checks nothing.
    """
    kind, colon, share = text.partition(":")
    try:
        if kind == "recompute":
            return Recompute(float(share) if colon else 1.0)
        if text == "freivalds":
            return Freivalds()
        if text == "blinded":
            return Blinding()
    except ValueError:
        pass
    raise ConfigError(
        f"{text[:40]!r} is no way to check",
        code="config.value",
        hint="freivalds, recompute, recompute:0.1 for a tenth of the examples, or blinded",
    )
