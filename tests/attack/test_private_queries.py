"""P48: a private query is read by the pinned enclave alone, answered once, and to who asked alone.

The attacker is everything between: here a balancer that gets plain HTTP, and does what he likes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import (
    CloisterError,
    TamperedError,
    UnavailableError,
)
from cloister.inference.message import write_request
from cloister.inference.private.channel import PrivateChannel, raise_refusal
from cloister.inference.private.gate import CODE_FIELD, KEYS_TARGET, QUERY_TARGET, UNKNOWN_KEY
from cloister.inference.private.local import LocalService
from cloister.inference.private.request_auth import Member, Principal, SignedRequest
from cloister.inference.service import HTTPRequest, HTTPResponse, InferenceService
from cloister.testing.certificates import FakeDomain
from cloister.testing.private import NOW, Balancer, Enclave, served, tap

DOMAIN = FakeDomain("clinic.example", at=NOW)
MARK = np.frombuffer(b"PATIENT-0042-HIV" * 8, dtype="<f4").reshape(-1, 4)


def question(rows: Any = MARK) -> HTTPRequest:
    """A query that has the marker's bytes in it."""
    body = write_request({"x": np.asarray(rows, "<f4")}, outputs=["y"])
    return HTTPRequest("POST", "/v2/models/double/infer", body.headers, body.data)


@pytest.fixture
def enclave() -> Enclave:
    return Enclave(DOMAIN)


@pytest.fixture
def balancer(enclave: Enclave) -> Balancer:
    return Balancer(enclave.gate)


@pytest.fixture
def url(balancer: Balancer) -> Iterator[str]:
    with served(balancer) as found:
        yield found


def refused(channel: PrivateChannel, request: HTTPRequest | None = None) -> str:
    """Ask, and return the code of what came instead of an answer."""
    with pytest.raises(CloisterError) as found:
        raise_refusal(channel.exchange(request or question()))
    return found.value.code


def test_control_an_honest_balancer_is_no_hindrance(enclave: Enclave, url: str) -> None:
    """The same bench answers when nobody interferes, to a principal and to a member."""
    for asker in (enclave.alice, Member(DOMAIN.credential("client"))):
        answer = enclave.channel(url, asker=asker).exchange(question())
        assert answer.status == 200
        assert answer.body.endswith((MARK * 2).tobytes())


@pytest.mark.spec("PQ-60")
def test_keys_of_another_enclave_are_refused(
    enclave: Enclave, balancer: Balancer, url: str
) -> None:
    """Another authority, another role, another policy: nothing is sent to any of them."""
    others = {
        "identity.tls": Enclave(FakeDomain("clinic.example", at=NOW)),
        "identity.peer": Enclave(DOMAIN, role="train"),
        "identity.policy": Enclave(DOMAIN, policy_hash=b"\7" * 32),
    }
    for code, other in others.items():
        balancer.service = other.gate
        assert refused(enclave.channel(url)) == code
        assert other.model.asked == 0
    assert {request.target for request in balancer.requests} == {KEYS_TARGET}


@pytest.mark.spec("PQ-60", "PQ-9")
def test_a_key_put_into_a_genuine_document_is_refused(
    enclave: Enclave, balancer: Balancer, url: str
) -> None:
    """One bit anywhere in what was signed, or another's statement under this certificate."""
    other = Enclave(DOMAIN)
    mine, theirs = (each.ring.document(at=NOW) for each in (enclave, other))
    swapped = theirs[: theirs.index(b"certificate")] + mine[mine.index(b"certificate") :]
    changed = bytearray(mine)
    changed[mine.index(b"configuration") + 100] ^= 1
    for document in (bytes(changed), swapped):
        balancer.change_response = lambda request, response, document=document: HTTPResponse(
            200, document if request.target == KEYS_TARGET else response.body, response.headers
        )
        assert refused(enclave.channel(url)) in {"private.keys", "message.malformed"}
    assert enclave.model.asked == 0


