"""Write the vectors of partition-plan-v1 beside this file; a second run changes nothing.

Uses cbor2 and cryptography alone, nothing of the package.
"""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).parent
LABEL = b"cloister/partition-plan-signature/v1"
OWNER, EVE = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (17, 19))
BAD, SIGNER, TAMPERED = "plan.malformed", "package.signer", "package.tampered"
DECODER = "decoder.ssim.worst_decile<=0.25"


def public(key: Ed25519PrivateKey) -> bytes:
    """Return the 32 public bytes."""
    return key.public_key().public_bytes_raw()


def framed(*parts: bytes) -> bytes:
    """Frame a label and parts as report-data-binding-v1 says."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def canonical(value: Any) -> bytes:
    """Return canonical CBOR."""
    return cbor2.dumps(value, canonical=True)


def sha256(data: bytes) -> bytes:
    """Return the digest."""
    return hashlib.sha256(data).digest()


def write(name: str, clause: str, comment: str, **facts: Any) -> None:
    """Write one vector."""
    text = json.dumps({"comment": comment, "clause": clause} | facts, indent=1) + "\n"
    (HERE / f"{name}.json").write_text(text, "utf-8")


def info(name: str, *shape: int) -> dict[str, Any]:
    """Return a tensor."""
    return {"name": name, "datatype": "float32", "shape": list(shape or (-1, 8))}


def part(role: str, begin: str, end: str) -> dict[str, Any]:
    """Return a part whose file is a short text."""
    data = FILES[f"{role}.onnx"]
    return {
        "role": role,
        "format": "onnx",
        "sha256": sha256(data),
        "size": len(data),
        "inputs": [info(begin)],
        "outputs": [info(end)],
    }


FILES = {
    "front.onnx": b"what is in front",
    "middle.onnx": b"what is exposed",
    "back.onnx": b"what is behind",
    "labels.json": json.dumps(
        {"format": "cloister/labels/v1", "salt": "5a" * 32, "labels": ["zero", "one"]}
    ).encode(),
}
REPORT = json.loads((HERE.parent / "leakage-report-v1" / "ok.json").read_text("utf-8"))["text"]
GOOD: dict[str, Any] = {
    "format": "cloister/partition-plan/v1",
    "name": "sample",
    "made": 1_800_000_100,
    "model_sha256": bytes.fromhex("9f" * 32),
    "model_format": "onnx",
    "inputs": [info("t0")],
    "outputs": [info("t4")],
    "front": {"position": 2, "tensors": ["t2"]},
    "back": {"position": 3, "tensors": ["t3"]},
    "parts": [part("front", "t0", "t2"), part("middle", "t2", "t3"), part("back", "t3", "t4")],
    "labels_sha256": sha256(FILES["labels.json"]),
    "equality": {"runtime": "onnx", "trials": 8, "worst": "0.0", "bound": "0.0"},
    "report_sha256": sha256(REPORT.encode()),
    "thresholds": [DECODER],
    "signer": public(OWNER),
}
Change = Callable[[dict[str, Any]], Any]


def signed(plan: dict[str, Any], key: Ed25519PrivateKey = OWNER, **outer: Any) -> bytes:
    """Return a plan's file."""
    said = canonical(plan)
    signature = key.sign(framed(LABEL, said))
    return canonical({"version": 1, "plan": said, "signature": signature} | outer)


def changed(change: Change) -> dict[str, Any]:
    """Return the good plan after a change."""
    plan = copy.deepcopy(GOOD)
    change(plan)
    return plan


def plan(name: str, clause: str, comment: str, data: bytes, expect: str) -> None:
    """Write one plan."""
    signers = [public(OWNER).hex()]
    write(name, clause, comment, signed=data.hex(), signers=signers, expect=expect)


def bad(name: str, clause: str, comment: str, change: Change) -> None:
    """Write a plan that its owner signed and nobody takes."""
    plan(name, clause, comment, signed(changed(change)), BAD)


def package(name: str, clause: str, comment: str, expect: str, **more: Any) -> None:
    """Write one package, of which files are exchanged or taken away."""
    facts = {"thresholds": [DECODER], "exposed": {}, "secret": {}} | more
    exposed = {
        "plan.cbor": signed(GOOD),
        "report.json": REPORT.encode(),
        "middle.onnx": FILES["middle.onnx"],
    } | facts["exposed"]
    secret = {"plan.cbor": signed(GOOD)} | {
        each: data for each, data in FILES.items() if each != "middle.onnx"
    }
    secret |= facts["secret"]
    write(
        name,
        clause,
        comment,
        signers=[public(OWNER).hex()],
        thresholds=facts["thresholds"],
        exposed={each: data.hex() for each, data in exposed.items() if data is not None},
        secret={each: data.hex() for each, data in secret.items() if data is not None},
        expect=expect,
    )


