"""Tenants of one key service, those above them, and whoever runs it, against one tenant.

Every operation there is, as each of them: nothing of the tenant is read or changed. And fewer
approvers than the charter asks for, with whatever they can forge, repeat, replay or carry over.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import TLSKey
from cloister.errors import CloisterError
from cloister.keyservice.approvals import Approval
from cloister.keyservice.authority import RULES
from cloister.keyservice.namespace_log import read_own_log
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.ownership import OPERATIONS
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.testing.keyservice import DATA_ID, ServiceBench, policy_text
from cloister.testing.secrets import pin_source, put_source
from cloister.wire import encode

ANN, BEN, CAT, EVE, ROY = (SigningKey(bytes([number]) * 32) for number in range(1, 6))
VOLUME = b"L" + DATA_ID[1:]


def canonical(bench: ServiceBench, **changes: str) -> bytes:
    """A policy's canonical bytes."""
    return canonical_bytes(parse_policy(policy_text(bench, **changes).encode(), source="p"))


@dataclasses.dataclass
class Scene:
    """A service with two tenants: `lab`, by two of three, and `other`, by Eve alone."""

    bench: ServiceBench
    policy: bytes
    charter: bytes
    token: bytes

    def state(self) -> object:
        """Everything that the service keeps, but the log, spent challenges and the time."""
        tables = self.bench.store.tables.all()
        return copy.deepcopy(
            {name: rows for name, rows in tables.items() if name not in {"spent", "time"}}
        )


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """`lab` has a charter, a policy, a proposal and volumes."""
    bench = ServiceBench.create(tmp_path)
    charter = bench.charter("lab", (ANN, BEN, CAT), threshold=2)
    digest = bench.owner().propose_charter(charter).hash
    bench.owner().propose_charter(bench.charter("other", (EVE,)))
    bench.register_volumes(bench.client(ANN), namespace="lab", first=b"L")
    wanted = canonical(bench)
    policy = bench.client(ANN).propose_policy(wanted, bench.approve(wanted, ANN, BEN)).hash
    bench.client(CAT).propose_policy(canonical(bench, name="waiting"))
    put_source(bench, bench.client(ANN))
    bench.client(ANN).views.issue("lab", scope="view", hours=1)
    (token,) = bench.client(ANN).views.list("lab")
    yield Scene(bench, policy, digest, bytes(token["id"]))
    bench.close()


def successor(scene: Scene, **changes: str) -> bytes:
    """A policy that would replace the tenant's."""
    return canonical(scene.bench, predecessor=digest_to_text(scene.policy), **changes)


def take_over(scene: Scene) -> bytes:
    """A charter that would give the tenant's namespace to Eve."""
    return scene.bench.charter("lab", (EVE,), predecessor=digest_to_text(scene.charter))


def register(scene: Scene, client: OwnerClient) -> object:
    """Put a volume into the tenant's namespace."""
    return client.register_volume(
        b"x" * 16,
        key=b"k" * 32,
        version=0,
        root=bytes(32),
        kind="data",
        service_hpke=scene.bench.domain.hpke,
        namespace="lab/deep",
    )


def put_secret(scene: Scene, client: OwnerClient) -> object:
    """Put a value where the tenant's program would read it."""
    return client.secrets.put(
        b"value",
        namespace="lab",
        policy="digits",
        name="token",
        epoch=1,
        service_hpke=scene.bench.domain.hpke,
    )


