"""Recognisable secrets go through a real service process, and are then looked for everywhere.

In every file of the state, of SQLCipher and of PostgreSQL with its WAL and its own log, in the
service's log, its environment, its arguments and its temporary folder, in each usual spelling. A
scan that finds nothing proves nothing: each has a control that shows what it would have found.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from attack.served import Served, ServedClock
from attack.spellings import found_in, scan, spellings
from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import TLSKey
from cloister.errors import CloisterError
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.restoring import Place, back_up
from cloister.keyservice.store import Store
from cloister.testing.keyservice import (
    CODE_ID,
    CODE_ROOT,
    DATA_ID,
    MEASUREMENT,
    policy_text,
)
from cloister.testing.postgres import PostgresServer, find_programs
from cloister.testing.secrets import EVERY_KIND, ask, secret_policy

OPAQUE: Final = b"planted-opaque-secret-93ab17"
VARIABLE: Final = "planted-environment-value-5d20"
ENVIRONMENT: Final = f'{{PASSWORD: "${{secret:db}}", PLANTED: "{VARIABLE}-${{secret:db}}"}}'
FILES: Final = """
      /run/seed: {content: "${secret:seed}"}
      /run/token: {content: "${secret:token}"}
      /run/signing: {content: "${secret:signing.private}"}
      /run/tls: {content: "${secret:tls.private}"}
"""
# What a trust domain's folder shows to everybody, on purpose.
PUBLIC: Final = {"domain.json"}


def exercise(served: Served) -> dict[str, bytes]:
    """Use the service in every way, and return all secrets that it has seen, made or given out."""
    planted = {
        "data key": os.urandom(32),
        "code key": os.urandom(32),
        "opaque secret": OPAQUE,
        "owner's key": served.owner_key.to_secret(),
    }
    owner = served.owner()
    for volume, name, version, root, kind in (
        (CODE_ID, "code key", 3, CODE_ROOT, "code"),
        (DATA_ID, "data key", 0, bytes(32), "data"),
    ):
        owner.register_volume(
            volume, key=planted[name], version=version, root=root, kind=kind,
            service_hpke=served.domain.hpke,
        )  # fmt: skip
    keeper = served.apply(
        secret_policy(served, secrets=EVERY_KIND, environment=ENVIRONMENT, files=FILES)
    )
    owner.secrets.put(
        OPAQUE, namespace="lab", policy="keeper", name="token", epoch=1,
        service_hpke=served.domain.hpke,
    )  # fmt: skip
    bundle = ask(served, keeper)
    assert bundle.environment["PLANTED"].startswith(VARIABLE)
    planted["password"] = bundle.environment["PASSWORD"].encode()
    planted["environment"] = VARIABLE.encode()
    planted |= {path: file.content for path, file in bundle.files.items()}
    digits = served.apply(policy_text(served))
    planted |= use(served, digits)
    refuse(served, digits, keeper)
    look(served, digits)
    return planted


def use(served: Served, policy: bytes) -> dict[str, bytes]:
    """Release, renew, move an anchor, take and break a lease, enroll, expel; returns secrets."""
    client = served.release_client()
    facts = {"policy": policy, "workload": "train", "instance": "run-1", "measurement": MEASUREMENT}
    release = client.release(**facts, attester=served.attester())
    grant = release.bundle.volumes["/data"]
    client.renew(**facts, attester=served.attester())
    anchor = served.anchor(DATA_ID, grant.lease)
    anchor.advance(version=0, root=bytes(32), new_version=1, new_root=b"1" * 32)
    anchor.release()
    owner = served.owner()
    lease = owner.take_lease(DATA_ID).lease
    assert lease is not None
    owner.break_lease(DATA_ID)
    member = served.member(release.bundle)
    member.token(audience="somebody", nonce=b"n" * 16)
    csr = TLSKey.generate().request()
    owner.enroll_client(namespace="lab", name="ann", instance="1", certificate_request=csr)
    owner.expel("lab", "digits", role="train", instance="run-1")
    assert release.bundle.member is not None
    return {
        "lease's secret": grant.lease.secret,
        "owner's lease": lease.secret,
        "membership's secret": release.bundle.member.secret,
        "TLS key": release.tls_key,
    }


def refuse(served: Served, digits: bytes, keeper: bytes) -> None:
    """Ask for what is refused, in several ways."""
    wrong = LaunchMeasurement(b"x" * 32, MEASUREMENT.runtime)
    for policy, workload, measurement in (
        (digits, "serve", wrong),
        (keeper, "main", wrong),
        (b"?" * 32, "serve", MEASUREMENT),
    ):
        with pytest.raises(CloisterError):
            served.release_client().release(
                policy=policy, workload=workload, instance="run-9", measurement=measurement,
                attester=served.attester(),
            )  # fmt: skip
    for ask_for in (
        lambda: served.owner().volume_key(b"?" * 16),
        lambda: served.client(SigningKey.generate()).status(),
        lambda: served.owner().register_volume(
            DATA_ID, key=b"other" * 6 + b"!!", version=0, root=bytes(32), kind="data",
            service_hpke=served.domain.hpke,
        ),
    ):  # fmt: skip
        with pytest.raises(CloisterError):
            ask_for()
    for path in ("/v1/owner", "/v1/release", "/v1/nothing"):
        served.send(path, OPAQUE)


def look(served: Served, policy: bytes) -> None:
    """Every page and document, with a token, without, and with a secret in its place."""
    for path in (
        "/", "/metrics", "/openapi.json", "/v1/service", "/v1/volumes", "/v1/policies",
        f"/v1/policies/sha256:{policy.hex()}", "/v1/log/checkpoint",
        "/v1/log/entries?first=0&count=100", "/readyz", "/v1/nothing",
    ):  # fmt: skip
        for token in (served.view_token(), "", OPAQUE.decode()):
            served.get(path, token)
    served.get(f"/v1/{VARIABLE}?{VARIABLE}={VARIABLE}", served.view_token())
    served.owner().volume_key(DATA_ID)
    served.entries()


def seeds(store: Store) -> dict[str, bytes]:
    """What makes the service, as its open state knows it."""
    secrets = store.secrets()
    store.close()
    return {
        "signing seed": secrets.signing_seed,
        "HPKE seed": secrets.hpke_seed,
        "authority's key": secrets.ca_key,
        "reader secret": secrets.reader_secret,
    }


def without_owner(served: Served) -> None:
    """Take the owner's folder away: it belongs on another machine, as the guide says."""
    shutil.rmtree(served.domain.directory / "owner")


