"""Programs that nobody here wrote run unmodified, with input and output on sealed volumes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
CLOISTER: Final = Path(sysconfig.get_path("scripts")) / "cloister"
DOMAIN: Final = ("--domain", "work/domain")

pytestmark = [pytest.mark.fuse, pytest.mark.jobs, pytest.mark.slow, pytest.mark.timeout(900)]


def cloister(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command in `folder`; it must succeed."""
    done = subprocess.run(
        [CLOISTER, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def run_shielded(
    folder: Path, name: str, *, volumes: tuple[str, str], command: str, environment: tuple[str, ...]
) -> tuple[str, Path]:
    """Run the program of examples/foreign/`name`; return its output and its results in plain.

    `volumes` are the mount points of the input and of the results.
    """
    if not CLOISTER.exists():
        pytest.skip("cloister is not installed in this environment; make setup")
    shutil.copytree(EXAMPLES / "foreign" / name, folder / "code")
    shutil.copy(EXAMPLES / "run_in.py", folder / "code")
    (folder / "work").mkdir()
    made = [sys.executable, EXAMPLES / "foreign_inputs.py", "inputs"]
    subprocess.run(made, cwd=folder, check=True, timeout=60)
    cloister(folder, "init", "work/domain", "--name", "example.org")
    for source, store in (("code", "code"), (f"inputs/{name}", "input")):
        cloister(folder, "volume", "seal", source, f"work/{store}", *DOMAIN)
    cloister(folder, "volume", "create", "work/results", *DOMAIN)
    mounts = (f"{volumes[0]}=work/input:read", f"{volumes[1]}=work/results:write")
    cloister(
        folder, "policy", "draft", "--name", name, "--workload", "train", "--code", "work/code",
        *(word for mount in mounts for word in ("--volume", mount)),
        *(word for each in environment for word in ("--env", each)),
        "--command", f"python /code/run_in.py {command}", "--output", "policy.yaml", *DOMAIN,
    )  # fmt: skip
    cloister(folder, "policy", "apply", "policy.yaml", *DOMAIN)
    done = cloister(folder, "run", "policy.yaml", "--workload", "train", *DOMAIN)
    cloister(folder, "volume", "open", "work/results", "results", *DOMAIN)
    return done.stdout, folder / "results"


@pytest.mark.frameworks("sklearn", "matplotlib")
def test_a_scikit_learn_program(tmp_path: Path) -> None:
    """It reads its data set from one volume, and its figures arrive in another."""
    output, results = run_shielded(
        tmp_path,
        "sklearn",
        volumes=("/data", "/model"),
        command="/model /model /code/plot_out_of_core_classification.py",
        environment=("MPLBACKEND=Agg", "SCIKIT_LEARN_DATA=/data"),
    )
    assert "Test set is 1000 documents" in output
    assert sorted(file.name for file in results.iterdir()) == [
        f"figure-{n}.png" for n in range(1, 5)
    ]


@pytest.mark.frameworks("torch", "opacus")
def test_a_pytorch_program(tmp_path: Path) -> None:
    """It trains with a loader process of its own, and saves what it found."""
    output, results = run_shielded(
        tmp_path,
        "pytorch",
        volumes=("/data", "/model"),
        command="/model /model /code/char-lstm-classification.py --data-root /data --device cpu "
        "--epochs 1 --batch-size 120 --hidden-size 32 --embedding-size 16",
        environment=(),
    )
    assert "Test Accuracy" in output
    assert [file.name for file in results.iterdir()] == ["run_results_chr_lstm_classification.pt"]


@pytest.mark.frameworks("tensorflow", "imblearn", "pandas", "seaborn")
def test_a_keras_program(tmp_path: Path) -> None:
    """It trains twenty networks on tables from a volume, and its figures arrive in another."""
    output, results = run_shielded(
        tmp_path,
        "keras",
        volumes=("/work/input", "/work/results"),
        command="/work /work/results /code/porto_seguro_keras_under_sampling.py",
        environment=("MPLBACKEND=Agg",),
    )
    assert output.count("Elapsed computation time") == 20
    assert sorted(file.name for file in results.iterdir()) == ["figure-1.png", "figure-2.png"]
