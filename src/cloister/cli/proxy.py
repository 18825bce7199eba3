"""`cloister proxy`: plain HTTP and gRPC on this machine, private queries from here on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import asker, console, settings

if TYPE_CHECKING:
    from cloister.inference.private.proxy import Addresses

__all__ = ["command"]


def command(  # noqa: PLR0917  # options: typer passes them by name
    url: str = typer.Argument(help="https://HOST or http://HOST of the server's balancer."),
    identity: str = typer.Option(help="SPIFFE ID that the server must prove; may end in /*."),
    trust: Path | None = asker.TRUST,
    policy: str = asker.POLICY,
    any_policy: str = asker.ANY_POLICY,
    principal: str = asker.PRINCIPAL,
    key: Path | None = asker.KEY,
    certificate: Path | None = asker.CERTIFICATE,
    private_key: Path | None = asker.PRIVATE_KEY,
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
        pins=pins_of(
            trust=pinned, identity=identity, policy=asker.pinned_policy(policy, any_policy)
        ),
        asker=asker.who_asks(principal, key, certificate, private_key),
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


def _shown(address: tuple[str, int]) -> str:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"
