"""Reference triples as rules: profiles, names, and states that must not be mixed."""

from __future__ import annotations

from typing import Any, Final

import cbor2
import pytest

from cloister.attestation.evidence_rules import AtLeast, OneOf
from cloister.errors import ConfigError, MalformedError
from cloister.tee.corim.document import Corim
from cloister.tee.corim.translation import PROFILES, ReferenceValues, translate
from cloister.tee.registry import by_name

A, B, C = b"\1" * 48, b"\2" * 48, b"\3" * 48
VALUES: Final = {A: {2: [[7, A]]}, B: {2: [[7, B]]}, C: {2: [[7, C]]}}


def found(kind: str, *states: dict[Any, Any], profile: str | None = None) -> ReferenceValues:
    """What states mean for a kind: each a map of keys to measurement values."""
    triples = [
        [{0: {1: f"ACME {number}"}}, [{0: key, 1: values} for key, values in state.items()]]
        for number, state in enumerate(states)
    ]
    comid = cbor2.CBORTag(506, cbor2.dumps({1: {0: "m"}, 4: {0: triples}}))
    body = {0: "x", 1: [comid]} | ({} if profile is None else {3: profile})
    root = by_name(kind)
    assert root is not None
    corim = Corim.from_bytes(cbor2.dumps(cbor2.CBORTag(501, body)))
    return translate(corim, kind, root.fields())


@pytest.mark.parametrize("profile", PROFILES)
def test_the_keys_of_profiles_are_claims(profile: str) -> None:
    """Of their kind."""
    kind, keys = PROFILES[profile]
    root = by_name(kind)
    assert root is not None
    assert set(keys.values()) <= {field.path for field in root.fields()}


@pytest.mark.spec("REF-26")
def test_states_are_chosen_by_number() -> None:
    """Several together only where they share no claim."""
    values = found(
        "tdx",
        {"measurement": VALUES[A], "rtmr1": VALUES[A]},
        {"measurement": VALUES[B], "rtmr1": VALUES[B]},
        {"rtmr2": VALUES[C]},
    )
    assert [name for name, _ in values.states] == [f"class: ACME {n}" for n in range(3)]
    assert values.merged([2]) == {"measurement": OneOf((B,)), "rtmr1": OneOf((B,))}
    assert values.merged([2, 3])["rtmr2"] == OneOf((C,))
    for numbers in ([1, 2], [], [0], [4]):
        with pytest.raises(ConfigError) as e:
            values.merged(numbers)
        assert e.value.code == "config.value"


def test_bounds_that_differ_make_no_list() -> None:
    """And the same bound is one."""
    least = {1: cbor2.CBORTag(553, 4)}
    same = found("sgx", {"isv_svn": least}, {"isv_svn": least})
    assert same.merged() == {"isv_svn": AtLeast(4)}
    other = found("sgx", {"isv_svn": least}, {"isv_svn": {1: cbor2.CBORTag(553, 5)}})
    with pytest.raises(ConfigError):
        other.merged()


def test_at_least_nothing_makes_no_rule() -> None:
    """It would check nothing."""
    values = found("sgx", {"isv_svn": {1: cbor2.CBORTag(553, 0)}})
    assert values.states == ()
    assert "isv_svn never has such a value" in values.unread[0]


@pytest.mark.spec("REF-22")
@pytest.mark.parametrize(
    ("kind", "key", "claim"),
    [("nitro", "PCR0", "measurement"), ("nitro", "pcr8", "pcrs.8"), ("tdx", "MRTD", "measurement")],
)
def test_manufacturers_names(kind: str, key: str, claim: str) -> None:
    """In any case of letters."""
    assert found(kind, {key: VALUES[A]}).merged() == {claim: OneOf((A,))}


@pytest.mark.spec("REF-22")
def test_values_are_for_claims_of_their_form() -> None:
    """A digest says nothing of a number."""
    values = found("tdx", {"status": VALUES[A], "debug": {1: 1}, "rtmr1": {0: {0: "x"}}})
    assert values.states == ()
    assert len(values.unread) == 3


@pytest.mark.spec("REF-20")
def test_profiles_are_for_one_kind() -> None:
    """And unknown ones for none."""
    for profile in ("tag:arm.com,2025:cca_realm#1.0.0", "https://acme.example/profile"):
        with pytest.raises(MalformedError) as e:
            found("tdx", {"measurement": VALUES[A]}, profile=profile)
        assert e.value.code == "corim.malformed"


def test_under_a_profile_only_its_keys_count() -> None:
    """A claim's name is none of them."""
    profile = "tag:arm.com,2025:cca_realm#1.0.0"
    values = found("cca", {"measurement": VALUES[A], "cca.rem1": VALUES[B]}, profile=profile)
    assert values.merged() == {"extensible.1": OneOf((B,))}
    assert len(values.unread) == 1
