"""A trust domain with GPUs: collected in one piece, and judged by two policies."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloister.attestation.evidence import ReportData
from cloister.attestation.evidence_rules import Field
from cloister.cli import evidence
from cloister.errors import CloisterError
from cloister.tee.composite import accelerator_nonce
from cloister.tee.nvidia.fields import FIELDS as GPU_FIELDS
from cloister.tee.tdx.fields import FIELDS as TDX_FIELDS
from cloister.testing.kernel import FakeTsm
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.testing.nvml import FakeNvml

NOW = 1_800_000_000
INSTANT = dt.datetime.fromtimestamp(NOW, dt.UTC).isoformat()
REQUEST, MINE = bytes(range(64)), b"n" * 32


def policy(kind: str, anchors: Sequence[bytes], fields: Sequence[Field], **claims: str) -> str:
    """A policy that says something about whatever it must."""
    named = ", ".join(f'"sha256:{each.hex()}"' for each in anchors)
    said = {each.path: "{unchecked: not pinned here}" for each in fields if each.required} | claims
    lines = "".join(f"  {path}: {rule}\n" for path, rule in said.items())
    return f"evidence_policy: cloister/v1\nkind: {kind}\nanchors: [{named}]\nclaims:\n{lines}"


def run(*words: str | Path) -> Result:
    """Run a command."""
    return CliRunner().invoke(evidence.app, [str(word) for word in words])


class Machine:
    """A simulated TD with one simulated GPU, and what judges both."""

    def __init__(self, folder: Path, nvml: FakeNvml, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.nvml = folder, nvml
        self.padding = 0
        self.intel = SimulatedIntel(b"composite", at=NOW)
        self.maker = SimulatedNvidia("composite", at=NOW)
        self.gpu = self.maker.gpu("HOPPER")
        self.plug(MINE)
        nvml.put("certificates0", self.gpu.chain.body)
        fake = FakeTsm(folder / "tsm", "tdx_guest", make=self.quote)
        patch.setattr("cloister.tee.tsm.LinuxFiles", lambda: fake)
        self.cpu_policy, self.gpu_policy = folder / "cpu.yaml", folder / "gpu.yaml"
        self.cpu_policy.write_text(policy("tdx", [self.intel.anchor], TDX_FIELDS), "utf-8")
        self.gpu_policy.write_text(policy("nvidia", self.maker.anchors, GPU_FIELDS), "utf-8")
        collateral = folder / "collateral.json"
        collateral.write_bytes(self.intel.mint(IntelCase("tdx4")).collateral)
        self.given: list[str | Path] = ["--endorsements", collateral]
        for number, each in enumerate(self.maker.endorsements(self.gpu)[1:]):
            path = folder / f"given-{number}"
            path.write_bytes(each.body)
            self.given += ["--endorsements", path]

    def quote(self, report_data: bytes) -> bytes:
        """What the TDX module and the quoting enclave make."""
        case = IntelCase("tdx4", report_data=report_data, padding=bytes(self.padding))
        return self.intel.mint(case).quote

    def plug(self, mine: bytes) -> None:
        """Let the GPU answer a request with this nonce."""
        bound = accelerator_nonce(mine, ReportData(REQUEST))
        self.nvml.put("report0", self.gpu.report(bound).to_bytes())

    def collect(self, name: str = "both.cbor", *words: str | Path) -> Path:
        """Collect it."""
        out = self.folder / name
        done = run(
            *("collect", out, "--kind", "tdx", "--nonce", REQUEST.hex()),
            *("--gpu-nonce", MINE.hex(), "--nvml", self.nvml.library),
            *("--tsm", self.folder / "tsm", *words),
        )
        assert done.exit_code == 0, (done.output, done.exception)
        return out

    def verify(self, path: Path, *, nonce: bytes = REQUEST, mine: bytes = MINE) -> Result:
        """Judge it."""
        return run(
            *("verify-composite", path, "--at", INSTANT, *self.given, "--json"),
            *("--policy", self.cpu_policy, "--gpu-policy", self.gpu_policy),
            *("--nonce", nonce.hex(), "--gpu-nonce", mine.hex()),
        )


@pytest.fixture
def machine(tmp_path: Path, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with both."""
    return Machine(tmp_path, nvml, monkeypatch)


def record(done: Result) -> dict[str, Any]:
    """What it printed."""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.spec("CE-5")
def test_a_processor_and_its_gpus_are_accepted_together(machine: Machine) -> None:
    """Each made for the other and for this request; and for no other."""
    both = machine.collect()
    done = machine.verify(both)
    assert done.exit_code == 0, done.output
    found = record(done)
    assert found["verdict"] == "accept"
    assert set(found["parts"]) == {"cpu", "gpu"}
    for wrong in (
        machine.verify(both, nonce=REQUEST[::-1]),
        machine.verify(both, mine=b"m" * 32),
    ):
        assert wrong.exit_code == 77
        assert record(wrong)["reasons"][0]["code"] == "evidence.binding"


