"""Binary HTTP, read strictly; vectors are in tests/spec."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import LocalProtocolError, MalformedError
from cloister.inference.private.binary_http import (
    read_request,
    read_response,
    write_request,
    write_response,
)
from cloister.inference.service import HTTPRequest, HTTPResponse

ROOT = Path(__file__).parents[4]
SHARED = Path(os.environ.get("CLOISTER_SHARED", ROOT.parent / "shared"))
EXAMPLE = SHARED / "vectors" / "ohttp" / "rfc9458-example.json"
names = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True).filter(
    lambda name: name not in {"te", "host", "connection", "upgrade", "expect", "trailer"}
)
values = st.from_regex(r"([!-~]([ -~]{0,20}[!-~])?)?", fullmatch=True)
fields = st.dictionaries(names, values, max_size=5)


@given(fields, st.binary(max_size=100), st.integers(0, 20))
def test_requests_come_back(headers: dict[str, str], body: bytes, padding: int) -> None:
    """Whatever padding follows."""
    request = HTTPRequest("POST", "/v2/models/a/infer", headers, body)
    assert read_request(write_request(request) + bytes(padding)) == request


@given(st.integers(200, 599), fields, st.binary(max_size=100))
def test_responses_come_back_in_one_size(status: int, headers: dict[str, str], body: bytes) -> None:
    """Padded to what was asked for; one that is longer has no form."""
    response = HTTPResponse(status, body, headers)
    data = write_response(response, size=1024)
    assert data is not None
    assert len(data) == 1024
    assert read_response(data) == response
    bare = write_response(response)
    assert bare is not None
    assert write_response(response, size=len(bare) - 1) is None


@pytest.mark.skipif(not EXAMPLE.exists(), reason=f"no {EXAMPLE.name}; set CLOISTER_SHARED")
@pytest.mark.spec("PQ-33")
def test_the_example_of_the_rfc() -> None:
    """RFC 9458's messages leave out what is empty at the end."""
    said = json.loads(EXAMPLE.read_text("utf-8"))
    request = read_request(bytes.fromhex(said["binary_http_request"]))
    assert request == HTTPRequest("GET", "/", {}, b"")
    assert read_response(bytes.fromhex(said["binary_http_response"])) == HTTPResponse(200, b"")


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """In one way only; what is read is written the same again."""
    for read in (read_request, read_response):
        try:
            read(data)
        except MalformedError as e:
            assert e.code == "message.malformed"  # noqa: PT017  # both outcomes are right


def test_what_has_no_form_is_not_written() -> None:
    """A field that could be read as two is our bug."""
    for headers in ({"a": "b\r\nc: d"}, {"A": "b"}, {"": "b"}, {"a": " b"}):
        with pytest.raises(LocalProtocolError) as found:
            write_request(HTTPRequest("GET", "/", headers, b""))
        assert found.value.code == "protocol.local"
