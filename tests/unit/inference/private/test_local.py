"""What the proxy does with plain requests."""

import json
from typing import Any

import pytest

from cloister.errors import (
    CloisterError,
    ConfigError,
    IdentityError,
    TamperedError,
    UnavailableError,
    UnsupportedError,
)
from cloister.inference.private.local import LocalService, host_names, read_listen
from cloister.inference.service import HTTPRequest, HTTPResponse

HOSTS = host_names(("127.0.0.1", 8080))


def ask(raised: CloisterError | None = None, **changes: Any) -> tuple[HTTPResponse, Any]:
    carried: list[HTTPRequest] = []

    def exchange(request: HTTPRequest) -> HTTPResponse:
        carried.append(request)
        if raised is not None:
            raise raised
        return HTTPResponse(200, b"answer")

    given = {"method": "POST", "target": "/v2", "headers": {"host": "localhost:8080"}, "body": b"q"}
    response = LocalService(exchange, hosts=HOSTS).handle(HTTPRequest(**(given | changes)))
    return response, carried


@pytest.mark.spec("PQ-71")
def test_requests_are_carried_whole_but_for_the_connection() -> None:
    """Method, target, body, and fields that mean something at the other end."""
    headers = {"host": "127.0.0.1:8080", "connection": "close", "content-length": "1", "a": "b"}
    response, carried = ask(headers=headers)
    assert response == HTTPResponse(200, b"answer")
    assert carried == [HTTPRequest("POST", "/v2", {"a": "b"}, b"q")]


@pytest.mark.spec("PQ-72")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 421),
        ({"host": "evil.example:8080"}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"host": "localhost:8080", "origin": "null"}, 403),
        ({"host": "localhost:8080", "sec-fetch-site": "none"}, 403),
        ({"host": "localhost:8080", "sec-fetch-mode": "no-cors"}, 403),
    ],
)
def test_nothing_that_a_page_can_send_is_carried(headers: dict[str, str], status: int) -> None:
    """Not even where its name points here."""
    response, carried = ask(headers=headers)
    assert (response.status, carried) == (status, [])


@pytest.mark.spec("PQ-72")
def test_a_proxy_at_http_s_own_port_is_called_without_it() -> None:
    """As clients do; another name is another's there as well."""
    hosts = host_names(("127.0.0.1", 80))
    assert hosts == {"127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost"}
    assert host_names(("::1", 80)) == {"[::1]:80", "localhost:80", "[::1]", "localhost"}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"target": "http://a/"}, 400),
        ({"target": "/" + "a" * 4096}, 400),
        ({"headers": {"host": "localhost:8080"} | {f"a{n}": "" for n in range(49)}}, 431),
        ({"headers": {"host": "localhost:8080"} | {f"a{n}": "b" * 8190 for n in range(2)}}, 431),
        ({"headers": {"host": "localhost:8080", "a": "b\x01"}}, 400),
        ({"headers": {"host": "localhost:8080", "a" * 129: "b"}}, 400),
        ({"method": "get"}, 501),
        ({"method": "M-SEARCH"}, 501),
        ({"method": "A" * 17}, 501),
    ],
)
@pytest.mark.spec("PQ-73")
def test_what_has_no_form_inside_is_refused_here(changes: dict[str, Any], status: int) -> None:
    """With a status that says so, and a sentence."""
    response, carried = ask(**changes)
    assert (response.status, carried) == (status, [])
    assert json.loads(response.body)["error"]


@pytest.mark.spec("PQ-73")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnavailableError("busy", code="server.busy"), 503),
        (ConfigError("too long", code="config.value"), 413),
        (UnsupportedError("not here", code="machine.program"), 400),
        (IdentityError("another", code="identity.policy"), 502),
        (TamperedError("changed", code="private.answer"), 502),
    ],
)
def test_errors_have_a_status_and_a_code(error: CloisterError, status: int) -> None:
    """For whoever asked."""
    response, _ = ask(error)
    assert response.status == status
    assert error.code.encode() in response.body


@pytest.mark.spec("PQ-70")
def test_only_addresses_of_this_machine() -> None:
    """Numbers or localhost; names are not looked up."""
    assert read_listen("127.0.0.1:8080") == ("127.0.0.1", 8080)
    assert read_listen("localhost:0") == ("127.0.0.1", 0)
    assert read_listen("[::1]:80") == ("::1", 80)
    assert host_names(("::1", 81)) == {"[::1]:81", "localhost:81"}
    for text in ("0.0.0.0:80", "10.0.0.1:80", "[::]:80", "a:80", "127.0.0.1", "127.0.0.1:65536"):
        with pytest.raises(ConfigError) as found:
            read_listen(text)
        assert found.value.code == "config.value"
