"""Mixed requests for a real server: good, malformed, too large, without a certificate, replayed.

The model adds a thousand times its version to half of each number, so that every answer says which
version made each of its rows. A good request is asked again until it is answered; everything else
must be refused, and is sent once.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cloister.network.tls import Credential, client_context
from cloister.testing.certificates import FakeDomain

__all__ = ["MODEL", "Load", "People"]

MODEL = "half"
_RETRY = (503, 504)
_PATIENCE_S = 90.0
_Trouble = (OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError, EOFError)
_MALFORMED: Sequence[tuple[str, str, bytes]] = (
    ("POST", f"/v2/models/{MODEL}/infer", b"nonsense"),
    ("POST", f"/v2/models/{MODEL}/infer", b'{"inputs": []}'),
    ("POST", f"/v2/models/{MODEL}/infer",
     b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [1]}]}'),
    ("POST", f"/v2/models/{MODEL}/infer",
     b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [9], "data": [1]}]}'),
    ("POST", f"/v1/models/{MODEL}:predict", b'{"instances": [[1], 2]}'),
    ("POST", f"/v1/models/{MODEL}:predict", b'{"instances": [{"b64": "aGk="}]}'),
    ("POST", f"/v1/models/{MODEL}:other", b"{}"),
    ("POST", "/v2/models/other/infer", b"{}"),
    ("GET", "/v2/models/..", b""),
    ("DELETE", f"/v2/models/{MODEL}", b""),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class People:
    """Who connects: the one client that the server knows, and others."""

    domain: FakeDomain
    stranger: FakeDomain
    now: int

    def context(self, credential: Credential | None) -> ssl.SSLContext:
        """Return the settings of a client with that certificate."""
        return client_context(
            ca_pem=self.domain.ca_pem,
            expected=self.domain.identity("serve"),
            credential=credential,
            clock=lambda: self.now,
        )


@dataclass(slots=True)
class Load:
    """Everything that is sent, and what became of it."""

    people: People
    port: int
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    versions: Counter[int] = field(default_factory=Counter)
    done: int = 0
    _known: ssl.SSLContext = field(init=False)
    _strange: list[ssl.SSLContext] = field(init=False)
    _recording: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._recording = []
        self._known = self.people.context(self.people.domain.credential("client"))
        self._strange = [
            self.people.context(None),
            self.people.context(self.people.stranger.credential("client")),
            self.people.context(self.people.domain.credential("other")),
        ]

    async def run(self, count: int, *, connections: int) -> None:
        """Send so many requests over so many connections at a time."""
        await self._record()
        left = iter(range(count))
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(
                    self._one_of_many(np.random.default_rng([self.seed, number]), left)
                )

    async def _one_of_many(self, rng: np.random.Generator, left: Any) -> None:
        connection = _Connection(self.port, self._known)
        for _ in left:
            kind = rng.choice(["good", "malformed", "large", "strange", "replayed"],
                              p=[0.65, 0.15, 0.05, 0.08, 0.07])  # fmt: skip
            if kind == "good":
                await self._good(rng, connection)
            elif kind == "malformed":
                await self._malformed(rng, connection)
            elif kind == "large":
                await self._large()
            elif kind == "strange":
                await self._stranger(rng)
            else:
                await self._replay()
            self.done += 1
        connection.close()

    async def _good(self, rng: np.random.Generator, connection: _Connection) -> None:
        x = rng.integers(0, 500, rng.integers(1, 5)).astype(np.float32) * 2
        request = (
            _as_rows(x) if rng.random() < 0.3 else _as_tensor(x, binary=bool(rng.random() < 0.5))
        )
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                try:
                    status, headers, body = await connection.ask(*request)
                except _Trouble:
                    self.outcomes["lost"] += 1
                    await asyncio.sleep(0.05)
                    continue
                if status in _RETRY and "retry-after" in headers:
                    self.outcomes["retry"] += 1
                    await asyncio.sleep(0.02)
                    continue
                break
        self._judge(x, status, headers, body)

    def _judge(self, x: Any, status: int, headers: dict[str, str], body: bytes) -> None:
        if status != 200:
            self.wrong.append(f"good request: {status} {body[:200]!r}")
            return
        cut = int(headers.get("inference-header-content-length", len(body)))
        record = json.loads(body[:cut])
        if "predictions" in record:
            y = np.array(record["predictions"], np.float32)
        elif cut < len(body):
            y = np.frombuffer(body[cut:], "<f4")
        else:
            y = np.array(record["outputs"][0]["data"], np.float32)
        found = (y - x / 2) / 1000 if y.shape == x.shape else np.array([0.5])
        version = int(found[0])
        said = int(record.get("model_version", version))
        if not (found == version).all() or version < 1 or said != version:
            self.wrong.append(f"asked {x.tolist()}, version {said} said {y.tolist()}")
        self.versions[version] += 1
        self.outcomes["good"] += 1

    async def _malformed(self, rng: np.random.Generator, connection: _Connection) -> None:
        method, target, body = _MALFORMED[rng.integers(len(_MALFORMED))]
        try:
            status, headers, _ = await connection.ask(method, target, {}, body)
        except _Trouble:
            self.outcomes["lost"] += 1
            return
        if status not in {400, 404, 405, 503} or (status == 503 and "retry-after" not in headers):
            self.wrong.append(f"malformed request to {target}: {status}")
        self.outcomes["malformed"] += 1

    async def _large(self) -> None:
        connection = _Connection(self.port, self._known)
        try:
            declared = {"content-length": "40000000"}
            status, _, _ = await connection.ask("POST", f"/v2/models/{MODEL}/infer", declared, b"x")
            if status not in {413, 503}:
                self.wrong.append(f"large request: {status}")
            self.outcomes["large"] += 1
        except _Trouble:
            self.outcomes["lost"] += 1
        finally:
            connection.close()

    async def _stranger(self, rng: np.random.Generator) -> None:
        connection = _Connection(self.port, self._strange[rng.integers(len(self._strange))])
        try:
            status, _, _ = await connection.ask(*_as_rows(np.float32([2])))
            if status != 503:  # told before anybody asks who it is: too many connections
                self.wrong.append(f"a stranger was served: {status}")
        except _Trouble:
            self.outcomes["strange"] += 1
        finally:
            connection.close()

    async def _record(self) -> None:
        """Keep the bytes that a genuine client sends on one connection."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = self._known.wrap_bio(incoming, outgoing)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def pump(step: Any) -> Any:
            while True:
                try:
                    result, wants = step(), False
                except ssl.SSLWantReadError:
                    result, wants = None, True
                if sent := outgoing.read():
                    self._recording.append(sent)
                    writer.write(sent)
                    await writer.drain()
                if not wants:
                    return result
                incoming.write(await reader.read(65536))

        await pump(session.do_handshake)
        method, target, _, body = _as_rows(np.float32([2]))
        head = f"{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        await pump(lambda: session.write(head.encode() + body))
        answer = await pump(lambda: session.read(65536))
        if b"200" not in answer[:20]:
            raise RuntimeError(f"the session to record was not served: {answer[:100]!r}")
        writer.close()

    async def _replay(self) -> None:
        """Send those bytes again; no record of the application may come back."""
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except _Trouble:
            self.outcomes["lost"] += 1
            return
        found = b""
        try:
            async with asyncio.timeout(10):
                for piece in self._recording:
                    writer.write(piece)
                    await writer.drain()
                found = await reader.read(-1)
        except _Trouble:
            pass
        finally:
            writer.transport.abort()
        # Its flight of the handshake, and an alert: it never had the keys to say more.
        if len(found) > 16_384:
            self.wrong.append(f"a replayed session was answered with {len(found)} bytes")
        self.outcomes["replayed"] += 1


