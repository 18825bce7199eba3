"""A Keras model's configuration as layers and calls, models within models laid out flat.

Functional and sequential models say all that they do in their configuration; of other models the
file has a class's name, which is code, and they are refused.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cloister.errors import MalformedError, RefusedError
from cloister.partition.keras_layers import LAYERS, checked_config
from cloister.partition.keras_nodes import Reference, input_shape, read_calls, read_ends

__all__ = ["KerasCall", "KerasInput", "KerasLayer", "KerasPlan", "read_plan"]

_MODELS: Final = frozenset({"Functional", "Sequential", "Model"})
_MODULES: Final = frozenset(
    {
        None,
        "keras",
        "keras.layers",
        "keras.models",
        "keras.src.models.functional",
        "keras.src.models.sequential",
        "keras.src.engine.functional",
        "keras.engine.functional",
    }
)
_MAX_LAYERS: Final = 20_000
_MAX_CALLS: Final = 20_000
# What laying out may cost: names, calls and references of a model, each time that it is called.
_MAX_STEPS: Final = 1 << 18
_MAX_DEPTH: Final = 8
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/:]{1,200}")


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """One layer.

    Attributes:
        name: Unique; layers of a model within the model have its name before theirs.
        kind: Its class, one of `LAYERS`.
        settings: Its checked configuration.
        place: Where a `.keras` file has its weights.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    place: str


@dataclass(frozen=True, slots=True)
class KerasCall:
    """One use of a layer: the layer's index, the tensors that go in, and the one that comes out."""

    layer: int
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, slots=True)
class KerasInput:
    """An input of the model; -1 in the shape is any size."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KerasPlan:
    """A whole model; calls stand in an order in which they can run."""

    layers: tuple[KerasLayer, ...]
    calls: tuple[KerasCall, ...]
    inputs: tuple[KerasInput, ...]
    outputs: tuple[str, ...]


@dataclass(slots=True)
class _Model:
    """A model as it stands in the configuration, before its calls are laid out."""

    names: list[str] = field(default_factory=list)
    things: dict[str, int | KerasInput | _Model] = field(default_factory=dict)
    calls: dict[str, tuple[tuple[Reference, ...], ...]] = field(default_factory=dict)
    inputs: tuple[Reference, ...] = ()
    outputs: tuple[Reference, ...] = ()


def read_plan(config: Any) -> KerasPlan:
    """Return the layers and calls of a model.

    Raises:
        RefusedError: `model.unsafe`: it names a class that is not on the list; `model.operator`: it
            uses one in a way that is not.
        MalformedError: `model.malformed`.
    """
    reader = _Reader()
    model = reader.model(config, _Where())
    inputs = _inputs(model)
    outputs = reader.lay_out(model, "", tuple(end.name for end in inputs))
    return KerasPlan(tuple(reader.layers), tuple(reader.calls), inputs, outputs)


@dataclass(frozen=True, slots=True)
class _Where:
    """Where a model stands: before its tensors' names, before its weights' paths, how deep."""

    prefix: str = ""
    place: str = ""
    depth: int = 0


class _Reader:
    """Collects the layers and calls of a model and of those in it."""

    def __init__(self) -> None:
        self.layers: Final[list[KerasLayer]] = []
        self.calls: Final[list[KerasCall]] = []
        self._entries = 0
        self._steps = 0

    def model(self, config: Any, where: _Where) -> _Model:
        if where.depth > _MAX_DEPTH:
            raise _broken("models within models within models")
        kind, settings = _class(config)
        if kind not in _MODELS:
            raise RefusedError(
                f"the Keras model is a {kind[:100]!r}, which is code", code="model.unsafe"
            )
        entries = settings.get("layers")
        if not isinstance(entries, list) or not entries:
            raise _broken("its layers")
        model = _Model()
        used: dict[str, int] = {}
        for entry in entries:
            self._entry(model, entry, where, used)
        if kind == "Sequential":
            _chain(model, settings, where.prefix)
            return model
        model.inputs = read_ends(settings.get("input_layers"))
        model.outputs = read_ends(settings.get("output_layers"))
        for entry in entries:
            model.calls[_name(entry)] = read_calls(entry.get("inbound_nodes", []))
        _inputs(model)
        return model

    def _entry(self, model: _Model, entry: Any, where: _Where, used: dict[str, int]) -> None:
        kind, settings = _class(entry)
        name = _name(entry)
        self._entries += 1
        if name in model.things or self._entries > _MAX_LAYERS:
            raise _broken("two layers of one name, or too many")
        snake = _snake(kind)
        count = used.get(snake, -1) + 1
        used[snake] = count
        here = f"{where.place}layers/{snake}_{count}" if count else f"{where.place}layers/{snake}"
        path = f"{where.prefix}{name}"
        model.names.append(name)
        if kind == "InputLayer":
            model.things[name] = KerasInput(path, input_shape(settings))
        elif kind in _MODELS:
            within = _Where(f"{path}/", f"{here}/", where.depth + 1)
            model.things[name] = self.model(entry, within)
        else:
            model.things[name] = len(self.layers)
            self.layers.append(KerasLayer(path, kind, checked_config(kind, settings), here))

    def lay_out(self, model: _Model, prefix: str, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """Append the calls of a model, given the tensors that go in; return those that come out."""
        known: dict[tuple[str, int], tuple[str, ...]] = {}
        for (name, node, _), tensor in zip(model.inputs, inputs, strict=True):
            known[name, node] = (tensor,)
        calls = [
            (name, node, references)
            for name in model.names
            for node, references in enumerate(model.calls.get(name, ()))
            if not isinstance(model.things[name], KerasInput)
        ]
        # A model within is laid out at each call, and models in it at each call of theirs.
        self._steps += len(model.names) + sum(1 + len(references) for _, _, references in calls)
        if self._steps > _MAX_STEPS:
            raise _broken("too many calls")
        missing = [{r[:2] for r in references if r[:2] not in known} for _, _, references in calls]
        readers: dict[tuple[str, int], list[int]] = {}
        for index, keys in enumerate(missing):
            for key in keys:
                readers.setdefault(key, []).append(index)
        # In the order of the file as far as it goes: a call stays behind what it needs.
        ready = [index for index, keys in enumerate(missing) if not keys]
        while ready:
            name, node, references = calls[heapq.heappop(ready)]
            known[name, node] = self._call(model, prefix, (name, node, references), known)
            for index in readers.pop((name, node), ()):
                missing[index].discard((name, node))
                if not missing[index]:
                    heapq.heappush(ready, index)
        if any((name, node) not in known for name, node, _ in model.outputs):
            raise _broken("an output that nothing makes")
        return tuple(_tensor(known, reference) for reference in model.outputs)

    def _call(
        self,
        model: _Model,
        prefix: str,
        call: tuple[str, int, tuple[Reference, ...]],
        known: Mapping[tuple[str, int], tuple[str, ...]],
    ) -> tuple[str, ...]:
        name, node, references = call
        given = tuple(_tensor(known, reference) for reference in references)
        own = f"{prefix}{name}:{node}" if node else f"{prefix}{name}"
        thing = model.things[name]
        if isinstance(thing, _Model):
            if len(given) != len(thing.inputs):
                raise _broken("a model within that gets other inputs than it has")
            return self.lay_out(thing, f"{own}/", given)
        if not isinstance(thing, int) or len(self.calls) >= _MAX_CALLS:
            raise _broken("an input that is called, or too many calls")
        if not given or (len(given) > 1 and not LAYERS[self.layers[thing].kind].merges):
            raise _broken("what a layer gets")
        self.calls.append(KerasCall(thing, given, own))
        return (own,)


def _inputs(model: _Model) -> tuple[KerasInput, ...]:
    """Return a model's inputs; refuse what is none of its own, or stands twice."""
    ends = [model.things.get(name) for name, _, _ in model.inputs]
    inputs = tuple(end for end in ends if isinstance(end, KerasInput))
    if len(inputs) != len(ends) or not inputs or len(set(model.inputs)) != len(ends):
        raise _broken("its inputs")
    return inputs


