"""Programs that others published for a cluster run as they are, with what a policy would tell them.

They are not part of this repository: examples/foreign/ELSEWHERE.md says where they are.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from cloister.training.compat.delivery import compat_files
from integration.distributed.native import NativeRun, cluster_of, run_native

ROOT: Final = Path(__file__).parents[3]
EXAMPLES: Final = ROOT / "examples"
PROGRAMS: Final = os.environ.get("CLOISTER_PROGRAMS", "")
_LINE: Final = re.compile(r"^([0-9a-f]{64})  (\S+)$", re.MULTILINE)
# What PyTorch's own two need; torchtnt imports pkg_resources.
TORCHVISION: Final = ("torch", "torchvision")
TNT: Final = (*TORCHVISION, "torchtnt", "torcheval", "tensorboard", "tabulate", "pkg_resources")
TNT_PROGRAM: Final = ("pytorch-tnt/main.py", "--max-epochs", "1",
                      "--max-train-steps-per-epoch", "8", "--save-model")  # fmt: skip
RPC_PROGRAM: Final = ("pytorch-rpc/rpc_parameter_server.py",
                      "--world_size=$WORLD_SIZE", "--rank=$RANK",
                      "--master_addr=$MASTER_ADDR", "--master_port=$MASTER_PORT")  # fmt: skip
DDP_PROGRAM: Final = "pytorch-ddp/elastic_ddp.py"
DDP_LOADER: Final = "processors_as_gpus.py"
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}  # so that sums come out the same
_WEIGHTS: Final = re.compile(r"^mnist_cnn\.pt: [0-9a-f]{64}$", re.MULTILINE)
_TOGETHER: Final = re.compile(r"^weights: [0-9a-f]{64} after 660 bytes of gradients$", re.MULTILINE)
_METRICS: Final = re.compile(r"accuracy: ([\d.]+) - loss: ([\d.]+)|loss: [\d.]+ - accuracy: [\d.]+")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.jobs,
    pytest.mark.skipif(not PROGRAMS, reason="CLOISTER_PROGRAMS: examples/foreign/ELSEWHERE.md"),
]


def _program(name: str) -> str:
    """Return the path of a program, which must be the one that is meant, with what it imports."""
    listed = _LINE.findall((EXAMPLES / "foreign" / "ELSEWHERE.md").read_text("utf-8"))
    folder = name.partition("/")[0]
    ours = {file: digest for digest, file in listed if file.startswith(f"{folder}/")}
    assert name in ours
    for file, digest in ours.items():
        content = Path(PROGRAMS, file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest, f"{file} is another"
    return str(Path(PROGRAMS, name))


def _run(
    folder: Path,
    framework: str,
    program: str,
    *arguments: str,
    digits: bool = True,
    loader: str = "",
    environment: Mapping[str, str] | None = None,
    capture: bool = False,
) -> NativeRun:
    command = [sys.executable, _program(program), *arguments]
    if digits:
        made = [sys.executable, EXAMPLES / "foreign_inputs.py", folder / "inputs"]
        subprocess.run(made, check=True, timeout=120)
        file = folder / "inputs" / "mnist" / "mnist.npz"
        command[1:1] = [str(EXAMPLES / (loader or "with_digits.py")), str(file)]
    elif loader:
        command[1:1] = [str(EXAMPLES / loader)]
    run = run_native(
        cluster_of(framework, worker=2),
        command,
        folder / "run",
        environment=environment,
        seconds=280,
        capture=capture,
    )
    run.require_success()
    return run


def _last_metrics(run: NativeRun) -> set[str]:
    """Return what each worker said at the end of the last epoch."""
    return {
        [found.group() for found in _METRICS.finditer(task.output)][-1]
        for task in run.tasks.values()
    }


def _weights(run: NativeRun, said: re.Pattern[str] = _WEIGHTS) -> set[str]:
    """Return the digest of what each task had in the end, by the line that says it."""
    found = {name: said.findall(task.output) for name, task in run.tasks.items()}
    assert all(len(each) == 1 for each in found.values()), found
    return {each for [each] in found.values()}


def _require_trained_by_rpc(run: NativeRun) -> None:
    """Its processes say what they did; one that fails is not seen in how the program ends.

    It sets no seed and tests with dropout; a model that learned nothing finds one digit in ten.
    """
    server, trainer = (run.tasks[name].output for name in ("worker-0", "worker-1"))
    assert "RPC shutdown on parameter server." in server
    [accuracy] = re.findall(r"^Accuracy ([\d.]+)$", trainer, re.MULTILINE)
    assert float(accuracy) > 0.4


def _require_trained_by_servers(run: NativeRun) -> None:
    """The coordinator's two evaluations, its own and that by workers, find what it learned."""
    run.require_success("chief-0")
    found = re.findall(r"Evaluation accuracy: ([\d.]+)", run.tasks["chief-0"].output)
    assert len(found) == 2
    assert min(map(float, found)) > 0.9


def _require_gradients(run: NativeRun) -> None:
    """As much as the gradients of 6922 weights in 32 steps crossed from each task to the other."""
    sizes = sorted(len(stream.content()) for stream in run.streams)
    assert sizes[-2] > 32 * 6922 * 4


