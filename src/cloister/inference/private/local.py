"""What the proxy on the asker's own machine does with a plain request: carry it in an envelope.

Programs of the same machine reach it, and so would pages in a browser: a request that a page could
have sent is refused, and so is one for another host name.

Spec: private-query-v1, clauses PQ-70 to PQ-74.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Mapping
from typing import Final

from cloister.errors import (
    CallerError,
    CloisterError,
    ConfigError,
    UnavailableError,
)
from cloister.inference.private.binary_http import (
    CONNECTION_FIELDS,
    MAX_FIELDS_BYTES,
    is_field,
    is_method,
)
from cloister.inference.service import HTTPRequest, HTTPResponse, failure

__all__ = ["LocalService", "host_names", "read_listen"]

_LOG: Final = logging.getLogger(__name__)
_MAX_TARGET: Final = 4096
_MAX_FIELDS: Final = 48
_FIELD_BYTES: Final = 8  # two lengths, at their longest
_HTTP_PORT: Final = 80  # which clients leave out of `Host`
_FROM_PAGES: Final = frozenset({"origin", "sec-fetch-site", "sec-fetch-mode"})


class LocalService:
    """Answers programs of this machine."""

    def __init__(
        self, exchange: Callable[[HTTPRequest], HTTPResponse], *, hosts: frozenset[str]
    ) -> None:
        """Take what carries requests, and the names by which this proxy is called.

        Args:
            exchange: `PrivateChannel.exchange`; raises errors of ours.
            hosts: What a `Host` field may say.
        """
        self._exchange = exchange
        self._hosts = hosts

    def handle(self, request: HTTPRequest) -> HTTPResponse:
        """Answer a plain request; every failure is a response, nothing is raised."""
        if request.headers.get("host", "").lower() not in self._hosts:
            return failure(421, "this proxy is called by its own address only")
        if not _FROM_PAGES.isdisjoint(request.headers):
            return failure(403, "this proxy answers programs, not pages of a browser")
        return self.forward(request)

    def forward(self, request: HTTPRequest) -> HTTPResponse:
        """Carry a request that was not sent by a page."""
        headers = {
            name: value for name, value in request.headers.items() if name not in CONNECTION_FIELDS
        }
        if not request.target.startswith("/") or len(request.target) > _MAX_TARGET:
            return failure(400, f"a target begins with / and has at most {_MAX_TARGET} bytes")
        refused = _refused(request.method, headers)
        if refused is not None:
            return refused
        try:
            return self._exchange(
                HTTPRequest(request.method, request.target, headers, request.body)
            )
        except CloisterError as e:
            _LOG.info("not carried code=%s", e.code)
            return failure(_status(e), str(e))

    @staticmethod
    def is_quick(request: HTTPRequest) -> bool:  # noqa: ARG004  # a service's
        """Every request goes to the server."""
        return False


def read_listen(text: str) -> tuple[str, int]:
    """Read `HOST:PORT` of an address that only this machine reaches.

    Raises:
        ConfigError: It is none (`config.value`).
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        address, number = None, -1
    if address is None or not address.is_loopback or not 0 <= number < 65536:  # noqa: PLR2004  # ports
        raise ConfigError(
            f"{text} is no HOST:PORT of the loopback address",
            code="config.value",
            hint="what this proxy gets is not encrypted: only this machine may reach it",
        )
    return str(address), number


def host_names(address: tuple[str, int]) -> frozenset[str]:
    """Return what `Host` fields may say to a proxy at an address of this machine."""
    host, port = address
    names = frozenset({f"[{host}]" if ":" in host else host, "localhost"})
    found = frozenset(f"{name}:{port}" for name in names)
    return found | names if port == _HTTP_PORT else found


def _refused(method: str, headers: Mapping[str, str]) -> HTTPResponse | None:
    """Return why a request has no form inside an envelope; None where it has one."""
    if not is_method(method):
        return failure(501, "a method is up to 16 capital letters")
    if not all(is_field(*each) for each in headers.items()):
        return failure(400, "a field has a name of up to 128 characters, and printable ones only")
    size = sum(len(name) + len(value) + _FIELD_BYTES for name, value in headers.items())
    if len(headers) > _MAX_FIELDS or size > MAX_FIELDS_BYTES:
        return failure(
            431, f"a request has at most {_MAX_FIELDS} fields with {MAX_FIELDS_BYTES} bytes"
        )
    return None


def _status(error: CloisterError) -> int:
    if isinstance(error, UnavailableError):
        return 503
    if isinstance(error, ConfigError):
        return 413  # as `PrivateChannel.exchange` has it
    if isinstance(error, CallerError):
        return 400
    return 502
