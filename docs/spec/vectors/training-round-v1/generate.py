"""Write the vectors of training-round-v1 beside this file; a second run changes nothing.

Written from the page alone, with nothing of the package: heads by `struct`, checkpoints by `cbor2`,
sums number by number in single precision.
"""

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import cbor2

HERE = Path(__file__).parent
ROOM = bytes(range(32))
PARAMETERS_MAX, PLAN_MAX = 8, 256
LIFE, OTHER = b"L" * 16, b"M" * 16
KINDS = ("idle", "hello", "welcome", "plan", "initial", "push", "parameters")
NO_WISH = 2**32 - 1
SERVER = 255
TALLY = ["added", "stale", "rejected", "repeated", "missing", "staleness_sum", "staleness_max"]


def vector(name: str, clause: str, comment: str, kind: str, expect: str, **inputs: Any) -> None:
    """Write one case."""
    content = {"comment": comment, "clause": clause, "kind": kind, **inputs, "expect": expect}
    (HERE / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def floats(*values: float) -> bytes:
    """Numbers in single precision."""
    return struct.pack(f"<{len(values)}f", *values)


def head(**fields: Any) -> bytes:
    """The 256 bytes before a body."""
    given = {
        "kind": 0, "sender": 0, "mask": 0, "tick": 0, "epoch": 0, "round": 0, "version": 0,
        "durable": 0, "life": bytes(16), "room": ROOM, "wish": NO_WISH, "offset": 0, "total": 0,
        "count": 0, "held": 0, "metrics": (),
    } | fields  # fmt: skip
    out = bytearray(256)
    out[0:4] = b"CXR1"
    out[4], out[5] = given["kind"], given["sender"]
    for at, size, name in (
        (6, 2, "mask"), (8, 4, "tick"), (12, 4, "epoch"), (16, 4, "round"), (20, 8, "version"),
        (28, 8, "durable"), (84, 4, "wish"), (88, 4, "offset"), (92, 4, "total"), (96, 4, "count"),
        (100, 4, "held"),
    ):  # fmt: skip
        out[at : at + size] = given[name].to_bytes(size, "little")
    out[36:52], out[52:84] = given["life"], given["room"]
    for place, value in enumerate(given["metrics"]):
        out[104 + 8 * place : 112 + 8 * place] = struct.pack("<d", value)
    return bytes(out)


def data(body: bytes = b"", **fields: Any) -> bytes:
    """A whole message."""
    return head(**fields) + body.ljust(4 * PARAMETERS_MAX, b"\0")


def good(name: str, clause: str, comment: str, body: bytes, **fields: Any) -> None:
    """A message that is read, with what is read."""
    raw = data(body, **fields)
    read = {
        "kind": KINDS[fields.get("kind", 0)],
        "body": body.hex(),
        **{
            key: value
            for key, value in fields.items()
            if isinstance(value, int) and key not in {"kind", "mask", "count"}
        },
    }
    mask, metrics = fields.get("mask", 0), fields.get("metrics", ())
    read["metrics"] = [metrics[n] if mask >> n & 1 else None for n in range(2)]
    vector(name, clause, comment, "message", "ok", bytes=raw.hex(), fields=read)


def bad(
    name: str, clause: str, comment: str, raw: bytes, expect: str = "message.malformed"
) -> None:
    """A message that is refused."""
    vector(name, clause, comment, "message", expect, bytes=raw.hex())


PUSH: dict[str, Any] = {
    "kind": 5, "sender": 1, "tick": 9, "epoch": 1, "life": LIFE, "version": 3, "durable": 2,
    "count": 3, "mask": 1, "round": 2, "metrics": (0.5,),
}  # fmt: skip
BODY = floats(1, -2, 0.5)
RAW = data(BODY, **PUSH)


def changed(at: int, value: bytes, raw: bytes = RAW) -> bytes:
    """A message with other bytes at one place."""
    return raw[:at] + value + raw[at + len(value) :]


good(
    "message-idle",
    "TR-11",
    "nothing to say",
    b"",
    kind=0,
    sender=0,
    tick=7,
    epoch=2,
    life=LIFE,
    version=4,
    durable=2,
)
good(
    "message-hello", "TR-40", "a greeting of a trainer that has seen nothing", b"", kind=1, sender=1
)
good(
    "message-welcome",
    "TR-40",
    "the server's first message",
    b"",
    kind=2,
    sender=SERVER,
    tick=1,
    epoch=1,
    life=LIFE,
)
good(
    "message-plan",
    "TR-15",
    "a piece of the plan",
    b"some of it",
    kind=3,
    sender=0,
    tick=3,
    offset=8,
    total=40,
    count=10,
)
good(
    "message-plan-told",
    "TR-37",
    "the same from the server",
    b"some of it",
    kind=3,
    sender=SERVER,
    tick=3,
    epoch=1,
    life=LIFE,
    offset=8,
    total=40,
    held=40,
    count=10,
)
good(
    "message-initial",
    "TR-35",
    "first parameters",
    floats(1, 2, 3),
    kind=4,
    sender=0,
    tick=4,
    count=3,
)
good("message-push", "TR-11", "a difference to version 3, and a metric", BODY, **PUSH)
good(
    "message-parameters",
    "TR-11",
    "all that fit",
    floats(*range(8)),
    kind=6,
    sender=SERVER,
    tick=5,
    epoch=1,
    life=LIFE,
    version=9,
    count=8,
)
good(
    "message-metrics",
    "TR-16",
    "the second metric alone",
    b"",
    kind=0,
    sender=0,
    tick=5,
    mask=2,
    metrics=(0.0, 0.25),
)
bad("message-short", "TR-10", "a byte is missing", RAW[:-1], "wire.too-large")
bad("message-long", "TR-10", "a byte too many", RAW + b"\0", "wire.too-large")
bad("message-magic", "TR-12", "another version", changed(3, b"2"))
bad("message-room", "TR-12", "another room", changed(53, b"\0"))
bad("message-kind", "TR-14", "no such kind", changed(4, b"\7"))
bad("message-trainer-parameters", "TR-14", "parameters from a trainer", changed(4, b"\6"))
bad("message-server-push", "TR-14", "a difference from the server", changed(5, b"\xff"))
bad("message-server-hello", "TR-14", "a greeting from the server", data(kind=1, sender=SERVER))
bad("message-trainer-welcome", "TR-14", "a welcome from a trainer", data(kind=2, sender=0))
bad("message-sender", "TR-14", "a third trainer", changed(5, b"\2"))
bad("message-empty-push", "TR-14", "a difference of nothing", data(kind=5, sender=1))
bad(
    "message-idle-body",
    "TR-14",
    "an idle message that holds something",
    data(b"x", kind=0, count=1),
)
bad("message-count", "TR-14", "more numbers than there is room for", changed(96, b"\x09"))
bad(
    "message-count-huge",
    "TR-14",
    "so many that the bytes do not fit a number",
    changed(96, b"\xff\xff\xff\xff"),
)
bad("message-behind", "TR-13", "numbers behind the last", changed(96, b"\2"))
bad("message-filling", "TR-13", "a byte at the end of an idle message", changed(287, b"\1", data()))
bad("message-head-filling", "TR-13", "a byte at the end of the head", changed(255, b"\x80"))
bad("message-metric-unsaid", "TR-13", "a metric that is not said to be there", changed(112, b"\1"))
bad("message-metric-minus-zero", "TR-13", "minus zero where there is none", changed(119, b"\x80"))
bad("message-metric-unknown", "TR-16", "a third metric", changed(6, b"\5"))
bad(
    "message-metric-nan",
    "TR-16",
    "a metric that is no number",
    changed(104, struct.pack("<d", math.nan)),
)
bad(
    "message-metric-infinite",
    "TR-16",
    "a metric without end",
    changed(104, struct.pack("<d", math.inf)),
)
bad(
    "message-plan-beyond",
    "TR-15",
    "a piece beyond the plan's end",
    data(b"some of it", kind=3, offset=31, total=40, count=10),
)
bad("message-plan-long", "TR-15", "a plan that is too long", data(b"x", kind=3, total=257, count=1))
bad("message-plan-held", "TR-15", "more is held than there is", data(total=40, held=41))
bad("message-plan-wish", "TR-15", "a wish beyond any plan", data(wish=257))
bad("message-offset", "TR-15", "an offset without a plan", data(offset=1))


def checkpoint(
    plan: bytes = b"a plan", parameters: bytes = floats(1, -2, 3), **fields: Any
) -> bytes:
    """A checkpoint before it is sealed."""
    said = {
        "format": "cloister/checkpoint/v1", "room": ROOM, "epoch": 3, "version": 7, "tick": 40,
        "plan": len(plan), "parameters": len(parameters) // 4,
        "tallies": [[1, 2, 3, 4, 5, 6, 7], [0] * 7],
    } | fields  # fmt: skip
    written = cbor2.dumps(
        {key: value for key, value in said.items() if value is not None}, canonical=True
    )
    raw = (len(written).to_bytes(4, "little") + written).ljust(4096, b"\0")
    return sealed(raw + plan.ljust(PLAN_MAX, b"\0") + parameters.ljust(4 * PARAMETERS_MAX, b"\0"))


def sealed(raw: bytes) -> bytes:
    """Add the digest."""
    return raw + hashlib.sha256(raw).digest()


def kept(name: str, clause: str, comment: str, raw: bytes, expect: str, **more: Any) -> None:
    """A checkpoint's case."""
    vector(name, clause, comment, "checkpoint", expect, bytes=raw.hex(), **more)


SAID = {"epoch": 3, "version": 7, "tick": 40, "plan": b"a plan".hex(), "parameters": [1, -2, 3]}
kept("checkpoint", "TR-52", "as it is written", checkpoint(), "ok", fields=SAID)
kept(
    "checkpoint-first",
    "TR-53",
    "of a life without a plan",
    checkpoint(b"", b"", epoch=1, version=0, tick=0),
    "ok",
    fields={"epoch": 1, "version": 0, "tick": 0, "plan": "", "parameters": []},
)
kept("checkpoint-size", "TR-54", "a byte is missing", checkpoint()[:-1], "wire.too-large")
kept(
    "checkpoint-digest",
    "TR-54",
    "a number was changed",
    changed(4352, b"\1", checkpoint()),
    "state.tampered",
)
kept("checkpoint-room", "TR-54", "another room's", checkpoint(room=bytes(32)), "message.malformed")
kept(
    "checkpoint-format",
    "TR-54",
    "another version",
    checkpoint(format="cloister/checkpoint/v2"),
    "message.malformed",
)
kept("checkpoint-less", "TR-54", "without its tick", checkpoint(tick=None), "message.malformed")
kept("checkpoint-more", "TR-54", "with a field too many", checkpoint(more=1), "message.malformed")
kept("checkpoint-epoch", "TR-54", "of no epoch", checkpoint(epoch=0), "message.malformed")
kept(
    "checkpoint-plan-alone",
    "TR-53",
    "a plan without parameters",
    checkpoint(parameters=b""),
    "message.malformed",
)
kept(
    "checkpoint-parameters-alone",
    "TR-53",
    "parameters without a plan",
    checkpoint(plan=b""),
    "message.malformed",
)
kept(
    "checkpoint-tallies",
    "TR-54",
    "counts of one trainer",
    checkpoint(tallies=[[0] * 7]),
    "message.malformed",
)
kept(
    "checkpoint-tally",
    "TR-54",
    "six counts",
    checkpoint(tallies=[[0] * 6] * 2),
    "message.malformed",
)
kept(
    "checkpoint-negative",
    "TR-54",
    "fewer than none",
    checkpoint(tallies=[[-1] + [0] * 6, [0] * 7]),
    "message.malformed",
)
kept(
    "checkpoint-long-form",
    "TR-54",
    "CBOR that is not canonical",
    sealed((b"\2\0\0\0" + b"\xb8\0").ljust(4096, b"\0") + checkpoint()[4096:-32]),
    "wire.malformed",
)
kept(
    "checkpoint-length",
    "TR-54",
    "a head longer than there is room for",
    sealed(changed(0, b"\xff\xff\xff\xff", checkpoint()[:-32])),
    "message.malformed",
)
kept(
    "checkpoint-filling",
    "TR-54",
    "a byte behind the plan",
    sealed(changed(4351, b"\1", checkpoint()[:-32])),
    "message.malformed",
)


def single(value: float) -> float:
    """A number in single precision; without end where it is too large."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.inf


class Adding:
    """The rules of adding, number by number."""

    def __init__(
        self, mode: str, damping: str, most: int, norm: float, initial: list[float]
    ) -> None:
        self.mode, self.damping, self.most, self.norm = mode, damping, most, norm
        self.now, self.version = list(initial), 0
        self.own: list[list[int]] = [[], []]
        self.waiting: list[tuple[list[float], int] | None] = [None, None]

    def stale(self, index: int, base: int) -> int:
        """How many differences of others came since."""
        return self.version - base - sum(each > base for each in self.own[index])

    def add(self, index: int, values: list[float], base: int) -> str:
        """What becomes of a difference when it comes."""
        if self.waiting[index] is not None:
            return "repeated"
        if self.stale(index, base) > (0 if self.mode == "synchronous" else self.most):
            return "stale"
        self.waiting[index] = (values, base)
        return "waits"

    def fits(self, values: list[float]) -> bool:
        """Whether it is finite and short enough."""
        return (
            all(map(math.isfinite, values))
            and math.fsum(each * each for each in values) <= self.norm**2
        )

    def tick(self) -> list[str | None]:
        """Add what waits."""
        fates: list[str | None] = [None, None]
        taken, total = 0, [0.0] * len(self.now)
        for index, each in enumerate(self.waiting):
            if each is None:
                continue
            values, base = each
            late = self.stale(index, base)
            if not self.fits(values):
                fates[index] = "rejected"
            elif self.mode != "synchronous" and late > self.most:
                fates[index] = "stale"
            else:
                fates[index] = "added"
                weight = (
                    1 / (1 + late)
                    if self.damping == "inverse" and self.mode != "synchronous"
                    else 1
                )
                moved = [single(value * single(weight)) for value in values]
                taken += 1
                total = [single(a + b) for a, b in zip(total, moved, strict=True)]
                if self.mode != "synchronous":
                    self.now = [single(a + b) for a, b in zip(self.now, moved, strict=True)]
                    self.version += 1
                    self.own[index].append(self.version)
        if self.mode == "synchronous":
            share = single(1 / max(1, taken))
            self.now = [single(a + single(b * share)) for a, b in zip(self.now, total, strict=True)]
            self.version += 1
        self.waiting = [None, None]
        return fates


Ticks = list[list[tuple[int, list[float], int]]]


def adding(
    name: str,
    clause: str,
    comment: str,
    ticks: Ticks,
    *,
    mode: str,
    damping: str = "inverse",
    most: int = 4,
) -> None:
    """A sequence of ticks, each with differences in the order in which they come."""
    state = Adding(mode, damping, most, 100.0, [1.0, 2.0])
    steps = []
    for comes in ticks:
        came = [
            {
                "trainer": index,
                "difference": floats(*values).hex(),
                "based_on": base,
                "becomes": state.add(index, [single(each) for each in values], base),
            }
            for index, values, base in comes
        ]
        fates = state.tick()
        steps.append(
            {
                "comes": came,
                "fates": fates,
                "version": state.version,
                "parameters": floats(*state.now).hex(),
            }
        )
    vector(name, clause, comment, "adding", "ok", mode=mode, damping=damping, max_staleness=most,
           norm_max=100, initial=floats(1, 2).hex(), ticks=steps)  # fmt: skip


SYNC, LOOSE = "synchronous", "bounded-stale"
adding(
    "adding-mean",
    "TR-22",
    "two, then one, then none",
    [[(1, [3, 0], 0), (0, [1, 1], 0)], [(1, [2, 2], 1)], []],
    mode=SYNC,
)
adding(
    "adding-other-round",
    "TR-22",
    "to an older version",
    [[], [(0, [5, 5], 0), (1, [1, 1], 1)]],
    mode=SYNC,
)
adding(
    "adding-damped",
    "TR-24",
    "two at one tick, the second is stale by one",
    [[(1, [4, 4], 0), (0, [4, 4], 0)]],
    mode=LOOSE,
)
adding(
    "adding-plain",
    "TR-24",
    "the same without damping",
    [[(1, [4, 4], 0), (0, [4, 4], 0)]],
    mode=LOOSE,
    damping="none",
)
adding(
    "adding-own",
    "TR-24",
    "one's own are no staleness",
    [[(0, [1, 0], 0)], [(0, [1, 0], 0)], [(1, [6, 0], 0)], [(0, [1, 0], 0)]],
    mode=LOOSE,
)
adding(
    "adding-too-stale",
    "TR-24",
    "more than may be missed",
    [[(0, [1, 1], 0)], [(0, [1, 1], 1)], [(1, [9, 9], 0)]],
    mode=LOOSE,
    most=1,
)
adding(
    "adding-too-stale-at-once",
    "TR-24",
    "by what is added before it at the same tick",
    [[(0, [1, 1], 0), (1, [1, 1], 0)]],
    mode=LOOSE,
    most=0,
)
adding(
    "adding-repeated",
    "TR-23",
    "a second one while one waits",
    [[(0, [1, 1], 0), (0, [7, 7], 0)]],
    mode=LOOSE,
)
adding("adding-longest", "TR-25", "as long as may be", [[(0, [60, 80], 0)]], mode=SYNC)
adding(
    "adding-too-long",
    "TR-25",
    "a little longer",
    [[(0, [60, 80.001], 0), (1, [1, 1], 0)]],
    mode=SYNC,
)
adding("adding-nan", "TR-25", "no number", [[(0, [math.nan, 1], 0), (1, [1, 1], 0)]], mode=LOOSE)
adding(
    "adding-infinite", "TR-25", "without end", [[(0, [-math.inf, 1], 0), (1, [1, 1], 0)]], mode=SYNC
)
adding("adding-largest", "TR-25", "the largest number", [[(1, [3.4e38, 3.4e38], 0)]], mode=LOOSE)


def standing(
    name: str,
    clause: str,
    comment: str,
    server: tuple[int, bytes, int, int],
    expect: str,
    *,
    seen: tuple[int, bytes, int, int] = (2, LIFE, 9, 6),
) -> None:
    """What a trainer has seen, and what a server says."""
    keys = ("epoch", "life", "version", "durable")

    def said(values: tuple[int, bytes, int, int]) -> dict[str, Any]:
        return {
            key: value.hex() if isinstance(value, bytes) else value
            for key, value in zip(keys, values, strict=True)
        }

    vector(name, clause, comment, "standing", expect, seen=said(seen), server=said(server))


standing("standing-same", "TR-31", "nothing changed", (2, LIFE, 9, 6), "ok")
standing("standing-on", "TR-31", "it went on", (2, LIFE, 12, 10), "ok")
standing(
    "standing-next-life", "TR-32", "a new life fell back to what was kept", (3, OTHER, 6, 6), "ok"
)
standing(
    "standing-first",
    "TR-30",
    "a trainer that has seen nothing",
    (4, OTHER, 5, 5),
    "ok",
    seen=(0, bytes(16), 0, 0),
)
standing("standing-epoch", "TR-31", "an epoch that is over", (1, LIFE, 20, 20), "state.rolled-back")
standing(
    "standing-version", "TR-31", "a version that is over", (2, LIFE, 8, 6), "state.rolled-back"
)
standing("standing-durable", "TR-31", "less is kept than was", (2, LIFE, 9, 5), "state.rolled-back")
standing("standing-fork", "TR-31", "two lives in one epoch", (2, OTHER, 12, 12), "state.forked")
standing(
    "standing-old-checkpoint",
    "TR-32",
    "a new life from an older checkpoint",
    (3, OTHER, 5, 5),
    "state.rolled-back",
)
standing(
    "standing-old-durable",
    "TR-32",
    "a new life that has kept less",
    (3, OTHER, 9, 5),
    "state.rolled-back",
)
