"""Limits of the server, in this process, over loopback."""

import asyncio
import concurrent.futures
import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest

from cloister.errors import UnavailableError
from cloister.inference import Client
from cloister.inference.answers import failure
from cloister.inference.body_room import BodyRoom
from cloister.inference.http import CLIENT_THREAD, HTTPServer, Limits, _Connection
from cloister.inference.service import InferenceService
from cloister.inference.tensor import Array, TensorSpec
from cloister.network.timed import TimedSocket
from cloister.network.tls import AnyClient, Connection, client_context, connect, server_context
from cloister.testing.certificates import FakeDomain

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)


class Waiting:
    """A model that answers when it is told to."""

    platform = "test"
    inputs = (TensorSpec("x", "FP32", (-1,)),)
    outputs = (TensorSpec("y", "FP32", (-1,)),)

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.begun.release()
        assert self.go_on.wait(20)
        return {"y": inputs["x"]}


class Running:
    """A server in a thread of its own; one that speaks plainly is for what is no matter of TLS."""

    def __init__(self, model: Waiting, limits: Limits, *, plain: bool = False) -> None:
        self._model = model
        self._plain = plain
        self._limits = limits
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.port = 0

    async def _run(self) -> None:
        context = server_context(
            DOMAIN.credential("serve"),
            ca_pem=DOMAIN.ca_pem,
            clients=AnyClient("a test of limits"),
            clock=lambda: NOW,
        )
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0)
        self.port = listener.getsockname()[1]
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        service = InferenceService({"wait": self._model})
        self.server = HTTPServer(
            service, context=None if self._plain else context, limits=self._limits
        )
        self._ready.set()
        await self.server.serve(listener, stop=self._stop)

    def __enter__(self) -> "Running":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def stop(self) -> None:
        """Tell the server, and let it take notice."""

        async def tell() -> None:
            self._stop.set()
            for _ in range(20):
                await asyncio.sleep(0)

        with contextlib.suppress(concurrent.futures.CancelledError):  # it may have ended by then
            asyncio.run_coroutine_threadsafe(tell(), self._loop).result(10)

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join(20)
        assert not self._thread.is_alive()

    def __exit__(self, *_: object) -> None:
        self._model.go_on.set()
        if not self._stop.is_set():
            self.stop()
        self.join()

    def client(self) -> Client:
        return Client(
            f"https://127.0.0.1:{self.port}",
            trust=DOMAIN.ca_pem,
            identity=DOMAIN.identity("serve").uri,
            timeout_s=20,
        )

    def connection(self) -> Connection:
        """Somebody who says what they like over TLS."""
        context = client_context(
            ca_pem=DOMAIN.ca_pem,
            expected=DOMAIN.identity("serve"),
            credential=None,
            clock=lambda: NOW,
        )
        return connect(("127.0.0.1", self.port), context=context, timeout_s=20)

    def statuses(self, *parts: bytes, over: bool = True) -> list[int]:
        """Send bytes plainly, each part by itself, and return which statuses came before the end.

        Args:
            parts: What is sent.
            over: Whether the server is told that this was all.
        """
        heard = b""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection,
            contextlib.suppress(ConnectionError),
        ):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in parts:
                connection.sendall(part)
            if over:
                connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                heard += data
        return [int(found) for found in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", heard)]


def ask_in_thread(running: Running, found: list[object]) -> threading.Thread:
    def ask() -> None:
        with running.client() as client:
            try:
                found.append(client.predict(np.ones(2, np.float32)).tolist())
            except UnavailableError as e:
                found.append(e.code)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.spec("SRV-33")
def test_computations_that_wait_are_few() -> None:
    """One runs, one waits, the third is told to come back; pages that are quick still come."""
    model, found = Waiting(), []
    with Running(model, Limits(waiting=2)) as running:
        threads = [ask_in_thread(running, found)]
        assert model.begun.acquire(timeout=10)
        with running.client() as client:
            client.describe()
            threads.append(ask_in_thread(running, found))
            deadline = time.monotonic() + 10
            code = ""
            while not code and time.monotonic() < deadline:
                others: list[object] = []
                thread = ask_in_thread(running, others)
                thread.join(0.5)
                code = str(others[0]) if others else ""
                threads.append(thread)
            assert code == "server.busy"
            assert client.describe().name == "wait"
        model.go_on.set()
        for thread in threads:
            thread.join(10)
    assert [1.0, 1.0] in found


def test_a_stopping_server_finishes_what_it_began() -> None:
    """The query in progress is answered; the idle connection is closed at once."""
    model, found = Waiting(), []
    with Running(model, Limits(grace_s=10)) as running:
        idle = running.client()
        idle.describe()
        thread = ask_in_thread(running, found)
        assert model.begun.acquire(timeout=10)
        running.stop()
        with pytest.raises(UnavailableError):
            idle.predict(np.ones(1, np.float32))
        model.go_on.set()
        thread.join(10)
    assert found == [[1.0, 1.0]]


@pytest.mark.spec("SRV-38")
def test_a_stopping_server_leaves_what_takes_too_long() -> None:
    """Nothing waits for the computation any more, and the process need not."""
    model, found = Waiting(), []
    with Running(model, Limits(grace_s=0.05)) as running:
        thread = ask_in_thread(running, found)
        assert model.begun.acquire(timeout=10)
        running.stop()
        running.join()
        left = [each for each in threading.enumerate() if each.name == CLIENT_THREAD]
        assert left
        assert all(each.daemon for each in left)
        thread.join(10)
    assert found == ["server.unreachable"]


def test_an_idle_connection_is_closed_and_opened_again() -> None:
    """Neither side notices."""
    model = Waiting()
    model.go_on.set()
    with Running(model, Limits(idle_s=0.05)) as running, running.client() as client:
        assert client.predict(np.ones(1, np.float32)).tolist() == [1.0]
        client.describe()
        threading.Event().wait(0.3)
        assert client.predict(np.ones(1, np.float32)).tolist() == [1.0]


LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
QUERY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1.0]}]}'  # 68 bytes
ASK = b"POST /v2/models/wait/infer HTTP/1.1\r\nHost: a\r\n"
SIZED = ASK + b"Content-Length: 68\r\n\r\n" + QUERY
CODED = ASK + b"Transfer-Encoding: chunked\r\n\r\n44\r\n" + QUERY + b"\r\n0\r\n\r\n"
MARK = b"\r\nInference-Header-Content-Length: %d"

