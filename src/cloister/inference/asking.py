"""One query of one served version: from arrays that fit to what leaves, within its time.

What follows the model is bounded as well: how many classes, and how much is read to pick them.
Where answers have one size, what cannot fit it is refused before it is made.

Spec: serving-v1, clauses SRV-53, SRV-54, SRV-70 and SRV-73.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from cloister.errors import MalformedError
from cloister.inference.answers import too_long
from cloister.inference.classification import (
    Pick,
    classify,
    effort_of,
    output_of,
    pick,
    require_moderate,
)
from cloister.inference.joining import rows_of
from cloister.inference.message import OutputWish
from cloister.inference.model_config import Classification
from cloister.inference.registry import Served
from cloister.inference.tensor import DATATYPES, Array

__all__ = ["Asking"]

_DEADLINE_S: Final = 30.0
# The fewest bytes that a class or a number takes in an answer, separators included.
_LEAST_TEXT, _LEAST_TEXT_BINARY, _LEAST_PAIR, _LEAST_NUMBER = 3, 4, 7, 2


class Asking:
    """Asks served versions, and lets nothing out but what they may tell."""

    def __init__(
        self,
        *,
        deadline_s: float = _DEADLINE_S,
        answer_bytes: Callable[[str], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what bounds an answer.

        Args:
            deadline_s: How long it may be waited for, where a query says nothing shorter.
            answer_bytes: How long every answer about a model is, by its name; None where answers
                are as long as they are.
            clock: Seconds that only go forward.
        """
        self._deadline_s = deadline_s
        self._answer_bytes = answer_bytes
        self._clock = clock

    def answer(
        self,
        served: Served,
        inputs: Mapping[str, Array],
        wishes: Sequence[OutputWish] = (),
        *,
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Return the outputs that leave, by name; classes are texts.

        Args:
            served: Whom to ask.
            inputs: Arrays that fit it.
            wishes: What is asked for; nothing says all outputs.
            timeout_s: For how long an answer is of use.

        Raises:
            MalformedError: The model cannot run, or a wish cannot be met.
            ConfigError: `private.answer-size`: no answer could be so short.
            UnavailableError: `server.busy` or `server.late`.
        """
        told = wishes or [OutputWish(spec.name, binary=False) for spec in served.model.outputs]
        classes = {wish.name: _classes(served, wish) for wish in told}
        self._require_moderate(served, told, classes, _shapes(served, inputs))
        until = self._until(timeout_s)
        results = dict(served.line.predict(inputs, until=until))
        self._require_moderate(
            served, told, classes, {name: array.shape for name, array in results.items()}
        )
        if any(classes.values()):
            with served.line.turn(until=until) as in_time:
                results |= {
                    name: classify(results[name], wish, served.labels, between=in_time)
                    for name, wish in classes.items()
                    if wish is not None
                }
        return {name: results[name] for name in classes}

    def pick(self, served: Served, inputs: Mapping[str, Array]) -> tuple[Pick, int]:
        """Return the best classes of each row, and how many there are of each.

        Raises:
            MalformedError: The model cannot run, or has no classes.
            ConfigError: `private.answer-size`: no answer could be so short.
            UnavailableError: `server.busy` or `server.late`.
        """
        wish = served.config.classification or Classification(top=0)
        name = output_of(served.model.outputs, wish).name
        told = [OutputWish(name, binary=False)]
        guess = _shapes(served, inputs)
        if name in guess:
            usual = wish if wish.top else replace(wish, top=max(guess[name][-1], 0))
            self._require_moderate(served, told, {name: usual}, guess, each=_LEAST_PAIR)
        until = self._until(None)
        scores = served.line.predict(inputs, until=until)[name]
        if not wish.top and scores.ndim:
            wish = replace(wish, top=scores.shape[-1])
        self._require_moderate(served, told, {name: wish}, {name: scores.shape}, each=_LEAST_PAIR)
        with served.line.turn(until=until) as in_time:
            return pick(scores, wish, served.labels, between=in_time), wish.top

    def _until(self, timeout_s: float | None) -> float:
        patience = self._deadline_s if timeout_s is None else min(timeout_s, self._deadline_s)
        return self._clock() + patience

    def _require_moderate(
        self,
        served: Served,
        told: Sequence[OutputWish],
        classes: Mapping[str, Classification | None],
        shapes: Mapping[str, tuple[int, ...]],
        *,
        each: int = 0,
    ) -> None:
        """Refuse what takes too long, or cannot fit, once its outputs have these shapes.

        Args:
            served: Who is asked.
            told: What is asked for.
            classes: How it is told.
            shapes: Of outputs, as far as they are known.
            each: The fewest bytes of a class; 0 for those of texts.

        Raises:
            MalformedError: `message.malformed`: too many classes.
            ConfigError: `private.answer-size`.
        """
        specs = {spec.name: spec for spec in served.model.outputs}
        efforts, least = [], 0
        for output in told:
            shape, wish = shapes.get(output.name), classes[output.name]
            if not shape:
                continue
            dtype = DATATYPES[specs[output.name].datatype]
            if wish is None:
                least += math.prod(shape) * (dtype.itemsize if output.binary else _LEAST_NUMBER)
                continue
            rows, size = math.prod(shape[:-1]), max(shape[-1], wish.top)
            efforts.append(effort_of(rows, size, wish, dtype, served.labels))
            text = _LEAST_TEXT_BINARY if output.binary else _LEAST_TEXT
            least += efforts[-1].told * (each or text)
        require_moderate(efforts)
        if self._answer_bytes is not None and least > self._answer_bytes(served.name):
            raise too_long(self._answer_bytes(served.name))


def _shapes(served: Served, inputs: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of outputs that follow from the inputs: those with a row for each row.

    Axes that are open are 1, and the last one is, so that nothing is larger here than it will be.
    """
    rows = rows_of(inputs)
    if rows is None or any(spec.shape[:1] != (-1,) for spec in served.model.inputs):
        return {}
    return {
        spec.name: (rows, *(max(size, 1) for size in spec.shape[1:]))
        for spec in served.model.outputs
        if spec.shape[:1] == (-1,) and len(spec.shape) > 1
    }


def _classes(served: Served, wish: OutputWish) -> Classification | None:
    """Return how an output is told: as configured, or fewer classes; else as it is asked for."""
    fixed = served.config.classification
    if fixed is None or output_of(served.model.outputs, fixed).name != wish.name:
        return Classification(wish.top) if wish.top else None
    if wish.top > fixed.top:
        raise MalformedError(
            f"this model tells {fixed.top} classes at most", code="message.malformed"
        )
    return replace(fixed, top=wish.top or fixed.top)