def test_a_part_that_its_policy_does_not_want_is_refused(machine: Machine) -> None:
    """The other part stays accepted, and is told so; as text, too."""
    both = machine.collect()
    machine.cpu_policy.write_text(
        policy(
            "tdx",
            [machine.intel.anchor],
            TDX_FIELDS,
            measurement='{one_of: ["' + "ab" * 48 + '"]}',
        ),
        "utf-8",
    )
    done = machine.verify(both)
    assert done.exit_code == 77
    parts = record(done)["parts"]
    assert (parts["cpu"]["verdict"], parts["gpu"]["verdict"]) == ("reject", "accept")
    said = run(
        *("verify-composite", both, "--at", INSTANT, *machine.given),
        *("--policy", machine.cpu_policy, "--gpu-policy", machine.gpu_policy),
        *("--nonce", REQUEST.hex(), "--gpu-nonce", MINE.hex()),
    )
    assert said.exit_code == 77
    assert "cpu:\nrefused" in said.stdout
    assert "gpu:\naccepted" in said.stdout


def test_half_of_it_is_refused(machine: Machine) -> None:
    """A processor's evidence alone, and a part that is somebody else's."""
    alone = machine.folder / "alone.cbor"
    done = run(
        *("collect", alone, "--kind", "tdx", "--nonce", REQUEST.hex()),
        *("--tsm", machine.folder / "tsm"),
    )
    assert done.exit_code == 0
    refused = machine.verify(alone)
    assert (refused.exit_code, record(refused)["reasons"][0]["code"]) == (77, "evidence.kind")


def test_what_vouches_and_is_missing_leaves_it_undecided(machine: Machine) -> None:
    """It may be accepted another time."""
    both = machine.collect()
    machine.given = machine.given[2:]
    done = machine.verify(both)
    assert (done.exit_code, record(done)["reasons"][0]["code"]) == (75, "endorsement.missing")


def test_a_gpu_that_answers_something_else_stops_the_collecting(machine: Machine) -> None:
    """No file is left."""
    machine.plug(b"m" * 32)
    out = machine.folder / "none.cbor"
    done = run(
        *("collect", out, "--kind", "tdx", "--nonce", REQUEST.hex(), "--gpu-nonce", MINE.hex()),
        *("--nvml", machine.nvml.library, "--tsm", machine.folder / "tsm"),
    )
    assert isinstance(done.exception, CloisterError)
    assert done.exception.code == "attester.failed"
    assert not out.exists()


def test_more_than_an_envelope_holds_is_not_written(machine: Machine) -> None:
    """Ten GPUs fit alone, and not beside a processor's quote with its padding."""
    bound = accelerator_nonce(MINE, ReportData(REQUEST))
    machine.nvml.put("count0", 10)
    for number in range(10):
        gpu = machine.maker.gpu("HOPPER", number=number + 1)
        machine.nvml.put(f"report{number}", gpu.report(bound).to_bytes())
        machine.nvml.put(f"certificates{number}", gpu.chain.body)
    out = machine.folder / "none.cbor"
    words = ("collect", out, "--kind", "tdx", "--nonce", REQUEST.hex(), "--gpu-nonce", MINE.hex())
    where = ("--nvml", machine.nvml.library, "--tsm", machine.folder / "tsm")
    machine.padding = 16384 - 5000
    done = run(*words, *where)
    assert isinstance(done.exception, CloisterError), done.output
    assert done.exception.code == "machine.attester"
    assert not out.exists()


@pytest.mark.parametrize(
    ("kind", "nonce", "mine"),
    [("nvidia", 64, 32), ("nitro", 64, 32), ("tdx", 64, 31), ("tdx", 32, 32)],
)
def test_what_cannot_be_bound_together(tmp_path: Path, kind: str, nonce: int, mine: int) -> None:
    """The kinds and lengths that there are not."""
    done = run(
        *("collect", tmp_path / "out", "--kind", kind),
        *("--nonce", "00" * nonce, "--gpu-nonce", "00" * mine),
    )
    assert isinstance(done.exception, CloisterError)
    assert done.exception.code == "config.value"


def test_mistakes_of_the_user_are_no_verdicts(machine: Machine) -> None:
    """Files that are not there, policies of the wrong part, lengths, simulated platforms."""
    both = machine.collect()
    sim = machine.folder / "sim.yaml"
    sim.write_text(policy("tdx", [b"x" * 32], TDX_FIELDS).replace("kind: tdx", "kind: sim"))
    words = {
        "--policy": machine.cpu_policy,
        "--gpu-policy": machine.gpu_policy,
        "--nonce": REQUEST.hex(),
        "--gpu-nonce": MINE.hex(),
    }
    wrong: list[tuple[str, str | Path]] = [
        ("--policy", machine.gpu_policy),
        ("--gpu-policy", machine.cpu_policy),
        ("--policy", machine.folder / "none"),
        ("--policy", sim),
        ("--nonce", "00"),
        ("--gpu-nonce", "00"),
        ("--gpu-nonce", "zz"),
    ]
    for name, value in wrong:
        given = [word for pair in (words | {name: value}).items() for word in pair]
        done = run("verify-composite", both, *given)
        assert isinstance(done.exception, CloisterError), (name, done.output)
        assert done.exception.code.partition(".")[0] in {"config", "policy"}
    given = [word for pair in words.items() for word in pair]
    absent = run("verify-composite", machine.folder / "none", *given)
    assert isinstance(absent.exception, CloisterError)
    assert absent.exception.code == "config.file"
