"""Who is not entitled wants secrets: other programs, other policies, and whoever looks at the wire.

The service, the client and the owner are the real ones. Each attempt is refused by its own code,
and no answer, log line, error or byte of the state holds a value.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.messages import OWNER_PATH, Failure, SignedReply
from cloister.keyservice.secret_records import SecretRecord
from cloister.keyservice.secret_store import SecretStore
from cloister.testing.keyservice import CODE_ROOT, ServiceBench
from cloister.testing.secrets import EVERY_KIND, ask, secret_policy

NEW_CODE = b"n" * 32
PLANTED = b"planted-opaque-value-7f3a"
EVERYWHERE = """
      /run/a: {content: "${secret:db}${secret:token}${secret:seed}"}
      /run/b: {content: "${secret:signing.private}${secret:tls.private}${secret:ca.certificate}"}
"""
SOURCE = """
  key: {password: {length: 32, alphabet: abcdefghijklmnopqrstuvwxyz}, export: EXPORT}
"""
TO_READER = "[{namespace: partner, policy: reader}]"
IMPORT = """
  far: {namespace: lab, policy: source, secret: key}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServiceBench]:
    """A trust domain."""
    bench = ServiceBench.create(tmp_path)
    yield bench
    bench.close()


def code_of(bench: ServiceBench, policy: bytes, code: bytes = CODE_ROOT) -> str:
    """The code of a refusal, or nothing."""
    try:
        ask(bench, policy, code=code)
    except CloisterError as e:
        return e.code
    return ""


def put(bench: ServiceBench, value: bytes = PLANTED) -> None:
    """The owner puts the opaque value."""
    bench.owner().secrets.put(
        value, namespace="lab", policy="keeper", name="token", epoch=1,
        service_hpke=bench.domain.hpke,
    )  # fmt: skip


def source(bench: ServiceBench, export: str = TO_READER, before: bytes | None = None) -> bytes:
    """Apply the policy that has the secret."""
    secrets = SOURCE.replace(", export: EXPORT", f", export: {export}" if export else "")
    text = secret_policy(bench, name="source", predecessor=before, secrets=secrets)
    return bench.apply(text)


def reader(bench: ServiceBench, **changes: str) -> bytes:
    """Apply a policy that imports it."""
    given = {"name": "reader", "namespace": "partner", "environment": '{A: "${secret:far}"}'}
    return bench.apply(secret_policy(bench, imports=IMPORT, **(given | changes)))


# -- other programs


@pytest.mark.spec("SEC-31")
def test_an_update_of_the_software_keeps_secrets_from_unapproved_versions(
    bench: ServiceBench,
) -> None:
    """The new version gets the same values once a policy names it, and before that nothing."""
    first = bench.apply(secret_policy(bench, secrets=EVERY_KIND, files=EVERYWHERE))
    put(bench)
    before = ask(bench, first)
    assert code_of(bench, first, NEW_CODE) == "appraisal.code"
    second = bench.apply(
        secret_policy(
            bench,
            secrets=EVERY_KIND,
            files=EVERYWHERE,
            predecessor=first,
            code=(CODE_ROOT, NEW_CODE),
        )
    )
    assert ask(bench, second, code=NEW_CODE).files == before.files
    assert ask(bench, second).files == before.files
    assert code_of(bench, second, b"x" * 32) == "appraisal.code"
    third = bench.apply(
        secret_policy(
            bench, secrets=EVERY_KIND, files=EVERYWHERE, predecessor=second, code=(NEW_CODE,)
        )
    )
    assert ask(bench, third, code=NEW_CODE).files == before.files
    assert code_of(bench, third) == "appraisal.code"
    assert code_of(bench, second) == "release.policy-changed"


