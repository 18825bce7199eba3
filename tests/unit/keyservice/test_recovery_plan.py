"""A recovery plan: what is signed, and what cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, MalformedError
from cloister.keyservice.recovery_plan import RecoveryPlan

SERVICE = SigningKey(b"s" * 32).public
HOLDERS = tuple(bytes([n]) * 32 for n in range(3))
PLAN = RecoveryPlan(SERVICE, 2, HOLDERS, 1_800_000_000)


@pytest.mark.spec("BR-10", "BR-11", "BR-20")
def test_a_plan_is_read_back() -> None:
    """From the file that approvers read, and signed as what it is."""
    assert RecoveryPlan.from_text(PLAN.to_text()) == PLAN
    assert PLAN.subject.kind == "recovery"
    assert replace(PLAN, threshold=3).subject != PLAN.subject
    with pytest.raises(MalformedError):
        RecoveryPlan.from_text(PLAN.to_text().replace(b'"at"', b'"more": 1, "at"'))


@pytest.mark.spec("BR-20")
@pytest.mark.parametrize(
    ("threshold", "holders"),
    [
        (1, HOLDERS),
        (4, HOLDERS),
        (2, HOLDERS[:1]),
        (2, (*HOLDERS, HOLDERS[0])),
        (2, tuple(bytes([n]) * 32 for n in range(17))),
    ],
)
def test_what_cannot_be_is_refused(threshold: int, holders: tuple[bytes, ...]) -> None:
    """One alone, more than there are, one twice, too many."""
    with pytest.raises(MalformedError) as e:
        RecoveryPlan(SERVICE, threshold, holders, 1)
    assert e.value.code == "message.malformed"


def test_other_keys_than_the_plans_are_refused() -> None:
    """Or another order: shares go to places."""
    keys = [HPKEPrivateKey.generate().public for _ in range(2)]
    plan = RecoveryPlan(SERVICE, 2, tuple(key.identity for key in keys), 1)
    plan.require_keys(keys)
    for others in (keys[::-1], keys[:1], []):
        with pytest.raises(ConfigError) as e:
            plan.require_keys(others)
        assert e.value.code == "config.value"
