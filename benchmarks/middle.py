"""What an exposed middle costs when its answers are checked, and what when it is blinded.

Two networks with random weights, at batch 1 and 32: a residual one of 3 x 3 convolutions, and a
perceptron. The middle runs in a process of its own, on the same processor, over shared memory.
Times inside one process are processor seconds of one thread, so that a busy machine does not count.
As in a server, products of matrices take one thread.

A server prepares secrets while nobody asks. So a query is measured twice: with a stock that is
filled, as after a pause, and with none, as among many queries.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Row, Spread
from servers import AIM_CUT, middle_process

from cloister.inference.partitioned import PartitionedModel
from cloister.partition.blas import limit_blas
from cloister.partition.blinded_part import Blinding
from cloister.partition.blinding import QuantisedStep
from cloister.partition.checking import Freivalds, Mode, Unchecked, build_verifier
from cloister.partition.freivalds import LinearCheck
from cloister.partition.graph import PartFile
from cloister.partition.linear import linear_steps
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import open_part, with_outputs
from cloister.testing.middle_models import conv_net, dense_net

AIM_CHECK = 0.03


@dataclass(frozen=True)
class Net:
    """A network in parts, and examples for it."""

    name: str
    data: bytes
    given: str
    begin: str
    end: str
    shape: tuple[int, ...]

    def parts(self) -> tuple[PartFile, PartFile, PartFile, PartFile]:
        """Front, middle, back, and the whole."""
        source = ONNXSource(self.data)
        return (
            source.part([self.given], [self.begin]),
            source.part([self.begin], [self.end]),
            source.part([self.end], ["label"]),
            source.part([self.given], ["label"]),
        )


def rows(*, rounds: int) -> Iterator[Row]:
    """Measure checks inside, then the whole, then blinding."""
    limit_blas(1)
    nets = [
        Net("convolutions", conv_net(channels=256, blocks=3, size=14), "image", "first", "flat",
            (3, 14, 14)),
        Net("dense layers", dense_net(width=2048, layers=4), "x", "hr1", "h4", (2048,)),
    ]  # fmt: skip
    for net in nets:
        for batch in (1, 32):
            for vectors in (1, 2):
                yield from _inside(net, batch, vectors=vectors, rounds=rounds)
            yield from _together(net, batch, rounds=rounds)
    yield from _blinding(nets[1], rounds=rounds)


def _inside(net: Net, batch: int, *, vectors: int, rounds: int) -> Iterator[Row]:
    front, middle, _, _ = net.parts()
    given = open_part(front, threads=1, exact=False).run(_examples(net, batch))
    bare = open_part(middle, threads=1, exact=False)
    verifier = build_verifier(middle, Freivalds(repetitions=vectors, stock=0), threads=1)
    stocked = build_verifier(middle, Freivalds(repetitions=vectors, stock=rounds + 1), threads=1)
    stocked.prepare(rounds + 1)
    telling = open_part(with_outputs(middle, verifier.claims), threads=1, exact=False)
    claims = telling.run(given)
    steps = linear_steps(middle)
    checks = [
        LinearCheck(step, repetitions=vectors) for step in steps if step.output in verifier.claims
    ]
    inner = [check.step.input for check in checks if check.step.input not in given]
    have = given | claims | open_part(with_outputs(middle, inner), threads=1).run(given)
    folds = [check.draw(2 * rounds + 2) for check in checks]
    number = iter(range(2 * rounds + 2))

    def check() -> None:
        at = next(number)
        for each, mine in zip(checks, folds, strict=True):
            step = each.step
            each.require(have[step.input], have[step.output], fold=mine[at])

    seconds = _processor(
        rounds,
        bare=lambda: bare.run(given),
        telling=lambda: telling.run(given),
        check=check,
        draw=lambda: [each.draw(1) for each in checks],
        accept=lambda: verifier.accept(given, claims),
        stocked=lambda: stocked.accept(given, claims),
    )
    share = seconds["check"].middle / seconds["bare"].middle
    facts = {name: spread.record() for name, spread in seconds.items()}
    yield Row(
        part="middle",
        name=f"{net.name}, batch {batch}: the middle, and checking its linear steps by {vectors} "
        f"secret vector{'s' if vectors > 1 else ''}",
        left=f"{seconds['bare'].text('.1f', 1e3)} ms",
        right=f"{seconds['check'].text('.1f', 1e3)} ms",
        result=f"{share:.1%} of the middle's time",
        aim=f"< {AIM_CHECK:.0%}",
        met=share < AIM_CHECK,
        facts=facts,
    )
    if vectors == 1:
        return
    yield Row(
        part="middle",
        name=f"{net.name}, batch {batch}: the middle, and everything inside, the rest computed "
        "again: with vectors from the stock",
        left=f"{seconds['bare'].text('.1f', 1e3)} ms",
        right=f"{seconds['stocked'].text('.1f', 1e3)} ms",
        result=f"{seconds['stocked'].middle / seconds['bare'].middle:.1%}; drawn then, "
        f"{seconds['accept'].text('.1f', 1e3)} ms or "
        f"{seconds['accept'].middle / seconds['bare'].middle:.1%}",
        facts=facts,
    )


def _together(net: Net, batch: int, *, rounds: int) -> Iterator[Row]:
    front, middle, back, whole = net.parts()
    examples = _examples(net, batch)
    alone = open_part(whole, threads=2, exact=False)
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder), middle) as address:
        made: dict[str, PartitionedModel] = {}
        modes: dict[str, Mode | Blinding] = {
            "checked": Freivalds(stock=rounds + 1),
            "drawn": Freivalds(stock=0),
            "believed": Unchecked("a baseline"),
            "blinded": Blinding(stock=batch, stock_bytes=2**31),
            "blinded then": Blinding(stock=0),
        }
        for name, mode in modes.items():
            made[name] = PartitionedModel(
                front=front, middle=middle, back=back, address=address, mode=mode, threads=2,
                shared=True,
            )  # fmt: skip
        made["checked"].prepare(rounds + 1)
        seconds: dict[str, list[float]] = {"whole": [], **{name: [] for name in made}}
        for turn in range(rounds + 1):
            for name, values in seconds.items():
                if name == "blinded":
                    made[name].prepare(batch)
                began = time.perf_counter()
                if name == "whole":
                    alone.run(examples)
                else:
                    made[name].predict(examples)
                if turn:  # the first time allocates
                    values.append(time.perf_counter() - began)
        crossed = {name: model.crossed_bytes for name, model in made.items()}
        for model in made.values():
            model.close()
    spreads = {name: Spread.of(values) for name, values in seconds.items()}
    one = (rounds + 1) * batch
    unchecked = spreads["believed"].middle / spreads["whole"].middle
    stocks = {
        "checked": "with a checked middle, its vectors from the stock",
        "drawn": "with a checked middle, its vectors drawn then",
        "blinded": "with a blinded middle, its pads from the stock",
        "blinded then": "with a blinded middle, its pads drawn then",
    }
    for name, which in stocks.items():
        ratio = spreads[name].middle / spreads["whole"].middle
        sent, received = crossed[name]
        aimed = not name.startswith("blinded")  # there is no aim for what hides inputs
        yield Row(
            part="middle",
            name=f"{net.name}, batch {batch}: the whole model, and in parts {which}",
            left=f"{spreads['whole'].text('.1f', 1e3)} ms",
            right=f"{spreads[name].text('.1f', 1e3)} ms",
            result=f"{ratio:.2f} times ({unchecked:.2f} unchecked); {sent / one / 1e3:.0f} kB out, "
            f"{received / one / 1e3:.0f} kB back for each example",
            aim=f"≤ {AIM_CUT} times" if aimed else "",
            met=ratio <= AIM_CUT if aimed else None,
            facts={name: spread.record() for name, spread in spreads.items()}
            | {"sent_bytes": sent // one, "received_bytes": received // one},
        )


def _blinding(net: Net, *, rounds: int) -> Iterator[Row]:
    _, middle, _, _ = net.parts()
    step = linear_steps(middle)[0]
    plain = open_part(ONNXSource(net.data).part(["hr1"], ["h2"]), threads=1)
    quantised = QuantisedStep(step)
    for batch in (1, 32):
        given = np.random.default_rng(1).random((batch, 2048), np.float32)
        pads = list(quantised.prepare(given.shape, rounds + 1))
        opened: list[Any] = []

        def blind(given: Any = given, pads: Any = pads, opened: Any = opened) -> None:
            opened.append(quantised.blind(given, pads.pop()))

        answer = quantised.apply(quantised.blind(given, quantised.prepare(given.shape)[0]).outside)
        seconds = _processor(
            rounds,
            plain=lambda given=given: plain.run({"hr1": given}),
            prepare=lambda given=given: quantised.prepare(given.shape),
            blind=blind,
            outside=lambda given=given: quantised.apply(np.abs(np.rint(given))),
            check=lambda opened=opened: quantised.require(
                opened[-1].outside, quantised.apply(opened[-1].outside)
            ),
        )
        check = seconds["check"].middle - seconds["outside"].middle
        yield Row(
            part="middle",
            name=f"one dense layer of 2048 by 2048, batch {batch}: in float32, and under a pad",
            left=f"{seconds['plain'].text('.2f', 1e3)} ms",
            right=f"{seconds['blind'].text('.2f', 1e3)} ms blinding, {check * 1e3:.2f} ms "
            f"checking, {seconds['prepare'].text('.1f', 1e3)} ms preparing",
            result=f"{seconds['prepare'].middle / seconds['plain'].middle:.0f} times the layer, "
            f"ahead; outside {seconds['outside'].middle / seconds['plain'].middle:.0f} times",
            facts={name: spread.record() for name, spread in seconds.items()}
            | {"answer_bytes": answer.nbytes},
        )


def _processor(rounds: int, **works: Callable[[], object]) -> dict[str, Spread]:
    """Time each in turns, in seconds of this process's processors."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            began = time.process_time()
            work()
            if turn:
                seconds[name].append(time.process_time() - began)
    return {name: Spread.of(values) for name, values in seconds.items()}


@contextlib.contextmanager
def _served(folder: Path, middle: PartFile) -> Iterator[str]:
    path, address = folder / "middle.onnx", f"unix:{folder}/s"
    path.write_bytes(middle.data)
    with middle_process(path, address, threads=2):
        yield address


def _examples(net: Net, batch: int) -> dict[str, Any]:
    return {net.given: np.random.default_rng(7).random((batch, *net.shape), np.float32)}
