"""What is read by one expression means what h11 says that it means."""

from collections.abc import Iterable

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloister.errors import LocalProtocolError
from cloister.inference.heads import (
    read_request_head,
    read_response_head,
    write_request_head,
    write_response_head,
)

MOST = 16384
REQUEST = b"POST /v2 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\nX-Y: z  z\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: 2\r\n\r\n"

UNUSUAL = [
    (b"POST", b"PUT"),
    (b"POST", b"HEAD"),
    (b"POST", b"post"),
    (b"/v2", b"*"),
    (b"/v2", b"http://a/v2"),
    (b"/v2", b"/v 2"),
    (b"/v2", b"/v\xc3\xbc"),
    (b"HTTP/1.1", b"HTTP/1.0"),
    (b"HTTP/1.1", b"HTTP/1.10"),
    (b"\r\n", b"\n"),
    (b"\r\n", b"\r\r\n"),
    (b"Host: a:1\r\n", b""),
    (b"Host", b"Host "),
    (b"Host: ", b"Host:"),
    (b"Host: ", b"Host:  "),
    (b"Host: a:1", b"Host: a:1 "),
    (b"Host: a:1", b"Host: a:1\r\nhost: a:1"),
    (b"Host: a:1", b"Host: a\x00b"),
    (b"Host: a:1", b"Host: \xff"),
    (b"Host: a:1", b"Host: a:1\r\n b"),
    (b"Content-Length: 5", b"Content-Length: 5\r\ncontent-length: 5"),
    (b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 6"),
    (b"Content-Length: 5", b"Content-Length: 5, 5"),
    (b"Content-Length: 5", b"Content-Length: +5"),
    (b"Content-Length: 5", b"Content-Length: 05"),
    (b"Content-Length: 5", b"Content-Length: 0x5"),
    (b"Content-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
    (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    (b"X-Y: z  z", b"Expect: 100-continue"),
    (b"X-Y: z  z", b"Connection: close"),
    (b"X-Y: z  z", b"Connection: keep-alive, upgrade"),
    (b"X-Y: z  z", b"Upgrade: h2c"),
    (b"X-Y: z  z", b"X Y: z"),
    (b"X-Y: z  z", b": z"),
    (b"X-Y: z  z", b"X-Y:"),
]

PIECES = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b": ", b"0", b"5", b"\r\n\r\n", b"\x00", b"\xff",
        b"GET", b"HEAD", b"HTTP/1.0", b"Host: b", b"Content-Length: 5", b"content-length: 6",
        b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive",
        b"Expect: 100-continue", b"Upgrade: x", b"204", b"304", b"100", b"abcd",
    ]
)  # fmt: skip
CHANGES = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 20), PIECES), max_size=4)


