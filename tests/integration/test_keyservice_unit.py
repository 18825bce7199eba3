"""The service under what its systemd unit takes away, as far as that goes without systemd.

The unit's own command runs in a mount namespace where everything but the trust domain is read-only
(`ProtectSystem=strict`, `StateDirectory`), without privileges and without a way to any, under the
unit's limits and mask. Not here: system call filters, address filters, and limits of memory, swap
and tasks, which systemd sets by means of its own.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cloister.crypto.digest import sha256
from cloister.errors import TamperedError
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.transport import HTTPTransport
from docs.test_deploy import INSTALLED, unit

# The state stays writable; every other mount becomes read-only, and where one does not, we fail.
CONFINED: Final = """
state=$1
mount --make-rprivate /
mount --bind "$state" "$state"
while read -r _ _ _ _ point _; do
    case $point in
        "$state") ;;
        /dev | /dev/* | /proc | /proc/* | /sys | /sys/*) ;;
        *) mount -o remount,bind,ro "$point" ;;
    esac
done < /proc/self/mountinfo
umask "$2"
shift 2
exec prlimit --core="$CORE" --nofile="$NOFILE" \\
    setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""


def missing() -> str:
    """Say why this cannot be done here, or nothing."""
    for program in ("unshare", "setpriv", "prlimit"):
        if shutil.which(program) is None:
            return f"no {program} (util-linux)"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    return "" if done.returncode == 0 else "user and mount namespaces are not allowed here"


def confined(domain: Path, command: list[str], **streams: object) -> subprocess.Popen[bytes]:
    """Start a command under the unit's directives."""
    service = unit()["Service"]
    assert (service["ProtectSystem"], service["NoNewPrivileges"]) == ("strict", "yes")
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == ""
    return subprocess.Popen(
        [
            *("unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", CONFINED, "sh"),
            *(str(domain), service["UMask"], *command),
        ],
        env={
            "PATH": os.environ["PATH"],
            "CORE": f"{service['LimitCORE']}:{service['LimitCORE']}",
            "NOFILE": f"{service['LimitNOFILE']}:{service['LimitNOFILE']}",
        },
        cwd="/",
        **streams,
    )


def unit_command(domain: Path) -> list[str]:
    """The unit's command, with our folder and a port that is free."""
    words = shlex.split(unit()["Service"]["ExecStart"])
    assert words[0] == INSTALLED
    words[0] = str(Path(sysconfig.get_path("scripts")) / "cloister")
    words[words.index("--domain") + 1] = str(domain)
    words[words.index("--listen") + 1] = "127.0.0.1:0"
    return words


class UnderUnit:
    """The running service."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        self.domain = TrustDomain.create(folder / "domain", "example.test", moment=read_clock())
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = confined(
                self.domain.directory,
                unit_command(self.domain.directory),
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert "http://" in line, self.log.read_text()
        self.url = "http://" + line.partition("http://")[2].split()[0].strip('",')

    def register(self, volume: bytes) -> int:
        """Register a volume; returns how many there are."""
        with HTTPTransport(self.url) as transport:
            owner = OwnerClient(
                transport,
                PinnedService(self.domain.identity, self.domain.origin),
                owner=self.domain.owner_key(),
                reference=self.domain.service,
                clock=read_clock,
                deadline_s=5,
            )
            owner.register_volume(
                volume,
                key=sha256(volume),
                version=0,
                root=bytes(32),
                kind="data",
                service_hpke=self.domain.hpke,
            )
            return len(owner.status().volumes)

    def end(self) -> int:
        """As systemd ends it."""
        service = unit()["Service"]
        self.process.send_signal(signal.Signals[service["KillSignal"]])
        return self.process.wait(timeout=int(service["TimeoutStopSec"]))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[UnderUnit]:
    """The service, started as the unit starts it."""
    if why := missing():
        pytest.skip(why)
    running = UnderUnit(tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()
    assert running.process.stdout is not None
    running.process.stdout.close()


def test_it_works_under_the_units_directives(running: UnderUnit) -> None:
    """It decides, keeps what it decided, and ends in time; it has no privilege, and none to get."""
    assert running.register(b"v" * 16) == 1
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["NoNewPrivs"] == "1"
    assert {facts[name].strip("0") for name in ("CapEff", "CapPrm", "CapInh", "CapBnd")} == {""}
    assert int(facts["Umask"], 8) == 0o077
    limits = Path(f"/proc/{running.process.pid}/limits").read_text()
    assert "Max core file size        0                    0" in limits
    assert "Max open files            4096                 4096" in limits
    assert running.end() == 0
    events = [json.loads(line)["event"] for line in running.log.read_text().splitlines()]
    assert events[-1] == "server.stopped"
    files = [path for path in running.domain.keyservice_directory.iterdir() if path.is_file()]
    assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_nothing_but_the_trust_domain_can_be_written(tmp_path: Path) -> None:
    """A program under the same directives writes there, and nowhere else."""
    if why := missing():
        pytest.skip(why)
    domain = tmp_path / "domain"
    domain.mkdir()
    (tmp_path / "beside").mkdir()
    places = [str(tmp_path / "beside"), "/tmp", "/var/tmp", str(Path.cwd()), str(Path.home())]  # noqa: S108  # tried, and must fail
    program = (
        "import pathlib, sys\n"
        "for place in sys.argv[1:]:\n"
        "    try:\n"
        "        (pathlib.Path(place) / 'written').write_bytes(b'')\n"
        "        print('open')\n"
        "    except OSError as e:\n"
        "        print(e.errno)\n"
    )
    command = [sys.executable, "-c", program, str(domain), *places]
    with confined(domain, command, stdout=subprocess.PIPE) as process:
        out = process.communicate(timeout=60)[0].decode().split()
    assert out[0] == "open"
    assert set(out[1:]) <= {"30", "13"}  # EROFS, EACCES
    assert "30" in out[1:]


def test_a_damaged_state_is_not_started_again(running: UnderUnit) -> None:
    """The status with which it ends is the one that the unit does not restart."""
    running.register(b"v" * 16)
    counter = running.domain.directory / "platform" / "counter-keyservice"
    counter.write_bytes((1000).to_bytes(8, "big"))
    with pytest.raises(TamperedError) as e:
        running.register(b"w" * 16)
    assert e.value.code == "state.forked"
    status = running.process.wait(timeout=30)
    assert str(status) == unit()["Service"]["RestartPreventExitStatus"]
