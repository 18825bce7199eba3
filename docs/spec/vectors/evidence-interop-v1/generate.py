"""Write the vectors of evidence-interop-v1 beside this file, or into a folder.

A second run changes nothing: keys are fixed, and Ed25519 is deterministic. Certificates are made
with `cryptography`, CBOR with `cbor2`.
"""

import base64
import datetime as dt
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
AT = 1_800_000_000
SGX, TDX, SNP = (f"application/vnd.cloister.{kind}" for kind in ("sgx", "tdx", "snp"))
DICE, CMW, PCK = "2.23.133.5.4.9", "1.3.6.1.5.5.7.1.35", "1.2.840.113741.1.13.1"
GRAMINE, MEANT = "0.6.9.42.840.113741.1337.6", "1.2.840.113741.1337.6"
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
QUOTE = bytes.fromhex("0400020081000000") + b"q" * 40
ENCLAVE = bytes.fromhex("0300020000000000") + b"q" * 40
BAD, BOUND, KIND, CERT = (
    "cmw.malformed",
    "evidence.binding",
    "evidence.kind",
    "certificate.malformed",
)


def write(name: str, clause: str, comment: str, expect: str, **facts: Any) -> None:
    """Write one vector."""
    vector = {"comment": comment, "clause": clause, **facts, "expect": expect}
    (HERE / f"{name}.json").write_text(json.dumps(vector, indent=2) + "\n", "utf-8")


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def good(name: str, clause: str, comment: str, cmw: bytes, kind: str, *items: Any) -> None:
    """A CMW that is read; items are path, type, value, indicator."""
    listed = [
        {"path": path, "type": type_, "value": value.hex(), "indicator": indicator}
        for path, type_, value, indicator in items
    ]
    write(name, clause, comment, "ok", cmw=cmw.hex(), serialisation=kind, items=listed)


def bad(name: str, clause: str, comment: str, cmw: bytes, code: str = BAD) -> None:
    """A CMW that is refused."""
    write(name, clause, comment, code, cmw=cmw.hex())


RECORD = [SNP, b"abc", 4]
CBOR, JSON = cbor2.dumps(RECORD), json.dumps([SNP, b64(b"abc"), 4]).encode()
THE_ITEM = ([], SNP, b"abc", 4)
TAG = cbor2.CBORTag(1668576935, b"abc")  # TN(30001)


def nested(depth: int) -> dict[str, Any]:
    """Collections within each other."""
    return {"a": RECORD if depth == 1 else nested(depth - 1)}


