"""Changes of good bytes, the same in every run: of any bytes, and of what is written in a format.

Each yields a label and the changed bytes, which always differ from the good ones.
"""

from __future__ import annotations

import base64
import json
import random  # noqa: TID251  # seeded, picks what is changed
import re
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["ORDERS", "Mutant", "mutants", "twin"]

Mutant = tuple[str, bytes]
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----\n(.*?)-----END \1-----\n?", re.DOTALL)
ORDERS: Final = {
    32: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    48: int(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
        "581a0db248b0a77aecec196accc52973",
        16,
    ),
}
_KEY_BLOCK: Final = b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"


def mutants(data: bytes, *, count: int, seed: int) -> Iterator[Mutant]:
    """Yield about `count` changes of bytes: half of them blind, half by the format they have."""
    chance = random.Random(seed)
    formed = [each for each in _formed(data, chance) if each[1] != data]
    chance.shuffle(formed)
    formed = formed[: count // 2]
    yield from formed
    for _ in range(count - len(formed)):
        label, changed = _blind(data, chance)
        if changed != data:
            yield label, changed


def twin(signature: bytes) -> bytes:
    """Return the other signature that every verifier of ECDSA takes for the same: r and n - s."""
    width = len(signature) // 2
    s = int.from_bytes(signature[width:])
    return signature[:width] + (ORDERS[width] - s).to_bytes(width)


def _blind(data: bytes, chance: random.Random) -> Mutant:  # noqa: C901  # one branch a kind
    at = chance.randrange(len(data))
    end = min(len(data), at + 1 + chance.randrange(24))
    other = chance.randrange(len(data))
    size = end - at
    kind = chance.choice(("flip", "flip", "flip", "set", "cut", "drop", "double", "swap", "zero",
                          "insert", "length", "append", "prepend"))  # fmt: skip
    piece = data[at:end]
    if kind == "flip":
        changed = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    elif kind == "set":
        changed = data[:at] + bytes([chance.choice((0, 0xFF, 0x20, 0x0A, 0x80))]) + data[at + 1 :]
    elif kind == "cut":
        changed = data[:at]
    elif kind == "drop":
        changed = data[:at] + data[end:]
    elif kind == "double":
        changed = data[:end] + piece + data[end:]
    elif kind == "swap":
        low, high = sorted((at, other))
        size = min(size, high - low, len(data) - high)
        changed = (
            data[:low]
            + data[high : high + size]
            + data[low + size : high]
            + data[low : low + size]
            + data[high + size :]
        )
    elif kind == "zero":
        changed = data[:at] + bytes(size) + data[end:]
    elif kind == "insert":
        changed = data[:at] + chance.randbytes(1 + chance.randrange(8)) + data[at:]
    elif kind == "length":
        order: Any = chance.choice(("big", "little"))
        number = int.from_bytes(data[at : at + 2], order) + chance.choice((-1, 1, 255, 256))
        changed = data[:at] + (number & 0xFFFF).to_bytes(2, order) + data[at + 2 :]
    elif kind == "append":
        changed = data + chance.choice((b"\0", b"\n", b" ", b"\xff", bytes(16), piece, data))
    else:
        changed = chance.choice((b"\0", b"\n", b" ", b"\xef\xbb\xbf", piece)) + data
    return kind, changed


def _formed(data: bytes, chance: random.Random) -> list[Mutant]:
    found: list[Mutant] = []
    if b"-----BEGIN" in data and data[:1] not in b"{[":
        found += _pem(data, chance)
    if data.lstrip()[:1] in (b"{", b"["):
        found += _json(data, chance)
    if data[:1] == b"0":
        found += [(f"der {label}", der) for label, der in _der(data, chance)]
    if data.lstrip()[:1] == b"<":
        found += _xml(data, chance)
    return found


def _pem(data: bytes, chance: random.Random) -> Iterator[Mutant]:
    """Change PEM text, wherever in the data it stands; lengths around it stay as they were."""
    blocks = list(_PEM.finditer(data))
    if not blocks:
        return
    first, last = blocks[0], blocks[-1]
    before, text, after = (
        data[: first.start()],
        data[first.start() : last.end()],
        data[last.end() :],
    )
    each = [match.group(0) for match in blocks]
    yield "pem crlf", before + text.replace(b"\n", b"\r\n") + after
    yield "pem words before", before + b"some words\n" + text + after
    yield "pem words between", before + (b"words\n").join(each) + after
    yield "pem words after", before + text + b"words\n" + after
    yield "pem other block", before + _KEY_BLOCK + text + after
    yield "pem other block after", before + text + _KEY_BLOCK + after
    yield "pem header", before + text.replace(b"-----\n", b"-----\nProc-Type: 4\n\n", 1) + after
    yield "pem label", before + text.replace(b"CERTIFICATE", b"X509 CERTIFICATE") + after
    yield "pem trusted", before + text.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE") + after
    yield "pem end label", before + text.replace(b"END ", b"END_") + after
    yield "pem blank lines", before + text.replace(b"\n", b"\n\n") + after
    yield "pem spaces", before + text.replace(b"\n", b" \n") + after
    yield "pem backwards", before + b"".join(reversed(each)) + after
    yield "pem first twice", before + each[0] + text + after
    yield "pem last twice", before + text + each[-1] + after
    yield "pem without last", before + b"".join(each[:-1]) + after
    yield "pem without first", before + b"".join(each[1:]) + after
    yield "pem one line", before + b"".join(_reflowed(block, 10**6) for block in blocks) + after
    yield "pem narrow", before + b"".join(_reflowed(block, 32) for block in blocks) + after
    yield "pem no end of line", before + text.rstrip(b"\n") + after
    for number, block in enumerate(blocks):
        der = base64.b64decode(block.group(2))
        for label, changed in _der(der, chance):
            inner = base64.b64encode(changed)
            lines = [inner[at : at + 64] for at in range(0, len(inner), 64)]
            name = block.group(1)
            made = b"\n".join(
                [b"-----BEGIN " + name + b"-----", *lines, b"-----END " + name + b"-----", b""]
            )
            yield (
                f"pem der {label}",
                before
                + b"".join(made if n == number else one for n, one in enumerate(each))
                + after,
            )


def _reflowed(block: re.Match[bytes], width: int) -> bytes:
    text = block.group(2).replace(b"\n", b"")
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    name = block.group(1)
    return b"\n".join(
        [b"-----BEGIN " + name + b"-----", *lines, b"-----END " + name + b"-----", b""]
    )


def _der(data: bytes, chance: random.Random) -> Iterator[Mutant]:
    """Write one element of DER in another way of BER, with the lengths around it put right."""
    try:
        tree = _elements(data)
    except ValueError:
        return
    yield "trailing", data + b"\0"
    for _ in range(4):
        for label, change in (
            ("long length", _long_length), ("indefinite", _indefinite), ("padded", _padded),
            ("truth", _truth), ("twice", _twice), ("gone", _gone), ("constructed", _constructed),
        ):  # fmt: skip
            changed = _rewritten(tree, change, chance)
            if changed is not None:
                yield label, changed


_Node = tuple[int, bytes, list[Any]]  # tag, content where primitive, children where constructed


def _elements(data: bytes) -> list[_Node]:
    found: list[_Node] = []
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1] if at + 1 < len(data) else 0x80, at + 2
        if length >= 0x80:
            size = length - 0x80
            if not 0 < size < 4:
                raise ValueError("not DER")
            length, at = int.from_bytes(data[at : at + size]), at + size
        content = data[at : at + length]
        if len(content) != length:
            raise ValueError("not DER")
        children = _elements(content) if tag & 0x20 else []
        found.append((tag, content, children))
        at += length
    return found


