"""`cloister volume rotate`, `rekey` and `retire`: give a volume a newer key, bit by bit."""

from __future__ import annotations

from pathlib import Path

import typer

from cloister.cli import console, settings

__all__ = ["rekey", "retire", "rotate"]

_JSON = typer.Option(False, "--json", help="One JSON object.")
_STORE = typer.Argument(help="The folder that holds the volume's store.")


def rotate(
    store: Path = _STORE, domain: Path | None = settings.DOMAIN, as_json: bool = _JSON
) -> None:
    """Have the key service make a volume's next key. What is written from now on is under it."""
    epoch = settings.owner(domain).rotate(store)
    if as_json:
        console.emit({"store": str(store), "key_epoch": epoch})
    else:
        console.lines(f"what is written to {store} from now on is under key {epoch}")
        console.note(f"next: cloister volume rekey {store}  (what is there now)")


def rekey(
    store: Path = _STORE, domain: Path | None = settings.DOMAIN, as_json: bool = _JSON
) -> None:
    """Seal everything again that is under an older key; may be interrupted and begun again."""
    owner = settings.owner(domain)
    with console.progress(f"rekeying {store}", quiet=as_json) as step:
        report = owner.rekey(store, progress=lambda done: step(done.octets, done.total))
    if as_json:
        record = {"key_epoch": report.key_epoch, "resealed_bytes": report.resealed}
        console.emit({"store": str(store), **record})
    else:
        console.lines(f"{report.resealed} bytes were sealed again")
        console.lines(f"all of {store} is under key {report.key_epoch}")


def retire(
    store: Path = _STORE,
    before: int | None = typer.Option(
        None, "--before", min=1, help="Keep the key of this epoch and newer ones (default: newest)."
    ),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Destroy a volume's older keys; refused while something is still under one of them."""
    oldest = settings.owner(domain).retire(store, before=before)
    if as_json:
        console.emit({"store": str(store), "oldest_key": oldest})
    else:
        console.lines(f"the keys of {store} before key {oldest} are gone")