good("record-cbor", "INT-1", "a record", CBOR, "cbor", THE_ITEM)
good("record-json", "INT-1", "a record", JSON, "json", THE_ITEM)
good("record-json-newline", "INT-1", "spaces after it", JSON + b"\n", "json", THE_ITEM)
bad("empty", "INT-1", "nothing", b"")
bad("array-of-four", "INT-1", "no form begins so", cbor2.dumps([SNP, b"abc", 4, 4]))
bad("leading-space", "INT-1", "a space before it", b" " + JSON)
bad("trailing-cbor", "INT-1", "a byte after it", CBOR + b"\0")
bad("indefinite-map", "INT-2", "an indefinite collection", b"\xbf\x61a" + CBOR + b"\xff")
bad("indefinite-bytes", "INT-2", "an indefinite value", b"\x82\x63a/b\x5f\x41a\xff")
bad("long-head", "INT-2", "a length in more bytes than it needs", b"\x82\x63a/b\x58\x01a")
bad("huge-length", "INT-2", "a length of 2^63", b"\x82\x63a/b\x5b\x80" + bytes(7))
bad("key-twice-cbor", "INT-2", "a label twice", b"\xa2\x61a" + CBOR + b"\x61a" + CBOR)
bad("float", "INT-2", "an indicator that is no integer", cbor2.dumps([SNP, b"abc", 1.5]))
bad("shared", "INT-2", "a tag of another meaning", b"\x82\x63a/b\xd8\x1c\x41a")
bad("key-twice-json", "INT-3", "a label twice", b'{"a":' + JSON + b',"a":' + JSON + b"}")
bad("not-utf8", "INT-3", "no UTF-8", b'["a/b\xff","YQ"]')
bad("deep-json", "INT-3", "too deep for any CMW", b"[" * 4000, "wire.too-large")
good(
    "content-format",
    "INT-4",
    "a number for a type",
    cbor2.dumps([30001, b"abc"]),
    "cbor",
    ([], 30001, b"abc", None),
)
good(
    "parameter",
    "INT-4",
    "a type with a parameter",
    cbor2.dumps(['application/eat+cwt; eat_profile="tag:x,2026:y"', b"abc"]),
    "cbor",
    ([], 'application/eat+cwt; eat_profile="tag:x,2026:y"', b"abc", None),
)
bad("type-none", "INT-4", "a type without a subtype", cbor2.dumps(["application", b"abc"]))
bad("type-sentinel", "INT-4", "a type that begins like a tunnel", cbor2.dumps(["#cmw/x", b"abc"]))
bad("type-large", "INT-4", "a number of 17 bits", cbor2.dumps([65536, b"abc"]))
bad("type-true", "INT-4", "a type that is true", cbor2.dumps([True, b"abc"]))
bad("type-number-json", "INT-4", "a number in JSON", b'[30001,"YQ"]')
bad("one-part", "INT-4", "a type alone", b'["a/b"]')
bad("value-empty", "INT-5", "an empty value", cbor2.dumps([SNP, b""]))
bad("value-text", "INT-5", "a text in CBOR", cbor2.dumps([SNP, "abc"]))
bad("value-padded", "INT-5", "padding", b'["a/b","YQ=="]')
bad("value-spelling", "INT-5", "bits that no byte has", b'["a/b","YR"]')
good(
    "indicator-unknown",
    "INT-6",
    "bits without a name",
    cbor2.dumps([SNP, b"abc", 0x80000014]),
    "cbor",
    ([], SNP, b"abc", 0x80000014),
)
bad("indicator-zero", "INT-6", "no bit", cbor2.dumps([SNP, b"abc", 0]))
bad("indicator-large", "INT-6", "a 33rd bit", cbor2.dumps([SNP, b"abc", 1 << 32]))
bad("indicator-true", "INT-6", "true is no number", cbor2.dumps([SNP, b"abc", True]))
bad("indicator-null", "INT-6", "null is no absence", b'["a/b","YQ",null]')
good("tag", "INT-7", "TN of 30001", cbor2.dumps(TAG), "cbor", ([], 30001, b"abc", None))
good(
    "tag-first",
    "INT-7",
    "TN of 0",
    cbor2.dumps(cbor2.CBORTag(1668546817, b"a")),
    "cbor",
    ([], 0, b"a", None),
)
good(
    "tag-last",
    "INT-7",
    "TN of 65024",
    cbor2.dumps(cbor2.CBORTag(1668612095, b"a")),
    "cbor",
    ([], 65024, b"a", None),
)
bad(
    "tag-gap",
    "INT-7",
    "a number that TN leaves out",
    cbor2.dumps(cbor2.CBORTag(1668546817 + 255, b"a")),
)
bad("tag-before", "INT-7", "one less", cbor2.dumps(cbor2.CBORTag(1668546816, b"a")))
bad("tag-after", "INT-7", "one more", cbor2.dumps(cbor2.CBORTag(1668612096, b"a")))
bad("tag-number", "INT-7", "over a number", cbor2.dumps(cbor2.CBORTag(1668546817, 1)))
bad("tag-empty", "INT-7", "over no byte", cbor2.dumps(cbor2.CBORTag(1668546817, b"")))
good(
    "collection",
    "INT-8",
    "records and a tag",
    cbor2.dumps({"__cmwc_t": "tag:x,2026:y", "a": RECORD, 0: TAG}),
    "cbor",
    (["a"], SNP, b"abc", 4),
    ([0], 30001, b"abc", None),
)
good("collection-json", "INT-8", "in JSON", b'{"a":' + JSON + b"}", "json", (["a"], SNP, b"abc", 4))
bad("collection-empty", "INT-8", "no item", cbor2.dumps({}))
bad("collection-type-only", "INT-8", "a type and no item", cbor2.dumps({"__cmwc_t": "1.2.3"}))
bad("label-blank", "INT-8", "a blank label", cbor2.dumps({"  ": RECORD}))
bad("label-bytes", "INT-8", "a label of bytes", cbor2.dumps({b"a": RECORD}))
bad("items-many", "INT-8", "65 items", cbor2.dumps(dict.fromkeys(range(65), RECORD)))
good(
    "collection-oid",
    "INT-9",
    "an object identifier",
    cbor2.dumps({"__cmwc_t": "1.2.3.4", "a": RECORD}),
    "cbor",
    (["a"], SNP, b"abc", 4),
)
bad(
    "collection-relative",
    "INT-9",
    "a relative URI",
    cbor2.dumps({"__cmwc_t": "a/b/c", "a": RECORD}),
)
bad(
    "collection-dot",
    "INT-9",
    "a relative identifier",
    cbor2.dumps({"__cmwc_t": ".2.3.4", "a": RECORD}),
)
bad("collection-number", "INT-9", "a number", cbor2.dumps({"__cmwc_t": 1, "a": RECORD}))
good(
    "tunnel-json",
    "INT-10",
    "JSON in CBOR",
    cbor2.dumps({"a": ["#cmw-j2c-tunnel", JSON]}),
    "cbor",
    (["a"], SNP, b"abc", 4),
)
good(
    "tunnel-cbor",
    "INT-10",
    "CBOR in JSON",
    json.dumps({"a": ["#cmw-c2j-tunnel", b64(CBOR)]}).encode(),
    "json",
    (["a"], SNP, b"abc", 4),
)
bad(
    "tunnel-alone",
    "INT-10",
    "a tunnel outside a collection",
    cbor2.dumps(["#cmw-j2c-tunnel", JSON]),
)
bad("tunnel-same", "INT-10", "CBOR in CBOR", cbor2.dumps({"a": ["#cmw-j2c-tunnel", CBOR]}))
bad(
    "tunnel-other",
    "INT-10",
    "the name that JSON has",
    cbor2.dumps({"a": ["#cmw-c2j-tunnel", b64(CBOR)]}),
)
bad(
    "tunnel-garbage",
    "INT-10",
    "what is in it is no CMW",
    cbor2.dumps({"a": ["#cmw-j2c-tunnel", b"[]"]}),
)
good(
    "depth-four",
    "INT-11",
    "four levels",
    cbor2.dumps(nested(4)),
    "cbor",
    (["a"] * 4, SNP, b"abc", 4),
)
bad("depth-five", "INT-11", "five levels", cbor2.dumps(nested(5)))
bad(
    "bomb",
    "INT-11",
    "4 * 64 items and more",
    cbor2.dumps({a: dict.fromkeys(range(64), RECORD) for a in range(4)}),
)

NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
ANOTHER = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "y")])


def certificate(
    *extensions: tuple[str, bytes],
    signer: Ed25519PrivateKey = KEY,
    issuer: x509.Name = NAME,
    critical: bool = False,
    start: int = AT - 60,
) -> bytes:
    """A certificate of `KEY` with these extensions, good for a day."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(issuer)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime.fromtimestamp(start, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(start + 86400, dt.UTC))
    )
    for oid, value in extensions:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, None).public_bytes(Encoding.DER)


def der(tag: int, content: bytes) -> bytes:
    """One DER string of less than 64 KiB."""
    size = len(content)
    head = [size] if size < 128 else [0x81, size] if size < 256 else [0x82, size >> 8, size & 255]
    return bytes([tag, *head]) + content


def zeros(digest: bytes) -> bytes:
    """Filled up to 64 bytes."""
    return digest.ljust(64, b"\0")


def hashed(algorithm: int = 1, name: str = "sha256", key: bytes = SPKI) -> bytes:
    """The hash of a key as CoSWID has it."""
    return cbor2.dumps([algorithm, hashlib.new(name, key).digest()])


def tagged(claims: Any, quote: bytes = QUOTE, tag: int = 60000) -> bytes:
    """The interoperable extension."""
    return cbor2.dumps(cbor2.CBORTag(tag, [quote, claims]))


def judged(
    name: str,
    clause: str,
    comment: str,
    expect: str,
    found: bytes,
    *,
    report_data: bytes = bytes(64),
    media_types: tuple[str, ...] = (TDX,),
    **facts: Any,
) -> None:
    """A certificate, whose evidence turns out to report `report_data`."""
    write(
        name,
        clause,
        comment,
        expect,
        certificate=found.hex(),
        media_types=list(media_types),
        at=AT,
        claims=report_data.hex(),
        **facts,
    )


CLAIMS = cbor2.dumps({"pubkey-hash": hashed()})
ANSWERING = cbor2.dumps({"pubkey-hash": hashed(8, "sha512"), "nonce": b"n" * 16, "mine": b""})
INTEROPERABLE, REPORTED = tagged(CLAIMS), zeros(hashlib.sha256(CLAIMS).digest())
ANSWERED = zeros(hashlib.sha256(ANSWERING).digest())
OK = {"form": "interoperable", "nonce": None}
WRAPPED = cbor2.dumps([SNP, b"report", 4])
BY_KEY = hashlib.sha512(SPKI).digest()
SHORT = hashlib.sha256(SPKI).digest()
SNPS = {"media_types": (SNP,)}
CMW_OK = {"form": "cmw", "nonce": None}

judged(
    "interoperable",
    "INT-26",
    "its claims, and zeros",
    "ok",
    certificate((DICE, INTEROPERABLE)),
    report_data=REPORTED,
    **OK,
)
judged(
    "interoperable-unbound",
    "INT-31",
    "a quote about something else",
    BOUND,
    certificate((DICE, INTEROPERABLE)),
)
judged(
    "interoperable-by-key",
    "INT-26",
    "the key where its claims should be",
    BOUND,
    certificate((DICE, INTEROPERABLE)),
    report_data=zeros(SHORT),
)
judged(
    "interoperable-not-padded",
    "INT-26",
    "32 bytes alone",
    BOUND,
    certificate((DICE, INTEROPERABLE)),
    report_data=REPORTED[:32],
)
judged(
    "interoperable-tail",
    "INT-26",
    "something where zeros should be",
    BOUND,
    certificate((DICE, INTEROPERABLE)),
    report_data=REPORTED[:63] + b"x",
)
judged(
    "interoperable-nonce",
    "INT-25",
    "a nonce, another hash, a claim of its own",
    "ok",
    certificate((DICE, tagged(ANSWERING))),
    report_data=ANSWERED,
    form="interoperable",
    nonce=(b"n" * 16).hex(),
)
judged(
    "nonce-long",
    "INT-25",
    "65 bytes",
    "evidence.malformed",
    certificate((DICE, tagged(cbor2.dumps({"pubkey-hash": hashed(), "nonce": bytes(65)})))),
)
judged(
    "expired",
    "INT-20",
    "not valid any more",
    "endorsement.expired",
    certificate((DICE, INTEROPERABLE), start=AT - 86401),
    report_data=REPORTED,
)
judged(
    "early",
    "INT-20",
    "not valid yet",
    "endorsement.expired",
    certificate((DICE, INTEROPERABLE), start=AT + 1),
    report_data=REPORTED,
)
judged(
    "forged",
    "INT-20",
    "its own issuer, and signed by another",
    "endorsement.signature",
    certificate((DICE, INTEROPERABLE), signer=OTHER),
    report_data=REPORTED,
)
judged(
    "issued",
    "INT-33",
    "another issuer, who is not asked",
    "ok",
    certificate((DICE, INTEROPERABLE), signer=OTHER, issuer=ANOTHER),
    report_data=REPORTED,
    **OK,
)
judged(
    "critical",
    "INT-20",
    "evidence that is marked critical",
    "ok",
    certificate((DICE, INTEROPERABLE), critical=True),
    report_data=REPORTED,
    **OK,
)
judged(
    "critical-unknown",
    "INT-20",
    "a critical extension of others",
    CERT,
    certificate((DICE, INTEROPERABLE), ("1.2.3.4", b"\5\0"), critical=True),
    report_data=REPORTED,
)
judged("garbage", "INT-20", "no certificate", CERT, b"0\x82\0\0")
judged("no-evidence", "INT-21", "no extension of this page", CERT, certificate())
judged(
    "intel-old",
    "INT-21",
    "Intel's old extension alone",
    CERT,
    certificate((PCK, QUOTE)),
    report_data=zeros(SHORT),
)
judged(
    "two-forms",
    "INT-21",
    "two extensions that count",
    CERT,
    certificate((DICE, INTEROPERABLE), (CMW, der(4, WRAPPED))),
    report_data=REPORTED,
)
judged(
    "gramine-beside",
    "INT-21",
    "Gramine's, beside the newer one",
    "ok",
    certificate((GRAMINE, QUOTE), (DICE, INTEROPERABLE)),
    report_data=REPORTED,
    **OK,
)
judged(
    "gramine-beside-older",
    "INT-21",
    "the older one's quote does not count then",
    BOUND,
    certificate((GRAMINE, QUOTE), (DICE, INTEROPERABLE)),
    report_data=zeros(SHORT),
)
judged(
    "local-report",
    "INT-22",
    "a report for the same chip",
    KIND,
    certificate((DICE, tagged(CLAIMS, tag=60001))),
    report_data=REPORTED,
)
judged(
    "three-parts",
    "INT-22",
    "a part too many",
    "evidence.malformed",
    certificate((DICE, cbor2.dumps(cbor2.CBORTag(60000, [QUOTE, CLAIMS, b""])))),
    report_data=REPORTED,
)
judged(
    "claims-text",
    "INT-22",
    "claims that are a text",
    "evidence.malformed",
    certificate((DICE, tagged("a"))),
)
judged(
    "tag-unknown",
    "INT-22",
    "a tag that nobody knows",
    "evidence.malformed",
    certificate((DICE, tagged(CLAIMS, tag=60003))),
    report_data=REPORTED,
)
judged(
    "tag-trailing",
    "INT-22",
    "a byte after it",
    "evidence.malformed",
    certificate((DICE, INTEROPERABLE + b"\0")),
    report_data=REPORTED,
)
judged(
    "claims-array",
    "INT-23",
    "claims that are no map",
    "evidence.malformed",
    certificate((DICE, tagged(b"\x80"))),
)
judged(
    "claims-number",
    "INT-23",
    "a claim that is a number",
    "evidence.malformed",
    certificate((DICE, tagged(cbor2.dumps({"pubkey-hash": hashed(), "n": 1})))),
)
judged(
    "claims-long",
    "INT-23",
    "1025 bytes",
    "evidence.malformed",
    certificate((DICE, tagged(cbor2.dumps({"pubkey-hash": hashed(), "a": bytes(970)})))),
)
judged(
    "claims-indefinite",
    "INT-23",
    "an indefinite map",
    "evidence.malformed",
    certificate((DICE, tagged(b"\xbf" + CLAIMS[1:] + b"\xff"))),
)
judged(
    "key-missing",
    "INT-24",
    "no hash of a key",
    "evidence.malformed",
    certificate((DICE, tagged(cbor2.dumps({"nonce": b"n"})))),
)
judged(
    "key-other",
    "INT-24",
    "another key's hash",
    BOUND,
    certificate((DICE, tagged(cbor2.dumps({"pubkey-hash": hashed(key=b"x")})))),
    report_data=zeros(hashlib.sha256(cbor2.dumps({"pubkey-hash": hashed(key=b"x")})).digest()),
)
judged(
    "key-algorithm",
    "INT-24",
    "a hash of another kind",
    "evidence.malformed",
    certificate((DICE, tagged(cbor2.dumps({"pubkey-hash": cbor2.dumps([2, SHORT])})))),
)
judged(
    "key-not-wrapped",
    "INT-24",
    "an array where bytes should be",
    "evidence.malformed",
    certificate((DICE, tagged(cbor2.dumps({"pubkey-hash": [1, SHORT]})))),
)
judged(
    "cmw",
    "INT-28",
    "SHA-512 of the key",
    "ok",
    certificate((CMW, der(4, WRAPPED))),
    report_data=BY_KEY,
    **SNPS,
    **CMW_OK,
)
judged(
    "cmw-padded",
    "INT-28",
    "SHA-256 of the key, and zeros",
    "ok",
    certificate((CMW, der(4, WRAPPED))),
    report_data=zeros(SHORT),
    **SNPS,
    **CMW_OK,
)
judged(
    "cmw-short",
    "INT-28",
    "SHA-256 of the key",
    "ok",
    certificate((CMW, der(4, WRAPPED))),
    report_data=SHORT,
    **SNPS,
    **CMW_OK,
)
judged(
    "cmw-json",
    "INT-27",
    "in JSON",
    "ok",
    certificate((CMW, der(12, JSON))),
    report_data=BY_KEY,
    **SNPS,
    **CMW_OK,
)
judged(
    "cmw-dice",
    "INT-27",
    "bare, under the identifier of DICE",
    "ok",
    certificate((DICE, WRAPPED)),
    report_data=BY_KEY,
    **SNPS,
    **CMW_OK,
)
judged(
    "cmw-unbound",
    "INT-28",
    "a report about something else",
    BOUND,
    certificate((CMW, der(4, WRAPPED))),
    **SNPS,
)
judged(
    "cmw-spelling",
    "INT-27",
    "a length in more bytes than it needs",
    "evidence.malformed",
    certificate((CMW, b"\4\x81" + der(4, WRAPPED)[1:])),
    report_data=BY_KEY,
    **SNPS,
)
judged(
    "cmw-trailing",
    "INT-27",
    "a byte after it",
    "evidence.malformed",
    certificate((CMW, der(4, WRAPPED) + b"\0")),
    report_data=BY_KEY,
    **SNPS,
)
judged("cmw-is-none", "INT-27", "no CMW", BAD, certificate((CMW, der(4, b"\0"))), **SNPS)
judged(
    "cmw-result",
    "INT-15",
    "a result, by its indicator",
    KIND,
    certificate((CMW, der(4, cbor2.dumps([SNP, b"report", 8])))),
    report_data=BY_KEY,
    **SNPS,
)
judged(
    "cmw-two",
    "INT-15",
    "two reports",
    KIND,
    certificate((CMW, der(4, cbor2.dumps({"a": RECORD, "b": RECORD})))),
    report_data=BY_KEY,
    **SNPS,
)
judged(
    "cmw-among-others",
    "INT-15",
    "one report, and something else",
    "ok",
    certificate((CMW, der(4, cbor2.dumps({"a": RECORD, "b": ["a/b", b"x"]})))),
    report_data=BY_KEY,
    **SNPS,
    **CMW_OK,
)
judged(
    "cmw-their-name",
    "INT-13",
    "AMD's name",
    "ok",
    certificate(
        (CMW, der(4, cbor2.dumps(["application/vnd.amd.sev-snp.attestation-report", b"report"])))
    ),
    report_data=BY_KEY,
    **SNPS,
    **CMW_OK,
)
judged(
    "cmw-their-case",
    "INT-14",
    "AWS's name in another case",
    "ok",
    certificate((CMW, der(4, cbor2.dumps(["Application/AWS-Nitro-Document", b"document"])))),
    report_data=BY_KEY,
    media_types=("application/vnd.cloister.nitro",),
    **CMW_OK,
)
judged(
    "cmw-number",
    "INT-13",
    "a number means no kind",
    KIND,
    certificate((CMW, der(4, cbor2.dumps([30001, b"report"])))),
    report_data=BY_KEY,
    **SNPS,
)
judged(
    "gramine",
    "INT-29",
    "the key, and zeros",
    "ok",
    certificate((GRAMINE, QUOTE)),
    report_data=zeros(SHORT),
    form="gramine",
    nonce=None,
)
judged(
    "gramine-meant",
    "INT-29",
    "under the identifier that was meant",
    "ok",
    certificate((MEANT, ENCLAVE)),
    report_data=zeros(SHORT),
    media_types=(SGX,),
    form="gramine",
    nonce=None,
)
judged(
    "gramine-unbound",
    "INT-29",
    "another key",
    BOUND,
    certificate((GRAMINE, QUOTE)),
    report_data=zeros(hashlib.sha256(b"x").digest()),
)
judged(
    "gramine-sha512",
    "INT-29",
    "a hash that this form does not have",
    BOUND,
    certificate((GRAMINE, QUOTE)),
    report_data=BY_KEY,
)
judged(
    "other-kind",
    "INT-30",
    "an enclave's, where a TD's was asked for",
    KIND,
    certificate((DICE, tagged(CLAIMS, ENCLAVE))),
    report_data=REPORTED,
)
judged(
    "no-quote",
    "INT-30",
    "neither an enclave's nor a TD's",
    "evidence.malformed",
    certificate((GRAMINE, b"\4\0\2\0\x82\0\0\0")),
    report_data=zeros(SHORT),
)

# Parts of other types.
bad("type-bytes", "INT-4", "a type of bytes", cbor2.dumps([b"a/b", b"abc"]))
bad("value-number-json", "INT-5", "a number in JSON", b'["a/b",1]')
bad("item-number", "INT-8", "an item that is a number", cbor2.dumps({"a": 1}))
bad("item-number-json", "INT-8", "likewise in JSON", b'{"a":1}')
bad("item-null-json", "INT-8", "an item that is null", b'{"a":null}')
bad(
    "tunnel-text",
    "INT-10",
    "a text where bytes should be",
    cbor2.dumps({"a": ["#cmw-j2c-tunnel", "x"]}),
)


def claimed(name: str, comment: str, entry: object) -> None:
    """Claims whose hash of the key has another form."""
    claims = cbor2.dumps({"pubkey-hash": cbor2.dumps(entry)})
    found = certificate((DICE, tagged(claims)))
    judged(name, "INT-24", comment, "evidence.malformed", found)


claimed("key-map", "a map", {1: SHORT})
claimed("key-three", "three parts", [1, SHORT, 0])
claimed("key-text", "a hash that is a text", [1, "x"])
claimed("key-true", "an algorithm that is true", [True, SHORT])
claimed("key-none", "no array at all", 1)
judged(
    "tag-bytes",
    "INT-22",
    "bytes where an array should be",
    "evidence.malformed",
    certificate((DICE, cbor2.dumps(cbor2.CBORTag(60000, QUOTE)))),
)


def tsm(name: str, comment: str, expect: str, value: object, kind: str = "json") -> None:
    """A certificate that carries a TSM report of Veraison's."""
    json_type = "application/vnd.veraison.configfs-tsm+json"
    type_ = json_type if kind == "json" else "application/vnd.veraison.tsm-report+cbor"
    data = json.dumps(value).encode() if kind == "json" else cbor2.dumps(value)
    found = certificate((CMW, der(4, cbor2.dumps([type_, data]))))
    said = CMW_OK if expect == "ok" else {}
    judged(name, "INT-16", comment, expect, found, report_data=BY_KEY, **SNPS, **said)


