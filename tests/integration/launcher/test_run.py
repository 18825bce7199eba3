"""Runs from end to end, with a real key service, real mounts and real processes."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cloister.attestation.endorsement_bundle import Collected, EndorsementBundle
from cloister.attestation.measurement import LaunchMeasurement
from cloister.cli.vouching import GivenEndorsements
from cloister.confinement import syscalls
from cloister.crypto.digest import digest_to_text, sha256
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import Moment, read_clock
from cloister.keyservice.log import LogEntry
from cloister.keyservice.policy.canonical import policy_hash
from cloister.keyservice.transport import HTTPTransport
from cloister.launcher import renewer
from cloister.launcher.attesting import hardware_attester, knows_nothing
from cloister.launcher.receipt import verify_run_receipt
from cloister.launcher.run import RunOutcome
from cloister.tee.offers import Machine
from cloister.tee.places import Places
from cloister.tee.tdx.layout import read_quote
from cloister.testing.azure import Firmware, MetadataFake
from cloister.testing.genuine import SnpMachine, TdMachine, section, with_gpus
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureTd, SimulatedAzureVm
from cloister.testing.manufacturers.intel import SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.testing.nvml import FakeNvml
from cloister.testing.swtpm import SoftwareTpm
from cloister.volume.opening import observe
from integration.apart import run_apart, users
from integration.launcher.launchbench import LaunchBench

pytestmark = pytest.mark.fuse
everybody = pytest.mark.parametrize("user_id", users())

# One file is measured instead of a whole environment: these tests are about the run.
_PYTHON = ("/usr/bin/python3", "/code/main.py")
needs_python = pytest.mark.skipif(
    not Path(_PYTHON[0]).exists(), reason="needs the distribution's python3"
)


def _apart(user_id: int, function: Callable[[Path], Any]) -> Any:
    """Run a function with a folder of its own, as a user, in a private mount namespace."""

    def inside() -> Any:
        folder = Path(tempfile.mkdtemp(prefix="cloister-run-"))
        try:
            return function(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return run_apart(user_id, inside)


def _outcome(bench: LaunchBench, **changes: Any) -> dict[str, Any]:
    """Run; return status or code, output and the receipt's body, if one was written."""
    try:
        found: RunOutcome | CloisterError = bench.run(**changes)
    except CloisterError as e:
        found = e
    receipt = bench.folder / "receipt.json"
    body = json.loads(receipt.read_text())["body"] if receipt.exists() else None
    result = {
        "stdout": bench.output["stdout"].decode(),
        "stderr": bench.output["stderr"].decode(),
        "body": body,
    }
    if isinstance(found, CloisterError):
        return result | {"code": found.code, "public": found.public}
    return result | {"status": found.status, "troubles": [e.code for e in found.troubles]}


_COPY = """
import os, sys
text = open('/data/x.txt').read()
with open('/model/result.txt', 'w') as f: f.write(text.upper())
print(sys.argv[1:], os.environ['SEED'], sorted(os.listdir('/run/cloister/identity')))
print('to stderr', file=sys.stderr)
sys.exit(3)
"""


@needs_python
@everybody
def test_a_run_reads_and_writes_volumes_and_leaves_a_receipt(user_id: int) -> None:
    """Sealed input becomes sealed output; status, logs and receipt tell what happened."""

    def inside(folder: Path) -> dict[str, Any]:
        bench = LaunchBench.create(folder).prepare(
            _COPY, command=(*_PYTHON, "--epochs", "3"), environment={"SEED": "7"}
        )
        result = _outcome(bench)
        verified = verify_run_receipt(
            (folder / "receipt.json").read_bytes(),
            ca=bench.domain.ca,
            service=bench.domain.identity,
            origin=bench.domain.origin,
        )
        (job,) = bench.owner.jobs()
        anchored = {item["id"]: item for item in bench.owner.client.status().volumes}
        model = next(item for item in verified.body["volumes"] if item["mount"] == "/model")
        return result | {
            "written": bench.read_result("result.txt").decode(),
            "rooted": verified.hardware_rooted,
            "same_root": observe(folder / "sealed" / "model").root.hex() in model["after"]["root"],
            "known": len(anchored),
            "members": [job.epoch, sum(live for live, _ in job.roles.values())],
        }

    found = _apart(user_id, inside)
    assert found["status"] == 3
    assert found["written"] == "HELLO"
    assert found["stdout"] == "['--epochs', '3'] 7 ['ca.pem', 'cert.pem', 'key.pem']\n"
    assert found["stderr"] == "to stderr\n"
    assert found["rooted"] is False
    assert found["same_root"]
    assert found["members"] == [2, 0]  # it joined, and left at its end
    assert found["body"]["status"] == 3
    assert found["body"]["failure"] is None
    stdout = found["body"]["logs"]["stdout"]
    assert stdout["digest"] == digest_to_text(sha256(found["stdout"].encode()))


