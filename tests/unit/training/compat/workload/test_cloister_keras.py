"""What is changed in Keras, on a stand-in for its trainer.

The real one trains in integration/distributed/test_keras_workers.py.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloister.training.compat.delivery import compat_files
from cloister.training.compat.workload import cloister_keras
from cloister.training.compat.workload.cloister_keras import CHECKED, TRAINER, change, is_checked

TENSORFLOW, KERAS = min(CHECKED)


class Strategy:
    """Of two workers, or of one; this worker's part of a value is its first half."""

    def __init__(self, *, several: bool) -> None:
        self.several = several

    def experimental_local_results(self, value: str) -> tuple[str, ...]:
        return (value[: len(value) // 2],)


class Model:
    """Writes down what it was asked."""

    def __init__(self, *, several: bool) -> None:
        self._distribute_strategy = Strategy(several=several)
        self.asked: list[Any] = []

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        self.asked.append((iterator, data_batch))

    def _get_metrics_result_or_logs(self, logs: Any) -> Any:
        self.asked.append(logs)
        return logs

    def _flatten_layers(self) -> list[Any]:
        self.asked.append("layers")
        return []


def trainer(*, tensorflow: str = TENSORFLOW, keras: str = KERAS) -> tuple[Any, bool, str]:
    """Return a changed stand-in, what `change` said, and what it wrote."""
    module = SimpleNamespace(
        TensorFlowTrainer=type("TensorFlowTrainer", (Model,), {}),
        reduce_per_replica=lambda values, _strategy, reduction: (values, reduction),
        _collective_all_reduce_multi_worker=lambda strategy: strategy.several,
        tree=SimpleNamespace(map_structure=lambda function, values: [*map(function, values)]),
        tf=SimpleNamespace(),
    )
    errors = io.StringIO()
    changed = change(module, tensorflow=tensorflow, keras=keras, errors=errors)
    return module, changed, errors.getvalue()


@pytest.fixture(autouse=True)
def _layers(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = SimpleNamespace(BatchNormalization=int)
    monkeypatch.setitem(sys.modules, "keras.src.layers", layers)  # type: ignore[arg-type]  # a stand-in


def test_other_versions_are_left_as_they_are() -> None:
    """They are named on the standard error, and nothing is replaced."""
    before = Model._maybe_symbolic_build
    module, changed, said = trainer(keras="99.0.0")
    assert not changed
    assert said.count("Keras 99.0.0 with TensorFlow") == 1
    assert module.TensorFlowTrainer._maybe_symbolic_build is before
    assert module.reduce_per_replica("v", Strategy(several=True), "auto") == ("v", "auto")


def test_checked_versions_are_pairs() -> None:
    """Each of two versions may be in the table without their being there together."""
    assert is_checked(TENSORFLOW, KERAS)
    assert not is_checked(KERAS, TENSORFLOW)
    assert not is_checked(TENSORFLOW, KERAS + ".dev1")


def test_a_model_is_built_from_this_workers_batch() -> None:
    """The first batch of the iterator, this worker's part of each of its values."""
    module, changed, said = trainer()
    assert (changed, said) == (True, "")
    model = module.TensorFlowTrainer(several=True)
    model._maybe_symbolic_build(iterator=[(0, 1, iter([["xxyy", "ab"], ["later"]]))])
    assert model.asked == [(None, ["xx", "a"])]


def test_one_worker_builds_as_before() -> None:
    """As does a batch that is given without an iterator."""
    module, _, _ = trainer()
    model = module.TensorFlowTrainer(several=False)
    iterator = [(0, 1, iter([["xxyy"]]))]
    model._maybe_symbolic_build(iterator=iterator)
    several = module.TensorFlowTrainer(several=True)
    several._maybe_symbolic_build(data_batch="xxyy")
    assert model.asked + several.asked == [(iterator, None), (None, "xxyy")]


@pytest.mark.parametrize(
    ("several", "asked", "done"),
    [(True, "auto", "first"), (False, "auto", "auto"), (True, "concat", "concat")],
)
def test_what_a_step_returns_is_this_workers(several: bool, asked: str, done: str) -> None:  # noqa: FBT001  # a case
    """Only what is left open, and only with several workers."""
    module, _, _ = trainer()
    assert module.reduce_per_replica("v", Strategy(several=several), asked) == ("v", done)


@pytest.mark.parametrize(("several", "asked"), [(True, ["layers", "logs"]), (False, ["logs"])])
def test_statistics_are_averaged_before_an_epoch_ends(several: bool, asked: list[str]) -> None:  # noqa: FBT001  # a case
    """Before its metrics are read, which is before it is validated or saved."""
    module, _, _ = trainer()
    model = module.TensorFlowTrainer(several=several)
    assert model._get_metrics_result_or_logs("logs") == "logs"
    assert model.asked == asked


def test_the_trainer_is_changed_when_it_is_imported(tmp_path: Path) -> None:
    """Once, after it has run, and its loader is afterwards the one that it would have had."""
    folder = tmp_path / "keras" / "src" / "backend" / "tensorflow"
    folder.mkdir(parents=True)
    for package in (folder, *folder.parents[:3]):
        (package / "__init__.py").touch()
    (tmp_path / "keras" / "src" / "version.py").write_text("__version__ = '99.0.0'\n")
    (folder / "trainer.py").write_text("import keras.src.version\nimport fake_tf as tf\n")
    (tmp_path / "fake_tf.py").write_text("__version__ = '1.2.3'\n")
    for name, content in compat_files():
        (tmp_path / name).write_bytes(content)
    program = (
        "import sys; before = len(sys.meta_path)\n"
        f"import {TRAINER} as trainer\n"
        "print(before - len(sys.meta_path), type(trainer.__loader__).__name__)\n"
        "print(trainer.__spec__.loader is trainer.__loader__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "TF_CONFIG": "{}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == ["1", "SourceFileLoader", "True"]
    assert done.stderr.count("Keras 99.0.0 with TensorFlow 1.2.3 was not tried") == 1


def test_installing_watches_for_one_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other import goes the way it went."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    cloister_keras.install()
    watching = sys.meta_path[0]
    assert watching.find_spec("keras.src.trainers", None) is None
    assert sys.meta_path[0] is watching
