"""A model that was read as data, as attacks take it: images with channels last in, arrays out.

Keras models are differentiable, and their parts are `keras.Model`s. Parts of the other formats run
in their own runtime; gradients through them there are none, so attacks that need the weights'
gradients are left out for them, and the report says so.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from cloister.errors import ConfigError, UnsupportedError
from cloister.partition.assess.attack import Array, Front
from cloister.partition.assess.frameworks import frameworks
from cloister.partition.assess.fresh import copied
from cloister.partition.assess.gradients import outputs as outputs_of
from cloister.partition.graph import Cut, Source, TensorInfo, nodes_between
from cloister.partition.runtime import RunningPart, open_part

__all__ = ["Network", "probabilities"]

_BATCH: Final = 64
_GRID: Final = 4  # batch, two of space, channels
_PLANES: Final = frozenset({1, 3, 4})
_TIMINGS: Final = 15
_KEPT: Final = 8
# Names of a part's inputs and of its outputs.
_Ends = tuple[tuple[str, ...], tuple[str, ...]]


class Network:
    """One model of images, whole and in parts."""

    def __init__(self, source: Source) -> None:
        """Take a model.

        Raises:
            ConfigError: `config.value`: it does not take one batch of images and give scores.
        """
        graph = source.graph
        self.source: Final = source
        self.graph: Final = graph
        if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != _GRID:
            raise ConfigError(
                "only models that take one batch of images are assessed",
                code="config.value",
                hint="one input of four axes: batch, height, width and channels in some order",
            )
        if not graph.outputs or len(graph.outputs[0].shape) != 2:  # noqa: PLR2004  # batch, classes
            raise ConfigError(
                "only models whose first output is one row of scores for each image are assessed",
                code="config.value",
            )
        self.differentiable: Final = hasattr(source, "keras_model")
        _, first, _, last = graph.inputs[0].shape
        # Operators of ONNX have channels first, and so do its images unless their sizes say not.
        told = (first in _PLANES) != (last in _PLANES)
        self.channels_first: Final = first in _PLANES if told else graph.format == "onnx"
        self._run: Final[dict[_Ends, RunningPart]] = {}
        self._plain_models: Final[dict[_Ends, Any]] = {}

    @property
    def image(self) -> tuple[int, int, int]:
        """Height, width and channels of an image; -1 where any will do."""
        _, a, b, c = self.graph.inputs[0].shape
        return (b, c, a) if self.channels_first else (a, b, c)

    @property
    def classes(self) -> int:
        """How many scores there are for each image; -1 where that is not said."""
        return self.graph.outputs[0].shape[1]

    def scores(self, images: Array) -> Array:
        """Return the first output for images."""
        return self._through(self._inputs, self._outputs, (self._fed(images),))[0]

    def front(self, cut: Cut) -> Front:
        """Return the part before a cut as a function of images."""
        return lambda images: tuple(
            np.moveaxis(tensor, 1, -1) if self._moves(name) else tensor
            for name, tensor in zip(
                cut.tensors,
                self._through(self._inputs, list(cut.tensors), (self._fed(images),)),
                strict=True,
            )
        )

    def rest(self, cut: Cut, tensors: Sequence[Array]) -> Array:
        """Return the first output for what crossed."""
        given = tuple(
            _channels_first(tensor) if self._moves(name) else tensor
            for name, tensor in zip(cut.tensors, tensors, strict=True)
        )
        return self._through(list(cut.tensors), self._outputs, given)[0]

    def infos(self, cut: Cut) -> tuple[TensorInfo, ...]:
        """Return what crosses, with channels last."""
        found = [self.graph.tensors[name] for name in cut.tensors]
        return tuple(
            replace(i, shape=(i.shape[0], *i.shape[2:], i.shape[1])) if self._moves(i.name) else i
            for i in found
        )

    def front_model(self, cut: Cut) -> Any | None:
        """Return the part before a cut as a trainable copy, from images to a list of tensors."""
        return self.model(self._inputs, cut.tensors) if self.differentiable else None

    def rest_model(self, cut: Cut) -> Any | None:
        """Return the part after a cut, from the crossing tensors to the first output."""
        return self.model(cut.tensors, self._outputs) if self.differentiable else None

    def middle_model(self, front: Cut, back: Cut) -> Any:
        """Return the part between two cuts, from what crosses one to what crosses the other."""
        return self.model(front.tensors, back.tensors)

    def model(self, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
        """Return a part as a `keras.Model` of all the inputs and outputs that are named.

        It is a copy whose layers can be trained. Tensors that pass by the part are among its
        outputs all the same.
        """
        keras = frameworks().keras
        passing = set(outputs) <= set(inputs)
        part: Any | None = None
        read: tuple[str, ...] = ()
        made: tuple[str, ...] = ()
        if not passing:
            _, read, made = nodes_between(self.graph, inputs, outputs)
            part = copied(self.source.keras_model(read, made))  # type: ignore[attr-defined]  # of Keras sources only
            if tuple(read) == tuple(inputs) and tuple(made) == tuple(outputs):
                return part
        known: dict[str, Any] = {}
        for i, name in enumerate(inputs):
            info = self.graph.tensors[name]
            known[name] = keras.Input(
                tuple(None if size < 0 else size for size in info.shape[1:]),
                dtype=info.datatype,
                name=f"crossing_{i}",
            )
        starts = [known[name] for name in inputs]
        if part is not None:
            result = part([known[n] for n in read] if len(read) > 1 else known[read[0]])
            result = result if isinstance(result, list | tuple) else [result]
            known.update(zip(made, result, strict=True))
        ends = [
            keras.layers.Identity()(known[name]) if name in inputs else known[name]
            for name in outputs
        ]
        return keras.Model(starts, ends)

    def timed(self, cut: Cut, image: Array) -> tuple[float, float]:
        """Return median milliseconds of the front and of the whole, for one image, in one thread.

        Both run in the runtime that serves them.
        """
        whole = self._part(self._inputs, self._outputs)
        front = self._part(self._inputs, cut.tensors)
        feed = {self._inputs[0]: self._fed(image[:1])}
        return _milliseconds(front, feed), _milliseconds(whole, feed)

    @property
    def _inputs(self) -> tuple[str, ...]:
        return (self.graph.inputs[0].name,)

    @property
    def _outputs(self) -> tuple[str, ...]:
        return (self.graph.outputs[0].name,)

    def _through(
        self, inputs: Sequence[str], outputs: Sequence[str], given: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        """Return tensors of the model's own layout; those that pass by are handed on."""
        known = dict(zip(inputs, given, strict=True))
        wanted = [name for name in outputs if name not in known]
        if wanted:
            _, read, made = nodes_between(self.graph, inputs, wanted)
            if self.differentiable:
                key = (tuple(read), tuple(made))
                model = self._plain(key)
                found = outputs_of(model, [known[name] for name in read], batch=_BATCH)
                known.update(zip(made, found, strict=True))
            else:
                part = self._part(read, made)
                known.update(_run(part, {name: known[name] for name in read}))
        return tuple(known[name] for name in outputs)

    def _plain(self, key: _Ends) -> Any:
        if key not in self._plain_models:
            if len(self._plain_models) >= _KEPT:
                self._plain_models.clear()
            self._plain_models[key] = self.source.keras_model(*key)  # type: ignore[attr-defined]  # of Keras sources only
        return self._plain_models[key]

    def _part(self, inputs: Sequence[str], outputs: Sequence[str]) -> RunningPart:
        key = (tuple(inputs), tuple(outputs))
        if key not in self._run:
            whole = (self._inputs, self._outputs)
            for other in [each for each in self._run if each != whole]:
                del self._run[other]
            self._run[key] = open_part(self.source.part(*key), threads=1)
        return self._run[key]

    def _fed(self, images: Array) -> Array:
        info = self.graph.inputs[0]
        given = np.asarray(images, info.datatype)
        return _channels_first(given) if self.channels_first else given

    def _moves(self, name: str) -> bool:
        """Tell whether a tensor has its channels first.

        So it is where images have; and in ONNX, but for what is shaped as the images are.
        """
        shape = self.graph.tensors[name].shape
        if len(shape) != _GRID:
            return False
        as_images = shape[1:] == self.graph.inputs[0].shape[1:]
        return self.channels_first or (self.graph.format == "onnx" and not as_images)


