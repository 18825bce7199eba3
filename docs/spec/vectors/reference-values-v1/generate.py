"""Write the vectors of reference-values-v1 beside this file; a second run changes nothing.

Uses cbor2 and cryptography, nothing of the package: files are made from the draft's CDDL, signed
with a key that is derived from a fixed number and with deterministic ECDSA (RFC 6979).
"""

import json
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = Path(__file__).parent
AT = 1_800_000_000
BAD = "corim.malformed"
P384 = ec.derive_private_key(0xC0, ec.SECP384R1())
P256 = ec.derive_private_key(0xC1, ec.SECP256R1())
OTHER = ec.derive_private_key(0xC2, ec.SECP384R1())
MRTD, RTMR1, RTMR2 = b"\x11" * 48, b"\x22" * 48, b"\x33" * 48
ENVIRONMENT = {0: {1: "ACME Inc.", 2: "ACME RoadRunner"}}
CCA = "tag:arm.com,2025:cca_realm#1.0.0"
SNP = "tag:amd.com,2025:snp-corim-profile"

Tag = cbor2.CBORTag


def measurement(key: Any, values: dict[int, Any]) -> dict[int, Any]:
    """Return a measurement-map; without a key where it is None."""
    return {1: values} if key is None else {0: key, 1: values}


def digest(value: bytes, algorithm: int | str = 7) -> dict[int, Any]:
    """Return measurement values of one digest."""
    return {2: [[algorithm, value]]}


def comid(
    *triples: Any, name: str = "module", more: Any = None, links: Any = None
) -> cbor2.CBORTag:
    """Return a CoMID of reference triples."""
    body: dict[int, Any] = {1: {0: name}}
    if links:
        body[3] = links
    body[4] = ({0: list(triples)} if triples else {}) | (more or {})
    return Tag(506, cbor2.dumps(body))


def triple(*measurements: Any, environment: Any = ENVIRONMENT) -> list[Any]:
    """Return a reference triple."""
    return [environment, list(measurements)]


def corim(*tags: Any, **parts: Any) -> bytes:
    """Return the bytes of an unsigned CoRIM."""
    body = {0: "cloister-vector", 1: list(tags)} | {int(n[1:]): v for n, v in parts.items()}
    return cbor2.dumps(Tag(501, body))


def signed(
    content: bytes,
    key: ec.EllipticCurvePrivateKey = P384,
    *,
    header: Any = None,
    drop: tuple[int, ...] = (),
    unprotected: Any = None,
    times: Any = None,
    payload: Any = 0,
) -> bytes:
    """Sign a CoRIM as the draft's section 4.2 says."""
    small = key.curve.name == "secp256r1"
    meta = {0: {0: "ACME Inc."}} | ({1: times} if times else {})
    fields = {1: -7 if small else -35, 3: "application/rim+cbor", 8: cbor2.dumps(meta)}
    fields = {name: value for name, value in (fields | (header or {})).items() if name not in drop}
    protected = cbor2.dumps(fields)
    message = cbor2.dumps(["Signature1", protected, b"", content])
    kind = SHA256() if small else SHA384()
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(kind, deterministic_signing=True)))
    width = 32 if small else 48
    signature = r.to_bytes(width, "big") + s.to_bytes(width, "big")
    parts = [protected, unprotected or {}, content if payload == 0 else payload, signature]
    return cbor2.dumps(Tag(18, parts))


def vector(
    name: str,
    clause: str,
    comment: str,
    data: bytes,
    expect: str = "ok",
    *,
    kind: str = "tdx",
    key: ec.EllipticCurvePrivateKey | None = None,
    **more: Any,
) -> None:
    """Write one case. `key` is the one that judges; without it the file is taken unsigned."""
    case: dict[str, Any] = {
        "comment": comment,
        "clause": clause,
        "kind": kind,
        "at": AT,
        "file": data.hex(),
    }
    if key is not None:
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        case["key"] = spki.hex()
    case |= {"expect": expect} | more
    (HERE / f"{name}.json").write_text(json.dumps(case, indent=1) + "\n", "utf-8")


