"""Write the vectors of secret-release-v1 beside this file; a second run changes nothing.

Uses the standard library alone, nothing of the package: what is expected is written here from the
page, and so checks the package independently.
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LABEL = b"cloister/secret-release/v1/value"
SERVICE = bytes(range(32))

# name, clause, comment, template, pieces (a text, or [name, epoch, part]; no epoch is 0)
TEMPLATES: list[tuple[str, str, str, str, list[Any]]] = [
    ("empty", "SEC-22", "an empty text has no piece", "", []),
    ("plain", "SEC-22", "other dollars and braces", "${HOME} $1 {secret:a}",
     ["${HOME} $1 {secret:a}"]),
    ("value", "SEC-21", "the value itself", "${secret:db}", [["db", 0, ""]]),
    ("part", "SEC-21", "a part", "a${secret:db.hex}b", ["a", ["db", 0, "hex"], "b"]),
    ("epoch", "SEC-21", "an epoch", "${secret:db@12}", [["db", 12, ""]]),
    ("both", "SEC-21", "an epoch and a part", "${secret:db@1.base64}", [["db", 1, "base64"]]),
    ("twice", "SEC-21", "one after the other", "${secret:a}${secret:b-_1}",
     [["a", 0, ""], ["b-_1", 0, ""]]),
    ("escape", "SEC-22", "a literal that looks like one", "$${secret:db}", ["${secret:db}"]),
    ("escape-alone", "SEC-22", "any brace", "$${x}", ["${x}"]),
    ("three-dollars", "SEC-22", "from left to right", "$$${secret:db}", ["$${secret:db}"]),
]  # fmt: skip

BAD = [
    # name, comment, template
    ("unterminated", "no closing brace", "a${secret:db"),
    ("nameless", "no name", "${secret:}"),
    ("upper-case", "a name in upper case", "${secret:DB}"),
    ("space", "a space before the name", "${secret: db}"),
    ("long", "a name of 64 characters", "${secret:" + "a" * 64 + "}"),
    ("no-part", "a dot and no part", "${secret:db.}"),
    ("no-epoch", "an at sign and no epoch", "${secret:db@}"),
    ("epoch-zero", "epoch 0", "${secret:db@0}"),
    ("epoch-leading-zero", "an epoch with a leading zero", "${secret:db@01}"),
    ("epoch-long", "an epoch of 10 digits", "${secret:db@1234567890}"),
    ("epoch-negative", "a negative epoch", "${secret:db@-1}"),
    ("order", "the part before the epoch", "${secret:db.hex@1}"),
    ("nested", "one within another", "${secret:${secret:db}}"),
    ("after-escape", "a good escape, then a bad one", "$${secret:db} ${secret:"),
]

VALUES = {"${secret:a}": b"${secret:b}", "${secret:b.hex}": b"00ff", "${secret:c@2}": b"\x00\xff"}
RESOLVED = [
    # name, clause, comment, template, bytes
    ("resolved", "SEC-24", "values stand in order", "<${secret:b.hex}|${secret:c@2}>",
     b"<00ff|\x00\xff>"),
    ("resolved-once", "SEC-24", "what is put in is not read again", "${secret:a}", b"${secret:b}"),
    ("resolved-escape", "SEC-22", "an escape is resolved as well", "$${secret:a} é",
     "${secret:a} é".encode()),
]  # fmt: skip


def info(namespace: str, policy: str, name: str, epoch: int) -> bytes:
    """Return the seal's context, made from the page."""
    parts = [LABEL, SERVICE, namespace.encode(), policy.encode(), name.encode()]
    parts.append(epoch.to_bytes(8, "big"))
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def write(name: str, record: dict[str, Any]) -> None:
    """Write one vector."""
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Write every vector."""
    for old in HERE.glob("*.json"):
        old.unlink()
    for name, clause, comment, template, pieces in TEMPLATES:
        head = {"comment": comment, "clause": clause, "template": template}
        write(f"ok-{name}", head | {"pieces": pieces, "expect": "ok"})
    for name, comment, template in BAD:
        head = {"comment": comment, "clause": "SEC-23", "template": template}
        write(f"bad-{name}", head | {"expect": "policy.invalid"})
    values = {place: value.hex() for place, value in VALUES.items()}
    for name, clause, comment, template, resolved in RESOLVED:
        head = {"comment": comment, "clause": clause, "template": template}
        write(f"ok-{name}", head | {"values": values, "resolved": resolved.hex(), "expect": "ok"})
    place = {"namespace": "lab", "policy": "keeper", "name": "token", "epoch": 3}
    right = info("lab", "keeper", "token", 3).hex()
    head = {"comment": "the context of a seal", "clause": "SEC-50", "service": SERVICE.hex()}
    write("ok-info", head | place | {"info": right, "expect": "ok"})
    for name, field, value in [
        ("namespace", "namespace", "la"),
        ("policy", "policy", "bkeeper"),
        ("name", "name", "toke"),
        ("epoch", "epoch", 4),
    ]:
        other = {"comment": f"another {name}", "clause": "SEC-50", "service": SERVICE.hex()}
        write(
            f"bad-info-{name}",
            other | place | {field: value, "info": right, "expect": "message.malformed"},
        )


if __name__ == "__main__":
    main()
