"""A room as its owners and an operator have it: commands, attestation, shield and cells."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.terms_text import parse_terms, terms_to_text
from integration.cleanroom.room import DIGITS
from integration.cleanroom.test_training import shards
from integration.cli.desk import Desk

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.jobs,
    pytest.mark.frameworks("jax", "torch", "sklearn"),
    pytest.mark.timeout(300),
]
SPACE = "rooms/digits"
SLOW_S = 280.0


class Owners:
    """Everybody's files in one folder, and a desk for whoever has a key."""

    def __init__(self, folder: Path) -> None:
        """Make keys, a trust domain and a namespace that both owners govern."""
        self.operator = Desk(folder)
        self.publics = {
            name: self.operator.json("key", "new", f"{name}.key").good().record["public"]
            for name in ("ann", "ben")
        }
        self.ann, self.ben = (
            Desk(folder, variables={"CLOISTER_KEY": str(folder / f"{name}.key")})
            for name in ("ann", "ben")
        )
        self.operator.run("init", "--name", "example.org").good()
        words = [word for key in self.publics.values() for word in ("--approver", key)]
        self.operator.run("namespace", "draft", SPACE, "-k", "2", *words).good()
        self.operator.run("namespace", "apply", "charter.yaml").good()

    def seal(self, records: list[tuple[Any, Any]]) -> None:
        """Seal a recipe and a shard for each trainer; make the other volumes."""
        folder = self.operator.folder
        shutil.copytree(DIGITS, folder / "recipe", ignore=shutil.ignore_patterns("__pycache__"))
        space = ("--namespace", SPACE)
        self.ann.run("volume", "seal", "recipe", "sealed/recipe", *space).good()
        self.ann.run("volume", "create", "sealed/model", *space).good()
        self.ann.run("volume", "create", "sealed/report-model-owner", *space).good()
        self.ben.run("volume", "create", "sealed/report-data-owner", *space).good()
        for index, (x, y) in enumerate(records):
            (folder / f"shard-{index}").mkdir()
            np.save(folder / f"shard-{index}" / "x.npy", x)
            np.save(folder / f"shard-{index}" / "y.npy", y)
            self.ben.run("volume", "seal", f"shard-{index}", f"sealed/shard-{index}", *space).good()

    def agree(self, sizes: list[int], frameworks: list[str]) -> None:
        """Draft, shorten, offer, and accept by both."""
        digest = self.ann.json("cleanroom", "digest", "recipe").good().record["digest"]
        places = [word for index, size in enumerate(sizes)
                  for word in ("--shard", f"sealed/shard-{index}={size}")]  # fmt: skip
        chosen = [word for name in frameworks for word in ("--framework", name)]
        self.operator.run(
            "cleanroom", "draft", "--name", "digits", "--namespace", SPACE, *places, *chosen,
            "--model-owner", self.publics["ann"], "--data-owner", self.publics["ben"],
            "--shape", "8,8", "--classes", "10", "--recipe", "sealed/recipe",
            "--recipe-digest", digest, "--model", "sealed/model",
            "--model-owner-report", "sealed/report-model-owner",
            "--data-owner-report", "sealed/report-data-owner",
            "--principal", f"ben={self.publics['ben']}", "--rounds", "6",
        ).good()  # fmt: skip
        file = self.operator.folder / "terms.yaml"
        terms = parse_terms(file.read_bytes(), source="terms.yaml")
        training = dataclasses.replace(
            terms.training,
            parameters_max=20_000,
            norm_max=Decimal(100),
            checkpoint_every=3,
            tick_ms=200,
            prepare_ticks=150,
            round_ticks=8,
            closing_ticks=10,
        )
        release = dataclasses.replace(
            terms.release, metrics=("accuracy",), every_rounds=3, receipt="none"
        )
        terms = dataclasses.replace(
            terms,
            training=training,
            privacy=None,
            canaries=0,
            release=release,
            cell=dataclasses.replace(terms.cell, memory_bytes=1 << 30),
        )
        file.write_text(terms_to_text(terms))
        self.ann.run("cleanroom", "offer", "terms.yaml", "--key", "ann.key").good()
        accept = ("cleanroom", "accept")
        self.ben.run(*accept, "room.offer", "--key", "ben.key", "--room", "his").good()
        self.ann.run(*accept, "his/code/terms.cbor", "--key", "ann.key", "--room", "hers").good()

    def train(self, trainers: int) -> Mapping[str, Any]:
        """Train as whoever has the machine, without a key of either."""
        names = [f"shard-{index}" for index in range(trainers)]
        names += ["recipe", "model", "report-model-owner", "report-data-owner"]
        places = [word for name in names for word in ("--volume", f"{name}=sealed/{name}")]
        done = self.operator.json("cleanroom", "train", "hers", *places, timeout_s=SLOW_S)
        return done.good().record


@contextlib.contextmanager
def owners(folder: Path) -> Iterator[Owners]:
    """Make them, and end their key service."""
    made = Owners(folder)
    try:
        yield made
    finally:
        made.operator.stop_service()


def test_two_trainers_learn_and_each_owner_gets_what_is_his(tmp_path: Path) -> None:
    """In two frameworks; the report in each owner's volume, the receipt, and nothing more."""
    records = shards(2)
    with owners(tmp_path) as all_:
        all_.seal(records)
        all_.agree([len(x) for x, _ in records], ["jax", "torch"])
        done = all_.train(2)
        assert set(done["instances"]) == {"server-0", "trainer-0", "trainer-1"}
        reports = [
            desk.read(f"sealed/report-{party}")["training.json"]
            for desk, party in ((all_.ann, "model-owner"), (all_.ben, "data-owner"))
        ]
        assert reports[0] == reports[1]
        entries = json.loads(reports[0])["entries"]
        assert [entry["round"] for entry in entries] == [3, 6]
        assert float(entries[-1]["metrics"]["accuracy"]) > 0.8
        assert done["verified"] is True
        receipt = ("audit", "receipt", "jobs/digits/receipt.json")
        assert all_.ben.json(*receipt).code == "identity.tls"
        checked = all_.ben.json(*receipt, "--trust", "his/trust.json").good().record
        assert (checked["status"], checked["complete"]) == ("done", True)
        kept = all_.ann.read("sealed/model")
        assert set(kept) == {"checkpoint", "model"}
        assert all(b"hidden" not in data for data in kept.values())
        for desk, volume in ((all_.ann, "shard-0"), (all_.ben, "recipe"), (all_.ben, "model")):
            refused = desk.json("volume", "open", f"sealed/{volume}", "stolen")
            assert refused.code == "release.volume-unknown"
        told = all_.ben.json("cleanroom", "status", "his", "--report", "sealed/report-data-owner")
        assert told.good().record["report"]["rounds"] == 6
        assert told.record["report"]["entries"] == entries
