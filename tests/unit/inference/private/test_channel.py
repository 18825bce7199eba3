"""The asker's side of the way; what balancers try is in tests/attack."""

import socket
from typing import Any

import pytest

from cloister.errors import CloisterError, ConfigError, RemoteProtocolError, UnavailableError
from cloister.inference.private.binary_http import write_request
from cloister.inference.private.channel import raise_refusal
from cloister.inference.private.gate import CODE_FIELD, KEYS_TARGET, QUERY_TARGET
from cloister.inference.private.request_auth import Binding, Member, Principal, SignedRequest
from cloister.inference.service import HTTPRequest, HTTPResponse
from cloister.testing.certificates import FakeDomain
from cloister.testing.private import NOW, Balancer, Enclave, served

DOMAIN = FakeDomain("clinic.example", at=NOW)
ASK = HTTPRequest("GET", "/v2", {}, b"")


@pytest.mark.spec("PQ-61")
def test_keys_are_asked_for_when_they_end() -> None:
    """Once, until 30 s before; then again."""
    now = [NOW]
    enclave = Enclave(DOMAIN, clock=lambda: now[0])
    balancer = Balancer(enclave.gate)
    with served(balancer) as url:
        channel = enclave.channel(url)
        for at, times in ((0, 1), (3569, 1), (3570, 2)):
            now[0] = NOW + at
            assert channel.exchange(ASK).status == 200
            shown = [each for each in balancer.requests if each.target == KEYS_TARGET]
            assert len(shown) == times


@pytest.mark.spec("PQ-62")
def test_a_server_that_started_again_is_asked_again() -> None:
    """With its new key, without the caller noticing."""
    enclave = Enclave(DOMAIN)
    balancer = Balancer(enclave.gate)
    with served(balancer) as url:
        channel = enclave.channel(url)
        assert channel.exchange(ASK).status == 200
        balancer.service = Enclave(DOMAIN, alice=enclave.key).gate
        assert channel.exchange(ASK).status == 200


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (503, UnavailableError, "server.busy"),
        (502, UnavailableError, "server.unreachable"),
        (413, ConfigError, "config.value"),
        (404, RemoteProtocolError, "protocol.remote"),
        (200, RemoteProtocolError, "protocol.remote"),
        (400, RemoteProtocolError, "protocol.remote"),
    ],
)
def test_what_a_carrier_says_is_an_error_of_ours(status: int, kind: Any, code: str) -> None:
    """By its class; whatever its body claims."""
    enclave = Enclave(DOMAIN)
    balancer = Balancer(enclave.gate)
    balancer.change_response = lambda request, response: (
        HTTPResponse(status, b"[") if request.target == QUERY_TARGET else response
    )
    with served(balancer) as url, pytest.raises(kind) as found:
        enclave.channel(url).exchange(ASK)
    assert found.value.code == code


@pytest.mark.spec("PQ-64")
def test_a_query_that_is_too_long_is_not_sent() -> None:
    """The server's limit is in its signed statement."""
    enclave = Enclave(DOMAIN)
    balancer = Balancer(enclave.gate)
    with served(balancer) as url, pytest.raises(ConfigError) as found:
        enclave.channel(url).exchange(HTTPRequest("POST", "/v2", {}, bytes(2**20)))
    assert found.value.code == "config.value"
    assert [each.target for each in balancer.requests] == [KEYS_TARGET]


@pytest.mark.spec("PQ-64")
def test_the_longest_query_is_sent() -> None:
    """As the channel says, and no byte more."""
    enclave = Enclave(DOMAIN)
    with served(enclave.gate) as url:
        for asker in (enclave.alice, LongWinded()):
            channel = enclave.channel(url, asker=asker)
            room = channel.request_bytes()
            frame = len(write_request(HTTPRequest("POST", "/v2", {}, bytes(room // 2)))) - room // 2
            longest = HTTPRequest("POST", "/v2", {}, bytes(room - frame))
            assert channel.exchange(longest).status in {404, 405, 401}
            with pytest.raises(ConfigError):
                channel.exchange(HTTPRequest("POST", "/v2", {}, bytes(room - frame + 1)))


@pytest.mark.spec("PQ-34")
def test_requests_have_few_sizes() -> None:
    """What is sealed has a multiple of 4 KiB, the same whoever asks."""
    enclave = Enclave(DOMAIN)
    balancer = Balancer(enclave.gate)
    askers = (
        enclave.alice,
        Principal("dr.m.smith@ward-7", enclave.key),
        Principal("z" * 128, enclave.key),
        Member(DOMAIN.credential("client")),
    )
    with served(balancer) as url:
        for asker in askers:
            channel = enclave.channel(url, asker=asker)
            for size in (0, 1, 2000, 2020, 2030, 4200, 6116, 6130):
                channel.exchange(HTTPRequest("POST", "/v2", {}, bytes(size)))
    sizes = [len(each.body) for each in balancer.requests if each.target == QUERY_TARGET]
    each_has = [1143 + 4096 * steps for steps in (1, 1, 1, 1, 2, 2, 2, 3)]
    assert sizes == each_has * len(askers)


@pytest.mark.spec("PQ-34")
def test_an_asker_who_takes_more_room_has_it() -> None:
    """In steps as well."""
    enclave = Enclave(DOMAIN)
    balancer = Balancer(enclave.gate)
    asker = LongWinded()
    with served(balancer) as url:
        assert enclave.channel(url, asker=asker).exchange(ASK).status == 401
    assert len(balancer.requests[-1].body) == 1143 + 4096


class LongWinded:
    """Somebody with a certificate that fills a step, almost."""

    before_bytes = 36 + 4000 + 10

    def sign(self, inner: bytes, binding: Binding, *, time: int, nonce: bytes) -> SignedRequest:
        """Sign with nothing."""
        del binding
        return SignedRequest(2, bytes(4000), time, nonce, bytes(10), inner)


def test_nobody_there() -> None:
    """An error that a retry may help."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(UnavailableError) as found:
        Enclave(DOMAIN).channel(f"http://127.0.0.1:{port}").exchange(ASK)
    assert found.value.code == "server.unreachable"


@pytest.mark.parametrize("url", ["ftp://a", "http://", "a", "http://a?b", "http://[", "http://a:x"])
def test_urls_that_cannot_be_meant(url: str) -> None:
    """Are the caller's error."""
    with pytest.raises(ConfigError) as found:
        Enclave(DOMAIN).channel(url)
    assert found.value.code == "config.value"


def test_a_path_before_ours_is_kept() -> None:
    """A balancer may route by it."""
    enclave = Enclave(DOMAIN)
    balancer = Balancer(enclave.gate)
    balancer.change_request = lambda request: HTTPRequest(
        request.method, request.target.removeprefix("/a/b"), request.headers, request.body
    )
    with served(balancer) as url:
        assert enclave.channel(url + "/a/b/").exchange(ASK).status == 200


def test_refusals_become_errors_by_their_code() -> None:
    """A code that nobody knows, and a body that says nothing, are errors too."""
    raise_refusal(HTTPResponse(200, b""))
    for body, code in ((b'{"error":"no"}', "private.asker"), (b"[", "budget.spent"), (b"", "x")):
        with pytest.raises(CloisterError):
            raise_refusal(HTTPResponse(401, body, {CODE_FIELD: code}))