@pytest.mark.spec("SEC-33", "SEC-41")
def test_a_rotated_value_is_out_of_reach(bench: ServiceBench) -> None:
    """The old policy is replaced, and the new one cannot name what it dropped."""
    secrets = "\n  db: {password: {length: 24, alphabet: abcdefghijklmnop}, epoch: EPOCH}\n"
    variables = '{NOW: "${secret:db}", OLD: "${secret:db@1}"}'
    first = bench.apply(
        secret_policy(bench, secrets=secrets.replace("EPOCH", "1"), environment=variables)
    )
    old = ask(bench, first).environment
    assert old["NOW"] == old["OLD"]
    both = secrets.replace("EPOCH", "2, readable: [1]")
    second = bench.apply(
        secret_policy(bench, secrets=both, environment=variables, predecessor=first)
    )
    now = ask(bench, second).environment
    assert now["OLD"] == old["NOW"]
    assert now["NOW"] != old["NOW"]
    dropped = secrets.replace("EPOCH", "2")
    with pytest.raises(CloisterError) as e:
        bench.apply(
            secret_policy(bench, secrets=dropped, environment=variables, predecessor=second)
        )
    assert e.value.code == "policy.invalid"
    third = bench.apply(
        secret_policy(
            bench, secrets=dropped, environment='{NOW: "${secret:db}"}', predecessor=second
        )
    )
    assert ask(bench, third).environment == {"NOW": now["NOW"]}
    back = secrets.replace("EPOCH", "3, readable: [1]")
    with pytest.raises(CloisterError) as e:
        bench.apply(secret_policy(bench, secrets=back, environment=variables, predecessor=third))
    assert e.value.code == "policy.epoch"


# -- other policies


@pytest.mark.spec("SEC-42")
def test_an_import_without_an_export_is_refused(bench: ServiceBench) -> None:
    """Before the other policy is there, while it exports nothing, or to others."""
    wanted = reader(bench)
    assert code_of(bench, wanted) == "release.secret-not-exported"
    before = source(bench, export="")
    assert code_of(bench, wanted) == "release.secret-not-exported"
    before = source(bench, export="[{namespace: partner, policy: other}]", before=before)
    assert code_of(bench, wanted) == "release.secret-not-exported"
    source(bench, before=before)
    assert code_of(bench, wanted) == ""


@pytest.mark.spec("SEC-42")
def test_withdrawing_an_export_stops_it(bench: ServiceBench) -> None:
    """The importer's own policy is unchanged; what counts is the exporter's rule of the moment."""
    before = source(bench)
    wanted = reader(bench)
    value = ask(bench, wanted).environment["A"]
    assert len(value) == 32
    source(bench, export="", before=before)
    assert code_of(bench, wanted) == "release.secret-not-exported"
    bench.restart()
    assert code_of(bench, wanted) == "release.secret-not-exported"


@pytest.mark.spec("SEC-42")
@pytest.mark.parametrize(
    "changes",
    [{"namespace": "thief"}, {"name": "reader2"}, {"name": "partner", "namespace": "reader"}],
)
def test_nothing_crosses_to_another_name_or_namespace(
    bench: ServiceBench, changes: dict[str, str]
) -> None:
    """An export is for one policy of one namespace."""
    source(bench)
    assert code_of(bench, reader(bench, **changes)) == "release.secret-not-exported"


@pytest.mark.spec("SEC-42")
def test_an_import_is_not_passed_on(bench: ServiceBench) -> None:
    """What a policy imports is no secret of its own that a third one could import."""
    source(bench)
    reader(bench)
    third = secret_policy(
        bench,
        name="third",
        namespace="thief",
        imports="\n  far: {namespace: partner, policy: reader, secret: far}\n",
        environment='{A: "${secret:far}"}',
    )
    assert code_of(bench, bench.apply(third)) == "release.secret-not-exported"


# -- whoever looks


def values(bench: ServiceBench) -> list[bytes]:
    """Every part that is secret, of every secret there is."""
    store = SecretStore(bench.store)
    found: list[bytes] = []
    for name in ("seed", "db", "signing", "ca", "tls", "token"):
        record = store.secret("lab", "keeper", name, 1)
        assert record is not None
        found += [record.parts[part] for part in ("value", "private") if part in record.parts]
    assert len(found) == 6
    return found + [value.hex().encode() for value in found]