@needs_python
@pytest.mark.spec("RR-4")
def test_dropped_logs_leave_neither_text_nor_digest() -> None:
    """Where the policy drops logs, the operator sees nothing of them."""

    def inside(folder: Path) -> dict[str, Any]:
        return _outcome(LaunchBench.create(folder).prepare(
            _COPY, command=_PYTHON, environment={"SEED": "1"}, logs="drop"
        ))  # fmt: skip

    found = _apart(users()[0], inside)
    assert (found["status"], found["stdout"], found["stderr"]) == (3, "", "")
    assert found["body"]["logs"] is None


@needs_python
def test_plain_code_runs_as_it_was_measured() -> None:
    """A folder whose digest the policy names is placed in memory, read-only."""
    script = (
        "import os\n"
        "try: open('/code/x', 'w')\n"
        "except OSError as e: print(e.errno, os.listdir('/code'))\n"
    )

    def inside(folder: Path) -> list[dict[str, Any]]:
        bench = LaunchBench.create(folder).prepare(script, command=_PYTHON, plain_code=True)
        good = _outcome(bench)
        (folder / "plain-code" / "main.py").write_text("print('evil')")
        bench.output["stdout"] = b""
        return [good, _outcome(bench)]

    good, changed = _apart(users()[0], inside)
    assert (good["status"], good["stdout"]) == (0, f"{errno.EROFS} ['main.py']\n")
    assert changed["code"] == "appraisal.code"
    assert changed["stdout"] == ""


@needs_python
def test_what_must_not_run_is_refused_by_code() -> None:
    """Arguments, workload, program and volumes that differ from the policy are refused."""

    def inside(folder: Path) -> dict[str, str]:
        bench = LaunchBench.create(folder).prepare("print('ran')", command=_PYTHON)
        found = {
            "arguments": _outcome(bench, arguments=("--steal",)),
            "workload": _outcome(bench, workload="other"),
            "store": _outcome(bench, stores={"other": folder}),
        }
        code = folder / "sealed" / "code"
        data = folder / "sealed" / "data"
        found["swapped"] = _outcome(bench, stores={"code": data})
        bench.text = bench.text.replace("/code/main.py", "/code/other.py")
        found["argv"] = _outcome(bench)
        bench.text = bench.text.replace("/code/other.py", "/code/main.py")
        for path in code.rglob("*"):
            if path.is_file() and path.stat().st_size > 4096:
                raw = bytearray(path.read_bytes())
                raw[len(raw) // 2] ^= 1
                path.write_bytes(raw)
        return {name: item.get("code", "ran") for name, item in found.items()} | {
            "ran": str("ran" in bench.output["stdout"].decode())
        }

    assert _apart(users()[0], inside) == {
        "arguments": "launch.argv",
        "workload": "release.workload-unknown",
        "store": "config.value",
        "swapped": "appraisal.code",
        "argv": "release.policy-unknown",
        "ran": "False",
    }


@needs_python
def test_an_older_copy_of_a_volume_is_refused() -> None:
    """Putting back a whole older store is `volume.rolled-back`, and nothing runs."""

    def inside(folder: Path) -> list[Any]:
        bench = LaunchBench.create(folder).prepare(
            "open('/model/a', 'w').write('x'); print('ran')", command=_PYTHON
        )
        model, older = folder / "sealed" / "model", folder / "older"
        shutil.copytree(model, older)
        first = _outcome(bench)
        shutil.rmtree(model)
        shutil.copytree(older, model)
        second = _outcome(bench)
        return [first["status"], second["code"], second["stdout"]]

    assert _apart(users()[0], inside) == [0, "volume.rolled-back", "ran\n"]


_WAITING = """
import os, signal, sys, time
def stop(number, frame):
    print('stopping', number, flush=True)
    if os.environ['MODE'] == 'polite': sys.exit(9)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
with open('/model/progress.txt', 'w') as f: f.write('so far')
print('ready', flush=True)
while True: time.sleep(0.1)
"""


def _interrupt_when_ready(bench: LaunchBench, number: int) -> threading.Thread:
    def wait() -> None:
        while b"ready" not in bench.output["stdout"]:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait, daemon=True)
    # It must not exist while the run forks; the listening hook comes after that.
    bench.listening = lambda _addresses: thread.start()
    return thread


