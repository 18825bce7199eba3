"""Training, native against shielded: the same unmodified Keras script, seeds and data.

Two figures: the seconds that the script itself measures around `fit`, and the whole command.
The aim is for the former: what a run costs once, and what it costs while it trains, are different
things, and start-up has a row of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import domain as domains
import numpy as np
from pairs import Row, Spread, Timed
from sklearn.datasets import load_digits

import cloister.cli.demo

SCRIPT = Path(cloister.cli.demo.__file__).parent / "files" / "digits_train.py"
AIM = 1.03


def rows(domain: domains.Domain, *, pairs: int) -> Iterator[Row]:
    """Train `pairs` times each way, in turns."""
    policy = _prepare(domain)
    domain.run(policy, "main")  # fills caches on both sides
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ("fit", "wall", "used")}
    accuracies: set[float] = set()
    for number in range(pairs):
        found: dict[bool, tuple[Timed, dict[str, float]]] = {}
        for shielded in (True, False) if number % 2 else (False, True):
            found[shielded] = _shielded(domain, policy) if shielded else _native(domain)
            accuracies.add(found[shielded][1]["accuracy"])
        for name, of in (
            ("fit", lambda item: item[1]["training_seconds"]),
            ("wall", lambda item: item[0].wall_s),
            ("used", lambda item: item[0].processor_s),
        ):
            seconds[name].append((of(found[False]), of(found[True])))
    if len(accuracies) != 1:
        raise SystemExit(f"the same seeds gave different accuracies: {sorted(accuracies)}")
    yield _row("training, the script's own seconds", seconds["fit"], aim=AIM)
    yield _row("training, whole command", seconds["wall"], aim=None)
    yield _row("... its processor seconds", seconds["used"], aim=None)
    yield Row(
        part="training",
        name="test accuracy, both ways",
        result=f"{accuracies.pop():.4f}, equal in every run",
        facts={"equal": True},
    )


def _prepare(domain: domains.Domain) -> str:
    plain = domain.folder / "plain"
    for name in ("data", "code", "model"):
        (plain / name).mkdir(parents=True)
    digits = load_digits()
    np.savez(plain / "data" / "digits.npz", images=digits.images, labels=digits.target)
    shutil.copy(SCRIPT, plain / "code")
    domain.cloister("volume", "seal", "plain/data", "sealed/data")
    domain.cloister("volume", "seal", "plain/code", "sealed/code", "--kind", "code")
    domain.cloister("volume", "create", "sealed/model", "--kind", "model")
    return domain.draft(
        "training",
        command=f"python /code/{SCRIPT.name} /data/digits.npz /model",
        code="sealed/code",
        more=[
            "--volume=/data=sealed/data:read",
            "--volume=/model=sealed/model:write",
            "--env=TF_CPP_MIN_LOG_LEVEL=2",
        ],
    )


def _native(domain: domains.Domain) -> tuple[Timed, dict[str, float]]:
    plain = domain.folder / "plain"
    script = str(plain / "code" / SCRIPT.name)
    done = domain.native(script, str(plain / "data" / "digits.npz"), str(plain / "model"))
    return done, json.loads((plain / "model" / "metrics.json").read_text())


def _shielded(domain: domains.Domain, policy: str) -> tuple[Timed, dict[str, float]]:
    done, _ = domain.run(policy, "main")
    opened = domain.folder / "opened"
    domain.cloister("volume", "open", "sealed/model", str(opened))
    metrics = json.loads((opened / "metrics.json").read_text())
    shutil.rmtree(opened)
    return done, metrics


def _row(name: str, seconds: list[tuple[float, float]], *, aim: float | None) -> Row:
    native = Spread.of([pair[0] for pair in seconds])
    shielded = Spread.of([pair[1] for pair in seconds])
    ratio = Spread.of([pair[1] / pair[0] for pair in seconds])
    return Row(
        part="training",
        name=name,
        left=f"{native.text()} s",
        right=f"{shielded.text()} s",
        result=f"{ratio.text('.3f')} times",
        aim="" if aim is None else f"at most {aim}",
        met=None if aim is None else ratio.middle <= aim,
        facts={
            "native_s": native.record(),
            "shielded_s": shielded.record(),
            "ratio": ratio.record(),
        },
    )
