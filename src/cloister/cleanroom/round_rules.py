"""What the terms say of a training's rounds, as one value that every part of the exchange is given.

Made from signed terms, so that all members of a room have the same; its digest of the terms is in
every message. Pure.

Spec: training-round-v1, clauses TR-1, TR-5 and TR-20.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from cloister.cleanroom.agreement import Room
from cloister.cleanroom.schedule import Schedule
from cloister.errors import ConfigError

__all__ = [
    "MAX_METRICS",
    "MAX_NORM",
    "MAX_PARAMETERS",
    "MAX_PLAN_BYTES",
    "MAX_TRAINERS",
    "Damping",
    "Mode",
    "RoundRules",
]

Mode = Literal["synchronous", "bounded-stale"]
Damping = Literal["inverse", "none"]

MAX_TRAINERS: Final = 8
MAX_PARAMETERS: Final = 2**28
MAX_PLAN_BYTES: Final = 2**26
MAX_METRICS: Final = 16
MAX_NORM: Final = 1e9
_ROOM_BYTES: Final = 32
_MAX_STALENESS: Final = 1024


@dataclass(frozen=True, slots=True)
class RoundRules:
    """The terms of the exchange.

    Attributes:
        room: SHA-256 digest of the terms.
        schedule: When messages are sent.
        trainers: How many there are.
        parameters_max: The most parameters that a model may have; fixes every message's size.
        plan_max_bytes: The longest plan; fixes a checkpoint's size.
        mode: Whether rounds end for all at once, or differences are added as they come.
        damping: By what a stale difference is multiplied: 1/(1 + staleness), or 1.
        max_staleness: The most updates of others that a difference may have missed.
        push_every: A trainer sends its difference after so many of its rounds.
        pull_every: It takes new parameters after so many of its rounds.
        norm_max: The longest difference (L2) that is added.
        checkpoint_every: The server keeps its state after so many rounds.
        metrics: Names of the numbers that trainers report.
        join_s: How long the server waits for trainers before it begins without them.
    """

    room: bytes
    schedule: Schedule
    trainers: int
    parameters_max: int
    plan_max_bytes: int
    mode: Mode
    damping: Damping
    max_staleness: int
    push_every: int
    pull_every: int
    norm_max: float
    checkpoint_every: int
    metrics: tuple[str, ...]
    join_s: float

    def __post_init__(self) -> None:
        """Refuse what no exchange can keep.

        Raises:
            ConfigError: `config.value`.
        """
        for name, value, low, high in (
            ("digest", len(self.room), _ROOM_BYTES, _ROOM_BYTES),
            ("trainers", self.trainers, 1, MAX_TRAINERS),
            ("parameters_max", self.parameters_max, 1, MAX_PARAMETERS),
            ("plan_max_bytes", self.plan_max_bytes, 1, MAX_PLAN_BYTES),
            ("max_staleness", self.max_staleness, 0, _MAX_STALENESS),
            ("push_every", self.push_every, 1, self.schedule.rounds),
            ("pull_every", self.pull_every, 1, self.schedule.rounds),
            ("checkpoint_every", self.checkpoint_every, 1, self.schedule.rounds),
            ("metrics", len(self.metrics), 0, MAX_METRICS),
        ):
            if not low <= value <= high:
                raise _wrong(f"{name} is {value}, and not {low} to {high}")
        if not (math.isfinite(self.norm_max) and 0 < self.norm_max <= MAX_NORM):
            raise _wrong(f"norm_max is not above 0 and at most {MAX_NORM:g}")
        if self.mode not in {"synchronous", "bounded-stale"}:
            raise _wrong(f"there is no mode {self.mode!r}")
        if self.damping not in {"inverse", "none"}:
            raise _wrong(f"there is no damping {self.damping!r}")
        if self.mode == "synchronous" and (self.push_every, self.pull_every) != (1, 1):
            raise _wrong("in synchronous mode every round pushes and pulls")
        if len(set(self.metrics)) < len(self.metrics):
            raise _wrong("a metric is named twice")
        if not (math.isfinite(self.join_s) and self.join_s >= 0):
            raise _wrong("join_s is no time")

    @classmethod
    def of(cls, room: Room) -> RoundRules:
        """Return what a room's signed terms say of its rounds.

        Raises:
            ConfigError: `config.value`: no exchange can keep them.
        """
        training = room.terms.training
        return cls(
            room=room.digest,
            schedule=Schedule(
                tick_ms=training.tick_ms,
                prepare_ticks=training.prepare_ticks,
                round_ticks=training.round_ticks,
                rounds=training.rounds,
                closing_ticks=training.closing_ticks,
            ),
            trainers=room.terms.trainers,
            parameters_max=training.parameters_max,
            plan_max_bytes=training.plan_max_bytes,
            mode=training.mode,
            damping=training.damping,
            max_staleness=training.max_staleness,
            push_every=training.push_every,
            pull_every=training.pull_every,
            norm_max=float(training.norm_max),
            checkpoint_every=training.checkpoint_every,
            metrics=room.terms.release.metrics,
            join_s=training.join_s,
        )

    @property
    def body_bytes(self) -> int:
        """How many bytes of a message are its body."""
        return 4 * self.parameters_max


def _wrong(problem: str) -> ConfigError:
    return ConfigError(f"terms of the rounds: {problem}", code="config.value")
