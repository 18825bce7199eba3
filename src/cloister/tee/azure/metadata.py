"""Azure's instance metadata service, as far as a TD needs it: a quote for its local report.

The service is the host's, and plain HTTP on a link-local address: what comes from it is evidence,
which vouches by its own signatures. No proxy is asked and no redirection followed.

Source: Azure, Confidential VMs: `POST /acc/tdquote` of the instance metadata service.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.parse
from dataclasses import dataclass
from typing import Final

from cloister.errors import (
    CloisterError,
    ConfigError,
    MalformedError,
    UnavailableError,
    UnsupportedError,
)
from cloister.tee.kernel import refused
from cloister.wire.strict_json import read_json

__all__ = ["METADATA_ADDRESS", "TD_REPORT_BYTES", "MetadataService"]

METADATA_ADDRESS: Final = "http://169.254.169.254"
TD_REPORT_BYTES: Final = 1024
_PATH: Final = "/acc/tdquote"
_TIMEOUT_S: Final = 30.0
_MAX_ANSWER_BYTES: Final = 65536
_OK: Final = 200
_NOT_FOUND: Final = 404
_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class MetadataService:
    """The service at one address.

    Attributes:
        address: `http://` and host, with a port where it is another than 80.
        timeout_s: How long it may be silent.
    """

    address: str = METADATA_ADDRESS
    timeout_s: float = _TIMEOUT_S

    def td_quote(self, report: bytes) -> bytes:
        """Return a quote for a TDREPORT of this machine.

        Raises:
            ConfigError: The address is none (`config.value`).
            UnsupportedError: This service makes no quotes (`machine.attester`).
            UnavailableError: It is not there, is busy, or answers with something else
                (`attester.busy`, `attester.failed`).
        """
        text = base64.urlsafe_b64encode(report).decode("ascii").rstrip("=")
        status, body = self._post(json.dumps({"report": text}).encode())
        if status == _NOT_FOUND:
            raise UnsupportedError(
                "the metadata service makes no TD quotes here", code="machine.attester"
            )
        if status in _AGAIN:
            raise UnavailableError(
                "the metadata service cannot make a quote now",
                code="attester.busy",
                detail=f"HTTP {status}",
            )
        if status != _OK:
            raise _odd(f"HTTP {status}")
        return _quote(body)

    def _post(self, body: bytes) -> tuple[int, bytes]:
        host, port = self._place()
        connection = http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        try:
            connection.request("POST", _PATH, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read(_MAX_ANSWER_BYTES + 1)
        except OSError as e:
            raise refused(e, "the metadata service cannot be asked") from e
        except (http.client.HTTPException, ValueError) as e:
            raise _odd(type(e).__name__) from e
        finally:
            connection.close()
        return answer.status, data

    def _place(self) -> tuple[str, int]:
        try:
            parts = urllib.parse.urlsplit(self.address)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urllib.parse.urlsplit("")
        beside = (parts.username, parts.path.strip("/"), parts.query, parts.fragment)
        if parts.scheme != "http" or not host or any(beside):
            raise ConfigError(
                f"{self.address!r} is no address of a metadata service",
                code="config.value",
                hint=METADATA_ADDRESS,
            )
        return host, port or http.client.HTTP_PORT


def _quote(body: bytes) -> bytes:
    try:
        found = read_json(
            body,
            what="the metadata service's answer",
            max_bytes=_MAX_ANSWER_BYTES,
            max_depth=1,
            code="evidence.malformed",
        )
        text = found.get("quote") if isinstance(found, dict) else None
        if not isinstance(text, str) or not text:
            raise _odd("no quote in it")
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        return base64.b64decode(padded, altchars="-_", validate=True)
    except (MalformedError, ValueError) as e:
        raise _odd(str(e)) from e


def _odd(why: str) -> CloisterError:
    return UnavailableError(
        "the metadata service's answer cannot be read", code="attester.failed", detail=why
    )
