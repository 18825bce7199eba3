"""One process that stands for an enclave with a model, whole or in parts; `depth.py` starts it.

Standard input holds a line of JSON that says what is loaded, and then one for each thing to do.
Each is answered by a line: how long it took, or how much memory the process has.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import residual

from cloister.inference.packaged import mode_of
from cloister.inference.partitioned import PartitionedModel
from cloister.partition.checking import Unchecked
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import open_part

Run = Callable[[Mapping[str, Any]], dict[str, Any]]


class Enclave:
    """A model, and examples for it."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        """Load the whole, or the parts of a cut with the middle at an address."""
        source = ONNXSource(Path(order["model"]).read_bytes())
        self._shape = source.graph.inputs[0].shape[1:]
        self.model: PartitionedModel | None = None
        if order["way"] == "whole":
            whole = source.part([residual.IMAGE], [residual.LABEL])
            self.run: Run = open_part(whole, threads=1, exact=False).run
            return
        front, middle, back = residual.parts(source, order["block"])
        self.model = PartitionedModel(
            front=front,
            middle=middle,
            back=back,
            address=order["address"],
            mode=Unchecked("a baseline") if order["way"] == "believed" else mode_of("freivalds"),
            threads=1,
            shared=True,
        )
        self.run = self.model.predict

    def examples(self, batch: int) -> dict[str, Any]:
        """Return the same ones in every process."""
        random = np.random.default_rng(batch)
        return {residual.IMAGE: random.random((batch, *self._shape), np.float32)}

    def once(self, batch: int, *, ahead: bool) -> dict[str, Any]:
        """Answer once; `ahead` draws the secret vectors before the clock starts."""
        examples = self.examples(batch)
        if ahead and self.model is not None:
            self.model.prepare(1)
        began, used = time.perf_counter(), time.process_time()
        answer = self.run(examples)
        return {
            "wall_s": time.perf_counter() - began,
            "processor_s": time.process_time() - used,
            "scores": answer[residual.LABEL][0].tolist(),
        }

    def many(self, batch: int, *, callers: int, seconds: float) -> dict[str, Any]:
        """Answer several callers for so long, each at least twice."""
        examples = self.examples(batch)
        counts = [0] * callers
        began = time.perf_counter()

        def call(number: int) -> None:
            while counts[number] < 2 or time.perf_counter() - began < seconds:
                self.run(examples)
                counts[number] += 1

        threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"per_s": sum(counts) * batch / (time.perf_counter() - began)}

    def held(self) -> dict[str, Any]:
        """Return memory, and what has crossed to the middle and back."""
        text = Path("/proc/self/status").read_text(encoding="ascii")
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.MULTILINE))
        sent, received = (0, 0) if self.model is None else self.model.crossed_bytes
        return {
            "resident_bytes": int(found["VmRSS"]) << 10,
            "peak_bytes": int(found["VmHWM"]) << 10,
            "sent_bytes": sent,
            "received_bytes": received,
        }


def main() -> None:
    """Load, then do what each line says until there is none."""
    enclave = Enclave(json.loads(sys.stdin.readline()))
    print("{}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = getattr(enclave, asked.pop("do"))(**asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
