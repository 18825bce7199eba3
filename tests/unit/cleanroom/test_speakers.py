"""Who may speak as which trainer."""

from __future__ import annotations

import pytest

from cloister.cleanroom.speakers import ShieldedTrainers
from cloister.errors import IdentityError
from cloister.testing.cleanroom import sample_agreement


@pytest.mark.spec("TR-64")
def test_each_trainer_has_an_address_of_its_own() -> None:
    """Those of the job that follows from the terms: query, server, trainer, in this order."""
    found = ShieldedTrainers.of(sample_agreement())
    assert dict(found.indices) == {"127.77.4.1": 0, "127.77.4.2": 1}
    for address, index in found.indices.items():
        found.require(address, index)


@pytest.mark.spec("TR-64")
@pytest.mark.parametrize(
    ("address", "index"),
    [("127.77.4.1", 1), ("127.77.4.2", 0), ("127.77.0.1", 0), ("127.0.0.1", 0), ("", 0), ("x", 9)],
)
def test_nobody_speaks_as_another(address: str, index: int) -> None:
    """Neither another trainer, nor the server itself, nor who has no address of the job."""
    with pytest.raises(IdentityError) as caught:
        ShieldedTrainers.of(sample_agreement()).require(address, index)
    assert caught.value.code == "identity.peer"
