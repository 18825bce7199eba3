"""The bundle's bytes and bounds."""

import dataclasses

import pytest

from cloister.crypto.keyring import KeyRing
from cloister.errors import MalformedError
from cloister.keyservice.bundle import Bundle, FileGrant, Lease, ListenerGrant, VolumeGrant
from cloister.keyservice.log import Receipt
from cloister.wire import decode, encode

READER = Lease(0, b"s" * 32, 15)
GRANT = VolumeGrant(
    name="data",
    id=b"i" * 16,
    keys=KeyRing.first(b"SECRET-KEY" + b"k" * 22),
    access="read",
    version=1,
    root=b"r" * 32,
    epoch=0,
    lease=READER,
)
BUNDLE = Bundle(
    policy=b"p" * 32,
    workload="train",
    instance="run-1",
    identity="spiffe://d/n/p/train/run-1",
    command=("python", "/code/x.py"),
    environment={"A": "b"},
    volumes={"/data": GRANT},
    listen={"api": ListenerGrant(0, ("spiffe://d/n/clients/ann/*",), "")},
    logs="pass",
    certificate=b"PEM",
    ca=b"PEM",
    result=b"result",
    receipt=Receipt(b"entry", 0, (b"h" * 32,), "note"),
)


@pytest.mark.spec("KR-33")
def test_bytes_round_trip() -> None:
    """What was written is read."""
    assert Bundle.from_bytes(BUNDLE.to_bytes()) == BUNDLE


@pytest.mark.spec("SEC-60")
def test_files_stand_in_the_bytes_where_there_are_any() -> None:
    """A bundle without them has the bytes that it always had; an empty map is refused."""
    files = {"/run/a": FileGrant(b"SECRET\x00", 0o400), "/b": FileGrant(b"", 0o755)}
    bundle = dataclasses.replace(BUNDLE, files=files)
    assert Bundle.from_bytes(bundle.to_bytes()) == bundle
    assert "SECRET" not in repr(bundle) + repr(files)
    value = decode(BUNDLE.to_bytes(), max_bytes=1 << 20)
    assert isinstance(value, dict)
    assert "files" not in value
    with pytest.raises(MalformedError) as e:
        Bundle.from_bytes(encode(value | {"files": {}}))
    assert e.value.code == "message.malformed"


@pytest.mark.spec("SEC-60")
@pytest.mark.parametrize(("size", "mode"), [(0, 0o1000), (0, -1), ((1 << 20) + 1, 0o400)])
def test_a_file_has_permission_bits_and_a_bounded_length(size: int, mode: int) -> None:
    """No set-user bits, no more than a release may carry."""
    with pytest.raises(MalformedError):
        FileGrant(bytes(size), mode)


def test_no_repr_shows_a_secret() -> None:
    """Logging a bundle by mistake leaks nothing."""
    shown = repr(BUNDLE) + repr(GRANT) + repr(READER)
    assert "SECRET" not in shown
    assert "ssss" not in shown


@pytest.mark.parametrize(
    "change",
    [
        {"id": b"i"},
        {"id": b""},
        {"root": b"r"},
        {"access": "own"},
        {"access": "write"},
        {"lease": Lease(1, b"s" * 32, 15)},
    ],
)
def test_a_wrong_grant_cannot_be_built(change: dict[str, object]) -> None:
    """A writer has a lease and a reader has none."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(GRANT, **change)
    assert e.value.code == "message.malformed"


@pytest.mark.parametrize(
    ("port", "clients", "unchecked"), [(0, (), ""), (0, ("a",), "b"), (65536, ("a",), "")]
)
def test_a_listener_has_clients_or_a_reason(
    port: int, clients: tuple[str, ...], unchecked: str
) -> None:
    """Never neither, never both."""
    with pytest.raises(MalformedError):
        ListenerGrant(port, clients, unchecked)


@pytest.mark.parametrize(
    ("epoch", "secret", "ttl"), [(-1, b"s" * 32, 1), (1, b"", 1), (1, b"s" * 32, 0)]
)
def test_a_wrong_lease_cannot_be_built(epoch: int, secret: bytes, ttl: int) -> None:
    """Exact lengths and sane numbers."""
    with pytest.raises(MalformedError):
        Lease(epoch, secret, ttl)


@pytest.mark.parametrize(
    "change", [{"command": ()}, {"logs": "keep"}, {"policy": b""}, {"workload": "a/b"}]
)
def test_a_wrong_bundle_cannot_be_built(change: dict[str, object]) -> None:
    """Something to run, a known output rule, plain names."""
    with pytest.raises(MalformedError):
        dataclasses.replace(BUNDLE, **change)
