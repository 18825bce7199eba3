"""The soak's job under Cloister: a trust domain, its key service, and a cluster for each case.

Between any two relays lies a bad link: runs of one machine announce their relays in a folder, and
the one who plays the operator here puts another address there as soon as one has.

The policy names the environment's digest, so nothing else may write bytecode into it meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from soak import ring
from soak.bad_link import Address, BadLink
from soak.cluster_faults import (
    CERTIFICATE_S,
    RESTARTS,
    STEPS,
    Case,
    End,
    Fault,
    Kind,
    TinyDisk,
    bend,
    last_lines,
    read_weights,
)

CLOISTER: Final = (sys.executable, "-P", "-c", "from cloister.cli.main import main; main()")
PORT: Final = 7000
COMMAND_S: Final = 120.0
STOP_S: Final = 60.0
_LISTENING: Final = "0A"
_SIGNALS: Final[Mapping[Kind, int]] = {
    "kill": signal.SIGKILL,
    "pause": signal.SIGSTOP,
    "kill-relay": signal.SIGKILL,
    "pause-relay": signal.SIGSTOP,
    "kill-volume": signal.SIGKILL,
    "kill-launcher": signal.SIGKILL,
}


class Place:
    """A trust domain whose key service can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        """Make it, with code and the draft of a policy; start its key service."""
        self.folder = folder
        self.domain = folder / "domain"
        self.code = folder / "code"
        self.code.mkdir()
        shutil.copy(ring.__file__, self.code / "ring.py")
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._address: Address = server.getsockname()
        url = f"http://127.0.0.1:{self._address[1]}"
        self.call("init", str(self.domain), "--name", "soak.test", "--url", url)
        self._log = (folder / "keyservice.log").open("wb")
        self.start()
        draft = folder / "draft.yaml"
        self.call(
            *("policy", "draft", "--name", "ring", "--workload", "lead", "--code", str(self.code)),
            *("--command", "python /code/ring.py", "--output", str(draft)),
        )
        self._draft = draft.read_text()

    def start(self) -> None:
        """Start the key service, and wait until it answers."""
        self._service = subprocess.Popen(
            [*CLOISTER, "keyservice", "serve", "--listen", f"127.0.0.1:{self._address[1]}"],
            env=self._variables,
            stdout=self._log,
            stderr=self._log,
        )
        end = time.monotonic() + COMMAND_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(self._address, timeout=1):
                return
            time.sleep(0.1)
        raise RuntimeError("the key service does not start")

    def signal(self, number: int) -> None:
        """Send the key service a signal; a dead one is gone before this returns."""
        self._service.send_signal(number)
        if number == signal.SIGKILL:
            self._service.wait()

    def ensure(self) -> None:
        """Have it run, whatever happened to it."""
        if self._service.poll() is not None:
            self.start()
        self._service.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it."""
        self._service.send_signal(signal.SIGCONT)
        self._service.terminate()
        self._service.wait(timeout=STOP_S)
        self._log.close()

    def call(self, *words: str, inside: Sequence[str] = ()) -> dict[str, Any]:
        """Run a command to its end; return what it says with `--json`, where it was asked to."""
        done = subprocess.run(
            [*inside, *CLOISTER, *words],
            env=self._variables,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.decode()}")
        return dict(json.loads(done.stdout)) if "--json" in words else {}

    def popen(
        self, *words: str, inside: Sequence[str], output: Path, errors: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command."""
        with output.open("wb") as out, errors.open("wb") as err:
            return subprocess.Popen(
                [*inside, *CLOISTER, *words], env=self._variables, stdout=out, stderr=err
            )

    def policy(self, name: str, case: Case, volume: str) -> str:
        """Return a policy for one case: `lead` with the volume, and workers."""
        head, _, lead = self._draft.partition("workloads:\n")
        head = head.replace("name: ring\n", f"name: {name}\n", 1)
        head = re.sub(r"\nvolumes:.*?\n\n", "\n", head, flags=re.DOTALL)
        hosts = ["lead-0", *(f"worker-{index}" for index in range(case.world - 1))]
        variables = {
            "RING": ",".join(f"{host}:{PORT + rank}" for rank, host in enumerate(hosts)),
            "RING_STATE": "/state",
            "RING_STEPS": str(STEPS),
            "RING_PAUSE_S": str(case.pause_s),
            "OPENBLAS_NUM_THREADS": "1",
        }
        lead = re.sub(
            r"    environment:.*?\n(?=    \S)",
            "    environment: "
            + json.dumps(variables)
            + f"\n    instances: {{maximum: 1, restarts: {RESTARTS}}}\n"
            "    connections: {lead: any, worker: any}\n",
            lead,
            flags=re.DOTALL,
        )
        lead = re.sub(r"    volumes:.*?\n(?=    \S)", "    volumes: {}\n", lead, flags=re.DOTALL)
        worker = lead.replace("  lead:\n", "  worker:\n", 1).replace(
            "maximum: 1", f"maximum: {case.world - 1}"
        )
        lead = lead.replace("volumes: {}", "volumes: {/state: {volume: state, access: write}}")
        return (
            f"{head}volumes: {{state: {{id: {volume}, root: latest}}}}\n"
            f"certificate_lifetime: {CERTIFICATE_S}\n"
            f"cluster: {{framework: pytorch, roles: [lead, worker], port: {PORT}}}\n"
            f"workloads:\n{lead}{worker}"
        )

    @property
    def _variables(self) -> Mapping[str, str]:
        # The environment is measured with its bytecode: nothing may be added to it meanwhile.
        return os.environ | {"CLOISTER_DOMAIN": str(self.domain), "PYTHONDONTWRITEBYTECODE": "1"}


