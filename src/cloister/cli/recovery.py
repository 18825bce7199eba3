"""`cloister keyservice recovery`: shares of the state key, and a service on a new platform."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import console, settings
from cloister.cli.approving import read_approvals
from cloister.cli.restoring import APPROVAL, place_of, read_file, tell_head
from cloister.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.crypto.hpke import HPKEPublicKey
    from cloister.keyservice.recovery_request import RecoveryRequest

__all__ = [
    "HOLDER",
    "app",
    "pin_platform",
    "prepare",
    "read_bytes",
    "read_holder",
    "read_request",
    "read_threshold",
    "request",
    "tell",
]

app = typer.Typer(help="Bring the key service back on a new platform.", no_args_is_help=True)

_JSON = typer.Option(False, "--json", help="One JSON object.")
HOLDER = typer.Option(
    [], "--holder", help="A holder's public key, FILE.pub of cloister key holder; once for each."
)
_MAX_KEY_FILE = 4096


@app.command()
def propose(
    threshold: int = typer.Option(help="How many holders give the key back."),
    out: Path = typer.Option(help="The new file, for approvers to read and sign."),
    holder: list[Path] = HOLDER,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Write down who would hold shares; needs no key, and changes nothing."""
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.new_file import write_new_file
    from cloister.keyservice.recovery_plan import RecoveryPlan

    found = settings.find_domain(domain)
    holders = tuple(read_holder(file).identity for file in holder)
    plan = RecoveryPlan(found.identity, threshold, holders, read_clock().at)
    write_new_file(out, plan.to_text())
    facts = {"file": str(out), "threshold": threshold, "holders": len(holders)}
    tell(as_json, facts, f"{out}: any {threshold} of {len(holders)} holders give the key back")


@app.command()
def split(  # noqa: PLR0917  # options: typer passes them by name
    plan: Path = typer.Argument(help="What was proposed and approved."),
    into: Path = typer.Option(help="A new folder for the shares, each sealed to its holder."),
    holder: list[Path] = HOLDER,
    approval: list[Path] = APPROVAL,
    domain: Path | None = settings.DOMAIN,
    database: str = settings.DATABASE,
    as_json: bool = _JSON,
) -> None:
    """Split the state key as approved; an embedded service is stopped first."""
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.recovering import make_shares
    from cloister.keyservice.recovery_plan import RecoveryPlan

    found = settings.find_domain(domain)
    settings.hide_memory()
    paths = make_shares(
        place_of(found, database),
        RecoveryPlan.from_text(read_file(plan)),
        read_approvals(approval) or (),
        [read_holder(file) for file in holder],
        into=into,
        at=read_clock().at,
    )
    files = [str(path) for path in paths]
    tell(as_json, {"shares": files}, "\n".join(files))


