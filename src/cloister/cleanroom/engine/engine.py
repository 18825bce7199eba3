"""A declared model that is trained: the trusted half of a clean room's training.

Nothing of the recipe runs here; what it gave is a description. A framework computes gradients;
which examples take part, clipping, noise, the optimizer and all randomness are here, and the same
for every framework, so that trainers of several frameworks work on one vector of parameters.

A private step, in this order, as in `training/privacy/model.py`:

1. Draw a batch: each example takes part with probability `batch / examples`.
2. Compute each example's gradient, from a batch of that example alone.
3. Cut each to the norm `clip`, over all weights together, and sum them.
4. Add noise once, of `noise_multiplier * clip`, to the sum.
5. Divide by the expected size of a batch: the size that was drawn is not public.
6. Give that to the optimizer: from here on nothing costs privacy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cloister.cleanroom.description import ModelDescription
from cloister.cleanroom.engine.backends import Backend, Framework, load_backend
from cloister.cleanroom.engine.batches import Shuffled, poisson, targets_of, varied
from cloister.cleanroom.engine.clipping import add_clipped
from cloister.cleanroom.engine.network import Network, joined, network_of
from cloister.cleanroom.engine.noise import fresh_seed, gaussian
from cloister.cleanroom.engine.optimizers import make_optimizer
from cloister.cleanroom.engine.privacy import Privacy, refusal, require_separate
from cloister.errors import ConfigError, MalformedError
from cloister.training.privacy.statement import Statement

__all__ = ["Engine", "Metrics", "build_engine"]

Floats = np.ndarray[Any, np.dtype[np.float32]]
_CHUNK: Final = 128  # examples at one time, when nothing is trained
_MOST_GRADIENTS: Final = 1 << 26  # numbers in memory, of single examples' gradients
_MOST_TOGETHER: Final = 64
_SEEDS: Final = 1 << 64
_INITIAL, _ORDER, _CHANGES = range(3)  # what a seed is used for


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a model is worth on some examples.

    Attributes:
        loss: The mean.
        accuracy: The share whose largest output is at the label.
        examples: How many there were.
    """

    loss: float
    accuracy: float
    examples: int


