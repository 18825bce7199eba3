"""A small room on this machine, without the shield: a server, trainers, and their cells."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from cloister.cleanroom.agreement import Room, SignedTerms
from cloister.cleanroom.model_file import TrainedModel, load_model
from cloister.cleanroom.recipe import read_recipe, recipe_digest
from cloister.cleanroom.room_key import RoomKey
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.server import Places, serve_room
from cloister.cleanroom.terms import Shard, Terms
from cloister.testing.cleanroom import sample_agreement, sample_terms
from rounds_bench import Anybody

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "cleanroom" / "digits"


@dataclass(frozen=True)
class SmallRoom:
    """A room and its folders."""

    agreement: SignedTerms
    folder: Path
    recipe: Path
    port: int

    @property
    def room(self) -> Room:
        """As its programs find it."""
        return Room(self.agreement)

    @property
    def places(self) -> Places:
        """Where the server finds things."""
        return Places(
            key=self.folder / "key",
            model=self.folder / "model",
            reports=(self.folder / "report-m", self.folder / "report-d"),
            address=("127.0.0.1", self.port),
            speakers=Anybody(),
        )

    def run(self, *, through: int | None = None, beside: Path | None = None) -> TrainedModel:
        """Train in processes of their own, to the end; return the model.

        Args:
            through: A port by which trainers reach the server, if not its own.
            beside: A module that each process that learns runs first, with the trainer's index and
                the room's folder as its `INDEX` and `FOLDER`; None for none.
        """
        model, ends = self.watched(through=through, beside=beside)
        assert [end.status for end in ends] == [0] * len(ends)
        return model

    def watched(
        self, *, through: int | None = None, beside: Path | None = None
    ) -> tuple[TrainedModel, list[End]]:
        """As `run`, and return what their operator sees of the trainers, however they ended."""
        script = Path(__file__).with_name("room_trainer.py")
        root = Path(__file__).resolve().parents[3]
        server = threading.Thread(target=serve_room, args=(self.room, self.places), daemon=True)
        server.start()
        running = []
        for index in range(self.room.terms.trainers):
            given = (str(self.folder), str(index), str(self.recipe), str(through or self.port))
            more = () if beside is None else (str(beside),)
            process = subprocess.Popen(
                [sys.executable, str(script), *given, *more],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(root / "src")},
            )
            running.append(process)
        ends: list[End] = []
        for process in running:
            assert process.stdout is not None
            printed = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            ended = time.monotonic()
            process.returncode = os.waitstatus_to_exitcode(status)
            process.stdout.close()
            seconds = usage.ru_utime + usage.ru_stime
            ends.append(End(process.returncode, printed, ended, seconds))
        server.join(120)
        key = RoomKey.load(self.places.key, room=self.room.digest)
        return load_model(self.places.model, RoundRules.of(self.room), key), ends

    def learned(self, index: int) -> str:
        """Return what the process that learned wrote, which only a test can read."""
        path = self.folder / f"learner-{index}.log"
        return path.read_text() if path.exists() else ""


@dataclass(frozen=True)
class End:
    """How a trainer ended, as its operator sees it.

    Attributes:
        status: Of its process.
        printed: All that it wrote.
        at: When, on the clock that only goes on.
        processor_s: That it and what it started and saw end took.
    """

    status: int
    printed: bytes
    at: float
    processor_s: float


def make_room(
    folder: Path,
    shards: Sequence[tuple[Any, Any]],
    *,
    recipe: Path = DIGITS,
    frameworks: Sequence[str],
    training: dict[str, Any] | None = None,
    **changes: Any,
) -> SmallRoom:
    """Write shards and a key, and agree on terms that fit them."""
    for index, (x, y) in enumerate(shards):
        (folder / f"shard-{index}").mkdir()
        np.save(folder / f"shard-{index}" / "x.npy", x)
        np.save(folder / f"shard-{index}" / "y.npy", y)
    for name in ("model", "report-m", "report-d"):
        (folder / name).mkdir()
    (folder / "key").write_text("77" * 32)
    base: Terms = sample_terms(privacy="none", rounds="6")
    first = base.data.shards[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    release = changes.pop("release", None)
    if release is not None:
        changes["release"] = dataclasses.replace(base.release, **release)
    terms = dataclasses.replace(
        base,
        data=dataclasses.replace(
            base.data,
            shards=tuple(
                Shard(id=f"{0xD0 + index:02x}" * 16, root=first.root, examples=len(x))
                for index, (x, _) in enumerate(shards)
            ),
            shape=shards[0][0].shape[1:],
        ),
        recipe=dataclasses.replace(
            base.recipe, digest="sha256:" + recipe_digest(read_recipe(recipe)).hex()
        ),
        training=dataclasses.replace(
            base.training,
            **(
                {
                    "frameworks": tuple(frameworks),
                    "port": port,
                    "prepare_ticks": 400,
                    "round_ticks": 40,
                    "norm_max": Decimal(100),
                }
                | (training or {})
            ),
        ),
        **({"canaries": 0} | changes),
    )
    agreement = sample_agreement(terms)
    (folder / "terms.cbor").write_bytes(agreement.to_bytes())
    return SmallRoom(agreement, folder, recipe, port)
