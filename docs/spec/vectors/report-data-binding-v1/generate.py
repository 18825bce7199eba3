"""Write the vectors of report-data-binding-v1. Running it again changes nothing.

Uses hashlib only: an implementation of its own, written from the page.
"""

import hashlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


def write(out: Path, name: str, case: dict[str, object]) -> None:
    """Write one vector."""
    (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


GOOD = {
    "service": bytes(range(32)).hex(),
    "nonce": bytes(range(32, 64)).hex(),
    "policy": bytes(range(64, 96)).hex(),
    "workload": "train",
    "instance": "run-1",
    "hpke_key": (b"h" * 1216).hex(),
    "certificate_request": b"csr".hex(),
    "code": (b"c" * 32).hex(),
    "runtime": (b"r" * 32).hex(),
}


def report_data(case: dict[str, str]) -> str:
    """The formula of the page."""
    measurement = b"\xa2\x64code\x58\x20" + bytes.fromhex(case["code"])
    measurement += b"\x67runtime\x58\x20" + bytes.fromhex(case["runtime"])
    parts = [
        b"cloister/report-data-binding",
        b"v1",
        bytes.fromhex(case["service"]),
        bytes.fromhex(case["nonce"]),
        bytes.fromhex(case["policy"]),
        case["workload"].encode(),
        case["instance"].encode(),
        bytes.fromhex(case["hpke_key"]),
        bytes.fromhex(case["certificate_request"]),
        measurement,
    ]
    return hashlib.sha512(b"".join(len(p).to_bytes(8, "big") + p for p in parts)).hexdigest()


def main(out: Path) -> None:
    """Write every case."""
    right = report_data(GOOD)
    cases: dict[str, tuple[str, str, dict[str, str], str, str]] = {
        "ok": ("All parts.", "BIND-2", {}, right, "ok"),
        "ok-unicode": (
            "Texts are UTF-8.",
            "BIND-2",
            {"instance": "läuft"},
            report_data(GOOD | {"instance": "läuft"}),
            "ok",
        ),
        "moved-byte": (
            "A byte moved from one part to its neighbour gives another value.",
            "BIND-3",
            {"workload": "trainr", "instance": "un-1"},
            right,
            "evidence.binding",
        ),
    }
    for name in GOOD:
        changed = "other" if name in {"workload", "instance"} else "ff" + GOOD[name][2:]
        comment = f"Another {name} than the evidence binds."
        cases[f"other-{name}"] = (comment, "BIND-3", {name: changed}, right, "evidence.binding")
    for name in ("service", "nonce", "policy", "workload", "hpke_key", "certificate_request"):
        comment = f"{name} is empty."
        cases[f"empty-{name}"] = (comment, "BIND-4", {name: ""}, right, "evidence.malformed")
    for name, (comment, clause, change, value, expect) in cases.items():
        case = {"comment": comment, "clause": clause, "expect": expect, "report_data": value}
        write(out, name, case | {"parts": GOOD | change})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