class Engine:
    """One trainer's model, with what its optimizer remembers. Made by `build_engine`."""

    def __init__(
        self,
        description: ModelDescription,
        network: Network,
        backend: Backend,
        *,
        seed: int,
        privacy: Privacy | None,
    ) -> None:
        self.description = description
        self.privacy = privacy
        self.skipped = 0
        self._network = network
        self._backend = backend
        self._flat = _initial(network, np.random.Generator(np.random.Philox([seed, _INITIAL])))
        self._optimizer = make_optimizer(description.optimizer, network.trained_size)
        self._rate = description.optimizer.rate_at(0)
        self._decayed = joined(
            [np.full(each.shape, each.role == "kernel", np.float32) for each in network.trained]
        )
        self._batches = Shuffled(
            description.batch,
            np.random.Generator(np.random.Philox([seed, _ORDER])),
            np.zeros(0, np.intp),
        )
        self._changes = np.random.Generator(np.random.Philox([seed, _CHANGES]))
        self._spent = 0

    # Parameters.

    @property
    def size(self) -> int:
        """How many numbers the parameters are."""
        return self._network.size

    def get(self) -> Floats:
        """Return a copy of the parameters."""
        return self._flat.copy()

    def set(self, flat: Floats) -> None:
        """Take parameters; what the optimizer remembers stays.

        Raises:
            MalformedError: `message.malformed`: not as many finite numbers as there are parameters.
        """
        found = np.asarray(flat)
        if found.shape != (self.size,) or found.dtype != np.float32:
            raise _malformed(f"parameters are {self.size} numbers of 32 bits")
        if not np.isfinite(found).all():
            raise _malformed("a parameter is not finite")
        self._flat = np.array(found)
        for slot in self._network.kept:
            if slot.role == "variance":  # differences of several trainers may add up to less than 0
                np.maximum(slot.of(self._flat), 0, out=slot.of(self._flat))

    def at_round(self, round_number: int) -> None:
        """Learn from now on at the rate that the description has for a round; they count from 0."""
        self._rate = self.description.optimizer.rate_at(round_number)

    def warm_up(self) -> None:
        """Have the framework compile what steps need, on zeros; nothing is learned or spent."""
        together = self._together() if self.privacy is not None else self.description.batch
        x = np.zeros((together, *self.description.input_shape), np.float32)
        targets = np.zeros((together, self._network.outputs), np.float32)
        masks = [np.ones((together, *shape), np.float32) for shape, _ in self._network.dropped]
        if self.privacy is None:
            self._backend.gradient(self._flat, x, targets, masks)
        else:
            self._backend.example_gradients(self._flat, x, targets, masks)
        self._outputs(x)

    # Training.

    def step_from(self, x: Any, y: Any) -> None:
        """Do one step on a batch that is drawn from these examples.

        With privacy, `x` and `y` are all that the trainer has.

        Raises:
            ConfigError: `privacy.refused`: not as many examples as the plan has, or no step left.
            MalformedError: `message.malformed`: not the description's shape, or no such labels.
        """
        self._require_shape(x, y)
        if self.privacy is None:
            rows = self._batches.draw(len(x))
            self._step_on(np.array(x[rows], np.float32), self._targets(y[rows]))
            return
        if len(x) != self.privacy.examples:
            raise refusal(f"{len(x)} examples, and the plan is for {self.privacy.examples}")
        if self._spent >= self.privacy.steps:
            raise refusal("the steps of the plan are spent")
        self._spent += 1  # before anything is computed
        rate = self.privacy.batch / self.privacy.examples
        rows = poisson(self.privacy.examples, rate, fresh_seed())
        self._private_step(self.privacy, x, self._targets(y), rows)

    def step(self, x: Any, y: Any) -> None:
        """Do one step on exactly these examples.

        Raises:
            ConfigError: `privacy.refused`: a batch that somebody chose is no sample.
            MalformedError: `message.malformed`: not the description's shape, or no such labels.
        """
        if self.privacy is not None:
            raise refusal("a batch that was not drawn here", hint="step_from")
        self._require_shape(x, y)
        self._step_on(np.array(x, np.float32), self._targets(y))

    # Looking.

    def predict(self, x: Any) -> Floats:
        """Return a row for each example: probabilities, or with mse what comes out."""
        outputs = self._outputs(x)
        if self._network.loss == "mse":
            return outputs
        return np.asarray(np.exp(_log_softmax(outputs)), np.float32)

    def losses(self, x: Any, y: Any) -> Floats:
        """Return each example's loss."""
        return self._judged(x, y)[0]

    def evaluate(self, x: Any, y: Any) -> Metrics:
        """Return what the model is worth on these examples. No privacy covers it."""
        losses, right = self._judged(x, y)
        if not len(losses):
            return Metrics(0.0, 0.0, 0)
        return Metrics(float(losses.mean(dtype=np.float64)), float(right.mean()), len(losses))

    def statement(self) -> Statement | None:
        """Return what private steps have cost until now; None without privacy.

        Raises:
            MissingExtraError: dp-accounting is not installed.
        """
        return None if self.privacy is None else self.privacy.statement(self._spent)

    # How.

    def _step_on(self, x: Floats, targets: Floats) -> None:
        if self.description.augment is not None:
            x = np.ascontiguousarray(varied(x, self.description.augment, self._changes))
        gradient, moments = self._backend.gradient(self._flat, x, targets, self._masks(len(x)))
        self._change(joined(gradient), moments)

    def _private_step(self, plan: Privacy, x: Any, targets: Floats, rows: Any) -> None:
        size = self._network.trained_size
        total = np.zeros(size)
        for taken, there in _portions(rows, self._together()):
            images = np.array(x[taken], np.float32)
            finite = np.isfinite(images).all(tuple(range(1, images.ndim)))
            images[~finite] = 0  # they add nothing, and no framework has to keep them apart
            if self.description.augment is not None:
                images = varied(images, self.description.augment, self._changes)
            gradients = self._backend.example_gradients(
                self._flat, np.ascontiguousarray(images), targets[taken], self._masks(len(taken))
            )
            add_clipped(total, gradients, clip=plan.clip, takes_part=there & finite)
        total += gaussian(size, deviation=plan.noise_multiplier * plan.clip, seed=fresh_seed())
        self._change((total / plan.batch).astype(np.float32), [])

    def _together(self) -> int:
        """Return how many examples' gradients are computed at one time."""
        return max(1, min(_MOST_TOGETHER, _MOST_GRADIENTS // self._network.trained_size))

    def _change(self, gradient: Floats, moments: list[Floats]) -> None:
        """Let the optimizer make the step; one whose result is not finite is left out."""
        with np.errstate(all="ignore"):
            trained = joined(self._network.weights(self._flat))
            decay = np.float32(self.description.optimizer.weight_decay)
            gradient = gradient + decay * self._decayed * trained
            changed = trained + self._optimizer.change(gradient, self._rate)
        flat, start = self._flat.copy(), 0
        for slot in self._network.trained:
            slot.of(flat)[...] = changed[start : start + slot.size].reshape(slot.shape)
            start += slot.size
        self._average(flat, moments)
        if np.isfinite(flat).all():
            self._flat = flat
        else:
            self.skipped += 1
            self._optimizer = make_optimizer(self.description.optimizer, self._network.trained_size)

    def _average(self, flat: Floats, moments: list[Floats]) -> None:
        if not moments:
            return
        for step in self._network.steps:
            for number in step.kept:
                kept = self._network.kept[number].of(flat)
                stays = np.float32(step.momentum)
                kept[...] = stays * kept + (1 - stays) * moments[number].reshape(kept.shape)

    def _masks(self, count: int) -> list[Floats]:
        return [
            (self._changes.random((count, *shape), np.float32) >= rate).astype(np.float32)
            / np.float32(1 - rate)
            for shape, rate in self._network.dropped
        ]

    def _judged(self, x: Any, y: Any) -> tuple[Floats, Any]:
        """Return each example's loss, and whether its largest output is at the label."""
        self._require_shape(x, y)
        outputs, targets = self._outputs(x), self._targets(y)
        if self._network.loss == "mse":
            losses = np.square(outputs - targets).mean(-1, dtype=np.float64)
        else:
            losses = -(_log_softmax(outputs) * targets).sum(-1)
        return np.asarray(losses, np.float32), outputs.argmax(-1) == np.asarray(y)

    def _outputs(self, x: Any) -> Floats:
        self._require_shape(x, x)
        flat = self._flat
        parts = [np.zeros((0, self._network.outputs), np.float32)]
        for start in range(0, len(x), _CHUNK):
            part = np.array(x[start : start + _CHUNK], np.float32)
            missing = min(_CHUNK, len(x)) - len(part)  # frameworks compile for each size anew
            filled = np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)])
            parts.append(self._backend.outputs(flat, filled)[: len(part)])
        return np.concatenate(parts)

    def _targets(self, y: Any) -> Floats:
        try:
            return targets_of(y, self._network.outputs)
        except ValueError as e:
            raise _malformed(str(e)) from e

    def _require_shape(self, x: Any, y: Any) -> None:
        if x.shape[1:] != self.description.input_shape or x.dtype.kind not in "fiu":
            raise _malformed(f"examples have the shape {self.description.input_shape}")
        if len(x) != len(y):
            raise _malformed(f"{len(x)} examples have {len(y)} labels")


