"""Write the vectors of evidence-envelope-v1. Running it again changes nothing."""

import json
import sys
from pathlib import Path

import cbor2

HERE = Path(__file__).parent


def write(out: Path, name: str, case: dict[str, object]) -> None:
    """Write one vector."""
    (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


def main(out: Path) -> None:
    """Write every case."""
    good = {"media_type": "application/vnd.cloister.sim+cbor", "body": b"body"}
    data = cbor2.dumps(good, canonical=True)
    cases = {
        "ok": ("An envelope.", "EE-2", data, "ok"),
        "ok-empty-body": (
            "An empty body parses; a verifier refuses it later.",
            "EE-2",
            cbor2.dumps(good | {"body": b""}, canonical=True),
            "ok",
        ),
        "body-too-long": (
            "A body of 65537 bytes.",
            "EE-4",
            cbor2.dumps(good | {"body": bytes(65537)}, canonical=True),
            "message.malformed",
        ),
        "too-long": ("70000 bytes of anything.", "EE-4", bytes(70000), "wire.too-large"),
        "body-is-text": (
            "The body is a text.",
            "EE-2",
            cbor2.dumps(good | {"body": "x"}, canonical=True),
            "message.malformed",
        ),
        "field-missing": (
            "No media type.",
            "EE-2",
            cbor2.dumps({"body": b""}, canonical=True),
            "message.malformed",
        ),
        "field-unknown": (
            "One field more.",
            "EE-2",
            cbor2.dumps(good | {"x": 1}, canonical=True),
            "message.malformed",
        ),
        "not-canonical": (
            "Keys in the other order.",
            "EE-3",
            b"\xa2"
            + cbor2.dumps("media_type")
            + cbor2.dumps("a/b")
            + cbor2.dumps("body")
            + b"\x40",
            "wire.malformed",
        ),
        "trailing": ("One byte after the end.", "EE-3", data + b"\x00", "wire.malformed"),
        "cut": ("The last byte is missing.", "EE-3", data[:-1], "wire.malformed"),
    }
    for name, (comment, clause, envelope, expect) in cases.items():
        case = {"comment": comment, "clause": clause, "expect": expect}
        write(out, name, case | {"envelope": envelope.hex()})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
