"""Responses that every page has."""

import json

import pytest

from cloister.errors import CloisterError, MalformedError, RefusedError, UnavailableError
from cloister.inference.answers import (
    failure_of,
    json_response,
    not_allowed,
    nothing,
    unforeseen,
)


@pytest.mark.spec("SRV-54")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MalformedError("x", code="message.malformed"), 400),
        (MalformedError("x", code="model.malformed"), 500),
        (UnavailableError("x", code="server.busy"), 503),
        (UnavailableError("x", code="server.late"), 504),
        (UnavailableError("x", code="middle.unavailable"), 503),
        (UnavailableError("x", code="middle.failed"), 503),
        (RefusedError("x", code="middle.wrong"), 500),
    ],
)
def test_an_error_has_its_status(error: CloisterError, status: int) -> None:
    """And says when to try again, where that may help."""
    response = failure_of(error)
    assert response.status == status
    assert json.loads(response.body) == {"error": "x"}
    assert ("retry-after" in response.headers) == (status > 500)


def test_plain_responses() -> None:
    """JSON, nothing, and another method."""
    assert json_response(200, [1]).body == b"[1]"
    assert (nothing().status, nothing().body) == (200, b"")
    assert not_allowed("GET").headers["allow"] == "GET"


def test_what_nobody_foresaw_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    """One answer for all; the log has the class and the line, and nothing of the query."""
    caught: list[Exception] = []
    try:
        int("a secret")
    except ValueError as e:
        caught.append(e)
    first, second = unforeseen(caught[0]), unforeseen(KeyError("another secret"))
    assert (first.status, first.body) == (second.status, second.body)
    assert first.status == 500
    assert "error=ValueError at=" in caplog.text
    assert f"{__file__}:" in caplog.text
    assert "secret" not in caplog.text + first.body.decode()
