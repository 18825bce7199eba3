"""A second reader of confinement-channel-v1, written from the page with cbor2 and struct alone."""

import itertools
import json
import math
import re
import struct
import sys
from pathlib import Path
from typing import Any

import cbor2

HERE = Path(__file__).parent
WIDTHS = {"bool": 1, "float32": 4, "float64": 8} | {
    f"{sign}int{8 * width}": width for sign in ("", "u") for width in (1, 2, 4, 8)
}
PAIR = [1, 4096]
PADS = ("same", "valid")
FUNCTIONS = ("relu", "tanh", "sigmoid", "gelu", "silu", "softplus", "softmax")
# Options of each kind: what they may be, and the default where there is one.
LAYERS: dict[str, dict[str, list[Any]]] = {
    "dense": {"units": ["size"], "bias": ["flag", True]},
    "conv2d": {"filters": ["size"], "kernel": ["pair"], "strides": ["pair", [1, 1]],
               "padding": [PADS, "same"], "bias": ["flag", True]},
    "depthwise_conv2d": {"kernel": ["pair"], "multiplier": [range(1, 1025), 1],
                         "strides": ["pair", [1, 1]], "padding": [PADS, "same"],
                         "bias": ["flag", True]},
    "batch_norm": {"momentum": [(0, 1, "below"), 0.99], "epsilon": [(1e-12, 1, ""), 1e-3]},
    "layer_norm": {"epsilon": [(1e-12, 1, ""), 1e-3]},
    "activation": {"function": [FUNCTIONS]},
    "max_pool2d": {"pool": ["pair", [2, 2]], "strides": ["pair", [2, 2]],
                   "padding": [PADS, "valid"]},
    "global_average_pool2d": {}, "flatten": {}, "add": {}, "concatenate": {},
    "reshape": {"shape": ["sizes"]},
    "dropout": {"rate": [(0, 1, "below")]},
    "zero_pad2d": {"rows": ["edge"], "columns": ["edge"]},
}  # fmt: skip
LAYERS["average_pool2d"] = LAYERS["max_pool2d"]
RATES: dict[str, list[Any]] = {
    "rate": [(0, 1000, "above")], "weight_decay": [(0, 1, ""), 0], "schedule": ["schedule", []]
}  # fmt: skip
OPTIMIZERS: dict[str, dict[str, list[Any]]] = {
    "sgd": RATES | {"momentum": [(0, 1, "below"), 0], "nesterov": ["flag", False]},
    "adam": RATES | {"beta1": [(0, 1, "below"), 0.9], "beta2": [(0, 1, "below"), 0.999],
                     "epsilon": [(1e-16, 1, ""), 1e-7]},
}  # fmt: skip


class RefusedError(Exception):
    """Carries the code."""


def need(condition: object, code: str = "message.malformed") -> None:
    """Refuse unless a condition holds."""
    if not condition:
        raise RefusedError(code)


def message(case: dict[str, Any]) -> None:
    """CC-2 to CC-9."""
    data, limits = bytes.fromhex(case["bytes"]), case["limits"]
    need(len(data) <= limits["message"], "wire.too-large")
    need(len(data) >= 8 and len(data) % 8 == 0 and data[:4] == b"CRM\x01")
    (length,) = struct.unpack("<I", data[4:8])
    need(length <= limits["head"], "wire.too-large")
    need(8 + length <= len(data))
    head = plain(data[8 : 8 + length])
    need(isinstance(head, dict) and sorted(head) == ["arrays", "fields", "kind"])
    kind, rows = head["kind"], head["arrays"]
    need(isinstance(kind, str) and re.fullmatch("[a-z][a-z0-9-]{0,63}", kind))
    need(isinstance(head["fields"], dict) and "=f64" not in head["fields"])
    fields = field(head["fields"], 0)
    need(isinstance(rows, list) and len(rows) <= limits["arrays"])
    places, last = [], ""
    for row in rows:
        need(isinstance(row, list) and len(row) == 3)
        name, type_name, shape = row
        need(isinstance(name, str) and re.fullmatch("[!-~]{1,128}", name) and name > last)
        need(isinstance(type_name, str) and type_name in WIDTHS)
        need(isinstance(shape, list) and len(shape) <= 8)
        need(all(type(size) is int and size >= 0 for size in shape))
        most = WIDTHS[type_name] * math.prod(max(size, 1) for size in shape)
        need(most <= limits["message"], "wire.too-large")
        places.append((name, type_name, shape, WIDTHS[type_name] * math.prod(shape)))
        last = name
    at, arrays = eights(8 + length), {}
    need(not any(data[8 + length : at]))
    for name, type_name, shape, size in places:
        part, filling = data[at : at + size], data[at + size : at + eights(size)]
        need(len(part) == size and not any(filling))
        need(type_name != "bool" or max(part, default=0) <= 1)
        arrays[name] = [type_name, shape, part.hex()]
        at += eights(size)
    need(at == len(data))
    found = {"kind": kind, "fields": fields, "arrays": arrays}
    need(found == case.get("written"), "differs")