@needs_python
@pytest.mark.parametrize(
    ("mode", "number", "status"),
    [("polite", signal.SIGTERM, 9), ("polite", signal.SIGINT, 9), ("deaf", signal.SIGTERM, 137)],
)
def test_a_stop_is_passed_on_and_volumes_are_committed(mode: str, number: int, status: int) -> None:
    """SIGINT and SIGTERM reach the workload; one that does not stop is killed; nothing is lost."""

    def inside(folder: Path) -> dict[str, Any]:
        bench = LaunchBench.create(folder).prepare(
            _WAITING, command=_PYTHON, environment={"MODE": mode}
        )
        _interrupt_when_ready(bench, number)
        began = time.monotonic()
        result = _outcome(bench, grace_s=1.0)
        return result | {
            "seconds": time.monotonic() - began,
            "progress": bench.read_result("progress.txt").decode(),
        }

    found = _apart(users()[0], inside)
    assert found["status"] == status
    assert f"stopping {int(number)}" in found["stdout"]
    assert found["progress"] == "so far"
    assert found["body"]["status"] == status
    assert found["seconds"] < 30


@needs_python
def test_a_volume_server_that_dies_ends_the_workload() -> None:
    """`workload.volume-server`, in the error and in the receipt; the volume stays usable."""

    def inside(folder: Path) -> dict[str, Any]:
        bench = LaunchBench.create(folder).prepare(
            _WAITING, command=_PYTHON, environment={"MODE": "polite"}
        )

        def kill_server() -> None:
            while b"ready" not in bench.output["stdout"]:
                time.sleep(0.01)
            os.kill(_server_of(folder / "sealed" / "model"), signal.SIGKILL)

        bench.listening = lambda _addresses: threading.Thread(target=kill_server).start()
        result = _outcome(bench)
        with bench.owner.reading(folder / "sealed" / "model") as volume:
            volume.list_directory(1)
        return result

    found = _apart(users()[0], inside)
    assert found["code"] == "workload.volume-server"
    assert found["body"]["failure"]["code"] == "workload.volume-server"
    assert "model" in found["public"]
    assert found["body"]["status"] == 137


