"""One write for a response's head and body, which uvicorn writes apart.

Otherwise the head goes out alone: it costs both sides a system call, and wakes the client for
nothing it can use.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["JoinedWrites"]


class JoinedWrites:
    """A transport that holds a write back for the next one, until the loop's next turn at most."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to `transport`; everything but writing and ending is left to it."""
        self._transport = transport
        self._held = b""

    def write(self, data: bytes) -> None:
        """Hold this back, or send it with what was held."""
        if self._held:
            self._send(data)
        elif data:
            self._held = data
            asyncio.get_running_loop().call_soon(self._send)

    def close(self) -> None:
        """Send what is held, then close."""
        self._send()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held = b""
        self._transport.abort()

    def _send(self, more: bytes = b"") -> None:
        data, self._held = self._held + more, b""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
