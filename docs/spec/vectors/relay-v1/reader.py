# ruff: noqa: ANN001, ANN201, D101, D103, S101
"""A second reader of relay-v1, written from its page alone; checks every vector beside it.

Exits with the vectors that it judges otherwise than they expect.
"""

import json
import sys
from pathlib import Path


class Bad(Exception):  # noqa: N818
    pass


def need(holds, code="message.malformed"):
    if not holds:
        raise Bad(code)


def greeting(case):
    message = bytes.fromhex(case["message"])
    need(len(message) == 4 and message[0] == 1 and message[1] == 0)  # RLY-10, RLY-13
    port = message[2] * 256 + message[3]
    need(port != 0)  # RLY-11
    return {"port": port}


def answer(case):
    message = bytes.fromhex(case["message"])
    need(len(message) == 4 and message[0] == 1 and message[2:] == b"\0\0")  # RLY-12
    need(message[1] <= 3)
    return {"code": message[1]}


def instance(case):
    index, dot, rest = case["instance"].partition(".")
    need(dot == "." and 8 <= len(rest) <= 60 and set(rest) <= set("0123456789abcdef"), PEER)
    need(index != "" and set(index) <= set("0123456789") and str(int(index)) == index, PEER)
    need(int(index) <= 999, PEER)
    return {"index": int(index)}


PEER = "identity.peer"


def bytes_of(piece):
    if "hex" in piece:
        return bytes.fromhex(piece["hex"])
    return piece["letter"].encode() * piece["length"]


def frames(case):
    data = b"".join(map(bytes_of, case["pieces"]))
    out, mark = b"", "open"
    while len(data) >= 4:
        size = int.from_bytes(data[:4], "big")
        data = data[4:]
        if size == 0xFFFFFFFF:  # RLY-23
            mark = "aborted"
            break
        need(mark == "open")  # RLY-22
        if size == 0:  # RLY-21
            mark = "ended"
            continue
        need(size <= 1 << 20)  # RLY-20
        out += data[:size]
        data = data[size:]
    if len(out) < 100:
        return {"mark": mark, "data": out.decode()}
    assert set(out) == {out[0]}
    return {"mark": mark, "letter": chr(out[0]), "length": len(out)}


KINDS = {"greeting": greeting, "answer": answer, "instance": instance, "frames": frames}


def main():
    wrong = []
    for path in sorted(Path(__file__).parent.glob("*.json")):
        case = json.loads(path.read_text("utf-8"))
        try:
            found = KINDS[case["kind"]](case) | {"outcome": "ok"}
        except Bad as e:
            found = {"outcome": str(e)}
        told = {key: case[key] for key in case.keys() - {"clause", "kind", "comment"}}
        inputs = {"message", "instance", "pieces"}
        if found != {key: told[key] for key in told.keys() - inputs}:
            wrong.append(f"{path.name}: {found}")
    return wrong


if __name__ == "__main__":
    sys.exit("\n".join(main()) or None)
