"""`python -m cloister.cleanroom.query TERMS`: a room's model behind its terms, as a workload.

The listening socket and the desk are passed by the launcher, the identity lies in
`/run/cloister/identity`, model and recipe on volumes. It says nothing: who asked, what, and what
was answered stays inside. This module is the edge of a process.

Spec: cleanroom-query-v1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.cleanroom.agreement import Room, load_room, read_bounded
from cloister.cleanroom.cells import warm_parent
from cloister.cleanroom.model_file import load_model
from cloister.cleanroom.query_cells import FreshCells
from cloister.cleanroom.query_message import ALPN
from cloister.cleanroom.query_model import RoomModel, asks_recipe, cells_of
from cloister.cleanroom.query_server import QueryServer
from cloister.cleanroom.query_service import QueryService
from cloister.cleanroom.recipe import read_recipe, require_recipe
from cloister.cleanroom.room_key import RoomKey
from cloister.cleanroom.room_policy import KEY_FILE, MODEL, RECIPE
from cloister.cleanroom.round_rules import RoundRules
from cloister.crypto.x509 import identity_of
from cloister.errors import CloisterError, ConfigError
from cloister.inference.listening import clients_of, open_listener, passed_listener
from cloister.inference.server import keep_fresh
from cloister.launcher.passed_desk import Desk, Spend
from cloister.network.tls import AnyClient, Credential, TLSContext, server_context

__all__ = ["QueryPlaces", "main", "serve_queries"]

_MAX_FILE_BYTES: Final = 1_048_576
# Of a cell, which is cleared and taken whole for each query; a framework needs more.
_MOST_BYTES: Final = {"trainer": 256 << 20, "recipe": 1 << 30}


@dataclass(frozen=True, slots=True)
class QueryPlaces:
    """Where a query enclave finds things.

    Attributes:
        key: The file with the room's key.
        model: The folder with the model.
        recipe: The folder with the recipe.
        identity: The folder with certificate, key and authority.
    """

    key: Path = Path(KEY_FILE)
    model: Path = Path(MODEL)
    recipe: Path = Path(RECIPE)
    identity: Path = Path("/run/cloister/identity")


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(prog="cloister.cleanroom.query")
    parser.add_argument("terms", type=Path)
    parser.add_argument(
        "--listeners", type=Path, default=Path("/run/cloister/listeners.json"),
        help="the launcher's file with the rule of each passed socket",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        room = load_room(options.terms)
        passed = passed_listener(os.environ, process=os.getpid())
        rule = clients_of(read_bounded(options.listeners, _MAX_FILE_BYTES), name=passed.name)
        with (
            Desk.passed(os.environ, process=os.getpid()) as desk,
            open_listener(passed) as listener,
        ):
            if not isinstance(rule, AnyClient):
                raise ConfigError("not the listener of a room's policy", code="config.value")
            serve_queries(room, QueryPlaces(), listener, desk.spend, clients=rule)
    except CloisterError as e:
        sys.stderr.write(f"cloister.cleanroom.query: {e}\n")
        return e.exit_status
    return 0


def serve_queries(
    room: Room,
    places: QueryPlaces,
    listener: socket.socket,
    spend: Spend,
    *,
    clients: AnyClient,
) -> None:
    """Answer a room's principals until the process is told to stop.

    Args:
        room: Its signed terms.
        places: Where things are.
        listener: What to listen on; stays the caller's.
        spend: Where queries are counted.
        clients: Why TLS asks for no certificate: principals sign each query.

    Raises:
        CloisterError: Something is not there, or not what the terms name.
    """
    terms = room.terms
    key = RoomKey.load(places.key, room=room.digest)
    trained = load_model(places.model, RoundRules.of(room), key)
    files = read_recipe(places.recipe)
    require_recipe(files, terms.recipe.digest)
    shown = Credential(
        read_bounded(places.identity / "cert.pem", _MAX_FILE_BYTES),
        read_bounded(places.identity / "key.pem", _MAX_FILE_BYTES),
    )
    authority = read_bounded(places.identity / "ca.pem", _MAX_FILE_BYTES)
    context = server_context(shown, ca_pem=authority, clients=clients, clock=_now, alpn=ALPN)
    identity = identity_of(shown.certificate_pem)
    with contextlib.ExitStack() as stack:
        cells = None
        if asks_recipe(terms):
            most = _MOST_BYTES[terms.training.by]
            warm = warm_parent(terms, terms.training.frameworks[0], most_bytes=most)
            stack.enter_context(warm).start()
            cells = stack.enter_context(FreshCells(cells_of(warm, files)))
        service = QueryService(room, RoomModel(terms, trained, cells), spend)
        server = QueryServer(service, identity=identity.uri, context=context)
        listener.settimeout(0)
        asyncio.run(_run(server, listener, places.identity, shown, context))


async def _run(
    server: QueryServer,
    listener: socket.socket,
    identity: Path,
    shown: Credential,
    context: TLSContext,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    refreshing = asyncio.create_task(keep_fresh(context, identity, shown=shown))
    try:
        await server.serve(listener, stop=stop)
    finally:
        refreshing.cancel()


def _now() -> int:
    return int(time.time())  # noqa: TID251  # the edge of this process


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
