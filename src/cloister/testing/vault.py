"""A store that answers reads of its KV version 2 over real TLS, and can be made to misbehave."""

from __future__ import annotations

import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

from cloister.crypto.generated import issue_certificate, make_authority, make_key_pair

__all__ = ["FakeVault", "VaultAuthority", "http_answer"]

_DAY_S: Final = 86_400
_READ_BYTES: Final = 65_536
_TIMEOUT_S: Final = 20.0


class VaultAuthority:
    """Certifies hosts."""

    def __init__(self, *, at: int) -> None:
        """Make a new one that is good for a day from `at`."""
        self._at = at
        self._private = make_key_pair("ecdsa-p256").private
        self.pem: Final = make_authority(
            self._private, common_name="vault", at=at, lifetime_s=_DAY_S
        )

    def certify(self, host: str) -> bytes:
        """Return a certificate for a host, with its key, as PEM."""
        private = make_key_pair("ecdsa-p256").private
        certificate = issue_certificate(
            private,
            authority_private=self._private,
            authority_certificate=self.pem,
            dns=(host,),
            spiffe=None,
            at=self._at,
            lifetime_s=_DAY_S,
        )
        return private + certificate


def http_answer(status: int, body: bytes, *fields: str, length: int | None = None) -> bytes:
    """Return an HTTP/1.1 answer; `length` may say something else than the truth."""
    said = len(body) if length is None else length
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {said}", *fields, "", ""]
    return "\r\n".join(head).encode() + body


class FakeVault:
    """Listens on a loopback port from `with` on. It is a double: it keeps what it was asked.

    Attributes:
        secrets: Path below `/v1/` to the fields that are there.
        token: What it lets in.
        heads: Every request's head, as it came.
        respond: Where set, answers instead: it gets the connection after the request's head.
    """

    def __init__(
        self,
        authority: VaultAuthority,
        *,
        host: str = "localhost",
        maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        """Take who certifies it, for which host, and its newest version of TLS."""
        self.secrets: dict[str, Mapping[str, object]] = {}
        self.token = "hvs.planted-token"  # noqa: S105  # of a double
        self.heads: list[bytes] = []
        self.respond: Callable[[ssl.SSLSocket], None] | None = None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.maximum_version = maximum
        with tempfile.TemporaryDirectory() as folder:  # OpenSSL reads chains from files only
            pem = Path(folder) / "server.pem"
            pem.write_bytes(authority.certify(host))
            self._context.load_cert_chain(pem)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def address(self) -> str:
        """How a source names it."""
        return f"localhost:{self.port}"

    def __enter__(self) -> FakeVault:
        """Start listening."""
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(plain,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        plain.settimeout(_TIMEOUT_S)
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    part = connection.recv(_READ_BYTES)
                    if not part:
                        return
                    head += part
                self.heads.append(head)
                if self.respond is not None:
                    self.respond(connection)
                else:
                    connection.sendall(self._answer(head))
                    connection.unwrap()
        except OSError:
            plain.close()

    def _answer(self, head: bytes) -> bytes:
        lines = head.decode("ascii").split("\r\n")
        path = lines[0].split(" ")[1].removeprefix("/v1/")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        if fields.get("x-vault-token") != self.token:
            return http_answer(403, b'{"errors":["permission denied"]}')
        if path not in self.secrets:
            return http_answer(404, b'{"errors":[]}')
        metadata = {"created_time": "2026-01-01T00:00:00Z", "custom_metadata": None,
                    "deletion_time": "", "destroyed": False, "version": 1}  # fmt: skip
        body = {
            "request_id": "5d1f", "lease_id": "", "renewable": False, "lease_duration": 0,
            "data": {"data": dict(self.secrets[path]), "metadata": metadata},
            "wrap_info": None, "warnings": None, "auth": None,
        }  # fmt: skip
        return http_answer(200, json.dumps(body).encode(), "Content-Type: application/json")
