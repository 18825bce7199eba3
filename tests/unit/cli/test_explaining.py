"""`cloister policy explain`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.cli.explaining import explain_here
from cloister.errors import ConfigError, ReleaseDeniedError, UnavailableError, UnsupportedError
from cloister.keyservice.clock import read_clock
from cloister.keyservice.policy.explain import Explanation
from cloister.tee.offers import Machine
from cloister.tee.places import Places
from cloister.testing.genuine import TdMachine, section, with_gpus
from cloister.testing.manufacturers.intel import SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedGpu, SimulatedNvidia
from cloister.testing.nvml import FakeNvml
from unit.cli.conftest import Door


@pytest.fixture
def policy(door: Door, plain: Path) -> Path:
    """A policy that this machine meets."""
    words = ("--name", "p", "--workload", "w", "--command", "/bin/sh /code/two.sh")
    door.record("policy", "draft", *words, "--code", plain)
    return door.folder / "policy.yaml"


def test_this_machine_meets_what_was_drafted_on_it(policy: Path, plain: Path) -> None:
    """No rule refuses."""
    found = explain_here(policy, workload="w", code=plain, domain=None, quiet=True)
    assert found.refused_by is None


def test_changed_code_is_found_out(door: Door, policy: Path, plain: Path) -> None:
    """The rule says what it expects and what is here; the command exits with 1."""
    (plain / "two.sh").write_text("exit 3\n")
    found = door.call("policy", "explain", policy, "--workload", "w", "--code", plain)
    assert found.exit_code == 1
    assert "refused: appraisal.code" in found.stdout


def test_what_cannot_be_explained_is_refused(policy: Path, plain: Path) -> None:
    """A role that is not there, and code that was not named."""
    with pytest.raises(ReleaseDeniedError) as unknown:
        explain_here(policy, workload="x", code=plain, domain=None, quiet=True)
    assert unknown.value.code == "release.workload-unknown"
    with pytest.raises(ConfigError) as missing:
        explain_here(policy, workload="w", code=None, domain=None, quiet=True)
    assert missing.value.code == "config.missing"


def test_sealed_code_is_observed_in_place(door: Door, plain: Path) -> None:
    """The volume's root is the code's digest."""
    door.record("volume", "seal", plain, "code", "--kind", "code")
    words = ("--name", "q", "--workload", "w", "--command", "/bin/sh /code/two.sh")
    door.record("policy", "draft", *words, "--code", "code", "--output", "q.yaml")
    found = explain_here(Path("q.yaml"), workload="w", code=None, domain=None, quiet=True)
    assert found.refused_by is None


def test_a_processor_is_explained_rule_by_rule(policy: Path, plain: Path) -> None:
    """By the evidence that it makes here and now, with what vouches for it."""
    at = read_clock().at
    machine = TdMachine(SimulatedIntel(b"seed", at=at))
    before, _, rest = policy.read_text().partition("roots_of_trust:\n")
    trust = section("tdx", anchors=[machine.anchor], measurement=machine.measurement)
    policy.write_text(f"{before}roots_of_trust:\n{trust}\n" + rest[rest.index("\n\n") :])

    def explained(made: TdMachine, endorsements: Sequence[Endorsement]) -> Explanation:
        return explain_here(
            policy,
            workload="w",
            code=plain,
            domain=None,
            quiet=True,
            vouching=lambda *_: endorsements,
            machine=Machine(Places(tsm=made.root, gramine=made.root), files=made.kernel()),
        )

    found = explained(machine, machine.endorsements)
    assert found.refused_by is None
    assert "roots_of_trust.tdx.claims.status" in {rule.path for rule in found.rules}
    debug = replace(machine, case=replace(machine.case, debug=True))
    found = explained(debug, machine.endorsements)
    assert found.refused_by is not None
    assert found.refused_by.path == "roots_of_trust.tdx.claims.debug"
    with pytest.raises(UnavailableError) as e:
        explained(machine, ())
    assert e.value.code == "endorsement.missing"
    with pytest.raises(UnsupportedError):  # this very machine is none
        explain_here(policy, workload="w", code=plain, domain=None, quiet=True)


def test_gpus_are_explained_with_their_processor(policy: Path, plain: Path, nvml: FakeNvml) -> None:
    """As a release would judge both; one that measures something else is found out by its rule."""
    at = read_clock().at
    machine, maker = TdMachine(SimulatedIntel(b"seed", at=at)), SimulatedNvidia("seed", at=at)
    before, _, rest = policy.read_text().partition("roots_of_trust:\n")
    trust = with_gpus(
        section("tdx", anchors=[machine.anchor], measurement=machine.measurement),
        [f"sha256:{each.hex()}" for each in maker.anchors],
    )
    policy.write_text(f"{before}roots_of_trust:\n{trust}\n" + rest[rest.index("\n\n") :])
    good, altered = maker.gpu("HOPPER"), maker.gpu("HOPPER", altered=[3])
    nvml.put("certificates0", good.chain.body)
    vouching = [*machine.endorsements, *maker.rims(good), *maker.ocsp_responses(good)]
    where = Machine(Places(tsm=machine.root, nvml=nvml.library), files=machine.kernel())

    def explained(gpu: SimulatedGpu) -> Explanation:
        with nvml.answering(lambda nonce: gpu.report(nonce).to_bytes()):
            return explain_here(
                policy,
                workload="w",
                code=plain,
                domain=None,
                quiet=True,
                vouching=lambda *_: vouching,
                machine=where,
            )

    found = explained(good)
    assert (found.refused_by, found.hardware_rooted) == (None, False)
    rule = "roots_of_trust.tdx.devices.nvidia.claims.measres"
    assert rule in {each.path for each in found.rules}
    refused = explained(altered).refused_by
    assert refused is not None
    assert refused.path == rule


@pytest.mark.spec("POL-64")
def test_another_policy_is_tried_on_this_machine(door: Door, policy: Path, plain: Path) -> None:
    """What it says otherwise; never with the status of a policy that holds."""
    other = door.folder / "other.yaml"
    other.write_text(policy.read_text().replace("minimum_svn: ", "minimum_svn: 9"))
    words = ("policy", "explain", policy, "--workload", "w", "--code", plain, "--against")
    same = door.call(*words, policy)
    assert same.exit_code == 20
    assert "no rule says something else than before" in same.stdout
    found = door.call(*words, other)
    assert found.exit_code == 21
    assert "change: roots_of_trust.sim.minimum_svn: holds -> refused" in found.stdout
    assert "would be released" not in found.stdout
    record = json.loads(door.call(*words, other, "--json").stdout)
    assert (record["dry_run"], record["would_hold"]) == (True, False)
    assert [each["rule"] for each in record["changes"]] == ["roots_of_trust.sim.minimum_svn"]
