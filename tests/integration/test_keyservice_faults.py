"""A real service process over HTTP under faults: nothing acknowledged is lost or half applied.

It is killed at each point of a commit of each kind of change, its disk fills up, its database's
connection breaks at each message, its clock and its clients' clocks are set, and clients are slow.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from attack.clocked_server import POINTS
from attack.served import Served, ServedClock
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, IdentityError, StorageFullError, UnavailableError
from cloister.keyservice.auditing import Evidence, fetch, verify
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import Moment, read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.messages import (
    CHALLENGE_PATH,
    RELEASE_PATH,
    ChallengeRequest,
    Failure,
    SignedReply,
)
from cloister.keyservice.mirror import Mirror, MirrorWriter
from cloister.keyservice.policy import canonical_bytes, parse_policy, policy_hash
from cloister.keyservice.transport import HTTPTransport
from cloister.testing.keyservice import DATA_ID, MEASUREMENT, policy_text
from cloister.testing.postgres import PostgresServer
from cloister.testing.secrets import EVERY_KIND, secret_policy

ANN, BEN = SigningKey(b"a" * 32), SigningKey(b"b" * 32)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A service with an embedded state."""
    served = Served.create(tmp_path)
    yield served
    served.close()


def release(
    served: Served, policy: bytes, workload: str = "serve", instance: str = "run-1"
) -> None:
    """One granted release."""
    served.release_client().release(
        policy=policy,
        workload=workload,
        instance=instance,
        measurement=MEASUREMENT,
        attester=served.attester(),
    )


def audited(served: Served, folder: Path) -> int:
    """Fetch and verify the whole log; returns its size."""
    with MirrorWriter(folder) as mirror:
        fetch(mirror, served.owner(), service=served.pinned, progress=lambda *_: None)
    found = verify(
        Mirror(folder), service=served.pinned, evidence=Evidence(), progress=lambda *_: None
    )
    return found.checkpoint.size


# -- killed at each point of a commit

Look = Callable[[Served], dict[str, bool]]


def granted(served: Served, operation: str) -> bool:
    """Whether the log says yes to an operation."""
    return any(entry.operation == operation and entry.granted for entry in served.entries())


def apply_secrets(served: Served) -> None:
    served.apply(secret_policy(served, secrets=EVERY_KIND))


def secrets_there(served: Served) -> dict[str, bool]:
    names = {record["name"] for record in served.owner().status().policies}
    made: tuple[object, ...] = ()
    with contextlib.suppress(CloisterError):
        made = served.owner().secrets.list(namespace="lab", policy="keeper")
    return {
        "policy": "keeper" in names,
        "secrets": len(made) == 6,
        "log": granted(served, "policy.apply"),
    }


def put_secret(served: Served) -> None:
    served.owner().secrets.put(
        b"value", namespace="lab", policy="keeper", name="token", epoch=1,
        service_hpke=served.domain.hpke,
    )  # fmt: skip


def value_there(served: Served) -> dict[str, bool]:
    facts = served.owner().secrets.list(namespace="lab", policy="keeper")
    (token,) = [fact for fact in facts if fact.name == "token"]
    return {"value": token.present, "log": granted(served, "secret.put")}


def digits(served: Served) -> bytes:
    served.register_volumes()
    return served.apply(policy_text(served))


def join(served: Served) -> None:
    release(served, policy_of(served), "train", "writer")


def policy_of(served: Served) -> bytes:
    """The hash of the policy that `digits` applies, without asking anybody."""
    return policy_hash(parse_policy(policy_text(served).encode(), source="p"))


def member_there(served: Served) -> dict[str, bool]:
    volumes = served.get("/v1/volumes", served.view_token()).body
    return {
        "member": served.owner().job_status("lab", "digits").roles["train"][0] == 1,
        "lease": b'"leased":true' in volumes,
        "log": granted(served, "release"),
    }


def joined(served: Served) -> None:
    release(served, digits(served), "serve", "run-1")


def expel(served: Served) -> None:
    served.owner().expel("lab", "digits", role="serve", instance="run-1")