def changed(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, away, piece in changes:
        data = data[:at] + piece + data[at + away :]
    return data


def as_dict(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    pairs = [(name.decode(), value.decode("latin-1")) for name, value in headers]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def require_end(http: h11.Connection, body_bytes: int, behind: bytes) -> None:
    """The peer's message ends where we say, and the connection goes on."""
    http.receive_data(b"b" * body_bytes + behind)
    size = 0
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        size += len(event.data)
    assert size == body_bytes
    assert http.their_state is h11.DONE
    assert http.trailing_data == (behind, False)


def test_a_usual_request_is_read() -> None:
    """Names in lower case, the length, and where the body begins."""
    head = read_request_head(REQUEST + b"abcdeGET", most=MOST)
    assert head is not None
    assert (head.method, head.target, head.size, head.body_bytes) == (
        "POST", "/v2", len(REQUEST), 5,
    )  # fmt: skip
    assert head.headers == {"host": "a:1", "content-length": "5", "x-y": "z  z"}


@pytest.mark.parametrize(("old", "new"), UNUSUAL)
def test_what_is_unusual_is_left_to_h11(old: bytes, new: bytes) -> None:
    """Whatever changes the meaning, or might mean something else to somebody else."""
    assert old in REQUEST
    assert read_request_head(REQUEST.replace(old, new, 1), most=MOST) is None


def test_a_head_is_whole_and_not_too_long() -> None:
    """Half a head is none, nor is one byte more than there may be."""
    assert read_request_head(REQUEST, most=len(REQUEST)) is not None
    assert read_request_head(REQUEST, most=len(REQUEST) - 1) is None
    assert read_request_head(REQUEST[:-1], most=MOST) is None
    assert read_response_head(RESPONSE, most=len(RESPONSE) - 1) is None


@pytest.mark.spec("SRV-37")
@given(changes=CHANGES)
@example(changes=[])
def test_a_request_means_what_h11_says(changes: list[tuple[int, int, bytes]]) -> None:
    """Of any bytes that are usual: the same fields, and the same end."""
    data = changed(REQUEST, changes)
    head = read_request_head(data, most=MOST)
    if head is None or head.body_bytes > 1000:
        return
    http = h11.Connection(h11.SERVER)
    http.receive_data(data[: head.size])
    event = http.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method.decode(), event.target.decode()) == (head.method, head.target)
    assert (event.http_version, as_dict(event.headers)) == (b"1.1", head.headers)
    require_end(http, head.body_bytes, b"GET")


@pytest.mark.spec("SRV-37")
@given(changes=CHANGES, method=st.sampled_from(["GET", "POST"]))
@example(changes=[], method="GET")
def test_a_response_means_what_h11_says(changes: list[tuple[int, int, bytes]], method: str) -> None:
    """As for requests."""
    data = changed(RESPONSE, changes)
    head = read_response_head(data, most=MOST)
    if head is None or head.body_bytes > 1000:
        return
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    http.send(h11.EndOfMessage())
    http.receive_data(data[: head.size])
    event = http.next_event()
    assert isinstance(event, h11.Response)
    assert (event.status_code, as_dict(event.headers)) == (head.status, head.headers)
    require_end(http, head.body_bytes, b"HTTP")


@pytest.mark.parametrize(
    "change",
    [
        (b"content-length: 2\r\n", b""),
        (b"content-length: 2\r\n", b"content-length: 2\r\ncontent-length: 2\r\n"),
        (b"content-length: 2", b"transfer-encoding: chunked"),
        (b"200", b"204"),
        (b"200", b"304"),
        (b"200", b"100"),
        (b"200", b"999"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"content-type: a/b", b"connection: close"),
    ],
)
def test_an_unusual_response_is_left_to_h11(change: tuple[bytes, bytes]) -> None:
    """No length, two, or a status whose body is not where it seems to be."""
    assert change[0] in RESPONSE
    assert read_response_head(RESPONSE.replace(*change), most=MOST) is None


def test_what_is_written_is_read() -> None:
    """Both heads, by this module."""
    asked = write_request_head("GET", "/a?b", {"host": "h:1", "x": "y"}, body_bytes=0)
    head = read_request_head(asked, most=MOST)
    assert head is not None
    assert (head.target, head.headers["x"], head.body_bytes) == ("/a?b", "y", 0)
    told = write_response_head(503, {"retry-after": "1"}, body_bytes=7)
    response = read_response_head(told, most=MOST)
    assert response is not None
    assert (response.status, response.headers["retry-after"], response.body_bytes) == (503, "1", 7)
    last = write_response_head(400, {}, body_bytes=0, last=True)
    assert last.endswith(b"connection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/a b", {}),
        ("/a\r\nx: y", {}),
        ("a", {}),
        ("/", {"x": "y\r\nz: 1"}),
        ("/", {"x": "y\n"}),
        ("/", {"x": ""}),
        ("/", {"x y": "z"}),
        ("/", {"x": "ü"}),
    ],
)
def test_nothing_is_written_that_would_be_read_otherwise(
    target: str, headers: dict[str, str]
) -> None:
    """No field makes another one."""
    with pytest.raises(LocalProtocolError) as caught:
        write_request_head("GET", target, {"host": "a", **headers}, body_bytes=0)
    assert caught.value.code == "protocol.local"
    if headers:
        with pytest.raises(LocalProtocolError):
            write_response_head(200, headers, body_bytes=0)
