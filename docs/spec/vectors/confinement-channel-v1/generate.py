"""Write the vectors of confinement-channel-v1. Running it again changes nothing.

An implementation of its own, from the page.
"""

import json
import struct
from pathlib import Path
from typing import Any

WRITTEN: dict[str, str] = {}
BAD, LARGE, WIRE = "message.malformed", "wire.too-large", "wire.malformed"
LIMITS = {"message": 4096, "head": 1024, "arrays": 16}


def write(name: str, clause: str, comment: str, **case: object) -> None:
    """Keep one vector."""
    kind = name.partition("-")[0]
    whole = {"clause": clause, "kind": kind, "comment": comment} | case
    WRITTEN[f"{name}.json"] = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


class Raw(bytes):
    """Bytes that are CBOR already."""


def item(kind: int, number: int) -> bytes:
    """The first bytes of an item."""
    if number < 24:
        return bytes([kind << 5 | number])
    size = next(n for n in (1, 2, 4, 8) if number < 1 << 8 * n)
    return bytes([kind << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + number.to_bytes(size, "big")


def cbor(value: Any) -> bytes:
    """Canonical CBOR, and whatever is raw in it."""
    if isinstance(value, Raw):
        return bytes(value)
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return item(0, value) if value >= 0 else item(1, -1 - value)
    if isinstance(value, float):
        return cbor({"=f64": struct.pack(">d", value)})
    if isinstance(value, bytes):
        return item(2, len(value)) + value
    if isinstance(value, str):
        return item(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return item(4, len(value)) + b"".join(map(cbor, value))
    pairs = sorted((cbor(key), cbor(each)) for key, each in value.items())
    return item(5, len(value)) + b"".join(key + each for key, each in pairs)


def eights(data: bytes) -> bytes:
    """Zeros up to a multiple of 8."""
    return data + bytes(-len(data) % 8)


def message(head: Any, *arrays: bytes, magic: bytes = b"CRM\x01") -> bytes:
    """A head, raw or not, and what follows it."""
    data = cbor(head)
    whole = magic + struct.pack("<I", len(data)) + data
    return eights(whole) + b"".join(map(eights, arrays))


def head(kind: Any = "step", fields: Any = None, arrays: Any = ()) -> dict[str, Any]:
    """The map that a head is."""
    return {"kind": kind, "fields": fields or {}, "arrays": list(arrays)}


def shown(value: Any) -> Any:
    """A field as JSON has it."""
    if isinstance(value, float):
        return {"=f64": struct.pack(">d", value).hex()}
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [shown(each) for each in value]
    if isinstance(value, dict):
        return {key: shown(each) for key, each in value.items()}
    return value


def deep(levels: int) -> Any:
    """Lists in lists; the innermost value is so many deep."""
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


def bytes_case(name: str, clause: str, comment: str, data: bytes, expect: str, **more: Any) -> None:
    """A message and what becomes of it."""
    facts = {"limits": LIMITS, "bytes": data.hex(), "expect": expect}
    write(f"message-{name}", clause, comment, **(facts | more))


def good_message(name: str, clause: str, comment: str, fields: Any, arrays: dict[str, Any]) -> None:
    """A message that is read, with what is read of it."""
    rows = [[key, kind, shape] for key, (kind, shape, _) in sorted(arrays.items())]
    data = message(head("step", fields, rows), *(arrays[key][2] for key in sorted(arrays)))
    written = {
        "kind": "step",
        "fields": shown(fields),
        "arrays": {
            key: [kind, shape, octets.hex()] for key, (kind, shape, octets) in arrays.items()
        },
    }
    bytes_case(f"ok-{name}", clause, comment, data, "ok", written=written)


def messages() -> None:
    """What a reader of messages takes."""
    two = struct.pack("<2f", 1.0, 2.0)
    good_message("step", "CC-1", "The page's example.", {"rate": 0.5}, {"w": ("float32", [2], two)})
    good_message("bare", "CC-1", "No fields, no arrays.", {}, {})
    good_message(
        "fields",
        "CC-5",
        "Every kind of field.",
        {"a": None, "b": [True, False], "c": {"d": -1, "e e": 2**64 - 1}, "f": "é", "g": b"\0"},
        {},
    )
    good_message("floats", "CC-5", "Zero has two signs.", {"a": -0.0, "b": 0.0, "c": [5e-324]}, {})
    good_message("deep", "CC-5", "Twelve deep.", deep(12), {})
    kinds = {
        "bool": b"\0\1",
        "float32": struct.pack("<2f", -1.5, 3.0),
        "float64": struct.pack("<2d", 1e300, -0.0),
        "int8": b"\xff\x01",
        "int16": struct.pack("<2h", -2, 2),
        "int32": struct.pack("<2i", -3, 3),
        "int64": struct.pack("<2q", -4, 4),
        "uint8": b"\xfe\x01",
        "uint16": struct.pack("<2H", 5, 65535),
        "uint32": struct.pack("<2I", 6, 7),
        "uint64": struct.pack("<2Q", 8, 2**64 - 1),
    }
    good_message("types", "CC-6", "Every type.", {}, {k: (k, [2], v) for k, v in kinds.items()})
    good_message("no-axes", "CC-6", "One number.", {}, {"x": ("uint8", [], b"\x07")})
    good_message("no-numbers", "CC-9", "A size of 0.", {}, {"x": ("float64", [3, 0, 4], b"")})
    good_message("eight-axes", "CC-6", "Eight axes.", {}, {"x": ("int8", [1] * 7 + [2], b"ab")})
    nan = bytes.fromhex("0100a07f")
    good_message("nan", "CC-8", "The bits of a signalling NaN.", {}, {"x": ("float32", [1], nan)})


def heads() -> None:
    """What is wrong about a message before its fields are looked at."""
    bytes_case("short", "CC-2", "Four bytes.", b"CRM\x01", BAD)
    bytes_case("empty", "CC-2", "Nothing.", b"", BAD)
    bytes_case("not-in-eights", "CC-2", "A byte too many.", message(head()) + b"\0", BAD)
    bytes_case("version-2", "CC-2", "Another version.", message(head(), magic=b"CRM\x02"), BAD)
    bytes_case("pickle", "CC-2", "A pickle.", eights(b"\x80\x04cos\nsystem\n(S'x'\ntR."), BAD)
    bytes_case(
        "npy", "CC-2", "NumPy's own format.", eights(b"\x93NUMPY\x01\x00v\x00{'descr': '|O'"), BAD
    )
    bytes_case("zip", "CC-2", "An archive.", eights(b"PK\x03\x04" + bytes(26)), BAD)
    bytes_case("too-long", "CC-2", "Longer than allowed.", message(head(), bytes(4096)), LARGE)
    bytes_case(
        "head-too-long", "CC-3", "A head too long.", message(head(fields={"a": "x" * 1024})), LARGE
    )
    announced = b"CRM\x01" + struct.pack("<I", 2**32 - 1)
    bytes_case("head-announced", "CC-3", "A head of 4 GiB.", announced, LARGE)
    bytes_case("head-cut", "CC-3", "No head.", b"CRM\x01" + struct.pack("<I", 1000) + bytes(8), BAD)
    empty = b"\xa3dkinddstepfarrays\x80ffields\xa0"
    swapped = Raw(b"\xa3ffields\xa0farrays\x80dkinddstep")
    bytes_case("head-order", "CC-3", "Keys out of order.", message(swapped), WIRE)
    twice = Raw(b"\xa4dkinddstepdkinddstepfarrays\x80ffields\xa0")
    bytes_case("head-twice", "CC-3", "A key twice.", message(twice), WIRE)
    bytes_case(
        "head-long-integer",
        "CC-3",
        "7 in two bytes.",
        message(head(fields={"a": Raw(b"\x18\x07")})),
        WIRE,
    )
    bytes_case(
        "head-float",
        "CC-3",
        "A float of CBOR.",
        message(head(fields={"a": Raw(b"\xf9\x3c\x00")})),
        WIRE,
    )
    bytes_case(
        "head-nan", "CC-3", "NaN of CBOR.", message(head(fields={"a": Raw(b"\xf9\x7e\x00")})), WIRE
    )
    bytes_case(
        "head-tag", "CC-3", "A tag.", message(head(fields={"a": Raw(b"\xd8\x1c\x80")})), WIRE
    )
    bytes_case(
        "head-undefined", "CC-3", "Undefined.", message(head(fields={"a": Raw(b"\xf7")})), WIRE
    )
    bytes_case(
        "head-indefinite",
        "CC-3",
        "A list without a length.",
        message(head(fields={"a": Raw(b"\x9f\xff")})),
        WIRE,
    )
    bytes_case(
        "head-integer-key",
        "CC-3",
        "A key that is no text.",
        message(head(fields={"a": Raw(b"\xa1\x01\x02")})),
        WIRE,
    )
    bytes_case("head-trailing", "CC-3", "More than one value.", message(Raw(empty + b"\0")), WIRE)
    bytes_case(
        "head-very-deep", "CC-3", "Beyond CBOR's levels.", message(head(fields=deep(40))), WIRE
    )
    bytes_case("head-list", "CC-3", "A list.", message(["step", {}, []]), BAD)
    bytes_case("head-more", "CC-3", "A key more.", message(head() | {"code": "x"}), BAD)
    bytes_case("head-less", "CC-3", "A key less.", message({"kind": "step", "fields": {}}), BAD)


def fields() -> None:
    """What is wrong about kinds and fields."""
    bytes_case("kind-empty", "CC-4", "No kind.", message(head("")), BAD)
    bytes_case("kind-capital", "CC-4", "A capital.", message(head("Step")), BAD)
    bytes_case("kind-long", "CC-4", "65 letters.", message(head("a" * 65)), BAD)
    bytes_case("kind-number", "CC-4", "A number.", message(head(7)), BAD)
    bytes_case("fields-list", "CC-4", "Fields are a list.", message(head(fields=[1])), BAD)
    bytes_case("key-empty", "CC-5", "An empty key.", message(head(fields={"": 1})), BAD)
    bytes_case(
        "key-equals", "CC-5", "A key that is kept.", message(head(fields={"=f32": b"1234"})), BAD
    )
    bytes_case("key-outside", "CC-5", "Not ASCII.", message(head(fields={"ä": 1})), BAD)
    bytes_case("key-long", "CC-5", "65 characters.", message(head(fields={"k" * 65: 1})), BAD)
    bytes_case(
        "key-inside", "CC-5", "An empty key, inside.", message(head(fields={"a": [{"": 1}]})), BAD
    )
    bytes_case(
        "top-float", "CC-4", "Fields are a float.", message(head(fields={"=f64": bytes(8)})), BAD
    )
    for name, number in (("nan", float("nan")), ("infinite", float("inf"))):
        bytes_case(f"field-{name}", "CC-5", "Not finite.", message(head(fields={"a": number})), BAD)
    bytes_case(
        "float-short", "CC-5", "Four bytes.", message(head(fields={"a": {"=f64": bytes(4)}})), BAD
    )
    bytes_case(
        "float-text", "CC-5", "A text.", message(head(fields={"a": {"=f64": "12345678"}})), BAD
    )
    bytes_case(
        "float-more",
        "CC-5",
        "A second key.",
        message(head(fields={"a": {"=f64": bytes(8), "b": 1}})),
        BAD,
    )
    bytes_case("deeper", "CC-5", "Thirteen deep.", message(head(fields=deep(13))), BAD)


def arrays() -> None:
    """What is wrong about arrays, and about what lies between them."""
    one = struct.pack("<f", 1.0)
    for name, comment, row in (
        ("map", "A row that is a map.", {"name": "x"}),
        ("two", "A row without a shape.", ["x", "float32"]),
        ("four", "A row with an offset.", ["x", "float32", [1], 0]),
        ("name-number", "A name that is a number.", [1, "float32", [1]]),
        ("name-empty", "An empty name.", ["", "float32", [1]]),
        ("name-space", "A name with a space.", ["a b", "float32", [1]]),
        ("type-object", "NumPy's objects.", ["x", "object", [1]]),
        ("type-code", "NumPy's codes.", ["x", "|O8", [1]]),
        ("type-big", "Big-endian.", ["x", ">f4", [1]]),
        ("type-half", "float16.", ["x", "float16", [2]]),
        ("type-list", "A structure.", ["x", ["float32", "float32"], [1]]),
        ("shape-number", "A shape that is a number.", ["x", "float32", 1]),
        ("shape-negative", "-1.", ["x", "float32", [-1]]),
        ("shape-true", "True.", ["x", "float32", [True]]),
        ("shape-float", "1.0.", ["x", "float32", [1.0]]),
        ("shape-nine", "Nine axes.", ["x", "float32", [1] * 9]),
    ):
        bytes_case(f"row-{name}", "CC-6", comment, message(head(arrays=[row]), one), BAD)
    pair = [["b", "float32", [1]], ["a", "float32", [1]]]
    bytes_case("row-order", "CC-6", "b before a.", message(head(arrays=pair), one, one), BAD)
    same = [["a", "float32", [1]]] * 2
    bytes_case("row-twice", "CC-6", "One name twice.", message(head(arrays=same), one, one), BAD)
    many = [[f"x{number:02}", "uint8", [0]] for number in range(17)]
    bytes_case(
        "rows-many", "CC-6", "Seventeen where sixteen are allowed.", message(head(arrays=many)), BAD
    )
    for name, shape in (
        ("large", [1025]),
        ("huge", [2**40, 2**40]),
        ("huge-and-none", [0, 2**62, 2**62]),
        ("just-none", [1025, 0]),
    ):
        data = message(head(arrays=[["x", "float32", shape]]))
        bytes_case(f"row-{name}", "CC-9", f"{shape}.", data, LARGE)
    row = [["x", "float32", [1]]]
    bytes_case("array-missing", "CC-7", "No numbers.", message(head(arrays=row)), BAD)
    bytes_case(
        "array-more", "CC-7", "Eight bytes too many.", message(head(arrays=row), one, bytes(8)), BAD
    )
    bytes_case("array-none", "CC-7", "Bytes for no array.", message(head(), bytes(8)), BAD)
    bytes_case(
        "filling-array", "CC-7", "One behind an array.", message(head(arrays=row), one + b"\1"), BAD
    )
    odd = message(head())
    bytes_case("filling-head", "CC-7", "One behind the head.", odd[:-1] + b"\1", BAD)
    bytes_case(
        "bool-2",
        "CC-8",
        "Neither true nor false.",
        message(head(arrays=[["x", "bool", [2]]]), b"\1\2"),
        BAD,
    )


def frames() -> None:
    """Frames of 64 bytes, and messages of at most 256."""
    size = 64

    def framed(data: bytes) -> list[bytes]:
        whole = struct.pack("<Q", len(data)) + data
        whole += bytes(-len(whole) % size)
        return [whole[at : at + size] for at in range(0, len(whole), size)]

    def case(name: str, clause: str, comment: str, pieces: list[bytes], outcome: Any) -> None:
        found: dict[str, Any] = {"expect": outcome}
        if isinstance(outcome, list):
            found = {"expect": "ok", "messages": [each.hex() for each in outcome]}
        facts = {"frame": size, "limit": 256, "pieces": [piece.hex() for piece in pieces]}
        write(f"frames-{name}", clause, comment, **(facts | found))

    idle, long = bytes(size), bytes(range(1, 200))
    case("ok-one", "CC-20", "A message in one frame.", framed(b"hello"), [b"hello"])
    case("ok-full", "CC-22", "Nothing to fill.", framed(b"x" * 56), [b"x" * 56])
    case("ok-one-more", "CC-22", "One byte in a second frame.", framed(b"x" * 57), [b"x" * 57])
    case("ok-long", "CC-21", "In four frames.", framed(long), [long])
    case("ok-largest", "CC-21", "As long as allowed.", framed(b"y" * 256), [b"y" * 256])
    case("ok-idle", "CC-23", "Idle frames.", [idle, idle], [])
    between = [idle, *framed(b"a"), idle, *framed(b"b")]
    case("ok-between", "CC-24", "Idle between messages.", between, [b"a", b"b"])
    case("ok-open", "CC-24", "A message that has not ended.", framed(long)[:2], [])
    case("short", "CC-20", "63 bytes.", [framed(b"x")[0][:-1]], WIRE)
    case("long", "CC-20", "65 bytes.", [framed(b"x")[0] + b"\0"], WIRE)
    case("none", "CC-20", "No byte.", [b""], WIRE)
    case("too-large", "CC-21", "A byte more.", [framed(b"y" * 257)[0]], LARGE)
    case("huge", "CC-21", "2^64 - 1.", [b"\xff" * 8 + bytes(56)], LARGE)
    case("filling", "CC-22", "It says something.", [framed(b"x")[0][:-1] + b"\1"], WIRE)
    last = framed(long)
    case("filling-last", "CC-22", "In the last frame.", [*last[:-1], last[-1][:-1] + b"\1"], WIRE)
    case("idle-says", "CC-23", "An idle frame that says something.", [bytes(63) + b"\1"], WIRE)


def layer(kind: str, name: str, *inputs: str, **options: Any) -> dict[str, Any]:
    """One layer."""
    return {"kind": kind, "name": name, "inputs": list(inputs), **options}


def model(*layers: Any, **other: Any) -> dict[str, Any]:
    """A description."""
    whole = {
        "version": 1,
        "input_shape": [8, 8, 1],
        "classes": 10,
        "layers": list(layers),
        "optimizer": {"kind": "sgd", "rate": 0.1},
        "batch": 32,
    }
    return whole | other


FLAT, OUT = layer("flatten", "flat", "input"), layer("dense", "out", "flat", units=10)


def good_model(name: str, clause: str, comment: str, found: Any, *sizes: Any) -> None:
    """A description, its number of parameters, and the shapes of what its layers give."""
    facts = {"description": found, "expect": "ok", "parameters": sizes[0], "output": sizes[1]}
    write(f"description-ok-{name}", clause, comment, **facts)


def bad_model(name: str, clause: str, comment: str, found: Any) -> None:
    """A description that is refused."""
    facts = {"description": found, "expect": "description.malformed"}
    write(f"description-{name}", clause, comment, **facts)


def descriptions() -> None:
    """What a reader of descriptions takes."""
    good_model(
        "linear",
        "CC-40",
        "The smallest, with defaults.",
        model(FLAT, OUT),
        650,
        {"flat": [64], "out": [10]},
    )
    every = model(
        layer("zero_pad2d", "pad", "input", rows=[1, 0], columns=[0, 1]),
        layer("conv2d", "c1", "pad", filters=4, kernel=[3, 3], strides=[2, 2]),
        layer("batch_norm", "b1", "c1"),
        layer("activation", "a1", "b1", function="relu"),
        layer("depthwise_conv2d", "d1", "a1", kernel=[3, 3], multiplier=2, padding="same"),
        layer("conv2d", "c2", "a1", filters=8, kernel=[1, 1], bias=False, padding="valid"),
        layer("add", "s", "d1", "c2"),
        layer("max_pool2d", "m", "s", pool=[2, 2], strides=[1, 1]),
        layer("average_pool2d", "v", "s", pool=[3, 3], strides=[1, 1], padding="same"),
        layer("max_pool2d", "v2", "v", pool=[2, 2], strides=[1, 1]),
        layer("concatenate", "j", "m", "v2"),
        layer("layer_norm", "l", "j"),
        layer("dropout", "o", "l", rate=0.5),
        layer("global_average_pool2d", "g", "o"),
        layer("reshape", "r", "g", shape=[4, 4]),
        layer("flatten", "f", "r"),
        layer("dense", "out", "f", units=10),
        optimizer={"kind": "adam", "rate": 0.001, "weight_decay": 0, "schedule": [[3, 0.5]]},
        loss="cross_entropy",
        augment={"pad": 4, "flip": True},
    )
    good_model(
        "every-layer",
        "CC-43",
        "Every kind of layer.",
        every,
        (9 * 4 + 4) + 16 + (9 * 8 + 8) + 32 + 32 + 170,
        {
            "pad": [9, 9, 1],
            "c1": [5, 5, 4],
            "b1": [5, 5, 4],
            "a1": [5, 5, 4],
            "d1": [5, 5, 8],
            "c2": [5, 5, 8],
            "s": [5, 5, 8],
            "m": [4, 4, 8],
            "v": [5, 5, 8],
            "v2": [4, 4, 8],
            "j": [4, 4, 16],
            "l": [4, 4, 16],
            "o": [4, 4, 16],
            "g": [16],
            "r": [4, 4],
            "f": [16],
            "out": [10],
        },
    )
    wide = layer("conv2d", "c", "input", filters=2, kernel=[3, 5], strides=[3, 2])
    narrow = layer("max_pool2d", "m", "c", pool=[3, 1], strides=[1, 3], padding="valid")
    good_model(
        "windows",
        "CC-44",
        "Places of windows.",
        model(wide, narrow, layer("flatten", "flat", "m"), OUT),
        32 + 50,
        {"c": [3, 4, 2], "m": [1, 2, 2], "flat": [4], "out": [10]},
    )
    good_model(
        "mse",
        "CC-47",
        "A softmax behind mse.",
        model(FLAT, OUT, layer("activation", "p", "out", function="softmax"), loss="mse"),
        650,
        {"flat": [64], "out": [10], "p": [10]},
    )
    good_model(
        "rank-2",
        "CC-43",
        "A matrix, and dense along its last axis.",
        model(
            layer("dense", "d", "input", units=3),
            layer("flatten", "flat", "d"),
            OUT,
            input_shape=[4, 2],
        ),
        9 + 130,
        {"d": [4, 3], "flat": [12], "out": [10]},
    )


def outsides() -> None:
    """What is wrong about a description as a map."""
    bad_model("list", "CC-40", "A list.", [1])
    bad_model("more", "CC-40", "A key more.", model(FLAT, OUT, code="import os"))
    less = model(FLAT, OUT)
    del less["batch"]
    bad_model("less", "CC-40", "No batch.", less)
    bad_model("version-2", "CC-40", "Another version.", model(FLAT, OUT, version=2))
    bad_model("version-true", "CC-40", "True is no number.", model(FLAT, OUT, version=True))
    bad_model("batch-0", "CC-40", "No examples.", model(FLAT, OUT, batch=0))
    bad_model("loss", "CC-40", "Another loss.", model(FLAT, OUT, loss="lambda y, p: 0"))
    bad_model(
        "input-none", "CC-41", "A size that is open.", model(FLAT, OUT, input_shape=[None, 8])
    )
    bad_model("input-scalar", "CC-40", "No axes.", model(FLAT, OUT, input_shape=[]))


def graphs() -> None:
    """What is wrong about how layers hang together."""
    bad_model("no-layers", "CC-42", "No layers.", model())
    bad_model("layer-text", "CC-42", "A layer that is a text.", model("dense"))
    bad_model("behind", "CC-42", "A layer before what it takes.", model(OUT, FLAT))
    bad_model(
        "itself",
        "CC-42",
        "A layer that takes itself.",
        model(FLAT, layer("add", "out", "flat", "out")),
    )
    bad_model(
        "twice",
        "CC-42",
        "Two with one name.",
        model(FLAT, layer("dense", "flat", "flat", units=10)),
    )
    bad_model(
        "called-input",
        "CC-42",
        "A layer called input.",
        model(layer("flatten", "input", "input"), layer("dense", "out", "input", units=10)),
    )
    bad_model(
        "name",
        "CC-42",
        "A name that is a path.",
        model(layer("flatten", "../flat", "input"), layer("dense", "out", "../flat", units=10)),
    )
    bad_model(
        "unused",
        "CC-42",
        "Nothing takes this one.",
        model(FLAT, layer("dense", "lost", "flat", units=3), OUT),
    )
    bad_model(
        "outputs",
        "CC-42",
        "Nine outputs for ten classes.",
        model(FLAT, layer("dense", "out", "flat", units=9)),
    )
    bad_model(
        "outputs-rank",
        "CC-42",
        "Outputs of two axes.",
        model(layer("dense", "out", "input", units=10)),
    )
    bad_model(
        "two-inputs",
        "CC-42",
        "Dense takes one.",
        model(FLAT, layer("dense", "out", "flat", "input", units=10)),
    )
    bad_model("one-input", "CC-42", "A sum of one.", model(FLAT, OUT, layer("add", "a", "out")))
    bad_model("no-input", "CC-42", "A layer without inputs.", model(layer("flatten", "flat"), OUT))


def layers() -> None:
    """What is wrong about single layers."""
    code = layer("lambda", "code", "input", function="gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVt")
    bad_model("lambda", "CC-43", "Keras's Lambda.", model(code, FLAT, OUT))
    named = layer("keras.layers.Lambda", "code", "input", module="os", function="system")
    bad_model("class", "CC-43", "A class by its name.", model(named, FLAT, OUT))
    bad_model(
        "kind-list", "CC-43", "A kind that is a list.", model(FLAT | {"kind": ["flatten"]}, OUT)
    )
    bad_model(
        "option-unknown", "CC-43", "An option more.", model(FLAT | {"initializer": "os"}, OUT)
    )
    bad_model(
        "option-missing",
        "CC-43",
        "Dense without units.",
        model(FLAT, layer("dense", "out", "flat")),
    )
    bad_model("units-text", "CC-43", "A text.", model(FLAT, OUT | {"units": "10"}))
    bad_model("units-true", "CC-43", "True is no number.", model(FLAT, OUT | {"units": True}))
    bad_model(
        "units-huge",
        "CC-41",
        "2^20 + 1.",
        model(FLAT, layer("dense", "d", "flat", units=2**20 + 1)),
    )
    bad_model(
        "function",
        "CC-43",
        "A function that there is not.",
        model(
            layer("activation", "a", "input", function="os.system"),
            layer("flatten", "flat", "a"),
            OUT,
        ),
    )
    bad_model(
        "dropout-1",
        "CC-43",
        "All of them.",
        model(FLAT, layer("dropout", "d", "flat", rate=1), layer("dense", "out", "d", units=10)),
    )
    bad_model(
        "reshape",
        "CC-43",
        "Other than as many.",
        model(layer("reshape", "flat", "input", shape=[63]), OUT),
    )
    bad_model(
        "sum",
        "CC-43",
        "A sum of two shapes.",
        model(
            layer("dense", "d", "input", units=3),
            layer("add", "s", "d", "input"),
            layer("flatten", "flat", "s"),
            OUT,
        ),
    )
    bad_model(
        "joined",
        "CC-43",
        "Other rows.",
        model(
            layer("max_pool2d", "m", "input"),
            layer("concatenate", "s", "m", "input"),
            layer("flatten", "flat", "s"),
            OUT,
        ),
    )
    bad_model(
        "window",
        "CC-44",
        "A window that does not fit in.",
        model(
            layer("conv2d", "c", "input", filters=1, kernel=[9, 1], padding="valid"),
            layer("flatten", "flat", "c"),
            OUT,
        ),
    )
    bad_model(
        "rank",
        "CC-44",
        "A convolution of a vector.",
        model(
            layer("conv2d", "c", "input", filters=1, kernel=[1, 1]),
            layer("flatten", "flat", "c"),
            OUT,
            input_shape=[64],
        ),
    )
    bad_model(
        "padding",
        "CC-43",
        "In capitals.",
        model(
            layer("max_pool2d", "m", "input", padding="SAME"), layer("flatten", "flat", "m"), OUT
        ),
    )


def trainings() -> None:
    """What is wrong about optimizer, loss, and size."""
    sgd = {"kind": "sgd", "rate": 0.1}
    for name, comment, optimizer in (
        ("kind", "Another.", sgd | {"kind": "lion"}),
        ("no-kind", "No kind.", {"rate": 0.1}),
        ("no-rate", "No rate.", {"kind": "sgd"}),
        ("rate-0", "A rate of 0.", sgd | {"rate": 0}),
        ("rate-text", "A text.", sgd | {"rate": "0.1"}),
        ("momentum-1", "Momentum 1.", sgd | {"momentum": 1.0}),
        ("of-adam", "An option of Adam's.", sgd | {"beta1": 0.9}),
        ("schedule-order", "Rounds out of order.", sgd | {"schedule": [[5, 0.1], [3, 0.1]]}),
        ("schedule-same", "One round twice.", sgd | {"schedule": [[3, 0.1], [3, 0.1]]}),
        ("schedule-0", "A factor of 0.", sgd | {"schedule": [[3, 0]]}),
        ("schedule-pair", "Not a pair.", sgd | {"schedule": [[3]]}),
        ("text", "A text.", "sgd"),
    ):
        bad_model(f"optimizer-{name}", "CC-46", comment, model(FLAT, OUT, optimizer=optimizer))
    bad_model(
        "softmax",
        "CC-47",
        "A softmax before cross_entropy's own.",
        model(FLAT, OUT, layer("activation", "p", "out", function="softmax")),
    )
    bad_model(
        "augment-vector",
        "CC-48",
        "Vectors have no sides.",
        model(FLAT, OUT, input_shape=[64], augment={"flip": True}),
    )
    bad_model("augment-more", "CC-48", "Another way.", model(FLAT, OUT, augment={"rotate": 1}))
    bad_model("augment-pad", "CC-48", "A wide frame.", model(FLAT, OUT, augment={"pad": 257}))
    big = layer("dense", "big", "flat", units=2**20)
    bad_model(
        "parameters",
        "CC-49",
        "2^40 parameters.",
        model(
            FLAT,
            big,
            layer("dense", "more", "big", units=2**20),
            layer("dense", "out", "more", units=10),
        ),
    )
    bad_model(
        "numbers",
        "CC-49",
        "2^60 numbers.",
        model(
            layer("conv2d", "c", "input", filters=1, kernel=[1, 1]),
            layer("global_average_pool2d", "g", "c"),
            layer("dense", "out", "g", units=10),
            input_shape=[2**20, 2**20, 2**20],
        ),
    )


def main(folder: Path) -> None:
    """Write all of them."""
    for each in (messages, heads, fields, arrays, frames):
        each()
    for each in (descriptions, outsides, graphs, layers, trainings):
        each()
    for name, text in WRITTEN.items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(__file__).parent)
