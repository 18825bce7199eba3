"""Write the vectors of attestation-result-v1. Running it again changes nothing."""

import json
import sys
from pathlib import Path

import cbor2

HERE = Path(__file__).parent


def write(out: Path, name: str, case: dict[str, object]) -> None:
    """Write one vector."""
    (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


GOOD: dict[str, object] = {
    "version": 1,
    "policy": b"p" * 32,
    "workload": "train",
    "root_of_trust": "sim",
    "hardware_rooted": False,
    "anchor": b"a" * 32,
    "measurement": b"m" * 32,
    "security_version": 1,
    "debug": False,
    "launch": {"code": b"c" * 32, "runtime": b"r" * 32},
    "checked": [{"rule": "roots_of_trust.sim.debug", "expected": "refused", "found": "false"}],
    "not_checked": [{"rule": "workloads.train.runtime", "reason": "development machine"}],
}
TD: dict[str, object] = {
    "root_of_trust": "tdx",
    "hardware_rooted": True,
    "measurement": b"m" * 48,
    "vendor": {"rtmr0": b"r" * 48, "tcb": {"01": 3}, "sept_ve_disable": True, "log": ["a", "b"]},
}


def main(out: Path) -> None:
    """Write every case."""
    changes: dict[str, tuple[str, str, dict[str, object], str]] = {
        "ok": ("A result.", "RES-2", {}, "ok"),
        "ok-all-checked": ("Nothing was left out.", "RES-5", {"not_checked": []}, "ok"),
        "nothing-checked": ("No rule at all.", "RES-4", {"checked": []}, "message.malformed"),
        "short-policy": ("31 bytes.", "RES-2", {"policy": b"p" * 31}, "message.malformed"),
        "rooted-is-a-number": (
            "1 is not true.",
            "RES-3",
            {"hardware_rooted": 1},
            "message.malformed",
        ),
        "no-reason": (
            "A check left out without a reason.",
            "RES-5",
            {"not_checked": [{"rule": "x"}]},
            "message.malformed",
        ),
        "other-version": ("Version 2.", "RES-2", {"version": 2}, "message.malformed"),
        "ok-vendor": ("A TD's claims besides.", "RES-6", TD, "ok"),
        "vendor-empty": ("No claim besides.", "RES-6", {"vendor": {}}, "message.malformed"),
        "vendor-text": ("Claims that are a text.", "RES-6", {"vendor": "x"}, "message.malformed"),
        "vendor-nameless": ("An empty name.", "RES-6", {"vendor": {"": 1}}, "message.malformed"),
        "vendor-many": (
            "513 claims.",
            "RES-6",
            {"vendor": {str(number): 0 for number in range(513)}},
            "message.malformed",
        ),
        "field-unknown": ("One field more.", "RES-2", {"x": 1}, "message.malformed"),
    }
    for name, (comment, clause, change, expect) in changes.items():
        case = {"comment": comment, "clause": clause, "expect": expect}
        write(out, name, case | {"result": cbor2.dumps(GOOD | change, canonical=True).hex()})
    without = {key: value for key, value in GOOD.items() if key != "hardware_rooted"}
    case = {"comment": "hardware_rooted is missing.", "clause": "RES-3"}
    data = cbor2.dumps(without, canonical=True).hex()
    write(out, "not-rooted", case | {"expect": "message.malformed", "result": data})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
