"""The witness's ASGI application without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import CloisterError, StorageFullError
from cloister.keyservice import witness_server
from cloister.keyservice.clock import Moment
from cloister.keyservice.notes import NoteLine
from cloister.keyservice.witness import (
    ADD_CHECKPOINT_PATH,
    MAX_REQUEST_BYTES,
    SIZE_MEDIA_TYPE,
    AddCheckpoint,
    Witness,
)
from cloister.keyservice.witness_server import Application, WitnessSettings, serve
from cloister.keyservice.witness_state import WitnessState
from cloister.testing.log import ORIGIN, MemoryLog

Message = MutableMapping[str, Any]
LOG = MemoryLog()
LOG.decide(5)
LOGS = {ORIGIN: LOG.key.public}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[WitnessState]:
    """A new witness's."""
    with WitnessState(tmp_path / "w", "w.example", LOGS) as state:
        yield state


def call(
    state: WitnessState,
    parts: list[bytes],
    *,
    method: str = "POST",
    path: str = ADD_CHECKPOINT_PATH,
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send one request in parts; returns status, headers and body."""
    sent: list[Message] = []
    waiting = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]

    async def receive() -> Message:
        if not waiting:
            await asyncio.sleep(3600)
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    application = Application(
        Witness(state.cosigner, LOGS), state, clock=lambda: Moment(1_800_000_000, 1.0)
    )
    scope = {"type": "http", "method": method, "path": path}
    asyncio.run(application(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def request(old: int, size: int) -> bytes:
    """A request from one size to another."""
    log = MemoryLog()
    log.leaves = LOG.leaves[:size]
    return AddCheckpoint(old, log.prove(old), log.note()).to_bytes()


@pytest.mark.spec("RL-42")
def test_a_cosignature_leaves_when_it_is_durable(state: WitnessState) -> None:
    """However the network cut the request; what was cosigned is held."""
    body = request(0, 3)
    status, _, answer = call(state, [body[:5], b"", body[5:]])
    assert status == 200
    assert NoteLine.from_text(answer.decode().removesuffix("\n")).name == "w.example"
    assert state.held[ORIGIN].size == 3
    status, headers, answer = call(state, [request(0, 5)])
    assert (status, answer) == (409, b"3\n")
    assert headers[b"content-type"] == SIZE_MEDIA_TYPE.encode()
    assert call(state, [request(3, 5)])[0] == 200


@pytest.mark.spec("RL-42")
def test_what_cannot_be_kept_is_not_cosigned(
    state: WitnessState, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is a refusal for now."""

    def full(*_: object) -> None:
        raise StorageFullError("full", code="storage.full")

    monkeypatch.setattr(WitnessState, "put", full)
    status, _, answer = call(state, [request(0, 3)])
    assert (status, answer) == (503, b"")
    assert "storage.full" in caplog.text


@pytest.mark.spec("RL-40")
def test_other_paths_methods_and_sizes_are_refused(
    state: WitnessState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its status."""
    assert call(state, [b""], path="/")[0] == 404
    assert call(state, [b""], method="GET")[0] == 405
    assert call(state, [b"x"])[0] == 400
    assert call(state, [b"x" * MAX_REQUEST_BYTES, b"x"])[0] == 413
    monkeypatch.setattr(witness_server, "BODY_TIMEOUT_S", 0.01)
    assert call(state, [])[0] == 408


@pytest.mark.parametrize("listen", ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536"])
def test_an_address_is_host_and_port(tmp_path: Path, listen: str) -> None:
    """Anything else is refused."""
    settings = WitnessSettings(tmp_path / "w", "w.example", listen, LOGS)
    with pytest.raises(CloisterError) as e:
        serve(settings, ready=lambda _: None)
    assert e.value.code == "config.value"
