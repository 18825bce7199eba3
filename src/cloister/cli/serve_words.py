"""Turn the words of `cloister serve` into the workload of a model server."""

from __future__ import annotations

import json
import re
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
# What a role's network can name is a DNS name of two parts; this one is the machine itself.
_THIS_MACHINE: Final = "middle.localhost"
_HOST: Final = re.compile(r"(?:[a-z0-9][a-z0-9-]*\.)+(?![0-9]+$)[a-z0-9][a-z0-9-]*")
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeWords:
    """A model server as typed.

    Attributes:
        store: The sealed volume with the model, the catalogue, or the package.
        file: The model's path on it; empty for a catalogue or a package.
        name: The model's name in URLs; empty for a catalogue.
        catalogue: Whether the volume is one.
        folder: Where on the volume the catalogue begins.
        package: Whether the volume is the package of a model that was cut.
        signers: Whose package is taken.
        require: What its report must show.
        middle: HOST:PORT where the exposed part runs; `localhost` is this machine.
        middle_bytes: How many bytes a run may send there.
        middle_rate: How many in a second.
        check: How its answers are checked; empty for the server's own choice.
        top: How many of the best classes leave; 0 lets all scores out.
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
    package: bool = False
    signers: Sequence[str] = ()
    require: Sequence[str] = ()
    middle: str = ""
    middle_bytes: int = 10**12
    middle_rate: int = 10**9
    check: str = ""
    top: int = 0
    clients: Sequence[str] = ()
    any_client: str = ""
    port: int = 0
    more: Sequence[str] = ()


def workload_of(words: ServeWords) -> WorkloadWords:
    """Return the role that serves.

    Raises:
        ConfigError: The words name no model, or several kinds of one.
    """
    kinds = [bool(words.file), words.catalogue, words.package]
    if sum(kinds) != 1:
        raise ConfigError(
            "say what is served: --file on the volume, --catalogue, or --package",
            code="config.missing" if not any(kinds) else "config.value",
        )
    if words.catalogue and words.name:
        raise ConfigError(
            "--name goes with --file and --package; a catalogue has names",
            code="config.value",
            hint="leave it away: folders are the names",
        )
    if not words.catalogue and not words.name:
        raise ConfigError(
            "--name is missing: what the model is called in URLs",
            code="config.missing",
            hint=f"such as --name {Path(words.file).stem or 'digits'}",
        )
    middle = _middle(words)
    return WorkloadWords(
        command=shlex.join(["python", "-m", "cloister.inference.server", *_options(words)]),
        volumes=(f"{_MODELS}={words.store}:latest",),
        listen=(f"{LISTENER}={words.port}",),
        clients=tuple(words.clients),
        any_client=words.any_client,
        instances="1" if middle else "",  # who has a network says how many there are
        egress=(f"{middle}={words.middle_bytes}/{words.middle_rate}",) if middle else (),
    )


def three_lines(
    address: str,
    identity: str,
    *,
    trust: str,
    command: Sequence[str],
    policy: str,
    named: bool,
    model: str = "",
) -> str:
    """Return what a client's program needs to ask.

    Args:
        address: HOST:PORT.
        identity: The server's SPIFFE ID.
        trust: Where the trust domain's `domain.json` lies.
        command: What the server is started with.
        policy: The hash of the policy that it runs under.
        named: Whether clients show certificates.
        model: One of a catalogue's models, where one is known.
    """
    scheme = "http" if "--outer-plain" in command else "https"
    said = [_quoted(f"{scheme}://{address}")]
    said += [f"trust={_quoted(trust)}", f"identity={_quoted(identity)}"]
    name = command[command.index("--name") + 1] if "--name" in command else model
    if name:
        said.append(f"model={_quoted(name)}")
    kind, module = "Client", "from cloister.inference import Client"
    if "--private" in command:
        kind, module = "PrivateClient", "from cloister.inference.private import PrivateClient"
        said += [f"policy={_quoted(policy)}", "asker=my_principal_or_member"]
    elif named:
        said.append("credential=my_credential")
    return f"{module}\nclient = {kind}({', '.join(said)})\nprint(client.predict(inputs))\n"


def _quoted(text: str) -> str:
    """Return a text as Python and people read it; what JSON escapes, Python escapes likewise."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _options(words: ServeWords) -> list[str]:
    if words.catalogue:
        found = ["--models", _inside(words.folder)]
    elif words.package:
        found = ["--package", _MODELS, "--secret", _MODELS]
        found += [word for each in words.signers for word in ("--signer", each)]
        found += [word for each in words.require for word in ("--require", each)]
        found += ["--middle", f"tcp:{_middle(words)}"]
        found += ["--check", words.check] if words.check else []
        found += ["--top", str(words.top)] if words.top else []
    else:
        found = ["--model", _inside(words.file)]
    return [*found, *(["--name", words.name] if words.name else []), *words.more]


def _middle(words: ServeWords) -> str:
    """Return NAME:PORT of the middle, by a name that a policy can have; nothing without one.

    Raises:
        ConfigError: A package lacks a word that checks it, another model has one, or it is no
            place.
    """
    given = (words.require, words.signers, words.middle, words.check, words.top)
    if not words.package:
        if any(given):
            raise ConfigError(
                "--signer, --require, --middle, --check and --top go with --package",
                code="config.value",
            )
        return ""
    if not all(given[:3]):
        raise ConfigError(
            "--package needs --signer, --require and --middle: nothing goes unchecked",
            code="config.missing",
        )
    host, _, port = words.middle.lower().rpartition(":")
    name = _THIS_MACHINE if host == "localhost" else host
    good = port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= _MAX_PORT  # noqa: PLR2004  # digits
    if not good or _HOST.fullmatch(name) is None:
        raise ConfigError(
            f"{words.middle} is no place for the middle",
            code="config.value",
            hint="localhost:PORT, or HOST:PORT with a DNS name of two or more parts: a policy "
            "names places outside by name",
        )
    return f"{name}:{int(port)}"


def _inside(path: str) -> str:
    parts = path.split("/") if path else []
    if path.startswith("/") or not all(part not in {"", ".", ".."} for part in parts):
        raise ConfigError(f"{path} is no path on the volume", code="config.value")
    return "/".join([_MODELS, *parts])
