"""Run the tasks of a cluster without any shield, with what a `cluster` section would tell them.

All run in one network namespace of their own, which has a loopback and nothing else, with the names
and virtual addresses that they have under the shield: what a program computes can be compared, and
what crosses between tasks can be looked at. Started by itself, this file is the process inside.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from cloister.cli.demo.capture import Capture, Stream
from cloister.launcher.rendezvous import Cluster, ClusterRole, rendezvous

__all__ = ["FinishedTask", "NativeRun", "cluster_of", "run_native"]

PORT: Final = 2222
_ROOT: Final = Path(__file__).parents[3]
_HERE: Final = (str(_ROOT / "src"), str(_ROOT / "tests"))
# Its own name, the task's, is what a collective library announces.
_NAMED: Final = 'hostname "$1" && shift && exec "$@"'


@dataclass(frozen=True, slots=True)
class FinishedTask:
    """How a task ended, and what it wrote; a task that others did not wait for was ended."""

    name: str
    status: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class NativeRun:
    """All tasks by name, and what crossed between them where it was looked at."""

    tasks: Mapping[str, FinishedTask]
    streams: tuple[Stream, ...]

    def require_success(self, *names: str) -> None:
        """Fail with the end of what a task wrote, for the first that did not end well."""
        for name in names or self.tasks:
            task = self.tasks[name]
            assert task.status == 0, (
                f"{name}: {task.status}\n{task.output[-2000:]}\n{task.errors[-3000:]}"
            )

    def reports(self, *names: str) -> list[Any]:
        """Return the line of JSON that each task wrote last."""
        self.require_success(*names)
        return [json.loads(self.tasks[name].output.splitlines()[-1]) for name in names]


def cluster_of(framework: str, **counts: int) -> Cluster:
    """Return a cluster whose tasks have the names and addresses of the network shield."""
    numbers = {name: number for number, name in enumerate(sorted(counts))}
    return Cluster(
        framework,
        tuple(
            ClusterRole(
                name,
                tuple(f"10.77.{numbers[name] * 4}.{index + 1}" for index in range(count)),
            )
            for name, count in counts.items()
        ),
        PORT,
    )


def run_native(
    cluster: Cluster,
    command: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    forever: Sequence[str] = (),
    seconds: float = 200,
    capture: bool = False,
) -> NativeRun:
    """Run `command` once for each task, each in a folder of its own below `folder`.

    Args:
        cluster: Who takes part.
        command: The same for all, as a policy's is.
        folder: Where tasks run and write.
        environment: Further variables.
        forever: Roles that serve, and are ended when all others have.
        seconds: After which whatever still runs is killed, with status -9.
        capture: Whether to record what crosses.
    """
    for program in ("unshare", "ip", "hostname", "mount"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here: apt-get install util-linux iproute2 hostname")
    if subprocess.run(["unshare", "-rnmu", "true"], check=False, capture_output=True).returncode:
        pytest.skip("user and network namespaces are not allowed here")
    folder.mkdir(exist_ok=True)
    order = {
        "cluster": asdict(cluster),
        "command": [str(word) for word in command],
        "folder": str(folder),
        "environment": dict(environment or {}),
        "forever": list(forever),
        "seconds": seconds,
        "capture": capture,
    }
    done = subprocess.run(
        ["unshare", "-rnmu", sys.executable, __file__],
        input=json.dumps(order),
        text=True,
        capture_output=True,
        timeout=seconds + 30,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(_HERE)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return NativeRun(
        {
            name: FinishedTask(name, status, *(_written(folder, name, kind) for kind in _KINDS))
            for name, status in json.loads(done.stdout).items()
        },
        tuple(
            Stream(int(file.suffixes[0][1:]), int(file.suffixes[1][1:]), {0: file.read_bytes()})
            for file in sorted(folder.glob("stream*"))
        ),
    )


def _written(folder: Path, name: str, kind: str) -> str:
    return (folder / f"{name}.{kind}").read_text("utf-8", "replace")


def _run_inside(order: dict[str, Any]) -> dict[str, int]:
    """Run all tasks, and return how each ended; what they wrote lies in the folder."""
    until = time.monotonic() + order["seconds"]
    folder = Path(order["folder"])
    roles = tuple(
        ClusterRole(role["name"], tuple(role["hosts"])) for role in order["cluster"]["roles"]
    )
    cluster = Cluster(order["cluster"]["framework"], roles, order["cluster"]["port"])
    _prepare_network(cluster, folder)
    tap = Capture() if order["capture"] else None
    running = {
        f"{role}-{index}": _start(
            f"{role}-{index}",
            order["command"],
            folder,
            order["environment"] | rendezvous(cluster, role, index),
        )
        for role, index in cluster.tasks()
    }
    awaited = [
        process for name, process in running.items() if name.split("-")[0] not in order["forever"]
    ]
    while time.monotonic() < until and any(process.poll() is None for process in awaited):
        time.sleep(0.05)
    statuses = {name: process.poll() for name, process in running.items()}
    for process in running.values():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if tap is not None:
        assert tap.stop() == 0, "the capture lost frames"
        for number, stream in enumerate(tap.streams()):
            name = f"stream{number}.{stream.source_port}.{stream.target_port}"
            (folder / name).write_bytes(stream.content())
    return {name: -9 if status is None else status for name, status in statuses.items()}


_KINDS: Final = ("out", "err")


def _prepare_network(cluster: Cluster, folder: Path) -> None:
    """Give the loopback all tasks' addresses, and their names to them."""
    lines = ["127.0.0.1 localhost"]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for role in cluster.roles:
        for index, host in enumerate(role.hosts):
            subprocess.run(["ip", "addr", "add", f"{host}/32", "dev", "lo"], check=True)
            lines.append(f"{host} {role.name}-{index} {role.name if index == 0 else ''}")
    hosts = folder / "hosts"
    hosts.write_text("\n".join(lines) + "\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)


def _start(
    name: str, command: list[str], folder: Path, variables: dict[str, str]
) -> subprocess.Popen[bytes]:
    own = folder / name
    own.mkdir()
    environment = {
        "HOME": str(own),
        "LANG": "C.UTF-8",
        "PATH": os.environ["PATH"],
        "TMPDIR": str(own),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **variables,
    }
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        return subprocess.Popen(
            ["unshare", "-u", "sh", "-c", _NAMED, "sh", name, *command],
            cwd=own,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_run_inside(json.load(sys.stdin))))
