"""Lets Keras 3 `fit` train with several workers under TensorFlow's MultiWorkerMirroredStrategy.

Keras 3 fails there in two places (keras-team/keras#20585), which are changed here when Keras is
imported, in the versions that `CHECKED` names and in no other:

1. To build a model it takes the mean of a batch over the replicas, outside of a graph, where there
   is none. Here it is built from this worker's part of the batch: only its shape is asked for.
2. It takes the mean over the replicas of what a step returns, along a dimension that scalars lack.
   Here this worker's values stand for all. Those at the end of an epoch are read from the metrics'
   variables, which TensorFlow adds up over all workers: these are not touched.

And one thing that fails quietly: moving statistics of BatchNormalization stay each worker's own,
so that models differ. Here they become the workers' mean at the end of each epoch, before it is
validated or saved.

Spec: none; the table and what was tried are in docs/guide/keras-and-tensorflow.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final, TextIO
from weakref import WeakKeyDictionary

__all__ = ["CHECKED", "TRAINER", "change", "install", "is_checked"]

TRAINER: Final = "keras.src.backend.tensorflow.trainer"

CHECKED: Final = frozenset(
    {
        ("2.21.0", "3.8.0"),
        ("2.21.0", "3.10.0"),
        ("2.21.0", "3.11.3"),
        ("2.21.0", "3.12.1"),
        ("2.21.0", "3.12.4"),
        ("2.21.0", "3.13.2"),
        ("2.21.0", "3.14.1"),
        ("2.21.0", "3.15.0"),
        ("2.21.0", "3.15.1"),
        ("2.20.0", "3.10.0"),
        ("2.20.0", "3.12.4"),
        ("2.20.0", "3.15.1"),
        ("2.19.1", "3.10.0"),
        ("2.19.1", "3.15.1"),
    }
)
"""Pairs of TensorFlow and Keras that were tried, as both spell their versions."""


def is_checked(tensorflow: str, keras: str) -> bool:
    """Tell whether this pair of versions was tried."""
    return (tensorflow, keras) in CHECKED


def install() -> None:
    """Change Keras's trainer for TensorFlow as soon as somebody imports it."""
    sys.meta_path.insert(0, _Finder())


def change(trainer: Any, *, tensorflow: str, keras: str, errors: TextIO | None = None) -> bool:
    """Change the trainer's module; elsewhere than in checked versions say so, and change nothing.

    Args:
        trainer: The module `TRAINER`.
        tensorflow: The version that it imported.
        keras: The version that it belongs to.
        errors: Where to say so; the standard error by default.
    """
    if not is_checked(tensorflow, keras):
        print(
            f"cloister: Keras {keras} with TensorFlow {tensorflow} was not tried with several"
            " workers and is left as it is; see docs/guide/keras-and-tensorflow.md",
            file=errors or sys.stderr,
        )
        return False
    model = trainer.TensorFlowTrainer
    model._maybe_symbolic_build = _building_locally(trainer, model._maybe_symbolic_build)  # noqa: SLF001  # a change of private parts is the point
    model._get_metrics_result_or_logs = _averaging_first(  # noqa: SLF001  # as above
        trainer,
        model._get_metrics_result_or_logs,  # noqa: SLF001  # as above
    )
    trainer.reduce_per_replica = _taking_first(trainer, trainer.reduce_per_replica)
    return True


def _building_locally(trainer: Any, original: Callable[..., None]) -> Callable[..., None]:
    def _maybe_symbolic_build(self: Any, iterator: Any = None, data_batch: Any = None) -> None:
        strategy = self._distribute_strategy
        if iterator is not None and _has_several_workers(trainer, strategy):
            *_, batches = next(iter(iterator))  # behind one or two numbers of steps
            data_batch = trainer.tree.map_structure(
                lambda value: strategy.experimental_local_results(value)[0], next(batches)
            )
            iterator = None
        original(self, iterator=iterator, data_batch=data_batch)

    return _maybe_symbolic_build


def _taking_first(trainer: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    def reduce_per_replica(values: Any, strategy: Any, reduction: str) -> Any:
        if reduction == "auto" and _has_several_workers(trainer, strategy):
            reduction = "first"
        return original(values, strategy, reduction)

    return reduce_per_replica


def _averaging_first(trainer: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    def _get_metrics_result_or_logs(self: Any, logs: Any) -> Any:
        if _has_several_workers(trainer, self._distribute_strategy):
            _average_statistics(trainer.tf, self)
        return original(self, logs)

    return _get_metrics_result_or_logs


def _average_statistics(tf: Any, model: Any) -> None:
    """Give the moving statistics of all workers the value that they have in the mean."""
    normalization = sys.modules["keras.src.layers"].BatchNormalization
    variables = [
        variable.value
        for layer in model._flatten_layers()  # noqa: SLF001  # what Keras itself walks through
        if isinstance(layer, normalization) and layer.built and layer.trainable
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
    if not variables:
        return
    known, average = _AVERAGING.get(model, ((), None))
    if average is None or list(map(id, known)) != list(map(id, variables)):
        average = _averaging(tf, model.distribute_strategy, variables)
        _AVERAGING[model] = variables, average
    average()


# Traced once for each model, whose variables stay the same; it does not keep the model alive.
_AVERAGING: Final[MutableMapping[Any, tuple[Sequence[Any], Callable[[], None]]]] = (
    WeakKeyDictionary()
)


def _averaging(tf: Any, strategy: Any, variables: Sequence[Any]) -> Callable[[], None]:
    def assign_means() -> None:
        values = [tf.identity(variable) for variable in variables]
        means = tf.distribute.get_replica_context().all_reduce("mean", values)
        for variable, mean in zip(variables, means, strict=True):
            variable.assign(mean)

    function: Callable[[], None] = tf.function(lambda: strategy.run(assign_means), autograph=False)
    return function


def _has_several_workers(trainer: Any, strategy: Any) -> bool:
    return bool(trainer._collective_all_reduce_multi_worker(strategy))  # noqa: SLF001  # Keras's own answer


class _Finder(MetaPathFinder):
    """Finds the trainer once, where it is, and has it changed after it has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != TRAINER:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ChangingLoader(spec.loader)
        return spec


class _ChangingLoader(Loader):
    """Loads as the loader found does, and leaves that one in its place."""

    def __init__(self, found: Loader) -> None:
        self._found = found

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._found.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._found
        self._found.exec_module(module)
        change(
            module,
            tensorflow=module.__dict__["tf"].__version__,
            keras=sys.modules["keras.src.version"].__version__,
        )
