"""Write the vectors of release-log-v1. Running it again changes nothing.

Uses cbor2, hashlib and cryptography only: an implementation of its own, from the page.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).parent
ORIGIN = "example.test/cloister-log"
KEY, OTHER, W1, W2 = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 11, 12))
N1, N2 = "w1.example/log", "w2.example/log"
AT = 1_800_000_000
BAD, CBOR, IDENTITY, PROOF = (
    "message.malformed",
    "wire.malformed",
    "identity.keyservice",
    "log.proof",
)


def raw(key: Ed25519PrivateKey) -> bytes:
    """The public bytes."""
    return key.public_key().public_bytes_raw()


def sha(*parts: bytes) -> bytes:
    """SHA-256 of the parts."""
    return hashlib.sha256(b"".join(parts)).digest()


def b64(data: bytes) -> str:
    """Base64."""
    return base64.b64encode(data).decode()


def canonical(value: object) -> bytes:
    """Deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def root(hashes: list[bytes]) -> bytes:
    """The root over leaf hashes."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha()
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return sha(b"\x01", root(hashes[:half]), root(hashes[half:]))


def path(hashes: list[bytes], index: int) -> list[bytes]:
    """An inclusion proof."""
    if len(hashes) == 1:
        return []
    half = 1 << (len(hashes) - 1).bit_length() - 1
    if index < half:
        return [*path(hashes[:half], index), root(hashes[half:])]
    return [*path(hashes[half:], index - half), root(hashes[:half])]


def extension(hashes: list[bytes], old: int, *, whole: bool = True) -> list[bytes]:
    """A consistency proof."""
    if old == len(hashes):
        return [] if whole else [root(hashes)]
    half = 1 << (len(hashes) - 1).bit_length() - 1
    if old <= half:
        return [*extension(hashes[:half], old, whole=whole), root(hashes[half:])]
    return [*extension(hashes[half:], old - half, whole=False), root(hashes[:half])]


ENTRY: dict[str, object] = {
    "version": 1,
    "at": AT,
    "operation": "release",
    "code": "",
    "policy": b"p" * 32,
    "subject": "train",
    "instance": "run-1",
    "evidence": b"e" * 32,
    "requester": b"q" * 32,
}
STATE: dict[str, object] = {"version": 1, "operation": "state", "sequence": 5, "digest": b"d" * 32}
LEAVES = [canonical(ENTRY | {"at": AT + n}) for n in range(3)]
LEAVES += [canonical(STATE), canonical(ENTRY | {"code": "appraisal.code"})]
LEAVES += [canonical(STATE | {"sequence": 6}), canonical(ENTRY | {"operation": "volume.key"})]
HASHES = [sha(b"\x00", leaf) for leaf in LEAVES]


def line(name: str, kind: int, key: Ed25519PrivateKey, signature: bytes) -> str:
    """A signature line."""
    key_id = sha(name.encode(), b"\n", bytes([kind]), raw(key))[:4]
    return f"\u2014 {name} {b64(key_id + signature)}\n"


def text(size: int, origin: str = ORIGIN, tree: bytes | None = None) -> str:
    """A checkpoint's text."""
    return f"{origin}\n{size}\n{b64(tree or root(HASHES[:size]))}\n"


def signed(body: str, key: Ed25519PrivateKey = KEY, name: str = ORIGIN, more: str = "") -> str:
    """A note."""
    return f"{body}\n{line(name, 1, key, key.sign(body.encode()))}{more}"


def cosigned(body: str, name: str, key: Ed25519PrivateKey, at: int = AT) -> str:
    """A witness's line."""
    signature = key.sign(f"cosignature/v1\ntime {at}\n{body}".encode())
    return line(name, 4, key, at.to_bytes(8, "big") + signature)


def vkey(name: str, key: Ed25519PrivateKey) -> str:
    """A witness's key as text."""
    key_id = sha(name.encode(), b"\n\x04", raw(key))[:4]
    return f"{name}+{key_id.hex()}+{b64(bytes([4]) + raw(key))}"


