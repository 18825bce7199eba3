"""What the exporting side does beside deciding, which the attack tests drive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.export_messages import ExportRequest
from cloister.keyservice.exporting import Exported, decide_export
from cloister.keyservice.secret_store import SecretStore
from cloister.testing.keyservice import ServiceBench
from cloister.testing.secrets import (
    export_entry,
    import_all,
    importer,
    pin_source,
    secret_policy,
)

SECRETS = "\n" + "".join(
    f"  k{n}: {{remote: {{source: partner, namespace: feeds, policy: source, secret: k{n},"
    " epoch: 1, max_bytes: 64}}\n"
    for n in range(3)
)


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[tuple[ServiceBench, ServiceBench]]:
    """The exporter, whose namespace may be asked twice a minute, and the importer."""
    far = ServiceBench.create(tmp_path, "far.test")
    near = ServiceBench.create(tmp_path, "near.test")
    near.clock = far.clock
    key = SigningKey.generate()
    far.owner().propose_charter(far.charter("feeds", (key,), requests_per_minute=3))
    entry = export_entry(near)
    secrets = "\n" + "".join(
        f"  k{n}: {{symmetric: {{bytes: 16}}, export: [{entry}]}}\n" for n in range(3)
    )
    far.owner_key = key
    far.apply(secret_policy(far, name="source", namespace="feeds", secrets=secrets))
    pin_source(near, far)
    near.apply(secret_policy(near, secrets=SECRETS))
    yield far, near
    far.close()
    near.close()


@pytest.mark.spec("EXP-28", "EXP-30")
def test_a_namespace_that_is_asked_too_often_answers_later(
    benches: tuple[ServiceBench, ServiceBench],
) -> None:
    """Its quota counts exports; a refusal for that reason makes no log grow."""
    far, near = benches
    size = far.store.log_size
    assert import_all(near, far) == ["keyservice.busy"]  # applying the policy was one of three
    assert far.store.log_size == size + 2
    far.clock.move(60)
    assert import_all(near, far) == []


def request(far: ServiceBench, near: ServiceBench) -> ExportRequest:
    """What the importer would ask."""
    return ExportRequest(
        service=far.domain.identity.raw,
        nonce=b"n" * 32,
        namespace="feeds",
        policy="source",
        secret="k0",  # a name
        epoch=1,
        part="",
        importer=near.domain.identity.raw,
        trust_domain="near.test",
        to_namespace="lab",
        to_policy="keeper",
        hpke_key=HPKEPrivateKey(b"h" * 96).public.raw,
    )


def test_deciding_changes_nothing(benches: tuple[ServiceBench, ServiceBench]) -> None:
    """The same again, with the rule's lifetime; no `repr` shows the value."""
    far, near = benches
    asked = request(far, near)
    evidence = near.attester().collect(asked.report_data())
    before = far.store.sequence
    one, two = (
        decide_export(asked, evidence, records=SecretStore(far.store), at=far.clock.at)
        for _ in range(2)
    )
    assert (one, one.lifetime_s, len(one.value)) == (two, 3600, 16)
    assert isinstance(one, Exported)
    assert one.value.hex() not in repr(one)
    assert repr(one.value) not in repr(one)
    assert far.store.sequence == before


@pytest.mark.spec("EXP-24")
def test_deciding_never_trusts_the_evidence_alone(
    benches: tuple[ServiceBench, ServiceBench],
) -> None:
    """Genuine evidence of the right service, for another key."""
    far, near = benches
    asked = request(far, near)
    evidence = importer(near).attester.collect(asked.report_data())
    other = ExportRequest.from_bytes(
        asked.to_bytes().replace(asked.hpke_key, HPKEPrivateKey(b"i" * 96).public.raw)
    )
    with pytest.raises(CloisterError) as e:
        decide_export(other, evidence, records=SecretStore(far.store), at=far.clock.at)
    assert e.value.code == "evidence.binding"
