"""From hostile requests to look, only our documents come out, and nothing is seen or changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.keyservice.view.operations import OPERATIONS
from cloister.testing.keyservice import DATA_KEY, ServiceBench, policy_text
from unit.keyservice.view.conftest import Reply, Viewer

STATUSES = {200, 204, 400, 401, 403, 404, 405, 503}
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NUMBERS = st.integers(-(2**70), 2**70).map(str)
NAMES = st.sampled_from(["first", "count", "index", "size", "old", "new", "hash", "token"])
QUERIES = st.lists(st.tuples(NAMES | TEXT, NUMBERS | TEXT), max_size=4).map(urlencode)
PATHS = st.sampled_from([operation.path for operation in OPERATIONS]).flatmap(
    lambda path: st.sampled_from([path, path + "/", path.upper(), "/" + path, path + "/.."])
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["authorization", "content-length", "transfer-encoding", "origin", "x"]),
        st.text(st.characters(max_codepoint=126, min_codepoint=32), max_size=20),
    ),
    max_size=3,
)
METHODS = st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE", "get", "X"])


@pytest.fixture(scope="module")
def viewer() -> Iterator[Viewer]:
    """Somebody who looks at a service."""
    with tempfile.TemporaryDirectory() as folder:
        bench = ServiceBench.create(Path(folder))
        bench.register_volumes()
        bench.apply(policy_text(bench))
        yield Viewer.of(bench)
        bench.close()


def require_ours(found: Reply) -> None:
    """A known status, no secret, and a problem document where it is a refusal."""
    assert found.status in STATUSES
    assert DATA_KEY.hex().encode() not in found.body
    assert found.headers["cache-control"] == "no-store"
    if found.status >= 400 and found.status != 503:
        assert found.headers["content-type"] == "application/problem+json"


@given(path=PATHS, query=QUERIES, text=TEXT)
def test_paths_and_queries(viewer: Viewer, path: str, query: str, text: str) -> None:
    """With a good token: any number, twice, unknown, in any spelling."""
    before = viewer.bench.store.sequence
    target = path.replace("{hash}", quote(text) or "x")
    require_ours(viewer.get(f"{target}?{query}"))
    assert viewer.bench.store.sequence == before
    assert viewer.stopped == []


@given(path=PATHS, headers=HEADERS, method=METHODS)
def test_headers_and_methods(
    viewer: Viewer, path: str, headers: list[tuple[str, str]], method: str
) -> None:
    """Without a good token nothing private is seen, whatever comes along."""
    found = viewer.ask(path, headers, method=method)
    require_ours(found)
    private = {each.path for each in OPERATIONS if each.scope is not None}
    assert path not in private or found.status != 200
