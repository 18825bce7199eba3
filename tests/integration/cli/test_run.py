"""`cloister run` as a user types it: status, logs, signals, receipts, and what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.keyservice.domain import TrustDomain
from cloister.launcher.receipt import verify_run_receipt
from integration.cli.conftest import SECRET
from integration.cli.desk import Desk, await_true

pytestmark = pytest.mark.fuse


def _descendants(pid: int) -> list[int]:
    """Every process that `pid` started, by whom, at this moment."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [found for child in children for found in (int(child), *_descendants(int(child)))]


def test_output_status_and_results_come_back(desk: Desk) -> None:
    """Standard output, standard error and exit status pass through; the result is committed."""
    done = desk.run("run", "policy.yaml", "--workload", "seven")
    assert (done.status, done.stdout) == (7, "to the operator\n")
    assert done.stderr.startswith("and this beside\n")
    assert desk.read("sealed/out")["copy.txt"].decode() == f"{SECRET}, changed\n"


def test_json_output_is_one_object_and_logs_go_to_stderr(desk: Desk) -> None:
    """With `--json` the program's output does not mix with the object."""
    done = desk.json("run", "policy.yaml", "--workload", "seven")
    assert (done.status, done.record["status"]) == (7, 7)
    assert "to the operator\n" in done.stderr
    assert done.record["troubles"] == []
    assert done.record["hardware_rooted"] is False


