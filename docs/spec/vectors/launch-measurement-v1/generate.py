"""Write the vectors of launch-measurement-v1 beside this file; a second run changes nothing.

Uses hashlib alone, nothing of the package: manifests and digests are made here from the page, and
so check the package independently.
"""

import hashlib
import json
from pathlib import Path

HERE = Path(__file__).parent


def framed(*parts: bytes) -> bytes:
    """Join parts behind their lengths."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def folder(path: str, *entries: tuple[str, str, bytes]) -> bytes:
    """Return a folder and its entries as they are given, in whatever order."""
    name = path.encode()
    head = b"D" + len(name).to_bytes(2, "big") + name
    return head + b"".join(
        kind.encode() + len(n).to_bytes(2, "big") + n.encode() + hashlib.sha256(data).digest()
        for kind, n, data in entries
    )


def vector(name: str, clause: str, comment: str, manifest: bytes, expect: str) -> None:
    """Write one case."""
    case = {"comment": comment, "clause": clause, "manifest": manifest.hex(), "expect": expect}
    if expect == "ok":
        for label in ("code", "runtime"):
            message = framed(f"cloister/v1/{label}".encode(), manifest)
            case[f"{label}_digest"] = hashlib.sha256(message).hexdigest()
    (HERE / f"{name}.json").write_text(json.dumps(case, indent=2) + "\n", "utf-8")


TRAIN = ("f", "train.py", b"print(1)\n")
GOOD = folder("code", TRAIN)
BAD = "wire.malformed"

vector("empty", "LM-13", "a command inside a volume has no runtime of its own", b"", "ok")
vector("one-file", "LM-3", "the worked example", GOOD, "ok")
vector(
    "kinds",
    "LM-4",
    "a file, an executable one and a link differ by kind alone",
    folder("code", ("f", "a", b"x"), ("x", "b", b"x"), ("l", "c", b"x")),
    "ok",
)
vector(
    "folders",
    "LM-3",
    "folders are sorted by their whole paths, and empty ones count",
    folder("packages/0") + folder("packages/0-x", TRAIN) + folder("packages/0/pkg", TRAIN),
    "ok",
)
vector("cut-digest", "LM-6", "the last byte of a digest is missing", GOOD[:-1], BAD)
vector("cut-name", "LM-6", "a name is longer than what follows", b"D\x00\x04co", BAD)
vector("no-folder", "LM-6", "an entry before any folder", GOOD[7:], BAD)
vector("empty-name", "LM-6", "a name has no bytes", folder("code", ("f", "", b"")), BAD)
vector("kind", "LM-6", "a kind that does not exist", folder("code", ("q", "a", b"")), BAD)
vector("slash", "LM-6", "a name with a slash", folder("code", ("f", "a/b", b"")), BAD)
vector(
    "unsorted-names", "LM-3", "names out of order",
    folder("code", ("f", "b", b""), ("f", "a", b"")), BAD,
)  # fmt: skip
vector(
    "repeated-name", "LM-3", "a name twice", folder("code", ("f", "a", b""), ("f", "a", b"")), BAD
)
vector("unsorted-folders", "LM-3", "folders out of order", folder("b") + folder("a"), BAD)
vector("repeated-folder", "LM-3", "a folder twice", folder("a") + folder("a"), BAD)
vector("trailing", "LM-6", "bytes behind the last entry", GOOD + b"\x00", BAD)
