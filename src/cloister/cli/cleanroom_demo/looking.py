"""Who has what: everything that each of the three has, searched for everything that is secret."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.cli.cleanroom_demo.people import DATA_OWNER, MODEL_OWNER, OPERATOR, People
from cloister.cli.demo.capture import Capture
from cloister.cli.demo.markers import (
    Search,
    files_below,
    folders_of,
    search_files,
    search_streams,
)
from cloister.errors import UnavailableError

__all__ = ["EXPECTED", "SECRETS", "Look", "look"]

SECRETS: Final = ("records", "recipe", "model", "queries")
EXPECTED: Final[Mapping[str, frozenset[str]]] = {
    OPERATOR: frozenset(),
    MODEL_OWNER: frozenset({"recipe"}),
    DATA_OWNER: frozenset({"records", "queries"}),
}


@dataclass(frozen=True, slots=True)
class Look:
    """What was found.

    Attributes:
        found: Who, to what was found with him.
        unprotected: What the same search finds on the operator's disk and wire without a room.
        searched_bytes: How much of the operator's was searched.
        captured_bytes: How much of that crossed the network.
    """

    found: Mapping[str, Search]
    unprotected: Search
    searched_bytes: int
    captured_bytes: int


def look(
    people: People,
    capture: Capture,
    markers: Mapping[str, Iterable[bytes]],
    plain: Mapping[str, bytes],
    *,
    since_ns: int,
) -> Look:
    """End the capture and search; then put everything there in plain, and search again.

    Args:
        people: Who has what.
        capture: What crossed the network so far.
        markers: Secret to byte patterns.
        plain: Secret to what an operator would have of it without a room.
        since_ns: Files changed since then are searched.

    Raises:
        UnavailableError: Frames were lost, so nothing can be claimed.
    """
    captured = capture.payload_bytes
    if capture.stop():
        raise UnavailableError("the operator's tap lost frames; run again", code="server.busy")
    owners = {MODEL_OWNER: people.model_owner.folder, DATA_OWNER: people.data_owner.folder}
    others = [*owners.values(), people.open]
    on_disk = files_below(folders_of(people.root), since_ns=since_ns, skip=others)
    operators = search_files(on_disk, markers).joined(search_streams(capture.streams(), markers))
    found = {OPERATOR: operators}
    for party, folder in owners.items():
        found[party] = search_files(files_below([folder], since_ns=0, skip=[]), markers)
    return Look(found, _unprotected(people, markers, plain), operators.searched_bytes, captured)


def _unprotected(
    people: People, markers: Mapping[str, Iterable[bytes]], plain: Mapping[str, bytes]
) -> Search:
    """Put everything on the operator's disk and wire, and search; what counts is found in both."""
    capture = Capture()
    for name, data in plain.items():
        (people.open / name).write_bytes(data)
        _send(data)
    lost = capture.stop()
    on_disk = search_files(files_below([people.open], since_ns=0, skip=[]), markers)
    on_wire = search_streams(capture.streams(), markers)
    both = on_disk.secrets_found & on_wire.secrets_found if not lost else frozenset[str]()
    kept = tuple(each for each in on_disk.findings if each.secret in both)
    return Search(on_disk.files, on_wire.streams, on_disk.searched_bytes, kept)


def _send(data: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            taken, _ = listener.accept()
            with taken, contextlib.suppress(OSError):
                while taken.recv(1 << 16):
                    pass

        thread = threading.Thread(target=take)
        thread.start()
        with socket.create_connection(listener.getsockname()[:2]) as sending:
            sending.sendall(data)
        thread.join()
