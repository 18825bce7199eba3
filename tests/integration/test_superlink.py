"""Flower's real SuperLink behind the gate."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import httpx
import pytest

if TYPE_CHECKING:
    from cloister.training.federated.superlink import SuperLink

pytest.importorskip("flwr")
pytestmark = [pytest.mark.filterwarnings("default")]

STARTS: Final = "/v1/control/start-run"


@pytest.fixture(scope="module")
def link() -> Iterator[tuple[SuperLink, str]]:
    """A SuperLink for two sites, and the address for them."""
    from cloister.training.federated.superlink import SuperLink  # noqa: PLC0415  # loads Flower

    with socket.create_server(("127.0.0.1", 0)) as outer:
        running = SuperLink(outer, sites=2, most=1000)
        try:
            yield running, f"http://127.0.0.1:{outer.getsockname()[1]}"
        finally:
            running.stop()


@pytest.mark.spec("FED-8", "FED-10")
@pytest.mark.parametrize(
    "path",
    [
        STARTS,
        "/v1/runtime/acquire-task",
        "/v1/control/list-runs",
        "/docs",
        "/openapi.json",
        "/health",
    ],
)
def test_sites_start_nothing(link: tuple[SuperLink, str], path: str) -> None:
    """The same request is Flower's to answer from inside, and the gate's from outside."""
    running, outer = link
    headers = {"content-type": "application/protobuf"}
    inside = httpx.post(f"http://{running.address}{path}", content=b"", headers=headers)
    assert inside.text != "not for sites"
    answer = httpx.post(f"{outer}{path}", content=b"", headers=headers)
    assert (answer.status_code, answer.text) == (404, "not for sites")
    for spelling in (f"{path}?x", f"/{path}", f"{path}/", path.replace("/v1", "/v1/fleet/..")):
        answer = httpx.post(f"{outer}{spelling}", content=b"", headers=headers)
        assert answer.text == "not for sites"


@pytest.mark.spec("FED-9")
def test_a_body_without_a_length_is_refused(link: tuple[SuperLink, str]) -> None:
    """Chunks could go on for ever."""
    answer = httpx.post(f"{link[1]}/v1/fleet/push-object", content=iter([b"a", b"b"]))
    assert answer.status_code == 411
    assert httpx.post(f"{link[1]}/v1/fleet/push-object", content=b"a" * 1001).status_code == 413


@pytest.mark.spec("FED-18")
def test_sites_are_seen_by_their_questions(link: tuple[SuperLink, str]) -> None:
    """Only numbers that sites have."""
    running, outer = link
    assert running.sites() == ()
    answer = httpx.get(f"{outer}/v1/cloister/sites/1")
    assert answer.json() == {"format": "cloister/federation/v1", "run": "waiting"}
    assert httpx.get(f"{outer}/v1/cloister/sites/2").status_code == 404
    assert running.sites() == (1,)
    running.tell("completed")
    assert httpx.get(f"{outer}/v1/cloister/sites/1").json()["run"] == "completed"


@pytest.mark.spec("FED-16")
def test_answers_that_are_errors_are_counted(link: tuple[SuperLink, str]) -> None:
    """By whom; what does not parse is not counted, and Flower refuses it."""
    from flwr.proto.error_pb2 import Error  # noqa: PLC0415  # loads Flower
    from flwr.proto.fleet_pb2 import PushMessagesRequest  # noqa: PLC0415
    from flwr.proto.message_pb2 import Message  # noqa: PLC0415
    from flwr.proto.node_pb2 import Node  # noqa: PLC0415

    running, outer = link
    good, bad = Message(), Message(error=Error(code=1, reason="it broke\x1b[2J"))
    body = PushMessagesRequest(
        node=Node(node_id=7), messages_list=[good, bad, bad]
    ).SerializeToString()
    httpx.post(f"{outer}/v1/fleet/push-messages", content=body)
    httpx.post(f"{outer}/v1/fleet/push-messages", content=b"\xff\xff")
    assert running.failed() == {7: 2}


def test_a_call_without_a_sites_signature_is_refused(link: tuple[SuperLink, str]) -> None:
    """Flower knows its SuperNodes by keys, without TLS too: one does not speak for another."""
    from flwr.proto.fleet_pb2 import PullMessagesRequest  # noqa: PLC0415  # loads Flower
    from flwr.proto.node_pb2 import Node  # noqa: PLC0415

    body = PullMessagesRequest(node=Node(node_id=7)).SerializeToString()
    answer = httpx.post(
        f"{link[1]}/v1/fleet/pull-messages",
        content=body,
        headers={"content-type": "application/protobuf"},
    )
    assert answer.status_code == 401
