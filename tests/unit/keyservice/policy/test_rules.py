"""Rules one by one."""

from dataclasses import replace
from typing import Any

import pytest

from cloister.attestation.claims import Claims
from cloister.keyservice.policy.reader import parse_policy
from cloister.keyservice.policy.rules import Rule, rules
from cloister.testing.genuine import section, with_gpus
from cloister.testing.networks import networked_policy
from cloister.testing.policies import (
    CODE_ROOT,
    VOLUME_ROOTS,
    sample_claims,
    sample_measurement,
    sample_policy,
    sample_text,
)


@pytest.mark.spec("POL-61")
def test_rules_come_in_the_order_of_their_numbers() -> None:
    """For a workload that is named, for one that is not, and for a foreign root of trust."""
    cases = [("train", "sim"), ("nobody", "sim"), ("train", "tdx"), ("nobody", "tdx")]
    for workload, root_of_trust in cases:
        claims = replace(sample_claims(), root_of_trust=root_of_trust)
        found = list(
            rules(
                sample_policy(),
                workload,
                claims,
                measurement=sample_measurement(),
                volume_roots=VOLUME_ROOTS,
            )
        )
        numbers = [rule.number for rule in found]
        assert numbers == sorted(numbers)
        assert set(numbers) == set(range(1, 10))


def test_what_cannot_be_judged_comes_after_a_refusal() -> None:
    """So it never decides."""
    claims = replace(sample_claims(), root_of_trust="tdx")
    verdicts = [
        rule.verdict
        for rule in rules(
            sample_policy(),
            "nobody",
            claims,
            measurement=sample_measurement(),
            volume_roots={},
        )
    ]
    assert verdicts[0] == "refused"
    assert verdicts.count("not reached") == 7


def test_a_digest_unlike_any_reference_has_no_nearest() -> None:
    """A guess would mislead."""
    claims = replace(sample_claims(), measurement=bytes(32))
    (rule,) = [
        rule
        for rule in rules(
            sample_policy(),
            "train",
            claims,
            measurement=sample_measurement(),
            volume_roots=VOLUME_ROOTS,
        )
        if rule.verdict == "refused"
    ]
    assert rule.nearest == ""
    assert rule.expected == "sha256:" + "b2" * 32


GENUINE = {
    "tdx": {"rtmr0": b"", "rtmr1": b"", "rtmr2": b"", "rtmr3": b"", "sept_ve_disable": True,
            "mr_service_td": b"", "migratable": False},
    "snp": {"policy": {"migrate_ma": False}, "reported_tcb": {"snp": 20, "microcode": 200},
            "vmpl": 0, "revocation_checked": True},
}  # fmt: skip


def genuine(kind: str, **changes: Any) -> list[Rule]:
    """The rules about the environment, judged for claims of a kind that satisfy all but changes."""
    before, mark, after = sample_text().partition("# Sealed")
    anchors = ["manufacturer", "sha256:" + "a1" * 32]
    part = section(kind, anchors=anchors, measurement=b"m" * 48)
    policy = parse_policy((before.rstrip() + f"\n{part}\n" + mark + after).encode(), source="p")
    facts: dict[str, Any] = {
        "root_of_trust": kind,
        "anchor": b"\xa1" * 32,
        "measurement": b"m" * 48,
        "status": "UpToDate" if kind == "tdx" else "",
    }
    vendor = GENUINE[kind] | changes.pop("vendor", {})
    claims = replace(sample_claims(), **(facts | changes), vendor=vendor)
    found = rules(
        policy, "train", claims, measurement=sample_measurement(), volume_roots=VOLUME_ROOTS
    )
    return [rule for rule in found if rule.number <= 6]


@pytest.mark.parametrize(
    ("kind", "changes", "number", "code", "path"),
    [
        ("tdx", {"anchor": b"\xa2" * 32}, 3, "appraisal.root-of-trust", "anchors"),
        ("tdx", {"measurement": b"n" * 48}, 4, "appraisal.measurement", "claims.measurement"),
        ("tdx", {"debug": True}, 5, "appraisal.debug", "claims.debug"),
        ("tdx", {"status": "OutOfDate"}, 6, "appraisal.claim", "claims.status"),
        ("tdx", {"advisories": ("A",)}, 6, "appraisal.claim", "claims.advisories"),
        ("tdx", {"vendor": {"migratable": True}}, 6, "appraisal.claim", "claims.migratable"),
        ("tdx", {"vendor": {"migratable": None}}, 6, "appraisal.claim", "claims.migratable"),
        ("tdx", {"vendor": {"sept_ve_disable": 1}}, 6, "appraisal.claim", "claims.sept_ve_disable"),
        ("snp", {"vendor": {"reported_tcb": {"snp": 21}}}, 6, "appraisal.claim",
         "claims.reported_tcb"),
        ("snp", {"vendor": {"policy": {"migrate_ma": True}}}, 6, "appraisal.claim",
         "claims[policy.migrate_ma]"),
        ("snp", {"vendor": {"revocation_checked": False}}, 6, "appraisal.claim",
         "claims.revocation_checked"),
        ("snp", {"debug": True}, 5, "appraisal.debug", "claims.debug"),
    ],
)  # fmt: skip
@pytest.mark.spec("POL-62", "POL-51", "POL-52")
def test_genuine_evidence_is_judged_by_its_section(
    kind: str, changes: dict[str, Any], number: int, code: str, path: str
) -> None:
    """One departure, one refusal, with what was expected and found."""
    assert {rule.verdict for rule in genuine(kind)} == (
        {"holds", "unchecked"} if kind == "tdx" else {"holds"}
    )
    found = genuine(kind, **changes)
    assert [rule.number for rule in found] == sorted(rule.number for rule in found)
    (refused,) = [rule for rule in found if rule.verdict == "refused"]
    assert (refused.number, refused.code) == (number, code)
    assert refused.path == f"roots_of_trust.{kind}.{path}"
    assert refused.expected
    assert refused.found
    assert refused.sentence


