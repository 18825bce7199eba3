"""What a request to look may be, and how it is answered when it is none."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cloister.errors import TamperedError
from cloister.keyservice.view.operations import OPERATIONS
from cloister.keyservice.view.web import MAX_AT_ONCE
from unit.keyservice.view.conftest import Reply, Viewer

PRIVATE = [each.path.format(hash="sha256:" + "0" * 64) for each in OPERATIONS if each.scope]


def refused(found: Reply, status: int, code: str) -> None:
    """A problem document of that code."""
    assert (found.status, found.record["code"]) == (status, code)
    assert found.headers["content-type"] == "application/problem+json"
    assert set(found.record) == {"type", "title", "status", "detail", "code"}
    assert found.record["status"] == status


@pytest.mark.spec("KH-11", "KH-24")
@pytest.mark.parametrize("path", PRIVATE)
def test_what_is_not_public_needs_a_token(viewer: Viewer, path: str) -> None:
    """None, another's, an old one, two of them, and another scheme are the same refusal."""
    good, stranger = viewer.token(), viewer.token()[:-8] + "AAAAAAAA"
    for headers in (
        [],
        [("authorization", "Bearer")],
        [("authorization", f"Bearer {stranger}")],
        [("authorization", f"Basic {good}")],
        [("authorization", f"Bearer  {good}")],
        [("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")],
    ):
        found = viewer.ask(path, headers)
        refused(found, 401, "identity.viewer")
        assert found.headers["www-authenticate"].startswith("Bearer")
    viewer.bench.clock.move(3600)
    refused(viewer.ask(path, [("authorization", f"Bearer {good}")]), 401, "identity.viewer")


@pytest.mark.spec("KH-10")
def test_what_is_public_needs_none(viewer: Viewer) -> None:
    """The public paths answer whoever asks."""
    for path in ("/v1/service", "/v1/log/checkpoint", "/healthz", "/readyz", "/openapi.json", "/"):
        assert viewer.ask(path).status == 200
    assert viewer.ask("/v1/log/proof/inclusion?index=0&size=1").status == 200
    assert viewer.ask("/v1/log/proof/consistency?old=1&new=2").status == 200


@pytest.mark.spec("KH-11")
def test_a_token_for_metrics_shows_metrics_only(viewer: Viewer) -> None:
    """Scopes hold."""
    token = viewer.token("metrics")
    assert viewer.get("/metrics", token).status == 200
    found = viewer.get("/v1/volumes", token)
    refused(found, 403, "identity.scope")
    assert "insufficient_scope" in found.headers["www-authenticate"]


@pytest.mark.spec("KH-2")
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_nothing_can_be_changed(viewer: Viewer, method: str) -> None:
    """There is no method that does."""
    found = viewer.get("/v1/volumes", method=method)
    refused(found, 405, "request.method")
    assert found.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.spec("KH-2", "KH-6")
def test_options_allows_no_other_origin(viewer: Viewer) -> None:
    """It says which methods there are, and nothing about origins."""
    found = viewer.ask("/v1/volumes", [("origin", "https://evil.test")], method="OPTIONS")
    assert (found.status, found.body) == (204, b"")
    assert found.headers["allow"] == "GET, HEAD, OPTIONS"
    assert not any(name.startswith("access-control") for name in found.headers)


@pytest.mark.spec("KH-1", "KH-2")
@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/policies/", "/v1/service/", "//", "/../x"]
)
def test_other_paths_are_unknown(viewer: Viewer, path: str) -> None:
    """Nothing is guessed or redirected."""
    refused(viewer.get(path), 404, "request.unknown")


@pytest.mark.spec("KH-3")
@pytest.mark.parametrize(
    "query",
    [
        "",
        "first=0",
        "count=1",
        "first=0&count=0",
        "first=0&count=101",
        "first=-1&count=1",
        "first=00&count=1",
        "first=1.0&count=1",
        "first=+1&count=1",
        "first=%D9%A1&count=1",
        "first=0&first=0&count=1",
        "first=0&count=1&more=1",
        "first=&count=1",
        "first=1e3&count=1",
        "first=9007199254740992&count=1",
        "first=99999999999999999999&count=1",
        "First=0&count=1",
    ],
)
def test_queries_are_read_strictly(viewer: Viewer, query: str) -> None:
    """One spelling, each known parameter once, in its range."""
    refused(viewer.get(f"/v1/log/entries?{query}"), 400, "request.malformed")


@pytest.mark.spec("KH-3")
@pytest.mark.parametrize("header", [("content-length", "3"), ("transfer-encoding", "chunked")])
def test_a_body_is_refused(viewer: Viewer, header: tuple[str, str]) -> None:
    """Nothing here reads one."""
    refused(viewer.get("/v1/service", headers=[header]), 400, "request.malformed")
    assert viewer.get("/v1/service", headers=[("content-length", "0")]).status == 200


@pytest.mark.spec("KH-5")
def test_too_many_at_once_are_told_to_come_back(viewer: Viewer) -> None:
    """Those that are being answered are not disturbed."""

    async def crowd() -> tuple[Reply, list[Reply]]:
        gate = asyncio.Event()
        held = [
            asyncio.create_task(viewer.send("/healthz", [], gate=gate)) for _ in range(MAX_AT_ONCE)
        ]
        await asyncio.sleep(0)
        late = await viewer.send("/healthz", [])
        gate.set()
        return late, await asyncio.gather(*held)

    late, others = asyncio.run(crowd())
    refused(late, 503, "keyservice.busy")
    assert late.headers["retry-after"] == "1"
    assert {reply.status for reply in others} == {200}
    assert viewer.get("/healthz").status == 200


def test_whoever_takes_no_answer_is_left(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time that is not his to choose."""
    from cloister.keyservice.view import web  # noqa: PLC0415  # to change its patience

    monkeypatch.setattr(web, "ANSWER_TIMEOUT_S", 0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(viewer.send("/healthz", [], gate=asyncio.Event()))
    assert viewer.web._at_once == 0


@pytest.mark.spec("KH-6", "KH-30")
def test_every_answer_has_the_headers(viewer: Viewer) -> None:
    """Answers, refusals and the page: no cache, no guessing, one policy without exceptions."""
    for path in ("/", "/page.js", "/v1/service", "/nothing"):
        headers = viewer.ask(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
            "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )


def test_damage_stops_the_service(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that comes back different is not shown, and not used any more."""

    def damaged(first: int, count: int) -> list[bytes]:
        raise TamperedError("changed", code="state.tampered")

    monkeypatch.setattr(viewer.bench.store, "entries", damaged)
    refused(viewer.get("/v1/log/entries?first=0&count=1"), 500, "state.tampered")
    assert viewer.stopped == [1]


@pytest.mark.spec("KH-25")
def test_tokens_and_queries_are_not_logged(
    viewer: Viewer, caplog: pytest.LogCaptureFixture
) -> None:
    """Good, bad, or in the wrong place."""
    caplog.set_level(logging.DEBUG)
    good, bad = viewer.token(), "bm90LWEtdG9rZW4tYnV0LXNlY3JldA"
    viewer.get("/v1/volumes", good)
    viewer.get("/v1/volumes", bad)
    viewer.get(f"/v1/volumes?token={bad}", good)
    viewer.get(f"/{bad}", good)
    assert "view.answered path=/v1/volumes status=200" in caplog.text
    assert "path=other status=404" in caplog.text
    assert good not in caplog.text
    assert bad not in caplog.text
