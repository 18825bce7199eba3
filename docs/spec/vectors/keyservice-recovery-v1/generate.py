"""Write the vectors of keyservice-recovery-v1. Running it again changes nothing.

Uses cbor2, hashlib, cryptography and shamir_mnemonic only: an implementation of its own, from the
page. `captured.txt` has one splitting of a key, made once, since sealing is random; it is opened
here with `cryptography`'s HPKE before anything is written.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from shamir_mnemonic import combine_mnemonics

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


CAPTURED = json.loads((HERE / "captured.txt").read_text())
PLAN = json.loads(CAPTURED["plan"])
KEPT = [bytes.fromhex(share) for share in CAPTURED["shares"]]
WORDS = CAPTURED["mnemonics"]
SHARE_LABEL = b"cloister/keyservice-recovery/v1/share"
SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def opened(share: bytes, seed: bytes) -> str:
    """Open a share from the page."""
    tree = cbor2.loads(share)
    sealed = tree.pop("sealed")
    key = hpke.MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(seed[:64]),
        X25519PrivateKey.from_private_bytes(seed[64:]),
    )
    info = framed(SHARE_LABEL, cbor2.dumps(tree, canonical=True))
    return SUITE.decrypt(sealed, key, info=info).decode()


def plan(comment: str, expect: str, **changes: object) -> dict[str, object]:
    """A plan's text, and its hash where it is good."""
    text = json.dumps({**PLAN, **changes})
    case = {"kind": "plan", "clause": "BR-20", "comment": comment, "text": text, "expect": expect}
    return case | ({"hash": digest_of({**PLAN, **changes}).hex()} if expect == "ok" else {})


def witness_key(name: str, raw: bytes) -> str:
    """A witness's key as `release-log-v1` writes it."""
    blob = b"\x04" + raw
    key_id = hashlib.sha256(name.encode() + b"\n" + blob).digest()[:4].hex()
    return f"{name}+{key_id}+{base64.b64encode(blob).decode()}"


ADMISSION = {
    "statement": "cloister/keyservice-platform/v1",
    "service": SERVICE,
    "platform": PLATFORM,
    "root_of_trust": "sim",
    "measurements": ["sha256:" + "a7" * 32],
    "minimum_svn": 1,
    "witnesses": [witness_key(f"w.example/{n}", bytes([0xC0 + n]) * 32) for n in (1, 2, 3)],
    "quorum": 2,
    "at": 1_800_000_000,
}


def admission(comment: str, expect: str, **changes: object) -> dict[str, object]:
    """An admission's text, and its hash where it is good."""
    text = json.dumps({**ADMISSION, **changes})
    case = {"kind": "admission", "clause": "BR-40", "comment": comment, "text": text,
            "expect": expect}  # fmt: skip
    return case | ({"hash": digest_of({**ADMISSION, **changes}).hex()} if expect == "ok" else {})


REKEY = {
    "statement": "cloister/keyservice-rekey/v1",
    "service": SERVICE,
    "platform": PLATFORM,
    "at": 1_800_000_000,
}


def rekey(comment: str, expect: str, **changes: object) -> dict[str, object]:
    """A change of the state key, and its hash where it is good; None takes a key away."""
    tree = {name: value for name, value in {**REKEY, **changes}.items() if value is not None}
    case = {"kind": "rekey", "clause": "BR-50", "comment": comment, "text": json.dumps(tree),
            "expect": expect}  # fmt: skip
    return case | ({"hash": digest_of(tree).hex()} if expect == "ok" else {})


def share(comment: str, data: bytes, expect: str = "recovery.share", holder: int = 0) -> dict:
    """A sealed share and the key of who reads it."""
    seed = CAPTURED["holders"][holder]
    case = {"kind": "share", "clause": "BR-24", "comment": comment, "file": data.hex(),
            "reader": seed, "expect": expect}  # fmt: skip
    return case | ({"plain": opened(data, bytes.fromhex(seed))} if expect == "ok" else {})


