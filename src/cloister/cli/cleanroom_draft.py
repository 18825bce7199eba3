"""`cloister cleanroom draft` and `digest`: first terms, and what a recipe is called in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import typer

from cloister.cli import console, settings
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.cleanroom.terms import Framework, Shard

__all__ = ["digest", "draft"]

_JSON = typer.Option(False, "--json", help="One JSON object.")
_NAMED: Final = re.compile(r"([0-9a-f]{32})@(sha256:[0-9a-f]{64})")
_VOLUME: Final = "A store's folder, or ID@sha256:ROOT as `cloister volume observe` prints them"


def draft(  # noqa: PLR0917  # options: typer passes them by name
    name: str = typer.Option(help="The room's name."),
    namespace: str = typer.Option(help="The namespace whose charter names both owners."),
    model_owner: str = typer.Option(help="The model owner's public key, ed25519:…"),
    data_owner: str = typer.Option(help="The data owner's public key, ed25519:…"),
    shard: list[str] = typer.Option(
        metavar="VOLUME=EXAMPLES", help=f"{_VOLUME}; one for each trainer."
    ),
    shape: str = typer.Option(help="Of one record, such as 28,28,1."),
    classes: int = typer.Option(min=2, help="How many labels there are."),
    recipe: str = typer.Option(metavar="VOLUME", help=f"{_VOLUME}."),
    recipe_digest: str = typer.Option(help="What `cloister cleanroom digest` prints."),
    model: str = typer.Option(metavar="VOLUME", help=f"{_VOLUME}."),
    model_owner_report: str = typer.Option(metavar="VOLUME", help=f"{_VOLUME}."),
    data_owner_report: str = typer.Option(metavar="VOLUME", help=f"{_VOLUME}."),
    principal: list[str] = typer.Option(metavar="NAME=KEY", help="Who may ask; repeat it."),
    framework: list[str] = typer.Option(
        ["tensorflow"], help="tensorflow, jax or torch: one for all trainers, or one for each."
    ),
    rounds: int = typer.Option(20, min=1, help="How many rounds."),
    output: Path = typer.Option(Path("terms.yaml"), "--output", "-o", help="The new file."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Write first terms for this machine; both owners read and change them before they sign."""
    from cloister.cleanroom.draft import Facts, draft_terms
    from cloister.cleanroom.terms import Parties
    from cloister.crypto.digest import digest_to_text

    if output.exists():
        raise ConfigError(f"{output} exists", code="config.exists", hint="name another file")
    shards = tuple(_shard(text) for text in shard)
    volume, root = _volume(recipe)
    with console.progress("measuring the runtime", quiet=as_json) as step:
        facts = settings.measure_local(domain, program="python", progress=step)
    text = draft_terms(
        Facts(
            name=name,
            namespace=namespace,
            service=settings.find_domain(domain).identity.text,
            parties=Parties(model_owner=model_owner, data_owner=data_owner),
            anchor=facts.anchor,
            launcher=digest_to_text(facts.launcher),
            svn=facts.svn,
            runtime=digest_to_text(facts.runtime),
            shards=shards,
            shape=tuple(_number(part, "a shape") for part in shape.split(",")),
            classes=classes,
            recipe=(volume, root, recipe_digest),
            model=_volume(model)[0],
            reports=(_volume(model_owner_report)[0], _volume(data_owner_report)[0]),
            frameworks=_frameworks(framework, len(shards)),
            rounds=rounds,
            principals=dict(_principal(text) for text in principal),
        )
    )
    output.write_text(text, encoding="utf-8")
    if as_json:
        console.emit({"file": str(output)})
    else:
        console.lines(f"{output} is written. Read it, then: cloister cleanroom offer {output}")


def digest(
    folder: Path = typer.Argument(help="The recipe's folder, in plain, with recipe.py."),
    as_json: bool = _JSON,
) -> None:
    """Print the digest that terms name a recipe by."""
    from cloister.cleanroom.recipe import read_recipe, recipe_digest
    from cloister.crypto.digest import digest_to_text

    files = read_recipe(folder)
    text = digest_to_text(recipe_digest(files))
    if as_json:
        console.emit({"digest": text, "files": len(files)})
    else:
        console.lines(text)


def _volume(text: str) -> tuple[str, str]:
    """Return identity and state of a volume; stores are looked at without any key."""
    from cloister.crypto.digest import digest_to_text
    from cloister.volume.opening import observe

    named = _NAMED.fullmatch(text)
    if named is not None:
        return named.group(1), named.group(2)
    identity = observe(Path(text))
    return identity.volume_id.hex(), digest_to_text(identity.root)


def _shard(text: str) -> Shard:
    from cloister.cleanroom.terms import Shard

    volume, equals, examples = text.rpartition("=")
    if not equals:
        raise ConfigError(
            f"{text!r} is no shard", code="config.value", hint="write VOLUME=EXAMPLES"
        )
    found, root = _volume(volume)
    return Shard(id=found, root=root, examples=_number(examples, "a number of examples"))


def _principal(text: str) -> tuple[str, str]:
    name, equals, key = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r} is no principal", code="config.value", hint="write NAME=KEY")
    return name, key


def _frameworks(named: Sequence[str], trainers: int) -> tuple[Framework, ...]:
    """Return one for each trainer; the reader of the draft refuses what is none."""
    each = list(named) * trainers if len(named) == 1 else list(named)
    return cast("tuple[Framework, ...]", tuple(each))


def _number(text: str, what: str) -> int:
    if re.fullmatch(r"[1-9][0-9]{0,11}", text) is None:
        raise ConfigError(f"{text!r} is not {what}", code="config.value")
    return int(text)
