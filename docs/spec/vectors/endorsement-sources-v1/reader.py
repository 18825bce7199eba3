"""A second reader of endorsement-sources-v1: entries and statements, from the page alone.

Uses cbor2, hashlib and regular expressions; run it to see which vectors it disagrees with.
"""

import hashlib
import json
import re
from pathlib import Path

import cbor2

HERE = Path(__file__).parent
LABEL = b"cloister/endorsement-cache/v1"


def read_entry(data: bytes) -> bytes:
    """Return an entry's body, or raise ValueError."""
    outer = cbor2.loads(data)
    if set(outer) != {"answer", "digest"} or cbor2.dumps(outer, canonical=True) != data:
        raise ValueError("not an entry")
    parts = b"".join(len(each).to_bytes(8, "big") + each for each in (LABEL, outer["answer"]))
    if hashlib.sha256(parts).digest() != outer["digest"]:
        raise ValueError("changed")
    inner = cbor2.loads(outer["answer"])
    if set(inner) != {"version", "url", "at", "headers", "body"} or inner["version"] != 1:
        raise ValueError("not an answer")
    if len(inner["url"]) > 2048 or len(inner["headers"]) > 8:
        raise ValueError("too long")
    if any([type(text) for text in each] != [str, str] for each in inner["headers"]):
        raise ValueError("not a header")
    return inner["body"]


def read_statement(body: str) -> tuple[str, str]:
    """Return what was signed and the signature, or raise ValueError."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    whole = json.loads(body, object_pairs_hook=unique)
    if list(whole) != ["tcbInfo", "signature"] or not isinstance(whole["tcbInfo"], dict):
        raise ValueError("not a statement")
    if not re.fullmatch("[0-9a-fA-F]{128}", str(whole["signature"])) or depth(whole) > 9:
        raise ValueError("not a signature, or too deep")
    tail = re.search(r'\s*,\s*"signature"\s*:\s*"[^"]*"\s*\}\s*$', body)
    head = re.match(r'\s*\{\s*"tcbInfo"\s*:\s*', body)
    if tail is None or head is None:
        raise ValueError("not a statement")
    return body[head.end() : tail.start()], str(whole["signature"]).lower()


def depth(value: object) -> int:
    """How deep it is nested."""
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def main() -> list[str]:
    """Return the names of the vectors that it reads otherwise."""
    wrong = []
    for path in sorted(HERE.glob("*.json")):
        case = json.loads(path.read_text())
        try:
            if case["kind"] == "entry":
                right = read_entry(bytes.fromhex(case["entry"])).hex() == case["body"]
            elif case["kind"] == "statement":
                right = read_statement(case["body"]) == (case["signed"], case["signature"])
            else:
                continue
        except (ValueError, TypeError, cbor2.CBORError):
            right = case["expect"] != "ok"
        else:
            right = right and case["expect"] == "ok"
        if not right:
            wrong.append(path.name)
    return wrong


if __name__ == "__main__":
    print("\n".join(main()) or "agrees")
