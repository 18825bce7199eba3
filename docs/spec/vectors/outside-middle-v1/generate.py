"""Write the vectors of outside-middle-v1 beside this file; a second run changes nothing.

Uses cbor2 and struct alone, nothing of the package.
"""

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import cbor2

HERE = Path(__file__).parent
TYPE = "cloister/outside-middle/v1"
PART = bytes(range(32))
BAD, CBOR, LARGE = "middle.malformed", "wire.malformed", "wire.too-large"
LIMIT = 4096
ROWS = [["x", "float32", [2, 1]]]


def canonical(value: Any) -> bytes:
    """Return canonical CBOR."""
    return cbor2.dumps(value, canonical=True)


def frame(head: bytes, body: bytes = b"", **says: int) -> bytes:
    """Return a frame, which may say other lengths than it has."""
    lengths = {"of_head": len(head), "of_body": len(body)} | says
    return struct.pack("<4sIQ", b"CMD\x01", lengths["of_head"], lengths["of_body"]) + head + body


def write(name: str, clause: str, comment: str, data: bytes, expect: str) -> None:
    """Write one vector."""
    kind = name.partition("-")[0]
    case = {"comment": comment, "clause": clause, "kind": kind, "limit": LIMIT}
    text = json.dumps(case | {"bytes": data.hex(), "expect": expect}, indent=1) + "\n"
    (HERE / f"{name}.json").write_text(text, "utf-8")


def prefixes() -> None:
    """The first sixteen bytes."""
    good = frame(b"", b"")
    write("prefix-ok", "OM-1", "Nothing at all.", good, "ok")
    write(
        "prefix-ok-largest",
        "OM-2",
        "At the limits.",
        frame(b"", of_head=65536, of_body=LIMIT),
        "ok",
    )
    write("prefix-short", "OM-1", "Fifteen bytes.", good[:-1], BAD)
    write("prefix-version", "OM-1", "Another version.", b"CMD\x02" + good[4:], BAD)
    write("prefix-head", "OM-2", "A head too long.", frame(b"", of_head=65537), LARGE)
    write("prefix-body", "OM-2", "A body too long.", frame(b"", of_body=LIMIT + 1), LARGE)
    write("prefix-huge", "OM-2", "All bits of the length.", frame(b"", of_body=2**64 - 1), LARGE)


def hellos() -> None:
    """What outside reads first."""
    good = {"type": TYPE, "kind": "hello", "part": PART, "outputs": ["y", "z"], "memory": 0}
    cases = [
        ("ok", "OM-3", "Bodies in frames.", {}, "ok"),
        ("ok-memory", "OM-3", "Bodies in memory.", {"memory": 2**40}, "ok"),
        ("memory", "OM-3", "More memory than there is.", {"memory": 2**40 + 1}, BAD),
        ("negative", "OM-3", "Less than none.", {"memory": -1}, BAD),
        ("type", "OM-3", "Another version.", {"type": "cloister/outside-middle/v2"}, BAD),
        ("part", "OM-3", "A digest of 31 bytes.", {"part": PART[:31]}, BAD),
        ("outputs", "OM-3", "Names that are none.", {"outputs": [1]}, BAD),
        ("extra", "OM-3", "A key that nobody knows.", {"x": 1}, BAD),
        ("ok-blinded", "OM-14", "Steps under pads.", {"kind": "blinded"}, "ok"),
        ("kind", "OM-14", "Another kind.", {"kind": "batch"}, BAD),
        (
            "blinded-memory",
            "OM-14",
            "More memory than there is, for steps under pads.",
            {"kind": "blinded", "memory": 2**40 + 1},
            BAD,
        ),
    ]
    for name, clause, comment, change, expect in cases:
        write(f"hello-{name}", clause, comment, canonical(good | change), expect)
    write("hello-spelling", "OM-3", "Keys out of order.", cbor2.dumps(good), CBOR)
    write("hello-longer", "OM-3", "A byte behind it.", canonical(good) + b"\0", CBOR)


