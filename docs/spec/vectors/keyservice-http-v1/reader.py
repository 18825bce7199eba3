# ruff: noqa: ANN001, ANN201, D101, D103
"""A second reader of view tokens, written from keyservice-http-v1 alone; checks every vector here.

Exits with the vectors that it judges otherwise than they expect.
"""

import base64
import json
import re
import sys
from pathlib import Path

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LABEL = b"cloister/keyservice-http/v1/view-token"
HOUR = 3600


class Bad(Exception):  # noqa: N818
    pass


def need(holds, code="identity.viewer"):
    if not holds:
        raise Bad(code)


def read(data, keys):
    try:
        value = cbor2.loads(data)
        again = cbor2.dumps(value, canonical=True)
    except Exception as e:
        raise Bad("identity.viewer") from e
    need(again == data and isinstance(value, dict) and set(value) == keys)
    return value


def split(text):
    need(len(text) <= 512 and re.fullmatch(r"[A-Za-z0-9_-]+", text) is not None)  # KH-22, KH-42
    need(len(text) % 4 != 1)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text)
    return read(raw, {"body", "signature"})  # KH-20


def need_signed(outer, key):
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in (LABEL, outer["body"]))
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(outer["signature"], framed)
    except InvalidSignature as e:
        raise Bad("identity.viewer") from e


def owners(case):
    outer = split(case["token"])
    need_signed(outer, bytes.fromhex(case["owner"]))  # KH-23
    body = read(outer["body"], {"version", "service", "scope", "expires"})
    need(body["version"] == 1 and body["scope"] in ("view", "metrics"))
    need(body["service"] == bytes.fromhex(case["service"]))
    need(type(body["expires"]) is int)  # KH-24
    need(case["at"] < body["expires"] <= case["at"] + 721 * HOUR)
    need(body["scope"] in ("view", case["scope"]), "identity.scope")  # KH-11


def issued(case):
    outer = split(case["token"])
    names = {"version", "service", "id", "issuer", "namespace", "scope", "expires"}
    body = read(outer["body"], names)  # KH-41
    need(body["version"] == 2 and len(body["id"]) == 16 and len(body["issuer"]) == 32)
    need_signed(outer, body["issuer"])  # KH-42
    need(body["service"] == bytes.fromhex(case["service"]))
    said = {name: body[name] for name in ("namespace", "scope", "expires")}
    said |= {name: body[name].hex() for name in ("id", "issuer")}
    need(said == case["grant"] and case["at"] < body["expires"])  # KH-43


def check(case):
    (issued if "grant" in case else owners)(case)


def judge(case):
    try:
        check(case)
    except Bad as e:
        return str(e)
    return "ok"


def main():
    paths = sorted(Path(__file__).parent.glob("*.json"))
    cases = {path.name: json.loads(path.read_text()) for path in paths}
    return [name for name, case in cases.items() if judge(case) != case["expect"]]


if __name__ == "__main__":
    sys.exit("\n".join(main()) or 0)