def labels(name: str, clause: str, comment: str, data: bytes, expect: str) -> None:
    """Write one file of labels."""
    write(name, clause, comment, labels=data.hex(), expect=expect)


plan("ok", "PP-3", "three parts and labels", signed(GOOD), "ok")
ENDS = changed(lambda p: [
    p.pop("back"), p.pop("labels_sha256"),
    p.update(parts=[part("front", "t0", "t2"), part("middle", "t2", "t4")])])  # fmt: skip
plan("ok-to-the-end", "PP-3", "no back part, no labels", signed(ENDS), "ok")
BESIDE = changed(lambda p: [
    p["front"].update(tensors=["t2", "s"]), p["back"].update(tensors=["s", "t3"]),
    p["parts"][0]["outputs"].append(info("s")),
    p["parts"][2]["inputs"].append(info("s"))])  # fmt: skip
plan("ok-beside", "PP-14", "a tensor passes by the middle", signed(BESIDE), "ok")
plan("version", "PP-1", "another version", signed(GOOD, version=2), BAD)
plan("outer-more", "PP-1", "a key too many", signed(GOOD, note=""), BAD)
plan("trailing", "PP-1", "a byte behind", signed(GOOD) + b"\0", "wire.malformed")
plan("cut-short", "PP-1", "a byte less", signed(GOOD)[:-1], "wire.malformed")
plan("not-canonical", "PP-1", "a number in a long form", b"\xa3" + b"".join(
    canonical(key) + (b"\x18\x01" if key == "version" else canonical(value))
    for key, value in sorted(cbor2.loads(signed(GOOD)).items(), key=lambda e: canonical(e[0]))),
    "wire.malformed")  # fmt: skip
plan("other-signature", "PP-11", "somebody else's signature", signed(GOOD, EVE), SIGNER)
plan("no-signature", "PP-11", "zeros", signed(GOOD, signature=bytes(64)), SIGNER)
LABELLED = OWNER.sign(framed(b"cloister/another/v1", canonical(GOOD)))
plan("label", "PP-11", "another label", signed(GOOD, signature=LABELLED), SIGNER)
plan("stranger", "PP-10", "whole, by somebody who is not expected",
     signed(changed(lambda p: p.update(signer=public(EVE))), EVE), SIGNER)  # fmt: skip
write("nobody", "PP-10", "no signer is expected", signed=signed(GOOD).hex(), signers=[],
      expect=SIGNER)  # fmt: skip
bad("format", "PP-3", "another format", lambda p: p.update(format="cloister/partition-plan/v2"))
bad("more", "PP-12", "a field that nobody knows", lambda p: p.update(unchecked=True))
bad("less", "PP-3", "no report", lambda p: p.pop("report_sha256"))
bad("name", "PP-3", "a name that breaks a line", lambda p: p.update(name="a\nb"))
bad("model-format", "PP-3", "another kind of model", lambda p: p.update(model_format="pickle"))
bad("parts-order", "PP-4", "back first", lambda p: p["parts"].reverse())
bad("parts-missing", "PP-4", "no middle", lambda p: p["parts"].pop(1))
bad("parts-back", "PP-4", "a back part without its cut", lambda p: p.pop("back"))
bad("parts-formats", "PP-4", "two formats", lambda p: p["parts"][1].update(format="litert"))
bad("part-empty", "PP-4", "a part of nothing", lambda p: p["parts"][0].update(size=0))
bad("part-large", "PP-4", "above 2 GiB", lambda p: p["parts"][0].update(size=2**31 + 1))
bad("tensor-twice", "PP-5", "a name twice", lambda p: p["inputs"].append(info("t0")))
bad("tensor-size", "PP-5", "a size below -1", lambda p: p.update(inputs=[info("t0", -2, 8)]))
bad("tensor-rank", "PP-5", "nine axes", lambda p: p.update(inputs=[info("t0", *[1] * 9)]))
bad("tensor-flag", "PP-5", "a size that is a flag", lambda p: p["inputs"][0].update(shape=[True]))
bad("cut-empty", "PP-6", "nothing crosses", lambda p: p["front"].update(tensors=[]))
bad("cut-twice", "PP-6", "a name twice", lambda p: p["front"].update(tensors=["t2", "t2"]))
bad("front-zero", "PP-7", "nothing in front", lambda p: p["front"].update(position=0))
bad("back-first", "PP-7", "ends where it begins", lambda p: p["back"].update(position=2))
bad("differs", "PP-8", "above its bound", lambda p: p["equality"].update(worst="1e-07"))
bad("spelling", "PP-8", "another spelling of 0", lambda p: p["equality"].update(worst="0"))
bad("minus", "PP-8", "zero with a sign", lambda p: p["equality"].update(worst="-0.0"))
bad("trials", "PP-8", "never compared", lambda p: p["equality"].update(trials=0))
bad("thresholds-none", "PP-9", "no thresholds", lambda p: p.update(thresholds=[]))
bad("thresholds-form", "PP-9", "a zero too many", lambda p: p.update(thresholds=[DECODER + "0"]))
bad("thresholds-way", "PP-9", "asks for leaks", lambda p: p.update(
    thresholds=["decoder.ssim.mean>=0.1"]))  # fmt: skip
