"""`cloister audit receipt` of a job."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cloister.cli import job_receipts, settings
from cloister.crypto.signature import VerifyingKey
from cloister.errors import CloisterError
from unit.cli.conftest import Door

FOLDER = Path(__file__).parents[3] / "docs/spec/vectors/job-receipt-v1"


def put(door: Door, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Leave the files of a vector in a folder, and pin its facts."""
    vector = json.loads((FOLDER / f"{name}.json").read_text())
    pinned = dataclasses.replace(
        door.bench.domain,
        identity=VerifyingKey.from_text(vector["service"]),
        ca=vector["ca"].encode(),
    )
    monkeypatch.setattr(settings, "find_domain", lambda _domain: pinned)
    (door.folder / "job" / "receipts").mkdir(parents=True, exist_ok=True)
    (door.folder / "job" / "receipt.json").write_text(vector["job"])
    for file, text in vector["files"].items():
        (door.folder / "job" / file).write_text(text)
    assert isinstance(vector, dict)
    return vector


def test_a_job_that_holds(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that it names, for people and machines."""
    put(door, "ok", monkeypatch)
    found = door.record("audit", "receipt", "job/receipt.json")
    assert (found["status"], found["policy"], found["complete"]) == ("done", "lab/digits", True)
    assert found["shards"] == [{"role": "worker", "mount": "/data", "opened": 2, "of": 2}]
    assert [each["shards"] for each in found["instances"]] == [
        {},
        {"/data": "train-0"},
        {"/data": "train-1"},
    ]
    shown = door.call("audit", "receipt", "job/receipt.json").stdout
    assert "the job lab/digits is done; 3 instances" in shown
    assert "worker opened 2 of 2 shards at /data" in shown
    assert "not all of the evidence was hardware's" in shown


def test_what_is_not_all_of_a_job(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is said."""
    put(door, "ok-one-role", monkeypatch)
    shown = door.call("audit", "receipt", "job/receipt.json").stdout
    assert "the others ran elsewhere" in shown
    put(door, "ok-until", monkeypatch)
    assert "it waited for worker only" in door.call("audit", "receipt", "job/receipt.json").stdout


def test_a_job_that_does_not_hold(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code says what is wrong; a file that is missing is wrong too."""
    vector = put(door, "shard-other", monkeypatch)
    error = door.call("audit", "receipt", "job/receipt.json").exception
    assert isinstance(error, CloisterError)
    assert error.code == vector["expect"]
    put(door, "ok", monkeypatch)
    (door.folder / "job/receipts/worker-0.0.json").unlink()
    error = door.call("audit", "receipt", "job/receipt.json").exception
    assert isinstance(error, CloisterError)
    assert error.code == "config.file"


def test_other_files_are_not_taken_for_one(tmp_path: Path) -> None:
    """Their own readers judge them."""
    (tmp_path / "x").write_bytes(b"{}")
    assert not job_receipts.is_one(tmp_path / "x")
    with pytest.raises(CloisterError):
        job_receipts.is_one(tmp_path / "none")


def test_the_authority_of_a_namespace_is_pinned_where_its_file_is_given(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job below a charter has certificates of another authority than the domain's."""
    vector = put(door, "ok", monkeypatch)
    pinned = dataclasses.replace(settings.find_domain(None), ca=door.bench.domain.ca)
    monkeypatch.setattr(settings, "find_domain", lambda _domain: pinned)
    check = ("audit", "receipt", "job/receipt.json")
    assert getattr(door.call(*check).exception, "code", None) == "identity.tls"
    facts = {"name": pinned.name, "namespace": "lab", "ca": vector["ca"]}
    trust = door.folder / "trust.json"
    trust.write_text(json.dumps(facts))
    assert door.record(*check, "--trust", "trust.json")["status"] == "done"
    for text, code in (
        (json.dumps(facts | {"name": "other.test"}), "config.value"),
        (json.dumps(facts | {"ca": 1}), "config.file"),
        ("[]", "config.file"),
        ('{"name": 1, "name": 2}', "config.file"),
        ("[" * 70_000, "config.file"),
    ):
        trust.write_text(text)
        found = door.call(*check, "--trust", "trust.json")
        assert getattr(found.exception, "code", None) == code
    found = door.call(*check, "--trust", "nowhere.json")
    assert getattr(found.exception, "code", None) == "config.file"
