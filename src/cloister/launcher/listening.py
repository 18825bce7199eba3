"""Ports that the policy grants, opened outside and passed in: the workload has no network.

The launcher owns the listening socket and sees only what arrives on the wire; TLS ends inside.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.keyservice.bundle import ListenerGrant

__all__ = ["Listeners", "listeners_document"]

FORMAT: Final = "cloister/listeners/v1"
_BACKLOG: Final = 128


class Listeners:
    """The listening sockets of one run."""

    def __init__(self, grants: Mapping[str, ListenerGrant], *, host: str) -> None:
        """Bind and listen on every granted port.

        Raises:
            ConfigError: A port is taken, or the host has no such address.
        """
        self._stack = ExitStack()
        self._sockets: dict[str, socket.socket] = {}
        for name, grant in sorted(grants.items()):
            try:
                opened = socket.create_server((host, grant.port), backlog=_BACKLOG)
            except OSError as e:
                self._stack.close()
                raise ConfigError(
                    f"listener {name} cannot use {host} port {grant.port}: {e.strerror}",
                    code="config.value",
                    hint="stop what uses the port, or grant port 0 in the policy",
                ) from e
            self._sockets[name] = self._stack.enter_context(opened)

    def filenos(self) -> dict[str, int]:
        """Return name to descriptor."""
        return {name: opened.fileno() for name, opened in self._sockets.items()}

    def addresses(self) -> dict[str, tuple[str, int]]:
        """Return name to host and port."""
        return {name: opened.getsockname()[:2] for name, opened in self._sockets.items()}

    def close(self) -> None:
        """Close this process's copies; the workload's stay open."""
        self._stack.close()


def listeners_document(grants: Mapping[str, ListenerGrant]) -> bytes:
    """Return the JSON file that tells the workload whom each of its listeners may serve."""
    listeners = {
        name: {"clients": list(grant.clients), "unchecked": grant.unchecked}
        for name, grant in grants.items()
    }
    return json.dumps({"format": FORMAT, "listeners": listeners}, indent=2).encode() + b"\n"