bad("input-crosses", "PP-13", "the input itself", lambda p: p["front"].update(tensors=["t2", "t0"]))
bad("middle-reads", "PP-14", "what did not cross", lambda p: p["parts"][1].update(
    inputs=[info("t1")]))  # fmt: skip
bad("middle-shape", "PP-14", "in another shape", lambda p: p["parts"][1].update(
    inputs=[info("t2", -1, 9)]))  # fmt: skip
bad("middle-replaces", "PP-14", "what the front made", lambda p: p["parts"][1].update(
    outputs=[info("t3"), info("t2")]))  # fmt: skip
bad("nobody-made", "PP-14", "it crosses", lambda p: p["back"].update(tensors=["t3", "t9"]))
bad("outputs", "PP-15", "no part gives it", lambda p: p.update(outputs=[info("t5")]))

package("package-ok", "PP-25", "both sides", "ok")
package("package-middle", "PP-24", "another middle of the same size", TAMPERED,
        exposed={"middle.onnx": b"what is EXPOSED"})  # fmt: skip
package("package-middle-short", "PP-24", "a byte less", TAMPERED,
        exposed={"middle.onnx": FILES["middle.onnx"][:-1]})  # fmt: skip
package("package-middle-none", "PP-24", "no middle", "config.missing",
        exposed={"middle.onnx": None})  # fmt: skip
package("package-report", "PP-24", "another report", TAMPERED,
        exposed={"report.json": REPORT.replace('"seed":7', '"seed":8').encode()})  # fmt: skip
OTHER = changed(lambda p: p.update(model_sha256=bytes(32)))
package("package-model", "PP-24", "a report about another model", "config.value",
        exposed={"plan.cbor": signed(OTHER)}, secret={"plan.cbor": signed(OTHER)})  # fmt: skip
ELSEWHERE = changed(lambda p: [
    p["front"].update(tensors=["u2"]), p["parts"][0].update(outputs=[info("u2")]),
    p["parts"][1].update(inputs=[info("u2")])])  # fmt: skip
package("package-tensors", "PP-24", "the report has other tensors there", "config.value",
        exposed={"plan.cbor": signed(ELSEWHERE)},
        secret={"plan.cbor": signed(ELSEWHERE)})  # fmt: skip
package("package-strict", "PP-26", "who opens it asks for more", "model.refused",
        thresholds=["decoder.ssim.worst_decile<=0.2"])  # fmt: skip
LAX = changed(lambda p: p.update(thresholds=["decoder.ssim.worst_decile<=0.2"]))
package("package-own", "PP-24", "its own thresholds do not hold", "model.refused",
        exposed={"plan.cbor": signed(LAX)}, secret={"plan.cbor": signed(LAX)})  # fmt: skip
OLDER = signed(changed(lambda p: p.update(made=1_700_000_000)))
package("package-older", "PP-25", "an older exposed side", TAMPERED, exposed={"plan.cbor": OLDER})
package("package-front", "PP-25", "another front", TAMPERED,
        secret={"front.onnx": b"what is IN front"})  # fmt: skip
package("package-swapped", "PP-25", "front and back changed places", TAMPERED, secret={
    "front.onnx": FILES["back.onnx"], "back.onnx": FILES["front.onnx"]})  # fmt: skip
package("package-labels", "PP-25", "other labels", TAMPERED,
        secret={"labels.json": FILES["labels.json"].replace(b"one", b"two")})  # fmt: skip
package("package-no-labels", "PP-25", "no labels", "config.missing", secret={"labels.json": None})

labels("labels-ok", "PP-22", "two labels", FILES["labels.json"], "ok")
LABELS: dict[str, Any] = {"format": "cloister/labels/v1", "salt": "5a" * 32, "labels": ["a"]}
for name, comment, change in (
    ("labels-format", "another version", {"format": "cloister/labels/v2"}),
    ("labels-salt", "a short salt", {"salt": "00"}),
    ("labels-none", "none", {"labels": []}),
    ("labels-empty", "an empty one", {"labels": [""]}),
    ("labels-line", "one with a line feed", {"labels": ["a\nb"]}),
    ("labels-more", "a key too many", {"more": 1}),
):
    labels(name, "PP-22", comment, json.dumps(LABELS | change).encode(), BAD)
