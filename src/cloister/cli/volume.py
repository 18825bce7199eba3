"""`cloister volume`: data in, results out."""

from __future__ import annotations

import stat
from pathlib import Path

import typer

from cloister.cli import console, mount, regions, settings, volume_keys

__all__ = ["app"]

app = typer.Typer(
    help="Seal data into volumes, look at them, take results out.", no_args_is_help=True
)

app.command("mount")(mount.command)
app.command("rotate")(volume_keys.rotate)
app.command("rekey")(volume_keys.rekey)
app.command("retire")(volume_keys.retire)

_JSON = typer.Option(False, "--json", help="One JSON object.")
_STORE = typer.Argument(help="The folder that holds the volume's store.")
_NAMESPACE = typer.Option("/", "--namespace", help="Whose policies may use it; / for the root.")


@app.command()
def seal(  # noqa: PLR0917  # options: typer passes them by name
    source: Path = typer.Argument(help="The folder to seal, in plain."),
    store: Path = _STORE,
    kind: str = typer.Option("data", "--kind", help="What it is, such as data or code."),
    namespace: str = _NAMESPACE,
    region: list[str] | None = regions.OPTION,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Import a folder into a new, immutable volume and entrust its key to the key service."""
    said = regions.read_regions(region)
    owner = settings.owner(domain)
    with console.progress(f"sealing {source}", quiet=as_json) as step:
        identity = owner.seal(
            source,
            store,
            kind=kind,
            progress=lambda done: step(done.octets, 0),
            namespace=namespace,
            regions=said,
        )
    _print_identity(identity.volume_id, identity.version, identity.root, store, as_json=as_json)


@app.command()
def create(
    store: Path = _STORE,
    kind: str = typer.Option("results", "--kind", help="What it is, such as model or results."),
    namespace: str = _NAMESPACE,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Make an empty volume that workloads can write."""
    identity = settings.owner(domain).create(store, kind=kind, namespace=namespace)
    _print_identity(identity.volume_id, identity.version, identity.root, store, as_json=as_json)


@app.command("open")
def open_(
    store: Path = _STORE,
    target: Path = typer.Argument(help="A new or empty folder for the plain files."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Decrypt a volume's newest state into a folder on this machine."""
    from cloister.volume.reader import walk
    from cloister.volume.seal import extract_tree

    with (
        settings.owner(domain).reading(store) as filesystem,
        console.progress(f"opening {store}", quiet=as_json) as step,
    ):
        extract_tree(filesystem, target, progress=lambda done: step(done.octets, 0))
        identity = filesystem.identity
        files = sum(1 for _ in walk(filesystem))
    record = {"names": files, "target": str(target), "version": identity.version}
    if as_json:
        console.emit(record)
    else:
        console.lines(f"{files} names of version {identity.version} in {target}")


@app.command()
def ls(store: Path = _STORE, domain: Path | None = settings.DOMAIN, as_json: bool = _JSON) -> None:
    """List what a volume's newest state holds; files are encrypted unless it says otherwise."""
    from cloister.volume.reader import walk

    with settings.owner(domain).reading(store) as filesystem:
        entries = [
            {
                "path": found.path,
                "mode": stat.filemode(found.attributes.mode),
                "size": found.attributes.size,
                "target": found.target or None,
                "class": None if found.protection is None else found.protection.value,
            }
            for found in walk(filesystem)
        ]
    if as_json:
        console.emit({"entries": entries})
        return
    for entry in entries:
        arrow = f" -> {entry['target']}" if entry["target"] else ""
        shown = "  (authenticated)" if entry["class"] == "authenticated" else ""
        console.lines(f"{entry['mode']}  {entry['size']:>12}  {entry['path']}{arrow}{shown}")


@app.command()
def verify(
    store: Path = _STORE, domain: Path | None = settings.DOMAIN, as_json: bool = _JSON
) -> None:
    """Read and authenticate every byte of a volume's newest state."""
    from cloister.volume.reader import verify_tree

    with (
        settings.owner(domain).reading(store) as filesystem,
        console.progress(f"verifying {store}", quiet=as_json) as step,
    ):
        report = verify_tree(filesystem, progress=lambda done: step(done.octets, 0))
        identity = filesystem.identity
    if as_json:
        console.emit(
            {
                "verified_bytes": report.octets,
                "files": report.files,
                "id": identity.volume_id.hex(),
                "version": identity.version,
                "root": "sha256:" + identity.root.hex(),
            }
        )
    else:
        console.lines(
            f"{report.octets} bytes of version {identity.version} are whole and the newest"
        )


@app.command()
def observe(store: Path = _STORE, as_json: bool = _JSON) -> None:
    """Say, without any key, which volume and state a store claims to hold."""
    from cloister.volume.opening import observe as look

    identity = look(store)
    _print_identity(identity.volume_id, identity.version, identity.root, store, as_json=as_json)


def _print_identity(
    volume_id: bytes, version: int, root: bytes, store: Path, *, as_json: bool
) -> None:
    record = {
        "store": str(store),
        "id": volume_id.hex(),
        "version": version,
        "root": "sha256:" + root.hex(),
    }
    if as_json:
        console.emit(record)
        return
    for name, value in record.items():
        console.lines(f"{name:<8} {value}")
