"""The server's side of a TLS handshake in an event loop: strangers take no thread.

Afterwards the socket is an ordinary one that does not block, for a thread or for a loop.

Spec: serving-v1, clause SRV-30.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Final

from cloister.errors import CloisterError, LocalProtocolError
from cloister.network.tls import Connection, TLSContext

__all__ = ["accept", "let_go"]

_READ_BYTES: Final = 65536
_PARTING_S: Final = 1.0
_PARTING_BYTES: Final = 2**20
_LOG: Final = logging.getLogger(__name__)


async def accept(plain: socket.socket, *, context: TLSContext, timeout_s: float) -> Connection:
    """Shake hands with who has connected, and judge them.

    Args:
        plain: Just accepted; taken over, and closed on failure.
        context: From `server_context`.
        timeout_s: For all of it.

    Raises:
        CloisterError: The client is none of those that are accepted.
        OSError: It does not speak TLS 1.3 with us, left, or is too slow.
    """
    plain.settimeout(0)
    try:
        connection = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        if not isinstance(connection, Connection):
            raise LocalProtocolError("not a context of ours", code="protocol.local")
        async with asyncio.timeout(timeout_s):
            await _shake_hands(connection)
    except ssl.SSLError:
        await let_go(connection)  # or the alert may be lost that says why
        raise
    except CloisterError as e:
        connection.close()
        _LOG.info("peer refused code=%s", e.code)
        raise
    except BaseException:
        connection.close()
        raise
    return connection


async def let_go(connection: socket.socket) -> None:
    """Close, but let the peer read what it was told before; for a while, and without a thread."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_WR)
        left = _PARTING_BYTES
        async with asyncio.timeout(_PARTING_S):
            while left > 0:
                try:
                    data = socket.socket.recv(connection, _READ_BYTES)  # not worth decrypting
                except BlockingIOError:
                    await _ready(connection, reading=True)
                    continue
                if not data:
                    break
                left -= len(data)
    except OSError as e:
        _LOG.debug("no parting: %s", e)
    finally:
        connection.close()


async def _shake_hands(connection: Connection) -> None:
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            await _ready(connection, reading=True)
        except ssl.SSLWantWriteError:
            await _ready(connection, reading=False)
        else:
            return


async def _ready(connection: socket.socket, *, reading: bool) -> None:
    """Wait until there is something to read, or room to write."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()

    def note() -> None:
        if not came.done():
            came.set_result(None)

    number = connection.fileno()
    if reading:
        loop.add_reader(number, note)
    else:
        loop.add_writer(number, note)
    try:
        await came
    finally:
        if reading:
            loop.remove_reader(number)
        else:
            loop.remove_writer(number)
