"""Collateral as other tools spell it: respelled where it has one meaning, left alone elsewhere."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cloister.errors import MalformedError
from cloister.tee.intel.endorsements import read_collateral
from cloister.tee.intel.spellings import is_collateral, respelled, signed_text
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

AT = 1_800_000_000
PLAIN: dict[str, Any] = json.loads(
    SimulatedIntel(b"seed", at=AT).mint(IntelCase("tdx5")).collateral
)


def read_again(members: dict[str, Any]) -> dict[str, Any]:
    """What other spellings are read as."""
    found: dict[str, Any] = json.loads(respelled(json.dumps(members).encode()))
    return found


def test_our_own_form_stays_byte_for_byte() -> None:
    """Its white space too: whoever has it has one text of it."""
    for data in (json.dumps(PLAIN).encode(), json.dumps(PLAIN, indent=2).encode()):
        assert respelled(data) == data


def test_other_spellings_say_the_same() -> None:
    """Names, digits, lists as PEM or base64, what Intel's library says of the form alone."""
    listed = base64.b64encode(bytes.fromhex(PLAIN["pck_crl"])).decode()
    pem = f"-----BEGIN X509 CRL-----\n{listed}\n-----END X509 CRL-----\n"
    for changed in (
        {name.upper(): value for name, value in PLAIN.items()},
        PLAIN | {"tcb_info_signature": PLAIN["tcb_info_signature"].upper()},
        PLAIN | {"pck_crl": listed},
        PLAIN | {"pck_crl": pem, "root_ca_crl": PLAIN["root_ca_crl"].upper()},
        PLAIN | {"version": 3, "teeType": 129, "pckCertificateChain": None},
    ):
        assert is_collateral(changed)
        assert read_again(changed) == PLAIN
        read_collateral(respelled(json.dumps(changed).encode()))


def test_a_signature_inside_is_taken_out_and_the_text_stays() -> None:
    """What was signed is not written anew: a space in it is one afterwards."""
    text = PLAIN["tcb_info"].replace(",", ", ", 1)
    signature = PLAIN["tcb_info_signature"]
    whole = f'{{"tcbInfo":{text},"signature":"{signature.upper()}"}}'
    assert signed_text(whole.encode(), "tcbInfo") == (text, signature)
    members = {k: v for k, v in PLAIN.items() if k != "tcb_info_signature"} | {"tcb_info": whole}
    assert read_again(members) == PLAIN | {"tcb_info": text}


@pytest.mark.parametrize(
    "data",
    [
        b'{"tcb_info": "{}", "tcbInfo": "{}", "tcb_info_signature": "00"}',
        b'{"tcb_info": "{}"}',
        b'{"tcb_info": "{\\"tcbInfo\\":{},\\"signature\\":\\"00\\"}"}',
        b'{"tcb_info": "{\\"tcbInfo\\":{}}"}',
        b'{"tcb_info": 1, "tcb_info": 1}',
        b"{",
    ],
)
def test_what_has_two_meanings_or_none_is_malformed(data: bytes) -> None:
    """Never the one of the two that comes first."""
    with pytest.raises(MalformedError) as e:
        respelled(data)
    assert e.value.code == "endorsement.malformed"


def test_what_is_not_known_is_left_for_the_reader_to_refuse() -> None:
    """A list that is neither digits nor base64, and a name that nobody knows."""
    for changed in (PLAIN | {"pck_crl": "?"}, PLAIN | {"more": "x"}):
        with pytest.raises(MalformedError):
            read_collateral(respelled(json.dumps(changed).encode()))
    assert not is_collateral({"kty": "EC"})