def write(out: Path, name: str, clause: str, comment: str, expect: str, **facts: object) -> None:
    """Write one vector; `kind` is the name's first word."""
    case = {"comment": comment, "clause": clause, "kind": name.partition("-")[0], "expect": expect}
    (out / f"{name}.json").write_text(json.dumps(case | facts, indent=2, sort_keys=True) + "\n")


def leaves(out: Path) -> None:
    """Entries and state commitments."""
    cases: dict[str, tuple[str, str, bytes, str]] = {
        "entry": ("RL-2", "A grant.", LEAVES[0], "ok"),
        "refusal": ("RL-2", "A refusal.", LEAVES[4], "ok"),
        "state": ("RL-3", "A commitment.", LEAVES[3], "ok"),
        "state-zero": ("RL-3", "The first change.", canonical(STATE | {"sequence": 0}), "ok"),
        "empty": ("RL-1", "No bytes.", b"", CBOR),
        "long-keys": ("RL-1", "Not canonical.", b"\xb9\x00\x04" + canonical(STATE)[1:], CBOR),
        "trailing": ("RL-1", "One byte more.", LEAVES[0] + b"\x00", CBOR),
        "too-large": ("RL-1", "4097 bytes.", b"\x59\x0f\xfe" + bytes(4094), "wire.too-large"),
        "list": ("RL-1", "No map.", canonical([1]), BAD),
        "no-operation": ("RL-1", "Which kind?", canonical({"version": 1}), BAD),
    }
    changed: dict[str, tuple[str, str, dict[str, object]]] = {
        "entry-version": ("RL-2", "Version 2.", ENTRY | {"version": 2}),
        "entry-digest": ("RL-2", "31 bytes.", ENTRY | {"policy": bytes(31)}),
        "entry-negative": ("RL-2", "Before the epoch.", ENTRY | {"at": -1}),
        "entry-code": ("RL-2", "A code of 65 characters.", ENTRY | {"code": "c" * 65}),
        "entry-subject": ("RL-2", "257 characters.", ENTRY | {"subject": "s" * 257}),
        "entry-field": ("RL-2", "One field more.", ENTRY | {"x": 1}),
        "entry-state": (
            "RL-1",
            "A decision that calls itself state.",
            ENTRY | {"operation": "state"},
        ),
        "state-digest": ("RL-3", "33 bytes.", STATE | {"digest": bytes(33)}),
        "state-negative": ("RL-3", "A negative number.", STATE | {"sequence": -1}),
        "state-large": ("RL-3", "2^63.", STATE | {"sequence": 1 << 63}),
        "state-field": ("RL-3", "One field more.", STATE | {"at": AT}),
        "state-release": (
            "RL-1",
            "A commitment that calls itself release.",
            STATE | {"operation": "release"},
        ),
    }
    for name, (clause, comment, value) in changed.items():
        cases[name] = (clause, comment, canonical(value), BAD)
    for name, (clause, comment, leaf, expect) in cases.items():
        write(out, f"leaf-{name}", clause, comment, expect, leaf=leaf.hex())


