"""`cloister namespace`: who decides where."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import typer

from cloister.cli import approving, console, settings
from cloister.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(help="Say who decides in a namespace.", no_args_is_help=True)

_JSON = typer.Option(False, "--json", help="One JSON object.")
_DRAFT: Final = """\
# Who decides in {namespace}, and below where there is no other charter.
charter: cloister/namespace/v1
namespace: {namespace}
predecessor: {predecessor}
approvers:
{approvers}
threshold: {threshold}      # so many different approvers for each change
timeout: 604800   # seconds from the first proposal
readers: []       # may read policies and status, and change nothing
quotas:
  policies: 100
  volumes: 1000
  secrets: 1000
  members: 1000
  requests_per_minute: 600
"""


@app.command()
def draft(  # noqa: PLR0917  # options: typer passes them by name
    namespace: str = typer.Argument(help="The namespace, such as clinic/imaging; / for the root."),
    approver: list[str] = typer.Option(help="A public key, ed25519:…; repeat it for each."),
    threshold: int = typer.Option(1, "--threshold", "-k", help="How many must approve."),
    predecessor: str = typer.Option("none", help="Hash of the charter that this one replaces."),
    output: Path = typer.Option(Path("charter.yaml"), "--output", "-o", help="The new file."),
    as_json: bool = _JSON,
) -> None:
    """Write a charter; read it before you apply it."""
    from cloister.keyservice.policy.charter import parse_charter

    text = _DRAFT.format(
        namespace=namespace,
        predecessor=predecessor,
        threshold=threshold,
        approvers="\n".join(f'  - "{key}"' for key in approver),
    )
    parse_charter(text.encode(), source="this charter")
    if output.exists():
        raise ConfigError(f"{output} exists", code="config.exists", hint="name another file")
    output.write_text(text, encoding="utf-8")
    if as_json:
        console.emit({"file": str(output)})
    else:
        console.lines(f"{output} is written. Read it, then: cloister namespace apply {output}")


@app.command()
def apply(
    file: Path = typer.Argument(help="The charter, a YAML file."),
    approval: list[Path] = typer.Option([], help="An approval's file; repeat it for each."),
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Bring a charter into force, or propose it where approvals are missing."""
    from cloister.keyservice.policy.charter import charter_bytes, parse_charter

    charter = parse_charter(settings.read_policy_bytes(file), source=str(file))
    approvals = approving.read_approvals(approval)
    done = settings.client(domain, key).propose_charter(charter_bytes(charter), approvals)
    approving.tell(charter.namespace, done, as_json=as_json, name="namespace")


@app.command()
def show(
    namespace: str = typer.Argument(help="The namespace; / for the root."),
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Say who governs a namespace; with --json, a file that clients of its workloads trust."""
    from cloister.crypto.digest import digest_to_text
    from cloister.keyservice.policy.charter import (
        charter_from_canonical,
        charter_hash,
    )

    facts = settings.client(domain, key).read_namespace(namespace)
    approvers = ["ed25519:" + raw.hex() for raw in facts.approvers]
    charter = charter_from_canonical(facts.canonical) if facts.canonical else None
    digest = None if charter is None else digest_to_text(charter_hash(charter))
    found = settings.find_domain(domain)
    if as_json:
        console.emit(
            {
                "name": found.name,
                "identity": found.identity.text,
                "namespace": namespace,
                "governed_by": facts.namespace,
                "charter": digest,
                "approvers": approvers,
                "threshold": facts.threshold,
                "ca": facts.ca.decode(),
            }
        )
        return
    console.lines(f"{namespace} is governed by {facts.namespace}, charter {digest or 'none'}")
    console.lines(f"{facts.threshold} of these approve:")
    for text in approvers:
        console.lines(f"  {text}")


@app.command("list")
def list_(
    key: Path | None = settings.KEY, domain: Path | None = settings.DOMAIN, as_json: bool = _JSON
) -> None:
    """List the charters in force that you may read."""
    found = settings.client(domain, key).namespaces()
    records = [{**record, "hash": f"sha256:{_hex(record['hash'])}"} for record in found]
    if as_json:
        console.emit({"charters": records})
        return
    for record in records:
        console.lines(f"{record['namespace']}  {record['hash']}")


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
