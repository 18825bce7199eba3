# ruff: noqa: ANN001, ANN201, ANN202, D101, D103, PT018, S101
"""A second reader of ear-v1, written from its page alone; checks every vector beside it.

Fails by assertion, lookup, type or value on what is malformed, by `Bad` on what has a code.
"""

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

PROFILES = {
    "tag:ietf.org,2026:rats/ear#04": "eat+jwt",
    "tag:ietf.org,2026:rats/ear#03": "eat+jwt",
    "tag:github.com,2023:veraison/ear": "JWT",
    "tag:github.com,2024:confidential-containers/Trustee": "JWT",
}
NUMBERS = {0: "none", 2: "affirming", 32: "warning", 96: "contraindicated"}
ORDER = ["affirming", "warning", "none", "contraindicated"]


class Bad(Exception):  # noqa: N818
    pass


def unb64(text):
    assert re.fullmatch("[A-Za-z0-9_-]*", text)
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert base64.urlsafe_b64encode(data).decode().rstrip("=") == text
    return data


def strict(data, levels):  # EAR-7
    def pairs(items):
        assert len({name for name, _ in items}) == len(items)
        return dict(items)

    def never(_):
        raise ValueError

    def depth(value):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0

    value = json.loads(data.decode(), object_pairs_hook=pairs, parse_constant=never)
    json.dumps(value, ensure_ascii=False).encode()
    if depth(value) > levels:
        raise Bad("wire.too-large")
    return value


def text(value, most=255, least=1):
    assert isinstance(value, str) and least <= len(value) <= most
    return value


def whole(value, least=0, most=2**63 - 1):
    assert type(value) is int and least <= value <= most
    return value


def read_jwks(data):
    document = strict(data.encode(), 4)
    assert set(document) == {"keys"} and 1 <= len(document["keys"]) <= 64  # EAR-10
    found = {}
    for key in document["keys"]:
        kind = key["kty"], key["crv"]  # EAR-11
        names = {"kty", "crv", "x"} | ({"y"} if kind == ("EC", "P-256") else set())
        assert kind in {("EC", "P-256"), ("OKP", "Ed25519")}
        assert names <= set(key) <= names | {"kid", "alg", "use", "key_ops"}  # EAR-13, EAR-14
        point = [unb64(key[name]) for name in sorted(names & {"x", "y"})]
        assert all(len(number) == 32 for number in point)
        canonical = json.dumps({n: key[n] for n in sorted(names)}, separators=(",", ":"))
        thumb = base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode()
        assert key["kid"] == thumb.rstrip("=") and key["kid"] not in found  # EAR-12
        if len(point) == 2:
            curve = ec.SECP256R1()
            public = ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\4" + b"".join(point))
        else:
            public = Ed25519PublicKey.from_public_bytes(point[0])
        algorithm = "ES256" if len(point) == 2 else "EdDSA"
        assert key.get("alg", algorithm) == algorithm and key.get("use", "sig") == "sig"
        assert key.get("key_ops", ["verify"]) == ["verify"]
        found[key["kid"]] = algorithm, public
    return found


def verify(token, keys):
    if len(token) > 262144:  # EAR-1
        raise Bad("wire.too-large")
    head, body, end = token.split(".")
    header = strict(unb64(head), 4)
    assert set(header) == {"alg", "kid", "typ"}  # EAR-2
    assert re.fullmatch("[A-Za-z0-9_-]{43}", header["kid"])
    if header["kid"] not in keys:  # EAR-3
        raise Bad("token.key-unknown")
    algorithm, key = keys[header["kid"]]
    if header["alg"] != algorithm:  # EAR-4
        raise Bad("token.algorithm")
    assert header["typ"] in PROFILES.values()  # EAR-5
    signature, payload, message = unb64(end), unb64(body), f"{head}.{body}".encode()
    try:  # EAR-6
        if len(signature) != 64:
            raise InvalidSignature
        if algorithm == "EdDSA":
            key.verify(signature, message)
        else:
            pair = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
            key.verify(utils.encode_dss_signature(*pair), message, ec.ECDSA(SHA256()))
    except InvalidSignature as e:
        raise Bad("token.signature") from e
    return header["typ"], strict(payload, 16)


def tier(value):  # EAR-28
    whole(value, -128, 127)
    if value in (-1, 0, 1):
        return "none"
    return ORDER[0 if -32 <= value <= 31 else 1 if -96 <= value <= 95 else 3]


def sums_up(status, parts):  # EAR-27, EAR-29
    asserted = [ORDER.index(part) for part in parts if part != "none"]
    assert ORDER.index(status) >= max(asserted, default=0)


def plain(value):
    assert value is None or isinstance(value, bool | int | str | list | dict)
    for each in value.values() if isinstance(value, dict) else value:
        if not isinstance(each, str):
            plain(each) if isinstance(each, list | dict) else None
        assert not isinstance(each, float)