def batches() -> None:
    """What outside reads then."""
    good = {"kind": "batch", "number": 7, "tensors": ROWS}
    cases = [
        ("ok", "OM-4", "One tensor.", ROWS, "ok"),
        ("ok-none", "OM-4", "No tensor.", [], "ok"),
        ("ok-empty", "OM-5", "A size of 0.", [["x", "float32", [0, 9]]], "ok"),
        ("ok-residues", "OM-15", "Residues for one step.", [["y", "uint32", [2, 3]]], "ok"),
        ("ok-scalar", "OM-5", "No axis.", [["x", "bool", []]], "ok"),
        ("twice", "OM-5", "One name twice.", ROWS * 2, BAD),
        ("type", "OM-5", "A type that there is not.", [["x", "float128", [1]]], BAD),
        ("rank", "OM-5", "Nine axes.", [["x", "bool", [1] * 9]], BAD),
        ("negative", "OM-5", "A size below 0.", [["x", "bool", [-1]]], BAD),
        ("nameless", "OM-5", "No name.", [["", "bool", [1]]], BAD),
        ("row", "OM-4", "A row of two.", [["x", "bool"]], BAD),
        ("large", "OM-5", "One byte too many.", [["x", "uint8", [LIMIT + 1]]], LARGE),
        (
            "sum",
            "OM-5",
            "Together too many.",
            [["x", "uint8", [4032]], ["y", "uint8", [65]]],
            LARGE,
        ),
        ("overflow", "OM-5", "Sizes whose product is 0.", [["x", "bool", [2**62, 4, 0]]], LARGE),
    ]
    for name, clause, comment, rows, expect in cases:
        write(f"batch-{name}", clause, comment, canonical(good | {"tensors": rows}), expect)
    write("batch-kind", "OM-3", "Another kind.", canonical(good | {"kind": "answer"}), BAD)
    write("batch-number", "OM-3", "A number too large.", canonical(good | {"number": 2**63}), BAD)


def answers() -> None:
    """Whole answers to number 7, of which inside expects one float32 tensor `y` of (2, 1)."""
    rows = [["y", "float32", [2, 1]]]
    good = {"kind": "answer", "number": 7, "tensors": rows}
    body = struct.pack("<2f", 1.0, 2.0) + bytes(56)
    right = frame(canonical(good), body)
    failed = {"kind": "failed", "number": 7, "reason": "no memory"}
    gone, no = "middle.unavailable", "middle.failed"
    other = good | {"tensors": [["y", "float32", [1, 2]]]}
    late, turned = good | {"number": 8}, dict(reversed(good.items()))
    cases = [
        ("ok", "OM-10", "As expected.", right, "ok"),
        ("number", "OM-10", "Of another batch.", frame(canonical(late), body), BAD),
        ("shape", "OM-10", "Another shape.", frame(canonical(other), body), BAD),
        ("kind", "OM-10", "Another kind.", frame(canonical(good | {"kind": "batch"}), body), BAD),
        ("spelling", "OM-10", "The same, otherwise.", frame(cbor2.dumps(turned), body), BAD),
        ("empty", "OM-10", "Nothing.", frame(b""), BAD),
        ("short", "OM-10", "A body too short.", frame(canonical(good), body[:-1]), BAD),
        ("long", "OM-10", "A body too long.", frame(canonical(good), body + b"\0"), LARGE),
        ("cut", "OM-12", "It ends too early.", right[:-1], gone),
        ("head", "OM-12", "It ends in the head.", right[:20], gone),
        ("silence", "OM-12", "It ends at once.", b"", gone),
        ("failed", "OM-10", "It says that it cannot.", frame(canonical(failed)), no),
        ("failed-other", "OM-10", "For another batch.",
         frame(canonical(failed | {"number": 8})), BAD),
        ("failed-long", "OM-3", "A reason too long.",
         frame(canonical(failed | {"reason": "x" * 201})), BAD),
    ]  # fmt: skip
    for name, clause, comment, data, expect in cases:
        write(f"answer-{name}", clause, comment, data, expect)


