"""`cloister source`: where policies have values from: stores of others, and other key services.

No command shows a token.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import typer

from cloister.cli import console, settings
from cloister.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(help="Say where a namespace's external secrets are kept.", no_args_is_help=True)

_JSON = typer.Option(False, "--json", help="One JSON object.")
_NAMESPACE = typer.Argument(help="The namespace whose policies may name it.")
_NAME = typer.Argument(help="Its name there.")


@app.command()
def add(  # noqa: PLR0917  # options: typer passes them by name
    namespace: str = _NAMESPACE,
    name: str = _NAME,
    address: str = typer.Option(help="HOST:PORT of a Vault or OpenBao; its KV version 2 is read."),
    ca: Path = typer.Option(help="PEM of the authority that its certificate comes from."),
    token_file: Path | None = typer.Option(
        None, "--token-file", help="Where the token is, one line; otherwise standard input."
    ),
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Register a store, with a token that may read from it; the token travels sealed."""
    from cloister.keyservice.source_messages import MAX_CA_BYTES, MAX_TOKEN_BYTES

    authority = _read(ca, MAX_CA_BYTES)
    found = settings.find_domain(domain)
    client = settings.client(domain, key)
    token = _token(token_file, MAX_TOKEN_BYTES + 2)
    client.sources.put(
        token,
        namespace=namespace,
        name=name,
        address=address,
        ca=authority,
        service_hpke=found.hpke,
    )
    if as_json:
        console.emit({"namespace": namespace, "source": name, "address": address})
    else:
        console.lines(f"the key service knows source {name} of {namespace}")


@app.command()
def pin(  # noqa: PLR0917  # options: typer passes them by name
    namespace: str = _NAMESPACE,
    name: str = _NAME,
    address: str = typer.Option(help="HOST:PORT of the other key service."),
    of: Path = typer.Option(
        help="Folder with the other trust domain's domain.json, as its owner gave it."
    ),
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Register another key service; it has to prove what domain.json says before each question."""
    from cloister.keyservice.domain import TrustDomain

    other = TrustDomain.load(of)
    settings.client(domain, key).sources.pin(
        namespace=namespace,
        name=name,
        address=address,
        service=other.identity,
        trust_domain=other.name,
        hpke_key=other.hpke,
        reference=other.service,
    )
    facts = {"namespace": namespace, "source": name, "address": address}
    if as_json:
        console.emit({**facts, "trust_domain": other.name, "service": other.identity.text})
    else:
        console.lines(f"the key service knows {name} of {namespace}: {other.name} at {address}")


@app.command()
def entry(
    namespace: str = typer.Argument(help="The namespace of the policy here that wants a secret."),
    policy: str = typer.Argument(help="That policy's name."),
    lifetime: int = typer.Option(help="Seconds for which a value may be used without asking."),
    domain: Path | None = settings.DOMAIN,
) -> None:
    """Write what another key service's owner puts under `export`, to give a secret to us."""
    from cloister.crypto.digest import digest_to_text

    found = settings.find_domain(domain)
    reference = found.service
    console.emit(
        {
            "service": found.identity.text,
            "trust_domain": found.name,
            "namespace": namespace,
            "policy": policy,
            "root_of_trust": reference.root_of_trust,
            "anchors": [each.text for each in reference.anchors],
            "measurement": [digest_to_text(each) for each in reference.measurements],
            "minimum_svn": reference.minimum_svn,
            "debug": "accepted" if reference.debug else "refused",
            "lifetime": lifetime,
        }
    )


@app.command("list")
def list_(
    namespace: str = _NAMESPACE,
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """List the sources of a namespace, and what is wanted from each and not there yet."""
    client = settings.client(domain, key)
    facts, services = client.sources.vaults(namespace), client.sources.services(namespace)
    if as_json:
        console.emit(
            {
                "namespace": namespace,
                "sources": [fact.to_value() for fact in facts],
                "services": [service.to_value() for service in services],
            }
        )
        return
    rows = [
        (
            fact.name,
            fact.address,
            fact.ca.hex()[:16],
            f"{dt.datetime.fromtimestamp(fact.at, tz=dt.UTC):%F}",
        )
        for fact in facts
    ]
    if facts or not services:
        console.table(f"Sources of {namespace}", ("name", "address", "authority", "since"), rows)
    if services:
        columns = ("name", "address", "trust domain", "identity")
        table = [
            (each.name, each.address, each.trust_domain, f"ed25519:{each.service.hex()[:16]}…")
            for each in services
        ]
        console.table(f"Key services that {namespace} has secrets from", columns, table)
    wanted = [(fact.name, each) for fact in facts for each in fact.waiting]
    wanted += [(service.name, each) for service in services for each in service.waiting]
    waiting = [
        (source, each.secret, each.message or "not tried yet", each.code) for source, each in wanted
    ]
    if waiting:
        console.table(
            "Wanted from them", ("source", "secret", "why it is not there", "code"), waiting
        )


@app.command()
def remove(
    namespace: str = _NAMESPACE,
    name: str = _NAME,
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Take a source away, and its token if it has one; values that came from it stay."""
    settings.client(domain, key).sources.remove(namespace, name)
    if as_json:
        console.emit({"namespace": namespace, "source": name})
    else:
        console.lines(f"source {name} of {namespace} is gone")


def _token(file: Path | None, limit: int) -> bytes:
    """Read one line; from a person, one that the terminal does not show."""
    if file is None and sys.stdin.isatty():
        typed: str = typer.prompt("token", hide_input=True)
        return typed.encode()
    text = sys.stdin.buffer.read(limit) if file is None else _read(file, limit)
    return text.removesuffix(b"\n")


def _read(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {file}: {e.strerror}", code="config.file") from e
    if len(data) > limit:
        raise ConfigError(f"{file} has more than {limit} bytes", code="config.file")
    return data
