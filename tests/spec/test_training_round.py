"""The vectors of training-round-v1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.aggregation import FLOAT, ParameterState
from cloister.cleanroom.checkpoint import Checkpoint
from cloister.cleanroom.exchange_message import message_bytes, read_message, write_message
from cloister.cleanroom.server_standing import Standing
from cloister.errors import CloisterError
from rounds_bench import RULES, rules

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors/training-round-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def named(kind: str) -> list[str]:
    return [name for name, vector in VECTORS.items() if vector["kind"] == kind]


@pytest.mark.parametrize("name", named("message"))
@pytest.mark.spec("TR-10", "TR-11", "TR-12", "TR-13", "TR-14", "TR-15", "TR-16", "TR-37", "TR-40")
def test_messages(name: str) -> None:
    """A message is read as its vector says, and written again to the same bytes; or refused."""
    vector = VECTORS[name]
    raw = bytes.fromhex(vector["bytes"])
    if vector["expect"] != "ok":
        with pytest.raises(CloisterError) as caught:
            read_message(raw, RULES)
        assert caught.value.code == vector["expect"]
        return
    message = read_message(raw, RULES)
    for field, value in vector["fields"].items():
        found = getattr(message, field)
        if field == "kind":
            found = found.name.lower()
        elif field == "body":
            found = np.asarray(found).tobytes().hex()
        elif field == "metrics":
            found = list(found)
        assert found == value, field
    out = bytearray(message_bytes(RULES))
    write_message(message, RULES, out)
    assert out == raw


@pytest.mark.parametrize("name", named("checkpoint"))
@pytest.mark.spec("TR-52", "TR-53", "TR-54")
def test_checkpoints(name: str) -> None:
    """A checkpoint is read as its vector says, and written again to the same bytes; or refused."""
    vector = VECTORS[name]
    raw = bytes.fromhex(vector["bytes"])
    if vector["expect"] != "ok":
        with pytest.raises(CloisterError) as caught:
            Checkpoint.from_bytes(raw, RULES)
        assert caught.value.code == vector["expect"]
        return
    found = Checkpoint.from_bytes(raw, RULES)
    assert {
        "epoch": found.epoch,
        "version": found.version,
        "tick": found.tick,
        "plan": found.plan.hex(),
        "parameters": found.parameters.tolist(),
    } == vector["fields"]
    assert found.to_bytes(RULES) == raw


@pytest.mark.parametrize("name", named("adding"))
@pytest.mark.spec("TR-20", "TR-21", "TR-22", "TR-23", "TR-24", "TR-25")
def test_adding(name: str) -> None:
    """Differences come and are added as the vector says, to the last bit."""
    vector: dict[str, Any] = VECTORS[name]
    mode = vector["mode"]
    terms = rules(
        mode=mode,
        damping=vector["damping"],
        max_staleness=vector["max_staleness"],
        norm_max=float(vector["norm_max"]),
    )
    state = ParameterState(terms, np.frombuffer(bytes.fromhex(vector["initial"]), FLOAT))
    for step in vector["ticks"]:
        for each in step["comes"]:
            difference = np.frombuffer(bytes.fromhex(each["difference"]), FLOAT)
            fate = state.add(each["trainer"], difference, each["based_on"])
            assert (fate.value if fate else "waits") == each["becomes"]
        fates = state.close_round() if mode == "synchronous" else state.settle()
        assert [fate.value if fate else None for fate in fates] == step["fates"]
        version, parameters = state.pull()
        assert (version, parameters.tobytes().hex()) == (step["version"], step["parameters"])


@pytest.mark.parametrize("name", named("standing"))
@pytest.mark.spec("TR-30", "TR-31", "TR-32", "TR-33")
def test_standings(name: str) -> None:
    """What a server says follows what a trainer has seen, or both refuse each other."""
    vector = VECTORS[name]
    seen, server = (
        Standing(**(vector[side] | {"life": bytes.fromhex(vector[side]["life"])}))
        for side in ("seen", "server")
    )
    if vector["expect"] == "ok":
        seen.followed_by(server)
        server.require_of(seen)
        return
    for question in (lambda: seen.followed_by(server), lambda: server.require_of(seen)):
        with pytest.raises(CloisterError) as caught:
            question()
        assert caught.value.code == vector["expect"]


def test_vectors_are_made_again_without_a_difference() -> None:
    """The generator writes what is there, and nothing else."""
    before = {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
    subprocess.run([sys.executable, str(FOLDER / "generate.py")], check=True, timeout=60)
    assert {path.name: path.read_bytes() for path in FOLDER.glob("*.json")} == before
    assert sum(vector["expect"] != "ok" for vector in VECTORS.values()) > len(VECTORS) / 2
