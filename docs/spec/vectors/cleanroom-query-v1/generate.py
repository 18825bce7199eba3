"""Write the vectors of cleanroom-query-v1. Running it again changes nothing.

An implementation of its own, from the page.
"""

import json
import math
import struct
from hashlib import sha256
from pathlib import Path
from statistics import NormalDist
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

WRITTEN: dict[str, str] = {}
BAD = "message.malformed"
ROOM, NONCE, SEED = bytes(range(1, 33)), bytes(range(100, 132)), b"\x13" * 32
SERVER = "spiffe://example.org/rooms/digits/digits/query/0.00112233445566778899aabbccddeeff"
RULES: dict[str, Any] = {
    "room": ROOM.hex(), "shape": [2, 2], "classes": 5, "answer": "rounded", "top_k": 2,
    "digits": 2, "tick_ms": 200, "limit": 100,
}  # fmt: skip
LABELS = RULES | {"answer": "label", "digits": 0}
RECORD = struct.pack("<4f", 0.0, 0.25, 0.5, 1.0)
REST = 2**64 - 1


def write(name: str, clause: str, comment: str, **case: Any) -> None:
    """Keep one vector."""
    whole = {"clause": clause, "kind": name.partition("-")[0], "comment": comment} | case
    WRITTEN[f"{name}.json"] = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def framed(*parts: bytes) -> bytes:
    """What a signature with a label covers."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


# Greetings.


def greeting(name: str, clause: str, comment: str, data: bytes, expect: str = BAD) -> None:
    """One greeting."""
    write(f"greeting-{name}", clause, comment, bytes=data.hex(), expect=expect)


def greetings() -> None:
    """What a client takes for a greeting."""
    good = b"CQG1" + ROOM + NONCE + bytes(60)
    write(
        "greeting-ok", "CQ-1", "The page's form.", bytes=good.hex(), expect="ok",
        room=ROOM.hex(), nonce=NONCE.hex(),
    )  # fmt: skip
    greeting("short", "CQ-2", "A byte less.", good[:-1])
    greeting("long", "CQ-2", "A byte more.", good + b"\0")
    greeting("magic", "CQ-2", "Another version.", b"CQG2" + good[4:])
    greeting("zeros", "CQ-2", "A byte that is not zero.", good[:-1] + b"\1")
    greeting("early", "CQ-2", "The first byte after the nonce.", good[:68] + b"\1" + good[69:])


# Requests.


def signed(kind: int, number: int, name: bytes, record: bytes) -> bytes:
    """What a request's signature covers."""
    server = sha256(SERVER.encode()).digest()
    return ROOM + server + NONCE + struct.pack("<IB", number, kind) + name.ljust(64, b"\0") + record


def request(
    kind: int = 1, number: int = 0, name: bytes = b"clinic", record: bytes = RECORD
) -> bytes:
    """A request, signed."""
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    message = signed(kind, number, name, record)
    signature = key.sign(framed(b"cloister/cleanroom-query/v1", message))
    head = b"CQR1" + bytes([kind, 0, 0, 0]) + struct.pack("<I", number)
    return head + name.ljust(64, b"\0") + signature + bytes(4) + record


def request_case(name: str, clause: str, comment: str, data: bytes, expect: str = BAD) -> None:
    """A request that is none."""
    write(f"request-{name}", clause, comment, rules=RULES, bytes=data.hex(), expect=expect)


def good_request(case: str, clause: str, comment: str, **changes: Any) -> None:
    """A request, with what is signed."""
    of = {"kind": 1, "number": 0, "name": b"clinic", "record": RECORD} | changes
    write(
        f"request-ok-{case}", clause, comment, rules=RULES, bytes=request(**of).hex(), expect="ok",
        session={"server": SERVER, "nonce": NONCE.hex(), "number": of["number"]},
        seed=SEED.hex(), ask=of["kind"], principal=of["name"].decode(),
        signed=signed(of["kind"], of["number"], of["name"], of["record"]).hex(),
    )  # fmt: skip


def changed(data: bytes, place: int, value: bytes) -> bytes:
    """Bytes with others in their place."""
    return data[:place] + value + data[place + len(value) :]


