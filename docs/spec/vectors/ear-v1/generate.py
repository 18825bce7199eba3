"""Write the vectors of ear-v1 beside this file, or into a folder; a second run changes nothing.

Tokens are made with `cryptography` and `json` alone. Keys are fixed numbers, and signatures are
deterministic.
"""

import base64
import copy
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

HERE = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
AT = 1_800_000_000
NONCE = b"nonce-nonce-nonce"
ISSUER, AUDIENCE = "https://keys.example", "https://rp.example"
Key = Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(value: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def members(key: Key) -> dict[str, str]:
    """Public members, as a thumbprint hashes them."""
    if isinstance(key, Ed25519PrivateKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": b64(key.public_key().public_bytes_raw())}
    point = key.public_key().public_numbers()
    x, y = (b64(number.to_bytes(32, "big")) for number in (point.x, point.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def kid(key: Key) -> str:
    """RFC 7638."""
    return b64(hashlib.sha256(compact(members(key))).digest())


def algorithm(key: Key) -> str:
    """The one that goes with a key."""
    return "EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256"


def jwk(key: Key, **changes: Any) -> dict[str, Any]:
    """One member of a JWKS."""
    extra = {"kid": kid(key), "alg": algorithm(key), "use": "sig"}
    return {**members(key), **extra, **changes}


def jwks(*keys: Key, **changes: Any) -> str:
    """Return a JWKS as text."""
    return json.dumps({"keys": [jwk(key, **changes) for key in keys]})


ED = Ed25519PrivateKey.from_private_bytes(b"e" * 32)
EC = ec.derive_private_key(2001, ec.SECP256R1())
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
PINNED = jwks(ED, EC)


def digest(letter: str) -> str:
    """32 bytes of one letter."""
    return "sha256:" + (letter * 32).encode().hex()


def facts(**changes: Any) -> dict[str, Any]:
    """What Cloister says besides."""
    return {
        "version": 1,
        "root_of_trust": "sim",
        "hardware_rooted": False,
        "anchor": digest("a"),
        "measurement": (b"m" * 32).hex(),
        "security_version": 3,
        "debug": False,
        "launch": {"code": digest("c"), "runtime": digest("r")},
        "not_checked": [],
        **changes,
    }


VECTOR = {
    "instance-identity": 2,
    "configuration": 2,
    "executables": 3,
    "file-system": 2,
    "hardware": -33,
    "runtime-opaque": -33,
    "storage-opaque": 0,
    "sourced-data": 0,
}
TRUSTED = VECTOR | {"hardware": 2, "runtime-opaque": 2}


def appraisal(**changes: Any) -> dict[str, Any]:
    """A simulated run's appraisal; a change of None leaves a claim out."""
    found = {
        "ear_status": "warning",
        "ear_trustworthiness_vector": VECTOR,
        "ear_appraisal_policy_ids": [digest("p")],
        "cloister_appraisal": facts(),
        **changes,
    }
    return {name: value for name, value in found.items() if value is not None}


def hardware(**changes: Any) -> dict[str, Any]:
    """The appraisal of a run that hardware vouched for."""
    found = {
        "ear_status": "affirming",
        "ear_trustworthiness_vector": TRUSTED,
        "cloister_appraisal": facts(root_of_trust="snp", hardware_rooted=True),
    }
    return appraisal(**(found | changes))


def claims(run: object = None, **changes: Any) -> dict[str, Any]:
    """Return a claims-set; a change of None leaves a claim out."""
    found = {
        "eat_profile": "tag:ietf.org,2026:rats/ear#03",
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": AT - 10,
        "exp": AT + 290,
        "eat_nonce": b64(NONCE),
        "ear_verifier_id": {"developer": "Cloister", "build": "cloister 0.1.0"},
        "submods": {"train": run if run is not None else appraisal()},
        **changes,
    }
    return {name: value for name, value in found.items() if value is not None}


def dotted(profile: str, **changes: Any) -> dict[str, Any]:
    """Return a claims-set as Veraison and Trustee spell it."""
    run = {
        "ear.status": "affirming",
        "ear.trustworthiness-vector": {"hardware": 2, "executables": 3},
        "ear.appraisal-policy-id": "default",
        "ear.veraison.annotated-evidence": {"any": [1.5, None]},
    }
    verifier = {"developer": "https://verifier.example", "build": "1"}
    found = claims(ear_verifier_id=None, eat_profile=profile, submods={"cpu0": run})
    return found | {"ear.verifier-id": verifier} | changes


VERAISON = "tag:github.com,2023:veraison/ear"
TRUSTEE = "tag:github.com,2024:confidential-containers/Trustee"


def signature(key: Key, message: bytes) -> bytes:
    """Sign as RFC 7518 or RFC 8037 have it."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    der = key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
    return b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(der))


def token(payload: object, key: Key = ED, raw_header: bytes = b"", **header: Any) -> str:
    """Return a signed token; a header member of None is left out."""
    wanted = {"alg": algorithm(key), "kid": kid(key), "typ": "eat+jwt"} | header
    given = {name: value for name, value in wanted.items() if value is not None}
    data = payload if isinstance(payload, bytes) else compact(payload)
    signed = f"{b64(raw_header or compact(given))}.{b64(data)}"
    return f"{signed}.{b64(signature(key, signed.encode()))}"


def vector(name: str, clause: str, comment: str, text: str, expect: str, **changes: Any) -> None:
    """Write one case; simulation counts, and a warning is enough, unless it says otherwise."""
    case = {
        "comment": comment,
        "clause": clause,
        "token": text,
        "jwks": PINNED,
        "audience": AUDIENCE,
        "nonce": NONCE.hex(),
        "at": AT,
        "accept_simulated": True,
        "at_least": "warning",
        "expect": expect,
        **changes,
    }
    if expect == "ok":
        case.setdefault("status", "warning")
        case.setdefault("hardware_rooted", False)
    (HERE / f"{name}.json").write_text(json.dumps(case, indent=2) + "\n", "utf-8")


BAD, LARGE = "token.malformed", "wire.too-large"
GOOD = token(claims())
HEAD, BODY, SIGNATURE = GOOD.split(".")
STRICT = {"accept_simulated": False, "at_least": "affirming"}
TRUE_HARDWARE = {"status": "affirming", "hardware_rooted": True}

# What holds.
vector("ok", "EAR-50", "a simulated run, by a reader that accepts simulation", GOOD, "ok")
vector("ok-es256", "EAR-4", "the same with the other algorithm", token(claims(), EC), "ok")
vector(
    "ok-hardware",
    "EAR-56",
    "hardware vouched and nothing was left out",
    token(claims(hardware())),
    "ok",
    **STRICT,
    **TRUE_HARDWARE,
)
LEFT_OUT = [{"rule": "workloads.train.runtime", "reason": "it changes daily"}]
vector(
    "ok-left-out",
    "EAR-34",
    "hardware vouched, and the policy leaves a check out: a warning",
    token(
        claims(
            hardware(
                ear_status="warning",
                cloister_appraisal=facts(
                    root_of_trust="snp", hardware_rooted=True, not_checked=LEFT_OUT
                ),
            )
        )
    ),
    "ok",
    accept_simulated=False,
    hardware_rooted=True,
)
vector(
    "ok-veraison",
    "EAR-20",
    "Veraison's spelling, from an issuer that names its key",
    token(dotted(VERAISON), typ="JWT"),
    "ok",
    status="affirming",
)
vector(
    "ok-trustee",
    "EAR-20",
    "Trustee's spelling; the nonce in padded base64",
    token(dotted(TRUSTEE, eat_nonce=base64.b64encode(NONCE).decode()), EC, typ="JWT"),
    "ok",
    status="affirming",
)
vector(
    "ok-two-submods",
    "EAR-29",
    "the worst of two appraisals counts",
    token(claims(submods={"a": hardware(), "b": appraisal()})),
    "ok",
)
vector("ok-ignored", "EAR-30", "a claim that nobody knows", token(claims(jti="1", x=[{}])), "ok")
vector("ok-clock", "EAR-53", "a clock that is 60 seconds late", GOOD, "ok", at=AT - 70)

# The token.
vector("two-parts", "EAR-1", "a part is missing", f"{HEAD}.{BODY}", BAD)
vector("padded", "EAR-1", "a part is padded", f"{HEAD}.{BODY}.{SIGNATURE}==", BAD)
vector("spelling", "EAR-1", "unused bits are not zero", GOOD[:-1] + "B", BAD)
vector("alphabet", "EAR-1", "a space in a part", f"{HEAD}.{BODY} .{SIGNATURE}", BAD)
vector("none", "EAR-4", "no algorithm", token(claims(), alg="none"), "token.algorithm")
vector("hmac", "EAR-4", "a secret-key algorithm", token(claims(), alg="HS256"), "token.algorithm")
vector(
    "confused",
    "EAR-4",
    "the other key's algorithm",
    token(claims(), EC, alg="EdDSA"),
    "token.algorithm",
)
vector("jwk", "EAR-2", "a key in the header", token(claims(), OTHER, jwk=members(OTHER)), BAD)
vector("jku", "EAR-2", "where a key lies", token(claims(), jku="https://evil.example/jwks"), BAD)
vector("x5c", "EAR-2", "a chain in the header", token(claims(), x5c=["MII="]), BAD)
vector("crit", "EAR-2", "a critical extension", token(claims(), crit=["b64"], b64=False), BAD)
vector("header-more", "EAR-2", "a member that nobody knows", token(claims(), cty="JWT"), BAD)
TWICE = compact({"alg": "none", "kid": kid(ED), "typ": "eat+jwt"})[:-1] + b',"alg":"EdDSA"}'
vector("header-twice", "EAR-7", "alg stands twice", token(claims(), raw_header=TWICE), BAD)
vector("kid-missing", "EAR-2", "no name for the key", token(claims(), kid=None), BAD)
vector("kid-form", "EAR-3", "a name that is no thumbprint", token(claims(), kid="../key"), BAD)
vector(
    "key-unknown", "EAR-3", "a key that is not pinned", token(claims(), OTHER), "token.key-unknown"
)
vector(
    "kid-swapped",
    "EAR-6",
    "a pinned name over another key's signature",
    token(claims(), OTHER, kid=kid(ED)),
    "token.signature",
)
vector("type-missing", "EAR-2", "no type", token(claims(), typ=None), BAD)
vector("type-other", "EAR-5", "an access token", token(claims(), typ="at+jwt"), BAD)
vector("type-of-another", "EAR-5", "the type of another profile", token(claims(), typ="JWT"), BAD)
FORGED = f"{HEAD}.{b64(compact(claims(hardware())))}.{SIGNATURE}"
vector("changed", "EAR-6", "claims changed after signing", FORGED, "token.signature")
SHORT = b64(base64.urlsafe_b64decode(SIGNATURE + "==")[:-1])
vector("signature-short", "EAR-6", "63 bytes", f"{HEAD}.{BODY}.{SHORT}", "token.signature")
vector("not-json", "EAR-7", "the claims are cut", token(compact(claims())[:-1]), BAD)
PAIR = compact(claims())[:-1] + b',"aud":"https://other.example"}'
vector("twice", "EAR-7", "aud stands twice", token(PAIR), BAD)
NAN = compact(claims())[:-1] + b',"x":NaN}'
vector("nan", "EAR-7", "a number that is none", token(NAN), BAD)
vector("surrogate", "EAR-7", "half of a character", token(claims(x="\ud800")), BAD)
vector(
    "deep", "EAR-7", "nested too deeply", token(claims(x=json.loads("[" * 17 + "]" * 17))), LARGE
)

# The JWKS.
vector("jwks-empty", "EAR-10", "no key", GOOD, BAD, jwks='{"keys": []}')
vector("jwks-twice", "EAR-10", "a key stands twice", GOOD, BAD, jwks=jwks(ED, ED))
vector("jwks-array", "EAR-10", "no object", GOOD, BAD, jwks="[]")
vector("jwks-private", "EAR-13", "a private key", GOOD, BAD, jwks=jwks(ED, d=b64(b"e" * 32)))
vector("jwks-kid", "EAR-12", "another name than its own", GOOD, BAD, jwks=jwks(OTHER, kid=kid(ED)))
vector("jwks-alg", "EAR-14", "the other algorithm", GOOD, BAD, jwks=jwks(ED, alg="ES256"))
vector("jwks-use", "EAR-14", "a key for encryption", GOOD, BAD, jwks=jwks(ED, use="enc"))
vector("jwks-more", "EAR-14", "a member that nobody knows", GOOD, BAD, jwks=jwks(ED, exp=AT))
vector("jwks-curve", "EAR-11", "another curve", GOOD, BAD, jwks=jwks(EC, crv="P-384"))
vector("jwks-point", "EAR-11", "not on the curve", GOOD, BAD, jwks=jwks(EC, y=b64(b"y" * 32)))
vector("jwks-short", "EAR-11", "31 bytes", GOOD, BAD, jwks=jwks(ED, x=b64(b"x" * 31)))

# The claims.
vector("profile", "EAR-20", "an unknown profile", token(claims(eat_profile="test")), BAD)
vector(
    "two-spellings", "EAR-21", "both spellings", token(claims(**{"ear.status": "affirming"})), BAD
)
vector("iat-fraction", "EAR-22", "a fraction", token(claims(iat=AT - 10.5)), BAD)
vector("exp-text", "EAR-22", "a text", token(claims(exp=str(AT + 9))), BAD)
vector("aud-list", "EAR-23", "a list of audiences", token(claims(aud=[AUDIENCE, "x"])), BAD)
vector("nonce-list", "EAR-24", "two nonces", token(claims(eat_nonce=[b64(NONCE), "x" * 9])), BAD)
vector("verifier", "EAR-25", "no verifier", token(claims(ear_verifier_id=None)), BAD)
vector("submods-none", "EAR-26", "no appraisal", token(claims(submods={})), BAD)
vector("submod-token", "EAR-26", "a nested token", token(claims(submods={"a": GOOD})), BAD)
vector("status-word", "EAR-27", "another word", token(claims(appraisal(ear_status="good"))), BAD)
vector("status-missing", "EAR-27", "no status", token(claims(appraisal(ear_status=None))), BAD)
WIDE = VECTOR | {"executables": 200}
vector(
    "vector-wide",
    "EAR-28",
    "a value of nine bits",
    token(claims(appraisal(ear_trustworthiness_vector=WIDE))),
    BAD,
)
BROKEN = TRUSTED | {"executables": 96}
vector(
    "status-better",
    "EAR-29",
    "affirming over a contraindicated claim",
    token(claims(hardware(ear_trustworthiness_vector=BROKEN))),
    BAD,
)
vector(
    "whole-better",
    "EAR-29",
    "the whole affirms what a part warns of",
    token(claims(ear_status="affirming")),
    BAD,
)
for field in ("hardware_rooted", "root_of_trust", "not_checked"):
    fewer = copy.deepcopy(facts())
    del fewer[field]
    vector(
        f"facts-no-{field.replace('_', '-')}",
        "EAR-31",
        "a field is missing",
        token(claims(appraisal(cloister_appraisal=fewer))),
        BAD,
    )
vector(
    "sim-as-hardware",
    "EAR-32",
    "simulation that calls itself hardware",
    token(claims(hardware(cloister_appraisal=facts(hardware_rooted=True)))),
    BAD,
)
vector(
    "sim-affirming",
    "EAR-33",
    "simulation that affirms",
    token(claims(appraisal(ear_status="affirming", ear_trustworthiness_vector={"hardware": 0}))),
    BAD,
)
vector(
    "sim-genuine",
    "EAR-33",
    "simulation with a genuine processor",
    token(claims(appraisal(ear_trustworthiness_vector=VECTOR | {"hardware": 2}))),
    BAD,
)
vector(
    "left-out-affirming",
    "EAR-34",
    "affirming although a check was left out",
    token(
        claims(
            hardware(
                cloister_appraisal=facts(
                    root_of_trust="snp", hardware_rooted=True, not_checked=LEFT_OUT
                )
            )
        )
    ),
    BAD,
)
vector(
    "debug-affirming",
    "EAR-34",
    "affirming although it can be inspected",
    token(
        claims(
            hardware(
                cloister_appraisal=facts(root_of_trust="snp", hardware_rooted=True, debug=True)
            )
        )
    ),
    BAD,
)

# The judgement.
for claim in ("iss", "aud", "exp", "eat_nonce"):
    vector(
        f"no-{claim.replace('_', '-')}",
        "EAR-51",
        f"no {claim}",
        token(claims(**{claim: None})),
        BAD,
    )
vector("lifetime", "EAR-52", "good for more than a day", token(claims(exp=AT + 86391)), BAD)
vector("backwards", "EAR-52", "ends before it begins", token(claims(exp=AT - 11)), BAD)
vector("expired", "EAR-53", "read at its end", GOOD, "token.expired", at=AT + 290)
vector("early", "EAR-53", "issued 61 seconds ahead", GOOD, "token.expired", at=AT - 71)
vector("not-before", "EAR-53", "not yet", token(claims(nbf=AT + 61)), "token.expired")
vector("audience", "EAR-54", "for another", GOOD, "token.audience", audience="https://rp.example/")
vector("nonce", "EAR-55", "another nonce", GOOD, "token.nonce", nonce=(b"n" * 17).hex())
vector("simulated", "EAR-56", "no hardware", GOOD, "token.simulated", accept_simulated=False)
vector(
    "not-said",
    "EAR-56",
    "Trustee's spelling affirms hardware, and does not say whether it is simulated",
    token(dotted(TRUSTEE), typ="JWT"),
    "token.simulated",
    accept_simulated=False,
)
vector("status", "EAR-57", "a warning is not enough", GOOD, "token.status", at_least="affirming")
vector(
    "contraindicated",
    "EAR-57",
    "contraindicated is never enough",
    token(claims(appraisal(ear_status="contraindicated"))),
    "token.status",
)
vector(
    "nothing", "EAR-57", "none is never enough", token(claims(ear_status="none")), "token.status"
)

# Since revision 04 of the draft, numbers for tiers, and verdicts.
NEWER = "tag:ietf.org,2026:rats/ear#04"
vector("ok-revision-04", "EAR-20", "the newer profile", token(claims(eat_profile=NEWER)), "ok")
vector(
    "revision-05",
    "EAR-20",
    "a profile that is not read yet",
    token(claims(eat_profile="tag:ietf.org,2026:rats/ear#05")),
    BAD,
)


def numbered(number: Any, profile: str = VERAISON) -> str:
    """Return a token of the dotted spelling whose tier is a number."""
    return token(dotted(profile, submods={"cpu0": {"ear.status": number}}), typ="JWT")


vector("ok-number", "EAR-27", "a tier that is a number", numbered(2), "ok", status="affirming")
vector("ok-number-warning", "EAR-27", "likewise", numbered(32, TRUSTEE), "ok")
vector("number-unknown", "EAR-27", "a number of no tier", numbered(3), BAD)
vector("number-text", "EAR-27", "a number in a text", numbered("2"), BAD)
vector("number-true", "EAR-27", "true is no number", numbered(number=True), BAD)
vector("number-ietf", "EAR-27", "texts only here", token(claims(appraisal(ear_status=32))), BAD)

EVIDENCE = {"root_of_trust": "tdx", "debug": False, "rtmr0": "00" * 48, "tcb": {"01": 2}}
EXPOSED = EVIDENCE | {"debug": True}
REASON = {"code": "appraisal.claim", "detail": "status: Intel's word"}
OPEN = [{"rule": "xfam", "reason": "no policy was given"}]


def verdict(**changes: Any) -> dict[str, Any]:
    """What became of a TD's quote, accepted and whole; a change of None leaves a member out."""
    found = {
        "version": 1,
        "root_of_trust": "tdx",
        "verdict": "accept",
        "hardware_rooted": True,
        "status": "UpToDate",
        "reasons": [],
        "checked": ["measurement", "debug", "status"],
        "not_checked": [],
        "claims": EVIDENCE,
        **changes,
    }
    return {name: value for name, value in found.items() if value is not None}


def told(facts: object, status: str = "affirming", **changes: Any) -> str:
    """Return a token about a verdict."""
    run = {"ear_status": status, "ear_trustworthiness_vector": {"hardware": 2}, **changes}
    return token(claims(eat_profile=NEWER, submods={"tdx": run | {"cloister_verdict": facts}}))


def refused(**changes: Any) -> dict[str, Any]:
    """What became of a quote that is not genuine."""
    found = {
        "verdict": "reject",
        "hardware_rooted": False,
        "status": "",
        "reasons": [{"code": "evidence.signature", "detail": ""}],
        "checked": [],
        "claims": None,
    }
    return verdict(**(found | changes))


FAILED = {"ear_trustworthiness_vector": {"instance-identity": 99}}
NOTHING = {"ear_trustworthiness_vector": {"hardware": 0}}
STALE = [{"code": "endorsement.stale", "detail": ""}]
vector("ok-verdict", "EAR-36", "a verdict, whole", told(verdict()), "ok", **STRICT, **TRUE_HARDWARE)
vector(
    "ok-verdict-left-out",
    "EAR-36",
    "a check was left out",
    told(verdict(not_checked=OPEN), "warning"),
    "ok",
    hardware_rooted=True,
)
for name, comment, said in (
    ("more", "a member that nobody knows", verdict(more=1)),
    ("less", "a member too few", verdict(status=None)),
    ("version", "another version", verdict(version=2)),
    ("word", "another word", verdict(verdict="accepted")),
    ("rooted", "a number for a truth", verdict(hardware_rooted=1)),
    ("fraction", "a claim that is a fraction", verdict(claims=EVIDENCE | {"x": [1.5]})),
    ("many", "513 claims", verdict(claims=EVIDENCE | {str(n): 0 for n in range(509)})),
    ("nameless", "a claim without a name", verdict(claims=EVIDENCE | {"": 0})),
    ("reason", "a reason of another form", refused(reasons=["x"])),
    ("reasons", "65 reasons", refused(reasons=[REASON] * 65)),
    ("null", "null is no absence", refused() | {"claims": None}),
):
    fitting = "contraindicated" if said.get("verdict") == "reject" else "affirming"
    changes = FAILED if fitting == "contraindicated" else {}
    vector(f"verdict-{name}", "EAR-36", comment, told(said, fitting, **changes), BAD)
vector(
    "verdict-and-run",
    "EAR-36",
    "a run and a verdict in one appraisal",
    told(verdict(), cloister_appraisal=facts(root_of_trust="snp", hardware_rooted=True)),
    BAD,
)
for name, comment, said in (
    ("accept-reason", "accepted, and why not", verdict(reasons=[REASON])),
    ("accept-nothing", "accepted by no rule", verdict(checked=[])),
    ("accept-forged", "accepted without claims", verdict(claims=None, checked=[])),
    ("debug-unsaid", "claims that do not say debug", verdict(claims={"root_of_trust": "tdx"})),
    ("debug-word", "debug that is a word", verdict(claims=EVIDENCE | {"debug": "no"})),
    ("kind", "claims of another kind", verdict(root_of_trust="sgx")),
):
    vector(f"verdict-{name}", "EAR-37", comment, told(said), BAD)
for name, comment, said in (
    ("reject-no-reason", "refused, and nobody says why", refused(reasons=[])),
    ("forged-rooted", "not genuine, and rooted in hardware", refused(hardware_rooted=True)),
    ("forged-checked", "not genuine, and rules held", refused(checked=["debug"])),
):
    vector(f"verdict-{name}", "EAR-37", comment, told(said, "contraindicated", **FAILED), BAD)
vector(
    "verdict-rejected",
    "EAR-57",
    "a refusal, as it should be told",
    told(refused(), "contraindicated", **FAILED),
    "token.status",
)
vector(
    "verdict-undecided",
    "EAR-57",
    "an open verdict, as it should be told",
    told(refused(verdict="undecided", reasons=STALE), "none", **NOTHING),
    "token.status",
)
for name, comment, said, status in (
    ("reject-warning", "refused, and only a warning", refused(), "warning"),
    ("reject-none", "refused, and nothing said", refused(), "none"),
    ("undecided-warning", "open, and a warning", refused(verdict="undecided"), "warning"),
    ("accept-none", "accepted, and nothing said", verdict(), "none"),
):
    vector(f"verdict-{name}", "EAR-38", comment, told(said, status, **NOTHING), BAD)
for name, comment, said in (
    (
        "sim",
        "simulation that calls itself hardware",
        verdict(root_of_trust="sim", claims=EVIDENCE | {"root_of_trust": "sim"}),
    ),
    ("soft", "no hardware, and affirming", verdict(hardware_rooted=False)),
    ("exposed", "inspectable, and affirming", verdict(claims=EXPOSED)),
    ("left-out", "a check left out, and affirming", verdict(not_checked=OPEN)),
):
    vector(f"verdict-{name}", "EAR-39", comment, told(said), BAD)