def _chain(model: _Model, settings: Mapping[str, Any], prefix: str) -> None:
    """Give a sequential model the calls and ends that it does not spell out."""
    first = model.things[model.names[0]]
    if not isinstance(first, KerasInput):
        shape = settings.get("build_input_shape")
        name = "input"
        while name in model.things:
            name += "_"
        model.names.insert(0, name)
        model.things[name] = KerasInput(f"{prefix}{name}", input_shape({"batch_shape": shape}))
    before = model.names[0]
    for name in model.names[1:]:
        if isinstance(model.things[name], KerasInput):
            raise _broken("an input in the middle")
        model.calls[name] = (((before, 0, 0),),)
        before = name
    model.inputs = ((model.names[0], 0, 0),)
    model.outputs = ((before, 0, 0),)


def _tensor(known: Mapping[tuple[str, int], tuple[str, ...]], reference: Reference) -> str:
    name, node, index = reference
    tensors = known[name, node]
    if index >= len(tensors):
        raise _broken("an output that a layer does not have")
    return tensors[index]


def _class(entry: Any) -> tuple[str, dict[str, Any]]:
    """Return the class that an entry names, and its settings; refuse what is imported by name."""
    if not isinstance(entry, dict):
        raise _broken("a layer")
    kind, settings = entry.get("class_name"), entry.get("config")
    if not isinstance(kind, str) or not isinstance(settings, dict):
        raise _broken("a layer")
    module, registered = entry.get("module"), entry.get("registered_name")
    own = registered is not None and (kind not in _MODELS or registered != kind)
    if own or not (module is None or isinstance(module, str)) or module not in _MODULES:
        raise RefusedError(
            f"the Keras model has a {kind[:100]!r} of somebody's own", code="model.unsafe"
        )
    return kind, settings


def _name(entry: Mapping[str, Any]) -> str:
    name = entry["config"].get("name", entry.get("name"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _broken("a layer's name")
    if entry.get("name", name) != name:
        raise _broken("a layer of two names")
    return name


def _snake(name: str) -> str:
    """Return a class's name as Keras writes it in the paths of weights."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _broken(what: str) -> MalformedError:
    return MalformedError(f"the Keras model is damaged: {what}", code="model.malformed")