def notes(out: Path) -> None:
    """Checkpoints with and without witnesses, and witnesses' keys."""
    body = text(7)
    both = cosigned(body, N1, W1) + cosigned(body, N2, W2)
    wrong = cosigned(text(6), N1, W1)
    short = line(N1, 4, W1, W1.sign(body.encode()))
    late = line(
        N1,
        4,
        W1,
        (1 << 63).to_bytes(8, "big") + W1.sign(f"cosignature/v1\ntime {1 << 63}\n{body}".encode()),
    )
    few = "log.witnesses"
    cases: dict[str, tuple[str, str, str, int, str]] = {
        "ok": ("RL-10", "Signed by the service.", signed(body), 0, "ok"),
        "empty-log": ("RL-10", "Of no leaves.", signed(text(0)), 0, "ok"),
        "cosigned": ("RL-13", "By both witnesses.", signed(body, more=both), 2, "ok"),
        "one-of-two": (
            "RL-15",
            "One is enough here.",
            signed(body, more=cosigned(body, N1, W1)),
            1,
            "ok",
        ),
        "stranger": (
            "RL-12",
            "A line by nobody that is known.",
            signed(body, more=line("x.example", 4, OTHER, bytes(72))),
            0,
            "ok",
        ),
        "extension": ("RL-10", "A fourth line.", signed(body + "more\n"), 0, BAD),
        "leading-zero": ("RL-10", "Size 07.", signed(body.replace("\n7\n", "\n07\n")), 0, BAD),
        "huge": ("RL-10", "Size 2^63.", signed(body.replace("\n7\n", f"\n{1 << 63}\n")), 0, BAD),
        "short-root": (
            "RL-10",
            "A root of 31 bytes.",
            signed(f"{ORIGIN}\n7\n{b64(bytes(31))}\n"),
            0,
            BAD,
        ),
        "loose-base64": (
            "RL-11",
            "Bits behind the end.",
            signed(body).replace(body[-3:], "R=\n", 1),
            0,
            BAD,
        ),
        "no-lines": ("RL-11", "Nobody signed.", body + "\n", 0, BAD),
        "no-dash": ("RL-11", "A minus for the dash.", signed(body).replace("\u2014", "-"), 0, BAD),
        "plus": (
            "RL-11",
            "A plus in a name.",
            signed(body, more=line("a+b", 4, OTHER, bytes(72))),
            0,
            BAD,
        ),
        "tab": (
            "RL-11",
            "A tab in a name.",
            signed(body, more=line("a\tb", 4, OTHER, bytes(72))),
            0,
            BAD,
        ),
        "too-large": (
            "RL-11",
            "More than 4096 bytes.",
            signed(body, more=line(N1, 9, OTHER, bytes(3000))),
            0,
            BAD,
        ),
        "other-service": ("RL-12", "Another key.", signed(body, OTHER), 0, IDENTITY),
        "other-log": (
            "RL-12",
            "Another origin.",
            signed(text(7, "other.test/log"), KEY, "other.test/log"),
            0,
            IDENTITY,
        ),
        "flipped": (
            "RL-12",
            "Signed for another size.",
            signed(body).replace("\n7\n", "\n8\n"),
            0,
            IDENTITY,
        ),
        "only-witnesses": ("RL-12", "Without the service.", f"{body}\n{both}", 2, IDENTITY),
        "too-few": ("RL-15", "One of two.", signed(body, more=cosigned(body, N1, W1)), 2, few),
        "twice": (
            "RL-15",
            "One witness twice.",
            signed(body, more=cosigned(body, N1, W1) + cosigned(body, N1, W1, 5)),
            2,
            few,
        ),
        "moved": (
            "RL-15",
            "A cosignature of another checkpoint.",
            signed(body, more=wrong),
            1,
            few,
        ),
        "no-time": ("RL-13", "Signed as the service signs.", signed(body, more=short), 1, few),
        "late": ("RL-13", "A time of 2^63.", signed(body, more=late), 1, few),
    }
    witnesses = [vkey(N1, W1), vkey(N2, W2)]
    pinned = {"service": raw(KEY).hex(), "origin": ORIGIN}
    for name, (clause, comment, note, quorum, expect) in cases.items():
        facts = {"note": note, "witnesses": witnesses if quorum else [], "quorum": quorum}
        write(out, f"note-{name}", clause, comment, expect, **pinned, **facts)
    good = vkey(N1, W1)
    keys = {
        "ok": ("A key.", good, "ok"),
        "other-name": ("The id of another name.", good.replace("w1", "w2"), BAD),
        "upper": (
            "Upper-case digits.",
            vkey(N2, W2).replace("ae874add", "AE874ADD"),
            BAD,
        ),
        "type": ("A key of type 1.", f"{N1}+{good.split('+')[1]}+{b64(bytes([1]) + raw(W1))}", BAD),
        "long-name": ("65 characters.", vkey("w" * 65, W1), BAD),
    }
    for name, (comment, key, expect) in keys.items():
        write(out, f"key-{name}", "RL-14", comment, expect, key=key)


