# ruff: noqa: ANN001, ANN002, ANN201, D101, D103, S101
"""A second reader of membership-v1, written from its page alone; checks every vector beside it.

Exits with the vectors that it judges otherwise than they expect.
"""

import hashlib
import hmac
import json
import re
import sys
from pathlib import Path

import cbor2
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,254}")
ROSTER = {"version", "domain", "namespace", "name", "policy", "of", "epoch", "at", "members"}
MEMBER = {"role", "instance", "identity", "evidence", "result", "key"}
MEMBER |= {"since", "renewed", "expires"}
REQUEST = {"version", "service", "nonce", "namespace", "name", "role", "instance", "operation"}


class Bad(Exception):  # noqa: N818
    pass


def need(holds, code="message.malformed"):
    if not holds:
        raise Bad(code)


def read(data, keys):
    value = cbor2.loads(data)
    need(isinstance(value, dict) and set(value) == keys)
    need(cbor2.dumps(value, canonical=True) == data)
    return value


def framed(*parts):
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def is_name(text):
    return isinstance(text, str) and NAME.fullmatch(text) is not None


def is_namespace(text):
    part = "[a-z0-9][a-z0-9._-]{0,62}"
    whole = rf"/|{part}(?:/{part}){{0,3}}"
    return isinstance(text, str) and re.fullmatch(whole, text) is not None


def is_count(value):
    return type(value) is int and 0 <= value < 2**63


def is_digest(value):
    return isinstance(value, bytes) and len(value) == 32


def roster(case):
    want = case["expected"]
    outer = read(bytes.fromhex(case["message"]), {"body", "signature"})
    message = framed(b"cloister/membership/v1/roster", outer["body"])  # MEM-30, MEM-35
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(want["service"]))
        key.verify(outer["signature"], message)
    except InvalidSignature as e:
        raise Bad("identity.keyservice") from e
    body = read(outer["body"], ROSTER)  # MEM-31
    need(body["version"] == 1 and is_digest(body["policy"]))
    need(is_namespace(body["namespace"]) and is_name(body["name"]))
    need(body["of"] == "" or is_name(body["of"]))
    need(is_count(body["epoch"]) and is_count(body["at"]) and len(body["members"]) <= 1000)
    places = []
    for member in body["members"]:  # MEM-32
        need(isinstance(member, dict) and set(member) == MEMBER)
        need(is_name(member["role"]) and is_name(member["instance"]))
        need(all(is_digest(member[key]) for key in ("evidence", "result", "key")))
        need(all(is_count(member[key]) for key in ("since", "renewed", "expires")))
        path = "/".join([body["namespace"], body["name"], member["role"], member["instance"]])
        need(member["identity"] == f"spiffe://{body['domain']}/{path}")
        need(member["expires"] > body["at"] and body["of"] in ("", member["role"]))
        places.append((member["role"].encode(), member["instance"].encode()))
    need(places == sorted(set(places)))
    for field in ("domain", "namespace", "name", "of"):  # MEM-36
        need(body[field] == want[field], "roster.foreign")
    need(body["epoch"] >= want["epoch"], "roster.stale")  # MEM-37
    age = want["now"] - body["at"]
    need(-300 <= age <= want["max_age_s"], "roster.stale")  # MEM-38


def request(case):
    outer = read(bytes.fromhex(case["message"]), {"body", "mac"})
    operation = cbor2.loads(outer["body"]).get("operation")
    need(operation in ("roster", "refusals", "leave", "token", "spend"))
    parts = {"roster": {"of"}, "refusals": {"since"}, "leave": set(), "token": {"token"}}
    parts["spend"] = {"demand"}
    more = parts[operation]
    body = read(outer["body"], REQUEST | more)  # MEM-20
    need(body["version"] == 1)
    need(is_digest(body["service"]) and is_digest(body["nonce"]))
    need(all(is_name(body[key]) for key in ("namespace", "name", "role", "instance")))
    need("of" not in more or body["of"] == "" or is_name(body["of"]))
    need("since" not in more or is_count(body["since"]))  # MEM-25
    if more == {"demand"}:  # MEM-70
        need(isinstance(body["demand"], bytes) and len(body["demand"]) == 540)
    if more == {"token"}:  # MEM-50
        need(set(body["token"]) == {"audience", "answers", "result"})
        need(
            isinstance(body["token"]["audience"], str)
            and isinstance(body["token"]["result"], bytes)
        )
        need(
            1 <= len(body["token"]["audience"]) <= 255 and 8 <= len(body["token"]["answers"]) <= 64
        )
    message = framed(b"cloister/membership/v1/request", outer["body"])  # MEM-22
    mac = hmac.digest(bytes.fromhex(case["secret"]), message, hashlib.sha256)
    need(hmac.compare_digest(mac, outer["mac"]), "release.not-member")


def secret(case):
    names = [case[key].encode() for key in ("namespace", "name", "role", "instance")]
    salt = framed(*names, bytes.fromhex(case["policy"]), bytes.fromhex(case["key"]))
    extracted = hmac.digest(salt, bytes.fromhex(case["service_secret"]), hashlib.sha256)
    made = hmac.digest(extracted, b"cloister/membership/v1/secret\x01", hashlib.sha256)
    assert made.hex() == case["secret"]  # MEM-24


def emptied(data, size):
    need(len(data) == size)
    length = int.from_bytes(data[:2], "big")
    need(length <= size - 2 and not any(data[2 + length :]))
    return data[2 : 2 + length]


def decrypted(case, size, label):
    sealed = bytes.fromhex(case["message"])
    salt, own = bytes.fromhex(case["nonce"]), bytes.fromhex(case["secret"])
    key = HKDF(algorithm=SHA256(), length=32, salt=salt, info=label).derive(own)
    try:
        plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], label)
    except InvalidTag as e:
        raise Bad("message.malformed") from e
    return emptied(plain, size)


def spendable(value):
    need(is_name(value["budget"]) and isinstance(value["principal"], str))
    need(PRINCIPAL.fullmatch(value["principal"]) is not None)
    need(is_count(value["amount"]) and value["amount"] <= 10**15)


def demand(case):
    plain = decrypted(case, 512, b"cloister/membership/v1/spend")  # MEM-70
    value = read(plain, {"number", "budget", "principal", "amount"})  # MEM-71
    need(is_count(value["number"]) and value["number"] >= 1)
    spendable(value)


def outcome(case):
    plain = decrypted(case, 128, b"cloister/membership/v1/spent")  # MEM-72
    value = read(plain, {"left", "code"})
    need(is_count(value["left"]) and isinstance(value["code"], str))


def frame(case):
    plain = emptied(bytes.fromhex(case["message"]), 512)  # MEM-91
    value = read(plain, {"version", "budget", "principal", "amount"})
    need(value["version"] == 1)
    spendable(value)


KINDS = {"roster": roster, "request": request, "secret": secret}
KINDS |= {"demand": demand, "outcome": outcome, "frame": frame}


def judge(case):
    try:
        KINDS[case["kind"]](case)
    except Bad as e:
        return str(e)
    return "ok"


def main():
    paths = sorted(Path(__file__).parent.glob("*.json"))
    cases = {path.name: json.loads(path.read_text()) for path in paths}
    return [name for name, case in cases.items() if judge(case) != case["expect"]]


if __name__ == "__main__":
    sys.exit("\n".join(main()) or 0)
