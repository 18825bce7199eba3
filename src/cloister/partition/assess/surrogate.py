"""A front of the adversary's own, for who sees what crosses and may not ask.

He knows the architecture (it leaks by time and by what is exposed) and not the weights. He trains
his front on public images until what it gives looks like what he observes: its distribution along
random directions is the observed one's (sliced Wasserstein distance), and, where he has the rest of
the network and labels of his images, the rest makes of it the right classes.

Observed is what the true front gives for the held-out images: he sees that by definition, and never
the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Front, Target
from cloister.partition.assess.clock import Deadline
from cloister.partition.assess.features import Crossing, divisors, finite
from cloister.partition.assess.frameworks import frameworks
from cloister.partition.assess.gradients import optimizer, outputs, stepper
from cloister.partition.graph import TensorInfo

__all__ = ["Surrogate", "Trainer", "in_batches", "train_surrogate", "trained_once"]

_RATE: Final = 5e-3
_DIRECTIONS: Final = 32
_MATCHING_WEIGHT: Final = 1.0
# A channel that varies less than this part of its tensor is brought up to it: scale hides nothing.
_LEAST_PART: Final = 0.1
# A new front whose channels are so many times weaker or stronger than the observed ones is brought
# to their scale: no number of steps takes weights over many powers of ten.
_FAR: Final = 30.0


@dataclass(frozen=True, slots=True)
class Surrogate:
    """A trained stand-in for the secret front.

    Attributes:
        model: A `keras.Model` from images to a list of tensors shaped as the crossing ones.
        front: The same as a function of arrays.
        asked: How many steps were asked for.
        steps: How many ran; None where there is nothing to train.
        finite: Whether all were on finite numbers.
        by: What it was trained by.
    """

    model: Any
    front: Front
    asked: int
    steps: int | None
    finite: bool
    by: str

    @property
    def complete(self) -> bool:
        """Whether all steps ran, and on finite numbers."""
        return self.finite and (self.steps is None or self.steps >= self.asked)

    @property
    def how(self) -> str:
        """A sentence about how it came about."""
        if self.steps is None:
            return "the surrogate front is one without weights, so there was nothing to train"
        return f"the surrogate front was trained by {self.by}, in {self.steps} steps"


class Trainer(Protocol):
    """Makes surrogates: `train_surrogate`, or one that remembers."""

    def __call__(
        self,
        target: Target,
        *,
        budget: Budget,
        deadline: Deadline,
        seed: int,
        progress: Callable[[float], None],
    ) -> Surrogate:
        """Train one, as `train_surrogate` says."""
        ...


def trained_once() -> Trainer:
    """Return a trainer for attackers of one target who know the same: the first has it trained.

    For another it is complete where as many steps ran as he asked for. For another target, or from
    another seed, there is another.
    """
    made: list[tuple[Target, int, Surrogate]] = []

    def train(target: Target, *, budget: Budget, seed: int, **more: Any) -> Surrogate:
        for known, by, surrogate in made:
            if known is target and by == seed:
                return replace(surrogate, asked=budget.steps)
        surrogate = train_surrogate(target, budget=budget, seed=seed, **more)
        made[:] = [(target, seed, surrogate)]
        return surrogate

    return train


def in_batches(front: Front, images: Array, batch: int) -> Crossing:
    """Return what a front gives for many images."""
    made = [front(images[i : i + batch]) for i in range(0, len(images), batch)]
    return finite([np.concatenate(each) for each in zip(*made, strict=True)])


def train_surrogate(
    target: Target,
    *,
    budget: Budget,
    deadline: Deadline,
    seed: int,
    progress: Callable[[float], None],
) -> Surrogate:
    """Train a front within the budget's steps and the deadline.

    It ends early, and is not complete, where the loss is no finite number.
    """
    crossing = in_batches(target.front, target.private, budget.batch)
    observed = crossing.tensors
    model = _scaled(_untrained(target, seed), target, observed, budget.batch)
    scales = [_scale(t) for t in observed]
    labelled = target.exposed is not None and target.proxy_labels is not None
    normal = labelled and _are_probabilities(target.exposed, observed, budget.batch)
    random = np.random.default_rng(seed)
    size = min(budget.batch, len(target.proxy), len(target.private))
    directions = [_directions(random, t.shape[1:]) for t in observed]

    def loss(images: Any, labels: Any, *seen: Any) -> Any:
        made = _listed(model(images, training=False))
        apart = [
            _sliced(_single(m) * scale, _single(s) * scale, d)
            for m, s, d, scale in zip(made, seen, directions, scales, strict=True)
        ]
        value = _MATCHING_WEIGHT * sum(apart) / len(apart)
        if labelled:
            value = value + _wrong(target.exposed, made, labels, normal=normal)
        return value

    ran, good = 0, crossing.finite
    if model.trainable_variables:
        step = stepper(loss, model.trainable_variables, optimizer(rate=_RATE, steps=budget.steps))
        none = np.zeros(len(target.proxy), np.int64)
        labels = np.asarray(target.proxy_labels) if labelled else none
        while ran < budget.steps and not deadline.over:
            mine = random.choice(len(target.proxy), size, replace=False)
            theirs = random.choice(len(target.private), size, replace=False)
            lost = step(target.proxy[mine], labels[mine], *(t[theirs] for t in observed))
            ran += 1
            if not np.isfinite(lost):
                good = False
                break
            progress(ran / budget.steps)
    by = "the exposed part, labels and" if labelled else "nothing but"
    return Surrogate(
        model=model,
        front=lambda images: outputs(model, images, batch=budget.batch),
        asked=budget.steps,
        steps=ran if model.trainable_variables else None,
        finite=good,
        by=f"{by} what was observed crossing",
    )


def _untrained(target: Target, seed: int) -> Any:
    """Return the front's architecture, or a plain one of the same shapes, with weights of our own.

    Cloning is not enough: an initialiser with a fixed seed would give the secret weights again.
    """
    keras = frameworks().keras
    random = np.random.default_rng(seed)
    if target.model is None:
        model = _plain(target.proxy.shape[1:], target.tensors)
    else:
        model = keras.models.clone_model(target.model)
    for variable in model.weights:
        variable.assign(_start(variable.name, tuple(variable.shape), random, variable.dtype))
    return model


def _scaled(model: Any, target: Target, observed: tuple[Array, ...], batch: int) -> Any:
    """Return a new front with its channels on the observed ones' scale, where that is far off."""
    own = in_batches(lambda x: outputs(model, x, batch=batch), target.proxy[:batch], batch).tensors
    gains = [_gain(m, s) for m, s in zip(own, observed, strict=True)]
    if all((gain == 1).all() for gain in gains):
        return model
    keras = frameworks().keras
    inputs = keras.Input(model.inputs[0].shape[1:])
    made = zip(_listed(model(inputs)), gains, strict=True)
    return keras.Model(inputs, [keras.layers.Rescaling(gain)(t) for t, gain in made])


