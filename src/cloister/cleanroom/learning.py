"""One trainer's part of a training, from its records to the last round.

Trusted: the terms, the engine, and the arithmetic here. Not trusted: the recipe, by whatever it
answers, and the server, which the exchange judges. What is learned reaches the outside through the
exchange alone, in messages whose size and time the terms fixed. The number of steps of a round is
fixed too; what is late is lost.

Where the terms promise privacy, the recipe sees no record at all: what it chose by looking at some,
or features in which it mixed them, would be outside of what is accounted for.

Spec: training-round-v1; terms: cleanroom-terms-v1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from cloister.cleanroom.aggregation import FLOAT
from cloister.cleanroom.canaries import Planted, exposure, plant
from cloister.cleanroom.description import ModelDescription
from cloister.cleanroom.description import parameters as parameters_of
from cloister.cleanroom.engine import Engine, Privacy, build_engine
from cloister.cleanroom.exchange_pipe import Exchange
from cloister.cleanroom.plan import plan_bytes, read_plan
from cloister.cleanroom.questions import Plan, Questions
from cloister.cleanroom.records import Array, Records
from cloister.cleanroom.schedule import Schedule
from cloister.cleanroom.terms import Terms
from cloister.crypto.kdf import random_bytes
from cloister.errors import MalformedError, UnavailableError

__all__ = ["Learner", "Step", "bounded", "engine_of"]

_MARGIN_TICKS: Final = 1
_LOOK_TICKS: Final = 5


class Step(Protocol):
    """What changes parameters within a round."""

    def __call__(self, flat: Array, number: int) -> Array:
        """Return what to add to `flat` in round `number`."""


@dataclass(frozen=True, slots=True)
class Learner:
    """A trainer.

    Attributes:
        terms: Of the room.
        room: Their digest.
        index: Which trainer this is.
        schedule: Of the room.
        exchange: Started.
        records: All of the shard.
        preparation_s: What is left for the plan.
    """

    terms: Terms
    room: bytes
    index: int
    schedule: Schedule
    exchange: Exchange
    records: Records
    preparation_s: Callable[[], float]

    def learn(self, recipe: Questions) -> None:
        """Take part in all rounds.

        Raises:
            CloisterError: Whatever ended it; nobody outside is told.
        """
        seen, held = self.records.parted()
        # Before the recipe sees a record: it must not know which are planted.
        planted = plant(
            seen.x,
            seen.y,
            count=self.terms.canaries,
            seed=int.from_bytes(random_bytes(8)),
            classes=self.terms.data.classes,
            apart=self.terms.privacy is not None,
        )
        seen = Records(planted.x, planted.y)
        plan = self._plan(recipe, seen)
        if plan.model is None:
            self._rounds(self._by_recipe(recipe, plan, seen))
        else:
            self._by_trainer(recipe, plan, planted, held)

    def _plan(self, recipe: Questions, seen: Records) -> Plan:
        by_recipe = self.terms.training.by == "recipe"
        if self.index or self._is_decided():
            data = self.exchange.await_plan(self.preparation_s())
            return read_plan(data, by_recipe=by_recipe, most=self.terms.training.plan_max_bytes)
        # What is chosen by looking at records is not covered by an accounting of steps.
        shown = seen if self.terms.privacy is None else Records(seen.x[:0], seen.y[:0])
        training = self.terms.training
        most = training.plan_max_bytes + FLOAT.itemsize * training.parameters_max
        plan = recipe.build(self._spec(), shown.x, shown.y, by_recipe=by_recipe, most_bytes=most)
        initial = plan.parameters
        if plan.model is not None:
            self._require_fitting(parameters_of(plan.model))
            initial = self._engine(plan, None).get()
        if initial is None:
            raise MalformedError("the recipe has no parameters", code="recipe.malformed")
        self._require_fitting(initial.size)
        self.exchange.publish_plan(plan_bytes(plan), initial)
        return plan

    def _is_decided(self) -> bool:
        """Tell whether there are parameters already: this is a trainer that was started again."""
        try:
            self.exchange.pull(timeout_s=_LOOK_TICKS * self.schedule.tick_s)
        except UnavailableError:
            return False
        return True

    def _by_trainer(self, recipe: Questions, plan: Plan, planted: Planted, held: Records) -> None:
        if plan.model is None:
            raise MalformedError("the plan has no model", code="recipe.malformed")

        shape = plan.model.input_shape

        def features(x: Array) -> Array:
            return self._features(recipe, plan, x, shape)

        trained = features(planted.x)
        measured = Records(features(held.x), held.y)
        engine = self._engine(plan, self._privacy(len(planted.x)))
        engine.warm_up()

        def step(flat: Array, number: int) -> Array:
            engine.set(flat)
            engine.at_round(number)
            for _ in range(self.terms.training.steps_per_round):
                engine.step_from(trained, planted.y)
            return engine.get() - flat

        def measure(flat: Array, number: int) -> None:
            engine.set(flat)
            values = _measured(engine, measured)
            found_out = None
            if number == self.terms.training.rounds:
                found_out = exposure(engine, planted, features=features)
            if found_out is not None:
                values["exposure"] = found_out.mean_bits
            self._tell(number, values)

        self._rounds(step, measure, size=engine.size)

    def _features(self, recipe: Questions, plan: Plan, x: Array, shape: tuple[int, ...]) -> Array:
        """Return what the model sees of records: with privacy, the records."""
        if self.terms.privacy is None:
            return recipe.features(plan.state, x, shape=shape)
        if x.shape[1:] != shape:
            raise MalformedError(
                "the recipe's model does not take records, and privacy allows no features",
                code="recipe.malformed",
            )
        return x

    def _by_recipe(self, recipe: Questions, plan: Plan, seen: Records) -> Step:
        def step(flat: Array, number: int) -> Array:
            return recipe.train(plan.state, flat, seen.x, seen.y, turn=number)

        return step

    def _rounds(
        self,
        step: Step,
        measure: Callable[[Array, int], None] | None = None,
        *,
        size: int | None = None,
    ) -> None:
        """Pull, work and push, each when the terms say."""
        training = self.terms.training
        held: Array | None = None
        version, pending = -1, None
        for number in self._rounds_to_come():
            if held is not None and pending is not None and self.exchange.push(pending, version):
                held, pending = held + pending, None
            if held is None or number % training.pull_every == 0:
                with contextlib.suppress(UnavailableError):
                    # What was learned and not sent is not lost: it is added to what is pulled now.
                    version, held = self._pulled(number, version, size)
            if held is None:
                continue
            moved = held if pending is None else held + pending
            change = step(moved, number)
            pending = bounded(
                change if pending is None else pending + change, float(training.norm_max)
            )
            if (number + 1) % training.push_every == 0 and self.exchange.push(pending, version):
                held, pending = held + pending, None
            if measure and (number + 1) % self.terms.release.every_rounds == 0:
                measure(held, number + 1)
        if self.exchange.await_tick(self.schedule.first_tick(training.rounds)):
            with contextlib.suppress(UnavailableError):
                _, held = self._pulled(training.rounds, version, size)
        if measure and held is not None:
            measure(held, training.rounds)

    def _rounds_to_come(self) -> Iterator[int]:
        """Say at the beginning of each which round it is; those that went by are lost."""
        number = 0
        while number < self.schedule.rounds:
            if not self.exchange.await_tick(self.schedule.first_tick(number)):
                return
            present = self.schedule.round_at(self.exchange.tick or 0)
            if present is None:
                return
            yield max(number, present)
            number = max(number, present) + 1

    def _pulled(self, number: int, version: int, size: int | None) -> tuple[int, Array]:
        newer = number - 1 if self.terms.training.mode == "synchronous" else version - 1
        found, flat = self.exchange.pull(newer_than=newer, timeout_s=self._left(number))
        if size is not None and flat.size != size:
            raise MalformedError("parameters of another model", code="message.malformed")
        return found, flat.copy()

    def _left(self, number: int) -> float:
        """Return how long a round's parameters are worth waiting for."""
        tick = self.exchange.tick or 0
        last = self.schedule.first_tick(min(number, self.schedule.rounds - 1) + 1)
        if number >= self.schedule.rounds:
            last = self.schedule.ticks - 1
        return max(0.0, (last - _MARGIN_TICKS - tick) * self.schedule.tick_s)

    def _spec(self) -> dict[str, object]:
        terms = self.terms
        return {
            "shape": list(terms.data.shape),
            "classes": terms.data.classes,
            "parameters_max": terms.training.parameters_max,
            "batch": terms.training.batch,
            "rounds": terms.training.rounds,
            "steps_per_round": terms.training.steps_per_round,
            "trainers": terms.trainers,
            "framework": terms.training.frameworks[self.index],
            "private": terms.privacy is not None,
        }

    def _engine(self, plan: Plan, privacy: Privacy | None) -> Engine:
        if plan.model is None:
            raise MalformedError("the plan has no model", code="recipe.malformed")
        return engine_of(self.terms, self.room, plan.model, index=self.index, privacy=privacy)

    def _privacy(self, examples: int) -> Privacy | None:
        agreed, training = self.terms.privacy, self.terms.training
        if agreed is None:
            return None
        return Privacy(
            examples=examples,
            batch=training.batch,
            clip=float(agreed.clip),
            noise_multiplier=float(agreed.noise_multiplier),
            delta=float(agreed.delta),
            epsilon_max=float(agreed.epsilon_max),
            steps=training.rounds * training.steps_per_round,
        )

    def _tell(self, number: int, values: dict[str, float]) -> None:
        names, digits = self.terms.release.metrics, self.terms.release.digits
        self.exchange.metrics(
            number, {name: round(values[name], digits) for name in names if name in values}
        )

    def _require_fitting(self, size: int) -> None:
        if size > self.terms.training.parameters_max:
            raise MalformedError(
                f"the recipe wants {size} parameters, and {self.terms.training.parameters_max} "
                "are agreed",
                code="recipe.malformed",
            )


def engine_of(
    terms: Terms, room: bytes, model: ModelDescription, *, index: int, privacy: Privacy | None
) -> Engine:
    """Return a trainer's engine as it begins; what is random in it follows from the terms.

    Args:
        terms: Of the room.
        room: Their digest.
        model: What the recipe describes.
        index: Which trainer.
        privacy: What it enforces.
    """
    seed = int.from_bytes(room[:7]) + index
    return build_engine(
        model, framework=terms.training.frameworks[index], seed=seed, privacy=privacy
    )


def _measured(engine: Engine, records: Records) -> dict[str, float]:
    found = engine.evaluate(records.x, records.y)
    values = {"loss": found.loss, "accuracy": found.accuracy}
    statement = engine.statement()
    return values if statement is None else values | {"epsilon": float(statement.epsilon)}


def bounded(difference: Array, norm: float) -> Array:
    """Return a difference cut to a norm; what is not finite becomes zero, all of it."""
    length = float(np.linalg.norm(difference.astype(np.float64)))
    if not np.isfinite(length):
        return np.zeros_like(difference)
    if length <= norm:
        return difference
    return np.asarray(difference * np.float32(norm / length * (1 - 1e-6)), np.float32)