def build_engine(
    description: ModelDescription,
    *,
    framework: Framework,
    seed: int,
    privacy: Privacy | None,
) -> Engine:
    """Return a model with its initial parameters, which are a function of description and seed.

    Args:
        description: What to build; untrusted, and checked when it was read.
        framework: Who computes gradients. One in a process.
        seed: For initial parameters, and, without privacy, for batches: 0 to 2^64 - 1. It may be
            public.
        privacy: The plan, or None for a training that promises nothing.

    Raises:
        ConfigError: `config.value`: no such framework or seed; `privacy.refused`: a layer that
            mixes examples.
        MissingExtraError: the framework is not installed.
    """
    if type(seed) is not int or not 0 <= seed < _SEEDS:
        raise ConfigError("a seed is a number from 0 to 2^64 - 1", code="config.value")
    network = network_of(description)
    if privacy is not None:
        require_separate(network)
    backend = load_backend(framework, network)
    return Engine(description, network, backend, seed=seed, privacy=privacy)


def _initial(network: Network, source: np.random.Generator) -> Floats:
    """Return kernels by Glorot and Bengio (2010), scales and variances of one, and zeros."""
    flat = np.zeros(network.size, np.float32)
    for slot in (*network.trained, *network.kept):
        if slot.role == "kernel":
            field = int(np.prod(slot.shape[:-2], dtype=np.int64))
            limit = np.sqrt(6 / (field * (slot.shape[-2] + slot.shape[-1])))
            slot.of(flat)[...] = (source.random(slot.shape) * 2 - 1) * limit
        elif slot.role in ("gamma", "variance"):
            slot.of(flat)[...] = 1
    return flat


def _portions(rows: Any, together: int) -> Iterator[tuple[Any, Any]]:
    """Cut rows into portions of one size; what fills the last one takes no part."""
    for start in range(0, len(rows), together):
        part = rows[start : start + together]
        there = np.arange(together) < len(part)
        yield np.concatenate([part, np.zeros(together - len(part), part.dtype)]), there


def _log_softmax(outputs: Floats) -> Any:
    values = outputs.astype(np.float64)
    values -= values.max(-1, keepdims=True)
    return values - np.log(np.exp(values).sum(-1, keepdims=True))


def _malformed(public: str) -> MalformedError:
    return MalformedError(public, code="message.malformed")
