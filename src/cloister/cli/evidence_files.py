"""Evidence and endorsements as files, in the forms in which manufacturers' tools leave them.

A file is read once, in part only as far as its kind allows, and judged by nobody here. What a
folder has beside its evidence are endorsements: they vouch by their own signatures, or not at all.
"""

from __future__ import annotations

import base64
import contextlib
import json
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.chain import Certificate
from cloister.crypto.digest import sha256
from cloister.errors import ConfigError, MalformedError

__all__ = [
    "Given",
    "read_anchor",
    "read_beside",
    "read_endorsements",
    "read_evidence",
    "read_file",
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


def read_file(path: Path) -> bytes:
    """Read a file of whatever form, which is no longer than evidence and endorsements are.

    Raises:
        ConfigError: It cannot be read, or is longer.
    """
    return _read(path)


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
        return sha256(_pem_body(data))
    if data.startswith(_PEM_CERTIFICATE):
        data = _pem_body(data)
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
    if kind == "nvidia" and data.lstrip()[:1] == b"[":
        return Evidence("application/vnd.cloister.nvidia+json", data)
    return Evidence(root.media_types[0], data)


def _with_log(evidence: Evidence, kind: str, path: Path) -> Evidence:
    from cloister.tee.tdx.layout import LOGGED_TYPE, LoggedQuote

    if kind != "tdx":
        raise ConfigError("an event log goes with a TD's quote", code="config.value")
    log = _read(path)
    form = "dstack" if log.lstrip()[:1] in {b"[", b"{"} else "ccel"
    return Evidence(LOGGED_TYPE, LoggedQuote(evidence.body, form, log).to_bytes())


def _tpm(path: Path) -> Evidence:
    from cloister.tee.tpm.layout import MEDIA_TYPE, QuoteParts, TpmEvidence

    message, signature, values = _quote(path, "quote")
    log = path / "event_log.bin"
    parts = QuoteParts(message, signature, values, _read(log) if log.is_file() else b"")
    key = _pem_body(_read(path / "ak_pub.pem"))
    return Evidence(MEDIA_TYPE, TpmEvidence(key, parts).to_bytes())


def _azure(path: Path, kind: str) -> Evidence:
    from cloister.tee.azure.layout import AzureEvidence, HclReport
    from cloister.tee.registry import by_name
    from cloister.tee.tpm.layout import QuoteParts

    root = by_name(kind)
    hcl = HclReport.from_bytes(_read(path / "hcl_report.bin"))
    message, signature, values = _quote(path, "tpm_quote")
    td_quote = _read(path / "td_quote.bin") if hcl.platform == "tdx" else b""
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
    values = _object(_read(path / "pcrs.json"), "pcrs.json").get("pcrs")
    try:
        places = Quote.from_bytes(message).places()
        found = values if isinstance(values, dict) else {}
        return message, signature, tuple(bytes.fromhex(found[str(i)]) for _, i in places)
    except (TypeError, KeyError, ValueError) as e:
        raise MalformedError(
            "pcrs.json has not the registers that the quote selects", code="evidence.malformed"
        ) from e


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


def _sorted_out(data: bytes, name: str, *, named: bool) -> Given:
    """Say what a file is by what is in it.

    Args:
        data: Untrusted.
        name: For messages.
        named: Whether the user named it, so that a bare key is pinned.
    """
    start = data.lstrip()[:64]
    if _PEM_KEY in data:
        return Given(pinned=[sha256(_pem_body(data))] if named else [])
    if start.startswith(_PEM_CERTIFICATE):
        alone = data.count(_PEM_CERTIFICATE) == 1
        return Given(
            [Endorsement(_CERTIFICATE, _pem_body(data)) if alone else Endorsement(_CHAIN, data)]
        )
    if start.startswith(b"{"):
        return _json(data, name, named=named)
    if start.startswith(b"<"):
        return Given([Endorsement(_RIM, data)])
    if data.startswith(b"0"):
        return Given([Endorsement(_der(data, name), data)])
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


def _pem_body(data: bytes) -> bytes:
    lines = data.strip().splitlines()
    try:
        return base64.b64decode(b"".join(line.strip() for line in lines[1:-1]), validate=True)
    except ValueError as e:
        raise MalformedError("not a PEM file", code="certificate.malformed") from e


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
