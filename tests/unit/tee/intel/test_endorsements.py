"""The bundle of collateral."""

from __future__ import annotations

import json

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import to_pem
from cloister.errors import CloisterError
from cloister.tee.intel.endorsements import (
    MAX_COLLATERAL_BYTES,
    collateral_of,
    read_collateral,
)
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

MINTED = SimulatedIntel(b"bundle", at=1767225600).mint(IntelCase("tdx4"))
BUNDLE = dict(MINTED.bundle)


def _refused(body: bytes) -> str:
    with pytest.raises(CloisterError) as e:
        read_collateral(body)
    return e.value.code


@pytest.mark.spec("INTEL-10", "INTEL-11")
def test_a_bundle_is_read() -> None:
    """Lists, statements as the exact bytes that were signed, and who signed them."""
    collateral = collateral_of(MINTED.endorsements)
    assert collateral.tcb_info.text == BUNDLE["tcb_info"].encode()
    assert collateral.tcb_info.path[0].common_name == "Intel SGX TCB Signing"
    assert collateral.pck_crl.issuer != collateral.root_crl.issuer
    assert collateral.pck_chain == ()
    chain = to_pem(MINTED.chain).decode()
    with_chain = read_collateral(json.dumps(BUNDLE | {"pck_certificate_chain": chain}).encode())
    assert [each.der for each in with_chain.pck_chain] == list(MINTED.chain)


@pytest.mark.spec("INTEL-10")
def test_exactly_one_bundle_is_there() -> None:
    """None decides nothing; several, or another thing, are a mistake."""
    (good,) = MINTED.endorsements
    cases = {
        (): "endorsement.missing",
        (good, good): "endorsement.malformed",
        (Endorsement("application/pkix-crl", good.body),): "endorsement.malformed",
    }
    for endorsements, code in cases.items():
        with pytest.raises(CloisterError) as e:
            collateral_of(endorsements)
        assert e.value.code == code


@pytest.mark.parametrize("name", sorted(BUNDLE))
@pytest.mark.spec("INTEL-11")
def test_a_missing_member_is_malformed(name: str) -> None:
    """Also a list: that nothing was revoked is never taken for granted."""
    body = json.dumps({k: v for k, v in BUNDLE.items() if k != name}).encode()
    assert _refused(body) == "endorsement.malformed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"other": "x"}, "endorsement.malformed"),
        ({"tcb_info": None}, "endorsement.malformed"),
        ({"root_ca_crl": BUNDLE["root_ca_crl"].upper()}, "endorsement.malformed"),
        ({"root_ca_crl": BUNDLE["root_ca_crl"] + "0"}, "endorsement.malformed"),
        ({"root_ca_crl": " " + BUNDLE["root_ca_crl"]}, "endorsement.malformed"),
        ({"root_ca_crl": ""}, "certificate.malformed"),
        ({"tcb_info_signature": "00" * 63}, "endorsement.malformed"),
        ({"qe_identity_signature": "00" * 65}, "endorsement.malformed"),
        ({"tcb_info_issuer_chain": ""}, "certificate.malformed"),
        ({"pck_crl_issuer_chain": "x"}, "certificate.malformed"),
        ({"pck_certificate_chain": ""}, "certificate.malformed"),
    ],
    ids=str,
)
@pytest.mark.spec("INTEL-11", "INTEL-12")
def test_another_form_is_malformed(changes: dict[str, object], code: str) -> None:
    """Members, types and spellings."""
    assert _refused(json.dumps(BUNDLE | changes).encode()) == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "endorsement.malformed"),
        (b"[]", "endorsement.malformed"),
        (b'{"a":[]}', "wire.too-large"),
        (bytes(MAX_COLLATERAL_BYTES + 1), "wire.too-large"),
        (b'{"pck_crl":"","pck_crl":""}', "endorsement.malformed"),
    ],
    ids=["nothing", "list", "deep", "long", "twice"],
)
@pytest.mark.spec("INTEL-10")
def test_other_bytes_are_malformed(body: bytes, code: str) -> None:
    """Strict JSON, flat, bounded."""
    assert _refused(body) == code
