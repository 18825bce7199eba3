"""The report data binds every part of a request, and nothing optional."""

import hashlib
import inspect

import pytest

from cloister.attestation.binding import bind, nonce_of
from cloister.attestation.measurement import LaunchMeasurement
from cloister.errors import MalformedError

PARTS = {
    "service": b"s" * 32,
    "nonce": b"n" * 32,
    "policy": b"p" * 32,
    "workload": "train",
    "instance": "run-1",
    "hpke_key": b"h" * 1216,
    "certificate_request": b"csr",
    "measurement": LaunchMeasurement(b"c" * 32, b"r" * 32),
}


@pytest.mark.spec("BIND-2")
def test_it_is_sha512_over_framed_parts() -> None:
    """The value is the one that the page's formula gives."""
    parts = [
        b"cloister/report-data-binding",
        b"v1",
        b"s" * 32,
        b"n" * 32,
        b"p" * 32,
        b"train",
        b"run-1",
        b"h" * 1216,
        b"csr",
        b"\xa2dcodeX " + b"c" * 32 + b"gruntimeX " + b"r" * 32,
    ]
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert bind(**PARTS).value == hashlib.sha512(framed).digest()


@pytest.mark.spec("BIND-3")
@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_part_changes_the_value(name: str) -> None:
    """No part can be exchanged unseen."""
    other = {
        "service": b"S" * 32,
        "nonce": b"N" * 32,
        "policy": b"P" * 32,
        "workload": "serve",
        "instance": "run-2",
        "hpke_key": b"H" * 1216,
        "certificate_request": b"CSR",
        "measurement": LaunchMeasurement(b"c" * 32, b"R" * 32),
    }[name]
    assert bind(**PARTS | {name: other}) != bind(**PARTS)


@pytest.mark.spec("BIND-3")
def test_moving_a_byte_between_neighbours_changes_the_value() -> None:
    """Length framing keeps parts apart."""
    left = bind(**PARTS | {"workload": "trainr", "instance": "un-1"})
    assert left != bind(**PARTS)


@pytest.mark.spec("BIND-4")
@pytest.mark.parametrize("name", sorted(set(PARTS) - {"measurement"}))
def test_an_empty_part_is_refused(name: str) -> None:
    """Nothing is padded, cut or left out."""
    with pytest.raises(MalformedError) as e:
        bind(**PARTS | {name: type(PARTS[name])()})
    assert e.value.code == "evidence.malformed"


def test_every_argument_is_required_by_name() -> None:
    """A caller cannot forget a part."""
    for parameter in inspect.signature(bind).parameters.values():
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default is parameter.empty


@pytest.mark.spec("BIND-5")
def test_a_nonce_stands_for_the_whole_value() -> None:
    """Made from the page with hashlib alone; another value has another nonce."""
    value = bind(**PARTS)
    label = b"cloister/report-data-binding/v1/nonce"
    framed = len(label).to_bytes(8, "big") + label + (64).to_bytes(8, "big") + value.value
    assert nonce_of(value) == hashlib.sha256(framed).digest()
    assert nonce_of(bind(**PARTS | {"instance": "run-2"})) != nonce_of(value)