def proofs(out: Path) -> None:
    """Receipts and consistency."""
    good: dict[str, object] = {
        "entry": LEAVES[2],
        "index": 2,
        "proof": path(HASHES, 2),
        "checkpoint": signed(text(7)),
    }
    cases: dict[str, tuple[str, dict[str, object], str]] = {
        "ok": ("The third of seven.", {}, "ok"),
        "cosigned": (
            "With a witness's line.",
            {"checkpoint": signed(text(7), more=cosigned(text(7), N1, W1))},
            "ok",
        ),
        "other-entry": ("Another entry.", {"entry": LEAVES[1]}, PROOF),
        "other-index": ("Another place.", {"index": 3}, PROOF),
        "behind": ("Behind the end.", {"index": 7}, PROOF),
        "cut-proof": ("A node missing.", {"proof": path(HASHES, 2)[:-1]}, PROOF),
        "other-service": ("Another key.", {"checkpoint": signed(text(7), OTHER)}, IDENTITY),
        "state": (
            "Of a commitment.",
            {"entry": LEAVES[3], "index": 3, "proof": path(HASHES, 3)},
            BAD,
        ),
        "short-node": ("A node of 31 bytes.", {"proof": [bytes(31)]}, BAD),
        "field": ("One field more.", {"x": 1}, BAD),
    }
    pinned = {"service": raw(KEY).hex(), "origin": ORIGIN}
    for name, (comment, change, expect) in cases.items():
        write(
            out,
            f"receipt-{name}",
            "RL-20",
            comment,
            expect,
            **pinned,
            receipt=canonical(good | change).hex(),
        )
    for old, size in ((1, 1), (1, 7), (3, 7), (4, 7), (6, 7), (7, 7), (4, 6)):
        nodes = [node.hex() for node in extension(HASHES[:size], old)]
        facts = {"old_size": old, "size": size, "proof": nodes}
        facts |= {"old_root": root(HASHES[:old]).hex(), "root": root(HASHES[:size]).hex()}
        write(
            out, f"consistency-{old}-{size}", "RL-6", f"{old} is a prefix of {size}.", "ok", **facts
        )
        wrong = {"proof": [*nodes, sha(b"x").hex()]} if len(nodes) < 2 else {"proof": nodes[::-1]}
        write(
            out, f"consistency-{old}-{size}-wrong", "RL-6", "Other nodes.", PROOF, **facts | wrong
        )
        wrong = {"old_root": sha(b"x").hex()}
        write(
            out, f"consistency-{old}-{size}-fork", "RL-6", "Another tree.", PROOF, **facts | wrong
        )


def lines(items: list[bytes]) -> str:
    """The file of leaves."""
    return "".join(f"{b64(item)}\n" for item in items)


