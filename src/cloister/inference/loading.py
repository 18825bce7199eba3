"""From the files of a version to something that answers, or a refusal.

What can be checked is checked before anybody is served: a process of its own has survived the
model, labels and configuration fit it, and rows do not depend on each other where they are to be
joined.

Spec: serving-v1, clauses SRV-43, SRV-45 and SRV-52.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from cloister.inference.catalogue import Key, ModelFiles
from cloister.inference.classification import Labels, require_classes
from cloister.inference.formats import load_model
from cloister.inference.joining import require_rows_apart
from cloister.inference.line import Line, Watcher
from cloister.inference.probe import require_survives_apart
from cloister.inference.registry import Served

__all__ = ["Loader"]

Probe = Callable[..., None]


class Loader:
    """Makes served versions that share one bound on computations."""

    def __init__(
        self,
        *,
        threads: int,
        computations: int = 1,
        watcher: Watcher | None = None,
        probe: Probe = require_survives_apart,
    ) -> None:
        """Take what all models have in common.

        Args:
            threads: Of one computation.
            computations: That run at one time, over all models.
            watcher: Is told of computations.
            probe: Refuses a model that is not to be loaded.
        """
        self._threads: Final = threads
        self._turns: Final = threading.BoundedSemaphore(computations)
        self._watcher: Final = watcher
        self._probe: Final = probe

    def load(self, key: Key, files: ModelFiles) -> Served:
        """Return a version that answers.

        Raises:
            MalformedError: `model.malformed`: the model, or what stands beside it.
            MissingExtraError: Its runtime is not installed.
            UnavailableError: `server.busy`: it cannot be tried now.
        """
        name, number = key
        self._probe(files.data, threads=self._threads, kind=files.kind)
        model = load_model(files.data, kind=files.kind, threads=self._threads)
        labels = None if files.labels is None else Labels(files.labels)
        if files.config.classification is not None:
            require_classes(model, files.config.classification, labels)
        if files.config.batching is not None:
            require_rows_apart(model)
        line = Line(
            name,
            model,
            batching=files.config.batching,
            turns=self._turns,
            watcher=self._watcher,
        )
        return Served(name, str(number), model, line, labels, files.config)
