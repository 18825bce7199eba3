"""Evidence and endorsements as files, in the forms in which manufacturers' tools leave them.

A file is read once, in part only as far as its kind allows, and judged by nobody here. What a
folder has beside its evidence are endorsements: they vouch by their own signatures, or not at all.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.chain import Certificate
from cloister.crypto.digest import require_equal, sha256
from cloister.errors import ConfigError, EvidenceError, MalformedError
from cloister.wire.strict_json import read_json

__all__ = [
    "Given",
    "certificate_blocks",
    "pem_body",
    "read_anchor",
    "read_beside",
    "read_endorsements",
    "read_evidence",
]

_MAX_FILE: Final = 4 << 20
_MAX_FILES: Final = 64
_CERTIFICATE: Final = "application/pkix-cert"
_CHAIN: Final = "application/pem-certificate-chain"
_LIST: Final = "application/pkix-crl"
_OCSP: Final = "application/ocsp-response"
_COLLATERAL: Final = "application/vnd.cloister.intel-collateral+json"
_RIM: Final = "application/swid+xml"
_JWK: Final = "application/jwk+json"
_PEM_KEY: Final = b"-----BEGIN PUBLIC KEY-----"
_PEM_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_PEM: Final = re.compile(
    rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\n([A-Za-z0-9+/=\n]+)\n-----END \1-----"
)
_PEM_BLOCK: Final = re.compile(
    rb"^-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+\n-----END CERTIFICATE-----", re.MULTILINE
)
_HEX: Final = re.compile("(?:[0-9a-f]{2})+")
_MAX_REGISTERS: Final = 16384
_FACTS: Final = "sample.json"
_SEQUENCE, _INTEGER, _ENUMERATED, _VERSION_TAG = b"\x30", b"\x02", b"\x0a", b"\xa0"
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


@dataclass
class Given:
    """What files gave.

    Attributes:
        endorsements: Untrusted.
        pinned: SHA-256 of each bare public key that the user named.
    """

    endorsements: list[Endorsement] = field(default_factory=list)
    pinned: list[bytes] = field(default_factory=list)

    def add(self, other: Given) -> None:
        """Take what another has, each endorsement once."""
        self.endorsements += [each for each in other.endorsements if each not in self.endorsements]
        self.pinned += other.pinned


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
    found = _from_folder(path, kind) if path.is_dir() else _from_bytes(_read(path), kind)
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
    for each in [*_files(path), *_pointed_at(path)]:
        if each.name not in evidence and each.suffix not in {".msg", ".sig"}:
            with contextlib.suppress(MalformedError):
                given.add(_sorted_out(_read(each), each.name, named=False))
    return given.endorsements


def read_endorsements(paths: Sequence[Path]) -> Given:
    """Read files, and the files of folders, by what is in them.

    A bare public key vouches by its file being named here: it is pinned. One that lies in a folder
    was named by nobody.

    Raises:
        ConfigError: One cannot be read, or there are too many.
        MalformedError: One is nothing that vouches.
    """
    given = Given()
    for path in paths:
        alone = not path.is_dir()
        for each in [path] if alone else _files(path):
            given.add(_sorted_out(_read(each), str(each), named=alone))
    return given


def _files(path: Path) -> list[Path]:
    """Return the files of a folder, which are few."""
    found: list[Path] = []
    for each in path.iterdir():
        if each.is_file():
            found.append(each)
        if len(found) > _MAX_FILES:
            raise ConfigError(f"{path} has more than {_MAX_FILES} files", code="config.value")
    return sorted(found)


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
    data = _read(Path(text))
    if _PEM_KEY in data:
        return sha256(pem_body(data))
    if data.startswith(_PEM_CERTIFICATE):
        data = pem_body(data)
    return Certificate.from_der(data).fingerprint


def _from_folder(path: Path, kind: str) -> Evidence:
    if kind in {"azure-snp", "azure-tdx"}:
        return _azure(path, kind)
    if kind == "tpm":
        return _tpm(path)
    for name in _ALONE[kind]:
        if (path / name).is_file():
            return _from_bytes(_read(path / name), kind)
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
    try:
        envelope = Evidence.from_bytes(data)
    except MalformedError:
        envelope = None
    if envelope is not None and envelope.media_type in root.media_types:
        return envelope
    if kind == "nvidia" and data.lstrip()[:1] in (b"[", b"{"):
        return Evidence("application/vnd.cloister.nvidia+json", data)
    return Evidence(root.media_types[0], data)


def _with_log(evidence: Evidence, kind: str, path: Path) -> Evidence:
    from cloister.tee.tdx.eventlog import without_filling
    from cloister.tee.tdx.layout import LOGGED_TYPE, LoggedQuote

    if kind != "tdx":
        raise ConfigError("an event log goes with a TD's quote", code="config.value")
    log = _read(path)
    form = "dstack" if log.lstrip()[:1] in {b"[", b"{"} else "ccel"
    if form == "ccel":  # a file of the firmware's whole area, most of which is filling
        log = without_filling(log)
    return Evidence(LOGGED_TYPE, LoggedQuote(evidence.body, form, log).to_bytes())


def _tpm(path: Path) -> Evidence:
    from cloister.tee.tpm.layout import MEDIA_TYPE, QuoteParts, TpmEvidence

    message, signature, values = _quote(path, "quote")
    log = path / "event_log.bin"
    parts = QuoteParts(message, signature, values, _read(log) if log.is_file() else b"")
    key = pem_body(_read(path / "ak_pub.pem"))
    return Evidence(MEDIA_TYPE, TpmEvidence(key, parts).to_bytes())


def _azure(path: Path, kind: str) -> Evidence:
    from cloister.tee.azure.layout import AzureEvidence, HclReport, RuntimeData
    from cloister.tee.azure.tdreport import require_same_td
    from cloister.tee.registry import by_name
    from cloister.tee.tpm.layout import QuoteParts

    root = by_name(kind)
    hcl = HclReport.from_bytes(_read(path / "hcl_report.bin"))
    message, signature, values = _quote(path, "tpm_quote")
    td_quote = b""
    if hcl.platform == "tdx":
        td_quote = _read(path / "td_quote.bin")
        require_same_td(hcl.hardware, td_quote)
    # The key is in the runtime data; a file of it that says otherwise is of another VM.
    key = path / "ak_pub.pem"
    if key.is_file():
        require_equal(
            pem_body(_read(key)),
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

    message, signature = _read(path / f"{name}.msg"), _read(path / f"{name}.sig")
    try:
        Signature.from_bytes(signature)
    except MalformedError:  # tools of Azure's leave RSA's bytes alone
        signature = Signature("RSASSA", "sha256", signature).to_bytes()
    places = Quote.from_bytes(message).places()
    return message, signature, _registers(_read(path / "pcrs.json"), places)


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
        described = _object(_read(facts), _FACTS)
    except MalformedError:
        return
    certificates = described.get("certificates")
    names = [described.get("snp_chain")]
    if isinstance(certificates, dict):
        names += [certificates.get("leaf"), certificates.get("chain")]
    for name in names:
        if isinstance(name, str) and (path / name).is_file():
            yield path / name


def certificate_blocks(data: bytes) -> list[bytes]:
    """Return each certificate's PEM; tools leave words between them, which vouch for nothing."""
    found = _PEM_BLOCK.findall(data.replace(b"\r\n", b"\n"))
    return [block + b"\n" for block in found] if len(found) <= _MAX_FILES else []