def _written(node: _Node) -> bytes:
    tag, content, children = node
    body = b"".join(_written(each) for each in children) if tag & 0x20 else content
    return _head(tag, len(body)) + body


def _head(tag: int, length: int) -> bytes:
    if length < 0x80:
        return bytes([tag, length])
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 + size]) + length.to_bytes(size)


def _rewritten(tree: list[_Node], change: Any, chance: random.Random) -> bytes | None:
    """Apply a change to one element that it is possible for."""
    places: list[tuple[list[_Node], int]] = []

    def walk(nodes: list[_Node]) -> None:
        for number, node in enumerate(nodes):
            places.append((nodes, number))
            walk(node[2])

    walk(tree)
    chance.shuffle(places)
    for nodes, number in places:
        new = change(nodes[number])
        if new is None:
            continue

        def rebuilt(level: list[_Node], target: list[_Node], at: int, bytes_: bytes) -> bytes:
            parts = []
            for n, node in enumerate(level):
                if level is target and n == at:
                    parts.append(bytes_)
                elif node[0] & 0x20:
                    body = rebuilt(node[2], target, at, bytes_)
                    parts.append(_head(node[0], len(body)) + body)
                else:
                    parts.append(_written(node))
            return b"".join(parts)

        return rebuilt(tree, nodes, number, new)
    return None


def _long_length(node: _Node) -> bytes | None:
    body = _written(node)
    content = body[len(_head(node[0], 0)) :] if len(body) < 0x80 else None
    if content is None:
        length = body[1] - 0x80
        return bytes([node[0], body[1] + 1, 0]) + body[2 : 2 + length] + body[2 + length :]
    return bytes([node[0], 0x81, len(content)]) + content


def _indefinite(node: _Node) -> bytes | None:
    if not node[0] & 0x20:
        return None
    return bytes([node[0], 0x80]) + b"".join(_written(each) for each in node[2]) + b"\0\0"


def _padded(node: _Node) -> bytes | None:
    if node[0] not in (0x02, 0x0A):
        return None
    fill = b"\xff" if node[1][:1] >= b"\x80" else b"\0"
    return _head(node[0], len(node[1]) + 1) + fill + node[1]