def _gain(own: Array, observed: Array) -> Array:
    """Return by what to multiply each channel, 1 where it is near enough."""
    mine, theirs = (_of_channels(t) for t in (own, observed))
    both = (mine > 0) & (theirs > 0)
    ratio = np.divide(theirs, mine, out=np.ones_like(mine), where=both)
    gain: Array = np.where((ratio > _FAR) | (ratio < 1 / _FAR), ratio, 1.0).astype(np.float32)
    return gain


def _of_channels(tensor: Array) -> Array:
    """Return the deviation of each channel, float64."""
    deviations: Array = np.asarray(tensor, np.float64).reshape(-1, tensor.shape[-1]).std(axis=0)
    return deviations


def _scale(tensor: Array) -> Array:
    """Return by what to multiply a tensor's channels so that its numbers vary by about 1."""
    channels = tensor.reshape(-1, tensor.shape[-1])
    by: Array = 1 / divisors(channels, least=_LEAST_PART)
    return by.astype(np.float32)


def _start(name: str, shape: tuple[int, ...], random: np.random.Generator, datatype: Any) -> Array:
    if len(shape) > 1:
        deviation = np.sqrt(2.0 / np.prod(shape[:-1]))
        drawn: Array = (random.standard_normal(shape) * deviation).astype(datatype)
        return drawn
    ones = "gamma" in name or "variance" in name or "scale" in name
    return np.full(shape, 1 if ones else 0, datatype)


def _plain(image: tuple[int, ...], tensors: tuple[TensorInfo, ...]) -> Any:
    """Return convolutions from an image to every crossing tensor."""
    keras = frameworks().keras
    layers, ops = keras.layers, keras.ops
    x = inputs = keras.Input(image)
    for _ in range(2):
        x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    made = []
    for tensor in tensors:
        shape = tensor.shape[1:]
        if len(shape) == 3:  # noqa: PLR2004  # height, width, channels
            resized = ops.image.resize(x, shape[:2])
            made.append(layers.Conv2D(shape[2], 3, padding="same", activation="relu")(resized))
        else:
            pooled = layers.Flatten()(ops.image.resize(x, (8, 8)))
            made.append(layers.Reshape(shape)(layers.Dense(int(np.prod(shape)))(pooled)))
    return keras.Model(inputs, made)


def _directions(random: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return unit vectors among all numbers of an example, and among those of one place."""
    whole = random.standard_normal((int(np.prod(shape)), _DIRECTIONS))
    local = random.standard_normal((shape[-1], _DIRECTIONS))
    return tuple((v / np.linalg.norm(v, axis=0)).astype(np.float32) for v in (whole, local))


def _sliced(made: Any, seen: Any, directions: tuple[Array, Array]) -> Any:
    """Return the squared sliced Wasserstein distances of two batches, of wholes and of places."""
    ops = frameworks().keras.ops
    distances = []
    for each, numbers in zip(directions, (directions[0].shape[0], made.shape[-1]), strict=True):
        a = ops.sort(ops.reshape(made, (-1, numbers)) @ each, axis=0)
        b = ops.sort(ops.reshape(seen, (-1, numbers)) @ each, axis=0)
        distances.append(ops.mean((a - b) ** 2))
    return distances[0] + distances[1]


def _wrong(exposed: Any, made: list[Any], labels: Any, *, normal: bool) -> Any:
    """Return the cross-entropy of what the exposed part says of the surrogate's tensors."""
    keras = frameworks().keras
    said = _listed(exposed(made[0] if len(made) == 1 else made, training=False))[0]
    entropy = keras.losses.sparse_categorical_crossentropy(labels, said, from_logits=not normal)
    return keras.ops.mean(entropy)


def _are_probabilities(exposed: Any, observed: tuple[Array, ...], batch: int) -> bool:
    cut = [t[:batch] for t in observed]
    said = outputs(exposed, cut[0] if len(cut) == 1 else cut, batch=batch)[0]
    return bool(said.min() >= 0 and np.allclose(said.sum(axis=-1), 1, atol=1e-3))


def _single(tensor: Any) -> Any:
    return frameworks().keras.ops.cast(tensor, "float32")


def _listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]