def scan_machine(folder: Path, secrets: dict[str, bytes]) -> list[tuple[str, str]]:
    """Scan all but the folder that stands for the hardware of the simulated platform."""
    return [hit for hit in scan(folder, secrets) if "/platform/" not in f"/{hit[0]}"]


def scan_process(served: Served, secrets: dict[str, bytes]) -> list[str]:
    """Scan what the kernel tells of the process to whoever may ask."""
    assert served.process is not None
    proc = Path(f"/proc/{served.process.pid}")
    names = ("cmdline", "environ", "comm", "stat", "status", "maps")
    return [hit for name in names for hit in found_in((proc / name).read_bytes(), secrets)]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A service with an embedded state."""
    served = Served.create(tmp_path)
    yield served
    served.close()


@pytest.mark.spec("KR-90", "KR-33")
def test_no_secret_is_on_the_disk_or_in_the_logs_of_a_service(
    served: Served, tmp_path: Path
) -> None:
    """While it runs, in a backup, after it was killed, and after it ended."""
    without_owner(served)
    secrets = exercise(served)
    kept = tmp_path / "kept"
    shutil.copytree(served.domain.directory, kept / "running", ignore=_no_sockets)
    back_up(
        Place(served.domain.keyservice_directory, "", served.platform),
        kept / "backup",
        progress=lambda _done, _total: None,
    )
    if os.geteuid() == 0:
        assert scan_process(served, secrets) == []
    served.restart()
    served.end(signal.SIGKILL)
    shutil.copytree(served.domain.directory, kept / "killed", ignore=_no_sockets)
    served.start()
    served.end()
    secrets |= seeds(Store.open(served.domain.keyservice_directory, served.platform))
    assert len(secrets) > 15
    assert (kept / "backup").stat().st_size > 10_000
    assert scan_machine(tmp_path, secrets) == []
    assert served.log.stat().st_size > 1000
    assert list(served.home.iterdir()) == []
    # The control: each secret, in one spelling each, in a file among those that were scanned.
    for number, (name, secret) in enumerate(secrets.items()):
        chosen = sorted(spellings(secret))
        planted = served.domain.keyservice_directory / "planted"
        planted.write_bytes(b"before " + chosen[number % len(chosen)] + b" behind")
        assert (str(planted.relative_to(tmp_path)), name) in scan_machine(tmp_path, {name: secret})
        planted.unlink()


@pytest.mark.spec("KR-90")
def test_nothing_but_public_facts_is_open_to_others(served: Served) -> None:
    """Modes of every file and folder of the domain, also after a crash."""
    exercise(served)
    served.restart()
    served.end()
    wide = {
        str(path.relative_to(served.domain.directory))
        for path in [served.domain.directory, *served.domain.directory.rglob("*")]
        if stat.S_IMODE(path.lstat().st_mode) & 0o077
    }
    assert wide == PUBLIC
    assert stat.S_IMODE((served.domain.directory / "domain.json").stat().st_mode) == 0o644


def _no_sockets(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if stat.S_ISSOCK(Path(folder, name).lstat().st_mode)}


@pytest.fixture
def postgres_alone() -> Iterator[PostgresServer]:
    """A server of this test's own, which logs every statement with its parameters."""
    if find_programs() is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    server = PostgresServer()
    for setting in ("log_statement = 'all'", "log_min_duration_statement = 0"):
        server.sql("postgres", f"ALTER SYSTEM SET {setting}")
    server.sql("postgres", "SELECT pg_reload_conf()")
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.spec("KR-90", "KS-10")
def test_no_secret_is_in_postgresql_or_in_its_logs(
    postgres_alone: PostgresServer, tmp_path: Path
) -> None:
    """Tables, WAL, temporary files, and a log of every statement with all of its parameters."""
    server = postgres_alone
    name = server.database()
    address = server.address(name)
    domain = TrustDomain.create(
        tmp_path / "domain", "example.test", moment=read_clock(), url="http://127.0.0.1:1",
        database=address,
    )  # fmt: skip
    served = Served.serve(domain, ServedClock(tmp_path / "clock"), "--database", address)
    without_owner(served)
    try:
        secrets = exercise(served)
        if os.geteuid() == 0:
            assert scan_process(served, secrets) == []
    finally:
        served.close()
    secrets |= seeds(Store.open_shared(address, served.platform))
    server.sql(name, "CHECKPOINT")
    assert scan_machine(tmp_path, secrets) == []
    log = (server.directory / "log").read_bytes()
    assert b"INSERT INTO cloister.records" in log
    assert re.search(rb"[Pp]arameters: \$1 = ", log) is not None
    assert scan(server.directory, secrets) == []
    # The control: one row, one value that was never stored; both the table and the log show them.
    secret = secrets["data key"]
    server.sql(name, f"CREATE TABLE planted AS SELECT '\\x{secret.hex()}'::bytea AS value")
    server.sql(name, "CHECKPOINT")
    shown = {path.split("/")[0] for path, _ in scan(server.directory, {"data key": secret})}
    assert shown == {"data", "log"}
    places = {"/".join(p.split("/")[:2]) for p, _ in scan(server.directory, {"k": secret})}
    assert {"data/base", "data/pg_wal"} <= places


