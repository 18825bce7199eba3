"""`python -m cloister.training.federated.task`: one ServerApp or ClientApp, as Flower runs it.

Flower would start its console scripts, which lie outside of what is measured; this starts the same
functions from the measured packages. All arguments but the first are Flower's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from cloister.errors import ConfigError

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """Run the app of the kind that the first argument names; Flower ends the process."""
    _program(arguments[0] if arguments else "")()


def _program(kind: str) -> Callable[[], None]:
    # Each loads its own half of Flower.
    if kind == "flwr-serverapp":
        from flwr.superlink.cli import flwr_serverapp  # noqa: PLC0415

        return flwr_serverapp
    if kind == "flwr-clientapp":
        from flwr.supernode.cli import flwr_clientapp  # noqa: PLC0415

        return flwr_clientapp
    raise ConfigError(f"{kind[:40]!r} is no kind of task", code="config.value")


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    main(sys.argv)
