"""The vectors of job-receipt-v1."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.signature import VerifyingKey
from cloister.errors import CloisterError, ConfigError
from cloister.training.job_claims import FORMAT
from cloister.training.job_receipt import Part, VerifiedJob, make_job_receipt, verify_job_receipt

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors/job-receipt-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def judge(vector: dict[str, Any], job: bytes | None = None) -> VerifiedJob:
    """Verify under the pinned facts of a vector."""

    def read(name: str) -> bytes:
        if name not in vector["files"]:
            raise ConfigError(f"{name} is not there", code="config.file")
        return str(vector["files"][name]).encode()

    return verify_job_receipt(
        vector["job"].encode() if job is None else job,
        read,
        ca=vector["ca"].encode(),
        service=VerifyingKey.from_text(vector["service"]),
        origin=vector["origin"],
    )


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.spec(
    "JR-1", "JR-2", "JR-3", "JR-4", "JR-5", "JR-10", "JR-11", "JR-12", "JR-13", "JR-14", "JR-15",
    "JR-16", "JR-17", "JR-18",
)  # fmt: skip
def test_job_receipts(name: str) -> None:
    """A receipt holds under the pinned facts of its vector, or is refused with its code."""
    vector = VECTORS[name]
    if vector["expect"] == "ok":
        assert judge(vector).status == json.loads(vector["job"])["status"]
        return
    with pytest.raises(CloisterError) as caught:
        judge(vector)
    assert caught.value.code == vector["expect"]


def test_what_a_receipt_proves() -> None:
    """Whether all was there, on hardware, and which shards were opened."""
    job = judge(VECTORS["ok"])
    assert (job.complete, job.hardware_rooted, job.until) == (True, False, ())
    assert job.shards == {("worker", "/data"): (2, 2)}
    assert [len(part.runs) for part in job.parts] == [1, 1, 1]
    assert [dict(part.shards) for part in job.parts] == [
        {},
        {"/data": "train-0"},
        {"/data": "train-1"},
    ]
    assert not judge(VECTORS["ok-one-role"]).complete
    assert judge(VECTORS["ok-failed"]).shards == {("worker", "/data"): (1, 2)}
    assert judge(VECTORS["ok-until"]).until == ("worker",)
    missing = VECTORS["ok"] | {"files": {}}
    with pytest.raises(ConfigError):
        judge(missing)


@pytest.mark.spec("JR-6")
def test_what_is_written_is_what_is_read() -> None:
    """The writer's receipt of the same runs says the same, and holds."""
    vector = VECTORS["ok"]
    job = judge(vector)
    facts = json.loads(vector["job"])
    parts = [
        Part(
            task=part.task,
            restarts=part.restarts,
            status=0,
            receipts={
                int(name.split(".")[1]): text.encode()
                for name, text in vector["files"].items()
                if name.startswith(f"receipts/{part.task.name}.")
            },
        )
        for part in reversed(job.parts)
    ]
    written = make_job_receipt(
        job.policy, parts, began=facts["began"], ended=facts["ended"], status="done"
    )
    assert json.loads(written) == facts
    assert judge(vector, written) == job
    bad = Part(task=parts[0].task, restarts=0, status=0, receipts={0: b"no receipt"})
    with pytest.raises(CloisterError):
        make_job_receipt(job.policy, [bad], began=0, ended=0, status="done")


@pytest.mark.spec("JR-1")
def test_the_page_has_the_format() -> None:
    """It stands once in the page and once in the code."""
    assert FORMAT in (ROOT / "docs/spec/job-receipt-v1.md").read_text("utf-8")


def test_half_of_the_vectors_are_refusals() -> None:
    """A page is tested by what it refuses."""
    refused = [name for name, vector in VECTORS.items() if vector["expect"] != "ok"]
    assert 2 * len(refused) >= len(VECTORS)


def test_the_generator_leaves_no_difference(tmp_path: Path) -> None:
    """Running it again writes the same files."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, script], check=True, timeout=60, env=environment)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