# -- memory

PROBE: Final = """
import ctypes, os, sys
pid = int(sys.argv[1])
for name in ("environ", "mem", "maps"):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            file.read(1)
        print(name, "open")
    except OSError as e:
        # The first page of a memory is never mapped: reading it fails later than opening it.
        print(name, "open" if name == "mem" and e.errno == 5 else "closed")
libc = ctypes.CDLL(None, use_errno=True)
print("ptrace", "open" if libc.ptrace(0x4206, pid, 0, 0) == 0 else "closed")
"""


def unprivileged() -> tuple[str, ...]:
    """A command in front of another that gives up root's privileges, where we have them."""
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("no setpriv (util-linux) to give up root's privileges")
    return (setpriv, "--bounding-set=-all", "--inh-caps=-all")


def probe(pid: int) -> dict[str, str]:
    """What another process of the same user, as unprivileged, reads of a process."""
    done = subprocess.run(
        [*unprivileged(), sys.executable, "-c", PROBE, str(pid)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return dict(line.split() for line in done.stdout.splitlines())


def test_another_process_of_the_same_user_reads_no_memory(served: Served) -> None:
    """Neither memory nor environment nor maps, and it cannot attach; to an ordinary one it can."""
    served.end()
    served.wrapper = unprivileged()
    served.start()
    assert served.process is not None
    names = {"environ", "mem", "maps", "ptrace"}
    assert probe(served.process.pid) == dict.fromkeys(names, "closed")
    limits = Path(f"/proc/{served.process.pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    sleeping = [*unprivileged(), sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(
        sleeping, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as ordinary:
        assert ordinary.stdout is not None
        ordinary.stdout.readline()
        found = probe(ordinary.pid)
        ordinary.kill()
    assert (found["environ"], found["maps"]) == ("open", "open")


CRASH: Final = """
import os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
secret = bytes.fromhex(sys.stdin.read())
os.abort()
"""


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGQUIT])
def test_a_crash_leaves_no_memory_behind(served: Served, number: signal.Signals) -> None:
    """No core file, wherever the kernel would put one; an ordinary process leaves its secrets."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    secrets = exercise(served)
    without_owner(served)
    assert served.end(number) == -number
    assert list(served.home.iterdir()) == []
    assert scan_machine(served.domain.directory.parent, secrets) == []
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if pattern.startswith(("|", "/")) or hard == 0:
        return  # the kernel puts no core file where a control could look for it
    secret = os.urandom(32)
    subprocess.run(
        [sys.executable, "-c", CRASH],
        input=secret.hex(),
        text=True,
        cwd=served.home,
        timeout=60,
        check=False,
    )
    assert [name for _, name in scan(served.home, {"planted": secret})] == ["planted"]
