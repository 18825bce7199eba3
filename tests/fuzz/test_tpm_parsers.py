"""From hostile quotes, signatures, logs and certificates, only our errors escape."""

from __future__ import annotations

import contextlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.digest import sha256
from cloister.errors import CloisterError, MalformedError
from cloister.tee.tpm.endorsements import CHAIN_TYPE, LIST_TYPE
from cloister.tee.tpm.event_log import EventLog
from cloister.tee.tpm.layout import MEDIA_TYPE, Quote, Signature
from cloister.tee.tpm.quote import judge_quote
from cloister.tee.tpm.verifier import TpmVerifier
from cloister.testing.manufacturers.tpm import SimulatedTpm

TPM = SimulatedTpm(b"fuzz")
PARTS = TPM.quote(b"nonce")
BODY = TPM.evidence(b"nonce")
FIELDS = cbor2.loads(BODY)
GIVEN = TPM.endorsements()
# The library warns of what it will refuse one day; the verifier does not depend on it.
pytestmark = pytest.mark.filterwarnings("ignore")


@st.composite
def changed(draw: st.DrawFn, good: bytes) -> bytes:
    """A good text with a few places overwritten, cut or lengthened."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=6))
    return bytes(data)


@given(st.binary(max_size=200) | changed(PARTS.message))
def test_quotes(data: bytes) -> None:
    """What is read is written as it was."""
    with contextlib.suppress(MalformedError):
        assert Quote.from_bytes(data).to_bytes() == data


@given(st.binary(max_size=100) | changed(PARTS.signature))
def test_signatures(data: bytes) -> None:
    """What is read is written as it was."""
    with contextlib.suppress(MalformedError):
        assert Signature.from_bytes(data).to_bytes() == data


@given(st.binary(max_size=200) | changed(PARTS.event_log))
def test_logs(data: bytes) -> None:
    """What is read can be replayed."""
    with contextlib.suppress(MalformedError):
        log = EventLog.from_bytes(data)
        for bank in log.banks:
            log.replay(bank)
            log.secure_boot(bank)


@given(st.binary(max_size=100) | changed(TPM.ak))
def test_keys(ak: bytes) -> None:
    """Any bytes as the key that is said to have signed."""
    with contextlib.suppress(CloisterError):
        judge_quote(PARTS, ak)


@given(
    st.sampled_from(sorted(FIELDS)),
    st.none()
    | st.integers()
    | st.binary(max_size=40)
    | st.lists(st.binary(max_size=40), max_size=30),
)
def test_bodies(name: str, value: object) -> None:
    """One field has any value."""
    body = cbor2.dumps(FIELDS | {name: value}, canonical=True)
    with contextlib.suppress(CloisterError):
        TpmVerifier([sha256(TPM.ak)]).verify(Evidence(MEDIA_TYPE, body), [], at=0)


@given(st.data())
def test_endorsements(data: st.DataObject) -> None:
    """Each of them changed, or any number of any kind."""
    parts = list(GIVEN)
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(parts) - 1))
        parts[place] = Endorsement(parts[place].media_type, data.draw(changed(parts[place].body)))
    else:
        kinds = st.sampled_from([CHAIN_TYPE, LIST_TYPE, "x/y"])
        parts = data.draw(
            st.lists(st.builds(Endorsement, kinds, st.binary(max_size=30)), max_size=4)
        )
    with contextlib.suppress(CloisterError):
        TpmVerifier([TPM.anchor]).verify(Evidence(MEDIA_TYPE, BODY), parts, at=TPM.now)