def _server_of(store: Path) -> int:
    """Find the process of ours that has a file of a store open."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                links = [os.readlink(link) for link in (process / "fd").iterdir()]  # noqa: PTH115  # no file need be there
            except OSError:
                continue
            if any(link.startswith(str(store)) for link in links):
                return int(process.name)
    raise AssertionError("no server has the store open")


_SERVING = """
import json, os, socket
rules = json.load(open('/run/cloister/listeners.json'))
listener = socket.socket(fileno=3)
print(os.environ['LISTEN_FDNAMES'], list(rules['listeners']), flush=True)
connection, _ = listener.accept()
connection.sendall(b'served')
connection.close()
"""


@needs_python
def test_granted_ports_are_served_from_inside() -> None:
    """A client outside reaches the workload through the port that the policy grants."""

    def inside(folder: Path) -> dict[str, Any]:
        bench = LaunchBench.create(folder).prepare(_SERVING, command=_PYTHON, listen=True)
        said: list[str] = []

        def ask(addresses: dict[str, tuple[str, int]]) -> None:
            with socket.create_connection(addresses["api"], 10) as client:
                said.append(client.recv(100).decode())

        bench.listening = lambda addresses: threading.Thread(target=ask, args=(addresses,)).start()
        return _outcome(bench) | {"said": said}

    found = _apart(users()[0], inside)
    assert (found["status"], found["said"]) == (0, ["served"])
    assert found["stdout"] == "api ['api']\n"
    assert found["body"]["listeners"]["api"].startswith("127.0.0.1:")


@needs_python
def test_a_second_writer_is_refused_while_the_first_runs() -> None:
    """`volume.leased`: a lease stops two writers; it is given back at the end."""

    def inside(folder: Path) -> list[Any]:
        bench = LaunchBench.create(folder).prepare("print('ran')", command=_PYTHON)
        identity = observe(folder / "sealed" / "model")
        bench.owner.client.take_lease(identity.volume_id)
        refused = _outcome(bench)
        bench.owner.client.break_lease(identity.volume_id)
        return [refused["code"], _outcome(bench)["status"], _outcome(bench)["status"]]

    assert _apart(users()[0], inside) == ["volume.leased", 0, 0]


@needs_python
def test_a_full_disk_is_named() -> None:
    """The workload sees ENOSPC; the outcome says `storage.full`; what was committed stays."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a small file system")
    script = (
        "import os, sys\n"
        "open('/model/kept', 'w').write('kept')\n"
        "os.fsync(os.open('/model/kept', os.O_RDWR))\n"
        "try:\n"
        "    with open('/model/big', 'wb') as f:\n"
        "        for _ in range(64):\n"
        "            f.write(os.urandom(1 << 20)); f.flush(); os.fsync(f.fileno())\n"
        "except OSError as e:\n"
        "    print(e.errno); sys.exit(4)\n"
    )

    def inside(folder: Path) -> dict[str, Any]:
        small = folder / "sealed"
        small.mkdir()
        syscalls.mount("none", str(small), "tmpfs", 0, "size=24m")
        bench = LaunchBench.create(folder).prepare(script, command=_PYTHON)
        result = _outcome(bench)
        result["kept"] = bench.read_result("kept").decode()
        syscalls.umount(str(small), syscalls.MNT_DETACH)
        return result

    found = _apart(0, inside)
    assert found["kept"] == "kept"
    assert found["stdout"] == f"{errno.ENOSPC}\n"
    assert found.get("troubles") == ["storage.full"] or found.get("code") == "storage.full"


def test_an_unreachable_key_service_is_named() -> None:
    """`keyservice.unreachable`, within the deadline, and nothing ran."""

    def inside(folder: Path) -> dict[str, Any]:
        bench = LaunchBench.create(folder).prepare("print('ran')", command=_PYTHON)
        return _outcome(bench, url=f"unix://{folder}/nobody.sock")

    found = _apart(users()[0], inside)
    assert (found["code"], found["stdout"], found["body"]) == ("keyservice.unreachable", "", None)


_MAKE_CELL = """
import json, os, sys, cryptography
from cloister.confinement.cell import CellSpec, Warm

PROBE = b'''
import json, os, socket
def main(pipe):
    def fails(attempt):
        try:
            attempt()
        except OSError:
            return True
        return False
    places = ("/code", "/data", "/model", "/run/cloister/identity", "/proc/1", "/.cells")
    found = [sum(map(os.path.exists, places)), dict(os.environ), os.getpid(), os.uname().nodename]
    found.append([fails(socket.socket), fails(os.fork), fails(lambda: open("/cell/a", "w"))])
    os.write(pipe, json.dumps(found).encode())
'''
print(sys.prefix, sys.dont_write_bytecode, os.path.exists("/model"))
spec = CellSpec(memory_bytes=1 << 28, scratch_bytes=1 << 20, processor_s=9, tasks=4)
with Warm(spec) as warm:
    warm.start()
    with warm.fork({"probe.py": PROBE}, "probe:main") as cell:
        print(os.read(cell.fileno(), 9999).decode(), sorted(warm.missing), cell.wait(9).status)
"""