def one_of(*values: Any) -> dict[str, Any]:
    """Return a rule as vectors write it."""
    return {"one_of": [v.hex() if isinstance(v, bytes) else v for v in values]}


STATE = triple(
    measurement("measurement", digest(MRTD)),
    measurement("rtmr1", digest(RTMR1)),
    measurement("rtmr2", digest(RTMR2)),
)
RULES = {"measurement": one_of(MRTD), "rtmr1": one_of(RTMR1), "rtmr2": one_of(RTMR2)}
PLAIN = corim(comid(STATE))

vector("unsigned", "REF-2", "the worked example", PLAIN, rules=RULES)
vector("signed", "REF-5", "by a key on P-384", signed(PLAIN), key=P384, rules=RULES)
vector("signed-p256", "REF-5", "by a key on P-256", signed(PLAIN, P256), key=P256, rules=RULES)
vector("wrapped", "REF-2", "within tag 500", cbor2.dumps(Tag(500, cbor2.loads(PLAIN))), rules=RULES)
vector(
    "wrapped-signed", "REF-2", "a signed one within tag 500",
    cbor2.dumps(Tag(500, cbor2.loads(signed(PLAIN)))), key=P384, rules=RULES,
)  # fmt: skip
vector(
    "cwt-claims", "REF-6", "the signer as CWT claims",
    signed(PLAIN, header={15: {1: "ACME Inc.", 4: AT + 5}}, drop=(8,)), key=P384, rules=RULES,
)  # fmt: skip
vector(
    "both-agree", "REF-6", "the signer twice, alike",
    signed(PLAIN, header={15: {1: "ACME Inc.", 4: AT + 5, 5: 1}}, times={0: Tag(1, 1), 1: AT + 5}),
    key=P384, rules=RULES,
)  # fmt: skip
vector(
    "unprotected", "REF-5", "what nobody signed in the header counts for nothing",
    signed(PLAIN, unprotected={4: b"key"}), key=P384, rules=RULES,
)  # fmt: skip
vector(
    "registers", "REF-23", "integrity registers by number and by name",
    corim(comid(triple(measurement("td", {14: {
        1: [[7, RTMR1], [7, RTMR2]], "mrtd": [[7, MRTD]], 9: [[7, MRTD]]}})))),
    rules={"measurement": one_of(MRTD), "rtmr1": one_of(RTMR1, RTMR2)},
    unread=["tags[0].triples[0][0] 'td' register 9: no claim of tdx evidence has this name"],
)  # fmt: skip
vector(
    "tpm", "REF-23", "registers of a TPM, by the length of their digests",
    corim(comid(triple(measurement(None, {14: {0: [[1, b"\1" * 32]], 7: [[7, MRTD]],
                                               4: [[1, b"\4" * 32], [7, RTMR1]]}})))),
    kind="tpm", rules={"pcrs.sha256.0": one_of(b"\1" * 32), "pcrs.sha384.7": one_of(MRTD),
                       "pcrs.sha256.4": one_of(b"\4" * 32), "pcrs.sha384.4": one_of(RTMR1)},
)  # fmt: skip
vector(
    "numbers", "REF-22", "security versions, exact and least",
    corim(comid(triple(measurement("isv_svn", {1: Tag(553, 4)}),
                       measurement("isv_prod_id", {1: Tag(552, 0)}),
                       measurement("mrenclave", digest(b"\4" * 32, "sha-256")),
                       measurement("config_id", {4: Tag(560, b"\5" * 64)})))),
    kind="sgx", rules={"isv_svn": {"at_least": 4}, "isv_prod_id": one_of(0),
                       "measurement": one_of(b"\4" * 32), "config_id": one_of(b"\5" * 64)},
)  # fmt: skip
vector(
    "texts", "REF-22", "versions and flags",
    corim(comid(triple(measurement("product", {0: {0: "Genoa"}}),
                       measurement("measurement", digest(MRTD) | {3: {3: False, 0: True}})))),
    kind="snp", rules={"product": one_of("Genoa"), "measurement": one_of(MRTD),
                       "debug": {"one_of": [False]}},
    unread=["tags[0].triples[0][1] 'measurement' flag 0: no claim of snp evidence has this name"],
)  # fmt: skip
vector(
    "algorithms", "REF-24", "of several digests those that the claim can have",
    corim(comid(triple(measurement("measurement", {2: [
        [1, b"\1" * 32], [7, MRTD], [8, b"\2" * 64], ["my-alg", b"\3"]]})))),
    rules={"measurement": one_of(MRTD)},
    unread=["tags[0].triples[0][0] 'measurement': digest of algorithm 'my-alg'"],
)  # fmt: skip
vector(
    "cca-realm", "REF-21", "the profile for realms",
    corim(comid(triple(measurement("cca.rim", digest(b"\1" * 32, 1)),
                       measurement("cca.rem3", digest(b"\2" * 32, 1)),
                       measurement("cca.rpv", {4: Tag(560, b"\3" * 64)}),
                       environment={0: {0: Tag(560, b"\1" * 32)}})), _3=CCA),
    kind="cca", rules={"measurement": one_of(b"\1" * 32), "extensible.3": one_of(b"\2" * 32),
                       "personalization_value": one_of(b"\3" * 64)},
)  # fmt: skip
vector(
    "snp-profile", "REF-21", "the profile for SEV-SNP, its identifier as a URI with its tag",
    corim(comid(triple(measurement(641, digest(MRTD)),
                       measurement(3328, {4: Tag(560, b"\6" * 64)}),
                       measurement(647, {1: 5}))), _3=Tag(32, SNP)),
    kind="snp", rules={"measurement": one_of(MRTD), "hardware_id": one_of(b"\6" * 64)},
    unread=["tags[0].triples[0][2] 647: no claim of snp evidence has this name"],
)  # fmt: skip
vector(
    "unread", "REF-16", "everything else is named",
    corim(comid(triple(measurement("measurement", digest(MRTD)),
                       measurement(Tag(37, b"\1" * 16), digest(MRTD)),
                       measurement("rtmr0", digest(MRTD) | {11: "x"}),
                       measurement("rtmr3", {4: Tag(563, [MRTD, MRTD])}),
                       measurement(None, digest(MRTD))),
                more={1: [[ENVIRONMENT, [{1: {11: "x"}}]]]}),
          Tag(505, b"\xa0"), _2=[{0: "https://acme.example"}], _5=[{0: "ACME", 2: [1]}]),
    rules={"measurement": one_of(MRTD), "rtmr0": one_of(MRTD)},
    unread=["dependent-rims", "entities", "tags[1]: CoSWID", "tags[0]: endorsed-triples",
            "tags[0].triples[0][2] 'rtmr0': name",
            "tags[0].triples[0][3] 'rtmr3': raw-value of another form, such as a masked one",
            f"tags[0].triples[0][1] 'uuid:{'01' * 16}': no claim of tdx evidence has this name",
            "tags[0].triples[0][4] without a key: no claim of tdx evidence has this name"],
)  # fmt: skip
vector(
    "replaced", "REF-14", "a tag that another replaces does not count",
    corim(comid(triple(measurement("measurement", digest(RTMR1))), name="old"),
          comid(STATE, name="new", links=[{0: "old", 1: 1}])),
    rules=RULES, unread=["tags[0]: replaced by another tag of this file"],
)  # fmt: skip
vector(
    "alternatives", "REF-26", "states that differ in one claim",
    corim(comid(STATE), comid(triple(measurement("measurement", digest(RTMR2)),
                                     measurement("rtmr1", digest(RTMR1)),
                                     measurement("rtmr2", digest(RTMR2))))),
    rules=RULES | {"measurement": one_of(MRTD, RTMR2)},
)  # fmt: skip
vector(
    "mixtures", "REF-26", "states that differ in two claims are not mixed",
    corim(comid(STATE), comid(triple(measurement("measurement", digest(RTMR2)),
                                     measurement("rtmr1", digest(MRTD)),
                                     measurement("rtmr2", digest(RTMR2))))),
    "config.value",
)  # fmt: skip
vector(
    "several-environments", "REF-26", "states that share no claim are asked for together",
    corim(comid(triple(measurement("measurement", digest(MRTD))),
                triple(measurement("rtmr1", digest(RTMR1)), environment={0: {1: "Other Inc."}}))),
    rules={"measurement": one_of(MRTD), "rtmr1": one_of(RTMR1)},
)  # fmt: skip
vector(
    "parts-of-states", "REF-26", "a claim that one state says nothing of",
    corim(comid(STATE), comid(triple(measurement("measurement", digest(MRTD))))), "config.value",
)  # fmt: skip
vector(
    "wrong-length", "REF-24", "a digest that the claim never has",
    corim(comid(triple(measurement("measurement", digest(b"\1" * 32, 1)),
                       measurement("rtmr1", digest(RTMR1))))),
    rules={"rtmr1": one_of(RTMR1)},
    unread=["tags[0].triples[0][0] 'measurement': measurement never has such a value"],
)  # fmt: skip
vector("nothing", "REF-26", "no value for this kind", PLAIN, "config.missing", kind="sim")
vector("other-key", "REF-5", "another key", signed(PLAIN), "corim.signature", key=OTHER)
vector("other-curve", "REF-5", "a key on another curve", signed(PLAIN), "corim.signature", key=P256)
vector("not-signed", "REF-5", "nobody signed", PLAIN, "corim.signature", key=P384)
vector("passed-over", "REF-7", "a signature, and no key", signed(PLAIN), "corim.signature")
forged = bytearray(signed(PLAIN))
forged[-1] ^= 1
vector("forged", "REF-5", "another signature", bytes(forged), "corim.signature", key=P384)
forged = signed(PLAIN).replace(MRTD, RTMR1, 1)
vector("edited", "REF-5", "another value", forged, "corim.signature", key=P384)
vector(
    "expired", "REF-8", "the signature counted until a second ago",
    signed(PLAIN, times={1: Tag(1, AT - 1)}), "corim.validity", key=P384,
)  # fmt: skip
vector("early", "REF-8", "it counts from the next second",
       corim(comid(STATE), _4={0: Tag(1, AT + 1), 1: AT + 9}), "corim.validity")  # fmt: skip
