"""`cloister model check`: is this package what its owner signed, and does its report pass?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import console, model_shown, settings

if TYPE_CHECKING:
    from cloister.partition.package import Exposed, Package

__all__ = ["command"]


def command(  # noqa: PLR0917  # options: typer passes them by name
    folder: Path = typer.Argument(help="The package's exposed side."),
    signer: list[str] = typer.Option(help="Whose packages are taken: ed25519:…"),
    require: list[str] = typer.Option(
        ["default"], help="What the report must pass, such as decoder.ssim-gain.high<=0.3."
    ),
    secret: Path | None = typer.Option(
        None, help="Its secret side: the volume's store, or where the volume is mounted."
    ),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Check signature, digests, report and, where it is named, the secret side of a package.

    Nothing of it is run. A report that does not pass ends with the number that failed.
    """
    from cloister.crypto.signature import VerifyingKey
    from cloister.partition.package import open_exposed
    from cloister.partition.sealing import folder_reading
    from cloister.partition.thresholds import read_thresholds

    signers = tuple(VerifyingKey.from_text(text) for text in signer)
    opened = open_exposed(
        folder_reading(folder), signers=signers, thresholds=read_thresholds(require)
    )
    whole = None if secret is None else _open_secret(opened, secret, domain)
    if as_json:
        record = model_shown.record_of(opened) | {"secret_checked": whole is not None}
        console.emit(record)
        return
    model_shown.show(opened)
    if whole is None:
        console.lines("secret side      not checked: name it with --secret")
    else:
        count = 0 if whole.labels is None else len(whole.labels)
        console.lines(f"secret side      whole, with {count} labels")


def _open_secret(opened: Exposed, secret: Path, domain: Path | None) -> Package:
    """Open the secret side in this process: a volume by its owner's key, or a mounted one."""
    from cloister.partition.package import open_secret
    from cloister.partition.sealing import folder_reading, volume_reading
    from cloister.volume.recovery import SUPERBLOCK

    if not (secret / SUPERBLOCK).exists():
        return open_secret(opened, folder_reading(secret))
    with settings.owner(domain).reading(secret) as filesystem:
        return open_secret(opened, volume_reading(filesystem))