class _Connection:
    """One connection of HTTP/1.1 over TLS, opened when it is needed."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        try:
            async with asyncio.timeout(30):
                return await self._ask(method, target, headers, body)
        except BaseException:
            self.close()
            raise

    async def _ask(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self._port, ssl=self._context, server_hostname=""
            )
        reader, writer = self._streams
        said = {"host": "x", "content-length": str(len(body)), **headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in said.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        found = {
            k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)
        }
        answer = await reader.readexactly(int(found.get("content-length", 0)))
        if found.get("connection") == "close" or status in {503, 504}:
            self.close()
        return status, found, answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def _as_rows(x: Any) -> tuple[str, str, dict[str, str], bytes]:
    body = json.dumps({"instances": x.tolist()}).encode()
    return "POST", f"/v1/models/{MODEL}:predict", {}, body


def _as_tensor(x: Any, *, binary: bool) -> tuple[str, str, dict[str, str], bytes]:
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [len(x)]}
    record = {"inputs": [tensor], "parameters": {"binary_data_output": binary}}
    target = f"/v2/models/{MODEL}/infer"
    if not binary:
        tensor["data"] = x.tolist()
        return "POST", target, {}, json.dumps(record).encode()
    tensor["parameters"] = {"binary_data_size": x.nbytes}
    head = json.dumps(record).encode()
    headers = {"inference-header-content-length": str(len(head))}
    return "POST", target, headers, head + x.tobytes()