def verdict_of(status, facts):
    names = {
        "version", "root_of_trust", "verdict", "hardware_rooted", "status", "reasons", "checked",
        "not_checked",
    }  # fmt: skip
    assert names <= set(facts) <= names | {"claims"}  # EAR-36
    assert type(facts["version"]) is int and facts["version"] == 1
    text(facts["root_of_trust"]), text(facts["status"], least=0)
    assert type(facts["hardware_rooted"]) is bool
    lists = [facts[name] for name in ("reasons", "checked", "not_checked")]
    assert all(isinstance(each, list) for each in lists)
    assert len(lists[0]) <= 64 and len(lists[1]) <= 1024 and len(lists[2]) <= 1024
    assert all(set(each) == {"code", "detail"} for each in lists[0])
    assert all(text(rule, 4096, 0) is not None for rule in lists[1])
    assert all(set(each) == {"rule", "reason"} for each in lists[2])
    claims, accepted = facts.get("claims"), facts["verdict"] == "accept"
    assert accepted != bool(lists[0])  # EAR-37
    if "claims" in facts:
        assert isinstance(claims, dict) and 1 <= len(claims) <= 512
        assert all(1 <= len(name) <= 255 for name in claims)
        plain(claims)
        data = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(data) <= 65536
        assert claims["root_of_trust"] == facts["root_of_trust"] and type(claims["debug"]) is bool
        assert not accepted or lists[1]
    else:
        assert not (accepted or facts["hardware_rooted"] or lists[1])
    tiers = {"accept": ORDER[:2], "reject": ORDER[3:], "undecided": ORDER[2:3]}
    assert status in tiers[facts["verdict"]]  # EAR-38


def besides(part, claims):
    assert not {"cloister_appraisal", "cloister_verdict"} <= set(part)  # EAR-36
    facts, status = part.get("cloister_appraisal"), part["ear_status"]
    if "cloister_verdict" in part:
        facts = part["cloister_verdict"]
        verdict_of(status, facts)
    elif facts is not None:
        assert set(facts) == {
            "version", "root_of_trust", "hardware_rooted", "anchor", "measurement",
            "security_version", "debug", "launch", "not_checked",
        }  # EAR-31  # fmt: skip
    if facts is None:
        return None
    debug = facts.get("claims", facts).get("debug", False)  # EAR-39
    affirmed = {"affirming"} & {status, *(
        tier(claims.get(name, 0)) for name in ("hardware", "runtime-opaque"))}  # fmt: skip
    assert facts["hardware_rooted"] or not affirmed  # EAR-33
    assert not (facts["hardware_rooted"] and facts["root_of_trust"] == "sim")  # EAR-32
    assert status != "affirming" or not (debug or facts["not_checked"])  # EAR-34
    return facts


def judge(case):
    kind, ear = verify(case["token"], read_jwks(case["jwks"]))
    assert PROFILES[ear["eat_profile"]] == kind  # EAR-20, EAR-5
    dots = kind == "JWT"
    status, vector = ("ear.status", "ear.trustworthiness-vector") if dots else (
        "ear_status", "ear_trustworthiness_vector")  # fmt: skip
    sets = [ear, *ear["submods"].values()]
    for each in sets if dots else ():  # EAR-27
        if type(each.get(status)) is int:
            each[status] = NUMBERS[each[status]]
    assert not any(name.startswith("ear_" if dots else "ear.") for s in sets for name in s)  # 21
    verifier = ear["ear.verifier-id" if dots else "ear_verifier_id"]  # EAR-25
    text(verifier["developer"]), text(verifier["build"])
    rooted = True
    for part in sets[1:]:
        claims = part.get(vector, {})
        sums_up(part[status], map(tier, claims.values()))
        facts = None if dots else besides(part, claims)
        rooted = facts is not None and facts["hardware_rooted"] and rooted  # EAR-35
    parts = [part[status] for part in sets[1:]]
    assert 1 <= len(parts) <= 16  # EAR-26
    if status in ear:
        sums_up(ear[status], parts)
        parts.append(ear[status])
    text(ear["iss"]), text(ear["aud"]), text(ear["eat_nonce"], 88, 8)  # EAR-51, EAR-23, EAR-24
    issued, end, early = whole(ear["iat"]), whole(ear["exp"]), whole(ear.get("nbf", 0))
    assert 1 <= end - issued <= 86400  # EAR-52
    if end <= case["at"] or max(issued, early) > case["at"] + 60:  # EAR-53
        raise Bad("token.expired")
    if ear["aud"] != case["audience"]:  # EAR-54
        raise Bad("token.audience")
    nonce = re.sub("=+$", "", ear["eat_nonce"]).translate(str.maketrans("+/", "-_"))
    if unb64(nonce) != bytes.fromhex(case["nonce"]):  # EAR-55
        raise Bad("token.nonce")
    if not (rooted or case["accept_simulated"]):  # EAR-56
        raise Bad("token.simulated")
    found = max(parts, key=ORDER.index)
    if ORDER.index(found) > ORDER.index(case["at_least"]):  # EAR-57
        raise Bad("token.status")
    return "ok", found, rooted


def outcome(case):
    try:
        return judge(case)
    except Bad as e:
        return str(e), None, None
    except (AssertionError, LookupError, TypeError, ValueError, AttributeError):
        return "token.malformed", None, None


if __name__ == "__main__":
    wrong = 0
    cases = sorted(Path(__file__).parent.glob("*.json"))
    for path in cases:
        case = json.loads(path.read_text())
        found = outcome(case)
        if found != (case["expect"], case.get("status"), case.get("hardware_rooted")):
            wrong += 1
            print(f"{path.name}: {found} instead of {case['expect']}")
    print(f"{len(cases) - wrong} of {len(cases)} vectors agree")
    sys.exit(bool(wrong))
