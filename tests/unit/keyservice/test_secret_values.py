"""Values by their rule, and their parts."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest

from cloister.crypto.generated import certificate_end
from cloister.errors import LocalProtocolError, ReleaseDeniedError
from cloister.keyservice.policy.secret_rules import (
    PARTS,
    AuthorityForm,
    CertificateForm,
    KeyPairForm,
    OpaqueForm,
    PasswordForm,
    SecretRule,
    SymmetricForm,
)
from cloister.keyservice.secret_records import SecretRecord
from cloister.keyservice.secret_values import (
    issue,
    make_value,
    needs_renewal,
    part_of,
    public_parts,
)

AT = 1_800_000_000
DAY = 86400
AUTHORITY = SecretRule(authority=AuthorityForm(common_name="lab", lifetime_days=100))
FORM = CertificateForm(authority="ca", lifetime_days=30, dns=("a.example",))


def record(rule: SecretRule, parts: Mapping[str, bytes]) -> SecretRecord:
    """A record of these parts."""
    return SecretRecord("lab", "p", "x", 1, rule.kind, parts, AT)


def made(rule: SecretRule) -> SecretRecord:
    """A record with a fresh value."""
    authority = make_value(AUTHORITY, authority=None, at=AT)
    return record(rule, make_value(rule, authority=authority, at=AT))


@pytest.mark.spec("SEC-2")
def test_bytes_and_passwords_have_their_form() -> None:
    """And two of them differ."""
    rule = SecretRule(symmetric=SymmetricForm(bytes=48))
    one, two = made(rule), made(rule)
    assert len(part_of(one, "")) == 48
    assert part_of(one, "") != part_of(two, "")
    assert part_of(one, "hex") == part_of(one, "").hex().encode()
    assert part_of(one, "base64") == base64.b64encode(part_of(one, ""))
    password = made(SecretRule(password=PasswordForm(length=20, alphabet="0123456789")))
    assert part_of(password, "").isdigit()
    assert len(part_of(password, "")) == 20


@pytest.mark.spec("SEC-3", "SEC-4")
@pytest.mark.parametrize(
    "rule",
    [
        SecretRule(symmetric=SymmetricForm(bytes=16)),
        SecretRule(password=PasswordForm(length=20, alphabet="0123456789")),
        SecretRule(key_pair=KeyPairForm(algorithm="x25519")),
        AUTHORITY,
        SecretRule(certificate=FORM),
    ],
    ids=lambda rule: rule.kind,
)
def test_every_kind_has_its_parts(rule: SecretRule) -> None:
    """Each can be shown, none stands in the `repr`, and only public ones are public."""
    found = made(rule)
    for part in PARTS[rule.kind]:
        assert part_of(found, part)
    assert repr(found) == "SecretRecord(lab/p/x@1)"
    assert not any(b"PRIVATE" in value for value in public_parts(found).values())
    assert set(public_parts(found)) == set(PARTS[rule.kind]) - {"", "hex", "base64", "private"}
    if rule.kind in {"key_pair", "certificate"}:
        assert part_of(found, "private").startswith(b"-----BEGIN PRIVATE KEY-----")
        assert part_of(found, "public").startswith(b"-----BEGIN PUBLIC KEY-----")


def test_an_authority_has_no_private_part() -> None:
    """Who could sign would be an authority."""
    assert "private" not in PARTS["authority"]


def test_nobody_makes_an_opaque_value() -> None:
    """Its owner puts it."""
    with pytest.raises(LocalProtocolError):
        make_value(SecretRule(opaque=OpaqueForm(max_bytes=1)), authority=None, at=AT)


@pytest.mark.spec("SEC-6")
def test_a_certificate_is_renewed_near_its_end_for_the_same_key() -> None:
    """With less than a third of its lifetime left."""
    authority = make_value(AUTHORITY, authority=None, at=AT)
    parts = make_value(SecretRule(certificate=FORM), authority=authority, at=AT)
    assert not needs_renewal(parts, FORM, authority=authority, at=AT + 19 * DAY)
    late = AT + 21 * DAY
    assert needs_renewal(parts, FORM, authority=authority, at=late)
    again = issue(parts, FORM, authority=authority, at=late)
    assert again["private"] == parts["private"]
    assert certificate_end(again["certificate"]) == late + 30 * DAY
    assert again["chain"] == again["certificate"] + authority["certificate"]


@pytest.mark.spec("SEC-6")
def test_a_certificate_follows_its_authority() -> None:
    """A new value of the authority means a new certificate."""
    old, new = (make_value(AUTHORITY, authority=None, at=AT) for _ in range(2))
    parts = make_value(SecretRule(certificate=FORM), authority=old, at=AT)
    assert needs_renewal(parts, FORM, authority=new, at=AT)


@pytest.mark.spec("SEC-5", "SEC-6")
def test_nothing_is_issued_by_an_authority_that_is_over() -> None:
    """Until then, what ends with its authority is not issued in vain."""
    authority = make_value(AUTHORITY, authority=None, at=AT)
    late = AT + 95 * DAY
    parts = make_value(SecretRule(certificate=FORM), authority=authority, at=late)
    assert certificate_end(parts["certificate"]) == AT + 100 * DAY
    assert not needs_renewal(parts, FORM, authority=authority, at=late + DAY)
    over = AT + 100 * DAY
    for attempt in (needs_renewal, issue):
        with pytest.raises(ReleaseDeniedError) as e:
            attempt(parts, FORM, authority=authority, at=over)
        assert e.value.code == "release.secret-expired"
