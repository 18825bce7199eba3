"""What a server serves, from its options: one file, a catalogue, or a model that was cut.

Spec: serving-v1, clauses SRV-2 and SRV-40.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final

from cloister.errors import ConfigError
from cloister.inference.classification import Labels, require_classes
from cloister.inference.formats import format_of, load_model
from cloister.inference.loading import Loader
from cloister.inference.metrics import Metrics
from cloister.inference.model import read_model_file
from cloister.inference.model_config import (
    MAX_DELAY_MS,
    MAX_ROWS,
    Batching,
    Classification,
    ModelConfig,
)
from cloister.inference.packaged import Partitioned, open_partitioned
from cloister.inference.probe import require_survives
from cloister.inference.registry import Registry
from cloister.inference.reloading import Reloader

__all__ = ["open_models"]

Step = Callable[[], None]
_LEAST: Final = 1


def open_models(
    options: argparse.Namespace,
    *,
    metrics: Metrics,
    partitioned: Callable[[argparse.Namespace, Metrics], Partitioned] = open_partitioned,
) -> tuple[Registry, Step | None]:
    """Return what is served, and where that may change, a step that looks once.

    To be called while this process has one thread.

    Raises:
        ConfigError: A file or folder cannot be read, or there is nothing to serve.
        MalformedError: `model.malformed`: the one model is damaged.
    """
    for name in ("threads", "computations", "latest", "waiting", "connections"):
        if getattr(options, name) < _LEAST:
            raise ConfigError(f"--{name} is a number from 1", code="config.value")
    if options.models is not None:
        return _catalogue(options, metrics)
    if options.package is not None:
        _batching(options)
        return _partitioned(options, metrics, partitioned(options, metrics)), None
    data, kind = read_model_file(options.model), format_of(options.model)
    require_survives(data, threads=options.threads, kind=kind)
    model = load_model(data, kind=kind, threads=options.threads)
    registry = Registry.of(
        {options.name: model}, computations=options.computations, watcher=metrics
    )
    return registry, None


def _partitioned(options: argparse.Namespace, metrics: Metrics, cut: Partitioned) -> Registry:
    labels = None if cut.labels is None else Labels(cut.labels)
    told = None
    if options.top is not None:
        if options.top < _LEAST:
            raise ConfigError("--top is a number from 1", code="config.value")
        told = Classification(options.top)
        require_classes(cut.model, told, labels)
    return Registry.of(
        {options.name: cut.model},
        labels=labels,
        config=ModelConfig(_batching(options), told),
        note=cut.note,
        computations=options.computations,
        watcher=metrics,
    )


def _batching(options: argparse.Namespace) -> Batching | None:
    if options.batch is None:
        return None
    delay_ms: float = options.batch_delay
    if not 1 < options.batch <= MAX_ROWS or not 0 <= delay_ms <= MAX_DELAY_MS:
        raise ConfigError(
            f"--batch is from 2 to {MAX_ROWS} rows, --batch-delay from 0 to {MAX_DELAY_MS} ms",
            code="config.value",
        )
    return Batching(options.batch, delay_s=delay_ms / 1000)


def _catalogue(options: argparse.Namespace, metrics: Metrics) -> tuple[Registry, Step]:
    registry = Registry()
    loader = Loader(threads=options.threads, computations=options.computations, watcher=metrics)
    reloader = Reloader(
        options.models,
        registry,
        loader=loader,
        latest=options.latest,
        changed=metrics.loaded,
    )
    reloader.step(settled=True)
    if not registry.shelves:
        raise ConfigError(
            f"no model in {options.models} can be served",
            code="config.missing",
            hint="NAME/VERSION/model.tflite, with a number as the version; the log says more",
        )
    return registry, reloader.step
