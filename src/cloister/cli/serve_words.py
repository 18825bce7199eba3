"""Turn the words of `cloister serve` into the workload of a model server."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.cli.draft import WorkloadWords
from cloister.errors import ConfigError

__all__ = ["CODE_FILE", "CODE_TEXT", "LISTENER", "ROLE", "ServeWords", "three_lines", "workload_of"]

ROLE: Final = "serve"
LISTENER: Final = "predict"
# A policy measures code; what serves is in the measured runtime, and this is all that is beside it.
CODE_FILE: Final = "README"
CODE_TEXT: Final = (
    "The server is cloister.inference.server, in the runtime that the policy measures.\n"
)
_MODELS: Final = "/models"
_PACKAGE: Final = "/package"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeWords:
    """A model server as typed.

    Attributes:
        store: The sealed volume with the model, the catalogue, or the secret half.
        file: The model's path on it; empty for a catalogue or a package.
        name: The model's name in URLs; empty for a catalogue.
        catalogue: Whether the volume is one.
        folder: Where on the volume the catalogue begins.
        package: The volume with the exposed half; None for a whole model.
        signers: Whose package is taken.
        require: What its report must show.
        middle: Where the exposed part runs.
        clients: SPIFFE IDs of who may ask.
        any_client: Why anybody may.
        port: Where it listens.
        more: Options of the server that have the same name there, with their values.
    """

    store: Path
    file: str = ""
    name: str = ""
    catalogue: bool = False
    folder: str = ""
    package: Path | None = None
    signers: Sequence[str] = ()
    require: Sequence[str] = ()
    middle: str = ""
    clients: Sequence[str] = ()
    any_client: str = ""
    port: int = 0
    more: Sequence[str] = ()


def workload_of(words: ServeWords) -> WorkloadWords:
    """Return the role that serves.

    Raises:
        ConfigError: The words name no model, or several kinds of one.
    """
    kinds = [bool(words.file), words.catalogue, words.package is not None]
    if sum(kinds) != 1:
        raise ConfigError(
            "say what is served: --file on the volume, --catalogue, or --package",
            code="config.missing" if not any(kinds) else "config.value",
        )
    if words.catalogue == bool(words.name):
        raise ConfigError(
            "--name goes with --file and --package; a catalogue has names",
            code="config.value",
        )
    volumes = [f"{_MODELS}={words.store}:latest"]
    if words.package is not None:
        volumes.append(f"{_PACKAGE}={words.package}:latest")
    return WorkloadWords(
        command=shlex.join(["python", "-m", "cloister.inference.server", *_options(words)]),
        volumes=tuple(volumes),
        listen=(f"{LISTENER}={words.port}",),
        clients=tuple(words.clients),
        any_client=words.any_client,
    )


def three_lines(address: str, identity: str) -> str:
    """Return what a client's program needs to ask."""
    return (
        "from cloister.inference import Client\n"
        f'client = Client("https://{address}", trust="domain.json", identity="{identity}")\n'
        "print(client.predict(inputs))\n"
    )


def _options(words: ServeWords) -> list[str]:
    if words.catalogue:
        found = ["--models", _inside(words.folder)]
    elif words.package is not None:
        if not (words.require and words.signers and words.middle):
            raise ConfigError(
                "--package needs --signer, --require and --middle: nothing goes unchecked",
                code="config.missing",
            )
        found = ["--package", _PACKAGE, "--secret", _MODELS]
        found += [word for each in words.signers for word in ("--signer", each)]
        found += [word for each in words.require for word in ("--require", each)]
        found += ["--middle", words.middle]
    else:
        found = ["--model", _inside(words.file)]
    return [*found, *(["--name", words.name] if words.name else []), *words.more]


def _inside(path: str) -> str:
    parts = path.split("/") if path else []
    if path.startswith("/") or not all(part not in {"", ".", ".."} for part in parts):
        raise ConfigError(f"{path} is no path on the volume", code="config.value")
    return "/".join([_MODELS, *parts])