class ShieldedSystem:
    """A case as `cloister cluster run` runs it, which is told the job's deadline."""

    ending_s = 75.0  # what `cluster run` gives instances to stop, a minute, and its own end

    def __init__(self, place: Place, folder: Path, case: Case) -> None:
        """Make its volume and its policy, and start it."""
        self._place, self._folder, self._case = place, folder, case
        self._name = f"ring-{case.seed}"
        self._job = folder / "job"
        store = folder / "state"
        fills = any(fault.kind == "full" for fault in case.faults)
        if fills:
            store.mkdir()
        self._disk = TinyDisk(store) if fills else None
        self._inside = self._disk.inside if self._disk is not None else ()
        self._store = store / "sealed" if fills else store
        volume = place.call("volume", "create", str(self._store), "--json", inside=self._inside)
        policy = folder / "policy.yaml"
        policy.write_text(place.policy(self._name, case, volume["id"]))
        place.call("policy", "apply", str(policy))
        self._names = ["lead-0", *(f"worker-{index}" for index in range(case.world - 1))]
        self._targets: dict[str, Address] = {}
        self._stack = contextlib.ExitStack()
        self._links = [
            self._stack.enter_context(BadLink(lambda name=name: self._targets.get(name), seed=rank))
            for rank, name in enumerate(self._names)
        ]
        self._paused: set[int] = set()
        self._cluster = place.popen(
            *("cluster", "run", str(policy), "--code", str(place.code), "--job", str(self._job)),
            *("--volume", f"state={self._store}", "--json"),
            *("--deadline", str(case.deadline_s)),
            inside=self._inside,
            output=folder / "output",
            errors=folder / "errors",
        )

    @property
    def training(self) -> bool:
        """Whether rank 0 said so."""
        return b"rank 0 begins" in (self._folder / "errors").read_bytes()

    def strike(self, fault: Fault) -> bool:
        """Do a fault; tell whether there was anything to do it to."""
        if fault.kind in _SIGNALS:
            return self._send(self._find(fault), _SIGNALS[fault.kind])
        match fault.kind:
            case "service-away" | "certificate":
                self._place.signal(signal.SIGSTOP)
            case "service-killed":
                self._place.signal(signal.SIGKILL)
            case "expelled":
                return self._expel(fault.rank)
            case "full":
                assert self._disk is not None
                self._disk.fill()
            case _:
                bend(self._links[fault.rank], fault)
        return True

    def mend(self, fault: Fault) -> None:
        """Undo it."""
        match fault.kind:
            case "pause" | "pause-relay":
                for process in self._paused:
                    _signal(process, signal.SIGCONT)
                self._paused.clear()
            case "service-away" | "certificate":
                self._place.signal(signal.SIGCONT)
            case "service-killed":
                self._place.start()
            case "full":
                assert self._disk is not None
                self._disk.free()
            case "kill" | "kill-relay" | "kill-volume" | "kill-launcher" | "expelled":
                pass
            case _:
                self._links[fault.rank].mend()

    def look(self) -> bool:
        """Put the links between relays that have announced themselves; tell whether it is over."""
        for name, link in zip(self._names, self._links, strict=True):
            place = self._job / "peers" / name
            try:
                host, _, port = place.read_text().strip().rpartition(":")
            except OSError:
                continue
            if (host, int(port)) == link.address:
                continue
            self._targets[name] = (host, int(port))
            ours = place.with_name(f".{name}.link")
            ours.write_text(f"{link.address[0]}:{link.address[1]}\n")
            ours.rename(place)
        return self._cluster.poll() is not None

    def finish(self) -> End:
        """End what still runs, and say how it ended."""
        status = self._cluster.poll()
        try:
            self._place.ensure()
            if status is None:
                self._cluster.kill()
                self._cluster.wait()
                return End(None, "", None, self._said())
            code = "" if status == 0 else self._code()
            return End(status, code, self._weights(status), self._said())
        finally:
            self._stack.close()
            if self._disk is not None:
                self._disk.close()

    def _weights(self, status: int) -> ring.Vector | None:
        """Return what the owner finds on the volume."""
        if status:
            return None
        if self._disk is not None:
            self._disk.free()
        target = self._folder / "opened"
        self._place.call("volume", "open", str(self._store), str(target), inside=self._inside)
        return read_weights(target)

    def _said(self) -> str:
        said = last_lines((self._folder / "errors").read_bytes())
        with contextlib.suppress(OSError, ValueError):
            for each in json.loads((self._job / "state.json").read_text())["instances"]:
                if each["error"]:
                    said += f"\n{each['role']}-{each['index']}: {each['error']}"
        return said

    def _code(self) -> str:
        """Return the code of what stopped the job, as the command says it to machines."""
        text = (self._folder / "output").read_text()
        try:
            said = json.loads(text)
        except ValueError:
            return ""
        error = said.get("error")
        return str(error["code"]) if isinstance(error, dict) and error.get("code") else ""

    def _expel(self, rank: int) -> bool:
        role, _, index = self._names[rank].rpartition("-")
        struck = False
        # It may have left by itself, or nobody answers.
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            members = self._place.call("keyservice", "members", self._name, "--json")["members"]
            for each in members:
                if each["workload"] == role and each["instance"].startswith(f"{index}."):
                    self._place.call("keyservice", "expel", self._name, role, each["instance"])
                    struck = True
        return struck

    def _find(self, fault: Fault) -> int | None:
        match fault.kind:
            case "kill" | "pause":
                return self._program(fault.rank)
            case "kill-relay" | "pause-relay":
                return self._relay(fault.rank)
            case "kill-volume":
                return self._volume_server()
            case _:
                return self._launcher(fault.rank)

    def _send(self, process: int | None, number: int) -> bool:
        if process is None:
            return False
        _signal(process, number)
        if number == signal.SIGSTOP:
            self._paused.add(process)
        return True

    def _launcher(self, rank: int) -> int | None:
        role, _, index = self._names[rank].rpartition("-")
        with contextlib.suppress(OSError, ValueError):
            for each in json.loads((self._job / "state.json").read_text())["instances"]:
                if (each["role"], each["index"]) == (role, int(index)) and each["process"]:
                    return int(each["process"]["pid"])
        return None

    def _program(self, rank: int) -> int | None:
        launcher = self._launcher(rank)
        below = _below(launcher) if launcher is not None else ()
        return next((each for each in below if b"/code/ring.py" in _command(each)), None)

    def _relay(self, rank: int) -> int | None:
        """Return the process below the launcher that listens where the relay was announced."""
        launcher, address = self._launcher(rank), self._targets.get(self._names[rank])
        if launcher is None or address is None:
            return None
        sockets = _listening(address[1])
        return next((each for each in _children(launcher) if sockets & _opened(each)), None)

    def _volume_server(self) -> int | None:
        """Return the child of the lead's launcher that has a mount, outside of its namespaces."""
        launcher = self._launcher(0)
        if launcher is None:
            return None
        outside = _namespace(launcher)
        for each in _children(launcher):
            if _namespace(each) == outside and "/dev/fuse" in _opened(each):
                return each
        return None


def _signal(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _children(process: int) -> Sequence[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            found += [int(each) for each in (task / "children").read_text().split()]
    return found


def _below(process: int) -> Iterator[int]:
    for child in _children(process):
        yield child
        yield from _below(child)


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _namespace(process: int) -> str:
    try:
        return str(Path(f"/proc/{process}/ns/mnt").readlink())
    except OSError:
        return ""


def _opened(process: int) -> set[str]:
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for each in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(each.readlink()))
    return found


def _listening(port: int) -> set[str]:
    """Return the sockets of this machine that listen on a port, as descriptors show them."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            found.add(f"socket:[{fields[9]}]")
    return found