@pytest.mark.slow
@pytest.mark.spec("CELL-60")
def test_python_means_the_measured_interpreter_which_may_make_cells() -> None:
    """`python` is the launcher's own environment, by its digest; a cell in it has less still."""

    def inside(folder: Path) -> list[Any]:
        bench = LaunchBench.create(folder, idle_exit_s=250).prepare(_MAKE_CELL, cells=True)
        good = _outcome(bench)
        return [good["status"], good["stdout"], good["stderr"]]

    status, said, errors = _apart(users()[-1], inside)
    first, second = said.splitlines()
    assert (status, first, errors) == (0, f"{sys.prefix} True True", "")
    assert second == '[0, {}, 1, "cell", [true, true, true]] [] 0'


_WAIT_FOR_RENEWAL = """
import os, time
folder = '/run/cloister/identity'
first, key = open(folder + '/cert.pem').read(), open(folder + '/key.pem').read()
print('ready', flush=True)
end = time.monotonic() + 60
while open(folder + '/cert.pem').read() == first and time.monotonic() < end:
    time.sleep(0.05)
with open('/model/result.txt', 'w') as f:
    f.write('written under the first lease')
    f.flush()
    os.fsync(f.fileno())
print(open(folder + '/cert.pem').read() != first, open(folder + '/key.pem').read() == key)
print(sorted(os.listdir(folder)))
"""


@needs_python
@everybody
@pytest.mark.spec("MEM-62")
def test_a_long_run_renews_its_certificate_and_keeps_its_leases(user_id: int) -> None:
    """Half of the lifetime has passed, by the run's clock: a new certificate lies in the folder."""

    def inside(folder: Path) -> dict[str, Any]:
        bench = LaunchBench.create(folder).prepare(_WAIT_FOR_RENEWAL, command=_PYTHON)
        renewer._LONGEST_WAIT_S = 0.1  # in this child only: the clock moves all at once

        def clock() -> Moment:
            now = read_clock()
            late = b"ready" in bench.output["stdout"]
            return Moment(now.at + 43_300 if late else now.at, now.uptime)

        result = _outcome(bench, clock=clock)
        entries, _ = bench.owner.client.read_log(first=0, count=100, old=None)
        operations = [entry.operation for entry in entries if isinstance(entry, LogEntry)]
        return result | {
            "written": bench.read_result("result.txt").decode(),
            "renewed": "renew" in operations,
        }

    found = _apart(user_id, inside)
    assert found["status"] == 0, found
    assert found["stdout"] == "ready\nTrue True\n['ca.pem', 'cert.pem', 'key.pem']\n"
    assert found["written"] == "written under the first lease"
    assert found["renewed"]
    assert found["body"]["failure"] is None


def _genuine(kind: str, at: int) -> tuple[TdMachine | SnpMachine, dict[str, Any]]:
    """A machine of a simulated manufacturer, and what a run on it is given."""
    found: TdMachine | SnpMachine = TdMachine(SimulatedIntel(b"seed", at=at))
    given: dict[str, Any] = {"vouching": lambda *_: found.endorsements}
    if kind == "snp":  # whose host has the endorsements
        found, given = SnpMachine(SimulatedAmd(b"seed", "Genoa", now=at)), {}
    here = Machine(Places(tsm=found.root, gramine=found.root), files=found.kernel())

    def no_platform() -> Any:
        raise AssertionError("a run on hardware has no simulated platform")

    return found, given | {"machine": here, "load_platform": no_platform}


def _endorsed(machine: TdMachine, *_: object) -> Any:
    return machine.endorsements


@needs_python
@pytest.mark.parametrize("kind", ["tdx", "snp"])
def test_a_run_on_a_processor_of_a_simulated_manufacturer(kind: str) -> None:
    """From the kernel's interface to sealed data: the real attester, service and verifier."""

    def inside(folder: Path) -> Any:
        machine, given = _genuine(kind, read_clock().at)
        trust = section(kind, anchors=[machine.anchor], measurement=machine.measurement)
        bench = LaunchBench.create(folder).prepare(
            _COPY, command=_PYTHON, environment={"SEED": "7"}, trust=trust
        )
        refused = _outcome(bench)  # on this machine, which has no such processor
        other = dataclasses.replace(machine, root=Path("/other"))
        elsewhere = Machine(Places(tsm=machine.root), files=other.kernel())
        nothing = _outcome(bench, **(given | {"machine": elsewhere}))
        found = _outcome(bench, **given)
        entries, _ = bench.owner.client.read_log(first=0, count=100, old=None)
        logged = [
            (each.code, each.evidence != bytes(32))
            for each in entries
            if isinstance(each, LogEntry) and each.operation == "release"
        ]
        return found, refused["code"], nothing["code"], logged

    found, refused, nothing, logged = _apart(0, inside)
    assert (found["status"], " 7 " in found["stdout"]) == (3, True)
    assert (refused, nothing) == ("machine.attester", "machine.attester")
    assert logged == [["", True]]
    result = found["body"]["attestation"]
    assert (result["root_of_trust"], result["hardware_rooted"]) == (kind, False)