def mirrors(out: Path) -> None:
    """Mirrors, and what a reader holds against them."""
    newest = signed(text(7), more=cosigned(text(7), N1, W1))
    other = [*HASHES[:2], sha(b"x")]
    receipt = canonical(
        {
            "entry": LEAVES[1],
            "index": 1,
            "proof": path(HASHES[:4], 1),
            "checkpoint": signed(text(4)),
        }
    )
    forked = canonical(
        {
            "entry": LEAVES[1],
            "index": 1,
            "proof": path(other, 1),
            "checkpoint": signed(text(3, tree=root(other))),
        }
    )
    back = [*LEAVES, LEAVES[3]]
    returned = root([sha(b"\x00", leaf) for leaf in back])
    junk = [*LEAVES, b"junk"]
    junked = root([sha(b"\x00", leaf) for leaf in junk])
    good: dict[str, object] = {
        "entries": lines(LEAVES),
        "checkpoint": newest,
        "notes": [signed(text(n)) for n in (0, 3, 7)],
        "receipts": [receipt.hex()],
        "witnesses": [vkey(N1, W1)],
        "quorum": 1,
    }
    alone: dict[str, object] = {"notes": [], "receipts": [], "witnesses": [], "quorum": 0}
    cases: dict[str, tuple[str, str, dict[str, object], str]] = {
        "ok": ("RL-52", "All of it agrees.", {}, "ok"),
        "alone": ("RL-52", "Nothing to hold against it.", alone, "ok"),
        "empty": (
            "RL-30",
            "Of no leaves.",
            alone | {"entries": "", "checkpoint": signed(text(0))},
            "ok",
        ),
        "tail": (
            "RL-31",
            "More leaves than the checkpoint has.",
            {"entries": lines([*LEAVES, b"x"])},
            "ok",
        ),
        "torn": (
            "RL-31",
            "A last line without its end.",
            {"entries": lines(LEAVES) + "Zm9v"},
            "ok",
        ),
        "broken-tail": (
            "RL-31",
            "A line that is none, behind the checkpoint.",
            {"entries": lines(LEAVES) + "!\n"},
            "ok",
        ),
        "cut": ("RL-51", "The last leaf is gone.", {"entries": lines(LEAVES[:6])}, "log.truncated"),
        "cut-line": (
            "RL-51",
            "The last line lost its end.",
            {"entries": lines(LEAVES)[:-1]},
            "log.truncated",
        ),
        "first-gone": (
            "RL-51",
            "The first leaf is gone.",
            {"entries": lines(LEAVES[1:])},
            "log.truncated",
        ),
        "blank": ("RL-51", "An empty line.", {"entries": "\n" + lines(LEAVES)}, PROOF),
        "spelling": ("RL-51", "A space in a line.", {"entries": " " + lines(LEAVES)}, PROOF),
        "long": (
            "RL-51",
            "A leaf of 4097 bytes.",
            {"entries": lines([bytes(4097), *LEAVES])},
            PROOF,
        ),
        "swapped": (
            "RL-52",
            "Two leaves changed places.",
            {"entries": lines([LEAVES[1], LEAVES[0], *LEAVES[2:]])},
            PROOF,
        ),
        "changed": (
            "RL-52",
            "A leaf was changed.",
            {"entries": lines([*LEAVES[:6], LEAVES[0]])},
            PROOF,
        ),
        "foreign": (
            "RL-50",
            "Another service's checkpoint.",
            {"checkpoint": signed(text(7), OTHER)},
            IDENTITY,
        ),
        "no-note": ("RL-50", "No note.", {"checkpoint": "7"}, BAD),
        "foreign-old": (
            "RL-50",
            "An older checkpoint of another service.",
            {"notes": [signed(text(3), OTHER)]},
            IDENTITY,
        ),
        "rolled-back": (
            "RL-53",
            "Nine entries were seen before.",
            {"notes": [signed(text(9, tree=sha(b"x")))]},
            "log.rolled-back",
        ),
        "forked": (
            "RL-53",
            "Another three were signed before.",
            {"notes": [signed(text(3, tree=root(other)))]},
            "log.forked",
        ),
        "forked-same": (
            "RL-53",
            "Another seven were signed before.",
            {"notes": [signed(text(7, tree=sha(b"x")))]},
            "log.forked",
        ),
        "forked-receipt": (
            "RL-54",
            "A receipt of the other log.",
            {"receipts": [forked.hex()]},
            "log.forked",
        ),
        "receipt": (
            "RL-54",
            "A receipt for another entry.",
            {"receipts": [receipt.replace(LEAVES[1], LEAVES[0]).hex()]},
            PROOF,
        ),
        "state": (
            "RL-55",
            "The service went on from an older state.",
            alone | {"entries": lines(back), "checkpoint": signed(text(8, tree=returned))},
            "log.rolled-back",
        ),
        "junk": (
            "RL-55",
            "The service signed for what is no leaf.",
            alone | {"entries": lines(junk), "checkpoint": signed(text(8, tree=junked))},
            CBOR,
        ),
        "witnesses": (
            "RL-56",
            "Two are required.",
            {"witnesses": [vkey(N1, W1), vkey(N2, W2)], "quorum": 2},
            "log.witnesses",
        ),
    }
    pinned = {"service": raw(KEY).hex(), "origin": ORIGIN}
    for name, (clause, comment, change, expect) in cases.items():
        write(out, f"mirror-{name}", clause, comment, expect, **pinned, **good | change)


