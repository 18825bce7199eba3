"""Parts of the clean room's demonstration, without a training."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import socket
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from cloister.cleanroom.agreement import Room
from cloister.cleanroom.round_rules import RoundRules
from cloister.cli.cleanroom_demo import asking, attempts, material, story
from cloister.cli.cleanroom_demo.people import OPERATOR, People
from cloister.errors import MissingExtraError, UnavailableError
from cloister.testing.cleanroom import sample_agreement, sample_terms


def spying() -> Any:
    """The spying recipe, in this process."""
    path = Path(str(resources.files("cloister.cli.demo.files").joinpath("spying_recipe.py")))
    spec = importlib.util.spec_from_file_location("spying_recipe", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_what_the_spying_recipe_tries_works_outside_a_cell(tmp_path: Path) -> None:
    """So that a refusal in the cell is the cell's."""
    (tmp_path / "log").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        spec = {
            "port": listener.getsockname()[1],
            "read": str(tmp_path / "log"),
            "leave": str(tmp_path / "left"),
        }
        tries = spying().TRIES
        for name in ("opens a connection", "opens a local socket", "reads a file of the machine",
                     "leaves a file on the machine", "looks at other processes"):  # fmt: skip
            tries[name](spec)
    assert (tmp_path / "left").exists()
    assert os.access("/bin/sh", os.X_OK)


def test_a_programs_output_is_counted_and_the_launchers_is_not(tmp_path: Path) -> None:
    """By lines, without their times."""
    log = tmp_path / "server-0.log"
    log.write_text("2026-01-01T00:00:00.000Z cloister: a note\n")
    assert story._output_bytes(log) == 0
    log.write_text("2026-01-01T00:00:00.000Z cloister: a note\n2026-01-01T00:00:00.000Z 1234\n")
    assert story._output_bytes(log) == 5


def test_its_terms_are_terms_and_short() -> None:
    """Both owners could sign them, and the exchange can keep them."""
    terms = story.demonstration_terms(sample_terms())
    schedule = RoundRules.of(Room(sample_agreement(terms))).schedule
    assert schedule.ticks * schedule.tick_s < 40
    assert terms.privacy is None


@pytest.mark.frameworks("sklearn")
def test_the_markers_of_the_model_are_in_it(tmp_path: Path) -> None:
    """And nowhere in recipe or records; another room has others."""
    made = material.Material.make()
    made.write_recipe(tmp_path / "recipe")
    terms = story.demonstration_terms(sample_terms())
    frameworks = (material.find_framework(),) * terms.trainers
    training = dataclasses.replace(terms.training, frameworks=frameworks)
    room = Room(sample_agreement(dataclasses.replace(terms, training=training)))
    plain, pieces = made.model(room, tmp_path / "recipe")
    assert len(pieces) >= 4
    assert all(piece in plain and len(set(piece)) > 20 for piece in pieces)
    assert not any(piece in made.recipe + made.x.tobytes() for piece in pieces)
    assert made.markers["records"][0] in made.x.tobytes()
    assert len(made.queries) == len(made.query_labels) + 1 == terms.queries.limit
    queries = made.write_queries(tmp_path / "queries")
    assert made.markers["queries"][0] in queries[-1].read_bytes()
    assert made.markers["recipe"][0] in (tmp_path / "recipe" / "recipe.py").read_bytes()


def test_no_framework_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError):
        material.find_framework()


def test_an_attempt_that_works_has_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks is told what the command failed with, or that a proposal waits."""
    told: dict[str, Any] = {}

    class Answer:
        code = ""
        record = told

    monkeypatch.setattr("cloister.cli.cleanroom_demo.people.Person.try_", lambda *_, **__: Answer)
    people = People(tmp_path)
    assert attempts.open_recipe(people) == ""
    assert attempts.open_records(people) == ""
    assert attempts.open_without_key(people) == ""
    assert attempts.run_after_the_end(people) == ""
    (people.operator.room / "code").mkdir(parents=True)
    assert attempts.run_other_code(people) == ""
    people.model_owner.room.mkdir(parents=True)
    policy = 'predecessor: "none"\n- "cloister.cleanroom.trainer"\n'
    (people.model_owner.room / "policy.yaml").write_text(policy)
    monkeypatch.setattr(
        "cloister.cli.cleanroom_demo.people.Person.do", lambda *_, **__: {"hash": "sha256:00"}
    )
    assert attempts.propose_alone(people) == ""
    hers = (people.model_owner.folder / "mine.yaml").read_text()
    assert hers == 'predecessor: "sha256:00"\n- "mine"\n'
    told["state"] = "approval.pending"
    assert attempts.propose_alone(people) == "approval.pending"
    assert people.named(OPERATOR) == people.operator


def test_the_query_enclaves_port_is_read_from_its_log(tmp_path: Path) -> None:
    """One that ended before it listened is an error."""
    log = tmp_path / "log"
    log.write_text("x\ncloister: query listens on 127.0.0.1:4711\ny")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert asking._port(process, log) == 4711
        log.write_text("cloister: query listens on")
        process.communicate(b"\n")
        with pytest.raises(UnavailableError):
            asking._port(process, log)
