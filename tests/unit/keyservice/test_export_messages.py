"""Messages between two key services: what cannot be built, and what a signature covers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloister.attestation.evidence import Evidence
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, MalformedError
from cloister.keyservice.export_messages import (
    ExportGrant,
    ExportRequest,
    SignedExportRequest,
    export_info,
)
from cloister.keyservice.log import Receipt

KEY = SigningKey(b"k" * 32)
EVIDENCE = Evidence("a/b", b"evidence")
REQUEST = ExportRequest(
    service=b"s" * 32,
    nonce=b"n" * 32,
    namespace="feeds",
    policy="source",
    secret="key",  # a name
    epoch=1,
    part="",
    importer=KEY.public.raw,
    trust_domain="near.test",
    to_namespace="lab",
    to_policy="keeper",
    hpke_key=b"h" * 1216,
)
OTHER: dict[str, Any] = {
    "service": b"t" * 32,
    "nonce": b"m" * 32,
    "namespace": "feed",
    "policy": "sourc",
    "secret": "ke",
    "epoch": 2,
    "part": "public",
    "importer": b"i" * 32,
    "trust_domain": "nea.test",
    "to_namespace": "lab/keeper",
    "to_policy": "keepe",
    "hpke_key": b"g" * 1216,
}


def test_what_was_signed_is_read_back() -> None:
    """Request and evidence."""
    signed = SignedExportRequest.from_bytes(REQUEST.signed(EVIDENCE, KEY).to_bytes())
    assert signed.open() == (REQUEST, EVIDENCE)
    assert REQUEST.label == "feeds/source/key@1"


@pytest.mark.spec("EXP-12", "EXP-14")
@pytest.mark.parametrize("field", sorted(OTHER))
def test_each_field_changes_what_evidence_and_seal_are_bound_to(field: str) -> None:
    """None can be exchanged under the same evidence, nor under the same seal."""
    other = replace(REQUEST, **{field: OTHER[field]})
    assert other.report_data() != REQUEST.report_data()
    one, two = (
        export_info(service=each.service, nonce=each.nonce, request=each.to_bytes())
        for each in (REQUEST, other)
    )
    assert one != two


@pytest.mark.spec("EXP-11", "EXP-15")
@pytest.mark.parametrize(
    "change",
    [
        {"service": b"s"},
        {"nonce": b""},
        {"importer": b"i" * 33},
        {"hpke_key": b"h"},
        {"namespace": "/"},
        {"namespace": "Lab"},
        {"to_namespace": "/"},
        {"to_namespace": "a//b"},
        {"policy": ""},
        {"policy": "a/b"},
        {"secret": "key\n"},
        {"secret": "k" * 64},
        {"to_policy": "A"},
        {"trust_domain": "near.test/"},
        {"trust_domain": ""},
        {"part": "hex"},
        {"part": "value"},
        {"epoch": 0},
        {"epoch": 10**9},
    ],
)
def test_what_is_no_request_cannot_be_built(change: dict[str, Any]) -> None:
    """Neither sent nor read."""
    with pytest.raises(CloisterError) as e:
        replace(REQUEST, **change)
    assert isinstance(e.value, MalformedError)


@pytest.mark.spec("EXP-14")
@pytest.mark.parametrize("lifetime", [0, 599, 31_536_001])
def test_a_grant_has_a_lifetime(lifetime: int) -> None:
    """Within its bounds; its `repr` shows no value."""
    receipt = Receipt(b"entry", 0, (), "note")
    good = ExportGrant(b"planted", 600, receipt)
    assert ExportGrant.from_bytes(good.to_bytes()) == good
    assert "planted" not in repr(good)
    with pytest.raises(MalformedError) as e:
        ExportGrant.from_bytes(replace(good, lifetime_s=lifetime).to_bytes())
    assert e.value.code == "message.malformed"