def bodies() -> None:
    """Bodies of one bool tensor of two, then one uint8 of one."""
    good = b"\0\1" + bytes(62) + b"\x09" + bytes(63)
    write("body-ok", "OM-4", "Each from a multiple of 64.", good, "ok")
    write("body-bool", "OM-6", "Neither true nor false.", b"\0\2" + good[2:], BAD)


def steps() -> None:
    """What outside makes of residues, in whole numbers of Python's."""
    small, large, bad = 2**23 - 15, 2**31 - 1, "message.malformed"
    dense = [0.5, -1.0, 0.25, 0.0, 1.27, -0.005]  # two rows of three
    wide = [1.0 if at % 2 else -0.75 for at in range(600)]
    kernel = [0.1 * (at % 7) - 0.3 for at in range(16)]  # two of two channels of 2 x 2
    many = [at * 3_571_117 % large for at in range(600)]
    image = [at * 524_287 % small for at in range(24)]  # two channels of 3 x 4
    cases = [
        ("dense", "A dense layer.", dense, (2, 3), (2, 3), [0, 1, 2, small - 1, 3, 4], small, "ok"),
        ("zeros", "Weights of zero.", [0.0] * 3, (1, 3), (1, 3), [7, 8, 9], small, "ok"),
        ("outside", "It has the prime.", dense, (2, 3), (1, 3), [small, 0, 0], small, bad),
        ("shape", "Four numbers for three.", dense, (2, 3), (1, 4), [0, 1, 2, 3], small, bad),
        ("long", "Sums for the larger prime.", wide, (1, 600), (1, 600), many, large, "ok"),
        ("conv", "A convolution, one row and column of zeros before.", kernel, (2, 2, 2, 2),
         (1, 2, 3, 4), image, small, "ok"),
    ]  # fmt: skip
    for name, comment, weights, shape, given, residues, prime, expect in cases:
        data = struct.pack(f"<{len(weights)}f", *weights)
        values = struct.unpack(f"<{len(weights)}f", data)
        unit = (max(abs(each) for each in values) or 1.0) / 127
        whole = [round(each / unit) for each in values]
        made: list[int] = []
        if expect == "ok":
            made = dense_of(whole, shape, residues) if len(shape) == 2 else conv_of(whole, residues)
        case = {
            "comment": comment, "clause": "OM-16", "kind": "step", "expect": expect, "prime": prime,
            "weights": data.hex(), "shape": shape, "given": given,
            "residues": struct.pack(f"<{len(residues)}I", *residues).hex(),
            "answer": struct.pack(f"<{len(made)}I", *(each % prime for each in made)).hex(),
        }  # fmt: skip
        (HERE / f"step-{name}.json").write_text(json.dumps(case, indent=1) + "\n", "utf-8")


def dense_of(whole: list[int], shape: tuple[int, ...], residues: list[int]) -> list[int]:
    """A dense layer, by example and channel."""
    out, into = shape
    return [
        sum(whole[o * into + i] * residues[n * into + i] for i in range(into))
        for n, o in itertools.product(range(len(residues) // into), range(out))
    ]


def conv_of(whole: list[int], residues: list[int]) -> list[int]:
    """Two kernels of 2 x 2 over two channels of 3 x 4, by channel, row and column."""
    made: list[int] = []
    for o, row, column in itertools.product(range(2), range(3), range(4)):
        total = 0
        for c, i, j in itertools.product(range(2), range(2), range(2)):
            y, x = row + i - 1, column + j - 1
            if y >= 0 and x >= 0:
                total += whole[((o * 2 + c) * 2 + i) * 2 + j] * residues[(c * 3 + y) * 4 + x]
        made.append(total)
    return made


prefixes()
hellos()
batches()
answers()
bodies()
steps()
