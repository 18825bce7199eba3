"""A small cut model and its report, for tests of what is around packages: no weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from cloister.crypto.digest import sha256
from cloister.crypto.signature import SigningKey
from cloister.partition.graph import Cut, Graph, Node, PartFile, TensorInfo
from cloister.partition.leakage import (
    Budget,
    CutReport,
    DefenceReport,
    LeakageReport,
    Measure,
    ModelFacts,
    PairReport,
    Sample,
)
from cloister.partition.package import PackageFiles, Parts, make_package
from cloister.partition.plan_facts import EqualityFacts
from cloister.partition.report import write_report
from cloister.partition.thresholds import DEFAULT, read_thresholds

__all__ = ["MODEL", "SampleCut", "measure", "sample_graph", "sample_report"]

MODEL: Final = sha256(b"a sample model")
_FRONT: Final = Cut(2, ("t2",))
_BACK: Final = Cut(3, ("t3",))


def measure(attack: str = "decoder", value: float = 0.2, **changes: Any) -> Measure:
    """Return what an attack reached; by SSIM where nothing else is said."""
    good = Measure(
        attack=attack,
        knows="representation",
        metric="ssim",
        worst_decile=value,
        mean=value / 2,
        low=value - 0.05,
        high=value + 0.05,
        examples=100,
        steps=2000,
        complete=True,
    )
    return replace(good, **changes)


def sample_report(**changes: Any) -> LeakageReport:
    """Return a report on three cuts, of which those at 2 and 3 are safe."""
    good = LeakageReport(
        model=ModelFacts(sha256=MODEL, format="onnx", name="sample"),
        made=1_800_000_000,
        tool="cloister 0.1",
        seed=7,
        sample=Sample(
            sha256=sha256(b"images"),
            images=200,
            shape=(8, 8, 1),
            proxy_sha256=sha256(b"proxy"),
            proxy_images=500,
            held_out_images=100,
        ),
        budget=Budget(seconds=600, complete=True),
        identity={"mse": 0.0, "ssim": 1.0},
        noise={"mse": 0.17, "ssim": 0.02},
        cuts=(
            _cut(1, 0.81, "unsafe"),
            _cut(2, 0.31, "safe"),
            _cut(3, 0.11, "safe"),
        ),
        pairs=(
            PairReport(front=2, back=3, measures=(_knock_off(0.55),)),
            PairReport(front=2, back=None, measures=(_knock_off(0.9),)),
        ),
        defences=(
            DefenceReport(
                position=1,
                name="noise",
                parameter=0.5,
                accuracy_before=0.97,
                accuracy_after=0.91,
                measures=(measure("decoder", 0.4),),
            ),
        ),
        recommended=2,
        notes=("A sample: nothing was measured.",),
    )
    return replace(good, **changes)


def _cut(position: int, ssim: float, verdict: str) -> CutReport:
    return CutReport(
        position=position,
        tensors=(f"t{position}",),
        values=64,
        front_ms=0.1 * position,
        whole_ms=0.5,
        measures=(
            measure("decoder", ssim),
            measure("decoder", ssim, metric="ssim-gain"),
            measure("optimisation", ssim / 2, knows="weights", metric="ssim-gain"),
            measure("projection-kl", 4.0, metric="kl-ratio", low=3.0, high=5.0),
        ),
        verdict=verdict,
        because=f"the decoder reaches an SSIM of {ssim} on the worst tenth",
    )


def _knock_off(fidelity: float) -> Measure:
    return measure("knock-off", fidelity, metric="fidelity", knows="weights", mean=fidelity)


def _info(number: int) -> TensorInfo:
    return TensorInfo(f"t{number}", "float32", (-1, 8))


def sample_graph() -> Graph:
    """Return four nodes in a row."""
    infos = [_info(number) for number in range(5)]
    nodes = tuple(
        Node(f"n{number}", "Gemm", (f"t{number - 1}",), (f"t{number}",), (f"w{number}",))
        for number in range(1, 5)
    )
    tensors = {info.name: info for info in infos}
    return Graph("onnx", (infos[0],), (infos[4],), nodes, tensors)


@dataclass(slots=True, kw_only=True)
class SampleCut:
    """What a package is made of; tests change a field and make it.

    The files of parts are short texts, which no runtime would take: nothing here is to be run.
    """

    key: SigningKey = field(default_factory=lambda: SigningKey(b"s" * 32))
    front: Cut = _FRONT
    back: Cut | None = _BACK
    report: LeakageReport = field(default_factory=sample_report)
    labels: tuple[str, ...] | None = ("zero", "one", "two", "three", "four", "five", "six", "seven")
    salt: bytes = b"\x5a" * 32
    middle: bytes = b"middle weights"
    made: int = 1_800_000_100
    thresholds: tuple[str, ...] = (DEFAULT,)

    def parts(self) -> Parts:
        """Return the parts between the two cuts."""
        after = 4 if self.back is None else 3
        return Parts(
            self._part("front", 0, 2),
            self._part("middle", 2, after),
            None if self.back is None else self._part("back", 3, 4),
        )

    def make(self) -> PackageFiles:
        """Return the package's files."""
        return make_package(
            name="sample",
            made=self.made,
            model_sha256=MODEL,
            graph=sample_graph(),
            front=self.front,
            back=self.back,
            parts=self.parts(),
            labels=self.labels,
            salt=self.salt,
            equality=EqualityFacts(runtime="none", trials=8, worst=0.0, bound=0.0),
            report=write_report(self.report),
            thresholds=read_thresholds(self.thresholds),
            key=self.key,
        )

    def _part(self, role: str, begin: int, end: int) -> PartFile:
        data = self.middle if role == "middle" else f"{role} weights".encode()
        return PartFile("onnx", data, (_info(begin),), (_info(end),))
