"""What a policy says of secrets."""

from __future__ import annotations

import pytest

from cloister.keyservice.policy import canonical_bytes, parse_policy, policy_from_canonical
from cloister.keyservice.policy.description import describe
from cloister.keyservice.policy.explain import explain
from cloister.keyservice.policy.reader import diagnose
from cloister.keyservice.policy.secret_rules import (
    PARTS,
    Exported,
    ExportedToService,
    ExternalForm,
    FileRule,
    OpaqueForm,
    PasswordForm,
    RemoteForm,
    SecretRule,
)
from cloister.testing.policies import (
    VOLUME_ROOTS,
    sample_claims,
    sample_measurement,
    sample_text,
)
from cloister.testing.secrets import EVERY_KIND, EXTERNAL

KEY, DIGEST = "ed25519:" + "e5" * 32, "sha256:" + "d4" * 32
ENTRY = (
    f'{{service: "{KEY}", trust_domain: near.test, namespace: lab, policy: keeper, '
    f'root_of_trust: sim, anchors: ["{KEY}"], measurement: ["{DIGEST}"], minimum_svn: 2, '
    "debug: refused, lifetime: 600}"
)
EXTRA = f"""
secrets:{EVERY_KIND}  {EXTERNAL.replace("db:", "far-db:").lstrip()}
  old:
    opaque: {{max_bytes: 10}}
    epoch: 3
    readable: [1, 2]
    export: [{{namespace: lab, policy: other}}, {ENTRY}]
  far-key:
    remote: {{source: s, namespace: a/b, policy: p, secret: k, epoch: 2, part: public,
      max_bytes: 9}}
imports:
  far: {{namespace: lab, policy: other, secret: x}}
"""


def test_every_kind_is_read_and_has_canonical_bytes() -> None:
    """A secret has one kind, an epoch, readable ones and exports."""
    policy = parse_policy((sample_text() + EXTRA).encode(), source="p.yaml")
    assert policy.has_templates
    assert policy_from_canonical(canonical_bytes(policy)).secrets == policy.secrets
    secrets = policy.secrets or {}
    assert {rule.kind for rule in secrets.values()} == set(PARTS)
    assert secrets["db"].form == PasswordForm(
        length=24, alphabet="abcdefghijklmnopqrstuvwxyz0123456789"
    )
    assert secrets["db"].epochs == (1,)
    assert secrets["far-db"].form == ExternalForm(
        source="vault", path="secret/data/training/db", field="password", max_bytes=64
    )
    assert secrets["old"] == SecretRule(
        opaque=OpaqueForm(max_bytes=10),
        epoch=3,
        readable=(1, 2),
        export=(
            Exported(namespace="lab", policy="other"),
            ExportedToService(
                service=KEY,
                trust_domain="near.test",
                namespace="lab",
                policy="keeper",
                root_of_trust="sim",
                anchors=(KEY,),
                measurement=(DIGEST,),
                minimum_svn=2,
                debug="refused",
                lifetime=600,
            ),
        ),
    )
    assert secrets["far-key"].form == RemoteForm(
        source="s", namespace="a/b", policy="p", secret="k", epoch=2, part="public", max_bytes=9
    )
    assert secrets["old"].epochs == (3, 1, 2)


@pytest.mark.spec("SEC-1")
def test_a_policy_without_them_keeps_its_bytes() -> None:
    """Absent is absent from the canonical form."""
    data = canonical_bytes(parse_policy(sample_text().encode(), source="p.yaml"))
    assert not any(word in data for word in (b"secrets", b"imports", b"files"))
    assert not parse_policy(sample_text().encode(), source="p.yaml").has_templates


@pytest.mark.spec("SEC-1")
@pytest.mark.parametrize(
    "entry",
    [
        "x: {}",
        "x: {symmetric: {bytes: 15}}",
        "x: {symmetric: {bytes: 1025}}",
        "x: {symmetric: {bytes: 16}, opaque: {max_bytes: 1}}",
        "x: {password: {length: 7, alphabet: abcdefghij}}",
        "x: {password: {length: 8, alphabet: abcdefghia}}",
        "x: {password: {length: 8, alphabet: 'abcdefghi j'}}",
        "x: {password: {length: 8, alphabet: abc}}",
        "x: {key_pair: {algorithm: rsa}}",
        "x: {authority: {common_name: a}}",
        "x: {certificate: {authority: ca, lifetime_days: 0, dns: [a.b]}}",
        "x: {certificate: {authority: ca, lifetime_days: 1, dns: []}}",
        "x: {certificate: {authority: ca, lifetime_days: 1, dns: ['a..b']}}",
        "x: {certificate: {authority: ca, lifetime_days: 1, spiffe: 'http://a'}}",
        "x: {opaque: {max_bytes: 65537}}",
        "x: {opaque: {max_bytes: 1, value: a}}",
        "x: {opaque: {max_bytes: 1}, epoch: 0}",
        "x: {opaque: {max_bytes: 1}, readable: []}",
        "x: {opaque: {max_bytes: 1}, export: [{namespace: lab}]}",
        "x.y: {opaque: {max_bytes: 1}}",
    ],
)
def test_what_is_no_secret_is_refused(entry: str) -> None:
    """Each form is strict, and a name has no dot."""
    text = sample_text() + f"\nsecrets:\n  {entry}\n"
    assert diagnose(text.encode(), source="p.yaml").policy is None