@pytest.mark.frameworks("tensorflow", "keras")
def test_the_keras_tutorial_with_keras_3(tmp_path: Path) -> None:
    """Both workers end with the same metrics."""
    for name, content in compat_files():
        (tmp_path / name).write_bytes(content)
    told = {"PYTHONPATH": str(tmp_path)}
    run = _run(tmp_path, "tensorflow", "tensorflow-keras/main.py", environment=told)
    assert len(_last_metrics(run)) == 1


@pytest.mark.frameworks("tensorflow", "tf_keras")
def test_the_keras_tutorial_with_keras_2(tmp_path: Path) -> None:
    """As its authors ran it."""
    told = {"TF_USE_LEGACY_KERAS": "1"}
    run = _run(tmp_path, "tensorflow", "tensorflow-keras/main.py", environment=told)
    assert len(_last_metrics(run)) == 1


@pytest.mark.frameworks("tensorflow", "tf_keras")
def test_the_tutorial_of_a_loop(tmp_path: Path) -> None:
    """A loop of the tutorial's own, with checkpoints."""
    told = {"TF_USE_LEGACY_KERAS": "1"}
    run = _run(tmp_path, "tensorflow", "tensorflow-loop/main.py", environment=told)
    first, second = (task.output.splitlines()[-3:] for task in run.tasks.values())
    assert first == second
    assert first[2].startswith("Epoch: 2, accuracy: 0.9")


@pytest.mark.frameworks("tensorflow", "tf_keras")
def test_the_tutorial_of_parameter_servers(tmp_path: Path) -> None:
    """It asserts itself that each of two servers has one half of the embedding."""
    scripts = [_program(f"tensorflow-servers/{part}.py") for part in ("server", "coordinator")]
    run = run_native(
        cluster_of("tensorflow", chief=1, worker=2, ps=2),
        [sys.executable, str(EXAMPLES / "server_or_coordinator.py"), *scripts],
        tmp_path / "run",
        environment={"TF_USE_LEGACY_KERAS": "1"},
        forever=["worker", "ps"],
        seconds=280,
    )
    _require_trained_by_servers(run)
    assert {task.status for name, task in run.tasks.items() if name != "chief-0"} == {-9}


@pytest.mark.frameworks("jax", "optax", "keras")
def test_the_jax_example(tmp_path: Path) -> None:
    """It asks JAX to find out by itself who takes part."""
    told = {"KERAS_BACKEND": "jax"}
    program = ("jax-mnist/train_mnist.py", "--epochs", "1", "--batch-size", "64")
    run = _run(tmp_path, "jax", *program, environment=told)
    output = run.tasks["worker-0"].output
    assert "JAX distributed initialized: 2 process(es)" in output
    assert re.search(r"Test accuracy: \d+/360 \([89]", output)


@pytest.mark.frameworks("torch")
def test_kubeflows_pytorch_example(tmp_path: Path) -> None:
    """The sum of a one from each."""
    run = _run(tmp_path, "pytorch", "kubeflow-pytorch/demo.py", digits=False)
    assert all("result tensor([2])" in task.output for task in run.tasks.values())


@pytest.mark.frameworks("jax", "absl")
def test_kubeflows_jax_example(tmp_path: Path) -> None:
    """The sum of a one from each."""
    run = _run(tmp_path, "jax", "kubeflow-jax/train.py", digits=False)
    assert all(task.output.endswith("2\n1\n[2.]\n") for task in run.tasks.values())


@pytest.mark.frameworks("torch")
def test_the_pytorch_sample_of_mars(tmp_path: Path) -> None:
    """It writes nothing: what crosses between the tasks shows that they trained together."""
    program = ("mars-pytorch/pytorch_sample.py", "multiple")
    _require_gradients(_run(tmp_path, "pytorch", *program, digits=False, capture=True))


@pytest.mark.frameworks(*TNT)
def test_the_mnist_example_of_tnt(tmp_path: Path) -> None:
    """Each task has digits of its own, and both end with the same weights."""
    run = _run(
        tmp_path, "pytorch", *TNT_PROGRAM, loader="with_mnist_files.py", environment=ONE_THREAD
    )
    assert len(_weights(run)) == 1


@pytest.mark.frameworks("torch")
def test_the_tutorial_of_distributed_data_parallel(tmp_path: Path) -> None:
    """Each task draws other inputs, and both have the same weights after the step."""
    told = ONE_THREAD | {"SEED": "3"}
    run = _run(tmp_path, "pytorch", DDP_PROGRAM, digits=False, loader=DDP_LOADER, environment=told)
    assert len(_weights(run, _TOGETHER)) == 1


@pytest.mark.frameworks(*TORCHVISION)
def test_the_tutorial_of_a_parameter_server_by_rpc(tmp_path: Path) -> None:
    """One task has the model, the other the digits."""
    run = _run(
        tmp_path, "pytorch", *RPC_PROGRAM, loader="with_mnist_files.py", environment=ONE_THREAD
    )
    _require_trained_by_rpc(run)
