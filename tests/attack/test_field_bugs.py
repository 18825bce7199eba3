"""Bugs of other verifiers in the field, tried here; the table of README has all of them.

Those that another file already tries are only listed there.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Final

import pytest

from cloister.attestation.evidence import Evidence
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.errors import MalformedError
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.messages import RELEASE_PATH, Failure, ReleaseRequest, SignedReply
from cloister.tee.nvidia.evidence_list import LIST_MEDIA_TYPE, devices_from_json
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.tee.sgx.fields import FIELDS as SGX_FIELDS
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.tdx.fields import FIELDS as TDX_FIELDS
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.keyservice import MEASUREMENT, ServiceBench, policy_text
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia, evidence_list
from cloister.wire.foreign_cbor import Tagged, write_foreign

AT: Final = 1_800_000_000
INTEL: Final = SimulatedIntel(b"field", at=AT)


def test_nvflare_5131_evidence_is_looked_at_after_its_nonce(tmp_path: Path) -> None:
    """Whoever has no open nonce does not make the service judge anything, and gets no verdict."""
    bench = ServiceBench.create(tmp_path)
    try:
        bench.register_volumes()
        policy = bench.apply(policy_text(bench))
        ReleaseClient(bench, bench.pinned, clock=bench.clock, deadline_s=0.0).release(
            policy=policy,
            workload="serve",
            instance="run-1",
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )
        sent = next(body for path, body in reversed(bench.requests) if path == RELEASE_PATH)
        request = ReleaseRequest.from_bytes(sent)
        nothing = Evidence(request.evidence.media_type, b"no evidence at all")
        for nonce, code in ((request.nonce, "evidence.replayed"), (bytes(32), "evidence.expired")):
            body = dataclasses.replace(request, nonce=nonce, evidence=nothing).to_bytes()
            data = bench.service.handle(RELEASE_PATH, body, bench.clock()).body
            found = SignedReply.from_bytes(data).open(
                path=RELEASE_PATH, request=body, service=bench.domain.identity
            )
            assert isinstance(found, Failure)
            assert found.code == code
    finally:
        bench.close()


def test_guest_components_1538_a_nonce_that_nobody_signed_counts_for_nothing() -> None:
    """Beside the report stands the nonce once more: what is told is the one in the report."""
    maker = SimulatedNvidia("field", at=AT)
    gpu = maker.gpu("HOPPER")
    old, fresh = bytes(32), b"f" * 32
    evidence = evidence_list([gpu], old)
    claims = NvidiaVerifier(maker.anchors).verify(evidence, [], at=AT)
    assert claims.report_data == old
    entries = json.loads(evidence.body)
    entries[0]["nonce"] = fresh.hex()
    with pytest.raises(MalformedError):
        devices_from_json(json.dumps(entries).encode())
    # Nor does the nonce help that the report itself repeats, outside of what is signed.
    report = gpu.report(old)
    moved = dataclasses.replace(report, nonce=fresh)
    entries[0]["evidence"] = base64.b64encode(moved.to_bytes()).decode()
    with pytest.raises(Exception, match="signature") as e:
        NvidiaVerifier(maker.anchors).verify(
            Evidence(LIST_MEDIA_TYPE, json.dumps(entries).encode()), [], at=AT
        )
    assert getattr(e.value, "code", "") == "evidence.signature"


@pytest.mark.parametrize("kind", ["sgx3", "tdx4", "tdx15"])
@pytest.mark.parametrize("status", ["OutOfDate", "ConfigurationNeeded", "SWHardeningNeeded"])
def test_dcap_qvl_a_status_that_is_returned_is_not_accepted(kind: str, status: str) -> None:
    """Genuine and out of date is no error of the verifier, and no acceptance either."""
    minted = INTEL.mint(IntelCase(kind, status=status))
    verifier = SgxVerifier if kind.startswith("sgx") else TdxVerifier
    fields = SGX_FIELDS if kind.startswith("sgx") else TDX_FIELDS
    claims = verifier([INTEL.anchor]).verify(minted.evidence, minted.endorsements, at=AT)
    assert claims.status == status
    verdict = appraise_claims(claims, fields, default_rules(fields))
    assert not verdict.accepted
    assert (status, "UpToDate") in {(each.found, each.expected) for each in verdict.reasons}


def test_tsm_a_token_in_the_place_of_a_quote_is_no_quote() -> None:
    """Platforms with DICE return CBOR where others return a quote: refused, not guessed at."""
    token = write_foreign(Tagged(18, [b"\xa1\x01\x26", {}, b"\xa0" * 600, bytes(64)]))
    for verifier in (TdxVerifier([INTEL.anchor]), SgxVerifier([INTEL.anchor])):
        minted = INTEL.mint(IntelCase("tdx4"))
        name = "tdx" if isinstance(verifier, TdxVerifier) else "sgx"
        with pytest.raises(MalformedError) as e:
            verifier.verify(
                Evidence(f"application/vnd.cloister.{name}", token), minted.endorsements, at=AT
            )
        assert e.value.code == "evidence.malformed"
