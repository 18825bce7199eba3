"""Evidence and endorsements as files, in the forms in which manufacturers' tools leave them.

A file is read once, in part only as far as its kind allows, and judged by nobody here. What a
folder has beside its evidence are endorsements: they vouch by their own signatures, or not at all.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from cloister.attestation.endorsement_bundle import Collected
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.chain import Certificate
from cloister.crypto.digest import require_equal, sha256
from cloister.crypto.signature import VerifyingKey
from cloister.errors import ConfigError, EvidenceError, MalformedError
from cloister.tee.endorsement_files import (
    PEM_CERTIFICATE,
    PEM_KEY,
    Given,
    files_of,
    is_bundle,
    open_bundle,
    pem_body,
    read_bundle_bytes,
    read_file,
    read_object,
    sorted_out,
)
from cloister.wire.strict_json import read_json

__all__ = ["choose_bundled", "read_anchor", "read_beside", "read_collected", "read_evidence"]

_MAX_SOURCE: Final = 2048
_HEX: Final = re.compile("(?:[0-9a-f]{2})+")
_HEX_TEXT: Final = re.compile(rb"(?:[0-9a-fA-F]{2}){64,}")
_BASE64_TEXT: Final = re.compile(rb"[A-Za-z0-9+/]{128,}={0,2}")
# Kinds whose one file is ours, a map in CBOR; what others have of them is parts in a folder.
_OF_PARTS: Final = frozenset({"tpm", "azure-snp", "azure-tdx"})
_MAPS: Final = frozenset(bytes([first]) for first in range(0xA0, 0xC0))
_GZIP: Final = b"\x1f\x8b"
_MAX_REGISTERS: Final = 16384
_FACTS: Final = "sample.json"
# Files of a folder that are parts of evidence, or describe it.
_PARTS: Final = (
    _FACTS, "pcrs.json", "hcl_report.bin", "event_log.bin", "ak_pub.pem", "td_quote.bin",
)  # fmt: skip
# A folder's file with the evidence, where one file is all of it.
_ALONE: Final = {
    "sgx": ("quote.bin",),
    "tdx": ("quote.bin",),
    "snp": ("report.bin",),
    "nvidia": ("report.bin", "evidence.json"),
    "nitro": ("document.cbor",),
    "cca": ("token.cbor",),
    "sim": ("evidence.cbor",),
}


def read_evidence(path: Path, kind: str, *, event_log: Path | None) -> Evidence:
    """Read a raw file, an envelope, or a folder with the parts of one piece of evidence.

    Args:
        path: The file or folder.
        kind: A root of trust's name.
        event_log: For `tdx`: the log that explains the registers.

    Raises:
        ConfigError: It cannot be read.
        MalformedError: It has not the form of its kind.
    """
    found = _from_folder(path, kind) if path.is_dir() else _from_bytes(read_file(path), kind)
    return found if event_log is None else _with_log(found, kind, event_log)


def read_beside(path: Path, kind: str) -> list[Endorsement]:
    """Return what vouches for a folder's evidence, in it and where its description points.

    It vouches by its own signatures, or not at all: no key is pinned for lying there, and what
    vouches for nothing is passed over.

    Raises:
        ConfigError: There are too many files, or one cannot be read.
    """
    if not path.is_dir():
        return []
    given = Given()
    evidence = {*_ALONE.get(kind, ()), *_PARTS}
    for each in [*files_of(path), *_pointed_at(path)]:
        if each.name not in evidence and each.suffix not in {".msg", ".sig"}:
            with contextlib.suppress(MalformedError):
                given.add(sorted_out(read_file(each), each.name, named=False))
    return given.endorsements


def choose_bundled(given: Given, evidence: Evidence, kind: str, *, at: int) -> list[Endorsement]:
    """Return what vouches: what was named by itself, and of bundles what is about the evidence.

    What was named by itself stands for its kind of endorsement, where evidence takes one of each;
    of several that were named, or lay in a folder, those are chosen that are about the evidence.

    Args:
        given: What the user named.
        evidence: Untrusted.
        kind: A root of trust's name.
        at: The instant to judge at.
    """
    from cloister.cli.evidence_fitting import fit, several
    from cloister.endorsing.choosing import choose

    named = fit(kind, given.endorsements)
    if several(kind, named) or (given.mixed and kind == "nvidia"):
        named = choose(evidence, kind, named, at=at)
    if not given.bundled:
        return named
    chosen = choose(evidence, kind, given.bundled, at=at)
    forms = {each.media_type for each in named}
    if kind not in {"tpm", "nvidia"}:
        chosen = [each for each in chosen if each.media_type not in forms]
    return [*named, *(each for each in chosen if each not in named)]


def read_collected(
    paths: Sequence[Path], *, collectors: Collection[VerifyingKey], at: int
) -> list[Collected]:
    """Read files, folders and bundles as what a bundle holds.

    In a folder, parts of evidence and what vouches for nothing are passed over.

    Args:
        paths: What the user named.
        collectors: Whose bundles are taken.
        at: When that is.

    Raises:
        ConfigError: One cannot be read, there are too many, or a bare key was named.
        MalformedError: A file that was named is nothing that vouches.
        EndorsementError: A bundle is somebody else's (`endorsement.collector`).
    """
    items: list[Collected] = []
    for path in paths:
        if path.is_dir():
            for each in _vouching(path):
                with contextlib.suppress(MalformedError):
                    items += _collected(each, collectors, at=at)
        else:
            found = _collected(path, collectors, at=at)
            if not found:
                raise ConfigError(
                    f"{path} is a bare key: it vouches only for whoever names it",
                    code="config.value",
                    hint="name it where evidence is judged: --endorsements or --anchor",
                )
            items += found
    return items


def _collected(path: Path, collectors: Collection[VerifyingKey], *, at: int) -> Sequence[Collected]:
    if is_bundle(path):
        return open_bundle(read_bundle_bytes(path), collectors=collectors).items
    found = sorted_out(read_file(path), str(path), named=False).endorsements
    return [Collected(each, str(path)[-_MAX_SOURCE:], at) for each in found]


def _vouching(path: Path) -> list[Path]:
    """Return the files of a folder that may vouch, and those that its description points at."""
    parts = {name for names in _ALONE.values() for name in names} | set(_PARTS)
    found = [*files_of(path), *_pointed_at(path)]
    return [
        each for each in found if each.name not in parts and each.suffix not in {".msg", ".sig"}
    ]


def read_anchor(text: str) -> bytes:
    """Read `sha256:` and 64 digits, or the file of a root certificate or public key.

    Raises:
        ConfigError: It is neither.
        MalformedError: The file holds something else.
    """
    if text.startswith("sha256:"):
        try:
            digest = bytes.fromhex(text.removeprefix("sha256:"))
        except ValueError:
            digest = b""
        if len(digest) != 32:  # noqa: PLR2004  # SHA-256
            raise ConfigError(f"{text} is not sha256: and 64 hex digits", code="config.value")
        return digest
    data = read_file(Path(text))
    if PEM_KEY in data:
        return sha256(pem_body(data))
    if data.startswith(PEM_CERTIFICATE):
        data = pem_body(data)
    return Certificate.from_der(data).fingerprint


def _from_folder(path: Path, kind: str) -> Evidence:
    if kind in {"azure-snp", "azure-tdx"}:
        return _azure(path, kind)
    if kind == "tpm":
        return _tpm(path)
    for name in _ALONE[kind]:
        if (path / name).is_file():
            return _from_bytes(read_file(path / name), kind)
    raise ConfigError(
        f"{path} has no {' or '.join(_ALONE[kind])}",
        code="config.missing",
        hint="name the evidence's file itself",
    )


def _from_bytes(data: bytes, kind: str) -> Evidence:
    """Take an envelope for what it says, and anything else for bare bytes of the kind."""
    from cloister.tee.registry import by_name

    root = by_name(kind)
    if root is None:
        raise ConfigError(f"there is no kind of evidence called {kind!r}", code="config.value")
    data = as_octets(data)
    try:
        envelope = Evidence.from_bytes(data)
    except MalformedError:
        envelope = None
    if envelope is not None and envelope.media_type in root.media_types:
        return envelope
    if kind == "nvidia" and data.lstrip()[:1] in (b"[", b"{"):
        return Evidence("application/vnd.cloister.nvidia+json", data)
    if kind in _OF_PARTS and data[:1] not in _MAPS:
        raise MalformedError(
            f"one file is not all of {kind} evidence: name the folder that has its parts",
            code="evidence.malformed",
        )
    return Evidence(root.media_types[0], data)


def as_octets(data: bytes) -> bytes:
    """Take hexadecimal digits or base64 for the bytes that they stand for.

    No kind's own bytes are a text of these characters alone; and what was meant is judged.

    Raises:
        MalformedError: It is packed.
    """
    if data.startswith(_GZIP):
        raise MalformedError(
            "the evidence is packed: unpack it with gunzip first", code="evidence.malformed"
        )
    text = b"".join(data.split())
    digits = text.removeprefix(b"0x")
    if _HEX_TEXT.fullmatch(digits):
        return bytes.fromhex(digits.decode("ascii"))
    if _BASE64_TEXT.fullmatch(text):
        with contextlib.suppress(ValueError):
            return base64.b64decode(text, validate=True)
    return data


def _with_log(evidence: Evidence, kind: str, path: Path) -> Evidence:
    from cloister.tee.tdx.eventlog import without_filling
    from cloister.tee.tdx.layout import LOGGED_TYPE, LoggedQuote

    if kind != "tdx":
        raise ConfigError("an event log goes with a TD's quote", code="config.value")
    log = read_file(path)
    form = "dstack" if log.lstrip()[:1] in {b"[", b"{"} else "ccel"
    if form == "ccel":  # a file of the firmware's whole area, most of which is filling
        log = without_filling(log)
    return Evidence(LOGGED_TYPE, LoggedQuote(evidence.body, form, log).to_bytes())


def _tpm(path: Path) -> Evidence:
    from cloister.tee.tpm.layout import MEDIA_TYPE, QuoteParts, TpmEvidence

    message, signature, values = _quote(path, "quote")
    log = path / "event_log.bin"
    parts = QuoteParts(message, signature, values, read_file(log) if log.is_file() else b"")
    key = pem_body(read_file(path / "ak_pub.pem"))
    return Evidence(MEDIA_TYPE, TpmEvidence(key, parts).to_bytes())


def _azure(path: Path, kind: str) -> Evidence:
    from cloister.tee.azure.layout import AzureEvidence, HclReport, RuntimeData
    from cloister.tee.azure.tdreport import require_same_td
    from cloister.tee.registry import by_name
    from cloister.tee.tpm.layout import QuoteParts

    root = by_name(kind)
    hcl = HclReport.from_bytes(read_file(path / "hcl_report.bin"))
    message, signature, values = _quote(path, "tpm_quote")
    td_quote = b""
    if hcl.platform == "tdx":
        td_quote = read_file(path / "td_quote.bin")
        require_same_td(hcl.hardware, td_quote)
    # The key is in the runtime data; a file of it that says otherwise is of another VM.
    key = path / "ak_pub.pem"
    if key.is_file():
        require_equal(
            pem_body(read_file(key)),
            RuntimeData.from_bytes(hcl.runtime_data).ak,
            error=EvidenceError("ak_pub.pem is another VM's key", code="evidence.parts"),
        )
    parts = AzureEvidence.of(hcl, QuoteParts(message, signature, values, b""), td_quote=td_quote)
    if root is None:
        raise ConfigError(f"there is no kind of evidence called {kind!r}", code="config.value")
    return Evidence(root.media_types[0], parts.to_bytes())


def _quote(path: Path, name: str) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """Read a quote, its signature, and the PCRs that it selects, in its order."""
    from cloister.tee.tpm.layout import Quote, Signature

    message, signature = read_file(path / f"{name}.msg"), read_file(path / f"{name}.sig")
    try:
        Signature.from_bytes(signature)
    except MalformedError:  # tools of Azure's leave RSA's bytes alone
        signature = Signature("RSASSA", "sha256", signature).to_bytes()
    places = Quote.from_bytes(message).places()
    return message, signature, _registers(read_file(path / "pcrs.json"), places)


def _registers(data: bytes, places: Sequence[tuple[str, int]]) -> tuple[bytes, ...]:
    """Read the values of exactly the registers that a quote selects, in its order."""
    found = read_json(
        data, what="pcrs.json", max_bytes=_MAX_REGISTERS, max_depth=2, code="evidence.malformed"
    )
    values = found.get("pcrs") if isinstance(found, dict) else None
    banks = [bank for bank, _ in places] or [""]
    names = {str(index) for _, index in places}
    if (
        not isinstance(values, dict)
        or set(values) != names
        or set(found) - {"bank", "pcrs"}
        or found.get("bank", banks[0]) not in banks
        or not all(isinstance(each, str) and _HEX.fullmatch(each) for each in values.values())
    ):
        raise MalformedError(
            "pcrs.json has not the registers that the quote selects", code="evidence.malformed"
        )
    return tuple(bytes.fromhex(values[str(index)]) for _, index in places)


def _pointed_at(path: Path) -> Iterator[Path]:
    """Yield the files that a folder's description names; those of an instant are left out."""
    facts = path / _FACTS
    if not facts.is_file():
        return
    try:
        described = read_object(read_file(facts), _FACTS)
    except MalformedError:
        return
    certificates = described.get("certificates")
    names = [described.get("snp_chain")]
    if isinstance(certificates, dict):
        names += [certificates.get("leaf"), certificates.get("chain")]
    for name in names:
        if isinstance(name, str) and (path / name).is_file():
            yield path / name
