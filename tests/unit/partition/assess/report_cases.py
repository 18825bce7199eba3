"""A small report with pictures, for tests of what is made from one."""

from __future__ import annotations

import numpy as np

from cloister.partition.assess.attack import Examples
from cloister.partition.report import (
    Budget,
    CutReport,
    DefenceReport,
    LeakageReport,
    Measure,
    ModelFacts,
    PairReport,
    Sample,
)

__all__ = ["HOSTILE", "measure", "pictures", "report"]

HOSTILE = "</script></style><img src=x onerror=\"document.title='owned'\"><script>alert(1)</script>"


def measure(
    attack: str, knows: str, metric: str, value: float, *, complete: bool = True
) -> Measure:
    """A measure whose interval lies around its value."""
    return Measure(
        attack=attack,
        knows=knows,
        metric=metric,
        worst_decile=value,
        mean=0.9 * value,
        low=value - 0.05,
        high=value + 0.05,
        examples=100,
        steps=600,
        complete=complete,
    )


def _cut(position: int, verdict: str, gain: float, name: str) -> CutReport:
    return CutReport(
        position=position,
        tensors=(name, f"skip_{position}"),
        values=640 // position,
        front_ms=0.1 * position,
        whole_ms=1.0,
        measures=(
            measure("decoder", "queries", "ssim-gain", gain),
            measure("decoder", "queries", "reidentified", gain),
            measure("decoder", "representation", "ssim-gain", gain / 2, complete=False),
            measure("optimisation", "weights", "ssim-gain", gain / 3),
            measure("optimisation-blind", "representation", "ssim-gain", gain / 4),
            measure("distance-correlation", "representation", "correlation", gain),
            measure("property", "queries", "accuracy", 0.5 + gain / 2),
            measure("projection-kl", "representation", "kl-ratio", 1.2),
        ),
        verdict=verdict,
        because=f"The strongest attack got {gain:.2f}.",
    )


def report(
    *, name: str = "digits", layer: str = "conv2d", recommended: int | None = 4, cuts: int = 4
) -> LeakageReport:
    """A report of cuts that get better by depth."""
    made = tuple(
        _cut(p, "safe" if p >= 4 else "undecided" if p == 3 else "unsafe", 0.9 / p, f"{layer}_{p}")
        for p in range(1, cuts + 1)
    )
    return LeakageReport(
        model=ModelFacts(sha256=bytes(32), format="keras", name=name),
        made=1_764_000_000,
        tool="cloister 0",
        seed=7,
        sample=Sample(
            sha256=bytes(32),
            images=200,
            shape=(8, 8, 1),
            proxy_sha256=bytes(32),
            proxy_images=600,
            held_out_images=100,
        ),
        budget=Budget(seconds=600, complete=recommended is not None),
        identity={"ssim-gain": 1.0, "reidentified": 1.0, "fidelity": 1.0},
        noise={"ssim-gain": -0.2, "reidentified": 0.01, "fidelity": 0.1},
        cuts=made,
        pairs=(
            PairReport(
                front=4 if cuts >= 4 else 1,
                back=None,
                measures=(
                    measure("knock-off", "weights", "fidelity", 0.9),
                    measure("knock-off", "queries", "fidelity", 0.6),
                    measure("synthesis", "weights", "accuracy", 0.8),
                ),
            ),
        ),
        defences=(
            DefenceReport(
                position=3,
                name="noise",
                parameter=0.25,
                accuracy_before=0.97,
                accuracy_after=0.95,
                measures=(measure("decoder", "queries", "ssim-gain", 0.2),),
            ),
        ),
        recommended=recommended,
        notes=("That attacks fail is no bound.", f"about {layer}"),
    )


def pictures(cuts: int = 4) -> dict[str, Examples]:
    """Pictures for every place that has them."""
    random = np.random.default_rng(0)

    def made(count: int, side: int = 8, channels: int = 1) -> Examples:
        return Examples(
            random.integers(256, size=(count, side, side, channels), dtype=np.uint8),
            random.integers(256, size=(count, side, side, channels), dtype=np.uint8),
        )

    found = {"pair/4/end/synthesis/weights": made(8), "defence/3/noise/decoder/queries": made(5)}
    for p in range(1, cuts + 1):
        maps = made(6)
        found[f"cut/{p}/maps"] = Examples(maps.originals[:1], maps.reconstructions)
        found[f"cut/{p}/decoder/queries"] = made(8)
        found[f"cut/{p}/optimisation/weights"] = made(3, 130, 3)
    return found