@pytest.mark.spec("PQ-60")
def test_an_expired_key_configuration_is_refused(
    enclave: Enclave, balancer: Balancer, url: str
) -> None:
    """A genuine one that was kept: the asker's own clock decides."""
    kept = enclave.ring.document(at=NOW)
    balancer.change_response = lambda request, response: HTTPResponse(
        200, kept if request.target == KEYS_TARGET else response.body, response.headers
    )
    later = enclave.channel(url, clock=lambda: NOW + 3601)
    assert refused(later) == "private.keys"
    expired = enclave.channel(url, clock=lambda: NOW + 86400)
    assert refused(expired) == "identity.clock"
    assert enclave.model.asked == 0


@pytest.mark.spec("PQ-40", "PQ-41")
def test_a_replayed_query_is_answered_once(enclave: Enclave, balancer: Balancer, url: str) -> None:
    """Sent again at once, later, and with the clock put back: refused inside, and not computed."""
    now = [NOW]
    enclave = Enclave(DOMAIN, clock=lambda: now[0])
    balancer.service = enclave.gate
    channel = enclave.channel(url)
    assert channel.exchange(question()).status == 200
    (sent,) = [each for each in balancer.requests if each.target == QUERY_TARGET]
    for at in (NOW, NOW + 30, NOW + 61, NOW):
        now[0] = at
        again = enclave.gate.handle(sent)
        assert again.status == 200
        assert len(again.body) == len(balancer.responses[-1].body)
        assert enclave.model.asked == 1


@pytest.mark.spec("PQ-43", "PQ-5")
def test_a_query_is_not_replayed_to_a_restarted_server(
    enclave: Enclave, balancer: Balancer, url: str
) -> None:
    """The same certificate, a fresh start: a kept query does not even open."""
    enclave.channel(url).exchange(question())
    sent = balancer.requests[-1]
    restarted = Enclave(DOMAIN, credential=enclave.credential)
    restarted.ring.document(at=NOW)
    assert restarted.gate.handle(sent).status == 400
    assert restarted.model.asked == 0


@pytest.mark.spec("PQ-21")
def test_an_enclave_cannot_pass_a_query_on(enclave: Enclave) -> None:
    """A genuine second server that opened a query cannot seal it to the first in alice's name."""
    second = Enclave(DOMAIN, alice=enclave.key)
    carried = Balancer(second.gate)
    with served(carried) as way:
        assert second.channel(way).exchange(question()).status == 200
    opened, _, _ = second.ring.open(carried.requests[-1].body, at=NOW)

    class Replaying:
        """Signs by repeating what alice signed for the second server."""

        before_bytes = second.alice.before_bytes

        def sign(self, *_: Any, **__: Any) -> Any:
            return SignedRequest.from_bytes(opened.plaintext)

    with served(enclave.gate) as way:
        assert refused(enclave.channel(way, asker=Replaying())) == "private.asker"
    assert enclave.model.asked == 0


@pytest.mark.spec("PQ-14")
def test_cut_and_changed_queries_do_not_open(
    enclave: Enclave, balancer: Balancer, url: str
) -> None:
    """The client asks again with a fresh key once, then says so; the model sees nothing."""
    for change in (
        lambda body: body[:-1],
        lambda body: body[:200],
        lambda _: b"",
        lambda body: body[:-5] + bytes([body[-5] ^ 1]) + body[-4:],
        lambda body: bytes([body[0] ^ 1]) + body[1:],
    ):
        balancer.change_request = lambda request, change=change: (
            HTTPRequest("POST", request.target, request.headers, change(request.body))
            if request.target == QUERY_TARGET
            else request
        )
        assert refused(enclave.channel(url)) == "private.keys-unknown"
    assert enclave.model.asked == 0


@pytest.mark.spec("PQ-15", "PQ-63")
def test_cut_changed_and_exchanged_answers_are_refused(
    enclave: Enclave, balancer: Balancer, url: str
) -> None:
    """Truncated, tampered with, or the genuine answer to another query of the same asker."""
    enclave.channel(url).exchange(question())
    earlier = balancer.responses[-1].body
    for change in (
        lambda body: body[:-1],
        lambda body: body[:40],
        lambda _: b"",
        lambda body: bytes([body[0] ^ 1]) + body[1:],
        lambda body: body[:100] + bytes([body[100] ^ 1]) + body[101:],
        lambda _: earlier,
        lambda _: b"\1" + bytes(4095),
    ):
        balancer.change_response = lambda request, response, change=change: (
            HTTPResponse(response.status, change(response.body), response.headers)
            if request.target == QUERY_TARGET
            else response
        )
        with pytest.raises(TamperedError) as found:
            enclave.channel(url).exchange(question())
        assert found.value.code == "private.answer"


