"""`python query_process.py FOLDER`: a query enclave of a small room, without the launcher.

The desk is a counter of this process; everything else is what a workload has.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from cloister.cleanroom.agreement import load_room
from cloister.cleanroom.query import QueryPlaces, serve_queries
from cloister.cleanroom.room_policy import BUDGET, NOTICED, UNJUDGED
from cloister.errors import ReleaseDeniedError
from cloister.network.tls import AnyClient


class Counter:
    """Spends what the terms give to each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spent: dict[tuple[str, str], int] = {}

    def __call__(self, budget: str, principal: str, amount: int) -> int:
        """Spend."""
        if budget not in {BUDGET, NOTICED, UNJUDGED}:
            raise ReleaseDeniedError("no such budget", code="budget.unknown")
        spent = self._spent.get((budget, principal), 0) + amount
        if spent > self._limit:
            raise ReleaseDeniedError("not so much", code="budget.spent")
        self._spent[budget, principal] = spent
        return self._limit - spent


def main(folder: Path) -> None:
    """Serve until SIGTERM."""
    room = load_room(folder / "terms.cbor")
    places = QueryPlaces(
        key=folder / "key",
        model=folder / "model",
        recipe=folder / "recipe",
        identity=folder / "identity",
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"port={listener.getsockname()[1]}\n")
        sys.stdout.flush()
        serve_queries(
            room,
            places,
            listener,
            Counter(room.terms.queries.limit),
            clients=AnyClient("each query is signed by a principal whom the terms name"),
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