def expelled(served: Served) -> dict[str, bool]:
    status = served.owner().job_status("lab", "digits")
    return {
        "member": status.roles["serve"][0] == 0,
        "epoch": status.epoch == 2,
        "log": granted(served, "member.expel"),
    }


def charter(served: Served) -> None:
    served.owner().propose_charter(served.charter("lab", (ANN, BEN)))


def chartered(served: Served) -> dict[str, bool]:
    governed = True
    with contextlib.suppress(CloisterError):
        governed = served.owner().read_namespace("lab").namespace == "lab"
    return {"charter": governed, "log": granted(served, "namespace.apply")}


def propose(served: Served) -> None:
    served.client(ANN).propose_policy(canonical(served))


def canonical(served: Served) -> bytes:
    return canonical_bytes(parse_policy(policy_text(served).encode(), source="p"))


def proposed(served: Served) -> dict[str, bool]:
    return {"proposal": len(served.client(ANN).pending()) == 1}


def approve(served: Served) -> None:
    wanted = canonical(served)
    served.client(ANN).propose_policy(wanted, served.approve(wanted, ANN, BEN))


def approved(served: Served) -> dict[str, bool]:
    return {
        "policy": len(served.client(ANN).status().policies) == 1,
        "no proposal": served.client(ANN).pending() == (),
        "log": granted(served, "policy.apply"),
    }


CHANGES: Final[dict[str, tuple[Callable[[Served], object], Callable[[Served], object], Look]]] = {
    "secrets are made": (lambda _: None, apply_secrets, secrets_there),
    "a secret is put": (apply_secrets, put_secret, value_there),
    "a member joins with a lease": (digits, join, member_there),
    "a member is expelled": (joined, expel, expelled),
    "a charter": (lambda _: None, charter, chartered),
    "a proposal": (charter, propose, proposed),
    "an approved policy": (lambda s: (charter(s), propose(s)), approve, approved),
}


@pytest.mark.slow
@pytest.mark.spec("KR-91", "KR-32", "KS-32")
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_kill_at_a_commit_of(served: Served, tmp_path: Path, change: str, point: str) -> None:
    """Secrets, members, tenants, proposals, spent nonces and the log are there together or not."""
    prepare, do, look = CHANGES[change]
    prepare(served)
    die_at(served, point)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        do(served)
    assert served.ended() == -9
    path, body = served.requests[-1]
    assert path != CHALLENGE_PATH
    served.start()
    found = look(served)
    assert found == dict.fromkeys(found, POINTS[point])
    # The very request again: its nonce is spent exactly if what it asked for has happened.
    data = served.exchange("POST", path, body).body
    answer = SignedReply.from_bytes(data).open(
        path=path, request=body, service=served.domain.identity
    )
    assert isinstance(answer, Failure) == POINTS[point]
    assert not isinstance(answer, Failure) or answer.code == "evidence.replayed"
    found = look(served)
    assert found == dict.fromkeys(found, True)
    audited(served, tmp_path / "mirror")


def die_at(served: Served, point: str) -> None:
    """Have the process killed at a point of its next commit."""
    assert isinstance(served.clock, ServedClock)
    served.clock.path.with_suffix(".die").write_text(point)


# -- a full disk

SMALL: Final = """
mount -t tmpfs -o size=1m,mode=700 tmpfs "$1"
cp -a "$2/." "$1/"
head -c 400000 /dev/zero > "$1/ballast"
(
    while [ -e "$3/full" ]; do sleep 0.05; done
    rm "$1/ballast"
    while [ -e "$3/running" ]; do sleep 0.05; done
    rm -r "$2"
    cp -a "$1" "$2"
    rm "$3/wanted"
) &
shift 3
exec "$@"
"""


