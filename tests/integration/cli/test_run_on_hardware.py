"""`cloister run` on a VM of Azure's, as its user types it, with a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.keyservice.clock import read_clock
from cloister.testing.azure import Firmware
from cloister.testing.genuine import section
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureVm
from cloister.testing.swtpm import SoftwareTpm
from integration.cli.desk import Desk

pytestmark = pytest.mark.fuse


def test_a_run_with_a_bundle_about_many_machines(tmp_path: Path, swtpm: SoftwareTpm) -> None:
    """Fetched by oneself it goes along; of another collector it does so where he is named."""
    at = read_clock().at
    vm, other = SimulatedAzureVm(b"desk", now=at), SimulatedAmd(b"other", "Genoa", now=at)
    Firmware(swtpm, vm.hcl)
    desk = Desk(tmp_path, variables={"CLOISTER_TPM": str(swtpm.path)})
    desk.run("init", ".cloister", "--name", "example.org").good()
    code = tmp_path / "code"
    code.mkdir()
    (code / "work.sh").write_text("echo working\n")
    drafted = ("--name", "p", "--workload", "w", "--command", "/bin/sh /code/work.sh")
    desk.run("policy", "draft", *drafted, "--code", "code").good()
    policy = tmp_path / "policy.yaml"
    before, _, rest = policy.read_text().partition("roots_of_trust:\n")
    anchor = f"sha256:{vm.amd.anchor.hex()}"
    trust = section("azure-snp", anchors=[anchor], measurement=b"m" * 48)
    policy.write_text(f"{before}roots_of_trust:\n{trust}\n" + rest[rest.index("\n\n") :])
    desk.run("policy", "apply", "policy.yaml").good()

    def bundle(name: str, endorsements: Sequence[Endorsement]) -> None:
        """Collect these; the key is made at first use."""
        files = [tmp_path / f"{name}-{number}" for number in range(len(endorsements))]
        for path, each in zip(files, endorsements, strict=True):
            path.write_bytes(each.body)
        desk.run("endorsements", "import", *files, "-o", name).good()

    bundle("other.bundle", other.endorsements(other.chip()))
    bundle("both.bundle", [*other.endorsements(other.chip()), *vm.endorsements()])
    asked = ("policy.yaml", "--workload", "w", "--code", "code", "--endorsements")
    done = desk.run("run", *asked, "both.bundle").good()
    assert done.stdout == "working\n"
    assert "would be released" in desk.run("policy", "explain", *asked, "both.bundle").good().stdout
    missing = desk.json("run", *asked, "other.bundle")
    assert (missing.status, missing.code) == (75, "endorsement.missing")
    stranger = Desk(tmp_path, variables={**desk.variables, "XDG_CONFIG_HOME": f"{tmp_path}/x"})
    refused = stranger.json("run", *asked, "both.bundle")
    assert (refused.status, refused.code) == (77, "endorsement.collector")
    key = (tmp_path / ".config" / "cloister" / "collector.pub").read_text().strip()
    stranger.run("run", *asked, "both.bundle", "--collector", key).good()
    elsewhere = desk.json("run", *asked, "both.bundle", "--tpm", tmp_path / "none")
    assert elsewhere.code == "machine.attester"
    desk.stop_service()
