"""The models that are served at this moment, each with its versions.

What is served is one immutable table. A query takes its version from the table once and keeps it;
a change puts another table in its place. So no query sees two versions, and one that was taken out
lives for as long as queries hold it.

Spec: serving-v1, clauses SRV-40, SRV-44 and SRV-45.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloister.inference.catalogue import Key, require_name
from cloister.inference.classification import Labels
from cloister.inference.line import Line, Watcher
from cloister.inference.model import Model
from cloister.inference.model_config import ModelConfig
from cloister.inference.tensor import TensorSpec

__all__ = ["Registry", "Served", "Shelf"]


@dataclass(frozen=True, slots=True)
class Served:
    """One version of a model, ready to answer.

    Attributes:
        name: The model's.
        version: Its number, as a text.
        model: Loaded.
        line: Through which queries reach it.
        labels: Of its classes; None where it has none.
        config: How it is served.
        note: What clients are told of how it is computed; empty where there is nothing to tell.
    """

    name: str
    version: str
    model: Model
    line: Line
    labels: Labels | None = None
    config: ModelConfig = field(default_factory=ModelConfig)
    note: str = ""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What clients are told that it gives."""
        told = self.config.classification
        if told is None:
            return self.model.outputs
        name = told.output or self.model.outputs[0].name
        return tuple(
            TensorSpec(spec.name, "BYTES", (*spec.shape[:-1], told.top))
            if spec.name == name
            else spec
            for spec in self.model.outputs
        )


@dataclass(frozen=True, slots=True)
class Shelf:
    """The versions of one model, oldest first, and what some of them are called."""

    versions: Mapping[str, Served]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def newest(self) -> Served:
        """The version that answers where none is asked for."""
        return list(self.versions.values())[-1]


class Registry:
    """What is served. Reading takes no lock; changing it replaces all of it."""

    def __init__(self, shelves: Mapping[str, Shelf] | None = None) -> None:
        """Begin with some models, each with at least one version."""
        self._lock = threading.Lock()
        self._shelves: Mapping[str, Shelf] = {}
        self._refused: Mapping[Key, str] = {}
        self.replace(shelves or {})

    @classmethod
    def of(
        cls,
        models: Mapping[str, Model],
        *,
        labels: Labels | None = None,
        config: ModelConfig | None = None,
        note: str = "",
        computations: int = 1,
        watcher: Watcher | None = None,
    ) -> Registry:
        """Return a registry of loaded models by name, each with the one version `1`.

        Args:
            models: By name.
            labels: Of the classes of all of them, where they have some.
            config: How all of them are served.
            note: What clients are told of how they are computed.
            computations: That run at one time, over all models.
            watcher: Is told of computations.

        Raises:
            MalformedError: `message.malformed`: a name that cannot stand in a path.
        """
        turns = threading.BoundedSemaphore(computations)
        how = config or ModelConfig()
        shelves: dict[str, Shelf] = {}
        for name, model in models.items():
            require_name(name)
            line = Line(name, model, batching=how.batching, turns=turns, watcher=watcher)
            served = Served(name, "1", model, line, labels, how, note)
            shelves[name] = Shelf({"1": served})
        return cls(shelves)

    def replace(
        self, shelves: Mapping[str, Shelf], *, refused: Mapping[Key, str] | None = None
    ) -> None:
        """Serve these from now on.

        Args:
            shelves: By name; models without a version are left out.
            refused: Versions that should be served and cannot be, with the code of the reason.
        """
        with self._lock:
            self._shelves = {name: shelf for name, shelf in shelves.items() if shelf.versions}
            self._refused = dict(refused or {})

    @property
    def shelves(self) -> Mapping[str, Shelf]:
        """What is served at this moment."""
        return self._shelves

    @property
    def refused(self) -> Mapping[Key, str]:
        """Versions that should be served and cannot be, with the code of the reason."""
        return self._refused

    def find(
        self, name: str, version: str | None = None, label: str | None = None
    ) -> Served | None:
        """Return the version asked for, or the newest; None where there is none."""
        shelf = self._shelves.get(name)
        if shelf is None:
            return None
        if label is not None:
            version = shelf.labels.get(label, "")
        return shelf.newest if version is None else shelf.versions.get(version)

    def all(self) -> Sequence[Served]:
        """Return every version of every model."""
        return [each for shelf in self._shelves.values() for each in shelf.versions.values()]
