"""Secrets in the owner's messages."""

from __future__ import annotations

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.secret_messages import SecretFact, secret_value_info


@pytest.mark.spec("SEC-50")
def test_each_place_has_a_seal_of_its_own() -> None:
    """Namespace, policy, name, epoch and service each change it; none runs into another."""
    given = {"service": b"s" * 32, "namespace": "a", "policy": "bc", "name": "d", "epoch": 1}
    changes = [{}, {"service": b"t" * 32}, {"namespace": "ab", "policy": "c"}, {"name": "e"},
               {"policy": "b", "name": "cd"}, {"epoch": 2}]  # fmt: skip
    infos = {secret_value_info(**(given | change)) for change in changes}
    assert len(infos) == len(changes)


@pytest.mark.spec("SEC-52")
def test_a_fact_is_read_strictly() -> None:
    """Round trip; one field more is refused."""
    fact = SecretFact("db", "password", 2, True, True, 7, {"public": b"p"})  # noqa: FBT003  # in its order
    assert SecretFact.from_value(fact.to_value()) == fact
    with pytest.raises(MalformedError):
        SecretFact.from_value(fact.to_value() | {"value": b"x"})