def reshared(**changes: object) -> bytes:
    """The first share with other fields."""
    return cbor2.dumps({**cbor2.loads(KEPT[0]), **changes}, canonical=True)


def combined(comment: str, words: list[str], expect: str = "recovery.share") -> dict[str, object]:
    """Mnemonics, and the key that they give."""
    case = {"kind": "combine", "clause": "BR-28", "comment": comment, "mnemonics": words,
            "expect": expect}  # fmt: skip
    return case | ({"key": combine_mnemonics(words).hex()} if expect == "ok" else {})


FLIPPED = KEPT[0][:-40] + bytes([KEPT[0][-40] ^ 1]) + KEPT[0][-39:]
SWAPPED = [WORDS[0].replace(WORDS[0].split()[8], WORDS[0].split()[9], 1), WORDS[1]]
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
    "admission": admission("Two of three witnesses.", "ok"),
    "admission-half": admission(
        "Two of four would let two logs be seen.", "message.malformed",
        witnesses=[*ADMISSION["witnesses"], witness_key("w.example/4", b"\xc4" * 32)],
    ),
    "admission-one-of-three": admission("One of three.", "message.malformed", quorum=1),
    "admission-no-witness": admission("Nobody watches.", "config.value", witnesses=[]),
    "admission-no-image": admission("No image.", "message.malformed", measurements=[]),
    "admission-witness-twice": admission(
        "A witness twice.", "config.value", witnesses=[ADMISSION["witnesses"][0]] * 2
    ),
    "rekey": rekey("A change of the key.", "ok"),
    "rekey-later": rekey("The same, proposed later.", "ok", at=1_800_000_001),
    "rekey-missing": rekey("No platform.", "message.malformed", platform=None),
    "rekey-more": rekey("A key too many.", "message.malformed", more=1),
    "rekey-large": rekey("A number too large.", "message.malformed", at=2**40 + 1),
    "rekey-other": rekey("Another kind.", "message.malformed", statement=RESET),
    "plan": plan("Two of three.", "ok"),
    "plan-one-alone": plan("One share would be the key.", "message.malformed", threshold=1),
    "plan-too-few-holders": plan("Four of three.", "message.malformed", threshold=4),
    "plan-holder-twice": plan(
        "A holder twice.", "message.malformed", holders=[PLAN["holders"][0]] * 2
    ),
    "plan-no-holder": plan("Nobody.", "message.malformed", holders=[]),
    "share-first": share("The first holder's.", KEPT[0], "ok"),
    "share-third": share("The third holder's.", KEPT[2], "ok", holder=2),
    "share-other-reader": share("Somebody else's.", KEPT[1]),
    "share-other-index": share("In another place.", reshared(index=1)),
    "share-other-set": share("Of another splitting.", reshared(set=b"x" * 16)),
    "share-other-purpose": share("As if it were given.", reshared(purpose="given")),
    "share-flipped": share("One bit changed.", FLIPPED),
    "share-more": share("A field too many.", reshared(more=1), "message.malformed"),
    "share-large-index": share("A place beyond 15.", reshared(index=16), "message.malformed"),
    "combine-first-two": combined("The first two.", WORDS[:2], "ok"),
    "combine-last-two": combined("The last two.", WORDS[1:], "ok"),
    "combine-one": combined("One of two.", WORDS[:1]),
    "combine-twice": combined("One twice.", [WORDS[0], WORDS[0]]),
    "combine-changed": combined("Another word.", SWAPPED),
    "combine-none": combined("Nothing.", []),
    "statement-reset-negative": statement("A number below 0.", changed(back_to=-1)),
}  # fmt: skip


def main(out: Path) -> None:
    """Write every case."""
    for data, seed, words in zip(KEPT, CAPTURED["holders"], WORDS, strict=True):
        if opened(data, bytes.fromhex(seed)) != words:
            raise SystemExit("a captured share does not open")
    if combine_mnemonics(WORDS[:2]).hex() != CAPTURED["key"]:
        raise SystemExit("the captured shares do not give their key")
    for name, case in CASES.items():
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
