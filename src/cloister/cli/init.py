"""`cloister init`: a trust domain with its owner's key, simulated platform and key service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import console, recovery, settings

if TYPE_CHECKING:
    from cloister.crypto.hpke import HPKEPublicKey
    from cloister.keyservice.domain import TrustDomain

__all__ = ["command"]

_APPROVED_FOR_S: Final = 600


def command(  # noqa: PLR0917  # options: typer passes them by name
    directory: Path = typer.Argument(
        Path(".cloister"), help="A new or empty folder; parents are made."
    ),
    name: str = typer.Option("cloister.local", "--name", help="The trust domain's name."),
    url: str = typer.Option(
        "embedded", "--url", help="Where clients find the key service; needed with --database."
    ),
    database: str = settings.DATABASE,
    recovery_shares: str = typer.Option(
        "", "--recovery", metavar="K/N", help="Split the state key: any K of N holders recover it."
    ),
    holder: list[Path] = recovery.HOLDER,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Make a trust domain: owner's key, simulated platform, key service."""
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.domain import TrustDomain, missing_parents

    made = missing_parents(directory)
    holders = [recovery.read_holder(file) for file in holder]
    wanted = bool(recovery_shares or holders)
    threshold = recovery.read_threshold(recovery_shares, holders) if wanted else 0
    domain = TrustDomain.create(directory, name, moment=read_clock(), url=url, database=database)
    shares = _split(domain, threshold, holders, database) if wanted else ()
    facts = {
        "directory": str(directory),
        "made": [str(folder) for folder in made],
        "name": domain.name,
        "keyservice": domain.identity.text,
        "owner": domain.owner.text,
        "anchors": {root: [key.text for key in keys] for root, keys in domain.anchors.items()},
        "recovery": [str(path) for path in shares],
        "hardware_rooted": _hardware_rooted(domain.service.root_of_trust),
    }
    if as_json:
        console.emit(facts)
        return
    console.lines(f"Trust domain {domain.name} in {directory}")
    for folder in made:
        console.lines(f"  new folder   {folder}  (only you may enter)")
    started = "started on demand" if url == "embedded" else url
    console.lines(f"  key service  {domain.identity.text}  ({started})")
    console.lines(f"  owner        {domain.owner.text}  (secret: {directory}/owner/owner.key)")
    for root, keys in domain.anchors.items():
        rooted = _hardware_rooted(root)
        said = "rooted in hardware" if rooted else "SIMULATED: no hardware vouches for it"
        for key in keys:
            console.lines(f"  {root:<11}  {key.text}  ({said})")
    for path in shares:
        console.lines(f"  share        {path}  (sealed: give it to its holder, keep a copy)")
    console.lines(f"Next: export CLOISTER_DOMAIN={directory.resolve()}")


def _hardware_rooted(root_of_trust: str) -> bool:
    """Tell whether evidence of such a platform can be rooted in hardware, as its table says."""
    from cloister.tee.registry import by_name

    found = by_name(root_of_trust)
    return found is not None and found.hardware_rooted


def _split(
    domain: TrustDomain, threshold: int, holders: list[HPKEPublicKey], database: str
) -> tuple[Path, ...]:
    """Split the new state key, which the founder alone decides about."""
    from cloister.cli.restoring import place_of
    from cloister.keyservice.approvals import Approval
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.recovering import make_shares
    from cloister.keyservice.recovery_plan import RecoveryPlan

    settings.hide_memory()
    at = read_clock().at
    digests = tuple(holder.identity for holder in holders)
    plan = RecoveryPlan(domain.identity, threshold, digests, at)
    key = domain.owner_key()
    yes = Approval.make(plan.subject, key=key, expires_at=at + _APPROVED_FOR_S)
    into = domain.directory / "recovery"
    return make_shares(place_of(domain, database), plan, [yes], holders, into=into, at=at)