def eights(length: int) -> int:
    """The next multiple of 8."""
    return (length + 7) // 8 * 8


def plain(data: bytes) -> Any:
    """CBOR of the profile."""
    try:
        value = cbor2.loads(data)
        need(cbor2.dumps(value, canonical=True) == data, "wire.malformed")
    except (cbor2.CBORError, ValueError, TypeError, RecursionError) as e:
        raise RefusedError("wire.malformed") from e
    within(value, 0)
    return value


def within(value: Any, depth: int) -> None:
    """No floats, no tags, text keys, sixteen levels."""
    need(depth <= 16, "wire.malformed")
    if isinstance(value, dict):
        need(all(isinstance(key, str) for key in value), "wire.malformed")
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            within(each, depth + 1)
        return
    need(value is None or type(value) in (bool, int, str, bytes), "wire.malformed")


def field(value: Any, depth: int) -> Any:
    """CC-5, as the vectors write it."""
    need(depth <= 12)
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [field(each, depth + 1) for each in value]
    if not isinstance(value, dict):
        return value
    if "=f64" in value:
        octets = value["=f64"]
        need(len(value) == 1 and isinstance(octets, bytes) and len(octets) == 8)
        need(math.isfinite(struct.unpack(">d", octets)[0]))
        return {"=f64": octets.hex()}
    need(all(re.fullmatch("[!-~][ -~]{0,63}", key) and key[0] != "=" for key in value))
    return {key: field(each, depth + 1) for key, each in value.items()}


def frames(case: dict[str, Any]) -> None:
    """CC-20 to CC-24."""
    stream, found = b"", []
    for piece in map(bytes.fromhex, case["pieces"]):
        need(len(piece) == case["frame"], "wire.malformed")
        stream += piece
        length = int.from_bytes(stream[:8], "little")
        need(length <= case["limit"], "wire.too-large")
        if len(stream) >= 8 + length:
            need(not any(stream[8 + length :]), "wire.malformed")
            found += [stream[8 : 8 + length].hex()] if length else []
            stream = b""
    need(found == case.get("messages"), "differs")


def option(form: Any, value: Any) -> bool:
    """Whether a value has one of the forms above."""
    if form == "flag":
        return isinstance(value, bool)
    if isinstance(form, range) or form == "size":
        return type(value) is int and 1 <= value <= (2**20 if form == "size" else form[-1])
    if form in ("pair", "edge"):
        low, high = PAIR if form == "pair" else [0, 1024]
        return (isinstance(value, list) and len(value) == 2
                and all(type(each) is int and low <= each <= high for each in value))  # fmt: skip
    if form == "sizes":
        return (isinstance(value, list) and 1 <= len(value) <= 6
                and all(option("size", each) for each in value))  # fmt: skip
    if form == "schedule":
        return schedule(value)
    if isinstance(form[0], str):
        return isinstance(value, str) and value in form
    low, high, bound = form
    return (type(value) in (int, float) and low <= value <= high
            and not (bound == "above" and value == low)
            and not (bound == "below" and value == high))  # fmt: skip


def schedule(value: Any) -> bool:
    """Rounds that rise, and factors."""
    if not isinstance(value, list) or len(value) > 64:
        return False
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return False
    rounds = [at for at, _ in value]
    return (all(type(at) is int and 1 <= at <= 2**32 for at in rounds)
            and all(a < b for a, b in itertools.pairwise(rounds))
            and all(option((0, 10**6, "above"), factor) for _, factor in value))  # fmt: skip


def options(table: dict[str, list[Any]], given: dict[str, Any], what: set[str]) -> dict[str, Any]:
    """What is given, with defaults; nothing else is there."""
    meant(not set(given) - set(table) - what)
    whole = {name: each[1] for name, each in table.items() if len(each) > 1} | given
    meant(all(name in whole and option(each[0], whole[name]) for name, each in table.items()))
    return whole


def meant(condition: object) -> None:
    """Refuse a description unless a condition holds."""
    need(condition, "description.malformed")