def witnesses(out: Path) -> None:
    """Requests to a witness that holds four leaves; `expect` is the status where it is not 200."""

    def request(old: object, proof: list[bytes], note: str) -> str:
        return f"old {old}\n" + "".join(f"{b64(node)}\n" for node in proof) + f"\n{note}"

    proof, note = extension(HASHES, 4), signed(text(7))
    fork = signed(text(7, tree=sha(b"x")))
    cases: dict[str, tuple[str, str, str, str, str]] = {
        "ok": ("RL-41", "It grew.", request(4, proof, note), "ok", cosigned(text(7), N1, W1)),
        "again": (
            "RL-41",
            "As it was.",
            request(4, [], signed(text(4))),
            "ok",
            cosigned(text(4), N1, W1),
        ),
        "unknown": (
            "RL-41",
            "Another log.",
            request(4, proof, signed(text(7, "other.test/log"), KEY, "other.test/log")),
            "404",
            "",
        ),
        "unsigned": (
            "RL-41",
            "Not that log's signature.",
            request(4, proof, signed(text(7), OTHER)),
            "403",
            "",
        ),
        "backwards": ("RL-41", "Old is larger than new.", request(8, [], note), "400", ""),
        "rollback": ("RL-41", "To a smaller tree.", request(3, [], signed(text(3))), "409", "4\n"),
        "stale": ("RL-41", "From a size that is not held.", request(0, [], note), "409", "4\n"),
        "fork": ("RL-41", "Another tree.", request(4, proof, fork), "422", ""),
        "fork-same": (
            "RL-41",
            "Another tree of the same size.",
            request(4, [], signed(text(4, tree=sha(b"x")))),
            "409",
            "4\n",
        ),
        "proof": ("RL-41", "A node missing.", request(4, proof[:-1], note), "422", ""),
        "leading-zero": ("RL-40", "Old is 04.", request("04", proof, note), "400", ""),
        "no-old": ("RL-40", "No old size.", "\n" + note, "400", ""),
        "no-gap": (
            "RL-40",
            "No empty line.",
            request(4, proof, note).replace("\n\n", "\n", 1),
            "400",
            "",
        ),
        "short-node": ("RL-40", "A node of 31 bytes.", request(4, [bytes(31)], note), "400", ""),
        "many": ("RL-40", "64 nodes.", request(4, [sha(b"x")] * 64, note), "400", ""),
        "no-note": ("RL-40", "No note.", request(4, proof, "x"), "400", ""),
        "too-large": ("RL-40", "More than 16384 bytes.", "x" * 16385, "413", ""),
    }
    held = {"size": 4, "root": root(HASHES[:4]).hex()}
    facts = {
        "service": raw(KEY).hex(),
        "origin": ORIGIN,
        "witness": N1,
        "seed": (bytes([11]) * 32).hex(),
        "at": AT,
    }
    for name, (clause, comment, body, expect, answer) in cases.items():
        write(
            out,
            f"witness-{name}",
            clause,
            comment,
            expect,
            **facts,
            held=held,
            request=body,
            answer=answer,
        )
    nothing = {"size": 0, "root": sha().hex()}
    first, more = request(0, [], note), request(0, [sha(b"x")], note)
    write(
        out,
        "witness-first",
        "RL-43",
        "Never seen before.",
        "ok",
        **facts,
        held=nothing,
        request=first,
        answer=cosigned(text(7), N1, W1),
    )
    write(
        out,
        "witness-first-proof",
        "RL-41",
        "A proof from nothing.",
        "422",
        **facts,
        held=nothing,
        request=more,
        answer="",
    )
    empty = request(0, [], signed(text(0, tree=sha(b"x"))))
    write(
        out,
        "witness-first-empty",
        "RL-43",
        "An empty tree with a root.",
        "409",
        **facts,
        held=nothing,
        request=empty,
        answer="0\n",
    )


def main(out: Path) -> None:
    """Write every case."""
    leaves(out)
    notes(out)
    proofs(out)
    mirrors(out)
    witnesses(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
