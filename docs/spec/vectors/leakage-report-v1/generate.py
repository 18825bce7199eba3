"""Write the vectors of leakage-report-v1 beside this file; a second run changes nothing.

Uses nothing of the package.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BAD, LARGE = "report.malformed", "wire.too-large"


def measure(attack: str, value: float, **more: Any) -> dict[str, Any]:
    """Return one measure; by SSIM where nothing else is said."""
    return {
        "attack": attack,
        "knows": "representation",
        "metric": "ssim",
        "worst_decile": value,
        "mean": value / 2,
        "low": value - 0.125,
        "high": value + 0.125,
        "examples": 100,
        "steps": 2000,
        "complete": True,
    } | more


def cut(position: int, value: float, verdict: str) -> dict[str, Any]:
    """Return one cut with two attacks and the measure that decides nothing."""
    return {
        "position": position,
        "tensors": [f"t{position}"],
        "values": 64,
        "front_ms": 0.25,
        "whole_ms": 0.5,
        "measures": [
            measure("decoder", value),
            measure("decoder", value, metric="ssim-gain"),
            measure("optimisation", value / 2, knows="weights", metric="ssim-gain"),
            measure("projection-kl", 4.0, metric="kl-ratio"),
        ],
        "verdict": verdict,
        "because": "what the decoder reaches on the worst tenth",
    }


GOOD: dict[str, Any] = {
    "format": "cloister/leakage-report/v1",
    "model": {"sha256": "9f" * 32, "format": "onnx", "name": "sample"},
    "made": 1_800_000_000,
    "tool": "cloister 0.1",
    "seed": 7,
    "sample": {
        "sha256": "a0" * 32,
        "images": 200,
        "shape": [8, 8, 1],
        "proxy_sha256": "b1" * 32,
        "proxy_images": 500,
        "held_out_images": 100,
    },
    "budget": {"seconds": 600, "complete": True},
    "ends": {"identity": {"mse": 0.0, "ssim": 1.0}, "noise": {"mse": 0.125, "ssim": 0.0}},
    "cuts": [cut(1, 0.75, "unsafe"), cut(2, 0.25, "safe"), cut(3, 0.125, "undecided")],
    "pairs": [
        {
            "front": 2,
            "back": 3,
            "measures": [measure("knock-off", 0.5, metric="fidelity", knows="weights")],
        },
        {
            "front": 2,
            "back": None,
            "measures": [measure("knock-off", 0.75, metric="fidelity", knows="weights")],
        },
    ],
    "defences": [
        {
            "position": 1,
            "name": "noise",
            "parameter": 0.5,
            "accuracy_before": 0.9375,
            "accuracy_after": 0.875,
            "measures": [measure("decoder", 0.5)],
        }
    ],
    "recommended": 2,
    "notes": ["A sample: nothing was measured."],
}
Change = Callable[[dict[str, Any]], Any]


def changed(change: Change) -> str:
    """Return the good report's text after a change."""
    report = copy.deepcopy(GOOD)
    change(report)
    return json.dumps(report, separators=(",", ":")) + "\n"


def vector(name: str, clause: str, comment: str, text: str, expect: str, **more: Any) -> None:
    """Write one case."""
    case = {"comment": comment, "clause": clause, "text": text, "expect": expect} | more
    (HERE / f"{name}.json").write_text(json.dumps(case, indent=1) + "\n", "utf-8")


def bad(name: str, clause: str, comment: str, change: Change, expect: str = BAD) -> None:
    """Write one that cannot be read."""
    vector(name, clause, comment, changed(change), expect)


def judged(  # noqa: PLR0917  # a table's columns
    name: str,
    clause: str,
    comment: str,
    thresholds: list[str],
    expect: str,
    change: Change = lambda _: None,
    front: int = 2,
    back: int | None = 3,
) -> None:
    """Write one that is read and then judged."""
    vector(
        name,
        clause,
        comment,
        changed(change),
        "ok",
        thresholds=thresholds,
        front=front,
        back=back,
        judged=expect,
    )


def first(report: dict[str, Any]) -> dict[str, Any]:
    """Return the first measure of the first cut."""
    found: dict[str, Any] = report["cuts"][0]["measures"][0]
    return found


def _bounds(report: dict[str, Any]) -> None:
    for cut, value in ((1, 0.5), (2, 0.125)):
        report["cuts"][cut]["measures"].append(measure("dfil", value, metric="bound-mse"))


OK = changed(lambda _: None)
COPIED = "knock-off.fidelity.mean<=0.25"
DECODER = "decoder.ssim.worst_decile<=0.25"

