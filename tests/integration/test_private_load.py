"""A private server under a mixture of good and bad requests, restarted in between."""

from __future__ import annotations

import collections
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import psutil
import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.inference.channel import HTTPChannel
from cloister.inference.message import write_request
from cloister.inference.model import LiteRTModel, read_model_file
from cloister.inference.private.channel import Pins, PrivateChannel, raise_refusal
from cloister.inference.private.request_auth import Principal
from cloister.inference.service import HTTPRequest, HTTPResponse
from cloister.network.outer import connect_outer
from cloister.testing.certificates import POLICY_HASH, FakeDomain
from cloister.testing.serving import ServerProcess, server_process, write_identity

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")

MODEL: Final = Path(__file__).parents[1] / "data" / "models" / "digits.tflite"
NOW: Final = int(time.time())  # noqa: TID251  # certificates are good around it
DOMAIN: Final = FakeDomain("clinic.example", at=NOW)
KEY: Final = SigningKey.generate()
CLIENTS, EACH = 32, 60
IMAGE: Final = np.random.default_rng(1).random((1, 8, 8, 1), dtype=np.float32)
BODY: Final = write_request({"image": IMAGE}, outputs=["output_0"])
GOOD: Final = HTTPRequest("POST", "/v2/models/digits/infer", BODY.headers, BODY.data)
RETRY: Final = frozenset({"server.busy", "server.unreachable", "private.keys-unknown"})


class Load:
    """Clients that ask all kinds of things at one time, and count what became of each."""

    def __init__(self, port: int) -> None:
        self.port = port
        local = LiteRTModel(read_model_file(MODEL), threads=1)
        self.right = local.predict({"image": IMAGE})["output_0"].tobytes()
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.sent: collections.deque[HTTPRequest] = collections.deque(maxlen=64)
        self.sealed = threading.local()  # what a client's thread is sending, if anything
        self._lock = threading.Lock()

    def run(self, clients: int, each: int) -> None:
        """Let so many threads ask so often."""
        threads = [
            threading.Thread(target=self._client, args=(number, each)) for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int, each: int) -> None:
        own = self._channel(Principal("alice", KEY))
        stranger = self._channel(Principal("alice", SigningKey.generate()))
        outer = HTTPChannel(
            ("127.0.0.1", self.port),
            opener=lambda: connect_outer(("127.0.0.1", self.port), tls=False, timeout_s=20),
            timeout_s=20,
            max_response_bytes=1 << 20,
        )
        kinds: dict[str, Callable[[], HTTPResponse]] = {
            "good": lambda: own.exchange(GOOD),
            "malformed": lambda: own.exchange(HTTPRequest("POST", GOOD.target, {}, b"{")),
            "oversize": lambda: outer.exchange(HTTPRequest("POST", "/private", {}, bytes(200_000))),
            "stranger": lambda: stranger.exchange(GOOD),
            "noise": lambda: outer.exchange(HTTPRequest("POST", "/private", {}, bytes(1500))),
            "plain": lambda: outer.exchange(GOOD),
            "replay": lambda: outer.exchange(self._again()),
        }
        order = np.random.default_rng(number).integers(len(kinds), size=each)
        for place in order:
            name = list(kinds)[place]
            self._count(name, kinds[name])
        for channel in (own, stranger, outer):
            channel.close()

    def _channel(self, asker: Principal) -> PrivateChannel:
        return PrivateChannel(
            f"http://127.0.0.1:{self.port}",
            pins=Pins(DOMAIN.ca_pem, DOMAIN.identity("serve"), POLICY_HASH),
            asker=asker,
            clock=lambda: int(time.time()),  # noqa: TID251  # the server is a process
            timeout_s=20,
        )

    def _again(self) -> HTTPRequest:
        try:
            return self.sent[0]
        except IndexError:
            return HTTPRequest("POST", "/private", {}, b"")

    def _count(self, name: str, ask: Callable[[], HTTPResponse]) -> None:
        try:
            response = ask()
            raise_refusal(response)
            outcome = str(response.status)
            if name in {"good", "stranger", "plain"} and response.status == 200:
                outcome = "right" if response.body.endswith(self.right) else "WRONG"
        except CloisterError as e:
            outcome = e.code
        # Only now: whoever sends it again before it was sent is the first to send it.
        if (data := vars(self.sealed).pop("data", None)) is not None:
            self.sent.append(HTTPRequest("POST", "/private", {}, data))
        with self._lock:
            self.counts[name, outcome] += 1


def resident(server: ServerProcess) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


@pytest.mark.jobs
def test_every_good_query_is_answered_rightly_or_told_to_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other is served; memory stays; a restart in between costs retries and nothing else."""
    identity = write_identity(
        tmp_path / "identity", DOMAIN.credential("serve"), ca_pem=DOMAIN.ca_pem
    )
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    arguments = ["--private", "--asker", f"alice={KEY.public.text}", "--any-client"]
    arguments += ["principals sign inside", "--outer-plain", "--max-request-bytes", "100000"]
    arguments += ["--rate", "1000000", "--port", str(port)]
    load = Load(port)
    original = PrivateChannel._sealed

    def kept(self: PrivateChannel, inner: bytes, keys: object) -> object:
        sealed = original(self, inner, keys)  # type: ignore[arg-type]  # a method without its class
        load.sealed.data = sealed.data
        return sealed

    monkeypatch.setattr(PrivateChannel, "_sealed", kept)
    with server_process(MODEL, identity, name="digits", arguments=arguments) as server:
        load.run(CLIENTS, EACH)
        warm = resident(server)
        load.run(CLIENTS, EACH)
        assert resident(server) < warm + 16 * 2**20
        running = threading.Thread(target=load.run, args=(CLIENTS, EACH))
        running.start()
        time.sleep(0.5)
    with server_process(MODEL, identity, name="digits", arguments=arguments):
        running.join()
        load.run(CLIENTS, EACH)
    found: dict[str, set[str]] = collections.defaultdict(set)
    for name, outcome in load.counts:
        found[name].add(outcome)
    assert sum(load.counts.values()) == 4 * CLIENTS * EACH
    assert found["good"] <= {"right", *RETRY}
    assert load.counts["good", "right"] > 100
    assert found["malformed"] <= {"400", *RETRY}
    assert found["stranger"] <= {"private.asker", *RETRY}
    assert found["oversize"] <= {"413", "503", *RETRY}
    assert found["noise"] <= {"400", "503", *RETRY}
    assert found["plain"] <= {"404", "503", *RETRY}
    assert found["replay"] <= {"200", "400", "503", *RETRY}  # 200: sealed, and a refusal inside
