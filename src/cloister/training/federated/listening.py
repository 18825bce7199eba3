"""Where plain HTTP may listen: at loopback, or in a network that has nothing else.

Flower's own TLS is off, since the shield's relay speaks for the workload. That is right only where
nobody but the relay can reach the port.

Spec: federation-v1, clause FED-7.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cloister.errors import ConfigError

__all__ = ["HOSTS", "instance_here", "open_plain", "parse_address", "require_private"]

HOSTS: Final = Path("/etc/hosts")
_MAX_HOSTS: Final = 1_048_576
_MAX_PORT: Final = 65535
_BACKLOG: Final = 128


def parse_address(text: str) -> tuple[str, int]:
    """Split `host:port`; names and IPv4 addresses only.

    Raises:
        ConfigError: `config.value`.
    """
    host, colon, port = text.rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", host) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ConfigError(f"{text[:80]!r} is no HOST:PORT", code="config.value")
    if not colon or not 0 <= int(port) <= _MAX_PORT:
        raise ConfigError(f"{text[:80]!r} has no such port", code="config.value")
    return host, int(port)


def require_private(address: str, *, interfaces: Iterable[str]) -> None:
    """Refuse an address at which somebody else could connect in plain.

    Args:
        address: An IPv4 address, resolved.
        interfaces: Names of all network interfaces here.

    Raises:
        ConfigError: `config.value`: not loopback, and there are other interfaces.

    Spec: FED-7.
    """
    if ipaddress.ip_address(address).is_loopback or set(interfaces) <= {"lo"}:
        return
    raise ConfigError(
        f"{address} is no loopback address, and this machine has other networks",
        code="config.value",
        hint="without the shield, Flower's traffic here is plain: listen at 127.0.0.1",
    )


def open_plain(host: str, port: int) -> socket.socket:
    """Listen, where `require_private` allows it.

    Raises:
        ConfigError: `config.value`: it does not, or nothing can listen there.
    """
    try:
        address = socket.gethostbyname(host)
        require_private(address, interfaces=(name for _, name in socket.if_nameindex()))
        return socket.create_server((address, port), backlog=_BACKLOG)
    except OSError as e:
        raise ConfigError(
            f"cannot listen at {host}:{port}", code="config.value", detail=str(e)
        ) from e


def instance_here(role: str, *, hosts: Path = HOSTS) -> int:
    """Return which instance of a role this is: the one whose address in the hosts file is here.

    The launcher writes names of all tasks, `<role>-<i>`, into that file, and gives the network its
    own task's address alone.

    Raises:
        ConfigError: `config.missing`: none is, or several.
    """
    pattern = re.compile(rf"{re.escape(role)}-(0|[1-9][0-9]{{0,3}})")
    found: set[int] = set()
    try:
        with hosts.open("rb") as file:
            lines = file.read(_MAX_HOSTS).decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        for name in names:
            match = pattern.fullmatch(name)
            if match and _is_here(address):
                found.add(int(match[1]))
    if len(found) != 1:
        raise ConfigError(
            f"this is no instance of {role}, or several",
            code="config.missing",
            hint="run it by a policy with a network, or say --index",
        )
    return found.pop()


def _is_here(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
