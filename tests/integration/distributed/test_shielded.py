"""The same programs under the shield: the same results, and nothing of theirs on the wire.

Each program also runs without a shield in `test_wire`, where the same search finds what it looks
for; here what crosses between the relays is all there is on the loopback of a namespace.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from integration.distributed.capture import found_on_the_wire, marker_environment
from integration.distributed.native import NativeRun, cluster_of
from integration.distributed.shielded import run_shielded

PROGRAMS: Final = Path(__file__).parent / "programs"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _run(folder: Path, framework: str, program: str, **counts: int) -> NativeRun:
    return run_shielded(
        cluster_of(framework, **counts),
        [f"/code/{program}"],
        PROGRAMS,
        folder / "run",
        environment=marker_environment(),
        forever=["ps"] if "ps" in counts else [],
        capture=True,
    )


def _is_private(run: NativeRun) -> None:
    """All that crossed is TLS 1.3, and it was no small thing."""
    assert found_on_the_wire(run.streams) == frozenset()
    assert sum(len(stream.content()) for stream in run.streams) > 10_000


@pytest.mark.frameworks("torch")
@pytest.mark.jobs
def test_pytorch(tmp_path: Path) -> None:
    """Gloo, on ports that nobody chose."""
    run = _run(tmp_path, "pytorch", "marker_torch.py", worker=2)
    assert run.reports("worker-0", "worker-1") == [True, True]
    _is_private(run)


@pytest.mark.jobs
@pytest.mark.frameworks("jax")
def test_jax(tmp_path: Path) -> None:
    """Coordinator and collectives."""
    run = _run(tmp_path, "jax", "marker_jax.py", worker=2)
    assert run.reports("worker-0", "worker-1") == [True, True]
    _is_private(run)


@pytest.mark.jobs
@pytest.mark.frameworks("tensorflow")
def test_tensorflow_workers(tmp_path: Path) -> None:
    """Control and data planes of MultiWorkerMirroredStrategy."""
    run = _run(tmp_path, "tensorflow", "marker_mirrored.py", worker=2)
    assert run.reports("worker-0", "worker-1") == [True, True]
    _is_private(run)


@pytest.mark.jobs
@pytest.mark.frameworks("tensorflow")
def test_parameter_servers(tmp_path: Path) -> None:
    """The job is over when its worker is, and the server is stopped."""
    run = _run(tmp_path, "tensorflow", "marker_servers.py", worker=1, ps=1)
    assert run.reports("worker-0") == [True]
    _is_private(run)
