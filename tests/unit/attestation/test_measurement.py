"""The launch measurement."""

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.errors import MalformedError


@pytest.mark.spec("LM-1")
def test_bytes_round_trip() -> None:
    """What was written is read."""
    measurement = LaunchMeasurement(b"c" * 32, b"r" * 32)
    assert LaunchMeasurement.from_bytes(measurement.to_bytes()) == measurement


@pytest.mark.spec("LM-1")
@pytest.mark.parametrize(("code", "runtime"), [(b"c", b"r" * 32), (b"c" * 32, b"")])
def test_a_short_digest_is_refused(code: bytes, runtime: bytes) -> None:
    """Digests have 32 bytes."""
    with pytest.raises(MalformedError) as e:
        LaunchMeasurement(code, runtime)
    assert e.value.code == "evidence.malformed"


@pytest.mark.spec("LM-1")
def test_an_unknown_field_is_refused() -> None:
    """Readers are strict."""
    data = LaunchMeasurement(b"c" * 32, b"r" * 32).to_bytes()
    with pytest.raises(MalformedError):
        LaunchMeasurement.from_bytes(b"\xa3" + data[1:] + b"axax")
