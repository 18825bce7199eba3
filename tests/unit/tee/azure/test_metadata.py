"""Azure's metadata service: a quote, or an error of our own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from cloister.errors import CloisterError, ConfigError
from cloister.tee.azure.metadata import MetadataService
from cloister.testing.azure import MetadataFake

REPORT = bytes(range(256)) * 4


@pytest.fixture
def fake() -> Iterator[MetadataFake]:
    """A service whose quotes are the report backwards."""
    with MetadataFake(lambda report: b"quote" + report[::-1]) as running:
        yield running


@pytest.mark.spec("AZ-14")
def test_a_quote_is_asked_for_as_azure_wants_it(fake: MetadataFake) -> None:
    """JSON, base64url without padding."""
    assert MetadataService(fake.address).td_quote(REPORT) == b"quote" + REPORT[::-1]
    [asked] = fake.asked
    assert set(json.loads(asked)) == {"report"}
    assert "=" not in json.loads(asked)["report"]
    fake.body = b'{"quote": "cXVvdA=="}'
    assert MetadataService(fake.address + "/").td_quote(REPORT) == b"quot"


@pytest.mark.spec("AZ-14")
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "machine.attester"),
        (429, "attester.busy"),
        (503, "attester.busy"),
        (400, "attester.failed"),
        (302, "attester.failed"),
        (204, "attester.failed"),
    ],
)
def test_each_status_has_a_meaning(fake: MetadataFake, status: int, code: str) -> None:
    """Redirections are not followed."""
    fake.status = status
    with pytest.raises(CloisterError) as e:
        MetadataService(fake.address).td_quote(REPORT)
    assert e.value.code == code


@pytest.mark.spec("AZ-14")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"quote",
        b"[]",
        b"{}",
        b'{"quote": ""}',
        b'{"quote": 1}',
        b'{"quote": "a"}',
        b'{"quote": "*#!"}',
        b'{"quote": "YQ", "quote": "Yg"}',
        b'{"quote": "' + b"A" * 65536 + b'"}',
    ],
)
def test_answers_that_are_no_quote_are_refused(fake: MetadataFake, body: bytes) -> None:
    """Whatever they are, and however long."""
    fake.body = body
    with pytest.raises(CloisterError) as e:
        MetadataService(fake.address).td_quote(REPORT)
    assert e.value.code == "attester.failed"


@pytest.mark.spec("AZ-14")
@pytest.mark.parametrize("answer", [b"", b"\r\n", b"HTTP/1.1 200\r\nContent-Length: 9\r\n\r\nx"])
def test_a_service_that_does_not_speak_http_is_refused(answer: bytes) -> None:
    """Or hangs up in the middle."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(CloisterError) as e:
            MetadataService(address).td_quote(REPORT)
        thread.join()
    assert e.value.code == "attester.failed"


def test_a_service_that_is_not_there_or_silent_says_so() -> None:
    """Refused at once; silent until the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(CloisterError) as silent:
            MetadataService(address, timeout_s=0.05).td_quote(REPORT)
    assert silent.value.code in {"attester.failed", "attester.busy"}
    with pytest.raises(CloisterError) as absent:
        MetadataService(address, timeout_s=0.05).td_quote(REPORT)
    assert absent.value.code == "attester.failed"


@pytest.mark.parametrize(
    "address",
    [
        "https://169.254.169.254",
        "169.254.169.254",
        "http://",
        "http://[::1",
        "http://host:99999",
        "http://host/path",
        "http://user@host",
        "http://host?query",
        "",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigError):
        MetadataService(address).td_quote(REPORT)