def _sorted_out(data: bytes, name: str, *, named: bool) -> Given:
    """Say what a file is by what is in it.

    Args:
        data: Untrusted.
        name: For messages.
        named: Whether the user named it, so that a bare key is pinned.
    """
    start = data.lstrip()[:64]
    if start.startswith(b"{"):
        return _json(data, name, named=named)
    if start.startswith(b"<"):
        return Given([Endorsement(_RIM, data)])
    if data.startswith(b"0"):
        return Given([Endorsement(_der(data, name), data)])
    if _PEM_KEY in data:
        return Given(pinned=[sha256(pem_body(data))] if named else [])
    if blocks := certificate_blocks(data):
        alone = len(blocks) == 1
        return Given(
            [
                Endorsement(_CERTIFICATE, pem_body(blocks[0]))
                if alone
                else Endorsement(_CHAIN, b"".join(blocks))
            ]
        )
    raise _unknown(name)


def _der(data: bytes, name: str) -> str:
    """Tell a certificate, a revocation list and an OCSP response apart by their first tags."""
    first = _inside(data, 0)
    if first is not None and data[first : first + 1] == _ENUMERATED:
        return _OCSP
    second = None if first is None else _inside(data, first)
    tag = b"" if second is None else data[second : second + 1]
    if tag == _VERSION_TAG:
        return _CERTIFICATE
    if tag in {_INTEGER, _SEQUENCE}:
        return _LIST
    raise _unknown(name)


def _inside(data: bytes, at: int) -> int | None:
    """Return where the content of a SEQUENCE begins; None where there is none."""
    head = data[at : at + 2]
    if len(head) < 2 or head[:1] != _SEQUENCE:  # noqa: PLR2004  # a tag and a length
        return None
    long = head[1] - 0x80
    return at + 2 + max(long, 0)


def _json(data: bytes, name: str, *, named: bool) -> Given:
    found = _object(data, name)
    if "tcb_info" in found:
        return Given([Endorsement(_COLLATERAL, data)])
    if "kty" in found:
        from cloister.tee.cca.endorsements import anchor_of_key

        return Given([Endorsement(_JWK, data)], [anchor_of_key(data)] if named else [])
    raise _unknown(name)


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise MalformedError(f"{name} is not JSON", code="endorsement.malformed") from e
    if not isinstance(found, dict):
        raise _unknown(name)
    return found


def pem_body(data: bytes) -> bytes:
    """Return what one block of PEM holds; nothing else may stand in the file."""
    wrong = MalformedError("not a PEM file", code="certificate.malformed")
    match = _PEM.fullmatch(data.replace(b"\r\n", b"\n").strip())
    if match is None:
        raise wrong
    try:
        body = base64.b64decode(match[2].replace(b"\n", b""), validate=True)
    except ValueError as e:
        raise wrong from e
    if base64.b64encode(body) != match[2].replace(b"\n", b""):
        raise wrong
    return body


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path} is not a file", code="config.file")
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
    if len(data) > _MAX_FILE:
        raise ConfigError(f"{path} has more than {_MAX_FILE} bytes", code="config.value")
    return data


def _unknown(name: str) -> MalformedError:
    return MalformedError(
        f"{name} is nothing that vouches for evidence",
        code="endorsement.malformed",
        hint="certificates and chains, revocation lists, OCSP responses, Intel's collateral, RIMs",
    )