@pytest.mark.spec("POL-62", "POL-59")
def test_what_a_section_leaves_out_is_listed() -> None:
    """With its reason, and with what was found."""
    left_out = [rule for rule in genuine("tdx") if rule.verdict == "unchecked"]
    assert [rule.path.rpartition(".")[2] for rule in left_out] == [f"rtmr{n}" for n in range(4)]
    assert {rule.reason for rule in left_out} == {"the test fixes other parts"}


@pytest.mark.spec("POL-51")
def test_simulation_that_claims_hardware_is_refused_and_hardware_is_not() -> None:
    """What the registry says of a kind decides."""
    assert {rule.verdict for rule in genuine("snp", hardware_rooted=True)} == {"holds"}
    claims = replace(sample_claims(), hardware_rooted=True)
    found = list(
        rules(
            sample_policy(),
            "train",
            claims,
            measurement=sample_measurement(),
            volume_roots=VOLUME_ROOTS,
        )
    )
    assert found[1].verdict == "refused"
    assert "claiming hardware" in found[1].found


def beside(devices: dict[str, Claims] | None, *, asked: bool = True) -> list[Rule]:
    """The rules about accelerators of an SNP guest that satisfies its own section."""
    before, mark, after = sample_text().partition("# Sealed")
    part = section("snp", anchors=["sha256:" + "a1" * 32], measurement=b"m" * 48)
    part = with_gpus(part, ["sha256:" + "a2" * 32]) if asked else part
    policy = parse_policy((before.rstrip() + f"\n{part}\n" + mark + after).encode(), source="p")
    cpu = replace(
        sample_claims(), root_of_trust="snp", anchor=b"\xa1" * 32, measurement=b"m" * 48,
        vendor=GENUINE["snp"],
    )  # fmt: skip
    given = {} if devices is None else {"devices": devices}
    found = list(
        rules(
            policy,
            "train",
            cpu,
            measurement=sample_measurement(),
            volume_roots=VOLUME_ROOTS,
            **given,
        )
    )
    numbers = [rule.number for rule in found]
    assert numbers == sorted(numbers)
    return [rule for rule in found if ".devices." in rule.path]


def gpu(**changes: Any) -> Claims:
    """Claims of GPUs that satisfy the section."""
    facts: dict[str, Any] = {"root_of_trust": "nvidia", "anchor": b"\xa2" * 32}
    vendor = {"measres": "success", "revocation": "good"} | changes.pop("vendor", {})
    return replace(sample_claims(), **(facts | changes), vendor=vendor)


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"anchor": b"\xa3" * 32}, "appraisal.root-of-trust", "anchors"),
        ({"debug": True}, "appraisal.claim", "claims.debug"),
        ({"vendor": {"measres": "unknown"}}, "appraisal.claim", "claims.measres"),
        ({"vendor": {"revocation": "unknown"}}, "appraisal.claim", "claims.revocation"),
    ],
)
@pytest.mark.spec("POL-36")
def test_accelerators_are_judged_after_their_processor(
    changes: dict[str, Any], code: str, path: str
) -> None:
    """By rules of their own, in step 6."""
    held = beside({"nvidia": gpu()})
    assert {rule.verdict for rule in held} == {"holds"}
    assert len(held) == 4
    refused = [rule for rule in beside({"nvidia": gpu(**changes)}) if rule.verdict == "refused"]
    (rule,) = refused
    assert (rule.number, rule.code) == (6, code)
    assert rule.path == f"roots_of_trust.snp.devices.nvidia.{path}"


@pytest.mark.spec("POL-36")
def test_half_of_a_machine_is_refused() -> None:
    """Accelerators that were asked for and are not there, and the other way round."""
    for rule in (
        *beside(None),
        *beside({}),
        *beside({"nvidia": gpu(root_of_trust="snp")}),
        *beside({"nvidia": gpu()}, asked=False),
    ):
        assert (rule.verdict, rule.code) == ("refused", "appraisal.root-of-trust")
    assert beside(None, asked=False) == []


@pytest.mark.spec("POL-58", "POL-86")
def test_every_shard_is_judged_at_its_own_place() -> None:
    """One that is not registered refuses each instance, not only its own."""
    policy = networked_policy()
    roots = {"code": CODE_ROOT, "train-0": CODE_ROOT}
    found = rules(
        policy,
        "worker",
        sample_claims(),
        measurement=sample_measurement(),
        volume_roots=roots,
    )
    volumes = {rule.path: rule for rule in found if rule.number == 9}
    assert [rule.verdict for rule in volumes.values()] == ["holds", "holds", "refused"]
    last = volumes["workloads.worker.volumes[/data].shards[1]"]
    assert (last.verdict, last.code) == ("refused", "release.volume-unknown")