vector("edges", "REF-8", "both ends count",
       corim(comid(STATE), _4={0: Tag(1, AT), 1: AT}), rules=RULES)  # fmt: skip
vector("two-signers", "REF-6", "the signer twice, differently",
       signed(PLAIN, header={15: {1: "Evil Inc."}}), BAD, key=P384)  # fmt: skip
vector("no-signer", "REF-6", "nobody says who signed", signed(PLAIN, drop=(8,)), BAD, key=P384)
vector("algorithm", "REF-5", "EdDSA", signed(PLAIN, header={1: -8}), BAD, key=P384)
vector("critical", "REF-5", "a parameter that must be understood",
       signed(PLAIN, header={2: [99], 99: 1}), BAD, key=P384)  # fmt: skip
vector("hash-envelope", "REF-5", "a digest of the content is signed",
       signed(PLAIN, header={258: -16, 259: "application/rim+cbor"}), BAD, key=P384)  # fmt: skip
vector("content-type", "REF-5", "another content type",
       signed(PLAIN, header={3: "application/cbor"}), BAD, key=P384)  # fmt: skip
vector(
    "detached", "REF-5", "the content lies elsewhere", signed(PLAIN, payload=None), BAD, key=P384
)
vector("signed-twice", "REF-2", "a signed one within a signed one", signed(signed(PLAIN)), BAD,
       key=P384)  # fmt: skip
