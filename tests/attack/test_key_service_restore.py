"""The operator puts older states of a running key service back, or runs two: real processes, HTTP.

He owns the disk, and starts, stops and kills the server as he likes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from cloister.crypto.digest import sha256
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, ReleaseDeniedError, TamperedError
from cloister.keyservice.approvals import Approval
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy.charter import charter_bytes
from cloister.keyservice.policy.model import Charter, Quotas
from cloister.keyservice.recovering import make_shares, prepare_platform, recover
from cloister.keyservice.recovery_plan import RecoveryPlan
from cloister.keyservice.recovery_request import RecoveryRequest, require_recovering
from cloister.keyservice.recovery_shares import SealedShare, give
from cloister.keyservice.reset import Reset
from cloister.keyservice.restoring import (
    Place,
    back_up,
    newest_number,
    propose_reset,
    reset,
    restore,
)
from cloister.tee.sim.attester import SimAttester
from cloister.testing.volume import VolumeBench, get, put
from integration.test_keyservice_process import (  # noqa: F401  # an automatic fixture
    SERVER,
    VOLUME,
    Server,
    _close_transports,
    register,
    transport,
)

OTHER = b"w" * 16
QUOTAS = tuple(field.name for field in fields(Quotas))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server with one registered volume."""
    domain = TrustDomain.create(tmp_path / "domain", "example.test", moment=read_clock())
    server = Server(domain)
    register(server, VOLUME, server.owner())
    yield server
    if server.process.poll() is None:
        server.kill()


def place_of(server: Server) -> Place:
    """Where its state is."""
    return Place(server.domain.keyservice_directory, "", server.domain.platform())


def backed_up(server: Server, path: Path) -> Path:
    """A backup of the running server."""
    back_up(place_of(server), path, progress=lambda _done, _total: None)
    return path


def wipe(server: Server) -> None:
    """Take the state away."""
    for path in server.domain.keyservice_directory.glob("state*"):
        path.unlink()


