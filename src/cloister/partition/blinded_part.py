"""A model's middle whose linear steps are computed outside, on numbers that say nothing (Slalom).

Inside and outside take turns. Inside runs the middle up to a linear step, puts a fresh one-time pad
over what the step reads, and asks for the step of that; the answer is checked exactly, the pad is
taken off, and the middle goes on to the next step. Everything that is not such a step is computed
inside, in float32: activations, pooling, normalisation, and steps that cannot be blinded or that
are not worth it. Answers are those of a middle whose blinded steps have eight-bit numbers.

No bytes move here: who asks the outside is given.

Spec: outside-middle-v1, clauses OM-14 to OM-18.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cloister.errors import ConfigError, RefusedError
from cloister.partition.blinding import Pad, PadContent, QuantisedStep
from cloister.partition.checking import checkable, part_between
from cloister.partition.forms import Forms
from cloister.partition.graph import PartFile
from cloister.partition.linear import linear_steps
from cloister.partition.linear_step import Array, LinearStep
from cloister.partition.runtime import RunningPart, open_part
from cloister.partition.single_use import Stock

__all__ = ["Ask", "BlindedPart", "Blinding", "quantised_steps"]

Ask = Callable[[str, Array, tuple[int, ...]], Array]
"""Takes a step's output's name, residues, and the shape of the answer; returns what is said.

