"""A query enclave in a process of its own, with real cells: asked over TLS by its principals.

The model is made here and not trained, so that what it must answer is known.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom import client
from cloister.cleanroom.agreement import Room
from cloister.cleanroom.description import ModelDescription
from cloister.cleanroom.model_file import TrainedModel, save_model
from cloister.cleanroom.plan import plan_bytes
from cloister.cleanroom.questions import Plan
from cloister.cleanroom.recipe import read_recipe, recipe_digest
from cloister.cleanroom.room_key import RoomKey
from cloister.cleanroom.room_policy import policy_of
from cloister.cleanroom.round_rules import RoundRules
from cloister.errors import CloisterError
from cloister.keyservice.policy import parse_policy, policy_hash
from cloister.testing.certificates import FakeDomain
from cloister.testing.cleanroom import PRINCIPAL, sample_agreement, sample_terms
from cloister.testing.serving import write_identity

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)
WIDTH = 10
TICK_MS = 1000  # seven tenths are for the cell
PROCESS = Path(__file__).parent / "query_process.py"

# What a query leaves behind: in a global, in the scratch, in the environment, in a module.
LEAVES = """
import os, pathlib, time
import numpy as np

seen = []

def features(state, x):
    what = x[0, 7, 7]
    if what == 1: raise ValueError(x)
    if what == 2: os._exit(3)
    if what == 3: time.sleep(60)
    found = len(seen)
    places = [pathlib.Path("/scratch/left"), pathlib.Path("/tmp/left"), pathlib.Path("/cell/left")]
    found += sum(place.exists() for place in places)
    for place in places:
        try:
            place.write_text("left")
        except OSError:
            pass
    found += "LEFT" in os.environ
    found += hasattr(np, "left")
    os.environ["LEFT"] = "1"
    np.left = True
    seen.append(x)
    made = x.reshape(len(x), -1)[:, :10] * 1.0
    made[:, 0] = found
    return made
"""

BY_ITSELF = """
def predict(state, parameters, x):
    return x.reshape(len(x), -1)[:, :10] + parameters[:10]
"""


@dataclasses.dataclass(frozen=True)
class Running:
    """An enclave that is asked."""

    room: Room
    url: str
    trust: Path

    def connect(self) -> client.RoomClient:
        """As the sample's principal."""
        return client.connect(
            self.url, terms=self.room, trust=self.trust, principal="clinic", key=PRINCIPAL
        )


@contextlib.contextmanager
def enclave(folder: Path, recipe: str, *, by: str = "trainer", **queries: Any) -> Iterator[Running]:
    """Make a room with a recipe and a model that says what the features are, and serve it."""
    (folder / "recipe").mkdir()
    (folder / "recipe" / "recipe.py").write_text(recipe)
    (folder / "model").mkdir()
    (folder / "key").write_text("77" * 32)
    terms = sample_terms(privacy="none")
    digest = "sha256:" + recipe_digest(read_recipe(folder / "recipe")).hex()
    terms = dataclasses.replace(
        terms,
        canaries=0,
        recipe=dataclasses.replace(terms.recipe, digest=digest),
        training=dataclasses.replace(terms.training, by=by, frameworks=("torch", "torch")),  # type: ignore[arg-type]  # words of the terms
        cell=dataclasses.replace(terms.cell, memory_bytes=1 << 27, scratch_bytes=1 << 20),
        queries=dataclasses.replace(terms.queries, **({"tick_ms": TICK_MS} | queries)),
    )
    room = Room(sample_agreement(terms))
    (folder / "terms.cbor").write_bytes(room.agreement.to_bytes())
    model = ModelDescription.from_fields(
        {
            "version": 1,
            "input_shape": [WIDTH],
            "classes": 10,
            "layers": [{"kind": "dense", "name": "out", "inputs": ["input"], "units": 10}],
            "optimizer": {"kind": "sgd", "rate": 0.1},
            "loss": "mse",
            "batch": 32,
        }
    )
    same = np.concatenate([np.eye(WIDTH).reshape(-1), np.zeros(10)]).astype(np.float32)
    if by == "recipe":
        same = np.linspace(0, 0.09, 10).astype(np.float32)
    plan = Plan(None if by == "recipe" else model, None, {})
    rules = RoundRules.of(room)
    key = RoomKey.load(folder / "key", room=room.digest)
    save_model(folder / "model", TrainedModel(plan_bytes(plan), same, 1, {}), rules, key)
    policy = policy_hash(parse_policy(policy_of(room.agreement).encode(), source="room"))
    credential = DOMAIN.credential(
        "query", namespace="rooms/digits", policy_hash=policy, instance="query-0"
    )
    write_identity(folder / "identity", credential, ca_pem=DOMAIN.ca_pem)
    facts = {"name": DOMAIN.name, "ca": DOMAIN.ca_pem.decode(), "identity": terms.service}
    (folder / "domain.json").write_text(json.dumps(facts))
    command = [sys.executable, str(PROCESS), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().removeprefix("port=").strip()
            yield Running(room, f"https://127.0.0.1:{port}", folder / "domain.json")
        finally:
            process.terminate()
            assert process.wait(20) == 0


def record(*first: float) -> Any:
    """A record that begins with some numbers."""
    found = np.zeros((8, 8), np.float32)
    found.reshape(-1)[: len(first)] = first
    return found


@pytest.mark.frameworks("torch")
@pytest.mark.spec("CQ-24", "CQ-34", "CQ-35", "CQ-37")
def test_nothing_of_a_query_is_there_for_the_next(tmp_path: Path) -> None:
    """A recipe that keeps what it can finds none of it; one that fails, fails for one query.

    Raised, left or slept: one outcome, one size, one time.
    """
    pytest.importorskip("torch")
    good, took = record(0, 0.25, 0.5), []
    with enclave(tmp_path, LEAVES) as running:
        for _ in range(2):
            with running.connect() as room:
                for _ in range(2):
                    found = room.ask(good)
                    assert found.labels == (2, 1, 0)
                    assert found.scores == (0.5, 0.25, 0.0)
        with running.connect() as room:
            room.standing()
            for kind in (1, 2, 3):
                bad = good.copy()
                bad[7, 7] = kind
                began = time.monotonic()
                with pytest.raises(CloisterError) as caught:
                    room.ask(bad)
                took.append(time.monotonic() - began)
                assert caught.value.code == "query.failed"
            assert room.ask(good).left == 92
    # Two ticks, whatever happened.
    assert np.allclose(np.round(np.array(took) / (TICK_MS / 1000)), 2), took


@pytest.mark.frameworks("torch")
@pytest.mark.spec("CQ-33", "CQ-35")
def test_a_recipe_predicts_by_itself(tmp_path: Path) -> None:
    """With the parameters that it trained, in a cell; labels are all that leaves it."""
    pytest.importorskip("torch")
    queries = {"answer": "label", "digits": 0, "top_k": 2}
    with (
        enclave(tmp_path, BY_ITSELF, by="recipe", **queries) as running,
        running.connect() as room,
    ):
        assert room.ask(record(0.0, 0.5)) == client.Labels((1, 9), None, 99)
