"""Write the vectors of keyservice-recovery-v1. Running it again changes nothing.

Uses cbor2, hashlib and json only: an implementation of its own, from the page.
"""

import hashlib
import json
import sys
from pathlib import Path

import cbor2

HERE = Path(__file__).parent
MAGIC = b"cloister/keyservice-backup/v1\n"
RESET = "cloister/keyservice-reset/v1"
SERVICE, PLATFORM = "ed25519:" + "5c" * 32, "ed25519:" + "91" * 32


def framed(*parts: bytes) -> bytes:
    """Each part after its length."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def item(*parts: object) -> bytes:
    """One item of a backup."""
    data = cbor2.dumps(list(parts), canonical=True)
    return len(data).to_bytes(4, "big") + data


def whole(*items: bytes) -> bytes:
    """A file with the digest that fits."""
    body = MAGIC + b"".join(items)
    return body + item("end", hashlib.sha256(body).digest())


SLOTS = (
    item("slot", "format", b"cloister/keyservice-state/v2"),
    item("slot", f"state-key/{PLATFORM}", b"k" * 60),
)
SNAPSHOT = item("snapshot", 4, b"d" * 32 + b"sealed snapshot")
RECORDS = (item("record", 5, b"sealed record 5"), item("record", 6, b"sealed record 6"))
LOG = (item("log", 0, b"sealed entry 0", b"l" * 32), item("log", 1, b"sealed entry 1", b"m" * 32))
GOOD = whole(*SLOTS, SNAPSHOT, *RECORDS, *LOG)
HEAD_6 = {"sequence": 6, "digest": hashlib.sha256(b"sealed record 6").hexdigest()}


def backup(comment: str, data: bytes, head: dict[str, object] | None = None) -> dict[str, object]:
    """A backup; refused where it has no head."""
    case: dict[str, object] = {
        "kind": "backup", "clause": "BR-2", "comment": comment, "file": data.hex(),
        "expect": "state.tampered",
    }  # fmt: skip
    return case if head is None else case | {"clause": "BR-1", "expect": "ok", "head": head}


STATEMENT = {
    "statement": RESET,
    "service": SERVICE,
    "platform": PLATFORM,
    "given_up": 120,
    "back_to": 100,
    "digest": "sha256:" + "d1" * 32,
    "at": 1_800_000_000,
}


def digest_of(tree: dict[str, object]) -> bytes:
    """A statement's hash."""
    label = str(tree["statement"]).encode()
    return hashlib.sha256(framed(label, cbor2.dumps(tree, canonical=True))).digest()


def statement(comment: str, text: str, expect: str = "message.malformed") -> dict[str, object]:
    """A statement's text."""
    return {
        "kind": "reset", "clause": "BR-10", "comment": comment, "text": text, "expect": expect,
    }  # fmt: skip


def good(comment: str, text: str) -> dict[str, object]:
    """A reset that is read."""
    digest = digest_of(STATEMENT)
    head = hashlib.sha256(framed(f"{RESET}/head".encode(), digest)).hexdigest()
    case = statement(comment, text, "ok")
    return case | {"hash": digest.hex(), "next": {"sequence": 121, "digest": head}}


def changed(**changes: object) -> str:
    """The statement's text with other values; None takes a key away."""
    tree = {**STATEMENT, **changes}
    return json.dumps({name: value for name, value in tree.items() if value is not None})


TEXT = json.dumps(STATEMENT)
CASES = {
    "backup": backup("Something of everything.", GOOD, HEAD_6),
    "backup-snapshot-only": backup(
        "Nothing behind the snapshot.", whole(*SLOTS, SNAPSHOT, *LOG),
        {"sequence": 4, "digest": (b"d" * 32).hex()},
    ),
    "backup-empty": backup("No row at all.", whole(), {"sequence": 0, "digest": "00" * 32}),
    "backup-cut": backup("One byte short.", GOOD[:-1]),
    "backup-longer": backup("One byte more.", GOOD + b"\x00"),
    "backup-flipped": backup("One bit of a record.", GOOD.replace(b"record 5", b"record 4")),
    "backup-no-end": backup("Cut at an item.", MAGIC + b"".join((*SLOTS, SNAPSHOT))),
    "backup-order": backup("A log's row before a record.", whole(*LOG, *RECORDS)),
    "backup-two-snapshots": backup("Two snapshots.", whole(SNAPSHOT, SNAPSHOT)),
    "backup-unknown-item": backup("An item of another kind.", whole(item("more", 1))),
    "backup-other-version": backup("Another first line.", GOOD.replace(b"/v1", b"/v2", 1)),
    "backup-not-canonical": backup(
        "An item that is not canonical.", whole(b"\x00\x00\x00\x04\x9f\x61\x61\xff")
    ),
    "backup-nothing": backup("Nothing.", b""),
    "statement-reset": good("A reset.", TEXT),
    "statement-reset-spaces": good("With other spaces.", json.dumps(STATEMENT, indent=4)),
    "statement-reset-order": good("In another order.", json.dumps(STATEMENT, sort_keys=True)),
    "statement-reset-missing": statement("A key is missing.", changed(at=None)),
    "statement-reset-more": statement("A key too many.", changed(more=1)),
    "statement-reset-twice": statement("A key twice.", TEXT[:-1] + ', "at": 1800000000}'),
    "statement-reset-other": statement("Another kind.", changed(statement="cloister/other/v1")),
    "statement-reset-text": statement("A number as text.", changed(given_up="120")),
    "statement-reset-large": statement("A number too large.", changed(given_up=2**40 + 1)),
    "statement-reset-negative": statement("A number below 0.", changed(back_to=-1)),
}  # fmt: skip


def main(out: Path) -> None:
    """Write every case."""
    for name, case in CASES.items():
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
