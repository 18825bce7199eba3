"""A query enclave in a thread of the test: real TLS, and a model that is a function."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

from cloister.cleanroom.agreement import Room
from cloister.cleanroom.query_message import ALPN
from cloister.cleanroom.query_server import QueryServer
from cloister.cleanroom.query_service import QueryService
from cloister.cleanroom.room_policy import policy_of
from cloister.crypto.x509 import identity_of
from cloister.keyservice.policy import parse_policy, policy_hash
from cloister.network.tls import AnyClient, server_context
from cloister.testing.certificates import FakeDomain
from unit.cleanroom.asking import Purse, Rows, room_with

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)
ROOM = room_with(tick_ms=250)
ANY = AnyClient("each query is signed by a principal whom the terms name")


def policy_of_room(room: Room) -> bytes:
    """The hash that a genuine enclave's certificate has."""
    return policy_hash(parse_policy(policy_of(room.agreement).encode(), source="room"))


class Enclave:
    """A server in a thread of this process."""

    def __init__(self, room: Room, **changes: Any) -> None:
        self.room, self.purse, self.model = room, Purse(), Rows()
        self.service = changes.pop("service", None) or QueryService(room, self.model, self.purse)
        role = changes.pop("role", "query")
        policy = changes.pop("policy", policy_of_room(room))
        credential = DOMAIN.credential(role, namespace="rooms/digits", policy_hash=policy)
        context = server_context(
            credential, ca_pem=DOMAIN.ca_pem, clients=ANY, clock=lambda: NOW,
            alpn=changes.pop("alpn", ALPN),
        )  # fmt: skip
        identity = identity_of(credential.certificate_pem).uri
        self.server = QueryServer(self.service, identity=identity, context=context, **changes)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0)
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Enclave:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self.listener.close()
        assert not self._thread.is_alive()

    def _run(self) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._ready.set()
            await self.server.serve(self.listener, stop=self._stop)

        asyncio.run(main())


def write_trust(folder: Path, *, room: Room) -> Path:
    """Write the trust domain's public facts."""
    facts = {"name": DOMAIN.name, "ca": DOMAIN.ca_pem.decode(), "identity": room.terms.service}
    (folder / "domain.json").write_text(json.dumps(facts))
    return folder / "domain.json"