def test_reordered_answers_are_refused(enclave: Enclave, balancer: Balancer, url: str) -> None:
    """Two queries at a time whose answers are exchanged."""
    held: list[HTTPResponse] = []

    def late_by_one(request: HTTPRequest, response: HTTPResponse) -> HTTPResponse:
        if request.target != QUERY_TARGET:
            return response
        held.append(response)
        return held[-2] if len(held) > 1 else response

    balancer.change_response = late_by_one
    channel = enclave.channel(url)
    assert channel.exchange(question()).status == 200
    for _ in range(2):
        assert refused(channel) == "private.answer"


@pytest.mark.spec("PQ-23", "PQ-51")
def test_a_forged_asker_reaches_nothing(enclave: Enclave, url: str) -> None:
    """Another's key, an unknown name, a certificate of another role, authority or time."""
    forged = SigningKey.generate()
    for asker in (
        Principal("alice", forged),
        Principal("mallory", enclave.key),
        Member(DOMAIN.credential("train")),
        Member(FakeDomain("clinic.example", at=NOW).credential("client")),
        Member(DOMAIN.credential("client", at=NOW - 90000, lifetime_s=60)),
    ):
        assert refused(enclave.channel(url, asker=asker)) == "private.asker"
    assert enclave.model.asked == 0