def does_not_start(server: Server) -> str:
    """The code with which the server refuses to start."""
    done = subprocess.run(
        [*SERVER, str(server.domain.directory), "--listen", "127.0.0.1:0"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == TamperedError.exit_status
    return str(json.loads(done.stdout)["error"]["code"])


def proposal(server: Server, path: Path) -> Reset:
    """What goes back to a backup on the server's platform."""
    platform = server.domain.platform()
    return propose_reset(
        path,
        service=server.domain.identity,
        platform=platform.anchor,
        given_up=newest_number(platform),
        at=read_clock().at,
    )


def take(server: Server, path: Path, statement: Reset, *keys: SigningKey) -> None:
    """Take the step with approvals of these keys."""
    place, until = place_of(server), read_clock().at + 600
    approvals = [Approval.make(statement.subject, key=key, expires_at=until) for key in keys]
    reset(path, place, statement, approvals, unlock=place.unlock, at=read_clock().at)


def client(server: Server, key: SigningKey) -> OwnerClient:
    """Whoever signs with a key."""
    return OwnerClient(
        transport(server.url),
        PinnedService(server.domain.identity, server.domain.origin),
        owner=key,
        reference=server.domain.service,
        clock=read_clock,
        deadline_s=30.0,
    )


def root_charter(keys: Sequence[SigningKey]) -> bytes:
    """Two of these keys decide about the domain."""
    return charter_bytes(
        Charter(
            charter="cloister/namespace/v1",
            namespace="/",
            predecessor="none",
            approvers=tuple(key.public.text for key in keys),
            threshold=2,
            timeout=3600,
            readers=(),
            quotas=Quotas(**{**dict.fromkeys(QUOTAS, 100), "requests_per_minute": 100_000}),
        )
    )


def code_of(action: Callable[[], object]) -> str:
    """The code of an error."""
    with pytest.raises(CloisterError) as e:
        action()
    return e.value.code


@pytest.mark.spec("BR-8")
def test_an_older_database_put_back_is_refused(server: Server, tmp_path: Path) -> None:
    """With the server down, all of its files: it does not start, and the newest one does."""
    server.kill()
    directory = server.domain.keyservice_directory
    shutil.copytree(directory, tmp_path / "old")
    server.start()
    register(server, OTHER, server.owner())
    server.kill()
    shutil.copytree(directory, tmp_path / "newest")
    shutil.rmtree(directory)
    shutil.copytree(tmp_path / "old", directory)
    assert does_not_start(server) == "state.rolled-back"
    shutil.rmtree(directory)
    shutil.copytree(tmp_path / "newest", directory)
    server.start()
    assert server.owner().volume_key(OTHER).keys.newest


@pytest.mark.spec("BR-8")
def test_a_restored_backup_is_an_older_database(server: Server, tmp_path: Path) -> None:
    """Restore refuses it, and so does the server where the operator writes the file himself."""
    server.kill()
    shutil.copy(server.domain.keyservice_directory / "state.db", tmp_path / "state.db")
    server.start()
    path = backed_up(server, tmp_path / "backup")
    register(server, OTHER, server.owner())
    server.kill()
    wipe(server)
    assert code_of(lambda: restore(path, place_of(server))) == "state.rolled-back"
    assert not list(server.domain.keyservice_directory.glob("state*"))
    shutil.copy(tmp_path / "state.db", server.domain.keyservice_directory / "state.db")
    assert does_not_start(server) == "state.rolled-back"


@pytest.mark.spec("BR-6")
def test_of_two_services_on_one_backup_one_stops(server: Server, tmp_path: Path) -> None:
    """Two copies from one moment, on one platform: whoever changes something second ends."""
    path = backed_up(server, tmp_path / "backup")
    twin_folder = tmp_path / "twin"
    shutil.copytree(server.domain.directory, twin_folder, ignore=lambda *_: {"keyservice"})
    (twin_folder / "keyservice").mkdir(mode=0o700)
    shutil.rmtree(twin_folder / "platform")
    (twin_folder / "platform").symlink_to(server.domain.directory / "platform")
    twin = TrustDomain.load(twin_folder)
    restore(path, Place(twin.keyservice_directory, "", twin.platform()))
    other = Server(twin)
    register(server, OTHER, server.owner())
    assert code_of(lambda: other.owner(2.0).volume_key(VOLUME)) in {
        "state.forked",
        "keyservice.unreachable",
    }
    assert other.stopped() == 0 or other.process.returncode == TamperedError.exit_status
    assert server.owner().volume_key(OTHER).keys.newest


@pytest.mark.spec("BR-15", "BR-16", "BR-17", "BR-19")
def test_only_who_decides_goes_back_and_once(server: Server, tmp_path: Path) -> None:
    """Two of three approvers: not one, not the founder, not forged, not elsewhere, not twice."""
    keys = [SigningKey.generate() for _ in range(3)]
    founder = server.domain.owner_key()
    lease = server.owner().take_lease(VOLUME).lease
    server.owner().propose_charter(root_charter(keys))
    path = backed_up(server, tmp_path / "backup")
    register(server, OTHER, client(server, keys[0]))
    server.kill()
    wipe(server)
    statement = proposal(server, path)
    assert code_of(lambda: take(server, path, statement, keys[0])) == "approval.pending"
    assert code_of(lambda: take(server, path, statement, keys[0], founder)) == (
        "approval.not-approver"
    )
    foreign = Reset(
        statement.service, founder.public, statement.given_up, statement.head, statement.at
    )
    assert code_of(lambda: take(server, path, foreign, *keys)) == "approval.invalid"
    assert not list(server.domain.keyservice_directory.glob("state*"))
    take(server, path, statement, keys[0], keys[2])
    server.start()
    volumes = [record["id"] for record in client(server, keys[0]).status().volumes]
    assert volumes == [VOLUME]
    with pytest.raises(ReleaseDeniedError) as fenced:
        server.anchor(lease).advance(version=0, root=bytes(32), new_version=1, new_root=b"1" * 32)
    assert fenced.value.code == "release.fenced"
    server.kill()
    wipe(server)
    assert code_of(lambda: take(server, path, statement, keys[0], keys[2])) == "approval.invalid"


@pytest.mark.spec("BR-26", "BR-30", "BR-31")
def test_a_burnt_service_comes_back_to_the_clients_that_pinned_it(
    server: Server, tmp_path: Path
) -> None:
    """On a new platform, by two of three holders and the owner; by nobody else."""
    domain, at = server.domain, read_clock().at
    path = backed_up(server, tmp_path / "backup")
    server.kill()
    holders = [HPKEPrivateKey.generate() for _ in range(3)]
    keys = [key.public for key in holders]
    plan = RecoveryPlan(domain.identity, 2, tuple(key.identity for key in keys), at)
    yes = Approval.make(plan.subject, key=domain.owner_key(), expires_at=at + 600)
    files = make_shares(place_of(server), plan, [yes], keys, into=tmp_path / "shares", at=at)
    shares = [SealedShare.from_bytes(file.read_bytes()) for file in files]
    shutil.rmtree(domain.keyservice_directory)
    shutil.rmtree(domain.directory / "platform")

    anchor = prepare_platform(domain, tmp_path / "new")
    new = TrustDomain.load(tmp_path / "new")
    attester = SimAttester(new.platform())
    request = RecoveryRequest.make(new.identity, new.platform(), attester)
    assert code_of(
        lambda: require_recovering(request, domain.service, service=domain.identity, at=at)
    ) == ("endorsement.anchor")
    owner = domain.pin_platforms([anchor])
    proved = require_recovering(request, owner.service, service=owner.identity, at=at)
    given = [give(shares[n], holders[n], proved) for n in (0, 2)]
    statement = propose_reset(path, service=owner.identity, platform=anchor, given_up=500, at=at)
    go = Approval.make(statement.subject, key=owner.owner_key(), expires_at=at + 600)
    place = Place(new.keyservice_directory, "", new.platform())

    def attempt(some: list[SealedShare], approvals: list[Approval]) -> None:
        recover(path, place, request, shares=some, statement=statement, approvals=approvals, at=at)

    assert code_of(lambda: attempt(given[:1], [go])) == "recovery.too-few"
    assert code_of(lambda: attempt([given[0], shares[1]], [go])) == "recovery.share"
    assert code_of(lambda: attempt(given, [])) == "approval.pending"
    assert list(new.keyservice_directory.iterdir()) == []
    attempt(given, [go])
    shutil.copytree(owner.directory / "owner", new.directory / "owner")
    (new.directory / "domain.json").write_bytes((owner.directory / "domain.json").read_bytes())
    server.domain = TrustDomain.load(new.directory)
    server.start()
    assert server.owner().volume_key(VOLUME).keys.newest == sha256(VOLUME)
    register(server, OTHER, server.owner())


@pytest.mark.spec("BR-17")
def test_a_server_that_runs_on_what_is_given_up_stops(server: Server, tmp_path: Path) -> None:
    """Its next change is refused, nothing is said, and the process ends."""
    path = backed_up(server, tmp_path / "backup")
    register(server, OTHER, server.owner())
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place, statement = place_of(server), proposal(server, path)
    at = read_clock().at
    yes = Approval.make(statement.subject, key=server.domain.owner_key(), expires_at=at + 600)
    there = Place(tmp_path / "elsewhere", "", place.platform)
    reset(path, there, statement, [yes], unlock=there.unlock, at=at)
    assert code_of(lambda: server.owner(2.0).volume_key(OTHER)) == "state.forked"
    server.stopped()
    assert does_not_start(server) == "state.rolled-back"


def read_or_code(bench: VolumeBench) -> bytes:
    """What a reader of the volume sees, or why it does not."""
    try:
        return get(bench.reader(), b"f")
    except TamperedError as e:
        return e.code.encode()


@pytest.mark.spec("BR-19")
@pytest.mark.parametrize("commits", [1, 3, 40])
def test_a_volume_whose_anchor_went_back_goes_forward(commits: int) -> None:
    """A reader gets the older state whole or nothing; a writer loses nothing that was committed."""
    bench = VolumeBench()
    bench.create()
    contents = [b"before" * 300, *(b"after %02d" % n * 300 for n in range(commits))]
    states = []
    for content in contents:
        filesystem = bench.writer()
        put(filesystem, b"f", content)
        filesystem.close()
        states.append(bench.holder.current)
    disk = bench.store.copy()
    bench.holder.current = states[0]
    bench.holder.lease += 1024
    assert read_or_code(bench) in {contents[0], b"volume.tampered"}
    bench.store = disk
    writer = bench.writer()
    assert get(writer, b"f") == contents[-1]
    writer.close()
    assert bench.holder.current.version >= states[-1].version
