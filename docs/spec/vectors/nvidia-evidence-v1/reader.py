"""A second reader of nvidia-evidence-v1, written from the page with cbor2 and cryptography alone.

It reads manifests whose text is canonical already, as those of the vectors are.
"""

import base64
import hashlib
import json
import re
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = Path(__file__).parent
KIND = "application/vnd.cloister.nvidia"
ALGORITHMS = [
    "http://www.w3.org/2006/12/xml-c14n11",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
    "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
    "http://www.w3.org/2006/12/xml-c14n11",
    "http://www.w3.org/2001/04/xmldsig-more#sha384",
]
FWID = bytes.fromhex("303d06096086480165030402020430")
Chain = list[x509.Certificate]


class RefusedError(Exception):
    """Carries the code."""


def need(condition: object, code: str) -> None:
    """Refuse unless a condition holds."""
    if not condition:
        raise RefusedError(code)


def verify_raw(key: Any, message: bytes, signature: bytes, code: str) -> None:
    """Check r and s over a message."""
    need(isinstance(key, EllipticCurvePublicKey), "certificate.malformed")
    need(isinstance(key.curve, SECP384R1), "certificate.malformed")
    numbers = int.from_bytes(signature[:48]), int.from_bytes(signature[48:])
    try:
        key.verify(encode_dss_signature(*numbers), message, ECDSA(SHA384()))
    except InvalidSignature as e:
        raise RefusedError(code) from e


def check_path(path: Chain, case: dict[str, Any]) -> None:
    """Judge a path, the leaf first."""
    root = hashlib.sha256(path[-1].public_bytes(Encoding.DER)).hexdigest()
    need(root in case["anchors"], "endorsement.anchor")
    now = datetime.fromtimestamp(case["at"], UTC)
    for depth, certificate in enumerate(path):
        issuer = path[min(depth + 1, len(path) - 1)]
        valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        need(valid, "endorsement.expired")
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError) as e:
            raise RefusedError("endorsement.signature") from e
        if depth:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
            need(constraints.value.ca, "endorsement.signature")


class Report:
    """A report, by the page's table."""

    def __init__(self, data: bytes) -> None:
        """Read it to its end."""
        self.data, self.at = data, 0
        need(self.take(4) == bytes.fromhex("11e001ff"), "evidence.malformed")
        self.nonce = self.take(32)
        need(self.take(5) == bytes.fromhex("0011600000"), "evidence.malformed")
        count, end = self.number(1), self.number(3)
        end += self.at
        self.blocks: dict[int, bytes] = {}
        while self.at < end:
            index, kind, size = self.number(1), self.number(1), self.number(2)
            need(index and index not in self.blocks and kind == 1, "evidence.malformed")
            self.take(1)
            need(self.number(2) == size - 3, "evidence.malformed")
            self.blocks[index] = self.take(size - 3)
        need(self.at == end and len(self.blocks) == count, "evidence.malformed")
        self.take(32)
        end = self.number(2)
        end += self.at
        self.opaque: dict[int, bytes] = {}
        while self.at < end:
            kind, size = self.number(2), self.number(2)
            need(kind not in self.opaque, "evidence.malformed")
            self.opaque[kind] = self.take(size)
        need(self.at == end, "evidence.malformed")
        self.signed, self.signature = data[: self.at], self.take(96)
        need(self.at == len(data), "evidence.malformed")

    def take(self, length: int) -> bytes:
        """Take bytes from the front."""
        need(self.at + length <= len(self.data), "evidence.malformed")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, length: int) -> int:
        """Take a number."""
        return int.from_bytes(self.take(length), "little")

    @property
    def versions(self) -> dict[str, str]:
        """Version to which manifest is of it."""
        v = self.opaque[6]
        vbios = ".".join(f"{byte:02X}" for byte in (v[3], v[2], v[1], v[0], v[4]))
        return {self.opaque[3].rstrip(b"\0").decode(): "driver", vbios: "vbios"}


