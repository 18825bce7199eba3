"""`cloister proxy`: plain HTTP and gRPC on this machine, private queries from here on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import console, settings
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.inference.private import AnyPolicy
    from cloister.inference.private.proxy import Addresses
    from cloister.inference.private.request_auth import Asker

__all__ = ["command"]

_MAX_PEM_BYTES = 65536


def command(  # noqa: PLR0917  # options: typer passes them by name
    url: str = typer.Argument(help="https://HOST or http://HOST of the server's balancer."),
    identity: str = typer.Option(help="SPIFFE ID that the server must prove; may end in /*."),
    trust: Path | None = typer.Option(None, help="domain.json (default: the domain's)."),
    policy: str = typer.Option("", help="Hash of the policy that it must run under, sha256:…."),
    any_policy: str = typer.Option(
        "", metavar="REASON", help="Take any policy of that identity, and say why."
    ),
    principal: str = typer.Option("", help="The name that the server knows your key by."),
    key: Path | None = typer.Option(None, help="Your key's file, from cloister key new."),
    certificate: Path | None = typer.Option(None, help="Or: your certificate, PEM."),
    private_key: Path | None = typer.Option(None, help="Its private key, PEM."),
    listen: str = typer.Option("127.0.0.1:8080", help="Where programs send plain HTTP."),
    grpc: str = typer.Option("", metavar="HOST:PORT", help="Where they speak gRPC, if they do."),
    timeout: float = typer.Option(60.0, help="For one query, in seconds."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object when it listens."),
) -> None:
    """Verify an enclave, and carry this machine's plain queries to it in envelopes.

    Whoever is between, balancers that end TLS included, sees that there are queries, and how long.
    """
    from cloister.inference.private.channel import PrivateChannel
    from cloister.inference.private.client import pins_of
    from cloister.inference.private.local import read_listen
    from cloister.inference.private.proxy import Addresses, serve
    from cloister.keyservice.clock import read_clock

    addresses = Addresses(read_listen(listen), read_listen(grpc) if grpc else None)
    pinned = trust or settings.find_domain(domain).directory / "domain.json"
    channel = PrivateChannel(
        url,
        pins=pins_of(trust=pinned, identity=identity, policy=_policy(policy, any_policy)),
        asker=_asker(principal, key, certificate, private_key),
        clock=lambda: read_clock().at,
        timeout_s=timeout,
    )
    peer = channel.peer  # before anything listens

    def ready(bound: Addresses) -> None:
        places = {"http": _shown(bound.http)}
        if bound.grpc is not None:
            places["grpc"] = _shown(bound.grpc)
        if as_json:
            console.emit(
                {
                    **places,
                    "peer": peer.identity.uri,
                    "policy": "sha256:" + peer.policy_hash.hex(),
                    "hardware_rooted": peer.hardware_rooted,
                }
            )
            return
        for name, place in places.items():
            console.lines(f"{name} {place}")
        rooted = "rooted in hardware" if peer.hardware_rooted else "SIMULATED: no hardware"
        console.note(f"queries are read by {peer.identity.uri} only ({rooted})")

    serve(channel, addresses, ready=ready)


def _policy(policy: str, any_policy: str) -> str | AnyPolicy:
    from cloister.inference.private import AnyPolicy

    if bool(policy) == bool(any_policy):
        raise ConfigError(
            "say which policy the server must run under: --policy sha256:…, or --any-policy REASON",
            code="config.missing",
            hint="the policy's owner tells its hash: cloister policy show",
        )
    return AnyPolicy(any_policy) if any_policy else policy


def _asker(
    principal: str, key: Path | None, certificate: Path | None, private_key: Path | None
) -> Asker:
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


def _shown(address: tuple[str, int]) -> str:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"
