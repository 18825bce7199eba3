"""Quotas: one more or none, and what a charter below has been granted."""

from dataclasses import fields, replace

import pytest

from cloister.errors import ReleaseDeniedError
from cloister.keyservice.policy.model import Quotas
from cloister.keyservice.quotas import require_grant, require_room, share

TEN = Quotas(policies=10, volumes=10, secrets=10, members=10, requests_per_minute=10)
FOUR = Quotas(policies=4, volumes=4, secrets=4, members=4, requests_per_minute=4)


@pytest.mark.spec("PA-50")
def test_what_is_granted_below_is_no_longer_there() -> None:
    """And nothing is less than nothing."""
    assert share(TEN, (), "volumes") == 10
    assert share(TEN, (FOUR, FOUR), "volumes") == 2
    assert share(TEN, (FOUR, FOUR, FOUR), "volumes") == 0


@pytest.mark.spec("PA-50")
def test_the_last_one_fits_and_no_other() -> None:
    """By code."""
    require_room(TEN, (FOUR,), "volumes", present=5)
    with pytest.raises(ReleaseDeniedError) as e:
        require_room(TEN, (FOUR,), "volumes", present=6)
    assert e.value.code == "quota.exceeded"


@pytest.mark.spec("PA-52")
@pytest.mark.parametrize("name", [field.name for field in fields(Quotas)])
def test_a_charter_is_granted_what_is_left_above(name: str) -> None:
    """In every quota."""
    require_grant(TEN, (FOUR,), replace(FOUR, **{name: 6}))
    with pytest.raises(ReleaseDeniedError) as e:
        require_grant(TEN, (FOUR,), replace(FOUR, **{name: 7}))
    assert e.value.code == "quota.exceeded"