Residues are uint32 in both directions, the answer in private memory and of that shape."""

_NUMBER_BYTES: Final = 8  # of a pad, or of what the step makes of it


@dataclass(frozen=True, slots=True)
class Blinding:
    """Compute linear steps outside, under one-time pads, and everything else inside.

    Attributes:
        least_gain: A step goes out where it makes so many numbers of each position or more; of
            others, inside would compute nearly as much with their help.
        stock: How many pads are kept for each step, where somebody prepares them.
        stock_bytes: How much memory all of them may take.
    """

    least_gain: float = 8.0
    stock: int = 64
    stock_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant."""
        if min(self.least_gain, self.stock, self.stock_bytes) < 0:
            raise ConfigError("a stock of pads has a size from 0", code="config.value")


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is computed inside before a step, the step, and its pads."""

    before: RunningPart | None
    step: QuantisedStep
    rows: int
    pads: Stock[PadContent]
    shape: tuple[int, ...]


class BlindedPart:
    """A middle of which inside keeps everything but products under pads.

    Attributes:
        steps: Names of the outputs of the steps that are computed outside, in order.
        description: What is hidden and what is not, in sentences for people.
    """

    def __init__(self, middle: PartFile, mode: Blinding, *, threads: int) -> None:
        """Find the steps that can be blinded, and load what lies between.

        Args:
            middle: The part, trusted as data: its digest was checked.
            mode: How.
            threads: Threads of what is computed inside.

        Raises:
            ConfigError: `config.value`: no step can be blinded, or the middle has open sizes
                besides the batch.
            MalformedError: `model.malformed`: the part does not run.
        """
        middle = checkable(middle)
        every = linear_steps(middle)
        forms = Forms(middle, [name for step in every for name in (step.input, step.output)])
        found = [each for step in every if (each := _blindable(step, forms, mode)) is not None]
        if not found:
            raise ConfigError(
                "the middle has no linear step that can be blinded",
                code="config.value",
                hint="check its answers by freivalds or recompute instead",
            )
        self.steps: Final = tuple(step.step.output for step, _, _ in found)
        self._outputs: Final = tuple(info.name for info in middle.outputs)
        bytes_of_one = sum(
            _NUMBER_BYTES * (math.prod(given) + math.prod(made)) + step.fold_bytes
            for step, given, made in found
        )
        most = min(mode.stock, mode.stock_bytes // bytes_of_one)
        known = [info.name for info in middle.inputs]
        stages: list[_Stage] = []
        for step, shape, _ in found:
            before = _between(middle, known, [step.step.input], threads)
            known += [step.step.input] if before is not None else []
            known.append(step.step.output)
            stages.append(_Stage(before, step, shape[0], step.stock(shape, most=most), shape))
        self._stages: Final = tuple(stages)
        self._after: Final = _between(middle, known, self._outputs, threads)
        least = min(step.prime for step, _, _ in found)
        self.description: Final = (
            f"{len(found)} of {len(every)} linear steps of the middle are computed outside under "
            "one-time pads, in numbers of eight bits, and everything else inside: whoever runs the "
            "middle sees its weights, shapes and times, and no number of an input. Answers are "
            "those of a middle that is quantised like this. A wrong answer to a step passes with "
            f"probability at most {1 / least:.1g}."
        )

    def run(self, given: Mapping[str, Array], ask: Ask) -> dict[str, Array]:
        """Return the middle's outputs; safe to call from several threads.

        Each call draws its own pads, those of a call that failed are gone with it.

        Args:
            given: The middle's inputs; trusted and secret.
            ask: Asks the outside for one step.

        Raises:
            RefusedError: `middle.wrong`: an answer was found to be wrong.
            MalformedError: `message.malformed`: a step would read numbers that are not finite;
                `model.malformed`: something does not run.
            ConfigError: `config.value`: examples of another shape, or none.
        """
        have = dict(given)
        for stage in self._stages:
            if stage.before is not None:
                have.update(stage.before.run(have))
            have[stage.step.step.output] = _asked(stage, have[stage.step.step.input], ask)
        if self._after is not None:
            have.update(self._after.run(have))
        return {name: have[name] for name in self._outputs}

    def prepare(self, count: int) -> int:
        """Prepare pads for so many examples when nobody waits; return for how many."""
        return min(stage.pads.fill(count) for stage in self._stages)

    def prepare_piece(self) -> bool:
        """Do a small piece of preparing; return whether there was something to do."""
        return min((stage.pads for stage in self._stages), key=len).piece()

    def forget(self) -> None:
        """Forget the pads that were prepared."""
        for stage in self._stages:
            stage.pads.clear()


def quantised_steps(part: PartFile, names: Sequence[str]) -> dict[str, QuantisedStep]:
    """Return the steps that the inside names, as the outside makes them of its copy of the part.

    Raises:
        ConfigError: `config.value`: the part has no such step, or it is not blinded.
    """
    steps = {step.output: step for step in linear_steps(checkable(part))}
    unknown = [name for name in names if name not in steps]
    if unknown:
        raise ConfigError(f"the part has no linear step {unknown[0]}", code="config.value")
    return {name: QuantisedStep(steps[name]) for name in names}


def _blindable(
    step: LinearStep, forms: Forms, mode: Blinding
) -> tuple[QuantisedStep, tuple[int, ...], tuple[int, ...]] | None:
    """Return a step with the shapes of what it reads and makes; None where inside computes it."""
    given, made = forms.of_one(step.input), forms.of_one(step.output)
    floats = [each is not None and each[0] == "float32" for each in (given, made)]
    if step.gain < mode.least_gain or given is None or made is None or not all(floats):
        return None
    try:
        return QuantisedStep(step), given[1], made[1]
    except ConfigError:
        return None


def _between(
    middle: PartFile, known: Sequence[str], wanted: Sequence[str], threads: int
) -> RunningPart | None:
    part = part_between(middle, sorted(known), [name for name in wanted if name not in known])
    return None if part is None else open_part(part, threads=threads, exact=False)


def _asked(stage: _Stage, given: Array, ask: Ask) -> Array:
    count, rest = divmod(len(given), stage.rows)
    if rest or not count or given.shape[1:] != stage.shape[1:]:
        raise ConfigError("the model takes examples of another shape", code="config.value")
    pads: list[Pad] = []
    while len(pads) < count and (ready := stage.pads.take_or_none()) is not None:
        pads.append(ready)
    missing = count - len(pads)
    if missing:  # one product for all of them, of pads that have nothing to do with one another
        pads += stage.step.prepare((missing * stage.rows, *stage.shape[1:]))
    blinded = stage.step.blind(given, *pads)
    name = stage.step.step.output
    said = ask(name, blinded.outside.astype(np.uint32), blinded.shape_back)
    if said.dtype != np.uint32:
        raise RefusedError("the middle's answer is wrong", code="middle.wrong", detail=name)
    return blinded.open(said.astype(np.float64))