def requests() -> None:
    """What an enclave takes for a request."""
    good = request()
    good_request("labels", "CQ-3", "The first of a connection.")
    good_request("later", "CQ-7", "The highest number.", number=2**32 - 1)
    good_request("standing", "CQ-5", "Nothing to look at.", kind=2, record=bytes(16))
    good_request("name", "CQ-4", "The longest name.", name=b"a" * 63)
    request_case("empty", "CQ-3", "Nothing.", b"")
    request_case("short", "CQ-3", "A byte less.", good[:-1])
    request_case("long", "CQ-3", "A byte more.", good + b"\0")
    request_case("magic", "CQ-4", "Another version.", changed(good, 0, b"CQR2"))
    for kind in (0, 3, 255):
        request_case(f"kind-{kind}", "CQ-4", "No such kind.", changed(good, 4, bytes([kind])))
    for place in (5, 6, 7, 140, 143):
        request_case(f"zero-{place}", "CQ-4", "Not a zero.", changed(good, place, b"\1"))
    for name, octets in {
        "none": b"", "capital": b"Clinic", "digit": b"1a", "hyphen": b"-a", "space": b"a b",
        "long": b"a" * 64, "inside": b"a\0b", "accent": "é".encode(), "newline": b"a\n",
    }.items():  # fmt: skip
        data = changed(good, 12, octets.ljust(64, b"\0"))
        request_case(f"name-{name}", "CQ-4", "Nobody's name.", data)
    standing = request(kind=2, record=bytes(16))
    request_case("standing-record", "CQ-5", "A record for nothing.", standing[:-1] + b"\1")
    for name, number in {"nan": math.nan, "infinite": math.inf, "less": -math.inf}.items():
        record = struct.pack("<4f", 0, 0, 0, number)
        request_case(f"record-{name}", "CQ-6", "No number.", request(record=record))


# Answers.


def answer(
    *,
    outcome: int = 0,
    pairs: Any = ((3, 75), (1, 20)),
    number: int = 4,
    left: int = 9,
    seen: Any = (0, 0, 0),
    count: int | None = None,
) -> bytes:
    """An answer of two labels."""
    head = b"CQA1" + bytes([outcome, len(pairs) if count is None else count, 0, 0])
    head += struct.pack("<IQ3I", number, left, *seen)
    body = b"".join(struct.pack("<Ii", *pair) for pair in pairs)
    return (head.ljust(64, b"\0") + body).ljust(80, b"\0")


def answer_case(name: str, clause: str, comment: str, data: bytes, **more: Any) -> None:
    """An answer that is none."""
    case = {"rules": RULES, "bytes": data.hex(), "expect": BAD} | more
    write(f"answer-{name}", clause, comment, **case)


def good_answer(name: str, clause: str, comment: str, *, rules: Any = RULES, **of: Any) -> None:
    """An answer, with what it says."""
    facts = {"outcome": 0, "pairs": ((3, 75), (1, 20)), "number": 4, "left": 9, "seen": (0, 0, 0)}
    facts |= of
    said = {
        "outcome": facts["outcome"], "number": facts["number"],
        "labels": [pair[0] for pair in facts["pairs"]],
        "scores": [pair[1] for pair in facts["pairs"]],
        "left": None if facts["left"] == REST else facts["left"],
        "standing": list(facts["seen"]),
    }  # fmt: skip
    answer_case(f"ok-{name}", clause, comment, answer(**facts), rules=rules, expect="ok", says=said)


def answers() -> None:
    """What a client takes for an answer."""
    good_answer("scores", "CQ-9", "Two labels with scores.")
    good_answer("labels", "CQ-9", "Two labels.", rules=LABELS, pairs=((4, 0), (0, 0)))
    good_answer("negative", "CQ-12", "The least score.", pairs=((3, 0), (1, -100_000)))
    good_answer("last", "CQ-9", "Nothing left.", left=0)
    good_answer("standing", "CQ-11", "For an owner.", pairs=(), seen=(30, 2, 1_000_000))
    good_answer("mine", "CQ-11", "For a principal.", pairs=())
    for outcome in range(1, 9):
        good_answer(f"{outcome}", "CQ-10", "Refused.", outcome=outcome, pairs=(), left=REST)
    good_answer("spent", "CQ-10", "Failed, and spent.", outcome=8, pairs=(), left=3)
    good = answer()
    answer_case("empty", "CQ-8", "Nothing.", b"")
    answer_case("short", "CQ-8", "A byte less.", good[:-1])
    answer_case("long", "CQ-8", "A byte more.", good + b"\0")
    answer_case("magic", "CQ-9", "Another version.", changed(good, 0, b"CQA2"))
    answer_case("outcome", "CQ-10", "No such outcome.", answer(outcome=9, pairs=()))
    answer_case("one", "CQ-9", "One label of two.", answer(pairs=((3, 75),)))
    answer_case("three", "CQ-9", "More labels than agreed.", answer(count=3))
    for place in (6, 7, 32, 63):
        answer_case(f"zero-{place}", "CQ-9", "Not a zero.", changed(good, place, b"\1"))
    answer_case("hidden", "CQ-9", "Labels that are none.", answer(count=0))
    answer_case("refused", "CQ-12", "Labels of a refusal.", answer(outcome=3))
    answer_case("twice", "CQ-12", "A label twice.", answer(pairs=((3, 75), (3, 20))))
    answer_case("unknown", "CQ-12", "No such label.", answer(pairs=((5, 75), (3, 20))))
    for name, score in {"much": 100_001, "little": -100_001}.items():
        answer_case(name, "CQ-12", "Beyond 1000.", answer(pairs=((3, score), (1, 0))))
    answer_case("scored", "CQ-12", "A score where labels are agreed.", good, rules=LABELS)
    answer_case("more", "CQ-12", "More left than there is.", answer(left=101))
    answer_case("both", "CQ-12", "Labels and a standing.", answer(seen=(1, 0, 0)))
    answer_case("signal", "CQ-11", "A signal above 1.", answer(pairs=(), seen=(1, 0, 1_000_001)))