def _with_gpu(
    kind: str, at: int, nvml: FakeNvml, folder: Path
) -> tuple[str, dict[str, Any], SimulatedNvidia]:
    """What a policy says of a guest with a GPU, what a run on it is given, and who made the GPU."""
    machine, given = _genuine(kind, at)
    maker = SimulatedNvidia("run", at=at)
    gpu = maker.gpu("HOPPER")
    nvml.put("certificates0", gpu.chain.body)
    vouching = [*machine.endorsements, *maker.rims(gpu), *maker.ocsp_responses(gpu)]
    stranger = SimulatedAmd(b"stranger", "Milan", now=at)
    vouching += [*maker.rims(maker.gpu("BLACKWELL")), *stranger.endorsements(stranger.chip())]
    key = SigningKey.generate()
    items = [Collected(each, "https://here.example", at) for each in vouching]
    bundle = folder / "all.bundle"
    bundle.write_bytes(EndorsementBundle.make(items, key)[1])
    places = dataclasses.replace(given["machine"].places, nvml=nvml.library)
    given |= {
        "machine": dataclasses.replace(given["machine"], places=places),
        "vouching": GivenEndorsements([bundle], collectors=[key.public], clock=read_clock),
    }
    processor = section(kind, anchors=[machine.anchor], measurement=machine.measurement)
    anchors = [f"sha256:{each.hex()}" for each in maker.anchors]
    return with_gpus(processor, anchors), given, maker


@needs_python
@pytest.mark.parametrize("kind", ["tdx", "snp"])
@pytest.mark.spec("CE-5", "KR-104")
def test_a_run_on_a_machine_with_a_gpu(kind: str, nvml: FakeNvml) -> None:
    """Both parts of one machine, vouched for from a bundle about several; half of it gets nothing.

    A machine without the GPU fails before it asks; one that sends the processor's half is refused.
    """

    def inside(folder: Path) -> Any:
        trust, given, maker = _with_gpu(kind, read_clock().at, nvml, folder)
        bench = LaunchBench.create(folder / "bench").prepare(
            _COPY, command=_PYTHON, environment={"SEED": "7"}, trust=trust
        )
        here = given["machine"]
        without = dataclasses.replace(here.places, nvml=Path("/nowhere"))
        gone = _outcome(bench, **(given | {"machine": dataclasses.replace(here, places=without)}))
        half = _half_of_it(bench, kind, given)
        with nvml.answering(lambda nonce: maker.gpu("HOPPER").report(nonce).to_bytes()):
            found = _outcome(bench, **given)
        altered = maker.gpu("HOPPER", altered=[3])
        with nvml.answering(lambda nonce: altered.report(nonce).to_bytes()):
            changed = _outcome(bench, **given)
        entries, _ = bench.owner.client.read_log(first=0, count=100, old=None)
        logged = [
            each.code
            for each in entries
            if isinstance(each, LogEntry) and each.operation == "release"
        ]
        return found, gone["code"], half, changed["code"], logged

    found, gone, half, changed, logged = _apart(0, inside)
    assert (found.get("status"), gone) == (3, "machine.attester"), found
    assert (half, changed) == ("evidence.parts", "appraisal.claim")
    assert logged == ["evidence.parts", "", "appraisal.claim"]
    result = found["body"]["attestation"]
    assert (result["root_of_trust"], result["hardware_rooted"]) == (kind, False)
    checked = json.dumps(result)
    assert f"roots_of_trust.{kind}.devices.nvidia.claims.measres" in checked


