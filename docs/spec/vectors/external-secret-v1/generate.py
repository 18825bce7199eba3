"""Write the vectors of external-secret-v1 beside this file; a second run changes nothing.

Uses the standard library alone, nothing of the package: what is expected is written here from the
page, and so checks the package independently.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LABEL = b"cloister/external-secret/v1/token"
SERVICE = bytes(range(32))
CA = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
FORM = {"source": "vault", "path": "secret/data/db", "field": "password", "max_bytes": 8}
METADATA = {"destroyed": False, "deletion_time": "", "version": 3}

ADDRESSES = [
    # name, address, whether it is one
    ("name", "vault.example.org:8200", True),
    ("short", "v:1", True),
    ("ipv4", "127.0.0.1:8200", True),
    ("last-port", "vault:65535", True),
    ("no-port", "vault.example.org", False),
    ("port-zero", "vault:0", False),
    ("port-leading-zero", "vault:08200", False),
    ("port-large", "vault:65536", False),
    ("upper-case", "Vault:8200", False),
    ("scheme", "https://vault:8200", False),
    ("path", "vault:8200/v1", False),
    ("user", "user@vault:8200", False),
    ("space", "vault :8200", False),
    ("line-feed", "vault:8200\n", False),
    ("two-dots", "vault..example:8200", False),
    ("hyphen", "-vault:8200", False),
    ("long", "a" * 64 + ":8200", False),
    ("empty", "", False),
]


def answer(**changes: Any) -> str:
    """Return the body of an answer."""
    data: dict[str, Any] = {"data": {"password": "hunter2"}, "metadata": METADATA} | changes
    return json.dumps({"request_id": "1", "lease_id": "", "data": data, "auth": None})


ANSWERS = [
    # name, clause, comment, status, body, value or code
    ("ok-plain", "EXT-33", "a text", 200, answer(), b"hunter2"),
    ("ok-unicode", "EXT-33", "bytes are those of UTF-8", 200,
     answer(data={"password": "é\x00\n"}), "é\x00\n".encode()),
    ("ok-longest", "EXT-33", "as long as allowed", 200, answer(data={"password": "é" * 4}),
     ("é" * 4).encode()),
    ("bad-too-long", "EXT-33", "one byte more than allowed", 200,
     answer(data={"password": "é" * 4 + "x"}), "source.malformed"),
    ("bad-empty", "EXT-33", "an empty value", 200, answer(data={"password": ""}),
     "source.malformed"),
    ("bad-other-field", "EXT-33", "without the field", 200, answer(data={"passwort": "x"}),
     "source.malformed"),
    ("bad-number", "EXT-33", "a number", 200, answer(data={"password": 5}), "source.malformed"),
    ("bad-null", "EXT-33", "null", 200, answer(data={"password": None}), "source.malformed"),
    ("bad-data", "EXT-33", "data is a list", 200, answer(data=["password"]), "source.malformed"),
    ("bad-version-1", "EXT-33", "a KV version 1 answer", 200,
     json.dumps({"data": {"password": "x"}}), "source.malformed"),
    ("bad-destroyed", "EXT-33", "destroyed", 200, answer(metadata=METADATA | {"destroyed": True}),
     "source.malformed"),
    ("bad-deleted", "EXT-33", "deleted", 200,
     answer(metadata=METADATA | {"deletion_time": "2026-01-01T00:00:00Z"}), "source.malformed"),
    ("bad-no-metadata", "EXT-33", "without metadata", 200, answer(metadata=None),
     "source.malformed"),
    ("bad-twice", "EXT-33", "a key that stands twice", 200,
     answer().replace('"password": "hunter2"', '"password": "a", "password": "b"'),
     "source.malformed"),
    ("bad-deep", "EXT-33", "nested too deeply", 200, "[" * 9 + "]" * 9, "source.malformed"),
    ("bad-cut", "EXT-33", "cut", 200, answer()[:-1], "source.malformed"),
    ("bad-list", "EXT-33", "a list", 200, "[]", "source.malformed"),
    ("bad-no-body", "EXT-33", "nothing", 200, "", "source.malformed"),
    ("bad-redirect", "EXT-32", "a redirection", 307, answer(), "source.refused"),
    ("bad-forbidden", "EXT-32", "a token that may not read it", 403, '{"errors":[]}',
     "source.refused"),
    ("bad-missing", "EXT-32", "a path that is not there", 404, '{"errors":[]}', "source.refused"),
    ("bad-created", "EXT-32", "another kind of success", 204, answer(), "source.refused"),
]  # fmt: skip


def info(namespace: str, name: str, address: str, ca: bytes) -> bytes:
    """Return the seal's context, made from the page."""
    parts = [LABEL, SERVICE, namespace.encode(), name.encode(), address.encode()]
    parts.append(hashlib.sha256(ca).digest())
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def write(name: str, record: dict[str, Any]) -> None:
    """Write one vector."""
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Write every vector."""
    for old in HERE.glob("*.json"):
        old.unlink()
    for name, address, good in ADDRESSES:
        head = {"comment": f"an address: {name}", "clause": "EXT-20", "address": address}
        expect = "ok" if good else "message.malformed"
        write(f"{'ok' if good else 'bad'}-address-{name}", head | {"expect": expect})
    for name, clause, comment, status, body, found in ANSWERS:
        head = {"comment": comment, "clause": clause, "status": status, "body": body, "form": FORM}
        if isinstance(found, bytes):
            write(name, head | {"value": found.hex(), "expect": "ok"})
        else:
            write(name, head | {"expect": found})
    place = {"namespace": "lab", "name": "vault", "address": "vault:8200", "ca": CA.decode()}
    right = info("lab", "vault", "vault:8200", CA).hex()
    head = {"comment": "the context of a seal", "clause": "EXT-22", "service": SERVICE.hex()}
    write("ok-info", head | place | {"info": right, "expect": "ok"})
    for field, value in [
        ("namespace", "la"),
        ("name", "bvault"),
        ("address", "vault:8201"),
        ("ca", CA.decode() + "\n"),
    ]:
        other = {"comment": f"another {field}", "clause": "EXT-22", "service": SERVICE.hex()}
        changed = place | {field: value, "info": right, "expect": "message.malformed"}
        write(f"bad-info-{field}", other | changed)


if __name__ == "__main__":
    main()
