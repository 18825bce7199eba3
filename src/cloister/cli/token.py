"""`cloister token`: the issuer's keys, and, offline, what a relying party's token establishes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import console, settings
from cloister.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.attestation.ear import Least, VerifiedEar

__all__ = ["app"]

app = typer.Typer(help="Judge attestation tokens (EAR).", no_args_is_help=True)

_MAX_FILE_BYTES: Final = 262145  # the longest token, and the end of its line


@app.command()
def verify(  # noqa: PLR0917  # options: typer passes them by name
    file: Path = typer.Argument(help="The token, a compact JWS."),
    jwks: Path = typer.Option(help="The issuer's JWKS, from somewhere that you trust."),
    audience: str = typer.Option(help="You, as you told the issuer."),
    nonce: str = typer.Option(help="What you gave out, in base64url without padding."),
    accept_warning: bool = typer.Option(
        False, "--accept-warning", help="Accept a policy that left checks out."
    ),
    accept_simulated: bool = typer.Option(
        False, "--accept-simulated", help="Accept a token that no hardware vouched for."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Judge a token as a relying party does, and say what it establishes."""
    from cloister.attestation.ear import verify_ear
    from cloister.crypto.jose import KeySet
    from cloister.keyservice.clock import read_clock

    # A simulated result is never better than a warning.
    least: Least = "warning" if accept_warning or accept_simulated else "affirming"
    ear = verify_ear(
        _read_token(file),
        jwks=KeySet.from_bytes(_read(jwks)),
        audience=audience,
        nonce=_nonce(nonce),
        at=read_clock().at,
        accept_simulated=accept_simulated,
        at_least=least,
    )
    if as_json:
        console.emit(ear.as_record())
    else:
        _explain(ear)


@app.command()
def keys(
    file: Path = typer.Argument(help="Where the JWKS goes; it must not be there."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Write the key of this trust domain's tokens to a file, for relying parties to pin."""
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.member_client import fetch_token_keys
    from cloister.keyservice.member_service import token_issuer
    from cloister.keyservice.pinned import PinnedService

    found = settings.connect(domain)
    pinned = PinnedService(found.domain.identity, found.domain.origin)
    jwks = fetch_token_keys(found.transport, pinned, clock=read_clock)
    _write_new(file, jwks + b"\n")
    issuer = token_issuer(found.domain.name)
    if as_json:
        console.emit({"file": str(file), "issuer": issuer})
    else:
        console.lines(f"{file}: the key under which {issuer} signs tokens")


@app.command("new-key")
def new_key(
    file: Path = typer.Argument(help="Where the key goes, a secret; it must not be there."),
    jwks: Path = typer.Argument(help="Where its JWKS goes, for relying parties to pin."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Make a key for tokens about evidence that you judge yourself: `cloister evidence verify`."""
    from cloister.cli.evidence_ear import token_key_files
    from cloister.keyservice.new_file import write_new_file

    secret, public = token_key_files()
    write_new_file(file, secret)
    _write_new(jwks, public)
    if as_json:
        console.emit({"key": str(file), "jwks": str(jwks)})
    else:
        console.lines(f"{file}: a secret\n{jwks}: what relying parties pin")


def _write_new(file: Path, data: bytes) -> None:
    try:
        with file.open("xb") as opened:
            opened.write(data)
    except FileExistsError as e:
        raise ConfigError(f"{file} is there already", code="config.exists") from e
    except OSError as e:
        raise ConfigError(f"cannot write {file}: {e.strerror}", code="config.file") from e


def _explain(ear: VerifiedEar) -> None:
    from cloister.attestation.ear_verdict import VerdictFacts

    rooted = "rooted in hardware" if ear.hardware_rooted else "SIMULATED, or not said: no hardware"
    console.lines(f"status:   {ear.status} ({rooted})")
    console.lines(f"issuer:   {console.printable(ear.issuer)}, key {ear.kid}")
    console.lines(f"verifier: {console.printable(ear.developer)}, {console.printable(ear.build)}")
    for appraisal in ear.appraisals:
        console.lines(f"{console.printable(appraisal.label)}: {appraisal.status}")
        for policy in appraisal.policies:
            console.lines(f"  policy:  {console.printable(policy)}")
        for name, value in appraisal.vector.items():
            console.lines(f"  {console.printable(name)}: {value}")
        if (facts := appraisal.facts) is not None:
            console.lines(f"  root of trust: {console.printable(facts.root_of_trust)}")
            if isinstance(facts, VerdictFacts):
                console.lines(f"  evidence: {facts.verdict} {console.printable(facts.status)}")
            else:
                console.lines(f"  code:    sha256:{facts.launch.code.hex()}")
                console.lines(f"  runtime: sha256:{facts.launch.runtime.hex()}")
            for item in facts.not_checked:
                console.lines(console.printable(f"  not checked: {item.rule} ({item.reason})"))


def _nonce(text: str) -> bytes:
    from cloister.crypto.jose import from_base64url

    try:
        return from_base64url(text, what="the nonce")
    except MalformedError as e:
        raise ConfigError("--nonce is base64url without padding", code="config.value") from e


def _read_token(file: Path) -> str:
    try:
        return _read(file).decode("ascii").removesuffix("\n")
    except UnicodeDecodeError as e:
        raise MalformedError(f"{file} is no token", code="token.malformed") from e


def _read(file: Path) -> bytes:
    """Read a file of at most a token's length; what is longer, its reader refuses."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_FILE_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {file}: {e.strerror}", code="config.file") from e
