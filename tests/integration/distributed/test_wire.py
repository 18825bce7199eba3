"""What crosses between the tasks of a job without a shield is there for everybody to read.

The same programs and the same search are what a shielded job is judged by; here the search is shown
to find what there is to find.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from cloister.cli.demo.capture import Stream
from integration.distributed.capture import MARKER, found_on_the_wire, marker_environment
from integration.distributed.native import NativeRun, cluster_of, run_native

PROGRAMS: Final = Path(__file__).parent / "programs"


def _run(folder: Path, framework: str, program: str, **counts: int) -> NativeRun:
    return run_native(
        cluster_of(framework, **counts),
        [sys.executable, str(PROGRAMS / program)],
        folder / "run",
        environment=marker_environment(),
        forever=["ps"],
        seconds=120,
        capture=True,
    )


@pytest.mark.slow
@pytest.mark.jobs
@pytest.mark.frameworks("tensorflow")
def test_tensorflow_workers_send_tensors_as_they_are(tmp_path: Path) -> None:
    """By gRPC, whose services say what they are."""
    run = _run(tmp_path, "tensorflow", "marker_mirrored.py", worker=2)
    assert run.reports("worker-0", "worker-1") == [True, True]
    assert found_on_the_wire(run.streams) >= {"tensor", "HTTP/2", "tensorflow", "names"}


@pytest.mark.slow
@pytest.mark.jobs
@pytest.mark.frameworks("tensorflow")
def test_parameter_servers_are_sent_tensors_as_they_are(tmp_path: Path) -> None:
    """The server serves until it is ended."""
    run = _run(tmp_path, "tensorflow", "marker_servers.py", worker=1, ps=1)
    assert run.reports("worker-0") == [True]
    assert run.tasks["ps-0"].status == -9
    assert found_on_the_wire(run.streams) >= {"tensor", "HTTP/2", "tensorflow", "names"}


@pytest.mark.frameworks("torch")
def test_pytorch_sends_tensors_as_they_are(tmp_path: Path) -> None:
    """By gloo, on ports that nobody chose."""
    run = _run(tmp_path, "pytorch", "marker_torch.py", worker=2)
    assert run.reports("worker-0", "worker-1") == [True, True]
    assert "tensor" in found_on_the_wire(run.streams)


@pytest.mark.frameworks("jax")
def test_jax_sends_arrays_as_they_are(tmp_path: Path) -> None:
    """By gloo; its coordinator speaks gRPC."""
    run = _run(tmp_path, "jax", "marker_jax.py", worker=2)
    assert run.reports("worker-0", "worker-1") == [True, True]
    assert found_on_the_wire(run.streams) >= {"tensor", "HTTP/2"}


def test_the_search_finds_the_marker_across_segments_and_nothing_else() -> None:
    """What is cut by TCP is put together first; a single row of the numbers is none."""
    cut = 40
    whole = Stream(1, 2, {7: (2 * MARKER)[:cut], 7 + cut: (2 * MARKER)[cut:]})
    assert found_on_the_wire([whole]) == {"tensor"}
    assert found_on_the_wire([Stream(1, 2, {0: MARKER + bytes(32)})]) == frozenset()