SAID = [
    ("one", LIVE, [200]),
    ("one behind the other", LIVE + SIZED + LIVE, [200, 200, 200]),
    ("behind chunks", CODED + LIVE + CODED + SIZED, [200, 200, 200, 200]),
    ("the same length twice", SIZED.replace(b"Host: a", b"Host: a\r\nContent-Length: 68"), [200]),
    ("trailers", CODED[:-2] + b"x: y\r\n\r\n" + LIVE, [200, 200]),
    ("waiting for a word", SIZED.replace(b"Host: a", b"Host: a\r\nExpect: 100-continue"), [200]),
    ("the last", LIVE.replace(b"Host: a", b"Host: a\r\nConnection: close") + LIVE, [200]),
    ("staying", LIVE.replace(b"Host: a", b"Host: a\r\nConnection: keep-alive") + LIVE, [200, 200]),
    ("the old protocol", LIVE.replace(b"/1.1", b"/1.0") + LIVE, [200]),
    ("HEAD", LIVE.replace(b"GET", b"HEAD") + LIVE, [405, 200]),
    ("a URL", LIVE.replace(b"/v2", b"HTTP://b:1/v2") + LIVE, [200, 200]),
    ("a URL to ask", SIZED.replace(b"/v2", b"http://a/v2", 1) + LIVE, [200, 200]),
    ("a URL without a path", LIVE.replace(b"/v2/health/live", b"http://a?b") + LIVE, [404, 200]),
    ("a URL with a name", LIVE.replace(b"/v2", b"http://x@a/v2") + LIVE, [404, 200]),
    ("another scheme", LIVE.replace(b"/v2", b"ftp://a/v2") + LIVE, [404, 200]),
    ("a mark twice", SIZED.replace(b"Host: a", b"Host: a" + MARK % 68 + MARK % 68), [200]),
    ("two marks", SIZED.replace(b"Host: a", b"Host: a" + MARK % 68 + MARK % 5) + LIVE, [400]),
    ("two lengths", SIZED.replace(b"Host: a", b"Host: a\r\nContent-Length: 67"), [400]),
    ("two lengths in one", SIZED.replace(b": 68", b": 68, 67"), [400]),
    ("a length with a sign", SIZED.replace(b": 68", b": +68"), [400]),
    ("less than nothing", SIZED.replace(b": 68", b": -1"), [400]),
    ("length and chunks", CODED.replace(b"Host: a", b"Host: a\r\nContent-Length: 4") + LIVE, [400]),
    ("chunks and length", SIZED.replace(b": 68", b": 68\r\nTransfer-Encoding: chunked"), [400]),
    ("another coding", CODED.replace(b"chunked", b"gzip, chunked") + LIVE, [501]),
    ("nearly a coding", CODED.replace(b"chunked", b"xchunked") + LIVE, [501]),
    ("twice a coding", CODED.replace(b"chunked", b"chunked, chunked") + LIVE, [501]),
    ("no size of a chunk", CODED.replace(b"\r\n44\r\n", b"\r\nzz\r\n") + LIVE, [400]),
    ("a negative chunk", CODED.replace(b"\r\n44\r\n", b"\r\n-4\r\n") + LIVE, [400]),
    ("a chunk that goes on", CODED.replace(b"\r\n44\r\n", b"\r\n43\r\n") + LIVE, [400]),
    ("a folded field", LIVE.replace(b"Host: a", b"Host: a\r\nx: y\r\n z") + LIVE, [400]),
    ("a folded length", SIZED.replace(b": 68", b":\r\n 68") + LIVE, [400]),
    ("an end in LF", LIVE.replace(b"\r\n", b"\n") + LIVE, [400]),
    ("a field's end in LF", LIVE.replace(b": a\r\n", b": a\nx: y\r\n") + LIVE, [400]),
    ("a CR alone", LIVE.replace(b": a", b": a\rx: y") + LIVE, [400]),
    ("no host", LIVE.replace(b"Host: a\r\n", b"") + LIVE, [400]),
    ("two hosts", LIVE.replace(b"Host: a", b"Host: a\r\nHost: b") + LIVE, [400]),
    ("a space before the colon", SIZED.replace(b"Length:", b"Length :") + LIVE, [400]),
    ("no name", LIVE.replace(b"Host: a", b"Host: a\r\n: y") + LIVE, [400]),
    ("NUL", LIVE.replace(b"Host: a", b"Host: a\0") + LIVE, [400]),
    ("another protocol", LIVE.replace(b"/1.1", b"/2.0") + LIVE, [505]),
    ("half a body", SIZED[:-1], [400]),
    ("half a chunk", CODED[:-1], [400]),
    ("half a head", LIVE[:-1], [400]),
    ("nonsense", b"\x16\x03\x01\x02\x00" + LIVE, [400]),
    ("a long head", LIVE.replace(b": a", b": " + b"a" * 20_000) + LIVE, [431]),
    ("a long body", SIZED.replace(b": 68", b": 1000001") + LIVE, [413]),
    ("long chunks", CODED.replace(b"\r\n44\r\n", b"\r\nF4241\r\n") + bytes(1_000_001), [413]),
]  # fmt: skip


