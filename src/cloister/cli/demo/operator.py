"""The operator's view: every file he has and every byte he saw, searched for secrets."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cloister.cli.demo.capture import Capture
from cloister.cli.demo.comparison import ask_in_plain
from cloister.cli.demo.markers import (
    Search,
    files_below,
    folders_of,
    search_files,
    search_streams,
)
from cloister.cli.demo.places import Places
from cloister.errors import UnavailableError

__all__ = ["Look", "look"]


@dataclass(frozen=True, slots=True)
class Look:
    """What was found with protection, and what the same search finds without."""

    protected: Search
    unprotected: Search
    captured_bytes: int


def look(
    places: Places,
    capture: Capture,
    markers: Mapping[str, Iterable[bytes]],
    *,
    since_ns: int,
    query: Any,
) -> Look:
    """End the capture, search it and the disk; then do without protection and search again.

    Args:
        places: Who has what.
        capture: What crossed the network so far.
        markers: Secret to byte patterns.
        since_ns: Files changed since then are searched, wherever plaintext could have been left.
        query: The images, to be sent once more in plain.

    Raises:
        UnavailableError: Frames were lost, so nothing can be claimed.
    """
    captured = capture.payload_bytes
    if capture.stop():
        raise UnavailableError("the operator's tap lost frames; run again", code="server.busy")
    on_disk = files_below(
        folders_of(places.root), since_ns=since_ns, skip=[places.owner, places.open]
    )
    protected = search_files(on_disk, markers).joined(search_streams(capture.streams(), markers))

    plain_capture = Capture()
    for source in (places.data, places.code, places.owner / "results"):
        shutil.copytree(source, places.open / source.name)
    ask_in_plain(places.open / "results" / "digits.tflite", query)
    plain_capture.stop()
    in_plain = files_below([places.open], since_ns=since_ns, skip=[])
    unprotected = search_files(in_plain, markers).joined(
        search_streams(plain_capture.streams(), markers)
    )
    return Look(protected, unprotected, captured)
