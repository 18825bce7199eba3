"""Programs that others published for a cluster run under the shield as they run without it.

The same programs, which are not part of this repository, as in `test_programs_of_others`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from integration.distributed import test_programs_of_others as others
from integration.distributed.native import NativeRun, cluster_of
from integration.distributed.shielded import run_shielded

pytestmark = [*others.pytestmark, pytest.mark.timeout(600)]


def _run(
    folder: Path,
    framework: str,
    program: str,
    *arguments: str,
    workers: int = 2,
    digits: bool = True,
    loader: str = "",
    environment: Mapping[str, str] | None = None,
    capture: bool = False,
) -> NativeRun:
    code = _code(folder, program)
    command = [f"/code/{Path(program).name}", *arguments]
    if digits:
        made = [sys.executable, others.EXAMPLES / "foreign_inputs.py", folder / "inputs"]
        subprocess.run(made, check=True, timeout=120)
        shutil.copy(folder / "inputs" / "mnist" / "mnist.npz", code)
        loader = loader or "with_digits.py"
        command[:0] = [f"/code/{loader}", "/code/mnist.npz"]
    elif loader:
        command[:0] = [f"/code/{loader}"]
    if loader:
        shutil.copy(others.EXAMPLES / loader, code)
    run = run_shielded(
        cluster_of(framework, worker=workers),
        command,
        code,
        folder / "shielded",
        environment={"TF_CPP_MIN_LOG_LEVEL": "2", **(environment or {})},
        seconds=400,
        capture=capture,
    )
    run.require_success()
    return run


def _code(folder: Path, program: str) -> Path:
    code = folder / "code"
    shutil.copytree(Path(others._program(program)).parent, code)
    shutil.rmtree(code / "__pycache__", ignore_errors=True)
    return code


@pytest.mark.frameworks("tensorflow")
@pytest.mark.parametrize("workers", [2, 3])
def test_the_keras_tutorial_with_keras_3(tmp_path: Path, workers: int) -> None:
    """The launcher brings what Keras 3 needs; all workers end with the same metrics."""
    program = "tensorflow-keras/main.py"
    seed = {"DIGITS_SEED": "7"}  # the tutorial sets none, so two runs of it are not alike
    run = _run(tmp_path, "tensorflow", program, workers=workers, environment=seed)
    metrics = others._last_metrics(run)
    assert len(metrics) == 1
    if workers == 2:
        told = _compat(tmp_path) | seed
        native = others._run(tmp_path / "native", "tensorflow", program, environment=told)
        assert others._last_metrics(native) == metrics


@pytest.mark.frameworks("tensorflow", "tf_keras")
def test_the_tutorial_of_a_loop(tmp_path: Path) -> None:
    """A loop of the tutorial's own, with checkpoints."""
    told = {"TF_USE_LEGACY_KERAS": "1"}
    run = _run(tmp_path, "tensorflow", "tensorflow-loop/main.py", environment=told)
    assert re.search(r"Epoch: 2, accuracy: 0\.9", run.tasks["worker-0"].output)


@pytest.mark.frameworks("tensorflow", "tf_keras")
def test_the_tutorial_of_parameter_servers(tmp_path: Path) -> None:
    """Workers and servers serve until the chief has ended, and are ended without a failure."""
    code = _code(tmp_path, "tensorflow-servers/coordinator.py")
    shutil.copy(others.EXAMPLES / "server_or_coordinator.py", code)
    run = run_shielded(
        cluster_of("tensorflow", chief=1, worker=2, ps=2),
        ["/code/server_or_coordinator.py", "/code/server.py", "/code/coordinator.py"],
        code,
        tmp_path / "shielded",
        environment={"TF_CPP_MIN_LOG_LEVEL": "2", "TF_USE_LEGACY_KERAS": "1"},
        forever=["worker", "ps"],
        seconds=400,
    )
    run.require_success()
    others._require_trained_by_servers(run)


@pytest.mark.frameworks("jax", "optax", "keras")
def test_the_jax_example(tmp_path: Path) -> None:
    """It asks JAX to find out by itself who takes part."""
    program = ("jax-mnist/train_mnist.py", "--epochs", "1", "--batch-size", "64")
    run = _run(tmp_path, "jax", *program, environment={"KERAS_BACKEND": "jax"})
    output = run.tasks["worker-0"].output
    assert "JAX distributed initialized: 2 process(es)" in output
    assert re.search(r"Test accuracy: \d+/360 \([89]", output)


@pytest.mark.frameworks("torch")
def test_kubeflows_pytorch_example(tmp_path: Path) -> None:
    """The sum of a one from each."""
    run = _run(tmp_path, "pytorch", "kubeflow-pytorch/demo.py", digits=False)
    assert all("result tensor([2])" in task.output for task in run.tasks.values())


@pytest.mark.frameworks("torch")
def test_the_pytorch_sample_of_mars(tmp_path: Path) -> None:
    """It writes nothing: what crosses between the relays is as much as the gradients are."""
    program = ("mars-pytorch/pytorch_sample.py", "multiple")
    others._require_gradients(_run(tmp_path, "pytorch", *program, digits=False, capture=True))


@pytest.mark.frameworks(*others.TNT)
def test_the_mnist_example_of_tnt(tmp_path: Path) -> None:
    """The same weights on both, and the same as without the shield, to the last bit."""
    loader, told = "with_mnist_files.py", others.ONE_THREAD
    program = others.TNT_PROGRAM
    run = _run(tmp_path, "pytorch", *program, loader=loader, environment=told)
    weights = others._weights(run)
    assert len(weights) == 1
    (tmp_path / "native").mkdir()
    native = others._run(tmp_path / "native", "pytorch", *program, loader=loader, environment=told)
    assert others._weights(native) == weights


@pytest.mark.frameworks("torch")
@pytest.mark.parametrize("workers", [2, 3])
def test_the_tutorial_of_distributed_data_parallel(tmp_path: Path, workers: int) -> None:
    """The same weights on all, and of two the same as without the shield, to the last bit."""
    program, loader = others.DDP_PROGRAM, others.DDP_LOADER
    told = others.ONE_THREAD | {"SEED": "3"}
    run = _run(
        tmp_path,
        "pytorch",
        program,
        workers=workers,
        digits=False,
        loader=loader,
        environment=told,
    )
    weights = others._weights(run, others._TOGETHER)
    assert len(weights) == 1
    if workers == 2:
        folder = tmp_path / "native"
        folder.mkdir()
        native = others._run(
            folder, "pytorch", program, digits=False, loader=loader, environment=told
        )
        assert others._weights(native, others._TOGETHER) == weights


@pytest.mark.frameworks(*others.TORCHVISION)
def test_the_tutorial_of_a_parameter_server_by_rpc(tmp_path: Path) -> None:
    """One task has the model, the other the digits; TensorPipe carries what passes between them."""
    run = _run(
        tmp_path,
        "pytorch",
        *others.RPC_PROGRAM,
        loader="with_mnist_files.py",
        environment=others.ONE_THREAD,
    )
    others._require_trained_by_rpc(run)


def _compat(folder: Path) -> dict[str, str]:
    (folder / "native").mkdir()
    (folder / "compat").mkdir()
    for name, content in others.compat_files():
        (folder / "compat" / name).write_bytes(content)
    return {"PYTHONPATH": str(folder / "compat")}
