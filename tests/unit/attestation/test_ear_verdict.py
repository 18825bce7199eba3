"""What an EAR says of a verdict: one form, and no contradiction."""

from __future__ import annotations

import json

import pytest

from cloister.attestation.ear_verdict import (
    MAX_CLAIMS,
    MAX_CLAIMS_BYTES,
    VERDICT_VERSION,
    read_verdict,
)
from cloister.attestation.result import NotChecked
from cloister.errors import MalformedError
from cloister.wire import Fields, Value

CLAIMS: dict[str, Value] = {"root_of_trust": "tdx", "debug": False, "tcb": {"01": 3}, "l": ["a"]}
ACCEPTED: dict[str, Value] = {
    "version": VERDICT_VERSION,
    "root_of_trust": "tdx",
    "verdict": "accept",
    "hardware_rooted": True,
    "status": "UpToDate",
    "reasons": [],
    "checked": ["debug"],
    "not_checked": [{"rule": "xfam", "reason": "no policy was given"}],
    "claims": CLAIMS,
}
FORGED = ACCEPTED | {
    "verdict": "reject",
    "hardware_rooted": False,
    "reasons": [{"code": "evidence.signature", "detail": "d"}],
    "checked": [],
}
del FORGED["claims"]


def read(value: dict[str, Value]) -> object:
    """Read an untrusted claim."""
    return read_verdict(Fields(value, what="EAR", code="token.malformed"))


@pytest.mark.spec("EAR-36")
@pytest.mark.parametrize("value", [ACCEPTED, FORGED])
def test_what_is_read_is_written_the_same(value: dict[str, Value]) -> None:
    """With claims in the manufacturer's spelling, or without any."""
    found = read_verdict(Fields(value, what="EAR", code="token.malformed"))
    assert found.as_record() == value
    assert json.loads(json.dumps(found.as_record())) == value
    assert found.not_checked == (NotChecked("xfam", "no policy was given"),)
    assert not found.debug


@pytest.mark.spec("EAR-36", "EAR-37")
@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"verdict": "ok"},
        {"root_of_trust": ""},
        {"more": 1},
        {"hardware_rooted": 1},
        {"reasons": [{"code": "c"}]},
        {"reasons": [{"code": "c", "detail": "d"}]},
        {"verdict": "reject"},
        {"checked": [1]},
        {"checked": []},
        {"not_checked": ["xfam"]},
        {"claims": None},
        {"claims": {}},
        {"claims": []},
        {"claims": CLAIMS | {"root_of_trust": "sgx"}},
        {"claims": CLAIMS | {"debug": 0}},
        {"claims": CLAIMS | {"x": [1.5]}},
        {"claims": CLAIMS | {"": 1}},
        {"claims": CLAIMS | {"x" * 256: 1}},
        {"claims": CLAIMS | {str(n): 0 for n in range(MAX_CLAIMS)}},
        {"claims": CLAIMS | {"x": "y" * MAX_CLAIMS_BYTES}},
    ],
)
def test_another_form_is_malformed(changes: dict[str, Value]) -> None:
    """So is a verdict that contradicts itself."""
    with pytest.raises(MalformedError) as caught:
        read(ACCEPTED | changes)
    assert caught.value.code == "token.malformed"


@pytest.mark.spec("EAR-37")
@pytest.mark.parametrize(
    "changes", [{"reasons": []}, {"hardware_rooted": True}, {"checked": ["debug"]}]
)
def test_nothing_is_known_of_what_is_not_genuine(changes: dict[str, Value]) -> None:
    """And somebody says why it is refused."""
    with pytest.raises(MalformedError):
        read(FORGED | changes)


def test_every_member_is_needed() -> None:
    """But the claims of what is not genuine."""
    for name in ACCEPTED:
        with pytest.raises(MalformedError):
            read({key: value for key, value in ACCEPTED.items() if key != name})