CASES: dict[str, Callable[[Scene, OwnerClient], object]] = {
    "policy.apply": lambda s, c: c.propose_policy(successor(s, svn="0")),
    "policy.read": lambda s, c: c.read_policy(s.policy),
    "policy.pending": lambda _, c: c.pending(),
    "policy.history": lambda _, c: c.history("lab", "digits"),
    "secret.put": put_secret,
    "secret.list": lambda _, c: c.secrets.list(namespace="lab", policy="digits"),
    "source.put": lambda s, c: put_source(s.bench, c, name="second"),
    "source.pin": lambda s, c: pin_source(s.bench, s.bench, c, service=EVE.public),
    "source.list": lambda _, c: c.sources.vaults("lab"),
    "source.remove": lambda _, c: c.sources.remove("lab", "vault"),
    "release.refusals": lambda _, c: c.refusals("lab", "digits"),
    "job.status": lambda _, c: c.job_status("lab", "digits"),
    "member.list": lambda _, c: c.members("lab", "digits"),
    "budget.list": lambda _, c: c.budgets("lab", "digits"),
    "member.expel": lambda _, c: c.expel("lab", "digits", role="train", instance="run-1"),
    "volume.register": register,
    "volume.key": lambda _, c: c.volume_key(VOLUME),
    "volume.rotate": lambda _, c: c.rotate_volume(VOLUME, epoch=2),
    "volume.retire": lambda _, c: c.retire_keys(VOLUME, before=1),
    "lease.take": lambda _, c: c.take_lease(VOLUME),
    "lease.break": lambda _, c: c.break_lease(VOLUME),
    "client.enroll": lambda _, c: c.enroll_client(
        namespace="lab", name="ann", instance="1", certificate_request=TLSKey.generate().request()
    ),
    "status": lambda _, c: (c.status().policies, c.status().volumes),
    "log.read": lambda _, c: c.read_log(first=0, count=10, old=None),
    "log.own": lambda s, c: list(read_own_log(c, "lab", service=s.bench.pinned)),
    "view.issue": lambda _, c: c.views.issue("lab", scope="view", hours=1),
    "view.list": lambda _, c: c.views.list("lab"),
    "view.revoke": lambda s, c: c.views.revoke("lab", s.token),
    "namespace.apply": lambda s, c: c.propose_charter(take_over(s)),
    "namespace.read": lambda _, c: c.read_namespace("lab"),
    "namespace.list": lambda _, c: [r for r in c.namespaces() if r["namespace"] == "lab"],
}
NOTHING: dict[str, object] = {
    "policy.pending": (),
    "status": ((), ()),
    "namespace.list": [],
}
ABOVE_READS = {"log.read"}  # LIMITATIONS: the root's readers read the log


@pytest.mark.spec("KR-83")
def test_every_operation_has_a_rule_and_a_case() -> None:
    """A new operation without either fails here."""
    assert set(RULES) == set(OPERATIONS) == set(CASES)


def attempt(scene: Scene, key: SigningKey, operation: str) -> str:
    """The refusal's code, or empty where an answer says nothing of the tenant."""
    before = scene.state()
    try:
        answer = CASES[operation](scene, scene.bench.client(key))
    except CloisterError as e:
        assert scene.state() == before
        return e.code
    assert scene.state() == before
    assert operation in ABOVE_READS or answer == NOTHING[operation]
    return ""


@pytest.mark.spec("KR-83", "PA-5")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_foreign_tenant_reads_and_changes_nothing(scene: Scene, operation: str) -> None:
    """Eve governs another namespace of the same service."""
    expected = "" if operation in NOTHING else RULES[operation].refusal
    assert attempt(scene, EVE, operation) == expected


@pytest.mark.spec("KR-83", "PA-5")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_who_governs_above_reads_and_changes_nothing(scene: Scene, operation: str) -> None:
    """The founder chartered the namespace, and has no say in it since."""
    allowed = operation in NOTHING or operation in ABOVE_READS
    assert attempt(scene, scene.bench.owner_key, operation) == (
        "" if allowed else RULES[operation].refusal
    )


@pytest.mark.spec("KR-70", "PA-4")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_administrator_is_nobody(scene: Scene, operation: str) -> None:
    """Whoever founded and runs the service, once the root has a charter of others."""
    root = scene.bench.charter("/", (ROY,))
    assert scene.bench.owner().propose_charter(root).in_force
    scene.bench.restart()
    assert attempt(scene, scene.bench.owner_key, operation) == "release.not-owner"


@pytest.mark.spec("KR-70")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_unknown_signer_spends_no_challenge_and_no_log(scene: Scene, operation: str) -> None:
    """He is refused before anything is written."""
    size = scene.bench.store.log_size
    assert attempt(scene, SigningKey.generate(), operation) == "release.not-owner"
    assert scene.bench.store.log_size == size


@pytest.mark.spec("KR-83")
def test_what_is_absent_and_what_is_foreign_is_refused_alike(scene: Scene) -> None:
    """Code and sentence are the same."""
    client = scene.bench.client(EVE)
    pairs = (
        (lambda: client.volume_key(VOLUME), lambda: client.volume_key(b"?" * 16)),
        (lambda: client.read_policy(scene.policy), lambda: client.read_policy(b"?" * 32)),
        (lambda: client.history("lab", "digits"), lambda: client.history("lab", "none")),
        (lambda: client.read_namespace("lab"), lambda: client.read_namespace("nobodys")),
    )
    for foreign, absent in pairs:
        with pytest.raises(CloisterError) as first:
            foreign()
        with pytest.raises(CloisterError) as second:
            absent()
        assert (first.value.code, first.value.public) == (second.value.code, second.value.public)


