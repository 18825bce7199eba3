"""What a trusted program asks a recipe, and what it takes for an answer.

Every answer is untrusted: its kind, the names, shapes and kinds of its arrays, and that every
number is finite, are checked here, once. What went wrong stays in this process, and nobody outside
sees that anything did.

Spec: confinement-channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cloister.cleanroom.description import ModelDescription
from cloister.cleanroom.encoding import Array, Limits, Message
from cloister.cleanroom.pipe import Pipe
from cloister.errors import MalformedError, WorkloadError

__all__ = ["CELL_FRAME_BYTES", "CELL_LIMITS", "STATE", "Plan", "Questions", "require_state"]

CELL_FRAME_BYTES: Final = 1 << 18
CELL_LIMITS: Final = Limits(message_bytes=4 << 30)  # for a cell, which is bounded by its memory
STATE: Final = "state."
MAX_STATE_BYTES: Final = 16 << 20
_MAX_STATE_ARRAYS: Final = 64
_ROOM_BYTES: Final = 1 << 20  # for kinds, names and shapes


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe wants to have trained.

    Attributes:
        model: What the trusted trainer builds; None where the recipe trains itself.
        parameters: Where the recipe begins, where it trains itself.
        state: What its `features` needs; finite numbers.
    """

    model: ModelDescription | None
    parameters: Array | None
    state: Mapping[str, Array]


class Questions:
    """A conversation with one cell. After any error it is over."""

    def __init__(self, pipe: Pipe, *, deadline: Callable[[], float]) -> None:
        """Ask over a pipe whose cell has a recipe in it.

        Args:
            pipe: Our end.
            deadline: Seconds that there are left for an answer; asked each time.
        """
        self._pipe, self._deadline = pipe, deadline

    def build(
        self, spec: Mapping[str, Any], x: Array, y: Array, *, by_recipe: bool, most_bytes: int
    ) -> Plan:
        """Show the recipe the records and return what it wants.

        Args:
            spec: What the terms say, for the recipe.
            x: Records.
            y: Their labels.
            by_recipe: Whether it trains by itself.
            most_bytes: What plan and parameters may come to.

        Raises:
            WorkloadError: It failed or was late.
            MalformedError: Its answer is none.
        """
        answer = self._ask(Message("build", spec, {"x": x, "y": y}), "built", most_bytes)
        state = {
            name.removeprefix(STATE): each
            for name, each in answer.arrays.items()
            if name.startswith(STATE)
        }
        require_state(state)
        rest = {name for name in answer.arrays if not name.startswith(STATE)}
        if by_recipe:
            if rest != {"parameters"} or answer.fields:
                raise _malformed("has to give parameters")
            parameters = _numbers(answer.arrays["parameters"], 1)
            return Plan(None, parameters, state)
        if rest or set(answer.fields) != {"model"}:
            raise _malformed("has to give a model")
        return Plan(ModelDescription.from_fields(answer.fields["model"]), None, state)

    def features(self, state: Mapping[str, Array], x: Array, *, shape: tuple[int, ...]) -> Array:
        """Return what the model sees of records.

        Args:
            state: Of the plan.
            x: Records.
            shape: What one must come to.

        Raises:
            WorkloadError: As from `build`.
            MalformedError: As from `build`.
        """
        most = 4 * len(x) * math.prod(shape)
        answer = self._ask(Message("features", {}, _with_state(state, x=x)), "features", most)
        made = self._only(answer, "x")
        if made.shape != (len(x), *shape):
            raise _malformed(f"made {made.shape} of {x.shape}")
        return made

    def train(
        self, state: Mapping[str, Array], parameters: Array, x: Array, y: Array, *, turn: int
    ) -> Array:
        """Return what to add to the parameters; the caller bounds it.

        Raises:
            WorkloadError: As from `build`.
            MalformedError: As from `build`.
        """
        arrays = _with_state(state, parameters=parameters, x=x, y=y)
        answer = self._ask(Message("train", {"round": turn}, arrays), "trained", parameters.nbytes)
        difference = self._only(answer, "difference")
        if difference.shape != parameters.shape:
            raise _malformed(f"gave a difference of shape {difference.shape}")
        return difference

    def predict(
        self, state: Mapping[str, Array], parameters: Array, x: Array, *, classes: int
    ) -> Array:
        """Return scores, one row for each record, where the recipe trained by itself.

        Raises:
            WorkloadError: As from `build`.
            MalformedError: As from `build`.
        """
        answer = self._ask(
            Message("predict", {}, _with_state(state, parameters=parameters, x=x)),
            "predicted",
            4 * len(x) * classes,
        )
        scores = self._only(answer, "scores")
        if scores.shape != (len(x), classes):
            raise _malformed(f"gave scores of shape {scores.shape}")
        return scores

    def _ask(self, question: Message, wanted: str, most: int) -> Message:
        self._pipe.send(question)
        limits = Limits(message_bytes=most + _ROOM_BYTES, arrays=_MAX_STATE_ARRAYS + 1)
        answer = self._pipe.receive(max(0.0, self._deadline()), limits=limits)
        if answer.kind == "failed":
            raise WorkloadError("the recipe failed", code="recipe.failed")
        if answer.kind != wanted:
            raise _malformed(f"answered {answer.kind} and not {wanted}")
        return answer

    @staticmethod
    def _only(answer: Message, name: str) -> Array:
        if set(answer.arrays) != {name} or answer.fields:
            raise _malformed(f"has to give {name} and nothing else")
        return _numbers(answer.arrays[name], None)


def _with_state(state: Mapping[str, Array], **arrays: Array) -> dict[str, Array]:
    return {STATE + name: each for name, each in state.items()} | arrays


def require_state(state: Mapping[str, Array]) -> None:
    """Refuse what a recipe may not keep: too much, too many, or numbers that are none.

    Raises:
        MalformedError: `recipe.malformed`.
    """
    if len(state) > _MAX_STATE_ARRAYS:
        raise _malformed(f"wants to keep {len(state)} arrays")
    if sum(each.nbytes for each in state.values()) > MAX_STATE_BYTES:
        raise _malformed("wants to keep more than there is room for")
    for each in state.values():
        if each.dtype.kind == "f" and not np.isfinite(each).all():
            raise _malformed("wants to keep what is not a number")


def _numbers(array: Array, rank: int | None) -> Array:
    if array.dtype != np.float32 or (rank is not None and array.ndim != rank) or not array.ndim:
        raise _malformed(f"gave {array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise _malformed("gave what is not a number")
    return array


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"the recipe {problem}", code="recipe.malformed")