@pytest.mark.spec("PQ-51")
def test_nothing_is_parsed_for_strangers(
    enclave: Enclave, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of inner requests is not called before the signature holds; then it is."""
    called: list[bytes] = []

    def counted(data: bytes) -> HTTPRequest:
        called.append(data)
        return HTTPRequest("GET", "/v2", {}, b"")

    monkeypatch.setattr("cloister.inference.private.gate.read_request", counted)
    assert refused(enclave.channel(url, asker=Principal("alice", SigningKey.generate())))
    assert called == []
    assert enclave.channel(url).exchange(question()).status == 200
    assert len(called) == 1


@pytest.mark.spec("PQ-62")
def test_a_balancer_that_denies_keys_gains_nothing(
    enclave: Enclave, balancer: Balancer, url: str
) -> None:
    """The query is sealed again to a verified key, once; then the asker is told."""
    problem = json.dumps({"type": UNKNOWN_KEY}).encode()
    balancer.change_response = lambda request, response: (
        HTTPResponse(400, problem) if request.target == QUERY_TARGET else response
    )
    with pytest.raises(UnavailableError) as found:
        enclave.channel(url).exchange(question())
    assert found.value.code == "private.keys-unknown"
    bodies = [each.body for each in balancer.requests if each.target == QUERY_TARGET]
    assert len(bodies) == 2
    assert bodies[0][7:1127] != bodies[1][7:1127]


@pytest.mark.spec("PQ-62")
@pytest.mark.parametrize("tried", [*itertools.product(("hide", "deny"), repeat=4)])
def test_a_balancer_has_no_query_computed_more_than_twice(
    enclave: Enclave, balancer: Balancer, url: str, tried: tuple[str, ...]
) -> None:
    """It passes every query on, and then ends the connection, or says that the key is unknown.

    The client has an idle connection from before, and each that it is told something on.
    """
    problem = json.dumps({"type": UNKNOWN_KEY}).encode()
    channel = enclave.channel(url)
    assert channel.exchange(HTTPRequest("GET", "/v2", {}, b"")).status == 200
    left = list(tried)

    def hostile(request: HTTPRequest, response: HTTPResponse) -> HTTPResponse:
        if request.target != QUERY_TARGET:
            return response
        if left.pop(0) == "deny":
            return HTTPResponse(400, problem)
        raise ConnectionAbortedError  # `served` closes without a word

    balancer.change_response = hostile
    with pytest.raises(UnavailableError):
        channel.exchange(question())
    assert enclave.model.asked == (1 if tried[0] == "hide" else 2)


@pytest.mark.spec("PQ-35", "PQ-52")
def test_answers_have_one_size_whatever_they_say(
    enclave: Enclave, balancer: Balancer, url: str
) -> None:
    """One row, four rows, a bad question, no such model, a stranger, too much: one size outside."""
    mallory = enclave.channel(url, asker=Principal("alice", SigningKey.generate()))
    channel = enclave.channel(url)
    nothing = HTTPRequest("POST", "/v2/models/none/infer", {}, b"{}")
    bad = HTTPRequest("POST", "/v2/models/double/infer", {}, b"{}")
    results = [
        channel.exchange(question(np.ones((1, 4)))).status,
        channel.exchange(question(np.ones((4, 4)))).status,
        channel.exchange(question(np.zeros((2000, 4)))).status,
        channel.exchange(bad).status,
        channel.exchange(nothing).status,
        channel.exchange(HTTPRequest("GET", "/v2", {}, b"")).status,
        mallory.exchange(question()).status,
    ]
    assert results == [200, 200, 413, 400, 404, 200, 401]
    sizes = {
        len(response.body)
        for request, response in zip(balancer.requests, balancer.responses, strict=True)
        if request.target == QUERY_TARGET
    }
    assert sizes == {32 + 4096 + 16}
    assert {each.status for each in balancer.responses} == {200}


@pytest.mark.spec("PQ-50")
def test_a_plain_query_is_not_answered(enclave: Enclave) -> None:
    """Only what is sealed and signed reaches the model."""
    for request in (
        question(),
        HTTPRequest("GET", "/v2/models/double", {}, b""),
        HTTPRequest("GET", "/v2", {}, b""),
    ):
        assert enclave.gate.handle(request).status == 404
    wrong = enclave.gate.handle(HTTPRequest("GET", QUERY_TARGET, {}, b""))
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert enclave.gate.handle(HTTPRequest("PUT", KEYS_TARGET, {}, b"")).status == 405
    assert enclave.gate.handle(HTTPRequest("GET", "/v2/health/ready", {}, b"")).status == 200
    assert enclave.model.asked == 0


def test_the_wire_has_no_byte_of_a_question(enclave: Enclave) -> None:
    """Through a tap between proxy and server; plain HTTP through the same tap shows the marker."""
    marker, answer = b"PATIENT-0042-HIV", (MARK * 2).tobytes()
    with served(enclave.gate) as url, tap(int(url.rpartition(":")[2])) as wire:
        channel = enclave.channel(f"http://127.0.0.1:{wire.port}")
        proxy = LocalService(channel.exchange, hosts=frozenset({"localhost:80"}))
        plain = HTTPRequest(
            "POST",
            question().target,
            {**question().headers, "host": "localhost:80"},
            question().body,
        )
        found = proxy.handle(plain)
        channel.close()
        assert found.body.endswith(answer)
        assert len(wire.seen) > 8192
        for secret in (marker, answer[:16], b"infer", b"alice", b"float"):
            assert secret not in wire.seen
    service = InferenceService({"double": enclave.model})
    with served(service) as url, tap(int(url.rpartition(":")[2])) as wire:
        control = Plain(f"http://127.0.0.1:{wire.port}")
        assert control.ask(question()).endswith(answer)
        assert marker in wire.seen
        assert answer[:16] in wire.seen


class Plain:
    """A client without any protection."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, request: HTTPRequest) -> bytes:
        asked = Request(  # noqa: S310  # the test's own server
            self.url + request.target, data=request.body, headers=dict(request.headers)
        )
        with urlopen(asked, timeout=10) as response:  # noqa: S310  # likewise
            return bytes(response.read())


def test_refusals_carry_their_code_inside_only(
    enclave: Enclave, balancer: Balancer, url: str
) -> None:
    """The carrier cannot tell a refusal, nor make one that is believed."""
    mallory = enclave.channel(url, asker=Principal("alice", SigningKey.generate()))
    assert mallory.exchange(question()).headers[CODE_FIELD] == "private.asker"
    assert CODE_FIELD not in balancer.responses[-1].headers
    balancer.change_response = lambda _, response: HTTPResponse(
        response.status, response.body, {**response.headers, CODE_FIELD: "budget.spent"}
    )
    assert CODE_FIELD not in enclave.channel(url).exchange(question()).headers
