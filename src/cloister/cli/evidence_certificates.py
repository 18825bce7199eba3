"""`cloister evidence certificate`: a certificate for peers that speak RA-TLS.

It is no identity of Cloister's, and opens nothing here (ADR 0003, ADR 0038).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import typer

from cloister.cli import attesting, console, settings
from cloister.errors import ConfigError

__all__ = ["certificate"]

_INTEROPERABLE: Final = frozenset({"sgx", "tdx"})
_HOUR_S: Final = 3600
_MAX_HOURS: Final = 24 * 90


def certificate(  # noqa: PLR0917  # options: typer passes them by name
    out: Path = typer.Argument(help="The new certificate, PEM."),
    key: Path = typer.Option(help="The new private key, PEM, for its owner only; a secret."),
    kind: str = typer.Option(help="sim, tdx, snp or sgx."),
    nonce: str = typer.Option("", help="What the peer gave out, as hex digits; for sgx and tdx."),
    hours: int = typer.Option(24, help=f"How long it is good for, 1 to {_MAX_HOURS}."),
    vmpl: int = typer.Option(0, help="For snp: the privilege level to report."),
    tsm: Path | None = attesting.TSM,
    gramine: Path | None = attesting.GRAMINE,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Make a key here, collect evidence about it, and put both into a certificate.

    For peers that speak RA-TLS, where this TEE is: interoperable RA-TLS for sgx and tdx, the CMW
    extension of RFC 9999 for others.
    """
    from cloister.attestation.ratls import (
        CMW_EXTENSION,
        DICE_EXTENSION,
        claims_buffer,
        cmw_extension,
        report_data_of_buffer,
        report_data_of_key,
        tagged_evidence,
    )
    from cloister.crypto.x509 import TLSKey
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.new_file import write_new_file

    interoperable = kind in _INTEROPERABLE
    answered = _octets(nonce)
    if not 1 <= hours <= _MAX_HOURS:
        raise ConfigError(f"--hours takes 1 to {_MAX_HOURS}", code="config.value")
    if answered and not interoperable:
        raise ConfigError(
            f"a certificate with evidence of {kind} has no place for a nonce",
            code="config.value",
            hint="`cloister evidence collect --nonce` answers one, without a certificate",
        )
    settings.hide_memory()
    made = TLSKey.generate()
    spki = made.public_key_info()
    buffer = claims_buffer(spki, answered or None)
    report_data = report_data_of_buffer(buffer) if interoperable else report_data_of_key(spki)
    wish = attesting.Wish(attesting.places(tsm=tsm, gramine=gramine), domain=domain, vmpl=vmpl)
    evidence = attesting.collect(kind, report_data.value, wish).evidence
    value = tagged_evidence(evidence, buffer) if interoperable else cmw_extension(evidence)
    pem = made.self_signed(
        extension=DICE_EXTENSION if interoperable else CMW_EXTENSION,
        value=value,
        at=read_clock().at,
        lifetime_s=hours * _HOUR_S,
    )
    write_new_file(out, pem)
    write_new_file(key, made.pem())
    form = "interoperable" if interoperable else "cmw"
    if as_json:
        console.emit({"form": form, "certificate": str(out), "key": str(key)})
    else:
        console.lines(f"{out}: evidence of {kind} as {form}\n{key}: its private key, a secret")


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as e:
        raise ConfigError("--nonce takes hex digits", code="config.value") from e
