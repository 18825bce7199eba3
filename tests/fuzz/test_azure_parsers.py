"""From hostile reports of vTPMs, runtime data and evidence, only our errors escape."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import cbor2
from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.evidence import Evidence
from cloister.errors import CloisterError, MalformedError
from cloister.tee.azure.layout import SNP_TYPE, HclReport, RuntimeData
from cloister.tee.azure.verifier import AzureSnpVerifier
from cloister.testing.manufacturers.azure import SimulatedAzureVm

VM = SimulatedAzureVm(b"fuzz")
RUNTIME = json.dumps(VM.runtime()).encode()
HCL = HclReport("snp", VM.chip.report(), RUNTIME).to_bytes()
BODY = VM.evidence(b"nonce")
VERIFIER = AzureSnpVerifier([VM.amd.anchor])
ENDORSEMENTS = VM.endorsements()
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn, good: bytes) -> bytes:
    """A good text with a few places overwritten, cut or lengthened."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=6))
    return bytes(data)


@given(st.binary(max_size=100) | changed(HCL))
def test_reports(data: bytes) -> None:
    """What is read begins as it is written."""
    with contextlib.suppress(MalformedError):
        assert data.startswith(HclReport.from_bytes(data).to_bytes())


@given(st.binary(max_size=100) | changed(RUNTIME))
def test_runtime_data(data: bytes) -> None:
    """Bytes, and nearly right ones."""
    with contextlib.suppress(MalformedError):
        RuntimeData.from_bytes(data)


@given(st.sampled_from(["keys", "vm-configuration", "user-data"]), _VALUES)
def test_values_in_runtime_data(name: str, value: Any) -> None:
    """Any value in each place, and in each place of a key."""
    with contextlib.suppress(MalformedError):
        RuntimeData.from_bytes(json.dumps(VM.runtime() | {name: value}).encode())
    for part in ("kid", "kty", "n", "e"):
        key = VM.runtime()["keys"][0] | {part: value}
        with contextlib.suppress(MalformedError):
            RuntimeData.from_bytes(json.dumps(VM.runtime(keys=[key])).encode())


@given(st.sampled_from(["report", "runtime_data", "quote"]), st.binary(max_size=60) | st.none())
def test_parts(name: str, value: Any) -> None:
    """Any value of each part of the body."""
    body = cbor2.dumps(cbor2.loads(BODY) | {name: value}, canonical=True)
    with contextlib.suppress(CloisterError):
        VERIFIER.verify(Evidence(SNP_TYPE, body), ENDORSEMENTS, at=VM.amd.now)


@given(changed(BODY))
def test_bodies(data: bytes) -> None:
    """Changed anywhere."""
    with contextlib.suppress(CloisterError):
        VERIFIER.verify(Evidence(SNP_TYPE, data), ENDORSEMENTS, at=VM.amd.now)