@pytest.mark.spec("PA-24", "PA-34")
@pytest.mark.parametrize("kind", ["policy", "charter"])
def test_one_of_two_changes_nothing_whatever_he_brings(
    scene: Scene, tmp_path: Path, kind: str
) -> None:
    """Alone, twice, forged, of another service, of another change, or late."""
    bench = scene.bench
    wanted = successor(scene, svn="0") if kind == "policy" else take_over(scene)
    another = successor(scene, svn="2")
    client = bench.client(ANN)
    submit = client.propose_policy if kind == "policy" else client.propose_charter
    own = bench.approve(wanted, ANN)
    (bens,) = bench.approve(another, BEN)
    elsewhere = ServiceBench.create(tmp_path, "other.test")
    relabelled = dataclasses.replace(bens, subject=own[0].subject)
    forged = Approval(own[0].subject, BEN.public.raw, own[0].expires_at, own[0].signature)
    attempts = {
        "approval.repeated": bench.approve(wanted, ANN, expires_at=bench.clock.at + 9),
        "approval.not-approver": bench.approve(wanted, EVE),
        "approval.expired": bench.approve(wanted, BEN, expires_at=bench.clock.at - 1),
    }
    cases = [(code, own + extra) for code, extra in attempts.items()]
    cases += [
        ("approval.invalid", (*own, extra))
        for extra in (bens, relabelled, forged, *elsewhere.approve(wanted, BEN))
    ]
    for code, approvals in cases:
        with pytest.raises(CloisterError) as e:
            submit(wanted, approvals)
        assert e.value.code == code
    assert not submit(wanted).in_force
    later = bench.approve(wanted, ANN, expires_at=bench.clock.at + 90_000)
    assert submit(wanted, later).lacking == 1
    assert bench.store.current_policy("lab", "digits").hash == scene.policy
    assert bench.store.tenancy.charter("lab").hash == scene.charter
    elsewhere.close()


@pytest.mark.spec("PA-31")
def test_an_old_policy_is_not_put_back(scene: Scene) -> None:
    """Its approvals were good once; they name what it replaced."""
    bench = scene.bench
    client = bench.client(ANN)
    first = client.read_policy(scene.policy)
    old = bench.approve(first, ANN, BEN)
    newer = successor(scene, svn="2")
    client.propose_policy(newer, bench.approve(newer, BEN, CAT))
    with pytest.raises(CloisterError) as e:
        client.propose_policy(first, old)
    assert e.value.code == "release.predecessor"


@pytest.mark.spec("POL-17", "KR-83")
def test_a_reader_reads_and_changes_nothing(scene: Scene) -> None:
    """One whom a policy names reads that policy; one whom a charter names reads its namespace."""
    bench = scene.bench
    rex = SigningKey.generate()
    wanted = successor(scene, more=f'access: {{readers: ["{rex.public.text}"]}}')
    bench.client(ANN).propose_policy(wanted, bench.approve(wanted, ANN, BEN))
    assert bench.client(rex).read_policy(scene.policy)
    assert len(bench.client(rex).status().policies) == 2
    assert bench.client(rex).status().volumes == ()
    assert bench.client(rex).secrets.list(namespace="lab", policy="digits") == ()
    with pytest.raises(CloisterError) as e:
        bench.client(rex).secrets.list(namespace="lab", policy="waiting")
    assert e.value.code == "release.policy-unknown"
    reader = SigningKey.generate()
    charter = bench.charter(
        "lab", (ANN, BEN, CAT), threshold=2, readers=[reader],
        predecessor=digest_to_text(scene.charter),
    )  # fmt: skip
    bench.client(ANN).propose_charter(charter, bench.approve(charter, ANN, BEN))
    assert len(bench.client(reader).status().volumes) == 2
    reading = {"policy.read", "policy.pending", "policy.history", "status"}
    reading |= {"namespace.read", "namespace.list", "secret.list"}
    reading |= {"job.status", "member.list", "source.list", "log.own", "release.refusals"}
    reading |= {"budget.list"}
    reading |= {"view.issue", "view.list", "view.revoke"}  # of tokens of their own
    for key in (rex, reader):
        for operation in set(OPERATIONS) - reading:
            before = scene.state()
            with pytest.raises(CloisterError) as e:
                CASES[operation](scene, bench.client(key))
            assert e.value.code in {RULES[operation].refusal, "release.predecessor"}
            assert scene.state() == before


def test_malformed_arguments_of_every_operation_are_refused(scene: Scene) -> None:
    """By a known signer; nothing but errors of ours comes out, and nothing changes."""
    client = scene.bench.client(ANN)
    before = scene.state()
    for operation in OPERATIONS:
        for arguments in (
            {"more": 1},
            {"id": b"", "canonical": b"\xff", "hash": b"", "namespace": "..", "name": ""},
            {"canonical": encode({"a": 1}), "approvals": [1], "namespace": 5, "id": "x"},
        ):
            with pytest.raises(CloisterError):
                client.call.do(operation, arguments)
    assert scene.state() == before
