"""Endorsements as files, in the forms in which manufacturers' tools leave them.

A file is read once and told by what is in it; nobody judges it here. A bare public key vouches by
its file being named: it is pinned, and one that lies in a folder was named by nobody.
"""

from __future__ import annotations

import base64
import json
import re
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cloister.attestation.endorsement_bundle import MAX_BUNDLE_BYTES, EndorsementBundle
from cloister.attestation.evidence import Endorsement
from cloister.crypto.digest import sha256
from cloister.crypto.signature import VerifyingKey
from cloister.errors import ConfigError, EndorsementError, MalformedError
from cloister.tee.intel.spellings import is_collateral, respelled

__all__ = [
    "Given",
    "certificate_blocks",
    "collectors_of",
    "files_of",
    "is_bundle",
    "open_bundle",
    "pem_body",
    "read_bounded",
    "read_bundle_bytes",
    "read_endorsements",
    "read_file",
    "read_object",
    "sorted_out",
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
PEM_KEY: Final = b"-----BEGIN PUBLIC KEY-----"
PEM_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_PEM: Final = re.compile(
    rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\n([A-Za-z0-9+/=\n]+)\n-----END \1-----"
)
_PEM_BLOCK: Final = re.compile(
    rb"^-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+\n-----END CERTIFICATE-----", re.MULTILINE
)
_LIST_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_PEM_LIST: Final = re.compile(
    rb"^-----BEGIN X509 CRL-----\n([A-Za-z0-9+/=\n]+)\n-----END X509 CRL-----", re.MULTILINE
)
_BOM, _GZIP = b"\xef\xbb\xbf", b"\x1f\x8b"
_BUNDLE_START: Final = b"\xa3"  # a map of three, in CBOR: nothing else here begins so
_SEQUENCE, _INTEGER, _ENUMERATED, _VERSION_TAG = b"\x30", b"\x02", b"\x0a", b"\xa0"


@dataclass
class Given:
    """What files gave.

    Attributes:
        endorsements: Untrusted.
        pinned: SHA-256 of each bare public key that the user named.
        bundled: Untrusted: what bundles hold, which may be about other machines too.
        mixed: Whether a folder was named, in which the same may be.
    """

    endorsements: list[Endorsement] = field(default_factory=list)
    pinned: list[bytes] = field(default_factory=list)
    bundled: list[Endorsement] = field(default_factory=list)
    mixed: bool = False

    def add(self, other: Given) -> None:
        """Take what another has, each endorsement once."""
        self.endorsements += [each for each in other.endorsements if each not in self.endorsements]
        self.pinned += other.pinned
        self.bundled += [each for each in other.bundled if each not in self.bundled]
        self.mixed |= other.mixed


def read_endorsements(
    paths: Sequence[Path], *, collectors: Collection[VerifyingKey] = (), foreign: bool = False
) -> Given:
    """Read files, the files of folders, and bundles, by what is in them.

    A bare public key vouches by its file being named here: it is pinned. One that lies in a folder
    or in a bundle was named by nobody.

    Args:
        paths: What the user named.
        collectors: Whose bundles are taken; none of them takes none.
        foreign: Whether a folder may have JSON objects beside, which describe what lies there.

    Raises:
        ConfigError: One cannot be read, or there are too many.
        MalformedError: One is nothing that vouches.
        EndorsementError: A bundle is somebody else's (`endorsement.collector`).
    """
    given = Given()
    for path in paths:
        alone = not path.is_dir()
        for each in [path] if alone else files_of(path):
            if is_bundle(each):
                opened = open_bundle(read_bundle_bytes(each), collectors=collectors)
                given.add(Given(bundled=list(opened.endorsements)))
            else:
                data = read_file(each)
                if alone or not (foreign and _describes(data)):
                    given.add(sorted_out(data, str(each), named=alone))
        given.mixed |= not alone
    return given


def collectors_of(texts: Sequence[str]) -> list[VerifyingKey]:
    """Read the keys of collectors whose bundles are taken.

    Raises:
        ConfigError: One is not written as a key.
    """
    try:
        return [VerifyingKey.from_text(text) for text in texts]
    except MalformedError as e:
        raise ConfigError(
            f"a collector's key: {e.public}", code="config.value", hint="ed25519:…"
        ) from e


def open_bundle(data: bytes, *, collectors: Collection[VerifyingKey]) -> EndorsementBundle:
    """Open a bundle, and say whose it is where nobody named him.

    Raises:
        MalformedError: It is none.
        EndorsementError: Another collector's (`endorsement.collector`), or changed
            (`endorsement.signature`).
    """
    claimed = EndorsementBundle.claimed_collector(data)
    if claimed not in collectors:
        raise EndorsementError(
            f"the bundle says that {claimed.text} collected it, whom nobody named",
            code="endorsement.collector",
            hint=f"if you know that this is the collector's key: --collector {claimed.text}",
        )
    return EndorsementBundle.open(data, collectors=collectors)


def read_bundle_bytes(path: Path) -> bytes:
    """Read a bundle's file.

    Raises:
        ConfigError: It cannot be read, or is too long.
    """
    return read_bounded(path, MAX_BUNDLE_BYTES)


def is_bundle(path: Path) -> bool:
    """Tell a bundle by its first byte; whether it is one is for who opens it to say."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(1) == _BUNDLE_START
    except OSError:  # whoever reads it says why
        return False


def files_of(path: Path) -> list[Path]:
    """Return the files of a folder, which are few.

    Raises:
        ConfigError: There are too many.
    """
    found: list[Path] = []
    for each in path.iterdir():
        if each.is_file():
            found.append(each)
        if len(found) > _MAX_FILES:
            raise ConfigError(f"{path} has more than {_MAX_FILES} files", code="config.value")
    return sorted(found)


def sorted_out(data: bytes, name: str, *, named: bool) -> Given:
    """Say what a file is by what is in it.

    Args:
        data: Untrusted.
        name: For messages.
        named: Whether the user named it, so that a bare key is pinned.
    """
    data = data.removeprefix(_BOM)
    start = data.lstrip()[:64]
    if start.startswith(b"{"):
        return _json(data, name, named=named)
    if data.startswith(_GZIP):
        raise MalformedError(
            f"{name} is packed: unpack it with gunzip first", code="endorsement.malformed"
        )
    if start.startswith(b"<"):
        return Given([Endorsement(_RIM, data)])
    if data.startswith(b"0"):
        return Given([Endorsement(_der(data, name), data)])
    if PEM_KEY in data:
        return Given(pinned=[sha256(pem_body(data))] if named else [])
    blocks = certificate_blocks(data)
    lists = _lists(data, name)
    if not blocks and not lists:
        raise _unknown(name)
    if len(blocks) == 1:
        return Given([Endorsement(_CERTIFICATE, pem_body(blocks[0])), *lists])
    return Given([*([Endorsement(_CHAIN, b"".join(blocks))] if blocks else []), *lists])


def certificate_blocks(data: bytes) -> list[bytes]:
    """Return each certificate's PEM; tools leave words between them, which vouch for nothing."""
    found = _PEM_BLOCK.findall(data.replace(b"\r\n", b"\n"))
    return [block + b"\n" for block in found] if len(found) <= _MAX_FILES else []


def _lists(data: bytes, name: str) -> list[Endorsement]:
    """Return the revocation lists of a file of PEM: one that was given is never passed over."""
    found = _PEM_LIST.findall(data.replace(b"\r\n", b"\n"))
    if len(found) != data.count(_LIST_BEGIN) or len(found) > _MAX_FILES:
        raise _unknown(name)
    lists: list[Endorsement] = []
    for text in found:
        try:
            body = base64.b64decode(text.replace(b"\n", b""), validate=True)
        except ValueError as e:
            raise _unknown(name) from e
        if _der(body, name) != _LIST:
            raise _unknown(name)
        lists.append(Endorsement(_LIST, body))
    return lists


def _describes(data: bytes) -> bool:
    """Tell a JSON object that vouches for nothing, such as a folder's own description."""
    try:
        found = json.loads(data) if data.lstrip()[:1] == b"{" else None
    except (ValueError, RecursionError):  # whoever reads it says why
        return False
    if not isinstance(found, dict) or "kty" in found:
        return False
    return not is_collateral(found) or any(isinstance(each, dict) for each in found.values())


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
    found = read_object(data, name)
    if is_collateral(found):
        return Given([Endorsement(_COLLATERAL, respelled(data))])
    if "kty" in found:
        from cloister.tee.cca.endorsements import anchor_of_key  # noqa: PLC0415  # when a key of Arm's is read

        return Given([Endorsement(_JWK, data)], [anchor_of_key(data)] if named else [])
    raise _unknown(name)


def read_object(data: bytes, name: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        MalformedError: It is none.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise MalformedError(f"{name} is not JSON", code="endorsement.malformed") from e
    if not isinstance(found, dict):
        raise _unknown(name)
    return found


def pem_body(data: bytes) -> bytes:
    """Return what one block of PEM holds; nothing else may stand in the file.

    Raises:
        MalformedError: It is another thing, or not plain base64.
    """
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


def read_file(path: Path) -> bytes:
    """Read a file of at most 4 MiB.

    Raises:
        ConfigError: It cannot be read, or is too long.
    """
    return read_bounded(path, _MAX_FILE)


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a file that has at most so many bytes.

    Raises:
        ConfigError: It cannot be read, is none, or is longer.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path} is not a file", code="config.file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
    if len(data) > limit:
        raise ConfigError(f"{path} has more than {limit} bytes", code="config.value")
    return data


def _unknown(name: str) -> MalformedError:
    return MalformedError(
        f"{name} is nothing that vouches for evidence",
        code="endorsement.malformed",
        hint="certificates and chains, revocation lists, OCSP responses, Intel's collateral, RIMs",
    )
