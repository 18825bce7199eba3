"""Who asks in private, and what they pin: options that several commands have alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from cloister.cli import settings
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.inference.private import AnyPolicy
    from cloister.inference.private.request_auth import Asker

__all__ = [
    "ANY_POLICY",
    "CERTIFICATE",
    "KEY",
    "POLICY",
    "PRINCIPAL",
    "PRIVATE_KEY",
    "TRUST",
    "pinned_policy",
    "who_asks",
]

_MAX_PEM_BYTES: Final = 65536
POLICY: Any = typer.Option("", help="Hash of the policy that it must run under, sha256:….")
ANY_POLICY: Any = typer.Option(
    "",
    metavar="REASON",
    help="Take any policy of that identity, and say why, in 8 characters or more.",
)
PRINCIPAL: Any = typer.Option("", help="The name that the server knows your key by.")
KEY: Any = typer.Option(None, help="Your key's file, from cloister key new.")
CERTIFICATE: Any = typer.Option(None, help="Instead of a key: your certificate, PEM.")
PRIVATE_KEY: Any = typer.Option(None, help="The certificate's private key, PEM.")
TRUST: Any = typer.Option(
    None, help="domain.json of who runs the model, where you have no trust domain of your own."
)


def pinned_policy(policy: str, any_policy: str) -> str | AnyPolicy:
    """Return which policy a server must run under.

    Raises:
        ConfigError: Neither is said, or both (`config.missing`), or it cannot be meant.
    """
    from cloister.inference.private import AnyPolicy

    if bool(policy) == bool(any_policy):
        raise ConfigError(
            "say which policy the server must run under: --policy sha256:…, or --any-policy REASON",
            code="config.missing",
            hint="the policy's owner tells its hash: cloister policy hash FILE",
        )
    return AnyPolicy(any_policy) if any_policy else policy


def who_asks(
    principal: str, key: Path | None, certificate: Path | None, private_key: Path | None
) -> Asker:
    """Return who signs: a principal by key, or a member by certificate.

    Raises:
        ConfigError: Not exactly one of them is said (`config.missing`), or a file is none.
    """
    from cloister.inference.private.request_auth import Member, Principal
    from cloister.network.tls import Credential

    if principal and key is not None and certificate is None and private_key is None:
        return Principal(principal, settings.read_key(key))
    if certificate is not None and private_key is not None and not principal and key is None:
        return Member(Credential(_pem(certificate), _pem(private_key)))
    raise ConfigError(
        "say who asks: --principal NAME --key FILE, or --certificate FILE --private-key FILE",
        code="config.missing",
    )


def _pem(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_PEM_BYTES)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