def description(case: dict[str, Any]) -> None:
    """CC-40 to CC-49."""
    given = case["description"]
    meant(isinstance(given, dict))
    top = {
        "input_shape": ["sizes"], "classes": ["size"], "batch": [range(1, 65537)],
        "loss": [("cross_entropy", "mse"), "cross_entropy"],
    }  # fmt: skip
    whole = options(top, given, {"version", "layers", "optimizer", "augment"})
    meant(type(whole.get("version")) is int and whole["version"] == 1)
    rate = whole.get("optimizer")
    meant(isinstance(rate, dict) and isinstance(rate.get("kind"), str))
    meant(rate["kind"] in OPTIMIZERS)
    options(OPTIMIZERS[rate["kind"]], rate, {"kind"})
    varied = whole.get("augment")
    if varied is not None:
        meant(isinstance(varied, dict) and len(whole["input_shape"]) == 3)
        if "pad" in varied:
            meant(type(varied["pad"]) is int and 0 <= varied["pad"] <= 256)
        options({"flip": ["flag", False]}, varied, {"pad"})
    layers = whole.get("layers")
    meant(isinstance(layers, list) and 1 <= len(layers) <= 512)
    shapes, unused, total = {"input": whole["input_shape"]}, {"input"}, 0
    for layer in layers:
        meant(isinstance(layer, dict) and isinstance(layer.get("kind"), str))
        meant(layer["kind"] in LAYERS)
        full = options(LAYERS[layer["kind"]], layer, {"kind", "name", "inputs"})
        name, inputs = full.get("name"), full.get("inputs")
        meant(isinstance(name, str) and re.fullmatch("[a-z][a-z0-9_]{0,63}", name))
        meant(name not in shapes and isinstance(inputs, list) and 1 <= len(inputs) <= 16)
        meant(all(isinstance(each, str) and each in shapes for each in inputs))
        meant((len(inputs) > 1) == (full["kind"] in ("add", "concatenate")))
        shape, size = computed(full, [shapes[each] for each in inputs])
        shapes[name], total = shape, total + size
        unused = (unused - set(inputs)) | {name}
    last = layers[-1]
    meant(unused == {last["name"]} and shapes[last["name"]] == [whole["classes"]])
    meant(whole["loss"] == "mse" or last.get("function") != "softmax")
    meant(total <= 2**30 and sum(map(math.prod, shapes.values())) <= 2**28)
    need(total == case.get("parameters"), "differs")
    found = {name: shape for name, shape in shapes.items() if name != "input"}
    need(found == case.get("output"), "differs")


def computed(layer: dict[str, Any], inputs: list[list[int]]) -> tuple[list[int], int]:
    """CC-43, CC-44: the shape of what comes out, and the number of parameters."""
    kind, shape = layer["kind"], inputs[0]
    channels = shape[-1]
    if kind.endswith("2d"):
        meant(len(shape) == 3)
    if kind == "dense":
        return [*shape[:-1], layer["units"]], (channels + layer["bias"]) * layer["units"]
    if kind == "conv2d":
        count, area = layer["filters"], math.prod(layer["kernel"])
        return [*slid(layer, shape), count], (area * channels + layer["bias"]) * count
    if kind == "depthwise_conv2d":
        count, area = layer["multiplier"] * channels, math.prod(layer["kernel"])
        return [*slid(layer, shape), count], (area + layer["bias"]) * count
    if kind in ("max_pool2d", "average_pool2d"):
        return [*slid(layer, shape), channels], 0
    if kind == "zero_pad2d":
        rows, columns = shape[0] + sum(layer["rows"]), shape[1] + sum(layer["columns"])
        return [rows, columns, channels], 0
    if kind == "add":
        meant(all(each == shape for each in inputs))
    if kind == "concatenate":
        meant(all(each[:-1] == shape[:-1] for each in inputs))
        return [*shape[:-1], sum(each[-1] for each in inputs)], 0
    if kind == "reshape":
        meant(math.prod(layer["shape"]) == math.prod(shape))
        return layer["shape"], 0
    shapes = {"flatten": [math.prod(shape)], "global_average_pool2d": [channels]}
    return shapes.get(kind, shape), channels * {"batch_norm": 4, "layer_norm": 2}.get(kind, 0)


def slid(layer: dict[str, Any], shape: list[int]) -> list[int]:
    """Rows and columns of places."""
    found = []
    for size, window, stride in zip(
        shape, layer["kernel" if "kernel" in layer else "pool"], layer["strides"], strict=False
    ):
        meant(layer["padding"] == "same" or window <= size)
        fits = size if layer["padding"] == "same" else size - window + 1
        found.append(math.ceil(fits / stride))
    return found


def main() -> int:
    """Read every vector; say which ones end otherwise than they should."""
    readers = {"message": message, "frames": frames, "description": description}
    agree = 0
    for path in sorted(HERE.glob("*.json")):
        case = json.loads(path.read_text("utf-8"))
        found = "ok"
        try:
            readers[case["kind"]](case)
        except RefusedError as e:
            found = str(e)
        if found == case["expect"]:
            agree += 1
        else:
            sys.stderr.write(f"{path.name}: {found} instead of {case['expect']}\n")
    sys.stdout.write(f"{agree} agree\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