def probabilities(scores: Array) -> Array:
    """Return rows of scores as probabilities: as they are where they are that, else by softmax."""
    values = np.asarray(scores, np.float64)
    if values.size and values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return values
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result


def _channels_first(tensor: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(tensor, -1, 1))


def _run(part: RunningPart, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run a part on many examples, in batches of the size that it was made for.

    Raises:
        UnsupportedError: `model.convert`: it gives something that has no row for each example.
    """
    fixed = part.part.inputs[0].shape[0] > 0
    size = part.part.inputs[0].shape[0] if fixed else _BATCH
    count = len(next(iter(feeds.values())))
    found: list[dict[str, Array]] = []
    for start in range(0, count, size):
        given = {name: values[start : start + size] for name, values in feeds.items()}
        filled = {name: _filled(each, size, fixed=fixed) for name, each in given.items()}
        rows = len(next(iter(filled.values())))
        made = part.run(filled)
        for name, array in made.items():
            if array.ndim == 0 or len(array) != rows:
                raise UnsupportedError(
                    f"{name} crosses, which has no row for each example", code="model.convert"
                )
        found.append(made)
    return {name: np.concatenate([each[name] for each in found])[:count] for name in found[0]}


def _filled(values: Array, size: int, *, fixed: bool) -> Array:
    """Repeat the last example up to a batch of a fixed size."""
    if not fixed or len(values) == size:
        return values
    return np.concatenate([values, np.repeat(values[-1:], size - len(values), axis=0)])


def _milliseconds(part: RunningPart, feed: Mapping[str, Array]) -> float:
    size = part.part.inputs[0].shape[0]
    given = {name: np.repeat(each, max(1, size), axis=0) for name, each in feed.items()}
    part.run(given)
    times = []
    for _ in range(_TIMINGS):
        start = time.perf_counter()
        part.run(given)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times) / max(1, size)