def _truth(node: _Node) -> bytes | None:
    return b"\x01\x01\x01" if node[0] == 0x01 else None


def _twice(node: _Node) -> bytes | None:
    return _written(node) * 2


def _gone(node: _Node) -> bytes | None:
    return b""


def _constructed(node: _Node) -> bytes | None:
    """A string in two pieces, as BER allows."""
    if node[0] not in (0x04, 0x0C, 0x13) or len(node[1]) < 2:
        return None
    inner = b"".join(_head(node[0], len(part)) + part for part in (node[1][:1], node[1][1:]))
    return _head(node[0] | 0x20, len(inner)) + inner


def _json(data: bytes, chance: random.Random) -> Iterator[Mutant]:
    try:
        value = json.loads(data)
    except ValueError:
        return
    text = data.decode()
    yield "json spaces before", b" " + data
    yield "json spaces after", data + b"\n "
    yield "json bom", b"\xef\xbb\xbf" + data
    yield "json utf-16", text.encode("utf-16")
    yield "json indented", json.dumps(value, indent=3).encode()
    yield "json compact", json.dumps(value, separators=(",", ":")).encode()
    yield "json colon spaces", json.dumps(value, separators=(" ,", " : ")).encode()
    yield "json backwards", json.dumps(_backwards(value)).encode()
    yield "json twice", data + data
    yield "json comment", data + b"// words"
    yield "json list", b"[" + data + b"]"
    strings = list(re.finditer(r'"(?:[^"\\]|\\.)+"', text))
    for match in chance.sample(strings, min(24, len(strings))):
        start, end = match.span()
        word = text[start:end]
        yield "json escape", f'{text[:start]}"\\u{ord(word[1]):04x}{word[2:]}{text[end:]}'.encode()
        yield "json upper", (text[:start] + word.upper() + text[end:]).encode()
        yield "json space within", (text[:start] + word[:-1] + ' "' + text[end:]).encode()
        yield "json line within", (text[:start] + word[:-1] + '\\n"' + text[end:]).encode()
        yield "json padding", (text[:start] + word[:-1] + '="' + text[end:]).encode()
    for match in chance.sample(found := list(re.finditer(r"[{,]", text)), min(8, len(found))):
        at = match.end()
        yield "json twice first", f'{text[:at]}"version":1,{text[at:]}'.encode()
    if isinstance(value, dict):
        for name in list(value):
            one = json.dumps({name: value[name]})[1:-1]
            body = json.dumps(value)
            yield "json member twice", f"{{{one}, {body[1:]}".encode()
            yield "json member null", json.dumps(value | {name: None}).encode()
            yield (
                "json member gone",
                json.dumps({n: v for n, v in value.items() if n != name}).encode(),
            )
            yield "json member listed", json.dumps(value | {name: [value[name]]}).encode()
        yield "json member more", json.dumps(value | {"more": 1}).encode()
    for match in chance.sample(found := list(re.finditer(r"\b\d+\b", text)), min(8, len(found))):
        start, end = match.span()
        yield "json float", f"{text[:end]}.0{text[end:]}".encode()
        yield "json exponent", f"{text[:end]}e0{text[end:]}".encode()
        yield "json zero", f"{text[:start]}0{text[start:]}".encode()


def _backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _backwards(value[name]) for name in reversed(value)}
    return [_backwards(each) for each in value] if isinstance(value, list) else value


def _xml(data: bytes, chance: random.Random) -> Iterator[Mutant]:
    yield "xml declaration", b'<?xml version="1.0"?>' + data
    yield "xml comment", data.replace(b"><", b"><!-- words --><", 1)
    yield "xml doctype", b"<!DOCTYPE a>" + data
    yield "xml spaces before", b"\n" + data
    yield "xml spaces after", data + b"\n\n"
    yield "xml twice", data + data
    yield "xml entity", data.replace(b"NVIDIA", b"&#78;VIDIA", 1)
    tags = list(re.finditer(rb"<[A-Za-z0-9:]+ [^>]*>", data))
    for match in chance.sample(tags, min(16, len(tags))):
        start, end = match.span()
        tag = match.group(0)
        yield "xml spaces in tag", data[:start] + tag.replace(b" ", b"  ", 1) + data[end:]
        yield "xml quotes", data[:start] + tag.replace(b'"', b"'") + data[end:]
        yield (
            "xml attribute twice",
            data[:start] + re.sub(rb"( [^ ]+$)", rb"\1\1", tag) + data[end:],
        )
        yield "xml tag twice", data[:end] + tag + data[end:]
        yield "xml tag gone", data[:start] + data[end:]
        yield "xml text", data[:end] + b"words" + data[end:]
        yield "xml blank", data[:end] + b"\n  " + data[end:]
        yield "xml case", data[:start] + tag.swapcase() + data[end:]
