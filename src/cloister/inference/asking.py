"""One query of one served version: from arrays that fit to what leaves, within its time.

Spec: serving-v1, clauses SRV-53, SRV-54 and SRV-70.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from cloister.errors import MalformedError
from cloister.inference.classification import Pick, classify, output_of, pick
from cloister.inference.message import OutputWish
from cloister.inference.model_config import Classification
from cloister.inference.registry import Served
from cloister.inference.tensor import Array

__all__ = ["Asking"]

_DEADLINE_S: Final = 30.0


class Asking:
    """Asks served versions, and lets nothing out but what they may tell."""

    def __init__(
        self,
        *,
        deadline_s: float = _DEADLINE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take how long an answer may be waited for, where a query says nothing shorter."""
        self._deadline_s = deadline_s
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
            UnavailableError: `server.busy` or `server.late`.
        """
        told = wishes or [OutputWish(spec.name, binary=False) for spec in served.model.outputs]
        classes = {wish.name: _classes(served, wish) for wish in told}
        results = self._scores(served, inputs, timeout_s)
        return {
            name: results[name] if wish is None else classify(results[name], wish, served.labels)
            for name, wish in classes.items()
        }

    def pick(self, served: Served, inputs: Mapping[str, Array]) -> tuple[Pick, int]:
        """Return the best classes of each row, and how many there are of each.

        Raises:
            MalformedError: The model cannot run, or has no classes.
            UnavailableError: `server.busy` or `server.late`.
        """
        wish = served.config.classification or Classification(top=0)
        name = output_of(served.model.outputs, wish).name
        scores = self._scores(served, inputs, None)[name]
        if not wish.top and scores.ndim:
            wish = replace(wish, top=scores.shape[-1])
        return pick(scores, wish, served.labels), wish.top

    def _scores(
        self, served: Served, inputs: Mapping[str, Array], timeout_s: float | None
    ) -> dict[str, Array]:
        patience = self._deadline_s if timeout_s is None else min(timeout_s, self._deadline_s)
        return served.line.predict(inputs, until=self._clock() + patience)


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
