"""A second reader of evidence-interop-v1, from the page alone: checks every vector beside it.

CBOR is read by hand here, certificates by `cryptography`.
"""

import base64
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

BAD, EVIDENCE, BINDING, KIND = (
    "cmw.malformed",
    "evidence.malformed",
    "evidence.binding",
    "evidence.kind",
)
TYPE = re.compile(
    r'[A-Za-z0-9][\w!#$&^.+-]*/[A-Za-z0-9][\w!#$&^.+-]*(\s*;\s*[\w-]+=([^\s";]+|"[^"]*"))*',
    re.ASCII,
)
KINDS = {
    "application/vnd.amd.sev-snp.attestation-report": "application/vnd.cloister.snp",
    "application/aws-nitro-document": "application/vnd.cloister.nitro",
    "application/eat-collection;profile=http://arm.com/cca-ssd/1.0.0": (
        "application/vnd.cloister.cca"
    ),
    "application/vnd.intel.sgx": "application/vnd.cloister.sgx",
}
TSM = (
    "application/vnd.veraison.configfs-tsm+json",
    "application/vnd.veraison.tsm-report+cbor",
)
DICE, CMW, UNDERSTOOD = (
    "2.23.133.5.4.9",
    "1.3.6.1.5.5.7.1.35",
    {"2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37"},
)
GRAMINE = ("0.6.9.42.840.113741.1337.6", "1.2.840.113741.1337.6")


class RefusedError(Exception):
    """Refused, with a code."""


def need(good: object, code: str) -> None:
    """Refuse unless something is good."""
    if not good:
        raise RefusedError(code)


class Cbor:
    """One item, and nothing after it."""

    def __init__(self, data: bytes, code: str) -> None:
        self.data, self.at, self.code = data, 0, code
        self.value = self.item(0)
        need(self.at == len(data), code)

    def take(self, count: int) -> bytes:
        """Take bytes that are there."""
        need(count <= len(self.data) - self.at, self.code)
        self.at += count
        return self.data[self.at - count : self.at]

    def item(self, depth: int) -> Any:
        """Read one item."""
        need(depth < 10, self.code)
        head = self.take(1)[0]
        major, small = head >> 5, head & 31
        if major == 7:
            need(small in (20, 21, 22), self.code)
            return {20: False, 21: True, 22: None}[small]
        need(small < 28, self.code)
        count = small if small < 24 else int.from_bytes(self.take(1 << small - 24), "big")
        need(small < 24 or count >= (24, 1 << 8, 1 << 16, 1 << 32)[small - 24], self.code)
        if major < 2:
            return count if major == 0 else -1 - count
        if major < 4:
            content = self.take(count)
            try:
                return content if major == 2 else content.decode()
            except UnicodeDecodeError:
                raise RefusedError(self.code) from None
        need(count <= len(self.data) or major == 6, self.code)
        if major == 4:
            return [self.item(depth + 1) for _ in range(count)]
        if major == 6:
            return ("tag", count, self.item(depth + 1))
        found: dict[Any, Any] = {}
        for _ in range(count):
            key = self.item(depth + 1)
            need(type(key) in (str, int) and key not in found, self.code)
            found[key] = self.item(depth + 1)
        return found