@pytest.mark.spec("SRV-32", "SRV-37")
@pytest.mark.parametrize(("said", "heard"), [each[1:] for each in SAID], ids=[s[0] for s in SAID])
def test_a_request_has_one_meaning_or_is_the_last(said: bytes, heard: list[int]) -> None:
    """What could mean two things is refused, and nothing behind it is answered; in any pieces."""
    model = Waiting()
    model.go_on.set()
    with Running(model, Limits(body_bytes=1_000_000), plain=True) as running:
        assert running.statuses(said) == heard
        size = max(150, len(said) // 100)
        pieces = [said[at : at + size] for at in range(0, len(said), size)]
        assert running.statuses(*pieces) == heard


def test_one_byte_after_the_other_is_a_request() -> None:
    """As long as it takes no longer than a request may."""
    model = Waiting()
    model.go_on.set()
    with Running(model, Limits(), plain=True) as running:
        assert running.statuses(*(bytes([each]) for each in SIZED)) == [200]


@pytest.mark.spec("SRV-32")
@pytest.mark.parametrize("said", [SIZED[:-1], CODED[:-1], LIVE[:-1], LIVE[:3]])
def test_who_does_not_come_to_an_end_is_told(said: bytes) -> None:
    """A request takes its time from its first byte."""
    model = Waiting()
    with Running(model, Limits(request_s=0.2), plain=True) as running:
        assert running.statuses(said, over=False) == [408]


@pytest.mark.spec("SRV-33")
def test_connections_are_few() -> None:
    """One too many is told so while others are answered, and may come afterwards."""
    model, found = Waiting(), []
    with Running(model, Limits(connections=1)) as running:
        thread = ask_in_thread(running, found)
        assert model.begun.acquire(timeout=10)
        with running.connection() as second:
            second.sendall(LIVE)
            heard = b""
            while data := second.recv(65536):
                heard += data
        assert heard.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in heard
        assert heard.count(b"HTTP/1.1") == 1
        model.go_on.set()
        thread.join(10)
        with running.client() as third:
            assert third.describe().name == "wait"
    assert found == [[1.0, 1.0]]


@pytest.mark.spec("SRV-33")
def test_who_is_idle_for_longest_makes_room() -> None:
    """So that nobody keeps others out by connections that say nothing; who is answered, stays."""
    model = Waiting()
    with (
        Running(model, Limits(connections=4), plain=True) as running,
        contextlib.ExitStack() as held,
    ):
        asking = held.enter_context(socket.create_connection(("127.0.0.1", running.port), 20))
        asking.sendall(SIZED)
        assert model.begun.acquire(timeout=10)
        silent = [
            held.enter_context(socket.create_connection(("127.0.0.1", running.port), 20))
            for _ in range(20)
        ]
        deadline = time.monotonic() + 20
        while (found := running.statuses(LIVE)) == [503]:  # until those who are cut have noticed
            assert time.monotonic() < deadline
        assert found == [200]
        while len(select.select(silent, [], [], 1)[0]) < 17:  # three beside who asks, at most
            assert time.monotonic() < deadline
            time.sleep(0.01)
        model.go_on.set()
        assert asking.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("said", [LIVE[:3], SIZED[:-1], CODED[:-1]])
@pytest.mark.spec("SRV-33")
def test_who_stalls_within_a_request_is_quiet_after_a_while(said: bytes) -> None:
    """Who goes on sending is not, nor who waits for an answer."""
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        connection = _Connection(TimedSocket(ours), Limits(), BodyRoom(0))
        assert connection.is_quiet(time.monotonic())
        theirs.sendall(said)
        receiving = threading.Thread(target=lambda: connection.receive(lambda: False))
        receiving.start()
        deadline = time.monotonic() + 10
        while connection.idle:
            assert time.monotonic() < deadline
        moved = connection.wire.moved
        assert not connection.is_quiet(moved + 1)
        assert connection.is_quiet(moved + 3)
        theirs.sendall(LIVE[3:] if said == LIVE[:3] else (SIZED + CODED)[-1:])
        receiving.join(10)
        assert not connection.is_quiet(time.monotonic() + 60)
        connection.send(failure(404, "none"))
        assert not connection.is_quiet(time.monotonic())


LONG = 4 * 2**20
LONG_SIZED = ASK + b"Content-Length: %d\r\n\r\n" % LONG + bytes(LONG - 1)
LONG_CODED = ASK + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%s\r\n" % bytes(65536) * 63


@pytest.mark.spec("SRV-32")
@pytest.mark.parametrize("said", [LONG_SIZED, LONG_CODED])
def test_unfinished_bodies_take_so_much_and_no_more(said: bytes) -> None:
    """Long ones are told to come back until there is room; short ones are answered."""
    model = Waiting()
    model.go_on.set()
    limits = Limits(body_bytes=LONG, unfinished_bytes=LONG, request_s=60)
    with Running(model, limits, plain=True) as running:
        with socket.create_connection(("127.0.0.1", running.port), 20) as first:
            first.sendall(said)
            deadline = time.monotonic() + 60
            while running.server._room._left > 2**20:  # two at once would be told so both
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert running.statuses(LONG_SIZED, over=False) == [503]
            assert running.statuses(LONG_CODED, over=False) == [503]
            assert running.statuses(SIZED) == [200]
        deadline = time.monotonic() + 60
        while (found := running.statuses(LONG_SIZED + b" ")) == [503]:
            assert time.monotonic() < deadline
        assert found == [400]


def test_strangers_do_not_keep_others_out() -> None:
    """Who never finishes a handshake is no connection, and has no thread."""
    model = Waiting()
    model.go_on.set()
    with Running(model, Limits(connections=1)) as running, contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(socket.create_connection(("127.0.0.1", running.port)))
        with running.client() as client:
            assert client.predict(np.ones(1, np.float32)).tolist() == [1.0]
        assert sum(thread.name == "client" for thread in threading.enumerate()) <= 1


def test_of_too_many_strangers_the_oldest_ends() -> None:
    """A flood of silent ones costs no more descriptors, and who shakes hands still comes in."""
    model = Waiting()
    model.go_on.set()
    with Running(model, Limits(arriving=4)) as running, contextlib.ExitStack() as held:
        silent = [
            held.enter_context(socket.create_connection(("127.0.0.1", running.port), 20))
            for _ in range(30)
        ]
        for each in silent[:26]:
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b""
        for each in silent[26:]:
            each.settimeout(0)
            with pytest.raises(BlockingIOError):
                each.recv(1)
        with running.client() as client:
            assert client.predict(np.ones(1, np.float32)).tolist() == [1.0]


@pytest.mark.parametrize(("size", "status"), [(4096, b"404"), (1, b"413")])
def test_a_body_comes_in_pieces_of_some_size(size: int, status: bytes) -> None:
    """What pieces cost beside what they carry is bounded; usual ones cost next to nothing."""
    pieces = b"%x\r\n%s\r\n" % (size, bytes(size)) * (400_000 // (size + 5))
    said = b"POST /v2/none HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with (
        Running(Waiting(), Limits(), plain=True) as running,
        socket.create_connection(("127.0.0.1", running.port), 20) as sender,
    ):
        with contextlib.suppress(ConnectionError):
            sender.sendall(said + pieces + b"0\r\n\r\n")
        assert sender.recv(65536).startswith(b"HTTP/1.1 " + status)


def test_a_client_that_takes_no_answer_is_left() -> None:
    """After a while; others are answered in the meantime."""
    model = Waiting()
    model.go_on.set()
    count = 12_000_000  # more than kernels keep
    question = (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[%d],'
        b'"parameters":{"binary_data_size":%d}}],"parameters":{"binary_data_output":true}}'
    ) % (count, 4 * count)
    said = ASK + b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n%s" % (
        len(question),
        len(question) + 4 * count,
        question,
    )
    with Running(model, Limits(response_s=0.2, body_bytes=64 << 20)) as running:
        with running.connection() as slow:
            slow.sendall(said + bytes(4 * count))
            with running.client() as client:
                assert client.predict(np.ones(1, np.float32)).tolist() == [1.0]
            threading.Event().wait(1)
            size = 0
            with contextlib.suppress(OSError):
                while data := slow.recv(65536):
                    size += len(data)
        assert size < count * 4


@pytest.mark.spec("SRV-39")
def test_a_url_says_which_host_is_meant() -> None:
    """Whatever the field says: who looks at it is not told another."""
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        theirs.sendall(b"GET http://b:1/v2?c HTTP/1.1\r\nHost: a\r\n\r\n")
        found = _Connection(TimedSocket(ours), Limits(), BodyRoom(0)).receive(lambda: False)
    assert found is not None
    assert (found.target, found.headers["host"]) == ("/v2?c", "b:1")