@pytest.mark.spec("SEC-45", "SEC-52")
def test_nothing_that_leaves_or_stays_shows_a_value(
    bench: ServiceBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Wire in both directions, every owner's answer, log entries, log lines, receipts, the disk."""
    caplog.set_level(logging.DEBUG)
    wire: list[bytes] = []

    def tap(path: str, body: bytes, answer: bytes) -> bytes:
        del path
        wire.extend((body, answer))
        return answer

    bench.tap = tap
    policy = bench.apply(secret_policy(bench, secrets=EVERY_KIND, files=EVERYWHERE))
    owner = bench.owner()
    put(bench)
    with pytest.raises(CloisterError) as refused:
        put(bench, PLANTED + b"-another")
    bundle = ask(bench, policy)
    answers = [
        repr(owner.secrets.list(namespace="lab", policy="keeper")),
        repr(owner.status()),
        repr(owner.read_log(first=0, count=100, old=None)),
        repr(owner.read_policy(policy)),
        repr(bundle),
        repr(bundle.receipt),
        str(refused.value),
        repr(refused.value.__dict__),
        caplog.text,
    ]
    entries = bench.store.entries(0, 100)
    disk = [path.read_bytes() for path in bench.domain.directory.rglob("*") if path.is_file()]
    secret = values(bench)
    assert any(value in bundle.files["/run/a"].content for value in secret)
    for place in (*wire, *(answer.encode() for answer in answers), *entries, *disk):
        assert not any(value in place for value in secret)


def test_a_recorded_value_cannot_be_put_again(bench: ServiceBench) -> None:
    """The owner's request is spent, whoever sends it."""
    bench.apply(secret_policy(bench, secrets=EVERY_KIND, files=EVERYWHERE))
    put(bench)
    body = next(body for path, body in reversed(bench.requests) if path == OWNER_PATH)
    data = bench.service.handle(OWNER_PATH, body, bench.clock()).body
    answer = SignedReply.from_bytes(data).open(
        path=OWNER_PATH, request=body, service=bench.domain.identity
    )
    assert isinstance(answer, Failure)
    assert answer.code == "evidence.replayed"


@pytest.mark.spec("SEC-41", "SEC-45")
def test_a_refusal_is_logged_by_its_code(bench: ServiceBench) -> None:
    """And takes no lease; the log has what was asked, not what was kept."""
    policy = bench.apply(secret_policy(bench, secrets=EVERY_KIND, files=EVERYWHERE))
    size = bench.store.log_size
    assert code_of(bench, policy) == "release.secret-missing"
    (entry,) = bench.store.entries(size, 10)
    assert b"release.secret-missing" in entry


@pytest.mark.spec("SEC-44")
def test_a_renewed_certificate_is_kept(bench: ServiceBench) -> None:
    """Two releases after the renewal get the same one, across a restart."""
    policy = bench.apply(
        secret_policy(
            bench, secrets=EVERY_KIND, files='\n      /run/a: {content: "${secret:tls.chain}"}\n'
        )
    )
    first = ask(bench, policy).files
    bench.clock.move(80 * 86400)
    second = ask(bench, policy).files
    assert second != first
    bench.restart()
    assert ask(bench, policy).files == second


def test_what_is_too_much_at_once_changes_nothing(bench: ServiceBench) -> None:
    """A change that no record holds is refused as a whole; the state goes on, and opens again."""
    files = '\n      /run/a: {content: "${secret:db}"}\n'
    policy = bench.apply(secret_policy(bench, secrets=EVERY_KIND, files=files))
    store = SecretStore(bench.store)

    def put_many() -> None:
        with bench.store.transaction():
            for epoch in range(100, 165):
                parts = {"value": bytes(65536)}
                store.put(SecretRecord("lab", "keeper", "db", epoch, "opaque", parts, 0))

    with pytest.raises(CloisterError) as e:
        put_many()
    assert e.value.code == "keyservice.busy"
    assert store.secret("lab", "keeper", "db", 100) is None
    before = ask(bench, policy).files
    bench.restart()
    assert ask(bench, policy).files == before
