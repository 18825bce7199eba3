# ruff: noqa: ANN001, ANN002, ANN201
# ruff: noqa: D101, D103, S101
"""A second reader of release-log-v1, written from its page alone; checks every vector beside it."""

import base64
import hashlib
import io
import json
import re
import sys
from pathlib import Path

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

BAD, PROOF, FEW, SIZES = "message.malformed", "log.proof", "log.witnesses", "log.rolled-back"
NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class Bad(Exception):  # noqa: N818
    pass


def need(condition, code):
    if not condition:
        raise Bad(code)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text, code=BAD):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as e:
        raise Bad(code) from e
    need(base64.b64encode(data).decode() == text, code)
    return data


def number(text):
    need(NUMBER.fullmatch(text) and int(text) < 1 << 63, BAD)
    return int(text)


def holds(key, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def cbor(data, limit):
    need(len(data) <= limit, "wire.too-large")
    stream = io.BytesIO(data)
    try:
        value = cbor2.load(stream)
        need(cbor2.dumps(value, canonical=True) == data, "wire.malformed")
    except (cbor2.CBORDecodeError, EOFError, ValueError) as e:
        raise Bad("wire.malformed") from e
    return value


def fields(value, table):
    need(isinstance(value, dict) and set(value) == set(table), BAD)
    for name, check in table.items():
        if isinstance(check, int):
            need(type(value[name]) is bytes and len(value[name]) == check, BAD)
        elif isinstance(check, tuple):
            need(type(value[name]) is str and len(value[name]) <= check[0], BAD)
        else:
            need(check(value[name]), BAD)


def whole(value):
    return type(value) is int and 0 <= value < 1 << 63


def leaf(data):  # RL-1 to RL-3
    value = cbor(data, 4096)
    need(isinstance(value, dict) and type(value.get("operation")) is str, BAD)
    first = {"version": lambda v: type(v) is int and v == 1, "operation": (64,)}
    if value["operation"] == "state":
        fields(value, first | {"sequence": whole, "digest": 32})
        return value
    texts = {"code": (64,), "subject": (256,), "instance": (64,)}
    fields(value, first | texts | {"at": whole, "policy": 32, "evidence": 32, "requester": 32})
    return value


def split(size):
    return 1 << (size - 1).bit_length() - 1


def root(hashes):  # RL-5
    if len(hashes) < 2:
        return hashes[0] if hashes else sha()
    half = split(len(hashes))
    return sha(b"\1", root(hashes[:half]), root(hashes[half:]))


def climbed(found, index, size, proof):  # RL-6
    if size == 1:
        need(not proof, PROOF)
        return found
    need(proof, PROOF)
    half, last = split(size), proof[-1]
    if index < half:
        return sha(b"\1", climbed(found, index, half, proof[:-1]), last)
    return sha(b"\1", last, climbed(found, index - half, size - half, proof[:-1]))


def grown(old_root, old, size, proof, *, top=True):  # RL-6
    if old == size:
        need(len(proof) == (0 if top else 1), PROOF)
        return (old_root, old_root) if top else (proof[0], proof[0])
    need(proof, PROOF)
    half, last = split(size), proof[-1]
    if old <= half:
        before, after = grown(old_root, old, half, proof[:-1], top=top)
        return before, sha(b"\1", after, last)
    before, after = grown(old_root, old - half, size - half, proof[:-1], top=False)
    return sha(b"\1", last, before), sha(b"\1", last, after)


def extends(old_root, old, new_root, size, proof):
    need(0 < old <= size, PROOF)
    need(grown(old_root, old, size, proof) == (old_root, new_root), PROOF)


def name_of(text):
    need(text and text.isprintable() and not re.search(r"[\s+]", text), BAD)
    return text


def note(text):  # RL-10, RL-11
    body, gap, tail = text.partition("\n\n")
    need(gap and tail.endswith("\n") and len(text.encode()) <= 4096, BAD)
    lines = []
    for each in tail[:-1].split("\n"):
        parts = each.split(" ")
        need(len(parts) == 3 and parts[0] == "\u2014", BAD)
        blob = unbase64(parts[2])
        need(len(blob) > 4, BAD)
        lines.append((name_of(parts[1]), blob[:4], blob[4:]))
    return body + "\n", lines


def checkpoint(text, service, origin):  # RL-10, RL-12
    body, lines = note(text)
    parts = body.split("\n")
    need(len(parts) == 4, BAD)
    found = (name_of(parts[0]), number(parts[1]), unbase64(parts[2]))
    need(len(found[2]) == 32, BAD)
    ours = (origin, sha(origin.encode(), b"\n\1", service)[:4])
    need(found[0] == origin, "identity.keyservice")
    signatures = [signature for name, key_id, signature in lines if (name, key_id) == ours]
    need(signatures and holds(service, body.encode(), signatures[0]), "identity.keyservice")
    return found[1:]


def witness_key(text):  # RL-14
    match = re.fullmatch(r"([^+]{1,64})\+([0-9a-f]{8})\+(.{44})", text)
    need(match, BAD)
    blob = unbase64(match[3])
    need(len(blob) == 33 and blob[0] == 4, BAD)
    need(sha(name_of(match[1]).encode(), b"\n", blob)[:4].hex() == match[2], BAD)
    return match[1], bytes.fromhex(match[2]), blob[1:]


def quorum(text, witnesses, required):  # RL-13, RL-15
    body, lines = note(text)
    count = 0
    for name, key_id, key in map(witness_key, witnesses):
        stamped = [each[2] for each in lines if each[:2] == (name, key_id)]
        for each in stamped:
            at = int.from_bytes(each[:8], "big")
            message = f"cosignature/v1\ntime {at}\n{body}".encode()
            need(len(each) == 72 and at < 1 << 63 and holds(key, message, each[8:]), FEW)
        count += bool(stamped)
    need(count >= required, FEW)


def receipt(data, service, origin):  # RL-20
    value = cbor(data, 16384)
    nodes = {"proof": lambda v: type(v) is list and len(v) <= 64}
    texts = {"checkpoint": (4096,), "entry": lambda v: type(v) is bytes and len(v) <= 4096}
    fields(value, nodes | texts | {"index": whole})
    need(all(type(node) is bytes and len(node) == 32 for node in value["proof"]), BAD)
    size, tree = checkpoint(value["checkpoint"], service, origin)
    need(value["index"] < size, PROOF)
    found = climbed(sha(b"\0", value["entry"]), value["index"], size, value["proof"])
    need(found == tree, PROOF)
    need(leaf(value["entry"])["operation"] != "state", BAD)


def mirror(case, service, origin):  # RL-50 to RL-56, in their order
    size, tree = checkpoint(case["checkpoint"], service, origin)
    receipts = [bytes.fromhex(each) for each in case["receipts"]]
    texts = case["notes"] + [cbor(each, 16384)["checkpoint"] for each in receipts]
    older = [checkpoint(each, service, origin) for each in texts]
    leaves = [unbase64(line, PROOF) for line in case["entries"].split("\n")[:-1][:size]]
    need(all(0 < len(each) <= 4096 for each in leaves), PROOF)
    need(len(leaves) == size, "log.truncated")
    hashes = [sha(b"\0", each) for each in leaves]
    need(root(hashes) == tree, PROOF)
    for old, old_root in older:
        need(old <= size, SIZES)
        need(root(hashes[:old]) == old_root, "log.forked")
    for each in receipts:
        receipt(each, service, origin)
    numbers = [each["sequence"] for each in map(leaf, leaves) if each["operation"] == "state"]
    need(numbers == sorted(set(numbers)), SIZES)
    quorum(case["checkpoint"], case["witnesses"], case["quorum"])


def answer(case):  # RL-40 to RL-43
    text, held = case["request"], case["held"]
    if len(text.encode()) > 16384:
        return "413", ""
    try:
        head, gap, rest = text.partition("\n\n")
        first, *nodes = head.split("\n")
        need(gap and first.startswith("old ") and len(nodes) <= 63, BAD)
        old, proof = number(first[4:]), [unbase64(node) for node in nodes]
        need(all(len(node) == 32 for node in proof), BAD)
        origin = note(rest)[0].split("\n")[0]
        if origin != case["origin"]:
            return "404", ""
        size, tree = checkpoint(rest, bytes.fromhex(case["service"]), origin)
    except Bad as e:
        return ("403" if str(e) == "identity.keyservice" else "400"), ""
    if old > size:
        return "400", ""
    if old != held["size"] or (old == size and tree.hex() != held["root"]):
        return "409", f"{held['size']}\n"
    try:
        need(old or not proof, PROOF)
        if old:
            extends(bytes.fromhex(held["root"]), old, tree, size, proof)
    except Bad:
        return "422", ""
    key, body, at = (
        Ed25519PrivateKey.from_private_bytes(bytes.fromhex(case["seed"])),
        note(rest)[0],
        case["at"],
    )
    key_id = sha(case["witness"].encode(), b"\n\4", key.public_key().public_bytes_raw())[:4]
    signature = key.sign(f"cosignature/v1\ntime {at}\n{body}".encode())
    blob = base64.b64encode(key_id + at.to_bytes(8, "big") + signature).decode()
    return "ok", f"\u2014 {case['witness']} {blob}\n"


def outcome(case):
    service, origin = bytes.fromhex(case.get("service", "")), case.get("origin")
    kind = case["kind"]
    try:
        if kind == "leaf":
            leaf(bytes.fromhex(case["leaf"]))
        elif kind == "note":
            checkpoint(case["note"], service, origin)
            quorum(case["note"], case["witnesses"], case["quorum"])
        elif kind == "key":
            witness_key(case["key"])
        elif kind == "receipt":
            receipt(bytes.fromhex(case["receipt"]), service, origin)
        elif kind == "consistency":
            roots = (bytes.fromhex(case["old_root"]), case["old_size"], bytes.fromhex(case["root"]))
            extends(*roots, case["size"], [bytes.fromhex(node) for node in case["proof"]])
        elif kind == "mirror":
            mirror(case, service, origin)
        else:
            status, body = answer(case)
            assert body == case["answer"]
            return status
    except Bad as e:
        return str(e)
    return "ok"


def main():
    paths = sorted(Path(__file__).parent.glob("*.json"))
    wrong = []
    for path in paths:
        case = json.loads(path.read_text())
        if outcome(case) != case["expect"]:
            wrong.append(f"{path.stem}: {outcome(case)} instead of {case['expect']}")
    print(*wrong, f"{len(paths) - len(wrong)} of {len(paths)} vectors agree", sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
