"""`cloister model cut`: a package, of a cut whose leakage report passes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

from cloister.cli import console, model_shown, settings
from cloister.errors import ConfigError

__all__ = ["command"]

_SEED_BYTES: Final = 4


def command(  # noqa: PLR0917  # options: typer passes them by name
    model: Path = typer.Argument(
        help="The model: .keras, .h5, .onnx or .tflite, read as data; or see --trusted."
    ),
    report: Path = typer.Option(help="Its leakage report, from cloister model assess."),
    out: Path = typer.Option(help="A new folder for what may be exposed."),
    volume: Path = typer.Option(
        help="A new folder for the sealed volume that gets the whole package."
    ),
    front: str = typer.Option(
        "recommended", help="Where the exposed part begins: a position of the report."
    ),
    back: str | None = typer.Option(
        None, help="Where it ends; without it whoever runs the exposed part sees the answer."
    ),
    labels: Path | None = typer.Option(
        None, help="Names of the classes, one a line or a JSON array; they stay secret."
    ),
    require: list[str] = typer.Option(
        ["default"], help="What the report must pass, such as decoder.ssim-gain.high<=0.3."
    ),
    name: str = typer.Option("", help="What people call it (default: the file's name)."),
    trials: int = typer.Option(8, min=1, help="Random inputs to compare parts and whole on."),
    trusted: bool = typer.Option(
        False,
        "--trusted",
        help="For .pt2 files and SavedModels, whose frameworks load them: their maker may run "
        "code here.",
    ),
    key: Path | None = settings.KEY,
    namespace: str = typer.Option("/", "--namespace", help="Whose policies may use the volume."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Cut a model in three where its report allows it, sign the package, seal the secret parts.

    Nothing is written where the parts do not give what the whole model gives, or where something
    of a secret part is left in the exposed one.
    """
    console.hush_frameworks()
    from cloister.crypto.kdf import random_bytes
    from cloister.keyservice.clock import read_clock
    from cloister.partition.cutting import Wish, cut_package
    from cloister.partition.importing import open_model
    from cloister.partition.package import open_exposed, write_exposed
    from cloister.partition.report import load_report
    from cloister.partition.sealing import SALT_BYTES, memory_reading
    from cloister.partition.thresholds import read_thresholds

    for folder in (out, volume):
        _require_new(folder)
    wish = Wish(
        name=name or model.name,
        front=front,
        back=back,
        labels=None if labels is None else _read_labels(labels),
        thresholds=read_thresholds(require),
        trials=trials,
    )
    owner, signer = settings.owner(domain, key), settings.signer(domain, key)
    owner.client.status()  # who will keep the volume's key answers now, or nothing is begun
    with console.stages(quiet=as_json) as stage:
        stage(f"reading {model}")
        files = cut_package(
            open_model(model, trusted=trusted),
            load_report(report),
            wish,
            key=signer,
            made=read_clock().at,
            seed=int.from_bytes(random_bytes(_SEED_BYTES), "big"),
            salt=random_bytes(SALT_BYTES),
            stage=stage,
        )
        stage("sealing the package")
        identity = owner.seal_files(
            files.volume, volume, kind="model", progress=lambda _: None, namespace=namespace
        )
        stage(f"writing {out}")
        write_exposed(out, files)
    opened = open_exposed(
        memory_reading(files.exposed), signers=(signer.public,), thresholds=wish.thresholds
    )
    record = model_shown.record_of(opened) | {
        "exposed": str(out),
        "secret": {
            "store": str(volume),
            "id": identity.volume_id.hex(),
            "root": "sha256:" + identity.root.hex(),
        },
    }
    if as_json:
        console.emit(record)
        return
    model_shown.show(opened)
    console.lines(f"may be exposed  {out}")
    console.lines(f"to be served    {volume}, volume {identity.volume_id.hex()}")
    for what, words in _next(out, volume, signer.public.text, require).items():
        console.lines(f"{what:<15} {shlex.join(words)}")


def _next(out: Path, volume: Path, signer: str, require: Sequence[str]) -> dict[str, list[str]]:
    """Return the commands that take this package, with what it was held against."""
    from cloister.partition.thresholds import DEFAULT

    held = [word for each in require for word in ("--require", each)]
    own = held if list(require) != [DEFAULT] else []
    check = ["cloister", "model", "check", str(out), "--signer", signer, *own]
    serve = ["cloister", "serve", str(volume), "--package", "--signer", signer, *held]
    return {"check it": check, "serve it": [*serve, "--middle", "HOST:PORT", "--client", "ID"]}


def _require_new(folder: Path) -> None:
    """Refuse a folder that is taken before anything is computed."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty", code="config.exists", hint="name a new folder")


def _read_labels(file: Path) -> tuple[str, ...]:
    from cloister.partition.sealing import MAX_LABELS_BYTES, read_label_list

    try:
        with file.open("rb") as stream:
            return read_label_list(stream.read(MAX_LABELS_BYTES))
    except OSError as e:
        raise ConfigError(f"cannot read {file}: {e.strerror}", code="config.file") from e
