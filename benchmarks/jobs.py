"""Steps of distributed training, native against shielded: the same programs, seeds and tasks.

Native is the same interpreter with the same variables on the loopback, without a sandbox, a relay
or TLS. All tasks of both share this machine's processors, with the relays of the shielded ones:
where there are fewer processors than tasks and relays, what a step costs in processor time is what
it costs in time, and adding workers cannot make anything faster.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import domain as domains
from pairs import Row, Spread

PROGRAMS = Path(__file__).parent / "programs"
# What each comparison is: program, size, framework, roles, aim for the ratio.
Case = tuple[str, str, str, dict[str, int], float | None]
CASES: dict[str, Case] = {
    "TensorFlow, 2 workers, light": ("mirrored", "light", "tensorflow", {"worker": 2}, 1.05),
    "TensorFlow, 2 workers, heavy": ("mirrored", "heavy", "tensorflow", {"worker": 2}, 1.30),
    "TensorFlow, parameter server with 2 workers": (
        "servers", "light", "tensorflow", {"chief": 1, "worker": 2, "ps": 1}, 1.60,
    ),
    "PyTorch, 2 workers, light": ("torch", "light", "pytorch", {"worker": 2}, 1.05),
    "PyTorch, 2 workers, heavy": ("torch", "heavy", "pytorch", {"worker": 2}, 1.30),
}  # fmt: skip
_DEADLINE_S = 300


def rows(domain: domains.Domain, *, pairs: int, steps: int) -> Iterator[Row]:
    """Measure each case `pairs` times each way, and PyTorch's with one to three workers."""
    for name, case in CASES.items():
        yield measure(domain, name, case, pairs=pairs, steps=steps)
    for workers in (1, 2, 3):
        name = f"... scaling: PyTorch, light, {workers} workers"
        case = ("torch", "light", "pytorch", {"worker": workers}, None)
        yield measure(domain, name, case, pairs=1, steps=steps)


def measure(domain: domains.Domain, name: str, case: Case, *, pairs: int, steps: int) -> Row:
    """Measure one case `pairs` times each way."""
    program, size, framework, roles, aim = case
    words = [f"steps_{program}.py", size, str(steps)]
    policy = _policy(domain, f"{program}-{size}-{sum(roles.values())}", words, framework, roles)
    found: dict[bool, list[float]] = {False: [], True: []}
    weights: set[str] = set()
    for number in range(pairs):
        for shielded in (True, False) if number % 2 else (False, True):
            reports = (
                _shielded(domain, policy, roles)
                if shielded
                else _native(domain, words, framework, roles)
            )
            found[shielded].append(max(report["median_ms"] for report in reports))
            weights |= {report["weights"] for report in reports if "weights" in report}
    if len(weights) > 1:
        raise SystemExit(f"{name}: the same seeds gave different weights")
    left, right = Spread.of(found[False]), Spread.of(found[True])
    ratio = min(found[True]) / min(found[False])
    return Row(
        part="jobs",
        name=f"{name}: step, ms",
        left=left.text(),
        right=right.text(),
        result=f"{ratio:.2f} times",
        aim="" if aim is None else f"at most {aim:.2f}",
        met=None if aim is None else ratio <= aim,
        facts={
            "native_ms": left.record(),
            "shielded_ms": right.record(),
            "ratio_of_best": round(ratio, 3),
            "equal_weights": bool(weights),
            "workers": sum(roles.values()),
            "processors": len(os.sched_getaffinity(0)),
        },
    )


def _policy(
    domain: domains.Domain,
    name: str,
    words: Sequence[str],
    framework: str,
    roles: Mapping[str, int],
) -> str:
    file = f"{name}.yaml"
    if (domain.folder / file).exists():  # two rows measure the same case
        return file
    options = ["--connect", "all", "--cluster", framework]
    for role, count in roles.items():
        options += ["--workload", role, "--instances", f"{role}:{count}"]
    code = domain.folder / "programs"
    if not code.exists():
        code.symlink_to(PROGRAMS)
    domain.cloister(
        "policy", "draft", "--name", name, "--code", "programs", "--output", file,
        "--command", " ".join(["python", f"/code/{words[0]}", *words[1:]]), *options,
    )  # fmt: skip
    domain.cloister("policy", "apply", file)
    return file


def _shielded(
    domain: domains.Domain, policy: str, roles: Mapping[str, int]
) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=domain.folder) as job:
        until = ("--until", "chief") if "chief" in roles else ()
        done = subprocess.run(
            domain.command(
                "cluster", "run", policy, "--code", "programs", "--job", f"{job}/job",
                "--deadline", str(_DEADLINE_S), *until,
            ),
            cwd=domain.folder,
            env=domain.environment,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{policy}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return _reports(done.stdout + done.stderr)


def _native(
    domain: domains.Domain, words: Sequence[str], framework: str, roles: Mapping[str, int]
) -> list[dict[str, Any]]:
    ports = iter(_free_ports(sum(roles.values())))
    cluster = {role: [f"127.0.0.1:{next(ports)}" for _ in range(n)] for role, n in roles.items()}
    started = []
    rank = 0
    for role, places in cluster.items():
        for index in range(len(places)):
            variables = {
                "tensorflow": {
                    "TF_CONFIG": json.dumps(
                        {"cluster": cluster, "task": {"type": role, "index": index}}
                    )
                },
                "pytorch": {
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": next(iter(cluster.values()))[0].split(":")[1],
                    "RANK": str(rank),
                    "WORLD_SIZE": str(sum(roles.values())),
                },
            }[framework]
            rank += 1
            process = subprocess.Popen(
                [domain.python, str(PROGRAMS / words[0]), *words[1:]],
                env={**domain.environment, **variables},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            started.append((role, process))
    awaited = [p for role, p in started if role == "chief" or "chief" not in roles]
    said = [process.communicate(timeout=_DEADLINE_S)[0] for process in awaited]
    for _, process in started:
        process.kill()
        process.wait()
    return _reports("\n".join(said))


def _reports(text: str) -> list[dict[str, Any]]:
    """Return the JSON lines that programs printed, with or without a role's name before them."""
    lines = (line[line.index("{") :] for line in text.splitlines() if '{"median_ms"' in line)
    reports = [json.loads(line) for line in lines]
    if not reports:
        raise SystemExit(f"no task reported: {text[-2000:]}")
    return reports


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
