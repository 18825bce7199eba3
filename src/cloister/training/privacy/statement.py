"""What a private training spent, as a file without secrets.

The program that trained writes it, and is believed as far as it is measured: the statement is not
signed. Its place is a volume, whose state the run's receipt names. Numbers that are no integers are
decimal texts, so that the whole can stand in a receipt.

Spec: privacy-statement-v1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Final

from cloister.errors import AppraisalError, ConfigError, MalformedError
from cloister.training.privacy.accounting import Mechanism, epsilon_of
from cloister.training.privacy.parameters import LEAST_NOISE, MAX_EXAMPLES, MAX_STEPS, MOST_NOISE
from cloister.wire import Fields
from cloister.wire.strict_json import read_json, write_json

__all__ = ["FORMAT", "Statement"]

FORMAT: Final = "cloister/privacy-statement/v1"
MAX_BYTES: Final = 65536
MAX_MECHANISMS: Final = 16
_DEPTH: Final = 4
_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,30})?")
_ADJACENCY: Final = "add-or-remove-one"
_ACCOUNTANT: Final = "privacy-loss-distribution"
_KIND: Final = "poisson-sampled-gaussian"
_UNDERSTATED: Final = 1.01  # accountants and their grids differ by less


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What was spent on one data set, and what for.

    Args:
        mechanisms: Every training that counts, the earliest first.
        epsilon: Of all together, at `delta`; an upper bound.
        delta: The chance with which the promise may fail.
        metrics_shown: Whether loss and metrics on the training data were shown: these no epsilon
            covers.
    """

    mechanisms: tuple[Mechanism, ...]
    epsilon: float
    delta: float
    metrics_shown: bool

    @classmethod
    def of(
        cls, mechanisms: tuple[Mechanism, ...], *, delta: float, metrics_shown: bool
    ) -> Statement:
        """Compute the epsilon of what was done."""
        done = tuple(each for each in mechanisms if each.steps)
        return cls(
            mechanisms=done,
            epsilon=epsilon_of(done, delta=delta),
            delta=delta,
            metrics_shown=metrics_shown,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Statement:
        """Read untrusted bytes. What they say is well-formed, and not yet true: see `verify`.

        Raises:
            MalformedError: `message.malformed` or `wire.too-large`.

        Spec: PS-1 to PS-7.
        """
        value = read_json(
            data,
            what="privacy statement",
            max_bytes=MAX_BYTES,
            max_depth=_DEPTH,
            code="message.malformed",
        )
        fields = Fields(value, what="privacy statement")
        fields.constant("format", FORMAT)
        fields.constant("adjacency", _ADJACENCY)
        fields.constant("accountant", _ACCOUNTANT)
        epsilon, delta = _decimal(fields, "epsilon"), _decimal(fields, "delta")
        if not 0 < delta < 1:
            raise _malformed("delta is not between 0 and 1")
        shown = fields.boolean("metrics_shown")
        found = fields.array("mechanisms", max_items=MAX_MECHANISMS)
        fields.end()
        mechanisms = tuple(_mechanism(each) for each in found)
        return cls(mechanisms=mechanisms, epsilon=epsilon, delta=delta, metrics_shown=shown)

    @classmethod
    def read(cls, path: Path | str) -> Statement:
        """Read a file.

        Raises:
            ConfigError: `config.file`.
            MalformedError: `message.malformed` or `wire.too-large`.
        """
        try:
            with Path(path).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as e:
            raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
        return cls.from_bytes(data)

    def verify(self) -> None:
        """Compute epsilon again from the mechanisms, and believe that instead of the file.

        Raises:
            AppraisalError: `privacy.understated`: it is more than the statement says.
            ConfigError: `config.value`: it has no bound.
            MissingExtraError: dp-accounting is not installed.

        Spec: PS-8.
        """
        found = epsilon_of(self.mechanisms, delta=self.delta)
        if found > self.epsilon * _UNDERSTATED:
            raise AppraisalError(
                "the statement promises more privacy than its own numbers give",
                code="privacy.understated",
                rule="epsilon",
                expected=f"at least {found:.4f}",
                found=f"{self.epsilon:.4f}",
            )

    def record(self) -> dict[str, Any]:
        """Return the value that the file has."""
        return {
            "format": FORMAT,
            "adjacency": _ADJACENCY,
            "accountant": _ACCOUNTANT,
            "epsilon": _above(self.epsilon),
            "delta": _exact(self.delta),
            "metrics_shown": self.metrics_shown,
            "mechanisms": [
                {
                    "kind": _KIND,
                    "examples": each.examples,
                    "batch": each.batch,
                    "clip": _exact(each.clip),
                    "noise_multiplier": _exact(each.noise_multiplier),
                    "steps": each.steps,
                }
                for each in self.mechanisms
            ],
        }

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return write_json(self.record()) + b"\n"

    def write(self, path: Path | str) -> None:
        """Write the file.

        Raises:
            ConfigError: `config.file`.
        """
        try:
            Path(path).write_bytes(self.to_bytes())
        except OSError as e:
            raise ConfigError(f"cannot write {path}: {e.strerror}", code="config.file") from e


def _mechanism(value: object) -> Mechanism:
    if not isinstance(value, Mapping):
        raise _malformed("a mechanism is not an object")
    fields = Fields(dict(value), what="privacy statement: mechanism")
    fields.constant("kind", _KIND)
    examples = fields.integer("examples", minimum=1, maximum=MAX_EXAMPLES)
    batch = fields.integer("batch", minimum=1, maximum=examples)
    clip, noise = _decimal(fields, "clip"), _decimal(fields, "noise_multiplier")
    steps = fields.integer("steps", minimum=1, maximum=MAX_STEPS)
    fields.end()
    if not clip > 0 or not LEAST_NOISE <= noise <= MOST_NOISE:
        raise _malformed("clip or noise_multiplier is out of range")
    return Mechanism(examples=examples, batch=batch, clip=clip, noise_multiplier=noise, steps=steps)


def _decimal(fields: Fields, name: str) -> float:
    text = fields.text(name, max_length=40)
    if _DECIMAL.fullmatch(text) is None:
        raise _malformed(f"{name} is not a decimal number in a text")
    return float(text)


def _exact(value: float) -> str:
    return format(Decimal(repr(float(value))), "f")


def _above(value: float) -> str:
    """Four places, rounded so that it stays a bound."""
    return format(Decimal(repr(value)).quantize(Decimal("0.0001"), rounding=ROUND_CEILING), "f")


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"privacy statement: {problem}", code="message.malformed")
