"""Policies with secrets for the benches of other tests, one of each kind."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from functools import partial
from typing import Any, Final

from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import digest_to_text
from cloister.errors import CloisterError
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.importing import Importer
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.policy.secret_rules import RemoteForm
from cloister.keyservice.source_records import Fetched, ServiceSource
from cloister.testing.keyservice import CODE_ROOT, MEASUREMENT, ServiceBench

__all__ = [
    "EVERY_KIND",
    "EXTERNAL",
    "ask",
    "bring",
    "export_entry",
    "import_all",
    "importer",
    "pin_source",
    "put_source",
    "secret_policy",
]

# Each kind, as a policy writes it.
EVERY_KIND: Final = """
  seed: {symmetric: {bytes: 32}}
  db: {password: {length: 24, alphabet: abcdefghijklmnopqrstuvwxyz0123456789}}
  signing: {key_pair: {algorithm: ed25519}}
  ca: {authority: {common_name: lab, lifetime_days: 3650}}
  tls: {certificate: {authority: ca, lifetime_days: 90, dns: [db.lab.example]}}
  token: {opaque: {max_bytes: 4096}}
"""


def secret_policy(
    bench: ServiceBench,
    *,
    name: str = "keeper",
    namespace: str = "lab",
    predecessor: bytes | None = None,
    code: tuple[bytes, ...] = (CODE_ROOT,),
    secrets: str = "",
    imports: str = "",
    environment: str = "{}",
    files: str = "",
    command: str = "[python, /code/main.py]",
) -> str:
    """Write a policy with plain code, whose one workload `main` names secrets.

    Args:
        bench: Whose platform and image it names.
        name: The policy's name.
        namespace: The tenant.
        predecessor: The hash of the one that it replaces.
        code: Digests of the code that is accepted.
        secrets: Entries of `secrets`, indented; empty for none.
        imports: Entries of `imports`, indented; empty for none.
        environment: The workload's environment.
        files: Entries of the workload's `files`, indented by six; empty for none.
        command: The workload's command.
    """
    before = "none" if predecessor is None else digest_to_text(predecessor)
    digests = ", ".join(f'"{digest_to_text(digest)}"' for digest in code)
    return f"""
policy: cloister/v1
name: {name}
namespace: {namespace}
predecessor: "{before}"
roots_of_trust:
  sim:
    anchors: ["{bench.platform.anchor.text}"]
    measurement: ["{digest_to_text(bench.attester().measurement)}"]
    minimum_svn: 1
    debug: refused
volumes: {{}}
{f"secrets:{secrets}" if secrets else ""}
{f"imports:{imports}" if imports else ""}
workloads:
  main:
    code: {{digests: [{digests}]}}
    runtime: ["{digest_to_text(MEASUREMENT.runtime)}"]
    command: {command}
    environment: {environment}
    volumes: {{}}
    listen: {{}}
    output: {{logs: drop}}
{f"    files:{files}" if files else ""}
"""


_INSTANCES: Final = itertools.count(1)


def ask(bench: ServiceBench, policy: bytes, *, code: bytes = CODE_ROOT) -> Bundle:
    """Ask for the release of the workload `main`, as a requester that runs `code`."""
    release = bench.release_client().release(
        policy=policy,
        workload="main",
        instance=f"run-{next(_INSTANCES)}",
        measurement=LaunchMeasurement(code=code, runtime=MEASUREMENT.runtime),
        attester=bench.attester(),
    )
    return release.bundle


# A value that another store keeps, as a policy writes it.
EXTERNAL: Final = """
  db: {external: {source: vault, path: secret/data/training/db, field: password, max_bytes: 64}}
"""


def put_source(
    bench: ServiceBench,
    client: OwnerClient | None = None,
    *,
    namespace: str = "lab",
    name: str = "vault",
    address: str = "vault.example:8200",
    token: bytes = b"hvs.planted-token",
) -> None:
    """Register a source, by the owner if nobody is named."""
    (bench.owner() if client is None else client).sources.put(
        token,
        namespace=namespace,
        name=name,
        address=address,
        ca=bench.domain.ca,
        service_hpke=bench.domain.hpke,
    )


def bring(bench: ServiceBench, value: bytes) -> list[str]:
    """Let every value that is wanted arrive, as if each source had said `value`; say which."""
    errands, fetched = bench.service.external.errands(), Fetched(value, until=0)
    for errand in errands:
        bench.service.settle(partial(bench.service.external.keep, errand, fetched, bench.clock()))
    return [errand.wanted.label for errand in errands]


def importer(bench: ServiceBench, *others: ServiceBench) -> Importer:
    """What asks other services for `bench`; it reaches `others` under `NAME:8400`."""
    reached = {f"{other.domain.name}:8400": other for other in others}
    return bench.service.importer(
        dial=lambda address: nullcontext(reached[address]), clock=bench.clock
    )


def pin_source(
    bench: ServiceBench,
    other: ServiceBench,
    client: OwnerClient | None = None,
    *,
    namespace: str = "lab",
    name: str = "partner",
    **changes: Any,
) -> None:
    """Register another bench's service as a source, by the owner if nobody is named."""
    facts: dict[str, Any] = {
        "address": f"{other.domain.name}:8400",
        "service": other.domain.identity,
        "trust_domain": other.domain.name,
        "hpke_key": other.domain.hpke,
        "reference": other.domain.service,
    }
    chosen = bench.owner() if client is None else client
    chosen.sources.pin(namespace=namespace, name=name, **(facts | changes))


def export_entry(bench: ServiceBench, **changes: str) -> str:
    """Write the entry of `export` that lets `lab/keeper` of a bench's service have a secret."""
    facts = {
        "service": bench.domain.identity.text,
        "trust_domain": bench.domain.name,
        "namespace": "lab",
        "policy": "keeper",
        "root_of_trust": "sim",
        "anchors": f"[{bench.platform.anchor.text!r}]",
        "measurement": f"[{digest_to_text(bench.attester().measurement)!r}]",
        "minimum_svn": "1",
        "debug": "refused",
        "lifetime": "3600",
    } | changes
    return "{" + ", ".join(f"{name}: {value}" for name, value in facts.items()) + "}"


def import_all(bench: ServiceBench, *others: ServiceBench) -> list[str]:
    """Fetch everything that is due from other benches now; return the codes of what failed."""
    codes = []
    for errand in bench.service.external.errands():
        source, form = errand.source, errand.wanted.form
        if not isinstance(source, ServiceSource) or not isinstance(form, RemoteForm):
            continue
        if errand.due > bench.clock.at:
            continue
        try:
            outcome = importer(bench, *others).fetch(
                errand.wanted, form, source, allowed=frozenset({source.address}), timeout_s=10.0
            )
            if isinstance(outcome, Fetched):
                change = partial(bench.service.external.keep, errand, outcome, bench.clock())
            else:
                change = partial(
                    bench.service.external.refused,
                    errand,
                    bench.clock(),
                    code=outcome.error.code,
                )
                codes.append(outcome.error.code)
            bench.service.settle(change)
        except CloisterError as e:
            codes.append(e.code)
    return codes