def device(arch: str | None, path: Chain, report: Report, case: dict[str, Any]) -> str:
    """Judge one device; returns its chip."""
    check_path(path, case)
    names = path[0].subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    chip = str(names[0].value).split()[0]
    verify_raw(path[0].public_key(), report.signed, report.signature, "evidence.signature")
    extension = next(
        each.value.public_bytes()
        for each in path[0].extensions
        if each.oid.dotted_string.startswith("2.23.133.5.4.1")
    )
    at = extension.index(FWID) + len(FWID)
    need(report.opaque[20] == extension[at : at + 48], "evidence.parts")
    wanted = {"GH": "HOPPER", "GB": "BLACKWELL"}[chip[:2]]
    need(arch in (None, wanted), "evidence.parts")
    return chip


def manifest(text: str, case: dict[str, Any]) -> tuple[str, str, dict[int, set[str]], Chain]:
    """Judge a manifest; returns chip, version, good values by index, and its path."""
    need(not re.search(r"&|<!|<\?|[^\n -~]", text), "endorsement.malformed")
    cut = re.fullmatch(r"(.*)(<ds:Signature .*</ds:Signature>)(</SoftwareIdentity>)\n", text)
    need(cut, "endorsement.malformed")
    document, signature = cut[1] + cut[3], cut[2]
    need(re.findall(r'Algorithm="([^"]*)"', signature) == ALGORITHMS, "endorsement.malformed")
    need(re.findall(r'URI="([^"]*)"', signature) == [""], "endorsement.malformed")
    ders = re.findall(r"<ds:X509Certificate>([^<]*)<", signature)
    path = [x509.load_der_x509_certificate(base64.b64decode(der)) for der in ders]
    check_path(path, case)
    digest = re.search(r"<ds:DigestValue>([^<]*)<", signature)[1]
    found = base64.b64encode(hashlib.sha384(document.encode()).digest()).decode()
    need(digest == found, "endorsement.signature")
    above = dict(re.findall(r' (xmlns(?::ns[02])?)="([^"]*)"', document.split(">")[0]))
    above["xmlns:ds"] = "http://www.w3.org/2000/09/xmldsig#"
    scope = "".join(f' {name}="{above[name]}"' for name in sorted(above))
    signed = re.search(r"<ds:SignedInfo>.*</ds:SignedInfo>", signature)[0]
    signed = signed.replace("<ds:SignedInfo>", f"<ds:SignedInfo{scope}>")
    value = base64.b64decode(re.search(r"<ds:SignatureValue>([^<]*)<", signature)[1])
    verify_raw(path[0].public_key(), signed.encode(), value, "endorsement.signature")
    good = {
        int(re.search(r'index="(\d+)"', row)[1]): set(re.findall(r'Hash\d+="([^"]*)"', row))
        for row in re.findall(r"<ns0:Resource ([^>]*)>", document)
        if 'active="True"' in row
    }
    chip = re.search(r'product="([^"]*)"', document)[1]
    version = re.search(r'colloquialVersion="([^"]*)"', document)[1]
    return chip, version, good, path


def vouched(path: Chain, lists: list[Any], at: int) -> bool:
    """Tell whether lists vouch for all of a path but its root."""
    now, good = datetime.fromtimestamp(at, UTC), True
    for certificate, issuer in pairwise(path):
        mine = [each for each in lists if each.issuer == issuer.subject]
        good &= bool(mine)
        for each in mine:
            need(each.is_signature_valid(issuer.public_key()), "endorsement.signature")
            need(each.last_update_utc <= now <= each.next_update_utc, "endorsement.stale")
            listed = each.get_revoked_certificate_by_serial_number(certificate.serial_number)
            need(listed is None, "endorsement.revoked")
    return good