vector("no-tag", "REF-2", "a map without tag 501", cbor2.dumps({0: "x", 1: []}), BAD)
vector("empty", "REF-1", "nothing", b"", BAD)
vector("trailing", "REF-1", "a byte behind it", PLAIN + b"\0", BAD)
vector("indefinite", "REF-1", "an indefinite map", b"\xd9\x01\xf5\xbf\x00ax\xff", BAD)
vector("twice", "REF-1", "a key twice", b"\xd9\x01\xf5\xa2\x00ax\x00ay", BAD)
vector("float", "REF-1", "an instant with a fraction",
       corim(comid(STATE), _4={1: Tag(1, float(AT) + 0.5)}), BAD)  # fmt: skip
vector("foreign-tag", "REF-1", "a tag that is not of the draft",
       corim(comid(STATE), _5=Tag(28, [1])), BAD)  # fmt: skip
deep = 1
for _ in range(20):
    deep = [deep]
vector("deep", "REF-1", "nested too deep", corim(comid(STATE), _5=deep), BAD)
vector("no-tags", "REF-3", "an empty list of tags", corim(), BAD)
vector("no-id", "REF-3", "no identifier", cbor2.dumps(Tag(501, {1: [comid(STATE)]})), BAD)
vector("no-triples", "REF-10", "a CoMID without triples", corim(comid()), BAD)
vector("no-measurements", "REF-11", "an empty triple", corim(comid([ENVIRONMENT, []])), BAD)
vector("no-values", "REF-11", "a measurement without values",
       corim(comid(triple(measurement("rtmr1", {})))), BAD)  # fmt: skip