def _half_of_it(bench: LaunchBench, kind: str, given: dict[str, Any]) -> str:
    """Ask with the processor's evidence alone, as a launcher would that knows no GPUs."""
    sections = bench.policy().roots_of_trust
    alone = dataclasses.replace(sections.genuine[kind], devices={})
    attester = hardware_attester(
        kind,
        dataclasses.replace(sections, genuine={kind: alone}),
        given["machine"],
        vouching=given["vouching"],
    )
    request = bench.request()
    client = ReleaseClient(HTTPTransport(request.url), request.service, clock=read_clock)
    try:
        client.release(
            policy=policy_hash(bench.policy()),
            workload="main",
            instance="half-1",
            measurement=LaunchMeasurement(bytes(32), bytes(32)),
            attester=attester,
        )
    except CloisterError as e:
        return e.code
    return ""


@needs_python
@pytest.mark.parametrize("kind", ["azure-snp", "azure-tdx"])
def test_a_run_on_a_vm_of_azures(kind: str, swtpm: SoftwareTpm) -> None:
    """From the vTPM, and for TDX the metadata service, to sealed data."""

    def inside(folder: Path) -> Any:
        at = read_clock().at
        with ExitStack() as stack:
            places = Places(tsm=Path("/nowhere"), tpm=swtpm.path)
            if kind == "azure-snp":
                vm = SimulatedAzureVm(b"run", now=at)
                Firmware(swtpm, vm.hcl)
                anchor, vouching, measurement = vm.amd.anchor, vm.endorsements(), b"m" * 48
            else:
                td = SimulatedAzureTd(b"run", now=at)
                Firmware(swtpm, td.hcl)
                minted = td.mint(bytes(1024))
                fake = stack.enter_context(MetadataFake(lambda report: td.mint(report).quote))
                places = dataclasses.replace(places, metadata=fake.address)
                anchor, vouching = td.intel.anchor, [*minted.endorsements]
                measurement = read_quote(minted.quote)[1].mr_td
            trust = section(kind, anchors=[f"sha256:{anchor.hex()}"], measurement=measurement)
            bench = LaunchBench.create(folder).prepare(
                _COPY, command=_PYTHON, environment={"SEED": "7"}, trust=trust
            )
            here = Machine(places)
            found = _outcome(bench, machine=here, vouching=lambda *_: vouching)
            other = "azure-tdx" if kind == "azure-snp" else "azure-snp"
            named = _outcome(bench, machine=here, root_of_trust=other)
            missing = _outcome(bench, machine=here)
        return found, named["code"], missing["code"]

    found, named, missing = _apart(0, inside)
    assert found.get("status") == 3, found
    assert (named, missing) == ("config.value", "endorsement.missing")
    result = found["body"]["attestation"]
    assert (result["root_of_trust"], result["hardware_rooted"]) == (kind, False)


@needs_python
def test_a_run_on_a_processor_that_is_refused() -> None:
    """In debug mode, and by a manufacturer whom nobody named: no key, and the code in the log."""

    def inside(folder: Path) -> Any:
        machine, given = _genuine("tdx", read_clock().at)
        assert isinstance(machine, TdMachine)
        trust = section("tdx", anchors=[machine.anchor], measurement=machine.measurement)
        bench = LaunchBench.create(folder).prepare(_COPY, command=_PYTHON, trust=trust)
        codes = []
        for other in (
            dataclasses.replace(machine, case=dataclasses.replace(machine.case, debug=True)),
            TdMachine(SimulatedIntel(b"nobody", at=read_clock().at)),
        ):
            here = Machine(Places(tsm=other.root, gramine=other.root), files=other.kernel())
            changes = given | {
                "machine": here,
                "vouching": partial(_endorsed, other),
            }
            codes.append(_outcome(bench, **changes)["code"])
        codes.append(_outcome(bench, **(given | {"vouching": knows_nothing}))["code"])
        entries, _ = bench.owner.client.read_log(first=0, count=100, old=None)
        return codes, [
            each.code
            for each in entries
            if isinstance(each, LogEntry) and each.operation == "release"
        ]

    codes, logged = _apart(0, inside)
    assert codes == ["appraisal.debug", "endorsement.anchor", "endorsement.missing"]
    assert logged == codes