def parts(case: dict[str, Any], chains: list[Chain]) -> list[tuple[str | None, Chain, Report]]:
    """Return architecture, path and report of each device."""
    kind, body = case["media_type"], bytes.fromhex(case["body"])
    need(kind in (KIND, f"{KIND}+json", f"{KIND}+cbor"), "evidence.kind")
    if kind == KIND:
        report = Report(body)
        need(chains, "endorsement.missing")
        need(len(chains) == 1, "endorsement.mismatch")
        return [(None, chains[0], report)]
    need(not chains, "endorsement.mismatch")
    if kind.endswith("cbor"):
        packed = cbor2.loads(body)
        ders, used = packed["certificates"], [n for d in packed["devices"] for n in d["path"]]
        need(list(dict.fromkeys(used)) == list(range(len(ders))), "evidence.malformed")
        read = [x509.load_der_x509_certificate(der) for der in ders]
        return [
            (None, [read[n] for n in d["path"]], Report(d["report"])) for d in packed["devices"]
        ]
    entries = json.loads(body)
    need(entries, "evidence.malformed")
    return [
        (
            each["arch"],
            x509.load_pem_x509_certificates(base64.b64decode(each["certificate"])),
            Report(base64.b64decode(each["evidence"])),
        )
        for each in entries
    ]


def read(case: dict[str, Any]) -> dict[str, Any]:
    """Judge evidence; returns what the page calls claims, of those that vectors have."""
    chains, lists, texts = [], [], []
    for each in case["endorsements"]:
        if each["media_type"] == "application/pem-certificate-chain":
            chains.append(x509.load_pem_x509_certificates(each["text"].encode()))
        elif each["media_type"] == "application/pkix-crl":
            lists.append(x509.load_der_x509_crl(bytes.fromhex(each["body"])))
        else:
            need(each["media_type"] == "application/swid+xml", "endorsement.malformed")
            texts.append(each["text"])
    devices = parts(case, chains)
    chips = [device(*each, case) for each in devices]
    encodings = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    keys = {path[1].public_key().public_bytes(*encodings) for _, path, _ in devices}
    need(len(keys) == len(devices), "evidence.parts")
    need(len({report.nonce for _, _, report in devices}) == 1, "evidence.parts")
    manifests, differing, complete, used = [manifest(t, case) for t in texts], set(), True, set()
    for chip, (_, _, report) in zip(chips, devices, strict=True):
        mine = {}
        for n, (of, version, good, _) in enumerate(manifests):
            kind = report.versions.get(version) if of == chip else None
            need(kind not in mine or kind is None, "endorsement.mismatch")
            if kind:
                mine[kind] = good
                used.add(n)
        complete &= len(mine) == 2
        off = {35} if report.opaque[11] == b"\x55" else set()
        differing |= {
            f"{kind}:{index}"
            for kind, good in mine.items()
            for index, values in good.items()
            if index not in off and report.blocks[index + 1].hex() not in values
        }
    need(len(used) == len(manifests), "endorsement.mismatch")
    paths = [path[1:] for _, path, _ in devices] + [path for *_, path in manifests]
    good = [vouched(path, lists, case["at"]) for path in paths]
    measres = "fail" if differing else "success" if complete else "unknown"
    debug = any(b"\x87\x05\x00\x90" in path[0].public_bytes(Encoding.DER) for _, path, _ in devices)
    return {
        "measres": measres,
        "mismatched": sorted(differing),
        "revocation": "good" if all(good) else "unknown",
        "gpus": len(devices),
        "dbgstat": "enabled" if debug else "disabled" if measres == "success" else "unknown",
        "dice_flags": ["debug", "fixedWidth", "notConfigured"] if debug else [],
    }


def main() -> int:
    """Read every vector."""
    files = sorted(HERE.glob("*.json"))
    agree = 0
    for file in files:
        case = json.loads(file.read_text())
        try:
            claims = read(case)
            wanted = case.get("claims", {})
            found = "ok" if {name: claims[name] for name in wanted} == wanted else str(claims)
        except RefusedError as e:
            found = str(e)
        agree += found == case["expect"]
        if found != case["expect"]:
            print(f"{file.stem}: {found}, not {case['expect']}")
    print(f"{agree} of {len(files)} vectors agree")
    return agree != len(files)


if __name__ == "__main__":
    sys.exit(main())
