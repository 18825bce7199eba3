"""Write the vectors of privacy-statement-v1 beside this file; a second run changes nothing.

Uses nothing of the package. The epsilon of steps without sampling is from the closed form of the
Gaussian mechanism (Balle and Wang, 2018, theorem 8), solved here by bisection.
"""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def epsilon(noise: float, delta: float) -> float:
    """Return the epsilon of one Gaussian mechanism, rounded up."""

    def normal(value: float) -> float:
        return 0.5 * math.erfc(-value / math.sqrt(2))

    def spent(e: float) -> float:
        half = 1 / (2 * noise)
        return normal(half - e * noise) - math.exp(e) * normal(-half - e * noise)

    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > delta else (low, middle)
    return high


# Sixteen steps of the whole data with noise 8 are one with noise 2.
WHOLE = epsilon(2.0, 1e-5)
GOOD: dict[str, Any] = {
    "format": "cloister/privacy-statement/v1",
    "adjacency": "add-or-remove-one",
    "accountant": "privacy-loss-distribution",
    "epsilon": f"{math.ceil(WHOLE * 1e4 + 20) / 1e4:.4f}",
    "delta": "0.00001",
    "metrics_shown": False,
    "mechanisms": [
        {
            "kind": "poisson-sampled-gaussian",
            "examples": 1000,
            "batch": 1000,
            "clip": "1.0",
            "noise_multiplier": "8.0",
            "steps": 16,
        }
    ],
}


def changed(change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> str:
    """Return the good statement after a change to it or to its mechanism."""
    statement = copy.deepcopy(GOOD)
    change(statement, statement["mechanisms"][0])
    return json.dumps(statement)


def vector(name: str, clause: str, comment: str, text: str, expect: str, **more: str) -> None:
    """Write one case."""
    case = {"comment": comment, "clause": clause, "text": text, "expect": expect} | more
    (HERE / f"{name}.json").write_text(json.dumps(case, indent=2) + "\n", "utf-8")


def malformed(
    name: str, clause: str, comment: str, change: Callable[[dict[str, Any], dict[str, Any]], Any]
) -> None:
    """Write one that cannot be read."""
    vector(name, clause, comment, changed(change), "message.malformed")


vector("ok", "PS-2", "sixteen steps of the whole data", json.dumps(GOOD), "ok", verify="ok")
vector(
    "ok-nothing", "PS-2", "no step at all",
    changed(lambda s, _: s.update(mechanisms=[], epsilon="0")), "ok", verify="ok",
)  # fmt: skip
vector(
    "ok-twice", "PS-2", "two trainings, together as one of the double length",
    changed(lambda s, m: s.update(
        mechanisms=[m | {"steps": 8, "noise_multiplier": "8"}] * 2)), "ok", verify="ok",
)  # fmt: skip
vector(
    "understated", "PS-8", "a hundredth less than it is, and a little",
    changed(lambda s, _: s.update(epsilon=f"{WHOLE * 0.98:.4f}")), "ok",
    verify="privacy.understated",
)  # fmt: skip
vector(
    "unbounded", "PS-8", "mechanisms of which nothing can be said",
    changed(lambda _, m: m.update(steps=2**22, noise_multiplier="0.3")), "ok",
    verify="config.value",
)  # fmt: skip
malformed("format", "PS-2", "another version", lambda s, _: s.update(format=s["format"][:-1] + "2"))
malformed("adjacency", "PS-2", "another relation", lambda s, _: s.update(adjacency="replace-one"))
malformed("accountant", "PS-2", "another accountant", lambda s, _: s.update(accountant="sum"))
malformed("less", "PS-2", "a key is missing", lambda s, _: s.pop("metrics_shown"))
malformed("more", "PS-2", "a key too many", lambda s, _: s.update(note=""))
malformed("shown", "PS-2", "a flag that is a number", lambda s, _: s.update(metrics_shown=0))
malformed("delta-zero", "PS-2", "a delta of zero", lambda s, _: s.update(delta="0"))
malformed("delta-one", "PS-2", "a delta of one", lambda s, _: s.update(delta="1"))
malformed("number", "PS-1", "a number for a decimal", lambda s, _: s.update(epsilon=2.5))
malformed("exponent", "PS-1", "a decimal with an exponent", lambda s, _: s.update(delta="1e-5"))
malformed("sign", "PS-1", "a decimal with a sign", lambda s, _: s.update(epsilon="-1"))
malformed("zeros", "PS-1", "a decimal with a leading zero", lambda s, _: s.update(epsilon="02"))
malformed("many", "PS-2", "17 mechanisms", lambda s, m: s.update(mechanisms=[m] * 17))
malformed("text", "PS-2", "a mechanism that is a text", lambda s, _: s.update(mechanisms=["x"]))
malformed("kind", "PS-3", "another mechanism", lambda _, m: m.update(kind="shuffled-gaussian"))
malformed("part", "PS-3", "a mechanism without its steps", lambda _, m: m.pop("steps"))
malformed("extra", "PS-3", "a mechanism with a seed", lambda _, m: m.update(seed=1))
malformed("none", "PS-3", "no examples", lambda _, m: m.update(examples=0))
malformed("batch", "PS-3", "a batch of more than all", lambda _, m: m.update(batch=1001))
malformed("clip", "PS-3", "a norm of zero", lambda _, m: m.update(clip="0.0"))
malformed("quiet", "PS-3", "less noise than counts", lambda _, m: m.update(noise_multiplier="0.2"))
malformed("steps", "PS-3", "a step that was not done", lambda _, m: m.update(steps=0))
malformed("fraction", "PS-3", "half a step", lambda _, m: m.update(steps=1.5))
vector(
    "twice", "PS-1", "a key that stands twice",
    json.dumps(GOOD)[:-1] + ', "delta": "0.1"}', "message.malformed",
)  # fmt: skip
vector("no-object", "PS-1", "an array", "[]", "message.malformed")
vector("not-json", "PS-1", "no JSON", "epsilon: 1", "message.malformed")
vector("deep", "PS-1", "nested too deeply", "[[[[[1]]]]]", "wire.too-large")
vector("long", "PS-1", "longer than 64 KiB", " " * 65536 + "{}", "wire.too-large")