vector("ok", "LR-2", "three cuts", OK, "ok")
vector("ok-empty", "LR-2", "nothing was assessed", changed(lambda r: r.update(
    cuts=[], pairs=[], defences=[], notes=[], recommended=None)), "ok")  # fmt: skip
vector("twice", "LR-1", "a key that stands twice", OK.replace('"seed":7', '"seed":7,"seed":7'), BAD)
vector("nan", "LR-1", "no number", OK.replace('"mse":0.125', '"mse":NaN'), BAD)
vector("infinite", "LR-1", "beyond doubles", OK.replace('"mse":0.125', '"mse":1e999'), BAD)
vector("long-number", "LR-1", "beyond 64 bits", OK.replace('"seed":7', f'"seed":{2**64}'), BAD)
vector("surrogate", "LR-1", "half a character", OK.replace("A sample", "\\ud800"), BAD)
vector("not-json", "LR-1", "no JSON", "seed: 7", BAD)
vector("array", "LR-1", "no object", "[]", BAD)
vector("deep", "LR-1", "seven levels", "[" * 7 + "]" * 7, LARGE)
bad("format", "LR-2", "another version", lambda r: r.update(format=r["format"][:-1] + "2"))
bad("more", "LR-2", "a key too many", lambda r: r.update(signed=True))
bad("less", "LR-2", "no budget", lambda r: r.pop("budget"))
bad("seed", "LR-2", "a negative seed", lambda r: r.update(seed=-1))
bad("complete", "LR-2", "a flag that is a number", lambda r: r["budget"].update(complete=1))
bad("notes", "LR-2", "65 notes", lambda r: r.update(notes=["n"] * 65))
bad("digest", "LR-3", "upper-case digits", lambda r: r["model"].update(sha256="9F" * 32))
bad("model-format", "LR-3", "another format", lambda r: r["model"].update(format="pickle"))
bad("model-name", "LR-3", "a model without a name", lambda r: r["model"].update(name=""))
bad("held-out", "LR-4", "more than there are", lambda r: r["sample"].update(held_out_images=201))
bad("shape", "LR-4", "an image without width", lambda r: r["sample"].update(shape=[8, 0, 1]))
bad("rank", "LR-4", "nine axes", lambda r: r["sample"].update(shape=[1] * 9))
bad("end", "LR-5", "an end in no metric", lambda r: r["ends"]["noise"].update(beauty=1))
bad("ends", "LR-5", "one end only", lambda r: r["ends"].pop("noise"))
bad("position", "LR-6", "a negative position", lambda r: r["cuts"][0].update(position=-1))
bad("tensors", "LR-6", "nothing crosses", lambda r: r["cuts"][0].update(tensors=[]))
bad("tensors-twice", "LR-6", "a name twice", lambda r: r["cuts"][0].update(tensors=["a", "a"]))
bad("time", "LR-6", "a negative time", lambda r: r["cuts"][0].update(front_ms=-1))
bad("verdict", "LR-6", "another verdict", lambda r: r["cuts"][0].update(verdict="fine"))
bad("measure-twice", "LR-7", "a measure twice", lambda r: r["cuts"][0].update(
    measures=[first(r)] * 2))  # fmt: skip
bad("attack-of-pairs", "LR-7", "an attack of pairs", lambda r: first(r).update(attack="knock-off"))
bad("attack", "LR-12", "an attack that nobody knows", lambda r: first(r).update(attack="guess"))
bad("knows", "LR-12", "knowledge that nobody has", lambda r: first(r).update(knows="all"))
bad("metric", "LR-12", "a metric that nobody knows", lambda r: first(r).update(metric="lpips"))
bad("interval", "LR-7", "ends before it begins", lambda r: first(r).update(low=1, high=0.5))
bad("number", "LR-7", "a text for a number", lambda r: first(r).update(mean="0.5"))
bad("examples", "LR-7", "half an example", lambda r: first(r).update(examples=0.5))
bad("measures", "LR-7", "65 measures", lambda r: r["cuts"][0].update(
    measures=[first(r)] * 65))  # fmt: skip
