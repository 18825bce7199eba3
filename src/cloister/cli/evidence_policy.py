"""`cloister evidence policy`: a policy's values from a signed file, or from what was computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import console
from cloister.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.attestation.evidence_rules import Field, Rule
    from cloister.crypto.vendor_keys import EcdsaKey
    from cloister.tee.corim import Corim, ReferenceValues

__all__ = ["comparison", "policy", "reference_values"]


def policy(  # noqa: PLR0917  # options: typer passes them by name
    kind: str = typer.Option(help="The kind of evidence that the values are for."),
    from_corim: Path | None = typer.Option(None, help="A file with reference values, a CoRIM."),
    value: list[str] = typer.Option(
        [], help="CLAIM=HEX, such as `cloister measure` prints; one claim twice makes a list."
    ),
    key: Path | None = typer.Option(
        None, help="The public key (PEM) of whose values you take; the file must be signed by it."
    ),
    unsigned: bool = typer.Option(
        False, "--unsigned", help="Take a file that nobody signed: you vouch for it yourself."
    ),
    state: list[int] = typer.Option(
        [], help="Which of several states, from 1; repeat it. Where a mixture would be accepted."
    ),
    fill: Path | None = typer.Option(
        None, help="A policy to take everything else from; its comments are lost."
    ),
    at: str = typer.Option("", help="The instant to judge validity at; default: now."),
    output: Path | None = typer.Option(None, "--output", "-o", help="A new file for the policy."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Write an evidence policy with reference values; say what it leaves out of them."""
    from cloister.cli.evidence import instant_of, read_policy, require_root
    from cloister.keyservice.new_file import write_new_file
    from cloister.keyservice.policy.draft_evidence import EvidenceDraft, draft_evidence_policy

    root = require_root(kind)
    rules = _written(value, root.fields())
    source = _nothing()
    if from_corim is not None:
        source = _from_corim(from_corim, kind, key, state, unsigned=unsigned, at=instant_of(at))
    elif key is not None or unsigned or state:
        raise ConfigError("--key, --unsigned and --state go with --from-corim", code="config.value")
    twice = sorted(set(rules) & set(source.rules))
    if twice or not (rules or source.rules):
        raise ConfigError(
            f"two sources speak of {twice[0]}" if twice else "no value was given",
            code="config.value" if twice else "config.missing",
            hint="--from-corim FILE --key KEY, or --value CLAIM=HEX",
        )
    rules |= source.rules
    anchors: tuple[str, ...] = ("manufacturer",)
    replaced: Mapping[str, Rule] = {}
    if fill is not None:
        before = read_policy(fill, root)
        anchors, replaced = before.anchors, before.rules
    text = draft_evidence_policy(
        EvidenceDraft(
            kind=root.name,
            anchors=anchors,
            rules={**replaced, **rules},
            sources=[*source.sources, *(["the command line"] if value else [])],
            unread=source.unread,
        ),
        root.fields(),
    )
    if output is not None:
        write_new_file(output, text.encode())
    changed = [path for path, rule in rules.items() if replaced.get(path) != rule]
    if as_json:
        console.emit(
            {
                "kind": root.name,
                "signer": source.signer or None,
                "states": list(source.states),
                "claims": changed,
                "unread": list(source.unread),
                "file": None if output is None else str(output),
                "policy": text,
            }
        )
        return
    for line in source.unread:
        console.warn(console.printable(f"not in the policy: {line}"))
    console.lines(text if output is None else f"{output} is written: {', '.join(changed)}")


@dataclass(frozen=True, slots=True)
class _Source:
    """What a file gave: rules, words about it, and what was left out."""

    rules: Mapping[str, Rule]
    sources: Sequence[str]
    signer: str
    states: Sequence[str]
    unread: Sequence[str]


def _nothing() -> _Source:
    return _Source({}, (), "", (), ())