def test_logs_are_live(desk: Desk) -> None:
    """A line is seen while the program that wrote it still runs."""
    with desk.running("run", "policy.yaml", "--workload", "wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=30) == 9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_a_signal_stops_the_program_and_leaves_nothing(desk: Desk, number: int) -> None:
    """The program is told, its last words are committed, no process and no mount is left."""
    with desk.running("run", "policy.yaml", "--workload", "wait") as process:
        assert process.stdout is not None
        process.stdout.readline()
        inside = _descendants(process.pid)
        assert inside
        process.send_signal(number)
        assert process.wait(timeout=30) == 9
        assert process.stderr is not None
        said = process.stderr.read()
    assert [pid for pid in inside if Path(f"/proc/{pid}").exists()] == []
    assert "fuse.cloister" not in Path("/proc/self/mounts").read_text()
    assert desk.read("sealed/out")["wait.txt"] == b"stopped\n"
    receipt = re.search(r"receipt (\S+)", said)
    assert receipt is not None
    assert (desk.folder / receipt[1]).is_file()


def test_no_mount_of_a_run_is_seen_outside(desk: Desk) -> None:
    """While a program works on its volumes, the machine's own mounts do not show them."""
    with desk.running("run", "policy.yaml", "--workload", "wait") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "fuse.cloister" not in Path("/proc/self/mounts").read_text()
        process.terminate()
        process.wait(timeout=30)


def _keys_of(desk: Desk) -> list[bytes]:
    """Secrets that exist as files of this trust domain; a counter that never moved is empty."""
    domain = desk.folder / ".cloister"
    secret_files = [domain / "owner" / "owner.key", *(domain / "platform").iterdir()]
    private = [path for path in secret_files if path.stat().st_mode & 0o77 == 0]
    assert {"owner.key", "signing.key", "sealing.key"} <= {path.name for path in private}
    return [found for path in private if (found := path.read_bytes()[:32])]


def test_no_process_shows_a_key(desk: Desk) -> None:
    """Neither argv nor environment of any process of a run, or of the service, holds a key."""
    keys = [key for key in _keys_of(desk) if len(key) == 32]
    assert keys
    with desk.running("run", "policy.yaml", "--workload", "wait") as process:
        assert process.stdout is not None
        process.stdout.readline()
        service = desk.service_pid()
        pids = [process.pid, *_descendants(process.pid), *([service] if service else [])]
        shown = b""
        for pid in pids:
            for name in ("cmdline", "environ"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    shown += Path(f"/proc/{pid}/{name}").read_bytes()
        process.terminate()
        process.wait(timeout=30)
    for key in keys:
        assert key not in shown
        assert key.hex().encode() not in shown
    assert re.search(rb"[0-9a-f]{64}", shown) is None
    assert b"PRIVATE KEY" not in shown


def test_processes_that_hold_keys_cannot_be_dumped(desk: Desk) -> None:
    """No process of a run, nor the service, may write a core file, whatever the shell allows."""
    allowing = ("/bin/sh", "-c", 'ulimit -Sc unlimited; exec "$@"', "sh")
    generous = replace(desk, prefix=allowing)
    with generous.running("run", "policy.yaml", "--workload", "wait") as process:
        assert process.stdout is not None
        process.stdout.readline()
        service = desk.service_pid()
        assert service is not None
        # What was forked to look at files before the first key came ends by itself.
        await_true(lambda: not _dumpable([process.pid, service, *_descendants(process.pid)]))
        process.terminate()
        process.wait(timeout=30)


def _dumpable(pids: list[int]) -> list[int]:
    """Which of some processes may write a core file."""
    found = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
            [limit] = [line.split()[4] for line in lines if "core file" in line]
            ended = not Path(f"/proc/{pid}/cmdline").read_bytes()
            found += [pid] if limit not in {"0", "1"} and not ended else []
    return found


def test_the_receipt_verifies_and_holds_no_secret(desk: Desk) -> None:
    """The pinned trust domain vouches for it; neither keys nor data are in it."""
    done = desk.json("run", "policy.yaml", "--workload", "copy").good()
    text = (desk.folder / done.record["receipt"]).read_bytes()
    domain = TrustDomain.load(desk.folder / ".cloister")
    verified = verify_run_receipt(text, ca=domain.ca, service=domain.identity, origin=domain.origin)
    assert verified.body["status"] == 0
    assert verified.body["instance"] == done.record["instance"]
    assert verified.hardware_rooted is False
    assert SECRET.encode() not in text
    assert b"PRIVATE KEY" not in text
    for key in _keys_of(desk):
        assert key not in text
        assert key.hex().encode() not in text


def test_added_arguments_are_refused(desk: Desk) -> None:
    """The operator cannot lengthen argv."""
    done = desk.json("run", "policy.yaml", "--workload", "copy", "--", "extra")
    assert (done.status, done.code) == (77, "launch.argv")


@pytest.mark.slow
def test_a_second_writer_is_refused_and_the_first_goes_on(desk: Desk) -> None:
    """While one run writes a volume, the owner's mount and another run are told so."""
    with desk.running("run", "policy.yaml", "--workload", "wait") as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        done = desk.json("run", "policy.yaml", "--workload", "copy")
        assert (done.status, done.code) == (75, "volume.leased")
        assert time.monotonic() - began < 100
        process.terminate()
        assert process.wait(timeout=30) == 9
    desk.json("run", "policy.yaml", "--workload", "copy").good()


def test_a_killed_run_leaves_its_last_commit_and_no_process(desk: Desk) -> None:
    """After SIGKILL of the command everything inside ends, and the volume opens."""
    with desk.running("run", "policy.yaml", "--workload", "steps") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "step 1\n"
        inside = _descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        await_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside))
    assert desk.read("sealed/out")["step.txt"] in {b"1\n", b"2\n"}


def test_start_up_takes_no_framework_along(desk: Desk) -> None:
    """`cloister run` loads neither a tensor library nor what only the server or a table needs."""
    heavy = ("numpy", "tensorflow", "torch", "starlette", "uvicorn", "rich.table", "sqlcipher3")
    code = (
        "import sys; sys.argv = ['cloister', 'run', 'policy.yaml', '--workload', 'copy']\n"
        "import atexit; from cloister.cli.main import main\n"
        f"atexit.register(lambda: print([m for m in {heavy!r} if m in sys.modules]))\n"
        "main()\n"
    )
    command = [desk._command(())[0], "-c", code]
    done = subprocess.run(
        command,
        cwd=desk.folder,
        env=desk._environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