# What the model says, and what is said of it.


def rounded_case(name: str, clause: str, comment: str, scores: Any, **case: Any) -> None:
    """Scores of all labels, and the labels and scores of the answer."""
    facts = {"rules": RULES, "scores": scores, "expect": "ok"} | case
    write(f"rounded-{name}", clause, comment, **facts)


def rounding() -> None:
    """From scores to answers."""
    rounded_case(
        "plain", "CQ-31", "Two digits.", [0.125, 0, 0.625, 0.25, 0],
        rules=RULES | {"top_k": 4}, pairs=[[2, 62], [3, 25], [0, 12], [1, 0]],
    )  # fmt: skip
    rounded_case(
        "order", "CQ-32", "Equal when rounded.", [0.5, 0.5009765625, 0.501953125, 0, 0],
        pairs=[[0, 50], [1, 50]],
    )  # fmt: skip
    rounded_case(
        "bound", "CQ-31", "Bounded.", [1e9, -1e9, 0, 0, 0], rules=RULES | {"top_k": 5},
        pairs=[[0, 100_000], [2, 0], [3, 0], [4, 0], [1, -100_000]],
    )  # fmt: skip
    rounded_case(
        "label", "CQ-33", "Labels alone.", [0.1, 0.2, 0.25, 0.15, 0.3], rules=LABELS,
        pairs=[[4, 0], [2, 0]],
    )  # fmt: skip
    for name, scores in {
        "few": [0.5, 0.5], "nan": [math.nan, 0, 0, 0, 0], "infinite": [0, 0, 0, 0, math.inf],
    }.items():  # fmt: skip
        texts = [each if math.isfinite(each) else str(each) for each in scores]
        write(f"rounded-{name}", "CQ-30", "Not one number for each label.", rules=RULES,
              scores=texts, expect="recipe.malformed")  # fmt: skip


def francia(values: list[float]) -> float:
    """The statistic of the page."""
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    kept = sorted(value for value in values if abs(value - mean) <= 3 * spread)
    if len(kept) < 3 or kept[0] == kept[-1]:
        return 0.0
    count = len(kept)
    expected = [NormalDist().inv_cdf((i - 3 / 8) / (count + 1 / 4)) for i in range(1, count + 1)]
    mean = sum(kept) / count
    product = sum(a * (b - mean) for a, b in zip(expected, kept, strict=True))
    lengths = sum(a * a for a in expected) * sum((b - mean) ** 2 for b in kept)
    return product * product / lengths


def signals() -> None:
    """Distances, and how much like a bell they are."""
    bell = [round(5 + NormalDist().inv_cdf((i + 0.5) / 120), 6) for i in range(120)]
    for name, clause, comment, values in (
        ("bell", "CQ-40", "As normal as 120 numbers are.", bell),
        ("heaps", "CQ-40", "Two heaps.", [1.0, 1.1, 1.2, 1.3] * 15 + [9.0, 9.1, 9.2, 9.3] * 15),
        ("spike", "CQ-40", "Half of them at one place.", bell[:60] + [5.0] * 60),
        ("outlier", "CQ-41", "One far away is left out.", [*bell, 900.0]),
        ("same", "CQ-41", "All the same.", [2.5] * 100),
        ("two", "CQ-41", "Too few.", [1.0, 2.0]),
    ):
        write(f"signal-{name}", clause, comment, distances=values, expect="ok",
              signal=round(francia(values), 9))  # fmt: skip


if __name__ == "__main__":
    greetings()
    requests()
    answers()
    rounding()
    signals()
    folder = Path(__file__).parent
    for path in folder.glob("*.json"):
        path.unlink()
    for name, text in WRITTEN.items():
        (folder / name).write_text(text, encoding="utf-8")
