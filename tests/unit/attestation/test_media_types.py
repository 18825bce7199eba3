"""Names of others for what we read."""

from __future__ import annotations

import pytest

from cloister.attestation.media_types import (
    THEIR_MEDIA_TYPES,
    our_media_type,
    their_media_type,
)
from cloister.tee.registry import by_media_type


def test_every_name_is_of_a_kind_that_is_read() -> None:
    """And comes back as ours."""
    for theirs, ours in THEIR_MEDIA_TYPES.items():
        assert by_media_type(ours).media_types[0] == ours
        assert our_media_type(theirs) == ours
        assert their_media_type(ours) == theirs


@pytest.mark.spec("INT-14")
@pytest.mark.parametrize(
    "text",
    [
        "application/eat-collection; profile=http://arm.com/CCA-SSD/1.0.0",
        'Application/EAT-Collection ;profile="http://arm.com/CCA-SSD/1.0.0"',
    ],
)
def test_spellings_of_one_name(text: str) -> None:
    """Case, spaces and quotes make no other type; a value's case does, and so do values."""
    assert our_media_type(text) == "application/vnd.cloister.cca"
    assert our_media_type(text.replace("1.0.0", "2.0.0")).lower() != "application/vnd.cloister.cca"


def test_unknown_names_stay_as_they_are() -> None:
    """In both directions; what nobody registered is not written."""
    assert our_media_type("application/x") == their_media_type("application/x") == "application/x"
    assert our_media_type("application/vnd.intel.sgx") == "application/vnd.cloister.sgx"
    assert their_media_type("application/vnd.cloister.sgx") == "application/vnd.cloister.sgx"