SEV = "sev_guest\n"
PADDED = base64.b64encode(b"report?>").decode()
FORM = "evidence.malformed"
tsm("tsm-json", "base64 with padding", "ok", {"provider": SEV, "outblob": PADDED})
tsm("tsm-url", "base64url", "ok", {"provider": "sev_guest", "outblob": b64(b"?>r"), "auxblob": ""})
tsm("tsm-cbor", "in CBOR", "ok", {"provider": SEV, "outblob": b"report", "service": {}}, "cbor")
tsm("tsm-provider", "another provider", FORM, {"provider": "fake\n", "outblob": PADDED})
tsm("tsm-no-provider", "no provider", FORM, {"outblob": PADDED})
tsm("tsm-no-report", "nothing that was signed", FORM, {"provider": SEV})
tsm("tsm-empty", "no byte", FORM, {"provider": SEV, "outblob": ""})
tsm("tsm-more", "a member that nobody knows", FORM, {"provider": SEV, "outblob": "", "x": ""})
tsm("tsm-spelling", "bits that no byte has", FORM, {"provider": SEV, "outblob": "YR=="})
tsm("tsm-mixed", "both alphabets", FORM, {"provider": SEV, "outblob": "-_+/"})
tsm("tsm-list", "no map", FORM, [SEV])
tsm("tsm-cbor-text", "a text in CBOR", FORM, {"provider": SEV, "outblob": "x"}, "cbor")
tsm("tsm-other", "a TD's report", KIND, {"provider": "tdx_guest", "outblob": PADDED})
