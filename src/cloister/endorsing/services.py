"""Addresses of the manufacturers' services, and of others that stand in their place.

Only HTTPS: not for what is said, which is signed, but for who is asked about which machine, and so
that nobody on the way can keep an answer back without being seen.

Spec: endorsement-sources-v1, clauses ES-4 and ES-5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.errors import ConfigError

__all__ = ["ADDRESSES", "Service", "Services"]

ADDRESSES: Final[Mapping[str, str]] = {
    "intel": "https://api.trustedservices.intel.com",
    "intel-root-crl": "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
    "amd": "https://kdsintf.amd.com",
    "nvidia-rim": "https://rim.attestation.nvidia.com/v1/rim",
    "nvidia-ocsp": "https://ocsp.ndis.nvidia.com/",
}
_URL: Final = re.compile(
    r"https://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?(?P<path>(?:/[A-Za-z0-9._~-]*)*)"
)
_HTTPS: Final = 443
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Service:
    """One service.

    Attributes:
        name: As `ADDRESSES` has it.
        host: Its host; its certificate has to name it.
        port: Its port.
        path: What goes before each target.
    """

    name: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, name: str, url: str) -> Service:
        """Read an address.

        Raises:
            ConfigError: It is no HTTPS address without query and user.
        """
        found = _URL.fullmatch(url)
        port = int(found["port"] or _HTTPS) if found else 0
        if found is None or port > _MAX_PORT:
            raise ConfigError(
                f"{url!r} is no address of a source",
                code="config.value",
                hint="https://HOST[:PORT][/PATH]",
            )
        return cls(name, found["host"], port, found["path"])

    def url(self, target: str) -> str:
        """Return the whole address of a target."""
        port = "" if self.port == _HTTPS else f":{self.port}"
        return f"https://{self.host}{port}{self.path}{target}"


@dataclass(frozen=True, slots=True)
class Services:
    """Who is asked, by name; always all of them."""

    found: Mapping[str, Service]

    @classmethod
    def of(cls, changed: Sequence[str]) -> Services:
        """Take the manufacturers' own, but for those that are given as `NAME=URL`.

        Raises:
            ConfigError: A name is not known or stands twice, or an address is none.
        """
        given = [each.partition("=") for each in changed]
        urls = {name: url for name, _, url in given}
        unknown = sorted(set(urls) - set(ADDRESSES))
        if unknown or len(urls) != len(given):
            raise ConfigError(
                f"no source is called {unknown[0]!r}" if unknown else "a source stands twice",
                code="config.value",
                hint=", ".join(f"{name}=https://…" for name in ADDRESSES),
            )
        every = {**ADDRESSES, **urls}
        return cls({name: Service.of(name, url) for name, url in every.items()})
