"""A foreign tenant and too few approvers, against a real service process over HTTP.

What `test_tenancy.py` shows inside the service is shown here on the wire: each attempt is a signed
refusal without anything of the tenant in it, the log keeps it, and the tenant's state stands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from attack.served import Served
from attack.test_tenancy import (
    ABOVE_READS,
    ANN,
    BEN,
    CASES,
    CAT,
    EVE,
    NOTHING,
    VOLUME,
    Scene,
    canonical,
    successor,
    take_over,
)
from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.approvals import Approval
from cloister.keyservice.authority import RULES
from cloister.keyservice.messages import RELEASE_PATH
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.ownership import OPERATIONS
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.testing.keyservice import MEASUREMENT, policy_text
from cloister.testing.secrets import put_source, secret_policy

OPAQUE = b"planted-opaque-value-51c7"
PLANTED = """
  token: {opaque: {max_bytes: 4096}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of this file."""
    served = Served.create(tmp_path_factory.mktemp("tenants"))
    yield served
    served.close()
    served.require_nothing_on_the_wire()


@pytest.fixture(scope="module")
def scene(served: Served) -> Scene:
    """`lab`, by two of three, with a policy, a secret, a proposal and volumes; `other`, by Eve."""
    charter = lab_charter(served)
    digest = served.owner().propose_charter(charter).hash
    served.owner().propose_charter(served.charter("other", (EVE,)))
    served.register_volumes(served.client(ANN), namespace="lab", first=b"L")
    wanted = canonical(served)
    policy = served.client(ANN).propose_policy(wanted, served.approve(wanted, ANN, BEN)).hash
    served.client(CAT).propose_policy(canonical(served, name="waiting"))
    text = parsed(secret_policy(served, secrets=PLANTED, environment='{T: "${secret:token}"}'))
    served.client(ANN).propose_policy(text, served.approve(text, ANN, BEN))
    served.client(ANN).secrets.put(
        OPAQUE, namespace="lab", policy="keeper", name="token", epoch=1,
        service_hpke=served.domain.hpke,
    )  # fmt: skip
    served.secrets |= {"opaque secret": OPAQUE}
    served.secrets |= {f"key {n}": key.to_secret() for n, key in enumerate((ANN, BEN, CAT))}
    put_source(served, served.client(ANN))
    served.client(ANN).views.issue("lab", scope="view", hours=720)
    (token,) = served.client(ANN).views.list("lab")
    return Scene(served, policy, digest, bytes(token["id"]))


def lab_charter(served: Served) -> bytes:
    """Two of three, for longer than this file's tests move the clock."""
    return served.charter("lab", (ANN, BEN, CAT), threshold=2, timeout=1_000_000)


@pytest.fixture(autouse=True)
def _a_minute_later(served: Served) -> None:
    """Let a minute pass before each test: no key may ask for more than so much in one."""
    served.clock.move(60)


def seen_by_the_tenant(served: Served) -> object:
    """Everything that Ann, who governs, can ask for."""
    ann = served.client(ANN)
    status = ann.status()
    return (
        status.policies,
        status.volumes,
        ann.pending(),
        ann.read_namespace("lab"),
        ann.secrets.list(namespace="lab", policy="keeper"),
        ann.job_status("lab", "digits"),
    )


def attempt(scene: Scene, client: OwnerClient, operation: str) -> str:
    """Try an operation; returns the refusal's code, or nothing where the answer says nothing."""
    served = scene.bench
    assert isinstance(served, Served)
    try:
        answer = CASES[operation](scene, client)
    except CloisterError as e:
        served.require_nothing_released(served.exchanges[-1])
        return e.code
    assert operation in ABOVE_READS or answer == NOTHING[operation]
    return ""


@pytest.mark.spec("KR-83", "PA-5")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("who", ["a foreign tenant", "who governs above"])
def test_an_owner_operation_on_a_foreign_tenant(
    served: Served, scene: Scene, who: str, operation: str
) -> None:
    """Nothing is read and nothing changed; the log has the refusal."""
    key = EVE if who == "a foreign tenant" else served.owner_key
    before = seen_by_the_tenant(served)
    codes: list[str] = []
    gained = served.logged(lambda: codes.append(attempt(scene, served.client(key), operation)))
    allowed = operation in NOTHING or (operation in ABOVE_READS and key is served.owner_key)
    assert codes == ["" if allowed else RULES[operation].refusal]
    assert gained == ([] if allowed else [(operation, codes[0])])
    assert seen_by_the_tenant(served) == before


@pytest.mark.spec("KR-70")
@pytest.mark.parametrize("operation", ["status", "volume.key", "policy.apply"])
def test_a_signer_whom_nobody_knows(served: Served, scene: Scene, operation: str) -> None:
    """He is told one thing whatever he asks, and nothing is written."""
    codes: list[str] = []
    stranger = served.client(SigningKey.generate())
    gained = served.logged(lambda: codes.append(attempt(scene, stranger, operation)))
    assert (codes, gained) == (["release.not-owner"], [])


@pytest.mark.spec("KR-27", "PA-5")
def test_a_release_of_a_foreign_tenants_volumes(served: Served, scene: Scene) -> None:
    """Eve's own policy names the tenant's volumes; her workload gets nothing."""
    sizes: set[int] = set()
    for name, identity in (("foreign", VOLUME), ("absent", b"?" * 16)):
        text = policy_text(served, name=name, namespace="other")
        text = text.replace((b"d" * 16).hex(), identity.hex())
        digest = digest_to_text(MEASUREMENT.code)
        text = text.replace("code: {volume: code}", f'code: {{digests: ["{digest}"]}}')
        policy = served.client(EVE).apply_policy(parsed(text))
        assert release(served, policy) == "release.volume-unknown"
        refusals = [each for each in served.exchanges if each.path == RELEASE_PATH]
        sizes.add(len(refusals[-1].body))
    assert len(sizes) == 1


@pytest.mark.spec("SEC-42")
def test_a_release_of_a_foreign_tenants_secret(served: Served, scene: Scene) -> None:
    """Eve's policy imports what the tenant does not export."""
    imports = "\n  far: {namespace: lab, policy: keeper, secret: token}\n"
    text = secret_policy(
        served,
        name="reader",
        namespace="other",
        imports=imports,
        environment='{A: "${secret:far}"}',
    )
    policy = served.client(EVE).apply_policy(parsed(text))
    assert release(served, policy, workload="main") == "release.secret-not-exported"


@pytest.mark.spec("PA-24")
@pytest.mark.parametrize("kind", ["policy", "charter"])
def test_one_approval_of_two(served: Served, scene: Scene, kind: str) -> None:
    """The change waits; its workloads get nothing, and what is in force stays so."""
    wanted = successor(scene, svn="0") if kind == "policy" else take_over(scene)
    client = served.client(ANN)
    submit = client.propose_policy if kind == "policy" else client.propose_charter
    found = submit(wanted, served.approve(wanted, ANN))
    assert (found.in_force, found.lacking) == (False, 1)
    assert release(served, found.hash) == "release.policy-unknown"
    assert submit(wanted, served.approve(wanted, ANN)).lacking == 1
    twice = served.approve(wanted, ANN) + served.approve(
        wanted, ANN, expires_at=served.clock.at + 9
    )
    with pytest.raises(CloisterError) as e:
        submit(wanted, twice)
    assert e.value.code == "approval.repeated"
    assert_in_force(served, scene)


@pytest.mark.spec("PA-24", "PA-34")
@pytest.mark.parametrize(
    "forgery", ["signed by another", "of another change", "relabelled", "cut", "over"]
)
def test_a_forged_approval(served: Served, scene: Scene, forgery: str) -> None:
    """Beside a genuine one, it is refused in a signed reply, and nothing comes into force."""
    wanted, another = successor(scene, svn="0"), successor(scene, svn="2")
    (own,) = served.approve(wanted, ANN)
    (bens,) = served.approve(another, BEN)
    forged, code = {
        "signed by another": (
            Approval(own.subject, BEN.public.raw, own.expires_at, own.signature),
            "approval.invalid",
        ),
        "of another change": (bens, "approval.invalid"),
        "relabelled": (dataclasses.replace(bens, subject=own.subject), "approval.invalid"),
        "cut": (dataclasses.replace(bens, signature=bytes(64)), "approval.invalid"),
        "over": (
            served.approve(wanted, BEN, expires_at=served.clock.at - 1)[0],
            "approval.expired",
        ),
    }[forgery]
    codes: list[str] = []

    def submit() -> None:
        with pytest.raises(CloisterError) as e:
            served.client(ANN).propose_policy(wanted, (own, forged))
        served.require_nothing_released(served.exchanges[-1])
        codes.append(e.value.code)

    assert served.logged(submit) == [("policy.apply", code)]
    assert codes == [code]
    assert_in_force(served, scene)


def parsed(text: str) -> bytes:
    """A policy's canonical bytes."""
    return canonical_bytes(parse_policy(text.encode(), source="p"))


def release(served: Served, policy: bytes, workload: str = "serve") -> str:
    """Ask for a release; returns the code of the refusal, which is logged and holds nothing."""
    with pytest.raises(CloisterError) as e:
        served.release_client().release(
            policy=policy,
            workload=workload,
            instance="run-1",
            measurement=MEASUREMENT,
            attester=served.attester(),
        )
    served.require_nothing_released(served.exchanges[-1])
    last = served.entries()[-1]
    assert (last.operation, last.code, last.policy) == ("release", e.value.code, policy)
    return e.value.code


def assert_in_force(served: Served, scene: Scene) -> None:
    """The tenant's first policy and charter are."""
    current = {
        record["hash"] for record in served.client(ANN).status().policies if record["current"]
    }
    assert scene.policy in current
    canonical = served.client(ANN).read_namespace("lab").canonical
    assert canonical == lab_charter(served)