def _from_corim(
    path: Path, kind: str, key: Path | None, state: Sequence[int], *, unsigned: bool, at: int
) -> _Source:
    corim, found = reference_values(path, kind, key, unsigned=unsigned, at=at)
    return _Source(
        rules=found.merged(state),
        sources=_sources(corim, found, state),
        signer="" if corim.signature is None else corim.signature.signer,
        states=[environment for environment, _ in found.states],
        unread=found.unread,
    )


def _written(values: Sequence[str], table: Sequence[Field]) -> dict[str, Rule]:
    """Read CLAIM=HEX; only claims that are bytes are computed from images."""
    from cloister.attestation.evidence_rules import OneOf

    names = {field.path for field in table if field.form == "bytes"}
    found: dict[str, list[bytes]] = {}
    for text in values:
        name, _, digits = text.partition("=")
        if name not in names:
            raise ConfigError(
                f"no claim of bytes is called {name}",
                code="config.value",
                hint="cloister evidence fields lists them",
            )
        try:
            octets = bytes.fromhex(digits)
        except ValueError as e:
            raise ConfigError(f"{name} takes hex digits", code="config.value") from e
        if octets not in found.setdefault(name, []):
            found[name].append(octets)
    return {name: OneOf(tuple(each)) for name, each in found.items()}


def reference_values(
    path: Path, kind: str, key: Path | None, *, unsigned: bool, at: int
) -> tuple[Corim, ReferenceValues]:
    """Read a CoRIM, judge its signature, and say what it means for a kind's claims.

    Raises:
        ConfigError: Neither a key nor `unsigned` was given, or both; a file cannot be read.
        MalformedError: It is no CoRIM, or not for this kind.
        EndorsementError: Another key signed it, nobody did, or it does not count at that instant.
    """
    from cloister.cli.evidence import require_root
    from cloister.tee.corim import MAX_CORIM_BYTES, Corim, translate

    if (key is None) is not unsigned:
        raise ConfigError(
            "whose values are taken is said by --key, or by --unsigned where nobody signed",
            code="config.missing" if key is None else "config.value",
        )
    corim = Corim.from_bytes(_read(path, MAX_CORIM_BYTES))
    if key is None:
        corim.require_unsigned(at=at)
    else:
        corim.require_signed(_key(key, corim), at=at)
    return corim, translate(corim, kind, require_root(kind).fields())


def comparison(path: Path | None, key: Path | None) -> Callable[[str], ReferenceValues] | None:
    """Return what says the reference values for a kind, judged now; None where no file is named."""
    from cloister.cli.evidence import instant_of

    if path is None:
        if key is not None:
            raise ConfigError("--corim-key goes with --corim", code="config.value")
        return None
    file = path
    return lambda kind: reference_values(file, kind, key, unsigned=key is None, at=instant_of(""))[
        1
    ]


def _key(path: Path, corim: Corim) -> EcdsaKey:
    """Read a public key on the curve that the file's signature says; no other can have made it."""
    from cloister.crypto.vendor_keys import EcdsaKey
    from cloister.errors import EndorsementError
    from cloister.tee.endorsement_files import pem_body

    der = pem_body(_read(path, 65536))
    if corim.signature is None:
        raise EndorsementError("nobody signed this CoRIM", code="corim.signature")
    try:
        return EcdsaKey.from_spki(der, corim.signature.curve)
    except MalformedError as e:
        raise EndorsementError(
            "the key that was named is not of the kind that signed this CoRIM",
            code="corim.signature",
        ) from e


def _sources(corim: Corim, found: ReferenceValues, state: Sequence[int]) -> list[str]:
    signature = corim.signature
    signed = "signed by nobody" if signature is None else f"signed by {signature.signer}"
    names = [environment for environment, _ in found.states]
    chosen = [names[number - 1] for number in state] or names
    return [f"the CoRIM {corim.id}, {signed}", *(f"the environment {name}" for name in chosen)]


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
    if len(data) > max_bytes:
        raise ConfigError(f"{path} has more than {max_bytes} bytes", code="config.value")
    return data
