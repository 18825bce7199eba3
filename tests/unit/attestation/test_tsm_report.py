"""Reports of `configfs-tsm` as Veraison wraps them."""

from __future__ import annotations

import base64
import json

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.cmw import CmwCollection, CmwRecord, evidence_in
from cloister.attestation.evidence import Evidence
from cloister.attestation.tsm_report import TSM_CBOR, TSM_JSON, read_tsm_report
from cloister.errors import MalformedError

SNP, TDX = "application/vnd.cloister.snp", "application/vnd.cloister.tdx"


@pytest.mark.spec("INT-16")
@given(st.binary(min_size=1, max_size=60), st.booleans())
def test_either_base64_gives_what_was_signed(data: bytes, url: bool) -> None:  # noqa: FBT001  # drawn
    """And CBOR the bytes themselves."""
    padded = base64.b64encode(data).decode()
    text = base64.urlsafe_b64encode(data).decode().rstrip("=") if url else padded
    as_json = json.dumps({"provider": "tdx_guest\n", "outblob": text, "auxblob": "AA"}).encode()
    assert read_tsm_report(TSM_JSON, as_json) == (TDX, data)
    as_cbor = cbor2.dumps({"provider": "sev_guest", "outblob": data})
    assert read_tsm_report(TSM_CBOR, as_cbor) == (SNP, data)


@pytest.mark.spec("INT-16")
@pytest.mark.parametrize("media_type", [TSM_JSON, TSM_CBOR])
@pytest.mark.parametrize(
    "value",
    [b"", b"[", b"\xff", b"[" * 300, b'{"provider":"sev_guest","provider":"x","outblob":"YQ"}'],
)
def test_another_form_is_malformed(media_type: str, value: bytes) -> None:
    """With our error, and no other."""
    with pytest.raises(MalformedError):
        read_tsm_report(media_type, value)


@pytest.mark.spec("INT-16")
def test_a_report_among_others_is_evidence_of_its_provider() -> None:
    """One of each kind may stand in a collection."""
    items = tuple(
        (name, CmwRecord(TSM_CBOR, cbor2.dumps({"provider": name, "outblob": b"r"}), 4))
        for name in ("sev_guest", "tdx_guest")
    )
    both = CmwCollection(None, items)
    assert evidence_in(both, {SNP}) == Evidence(SNP, b"r")
    assert evidence_in(both, {TDX}) == Evidence(TDX, b"r")
    wrong = CmwRecord(TSM_CBOR, cbor2.dumps({"provider": "fake\n", "outblob": b"r"}), 4)
    with pytest.raises(MalformedError) as caught:
        evidence_in(CmwCollection(None, (*items, ("x", wrong))), {SNP})
    assert caught.value.code == "evidence.malformed"
