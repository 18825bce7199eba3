# ruff: noqa: ANN001, ANN201, D103
"""A second reader of the nonces of key-release-v1 (KR-11, KR-12, KR-15), from its page alone.

Exits with the vectors of that kind that it judges otherwise than they expect.
"""

import hashlib
import hmac
import json
import sys
from pathlib import Path

LABEL = b"cloister/key-release/v1/challenge"


def expand(secret, info):
    """RFC 5869 with an absent salt, for one block."""
    pseudorandom = hmac.new(b"\x00" * 32, secret, hashlib.sha256).digest()
    return hmac.new(pseudorandom, info + b"\x01", hashlib.sha256).digest()


def judge(case):
    nonce = bytes.fromhex(case["message"])
    end = int.from_bytes(nonce[0:6], "big")
    lengths = [len(part).to_bytes(8, "big") for part in (LABEL, nonce[0:16])]
    covered = lengths[0] + LABEL + lengths[1] + nonce[0:16]
    key = expand(bytes.fromhex(case["secret"]), LABEL)
    code = hmac.new(key, covered, hashlib.sha256).digest()[0:16]
    if case["spent"]:
        return "evidence.replayed"
    if len(nonce) != 32 or not hmac.compare_digest(code, nonce[16:]) or case["at"] > end:
        return "evidence.expired"
    return "ok"


def main():
    paths = sorted(Path(__file__).parent.glob("nonce-*.json"))
    cases = {path.name: json.loads(path.read_text()) for path in paths}
    return [name for name, case in cases.items() if judge(case) != case["expect"]]


if __name__ == "__main__":
    sys.exit("\n".join(main()) or 0)