vector("no-environment", "REF-11", "an environment without a name",
       corim(comid(triple(measurement("rtmr1", digest(MRTD)), environment={}))), BAD)  # fmt: skip
vector("digest-length", "REF-12", "a digest of SHA-384 with 32 bytes",
       corim(comid(triple(measurement("measurement", digest(b"\1" * 32, 7))))), BAD)  # fmt: skip
vector("link", "REF-14", "another relation", corim(comid(STATE, links=[{0: "old", 1: 2}])), BAD)
vector("flag", "REF-12", "a flag that is no bit",
       corim(comid(triple(measurement("x", {3: {3: 1}})))), BAD)  # fmt: skip
vector("negative", "REF-12", "a security version below zero",
       corim(comid(triple(measurement("isv_svn", {1: -1})))), BAD, kind="sgx")  # fmt: skip
vector("profile", "REF-20", "a profile that nobody here knows",
       corim(comid(STATE), _3="tag:example.com,2026:x"), BAD)  # fmt: skip
vector("profile-kind", "REF-20", "a profile for another kind", corim(comid(STATE), _3=CCA), BAD)
vector("contradiction", "REF-25", "two values of one claim in one state",
       corim(comid(triple(measurement("measurement", digest(MRTD)),
                          measurement("mrtd", digest(RTMR1))))), BAD)  # fmt: skip
vector("unread-too-much", "REF-4", "more that is not read than anybody could look at",
       corim(comid(STATE), **{f"_{n}": 0 for n in range(100, 1125)}), BAD)  # fmt: skip
vector(
    "flag-twice", "REF-25", "the same said of two parts of one state",
    corim(comid(triple(measurement("measurement", digest(MRTD) | {3: {3: False}}),
                       measurement("rtmr1", digest(RTMR1) | {3: {3: False}})))),
    rules={"measurement": one_of(MRTD), "debug": {"one_of": [False]}, "rtmr1": one_of(RTMR1)},
)  # fmt: skip
vector(
    "flags-of-a-profile", "REF-21", "a profile's keys say nothing of flags",
    corim(comid(triple(measurement("cca.rim", digest(b"\1" * 32, 1) | {3: {3: True}}))), _3=CCA),
    kind="cca", rules={"measurement": one_of(b"\1" * 32)},
    unread=["tags[0].triples[0][0] 'cca.rim' flag 3: no claim of cca evidence has this name"],
)  # fmt: skip
vector("too-large", "REF-4", "more tags than allowed", corim(*([comid(STATE)] * 65)), BAD)