bad(
    "pair-twice", "LR-8", "two pairs with the same ends", lambda r: r["pairs"].append(r["pairs"][1])
)
bad("pair-order", "LR-8", "ends where it begins", lambda r: r["pairs"][0].update(back=2))
bad("pair-end", "LR-8", "a word for the end", lambda r: r["pairs"][0].update(back="end"))
bad("accuracy", "LR-9", "more than all", lambda r: r["defences"][0].update(accuracy_after=1.5))
bad("order", "LR-10", "descending", lambda r: r["cuts"].reverse())
bad("cut-twice", "LR-10", "a cut twice", lambda r: r["cuts"].insert(0, r["cuts"][0]))
bad("recommended-unsafe", "LR-11", "an unsafe one", lambda r: r.update(recommended=1))
bad("recommended-none", "LR-11", "one that is not there", lambda r: r.update(recommended=4))

judged("judge-ok", "LR-27", "a number at its limit", [DECODER], "ok")
judged("judge-default", "LR-21", "what is asked by default", ["default"], "ok")
judged("judge-above", "LR-27", "one above", ["decoder.ssim.worst_decile<=0.249"], "model.refused")
judged("judge-below", "LR-27", "an error that is too small", ["decoder.mse.low>=0.5"],
       "model.refused", lambda r: r["cuts"][1].update(
           measures=[measure("decoder", 0.5, metric="mse")]))  # fmt: skip
judged("judge-error", "LR-27", "an error that is not", ["decoder.mse.low>=0.375"], "ok",
       lambda r: r["cuts"][1].update(
           measures=[measure("decoder", 0.5, metric="mse")]))  # fmt: skip
judged("judge-missing", "LR-25", "not measured", [DECODER, "dfil.bound-mse.mean>=0"],
       "model.refused")  # fmt: skip
judged("judge-incomplete", "LR-26", "cut short", [DECODER], "model.refused",
       lambda r: r["cuts"][1]["measures"][0].update(complete=False))  # fmt: skip
judged("judge-no-examples", "LR-26", "of nothing", [DECODER], "model.refused",
       lambda r: r["cuts"][1]["measures"][0].update(examples=0))  # fmt: skip
judged("judge-knowledge", "LR-26", "a second attacker knows more", [DECODER], "model.refused",
       lambda r: r["cuts"][1]["measures"].append(
           measure("decoder", 0.5, knows="weights")))  # fmt: skip
judged("judge-budget", "LR-23", "out of time", [DECODER], "model.refused",
       lambda r: r["budget"].update(complete=False))  # fmt: skip
judged("judge-undecided", "LR-24", "an undecided cut", [DECODER], "model.refused", front=3,
       back=None)  # fmt: skip
judged("judge-unassessed", "LR-24", "no such cut", [DECODER], "model.refused", front=4, back=None)
judged("judge-pair", "LR-25", "between the two cuts", [DECODER, COPIED],
       "ok")  # fmt: skip
judged("judge-other-pair", "LR-25", "to the model's end", [DECODER, COPIED],
       "model.refused", back=None)  # fmt: skip
judged("judge-model-only", "LR-22", "nothing about inputs", ["knock-off.fidelity.mean<=1"],
       "model.refused")  # fmt: skip
judged("judge-nothing", "LR-21", "no thresholds", [], "config.value")
judged("judge-same", "LR-21", "two limits for one number", [DECODER, DECODER + "5"], "config.value")
judged("judge-direction", "LR-20", "asks for leaks", ["decoder.ssim.mean>=0.1"], "config.value")
judged("judge-projection", "LR-20", "by the measure that decides nothing",
       ["projection-kl.kl-ratio.mean>=1"], "config.value")  # fmt: skip
judged("judge-exponent", "LR-20", "a number with an exponent", ["decoder.ssim.mean<=1e9"],
       "config.value")  # fmt: skip
judged("judge-behind-unsafe", "LR-28", "a deeper cut is unsafe", [DECODER], "model.refused",
       lambda r: r["cuts"][2].update(verdict="unsafe"))  # fmt: skip
judged("judge-behind", "LR-29", "more was reached at a deeper cut", [DECODER], "model.refused",
       lambda r: r["cuts"][2].update(measures=[measure("decoder", 0.5)]))  # fmt: skip
judged("judge-behind-short", "LR-29", "by an attack that was cut short", [DECODER], "model.refused",
       lambda r: r["cuts"][2].update(
           measures=[measure("decoder", 0.5, complete=False)]))  # fmt: skip
judged("judge-behind-limit", "LR-29", "a number at its limit", [DECODER], "ok",
       lambda r: r["cuts"][2].update(measures=[measure("decoder", 0.25)]))  # fmt: skip
judged("judge-behind-bound", "LR-29", "a bound is of its own cut",
       [DECODER, "dfil.bound-mse.mean>=0.125"], "ok", _bounds)  # fmt: skip
