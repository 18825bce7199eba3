"""Simulated platforms have no endorsers."""

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.crypto.signature import SigningKey
from cloister.errors import EndorsementError
from cloister.tee.sim.endorsements import require_anchor


def test_an_accepted_anchor_is_found() -> None:
    """The platform itself is the anchor."""
    keys = [SigningKey.generate().public for _ in range(3)]
    assert require_anchor(keys[1].raw, keys, ()) is keys[1]


def test_another_platform_is_refused() -> None:
    """Only what the caller listed is accepted."""
    keys = [SigningKey.generate().public]
    with pytest.raises(EndorsementError) as e:
        require_anchor(b"x" * 32, keys, ())
    assert e.value.code == "endorsement.anchor"


def test_endorsements_are_refused() -> None:
    """What nothing can chain is not ignored."""
    key = SigningKey.generate().public
    with pytest.raises(EndorsementError) as e:
        require_anchor(key.raw, [key], [Endorsement("x/y", b"z")])
    assert e.value.code == "endorsement.anchor"
