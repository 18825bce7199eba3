"""`cloister evidence convert`: the same evidence in the form that somebody else reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import console
from cloister.cli.evidence_forms import FORM_HELP, known_root, open_evidence, read_form
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.attestation.cmw import CmwRecord, CmwTag
    from cloister.attestation.evidence import Evidence

__all__ = ["convert"]

_FORMS: Final = ("cmw-cbor", "cmw-json", "cmw-tag", "envelope", "raw")


def convert(  # noqa: PLR0917  # options: typer passes them by name
    evidence: Path = typer.Argument(metavar="EVIDENCE", help="A file, or a folder with parts."),
    out: Path = typer.Argument(help="The new file."),
    kind: str = typer.Option(help="sgx, tdx, snp, tpm, azure-snp, azure-tdx, nvidia, nitro, …"),
    to: str = typer.Option(help=", ".join(_FORMS) + "."),
    form: str = typer.Option("auto", "--format", help=FORM_HELP),
    item: str = typer.Option("", help="Labels of the item in a collection, with / between."),
    content_format: int | None = typer.Option(
        None, help="The CoAP content format that stands for this kind between you and your peer."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Write evidence in another form; nothing is judged, and no byte of it changes."""
    from cloister.keyservice.new_file import write_new_file

    root = known_root(kind)
    if to not in _FORMS:
        raise ConfigError(
            f"there is no form called {to!r}", code="config.value", hint=", ".join(_FORMS)
        )
    if item or (content_format is not None and to != "cmw-tag"):
        found = _from_item(evidence, item, root.media_types[0], content_format)
    else:
        found = open_evidence(
            evidence, root.name, form=read_form(form), event_log=None, at=None
        ).evidence
    write_new_file(out, _written(found, to, content_format))
    console.note("not judged: anybody can write this")
    if as_json:
        console.emit({"media_type": found.media_type, "form": to, "file": str(out)})
    else:
        console.lines(f"{out}: {found.media_type} as {to}")


def _from_item(path: Path, item: str, media_type: str, content_format: int | None) -> Evidence:
    """Take one item out of a CMW; a number stands for the kind only where the user says so."""
    from cloister.attestation.cmw import items_in, read_cmw
    from cloister.tee.endorsement_files import read_file

    _, cmw = read_cmw(read_file(path))
    found = {"/".join(map(str, labels)): each for labels, each in items_in(cmw)}
    if item not in found:
        labels = ", ".join(sorted(found)[:8])
        raise ConfigError(
            f"the CMW has no item {item!r}",
            code="config.value",
            hint=f"its items: {console.printable(labels)}" if labels else "it is no collection",
        )
    return _of_item(found[item], media_type, content_format)


def _of_item(found: CmwRecord | CmwTag, media_type: str, content_format: int | None) -> Evidence:
    from cloister.attestation.cmw import CmwRecord, CmwTag, evidence_in, evidence_of

    number = found.content_format if isinstance(found, CmwTag) else found.type
    if isinstance(number, int) and number == content_format:
        indicator = found.indicator if isinstance(found, CmwRecord) else None
        return evidence_in(CmwRecord(media_type, found.value, indicator), {media_type})
    if isinstance(found, CmwRecord) and isinstance(found.type, str):
        return evidence_of(found)
    raise ConfigError(
        f"nothing says what content format {number} is",
        code="config.value",
        hint=f"--content-format {number}, if your peer says that it is this kind",
    )


def _written(evidence: Evidence, to: str, content_format: int | None) -> bytes:
    from cloister.attestation.cmw import (
        EVIDENCE,
        CmwRecord,
        CmwTag,
        write_cbor_cmw,
        write_json_cmw,
    )
    from cloister.attestation.media_types import their_media_type

    if to == "envelope":
        return evidence.to_bytes()
    if to == "raw":
        return evidence.body
    if to == "cmw-tag":
        if content_format is None:
            raise ConfigError(
                "a tag stands for a number: --content-format",
                code="config.missing",
                hint="nobody has registered one for this kind; agree with your peer",
            )
        return write_cbor_cmw(CmwTag(content_format, evidence.body))
    record = CmwRecord(their_media_type(evidence.media_type), evidence.body, EVIDENCE)
    return write_cbor_cmw(record) if to == "cmw-cbor" else write_json_cmw(record)
