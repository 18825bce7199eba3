"""The evidence envelope."""

import pytest

from cloister.attestation.evidence import MAX_EVIDENCE_BYTES, Evidence, ReportData
from cloister.errors import MalformedError
from cloister.wire import encode


def test_round_trip() -> None:
    """An envelope comes back as it was."""
    evidence = Evidence("application/x", b"body")
    assert Evidence.from_bytes(evidence.to_bytes()) == evidence


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode({"media_type": "a"}),
        encode({"media_type": "a", "body": b"", "more": 1}),
        encode({"media_type": 1, "body": b""}),
    ],
)
def test_other_shapes_are_malformed(data: bytes) -> None:
    """Missing, extra or mistyped fields are refused."""
    with pytest.raises(MalformedError):
        Evidence.from_bytes(data)


def test_size_is_bounded() -> None:
    """A body over the limit is refused."""
    with pytest.raises(MalformedError):
        Evidence.from_bytes(Evidence("a", bytes(MAX_EVIDENCE_BYTES + 1)).to_bytes())


@pytest.mark.parametrize("length", [0, 63, 65])
def test_report_data_is_64_bytes(length: int) -> None:
    """Nothing pads or truncates."""
    with pytest.raises(MalformedError):
        ReportData(bytes(length))
