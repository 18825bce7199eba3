"""Which Flower this works with, and the surroundings in which its processes run.

Flower by itself looks for updates, sends telemetry, installs an app's dependencies and writes into
the home folder. A workload has no way to the internet and a measured runtime: all of that is off,
and what Flower writes goes to a folder of the run.

Spec: federation-v1, clauses FED-1 and FED-2.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cloister.errors import MissingExtraError, UnsupportedError, extra_hint

__all__ = ["TRIED", "require_engine", "surroundings"]

# What is used of Flower beyond its documented interface may change with every minor release.
TRIED: Final = "1.42"
_NOWHERE: Final = "http://127.0.0.1:9/"
_OURS: Final[Mapping[str, str]] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPERGRID_API_URL": _NOWHERE,  # apps and identities of Flower's own cloud
    "NO_PROXY": "*",
    "no_proxy": "*",
}
_DROPPED: Final = re.compile(r"(FLWR_.*|.*_proxy)", re.IGNORECASE)


def require_engine() -> None:
    """Refuse a Flower that this was not tried with.

    Raises:
        MissingExtraError: Flower is not installed (`extra.missing`).
        UnsupportedError: It is another version (`federated.engine`).

    Spec: FED-1.
    """
    try:
        found = importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError as e:
        raise MissingExtraError(
            "Flower is not installed",
            code="extra.missing",
            hint=extra_hint("federated"),
        ) from e
    if not f"{found}.".startswith(f"{TRIED}."):
        raise UnsupportedError(
            f"Flower {found} is installed; this was tried with {TRIED} only",
            code="federated.engine",
            hint=f"pip install 'flwr=={TRIED}.*'",
        )


def surroundings(given: Mapping[str, str], home: Path, *, logs: str) -> dict[str, str]:
    """Return the environment of Flower's processes.

    Variables by which an environment could turn Flower's behaviour are dropped: what a run does is
    in its arguments, which the policy fixes.

    Args:
        given: This process's own.
        home: A folder of this run alone; the app's copy, keys and tokens go there.
        logs: Flower's level of logging.

    Spec: FED-2.
    """
    kept = {name: value for name, value in given.items() if not _DROPPED.fullmatch(name)}
    return kept | dict(_OURS) | {"FLWR_HOME": str(home), "FLWR_LOG_LEVEL": logs}