@app.command()
def prepare(
    directory: Path = typer.Argument(help="The new folder, for the new machine."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Make a new platform, for the service of a trust domain whose own is lost."""
    from cloister.keyservice.recovering import prepare_platform

    key = prepare_platform(settings.find_domain(domain), directory)
    tell(as_json, {"directory": str(directory), "platform": key.text}, key.text)


@app.command()
def request(
    out: Path = typer.Option(help="The new file, for holders."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """On the new platform: prove what runs here, and ask holders for their shares."""
    from cloister.keyservice.new_file import write_new_file
    from cloister.keyservice.recovery_request import RecoveryRequest
    from cloister.tee.sim.attester import SimAttester

    found = settings.find_domain(domain)
    settings.hide_memory()
    platform = found.platform()
    made = RecoveryRequest.make(found.identity, platform, SimAttester(platform))
    write_new_file(out, made.to_bytes())
    facts = {"file": str(out), "platform": platform.anchor.text, "digest": made.digest.hex()}
    tell(as_json, facts, f"{out} asks for shares, for {platform.anchor.text}")


@app.command()
def give(  # noqa: PLR0917  # options: typer passes them by name
    share: Path = typer.Argument(help="Your share."),
    request_file: Path = typer.Argument(metavar="REQUEST", help="Of the new platform."),
    key: Path = typer.Option(help="Your key's file, of cloister key holder."),
    out: Path = typer.Option(help="The new file: your share, sealed to that platform alone."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """As a holder: check what the new platform proves, and seal your share to it; offline."""
    from cloister.crypto.hpke import HPKEPrivateKey
    from cloister.keyservice import recovery_shares
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.new_file import write_new_file
    from cloister.keyservice.recovery_request import require_recovering
    from cloister.tee.sim.platform import read_secret_file

    found = settings.find_domain(domain)
    asked = read_request(request_file)
    platform = require_recovering(asked, found.service, service=found.identity, at=read_clock().at)
    held = recovery_shares.SealedShare.from_bytes(
        read_bytes(share, recovery_shares.MAX_SHARE_BYTES)
    )
    settings.hide_memory()
    private = HPKEPrivateKey(read_secret_file(key, max_bytes=_MAX_KEY_FILE))
    given = recovery_shares.give(held, private, platform)
    write_new_file(out, given.to_bytes())
    facts = {"file": str(out), "platform": asked.platform.text}
    tell(as_json, facts, f"{out} is for {asked.platform.text} alone")


@app.command()
def finish(  # noqa: PLR0917  # options: typer passes them by name
    file: Path = typer.Argument(help="The backup."),
    request_file: Path = typer.Argument(metavar="REQUEST", help="This platform's own."),
    statement: Path = typer.Argument(help="The reset that was approved for this platform."),
    share: list[Path] = typer.Option([], "--share", help="What a holder gave; once for each."),
    approval: list[Path] = APPROVAL,
    domain: Path | None = settings.DOMAIN,
    database: str = settings.DATABASE,
    as_json: bool = _JSON,
) -> None:
    """On the new platform: bring the service back, with the identity that it had."""
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.recovering import recover
    from cloister.keyservice.recovery_shares import MAX_SHARE_BYTES, SealedShare
    from cloister.keyservice.reset import Reset

    found = settings.find_domain(domain)
    settings.hide_memory()
    head = recover(
        file,
        place_of(found, database),
        read_request(request_file),
        shares=[SealedShare.from_bytes(read_bytes(each, MAX_SHARE_BYTES)) for each in share],
        statement=Reset.from_text(read_file(statement)),
        approvals=read_approvals(approval) or (),
        at=read_clock().at,
    )
    tell_head(as_json, head, f"the service is back, and goes on after record {head.sequence}")


def pin_platform(
    platform: list[str] = typer.Argument(help="A platform's key, ed25519:…"),
    keep: bool = typer.Option(False, "--keep", help="Go on accepting the platforms so far."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Say on which platforms the key service may run, after it moved; for the owner."""
    from cloister.crypto.signature import VerifyingKey

    found = settings.find_domain(domain)
    found.owner_key()  # whoever has not got it has nothing to pin here
    fresh = [VerifyingKey.from_text(text) for text in platform]
    before = list(found.service.anchors)
    after = list({key.raw: key for key in ([*before, *fresh] if keep else fresh)}.values())
    found.pin_platforms(after)
    facts = {"before": [key.text for key in before], "pinned": [key.text for key in after]}
    tell(as_json, facts, "\n".join(f"pinned {text}" for text in facts["pinned"]))


def read_holder(file: Path) -> HPKEPublicKey:
    """Read the public half of a holder's key."""
    from cloister.crypto.hpke import HPKEPublicKey

    prefix, _, digits = read_bytes(file, _MAX_KEY_FILE).decode("ascii", "replace").partition(":")
    try:
        if prefix != "hpke":
            raise ValueError
        return HPKEPublicKey(bytes.fromhex(digits))
    except (ValueError, MalformedError) as e:
        raise ConfigError(
            f"{file} is no holder's public key",
            code="config.file",
            hint="cloister key holder FILE makes FILE.pub",
        ) from e


def read_threshold(text: str, holders: list[HPKEPublicKey]) -> int:
    """Read `k/n`, where n is the number of holders."""
    from cloister.keyservice.recovery_plan import require_possible

    first, separator, second = text.partition("/")
    fits = separator and first.isdecimal() and second == str(len(holders))
    if not fits:
        raise ConfigError(
            f"--recovery {text} and {len(holders)} holders do not fit together",
            code="config.value",
            hint="--recovery K/N, and --holder once for each of the N",
        )
    require_possible(int(first), [holder.identity for holder in holders])
    return int(first)


def read_request(file: Path) -> RecoveryRequest:
    """Read what a platform asks; nobody has checked it."""
    from cloister.keyservice.recovery_request import (
        MAX_REQUEST_BYTES,
        RecoveryRequest,
    )

    return RecoveryRequest.from_bytes(read_bytes(file, MAX_REQUEST_BYTES))


def read_bytes(file: Path, most: int) -> bytes:
    """Read a file that somebody named, and no more than one byte too many."""
    try:
        with file.open("rb") as opened:
            return opened.read(most + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {file}: {e.strerror}", code="config.file") from e


def tell(as_json: bool, facts: Mapping[str, object], sentence: str) -> None:
    """Say what was done, to people or machines."""
    if as_json:
        console.emit(facts)
    else:
        console.lines(sentence)
