"""The listening socket that the launcher passes, and whom the policy lets it serve.

Descriptors arrive as systemd passes them (`LISTEN_FDS`, `LISTEN_FDNAMES`, `LISTEN_PID`, from 3
on). The rule of each listener lies in a file that the launcher writes inside the sandbox; there is
no way to start a passed socket without its rule.

Spec: serving-v1, clauses SRV-30 and SRV-35.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cloister.crypto.x509 import Identity
from cloister.errors import ConfigError, MalformedError
from cloister.network.tls import AnyClient

__all__ = ["FORMAT", "PassedListener", "clients_of", "open_listener", "passed_listener"]

FORMAT: Final = "cloister/listeners/v1"
_FIRST: Final = 3
_DESK: Final = "desk"  # no listener: how a workload spends, where it has both
_MAX_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class PassedListener:
    """A descriptor with the name that the policy gives it."""

    descriptor: int
    name: str


def passed_listener(environment: Mapping[str, str], *, process: int) -> PassedListener:
    """Return the one listener that was passed to this process.

    Args:
        environment: The process's own.
        process: Its id.

    Raises:
        ConfigError: `config.missing`: none, several, or they were another's.
    """
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    mine = environment.get("LISTEN_PID") == str(process)
    whole = environment.get("LISTEN_FDS") == str(len(names))
    listeners = names if len(names) == 1 else [name for name in names if name != _DESK]
    if not mine or not whole or len(listeners) != 1 or not listeners[0]:
        raise ConfigError(
            "not exactly one listening socket was passed to this process",
            code="config.missing",
            hint="give the policy's workload one entry under listen:, or start with --port",
        )
    return PassedListener(_FIRST + names.index(listeners[0]), listeners[0])


def open_listener(passed: PassedListener) -> socket.socket:
    """Return the socket behind a passed descriptor.

    Raises:
        ConfigError: `config.missing`: it is no listening socket.
    """
    try:
        listener = socket.socket(fileno=passed.descriptor)
    except OSError as e:
        raise ConfigError(
            f"descriptor {passed.descriptor} is no socket", code="config.missing"
        ) from e
    listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listening:
        listener.close()
        raise ConfigError(
            f"descriptor {passed.descriptor} is not a listening socket", code="config.missing"
        )
    return listener


def clients_of(document: bytes, *, name: str) -> tuple[Identity, ...] | AnyClient:
    """Return whom a listener may serve, from the launcher's file.

    Raises:
        ConfigError: `config.file`: not that format; `config.missing`: no such listener.
    """
    rule = _rule(document, name)
    try:
        clients, reason = rule["clients"], rule["unchecked"]
        if set(rule) != {"clients", "unchecked"} or bool(clients) == bool(reason):
            raise TypeError("either clients or a reason")
        if reason:
            return AnyClient(_text(reason))
        return tuple(Identity.from_uri(_text(uri)) for uri in clients)
    except (KeyError, TypeError, MalformedError) as e:
        raise ConfigError(
            f"the rule of listener {name} is none", code="config.file", detail=str(e)
        ) from e


def _rule(document: bytes, name: str) -> Mapping[str, Any]:
    wrong = ConfigError("not a file of listeners of this version", code="config.file")
    if len(document) > _MAX_BYTES:
        raise wrong
    try:
        record = json.loads(document)
    except (ValueError, RecursionError) as e:
        raise wrong from e
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise wrong
    listeners = record.get("listeners")
    if not isinstance(listeners, dict):
        raise wrong
    rule = listeners.get(name)
    if not isinstance(rule, dict):
        raise ConfigError(f"the launcher passed no rule for listener {name}", code="config.missing")
    return rule


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
