"""Every kind that there is can be shown."""

from __future__ import annotations

import json

import pytest

from cloister.attestation.evidence import Evidence
from cloister.cli.evidence_parts import _READERS, parts_of
from cloister.errors import CloisterError
from cloister.tee.registry import ROOTS_OF_TRUST


@pytest.mark.parametrize(
    "media_type", [each for root in ROOTS_OF_TRUST for each in root.media_types]
)
def test_every_kind_has_a_reader_that_refuses_noise(media_type: str) -> None:
    """With our errors only."""
    assert media_type in _READERS
    for body in (b"", b"\x00" * 2000, b"[]", b"\xff" * 1184):
        try:
            parts = parts_of(Evidence(media_type, body))
        except CloisterError:
            continue
        json.dumps(parts)


def test_an_unknown_kind_is_refused() -> None:
    """Nothing is guessed."""
    with pytest.raises(CloisterError) as e:
        parts_of(Evidence("text/plain", b""))
    assert e.value.code == "evidence.kind"
