"""What stands beside a model in its folder: labels, how it is served, which versions count.

These files lie on a sealed volume: whoever wrote them was entitled to, but they may be wrong, and a
wrong one is refused as a whole.

Spec: serving-v1, clauses SRV-41 to SRV-43.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cloister.errors import MalformedError
from cloister.wire.strict_json import read_json

__all__ = [
    "MAX_CONFIG_BYTES",
    "MAX_DELAY_MS",
    "MAX_ROWS",
    "Batching",
    "Classification",
    "ModelConfig",
    "VersionRule",
    "read_config",
    "read_labels",
    "read_version_rule",
]

MAX_CONFIG_BYTES: Final = 4 * 2**20
MAX_TOP: Final = 1024
_MAX_DEPTH: Final = 4
_MAX_LABELS: Final = 65_536
_MAX_LABEL: Final = 256
MAX_ROWS: Final = 1024
MAX_DELAY_MS: Final = 1000
_MAX_KEPT: Final = 16
_WORD: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Batching:
    """How queries that wait are joined.

    Attributes:
        rows: Most rows of the first axis in one computation.
        delay_s: How long the first of them waits for others.
    """

    rows: int
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Classification:
    """What is told instead of scores.

    Attributes:
        top: How many classes.
        output: Which output has the scores; empty where the model has one.
        at_least: Below this score an entry is the empty text; None tells all.
    """

    top: int
    output: str = ""
    at_least: float | None = None


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """How one version of a model is served."""

    batching: Batching | None = None
    classification: Classification | None = None


@dataclass(frozen=True, slots=True)
class VersionRule:
    """Which versions of a model are served, and what some are called.

    Attributes:
        latest: How many of the newest.
        labels: Numbers of versions by name; these are served as well.
    """

    latest: int
    labels: Mapping[str, int] = field(default_factory=dict)


def read_config(data: bytes) -> ModelConfig:
    """Read `config.json`.

    Raises:
        MalformedError: `model.malformed`, or `wire.too-large`.
    """
    record = _object(data, "config.json", {"batching", "classification"})
    batching = classification = None
    if "batching" in record:
        part = _part(record["batching"], "batching", {"rows", "delay_ms"}, needs="rows")
        rows = _integer(part["rows"], "rows", 2, MAX_ROWS)
        delay = _number(part.get("delay_ms", 0), "delay_ms", 0, MAX_DELAY_MS)
        batching = Batching(rows, delay / 1000)
    if "classification" in record:
        known = {"top", "output", "at_least"}
        part = _part(record["classification"], "classification", known, needs="top")
        output = part.get("output", "")
        if not isinstance(output, str):
            raise _wrong("output is not a text")
        bound = part.get("at_least")
        if bound is not None:
            bound = _number(bound, "at_least", -1e300, 1e300)
        classification = Classification(_integer(part["top"], "top", 1, MAX_TOP), output, bound)
    return ModelConfig(batching, classification)


def read_labels(data: bytes) -> tuple[str, ...]:
    """Read `labels.json`: a list of texts, one for each class, in the model's order.

    Raises:
        MalformedError: `model.malformed`, or `wire.too-large`.
    """
    labels = _json(data, "labels.json")
    if not isinstance(labels, list) or not 1 <= len(labels) <= _MAX_LABELS:
        raise _wrong(f"labels.json is not a list of 1 to {_MAX_LABELS} texts")
    if not all(isinstance(each, str) and _is_label(each) for each in labels):
        raise _wrong(f"a label is not a printable text of 1 to {_MAX_LABEL} characters")
    return tuple(labels)


def read_version_rule(data: bytes, *, latest: int) -> VersionRule:
    """Read `versions.json`; `latest` is what counts where it does not say.

    Raises:
        MalformedError: `model.malformed`, or `wire.too-large`.
    """
    record = _object(data, "versions.json", {"latest", "labels"})
    labels = record.get("labels", {})
    if not isinstance(labels, dict) or len(labels) > _MAX_KEPT:
        raise _wrong(f"labels are not an object with at most {_MAX_KEPT} names")
    for name, version in labels.items():
        if _WORD.fullmatch(name) is None:
            raise _wrong("a version's label has small letters, digits, underscores and hyphens")
        _integer(version, "a labelled version", 1, 10**12)
    kept = _integer(record.get("latest", latest), "latest", 1, _MAX_KEPT)
    return VersionRule(kept, dict(labels))


def _is_label(text: str) -> bool:
    return 1 <= len(text) <= _MAX_LABEL and text.isprintable()


def _json(data: bytes, name: str) -> Any:
    return read_json(
        data, what=name, max_bytes=MAX_CONFIG_BYTES, max_depth=_MAX_DEPTH, code="model.malformed"
    )


def _object(data: bytes, name: str, known: set[str]) -> dict[str, Any]:
    return _part(_json(data, name), name, known)


def _part(value: object, name: str, known: set[str], *, needs: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not known.issuperset(value) or (needs and needs not in value):
        raise _wrong(f"{name} is not an object with {', '.join(sorted(known))}")
    return value


def _integer(value: object, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise _wrong(f"{name} is not a whole number from {least} to {most}")
    return value


def _number(value: object, name: str, least: float, most: float) -> float:
    if type(value) not in {int, float} or not least <= value <= most:  # type: ignore[operator]  # a number by then
        raise _wrong(f"{name} is not a number from {least:g} to {most:g}")
    return float(value)  # type: ignore[arg-type]  # likewise


def _wrong(problem: str) -> MalformedError:
    return MalformedError(problem, code="model.malformed")
