"""A second reader of composite-evidence-v1, written from the page.

The GPUs' part is judged by the second reader of nvidia-evidence-v1.
"""

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HERE = Path(__file__).parent
LABEL = b"cloister/composite-evidence/v1/"
SPEC = importlib.util.spec_from_file_location(
    "nvidia_reader", HERE.parent / "nvidia-evidence-v1" / "reader.py"
)
if SPEC is None or SPEC.loader is None:
    raise SystemExit("the reader of nvidia-evidence-v1 is not there")
nvidia = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(nvidia)
need = nvidia.need


def framed(*parts: bytes) -> bytes:
    """As in report-data-binding-v1."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def processor(part: dict[str, Any], anchors: list[str]) -> bytes:
    """Judge simulated evidence; returns its report data."""
    need(part["media_type"] == "application/vnd.cloister.sim+cbor", "evidence.kind")
    body = cbor2.loads(part["body"])
    report = cbor2.loads(body["report"])
    need(report["anchor"].hex() in anchors, "endorsement.anchor")
    try:
        Ed25519PublicKey.from_public_bytes(report["anchor"]).verify(
            body["signature"], framed(b"cloister/sim-evidence/v1/report", body["report"])
        )
    except InvalidSignature as e:
        raise nvidia.RefusedError("evidence.signature") from e
    return bytes(report["report_data"])


def accelerators(part: dict[str, Any], case: dict[str, Any]) -> bytes:
    """Judge the GPUs' evidence; returns the nonce that they signed."""
    body = {"media_type": part["media_type"], "body": part["body"].hex(), "endorsements": []}
    gpus = body | {"anchors": case["gpu_anchors"], "at": case["at"]}
    nvidia.read(gpus)
    return bytes(nvidia.parts(gpus, [])[0][2].nonce)


def read(case: dict[str, Any]) -> None:
    """Judge a composite."""
    kind = "application/vnd.cloister.composite+cbor"
    need(case["media_type"] == kind, "evidence.kind")
    whole = cbor2.loads(bytes.fromhex(case["body"]))
    need(whole["version"] == 1, "message.malformed")
    need({"cpu", "gpu"} <= set(whole), "evidence.parts")
    need(set(whole) == {"version", "cpu", "gpu"}, "message.malformed")
    report_data = processor(whole["cpu"], case["cpu_anchors"])
    nonce = accelerators(whole["gpu"], case)
    request = bytes.fromhex(case["request"])
    digest = hashlib.sha256(cbor2.dumps(whole["gpu"], canonical=True)).digest()
    bound = hashlib.sha512(framed(LABEL + b"report-data", request, digest)).digest()
    need(report_data == bound, "evidence.binding")
    given = bytes.fromhex(case["nonce"])
    wanted = hashlib.sha256(framed(LABEL + b"accelerator-nonce", given, request)).digest()
    need(nonce == wanted, "evidence.binding")


def main() -> int:
    """Read every vector."""
    files = sorted(HERE.glob("*.json"))
    agree = 0
    for file in files:
        case = json.loads(file.read_text())
        found = "ok"
        try:
            read(case)
        except nvidia.RefusedError as e:
            found = str(e)
        agree += found == case["expect"]
        if found != case["expect"]:
            print(f"{file.stem}: {found}, not {case['expect']}")
    print(f"{agree} of {len(files)} vectors agree")
    return agree != len(files)


if __name__ == "__main__":
    sys.exit(main())
