"""From hostile reports, certificates and chains, only our errors escape."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.errors import CloisterError, MalformedError
from cloister.tee.snp.certificate import ChipCertificate
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.tee.snp.layout import MEDIA_TYPE, REPORT_BYTES, Report
from cloister.tee.snp.verifier import SnpVerifier
from cloister.testing.manufacturers.amd import SimulatedAmd

AMD = SimulatedAmd(b"fuzz", "Milan")
CHIP = AMD.chip()
BODY = CHIP.report()
PARTS = AMD.endorsements(CHIP)
VERIFIER = SnpVerifier([AMD.anchor])
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


@given(st.binary(max_size=64) | st.binary(min_size=REPORT_BYTES, max_size=REPORT_BYTES))
def test_bytes_as_reports(data: bytes) -> None:
    """Random bytes of any length, and of the right one."""
    with contextlib.suppress(MalformedError):
        assert Report.from_bytes(data).to_bytes() == data


@given(changed(BODY))
def test_changed_reports(data: bytes) -> None:
    """A report that is read is written as it was."""
    with contextlib.suppress(MalformedError):
        assert Report.from_bytes(data).to_bytes() == data


@given(st.binary(max_size=300) | changed(CHIP.certificate))
def test_bytes_as_certificates(data: bytes) -> None:
    """Random and nearly right ones; what can be asked of them as well."""
    with contextlib.suppress(MalformedError):
        certificate = ChipCertificate.from_der(data)
        for name in certificate.extensions:
            with contextlib.suppress(MalformedError):
                certificate.number(name)
            with contextlib.suppress(MalformedError):
                certificate.text(name)
            with contextlib.suppress(MalformedError):
                certificate.octets(name, 64)


@given(st.data())
def test_changed_endorsements(data: st.DataObject) -> None:
    """Each of them, judged with a good report."""
    place = data.draw(st.integers(0, len(PARTS) - 1))
    body = data.draw(changed(PARTS[place].body) | st.binary(max_size=50))
    given_parts = list(PARTS)
    given_parts[place] = Endorsement(PARTS[place].media_type, body)
    with contextlib.suppress(CloisterError):
        VERIFIER.verify(Evidence(MEDIA_TYPE, BODY), given_parts, at=AMD.now)


@given(
    st.lists(
        st.builds(
            Endorsement,
            st.sampled_from([CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE, "x/y"]),
            st.binary(max_size=40),
        ),
        max_size=4,
    )
)
def test_any_endorsements(parts: list[Endorsement]) -> None:
    """Kinds and numbers of them."""
    with contextlib.suppress(CloisterError):
        VERIFIER.verify(Evidence(MEDIA_TYPE, BODY), parts, at=AMD.now)