def test_an_explanation_names_what_the_workload_gets() -> None:
    """By name and kind, and only what its own templates name."""
    text = sample_text().replace('"1"', '"${secret:db}${secret:far}"', 1) + EXTRA
    policy = parse_policy(text.encode(), source="p.yaml")
    wanted = {"db": "password, epoch 1", "far": "imported: x of lab/other"}
    given = (sample_claims(), sample_measurement())
    found = explain(policy, "train", *given, volume_roots=VOLUME_ROOTS)
    assert found.secrets == found.as_record()["secrets"] == wanted
    assert explain(policy, "serve", *given, volume_roots=VOLUME_ROOTS).secrets == {}
    assert explain(policy, "nobody", *given, volume_roots=VOLUME_ROOTS).secrets == {}


def test_files_have_permission_bits() -> None:
    """0400 unless another is written."""
    assert FileRule(content="x").bits == 0o400
    assert FileRule(content="x", mode="0640").bits == 0o640


def test_a_description_names_secrets_and_kinds() -> None:
    """And files, imports and exports; never more than that."""
    policy = parse_policy((sample_text() + EXTRA).encode(), source="p.yaml")
    section = next(item for item in describe(policy) if item.title == "Secrets")
    rows = {row.label: row.value for row in reversed(section.rows)}
    assert rows["db"] == "password, epoch 1"
    assert rows["old"] == "opaque, epoch 3; readable: 1, 2"
    assert rows["old may be imported by"] == "lab/other"
    assert rows["far"] == "imported: x of lab/other"


@pytest.mark.spec("EXP-1")
@pytest.mark.parametrize("name", [part.split(":")[0].strip(" {") for part in ENTRY.split(", ")])
def test_an_entry_for_a_service_has_every_key(name: str) -> None:
    """Leaving one out is refused, and never checks less; so is one more, and a value outside."""
    parts = ENTRY[1:-1].split(", ")
    (part,) = [part for part in parts if part.split(":")[0] == name]
    without = "{" + ", ".join(each for each in parts if each != part) + "}"
    wrong = ENTRY.replace(part, f"{name}: []")
    more = ENTRY[:-1] + ", more: 1}"
    for entry in (without, wrong, more):
        text = sample_text() + EXTRA.replace(ENTRY, entry)
        assert diagnose(text.encode(), source="p").policy is None, entry


@pytest.mark.spec("EXP-1", "EXP-3")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lifetime: 600", "lifetime: 599"),
        ("lifetime: 600", "lifetime: 31536001"),
        ("root_of_trust: sim", "root_of_trust: tdx"),
        ("trust_domain: near.test", "trust_domain: near.test-"),
        (f'measurement: ["{DIGEST}"]', "measurement: {unchecked: we trust them}"),
        ("minimum_svn: 2", "minimum_svn: {unchecked: we trust them}"),
        ("part: public", "part: hex"),
        ("part: public", "part: chain"),
        ("epoch: 2, part", "part"),
        ("source: s, ", ""),
        (
            "max_bytes: 9}\nimports",
            "max_bytes: 9}\n    export: [{namespace: a, policy: b}]\nimports",
        ),
    ],
)
def test_what_crosses_to_another_service_is_read_strictly(old: str, new: str) -> None:
    """No check is optional, and what is imported has no export."""
    assert old in EXTRA
    text = sample_text() + EXTRA.replace(old, new)
    assert diagnose(text.encode(), source="p").policy is None


def test_an_entry_is_shown_with_all_that_it_asks_for() -> None:
    """And marked where it lets whoever runs the other platform look inside."""
    for debug in ("refused", "accepted"):
        text = sample_text() + EXTRA.replace("debug: refused, life", f"debug: {debug}, life")
        policy = parse_policy(text.encode(), source="p")
        rows = [row for section in describe(policy) for row in section.rows]
        (row,) = [row for row in rows if "near.test" in row.value]
        assert row.label == "old may be imported by"
        assert row.open_end == (debug == "accepted")
        for fact in ("lab/keeper", KEY, DIGEST, "at least 2", debug, "600 s"):
            assert fact in row.value
        (row,) = [row for row in rows if row.label == "far-key"]
        assert row.value == "remote: public of k@2 of a/b/p at key service s, epoch 1"