def unbase64(text: Any) -> bytes:
    """Read base64url in its one spelling."""
    need(
        isinstance(text, str) and re.fullmatch(r"[\w-]*", text, re.ASCII) and len(text) % 4 != 1,
        BAD,
    )
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(base64.urlsafe_b64encode(data).decode().rstrip("=") == text, BAD)
    return data


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key twice."""
    need(len({name for name, _ in pairs}) == len(pairs), BAD)
    return dict(pairs)


def cmw(data: bytes, left: list[int], depth: int = 0, only: str = "") -> tuple[str, list[Any]]:
    """Read a CMW: its serialisation and its items; `left` is how many there may be."""
    first = data[0] if data else 0
    form = "json" if first in (0x5B, 0x7B) else "cbor"
    need(
        form == "json" or first in (0x82, 0x83) or 0xA0 <= first <= 0xBB or 0xC0 <= first <= 0xDB,
        BAD,
    )
    need(only in ("", form), BAD)
    if form == "cbor":
        return form, walk(Cbor(data, BAD).value, form, left, depth, [])
    opened = deepest = 0
    for c in re.sub(rb'"(\\.|[^"\\])*"', b"", data):
        opened += (c in b"[{") - (c in b"]}")
        deepest = max(deepest, opened)
    need(deepest <= 5, "wire.too-large")
    try:
        value = json.loads(data.decode(), object_pairs_hook=once)
    except ValueError:
        raise RefusedError(BAD) from None
    return form, walk(value, form, left, depth, [])


def walk(value: Any, form: str, left: list[int], depth: int, path: list[Any]) -> list[Any]:
    """List the items of one value; only what lies outside every collection has no path."""
    left[0] -= 1
    need(left[0] >= 0, BAD)
    if isinstance(value, dict):
        need(depth < 4, BAD)
        kind = value.pop("__cmwc_t", "0.0")
        good = isinstance(kind, str) and re.fullmatch(
            r"[0-2](\.\d+)+|[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", kind
        )
        need(good and 0 < len(value) <= 64, BAD)
        need(
            all(
                not isinstance(label, str) or (label.strip() and len(label) < 256)
                for label in value
            ),
            BAD,
        )
        return [
            x
            for label, item in value.items()
            for x in walk(item, form, left, depth + 1, [*path, label])
        ]
    if isinstance(value, tuple):
        _, tag, content = value
        run, place = divmod(tag - 1668546817, 256)
        need(1668546817 <= tag <= 1668612095 and place < 255, BAD)
        need(isinstance(content, bytes) and content, BAD)
        return [(path, run * 255 + place, content, None)]
    need(isinstance(value, list) and len(value) in (2, 3), BAD)
    name = "#cmw-c2j-tunnel" if form == "json" else "#cmw-j2c-tunnel"
    if value[0] == name and len(value) == 2:
        need(path and depth < 4, BAD)
        inner = unbase64(value[1]) if form == "json" else value[1]
        need(isinstance(inner, bytes), BAD)
        _, items = cmw(inner, left, depth + 1, "cbor" if form == "json" else "json")
        return [([*path, *more], *rest) for more, *rest in items]
    kind, content = value[0], unbase64(value[1]) if form == "json" else value[1]
    need(isinstance(content, bytes) and content, BAD)
    number = type(kind) is int and form == "cbor" and 0 <= kind < 1 << 16
    need(number or (isinstance(kind, str) and len(kind) <= 512 and TYPE.fullmatch(kind)), BAD)
    need(len(value) == 2 or (type(value[2]) is int and 0 < value[2] < 1 << 32), BAD)
    return [(path, kind, content, value[2] if len(value) == 3 else None)]


def tsm(kind: str, data: bytes) -> str:
    """Say whose report a TSM report holds."""
    as_json = kind.endswith("json")
    try:
        found = json.loads(data, object_pairs_hook=once) if as_json else Cbor(data, EVIDENCE).value
    except ValueError:
        raise RefusedError(EVIDENCE) from None
    need(isinstance(found, dict), EVIDENCE)
    need(set(found) <= {"provider", "outblob", "auxblob", "service"}, EVIDENCE)
    provider, signed = found.get("provider"), found.get("outblob")
    need(isinstance(provider, str) and isinstance(signed, str if as_json else bytes), EVIDENCE)
    need(signed, EVIDENCE)
    if as_json and re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", signed) and len(signed) % 4 == 0:
        need(base64.b64encode(base64.b64decode(signed)).decode() == signed, EVIDENCE)
    elif as_json:
        try:
            unbase64(signed)
        except RefusedError:
            raise RefusedError(EVIDENCE) from None
    name = {"sev_guest": "snp", "tdx_guest": "tdx"}.get(provider.removesuffix("\n"))
    need(name, EVIDENCE)
    return f"application/vnd.cloister.{name}"


def fitting(data: bytes, wanted: list[str]) -> None:
    """Find one piece of evidence of a kind."""
    found = []
    for _, kind, value, indicator in cmw(data, [256])[1]:
        normal = re.sub(r'\s*;\s*|"', lambda m: ";" if ";" in m[0] else "", str(kind).lower())
        ours = tsm(normal, value) if normal in TSM else KINDS.get(normal, kind)
        if ours in wanted:
            found.append(indicator)
    need(len(found) == 1 and (found[0] is None or found[0] & 4), KIND)


def string(value: bytes) -> bytes:
    """Open a DER string, where it is one."""
    if value[:1] not in (b"\x04", b"\x0c"):
        return value
    size, start = value[1], 2
    if size >= 128:
        start += size - 128
        size = int.from_bytes(value[2:start], "big")
        need(size >= 128 and value[2] != 0, EVIDENCE)
    need(len(value) == start + size, EVIDENCE)
    return value[start:]


def quote(data: bytes, wanted: list[str]) -> None:
    """Say whose quote it is."""
    kind = {bytes(4): "sgx", b"\x81\0\0\0": "tdx"}.get(data[4:8])
    need(kind, EVIDENCE)
    need(f"application/vnd.cloister.{kind}" in wanted, KIND)


def interoperable(value: bytes, key: bytes, wanted: list[str]) -> tuple[Any, list[bytes]]:
    """Read tagged evidence: its nonce, and what it is bound to."""
    _, tag, parts = Cbor(value, EVIDENCE).value
    need(tag in (60000, 60001, 60002), EVIDENCE)
    need(tag == 60000, KIND)
    good = isinstance(parts, list) and len(parts) == 2
    need(good and all(isinstance(x, bytes) for x in parts), EVIDENCE)
    need(len(parts[1]) <= 1024, EVIDENCE)
    need(parts[0][4:8] in (bytes(4), b"\x81\0\0\0"), EVIDENCE)
    claims = Cbor(parts[1], EVIDENCE).value
    need(isinstance(claims, dict) and 0 < len(claims) <= 16, EVIDENCE)
    need(all(isinstance(n, str) and isinstance(x, bytes) for n, x in claims.items()), EVIDENCE)
    need("pubkey-hash" in claims, EVIDENCE)
    entry = Cbor(claims["pubkey-hash"], EVIDENCE).value
    good = isinstance(entry, list) and [type(x) for x in entry] == [int, bytes]
    need(good and entry[0] in (1, 7, 8), EVIDENCE)
    name = {1: "sha256", 7: "sha384", 8: "sha512"}[entry[0]]
    need(hashlib.new(name, key).digest() == entry[1], BINDING)
    nonce = claims.get("nonce")
    need(nonce is None or 0 < len(nonce) <= 64, EVIDENCE)
    quote(parts[0], wanted)
    return nonce, [hashlib.sha256(parts[1]).digest() + bytes(32)]


def certificate(case: dict[str, Any]) -> tuple[str, str | None]:
    """Judge a certificate."""
    try:
        parsed = x509.load_der_x509_certificate(bytes.fromhex(case["certificate"]))
    except ValueError:
        raise RefusedError("certificate.malformed") from None
    first, last = (
        int(x.timestamp()) for x in (parsed.not_valid_before_utc, parsed.not_valid_after_utc)
    )
    need(first <= case["at"] <= last, "endorsement.expired")
    carried = {DICE, CMW, *GRAMINE}
    found = {x.oid.dotted_string: x for x in parsed.extensions}
    need(
        {name for name, x in found.items() if x.critical} <= UNDERSTOOD | carried,
        "certificate.malformed",
    )
    if parsed.issuer == parsed.subject:
        try:
            parsed.verify_directly_issued_by(parsed)
        except InvalidSignature:
            raise RefusedError("endorsement.signature") from None
    values = {name: found[name].value.value for name in carried & set(found)}
    need(values and not {DICE, CMW} <= set(values), "certificate.malformed")
    value = values.get(DICE) or values.get(CMW)
    key = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    short, nonce, wanted = hashlib.sha256(key).digest(), None, case["media_types"]
    if DICE in values and value[0] == 0xD9:
        form = "interoperable"
        nonce, bound = interoperable(value, key, wanted)
    elif value:
        form, bound = "cmw", [hashlib.sha512(key).digest(), short, short + bytes(32)]
        fitting(string(value), wanted)
    else:
        form, bound = "gramine", [short + bytes(32)]
        quote(next(iter(values.values())), wanted)
    need(bytes.fromhex(case["claims"]) in bound, BINDING)
    return form, None if nonce is None else nonce.hex()


def judge(case: dict[str, Any]) -> None:
    """Judge a vector."""
    if "certificate" in case:
        found = certificate(case)
        need(case["expect"] != "ok" or found == (case["form"], case["nonce"]), f"read {found}")
        return
    form, items = cmw(bytes.fromhex(case["cmw"]), [256])
    if case["expect"] == "ok":
        listed = [
            (x["path"], x["type"], bytes.fromhex(x["value"]), x["indicator"]) for x in case["items"]
        ]
        need(form == case["serialisation"], f"read {form}")
        need([tuple(x) for x in items] == listed, f"read {items}")


wrong = 0
for path in sorted(Path(__file__).parent.glob("*.json")):
    vector = json.loads(path.read_text("utf-8"))
    try:
        judge(vector)
        result = "ok"
    except RefusedError as e:
        result = str(e)
    if result != vector["expect"]:
        wrong += 1
        print(path.stem, result, "instead of", vector["expect"])
sys.exit(1 if wrong else 0)