def missing_for_tmpfs() -> str:
    """Say why no private file system can be mounted here, or nothing."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return "no unshare (util-linux)"
    probe = [unshare, "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "x", "/mnt"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=60)
    return done.stderr if done.returncode else ""


def test_a_full_disk_loses_nothing(served: Served, tmp_path: Path) -> None:
    """Refused with its own code; what was acknowledged stays, and it goes on when there is room."""
    if why := missing_for_tmpfs():
        pytest.skip(f"no private mount here: {why}")
    served.end()
    state = served.domain.keyservice_directory
    kept, told = tmp_path / "kept", tmp_path / "told"
    shutil.copytree(state, kept)
    told.mkdir()
    for name in ("full", "running", "wanted"):
        (told / name).touch()
    served.wrapper = (
        *("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", SMALL, "sh"),
        *(str(state), str(kept), str(told)),
    )
    served.start()
    registered: list[bytes] = []

    def register() -> None:
        volume = (len(registered) + 1).to_bytes(16, "big")
        served.owner().register_volume(
            volume, key=os.urandom(32), version=0, root=bytes(32), kind="data",
            service_hpke=served.domain.hpke,
        )  # fmt: skip
        registered.append(volume)

    def fill() -> None:
        for _ in range(2000):
            register()

    with pytest.raises(StorageFullError) as e:
        fill()
    assert e.value.code == "storage.full"
    assert served.exchanges[-1].status == 507
    before = len(registered)
    assert before > 3
    with pytest.raises(StorageFullError):
        register()
    assert served.get("/v1/service").status == 200
    (told / "full").unlink()
    end = time.monotonic() + 30
    while len(registered) < before + 3 and time.monotonic() < end:
        with contextlib.suppress(StorageFullError):
            register()
    assert len(registered) == before + 3
    require_all(served, registered)
    served.end(signal.SIGKILL)
    (told / "running").unlink()
    wait_until(lambda: not (told / "wanted").exists())
    served.wrapper = ()
    shutil.rmtree(state)
    shutil.copytree(kept, state)
    served.start()
    require_all(served, registered)
    audited(served, tmp_path / "mirror")


def wait_until(happened: Callable[[], bool]) -> None:
    """Return when it has."""
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def require_all(served: Served, registered: list[bytes]) -> None:
    """Every acknowledged volume is there, and what is there has its entry in the log."""
    present = [record["id"] for record in served.owner().status().volumes]
    assert set(registered) <= set(present)
    logged = [entry.subject for entry in served.entries() if entry.operation == "volume.register"]
    assert sorted(set(logged)) == sorted(volume.hex() for volume in present)


# -- a connection to the database that breaks


class Cutter:
    """A unix socket in front of PostgreSQL's: it cuts the connection at messages of the client's.

    `plan` says after how many messages, one cut after another; `behind` whether the server gets
    the message at which it cuts.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        """Listen in a folder, as libpq expects a server there."""
        self.folder = folder
        self.plan: list[int] = []
        self.behind = False
        self.cuts = 0
        cutter = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                cutter.carry(self.request, server / ".s.PGSQL.5432")

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self._server = Server(str(folder / ".s.PGSQL.5432"), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def carry(self, client: socket.socket, path: Path) -> None:
        """Carry bytes until either side or we end it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.connect(str(path))
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while data := client.recv(1 << 20):
                    cut = self._cuts_here()
                    if cut and self.behind:
                        client.shutdown(socket.SHUT_RDWR)  # before an answer can come
                    if not cut or self.behind:
                        server.sendall(data)
                    if cut:
                        break
            if self.behind:
                time.sleep(0.05)  # the server does what it was sent before it sees the end
            for end in (server, client):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()

    def _cuts_here(self) -> bool:
        if not self.plan:
            return False
        if self.plan[0]:
            self.plan[0] -= 1
            return False
        self.plan.pop(0)
        self.cuts += 1
        return True

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 20):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


# At each message of a release; and at each of the connection that is made after a first cut.
PLANS: Final = [[0], [1], [2], *([0, message] for message in range(5))]


@pytest.mark.slow
@pytest.mark.spec("KS-40", "KR-91")
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_a_database_connection_that_breaks_at_any_message(
    postgres: PostgresServer, tmp_path: Path, *, behind: bool
) -> None:
    """Connecting, reading, writing: each request is done once, refused, or safe to ask again."""
    folder = tmp_path / "s"
    folder.mkdir()
    cutter = Cutter(folder, postgres.directory)
    genuine = postgres.address(postgres.database())
    address = genuine.partition("?")[0] + f"?host={folder}"
    domain = TrustDomain.create(
        tmp_path / "domain", "example.test", moment=read_clock(), url="http://127.0.0.1:1",
        database=address,
    )  # fmt: skip
    served = Served.serve(domain, ServedClock(tmp_path / "clock"), "--database", address)
    policy = digits(served)
    refusals: list[str] = []
    for number, plan in enumerate(PLANS):
        cutter.behind, cutter.plan = behind, list(plan)
        client = served.release_client()
        for _ in range(6):
            try:
                client.release(
                    policy=policy,
                    workload="serve",
                    instance=f"run-{number}",
                    measurement=MEASUREMENT,
                    attester=served.attester(),
                )
                break
            except UnavailableError as e:
                refusals.append(e.code)
        else:
            pytest.fail(f"{plan}: {refusals}")
        assert cutter.plan == [], "it was not cut where it should"
    assert set(refusals) == {"keyservice.database"}
    members = served.owner().job_status("lab", "digits").roles["serve"][0]
    assert members == len(PLANS)
    spent = [entry for entry in served.entries() if entry.operation == "release"]
    assert {entry.instance for entry in spent} == {f"run-{n}" for n in range(len(PLANS))}
    assert all(entry.granted for entry in spent)
    audited(served, tmp_path / "mirror")
    served.restart()
    assert served.owner().job_status("lab", "digits").roles["serve"][0] == members
    served.close()
    cutter.close()


# -- clocks

DAY_S: Final = 86400


@pytest.mark.spec("KR-11", "KR-12", "KR-15")
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_no_clock_brings_a_spent_nonce_back(served: Served, *, restarts: bool) -> None:
    """The operator sets the service's clock forth, until nonces are forgotten, and back again."""
    policy = digits(served)
    release(served, policy)
    body = next(body for path, body in reversed(served.requests) if path == RELEASE_PATH)
    for jump in (-DAY_S, DAY_S, 61, DAY_S, -2 * DAY_S, -60, 0):
        served.clock.set(jump)
        if restarts:
            served.restart()
        release(served, policy, instance=f"run-{served.clock.offset}-{jump}")
        assert served.refused(RELEASE_PATH, body) in {"evidence.replayed", "evidence.expired"}
    assert len([e for e in served.entries() if e.operation == "release"]) == 8


@pytest.mark.spec("KR-41", "KR-46")
def test_no_clock_ends_a_lease_or_lengthens_it(served: Served) -> None:
    """Its life is measured by a clock that nobody sets."""
    served.register_volumes()
    holder = served.owner().take_lease(DATA_ID).lease
    assert holder is not None
    anchor = served.anchor(DATA_ID, holder)
    for jump in (DAY_S, -3 * DAY_S, DAY_S):
        served.clock.set(jump)
        with pytest.raises(UnavailableError) as e:
            served.owner().take_lease(DATA_ID)
        assert e.value.code == "volume.leased"
        anchor.renew()
    served.clock.move(60)
    served.clock.set(-DAY_S)
    lease = served.owner().take_lease(DATA_ID).lease
    assert lease is not None
    assert lease.epoch > holder.epoch
    with pytest.raises(CloisterError) as e:
        anchor.advance(version=0, root=bytes(32), new_version=1, new_root=b"1" * 32)
    assert e.value.code == "release.fenced"


@pytest.mark.spec("MEM-22")
def test_no_clock_brings_a_lapsed_member_back(served: Served) -> None:
    """Once it has lapsed in anybody's eyes it stays so."""
    served.register_volumes()
    policy = served.apply(policy_text(served, lifetime="certificate_lifetime: 600"))
    found = served.release_client().release(
        policy=policy, workload="serve", instance="run-1", measurement=MEASUREMENT,
        attester=served.attester(),
    )  # fmt: skip
    member = served.member(found.bundle)
    assert len(member.roster().members) == 1
    served.clock.set(601)
    release(served, policy, instance="run-2")
    served.clock.set(-601)
    with pytest.raises(CloisterError) as e:
        member.roster()
    assert e.value.code == "release.not-member"
    served.restart()
    with pytest.raises(CloisterError) as e:
        member.roster()
    assert e.value.code == "release.not-member"


@pytest.mark.spec("KR-5")
@pytest.mark.parametrize("skew", [-DAY_S, -310, 310, DAY_S])
def test_a_client_whose_clock_is_wrong_is_told_so(served: Served, skew: int) -> None:
    """It believes no answer; with a small difference it does.

    At which second, a unit test says: here clocks go on between an answer and its reader.
    """
    policy = digits(served)

    def shifted(by: int) -> Callable[[], Moment]:
        return lambda: Moment(served.clock.at + by, read_clock().uptime)

    for by in (skew, 200 if skew > 0 else -200):
        client = ReleaseClient(served, served.pinned, clock=shifted(by), deadline_s=0.0)
        do = partial(
            client.release,
            policy=policy,
            workload="serve",
            instance="run-1",
            measurement=MEASUREMENT,
            attester=served.attester(),
        )
        if by == skew:
            with pytest.raises(IdentityError) as e:
                do()
            assert e.value.code == "identity.clock"
        else:
            do()


# -- clients that are slow, or too many, or too large


def trickle(port: int) -> socket.socket:
    """A connection with a head that never ends."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(b"POST /v1/challenge HTTP/1.1\r\nHost: x\r\nX-A: ")
    return connection


@pytest.mark.slow
@pytest.mark.spec("KR-6")
def test_slow_clients_do_not_keep_others_out_for_long(served: Served, tmp_path: Path) -> None:
    """Half of the connections: nobody notices. All of them: 503 with Retry-After, then they end."""
    policy = digits(served)
    slow = [trickle(served.port) for _ in range(250)]
    release(served, policy, instance="meanwhile")
    slow += [trickle(served.port) for _ in range(263)]
    body = ChallengeRequest(b"n" * 32).to_bytes()
    turned_away = served.exchange("POST", CHALLENGE_PATH, body)
    assert (turned_away.status, turned_away.body) == (503, b"")
    assert b"retry-after: 1" in turned_away.head.lower()
    with pytest.raises(UnavailableError) as e, HTTPTransport(served.url) as transport:
        transport.post(CHALLENGE_PATH, body, timeout_s=10)
    assert e.value.code == "keyservice.busy"
    stop = threading.Event()
    feeder = threading.Thread(target=feed, args=(slow, stop))
    feeder.start()
    with HTTPTransport(served.url) as later:
        ReleaseClient(later, served.pinned, clock=served.clock, deadline_s=60.0).release(
            policy=policy, workload="serve", instance="later", measurement=MEASUREMENT,
            attester=served.attester(),
        )  # fmt: skip
    stop.set()
    feeder.join()
    assert all(is_ended(connection) for connection in slow)
    audited(served, tmp_path / "mirror")


def feed(connections: list[socket.socket], stop: threading.Event) -> None:
    """One more byte for each, again and again."""
    while not stop.wait(1.0):
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(b"a")


def is_ended(connection: socket.socket) -> bool:
    """Whether the other side has ended it."""
    connection.settimeout(20)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.spec("KR-6")
def test_oversized_and_trickling_bodies_are_refused(served: Served) -> None:
    """Too long: 413, before it was sent whole. Too slow: 408. Nothing of either is decided."""
    policy = digits(served)
    before = served.owner().status().checkpoint.size
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        head = b"POST /v1/release HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        connection.sendall(head)
        with contextlib.suppress(OSError):
            for _ in range(40):
                connection.sendall(bytes(1 << 16))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(b"POST /v1/owner HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n")
        began = time.monotonic()
        answer = b""
        connection.settimeout(0.5)
        while not answer and time.monotonic() - began < 20:
            connection.sendall(b"a")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(100)
        assert answer.startswith(b"HTTP/1.1 408 ")
    release(served, policy)
    assert served.owner().status().checkpoint.size == before + 1
