"""A policy in words."""

from dataclasses import replace

from cloister.crypto.digest import digest_to_text
from cloister.keyservice.policy.canonical import policy_hash
from cloister.keyservice.policy.description import describe
from cloister.keyservice.policy.model import (
    Access,
    Board,
    CodeDigests,
    Instances,
    Policy,
    RootsOfTrust,
)
from cloister.keyservice.policy.reader import parse_policy
from cloister.testing.genuine import section, with_gpus
from cloister.testing.policies import sample_policy, sample_text


def test_every_fact_is_shown() -> None:
    """Hash, roots of trust, volumes and workloads are there, and open ends are marked."""
    policy = sample_policy(open_clients=True)
    sections = describe(policy)
    assert [s.title for s in sections] == [
        "Policy clinic/digits",
        "Accepted environments",
        "Volumes",
        "Workload serve",
        "Workload train",
    ]
    assert sections[0].rows[0].value == digest_to_text(policy_hash(policy))
    open_ends = [row.label for section in sections for row in section.rows if row.open_end]
    assert open_ends == ["sim", "listens as rest"]
    shown = " ".join(row.value for section in sections for row in section.rows)
    for fact in ("/code/train.py", "reads and writes volume model", "tensorflow", "at least 2"):
        assert fact in shown
    assert sections[0].as_record()["title"] == "Policy clinic/digits"


def test_who_decides_and_who_reads_is_shown() -> None:
    """The charter's approvers, or a board of the policy's own; one alone is an open end."""
    keys = ("ed25519:" + "a1" * 32, "ed25519:" + "b2" * 32)
    plain = describe(sample_policy())[0].rows
    assert "charter" in plain[2].value
    board = Board(approvers=keys, threshold=1, timeout=60)
    rows = describe(replace(sample_policy(), approval=board, access=Access(readers=keys[:1])))[
        0
    ].rows
    assert (rows[2].value, rows[2].open_end) == ("1 of 2, within 60 s", True)
    assert keys[1] in rows[3].value
    assert rows[4].value == keys[0]


def test_a_policy_that_accepts_nothing_says_so() -> None:
    """An empty set of roots of trust is spelled out; code in plain shows its digests."""
    policy = replace(sample_policy(), roots_of_trust=RootsOfTrust())
    code = CodeDigests(digests=("sha256:" + "00" * 32,))
    train = replace(policy.workloads["train"], code=code)
    sections = describe(replace(policy, workloads={"train": train}))
    assert sections[1].rows[0].value == "all evidence is refused"
    assert sections[-1].rows[0].value == "sha256:" + "00" * 32


def test_lifetimes_and_numbers_of_instances_are_shown() -> None:
    """What is left out is said for certificates, and not shown for instances."""
    policy = sample_policy()

    def lasts(found: Policy) -> list[str]:
        return [r.value for r in describe(found)[0].rows if r.label == "certificates last"]

    assert lasts(policy) == ["a day"]
    train = replace(policy.workloads["train"], instances=Instances(maximum=4))
    changed = replace(policy, workloads={"train": train}, certificate_lifetime=600)
    sections = describe(changed)
    assert lasts(changed) == ["600 s, unless renewed"]
    assert "at most 4 at the same time" in [row.value for row in sections[-1].rows]


def test_regions_are_shown_with_what_the_operator_gets() -> None:
    """Each region has a row under its volume; what the operator reads is an open end."""
    policy = sample_policy()
    rule = replace(
        policy.volumes["data"],
        regions={"/a": "authenticated", "/b": "encrypted", "/c": "plain", "/d": "ephemeral"},
    )
    shown = describe(replace(policy, volumes={**policy.volumes, "data": rule}))[2].rows
    assert [(row.label, row.open_end) for row in shown] == [
        ("code", False),
        ("data", False),
        ("data:/a", True),
        ("data:/b", False),
        ("data:/c", True),
        ("data:/d", False),
        ("model", False),
    ]
    assert "reads and changes it" in shown[4].value


def test_a_section_about_genuine_evidence_is_shown_rule_by_rule() -> None:
    """Who vouches, what each claim must be, and every open end."""
    before, mark, after = sample_text().partition("# Sealed")
    part = section("snp", anchors=["manufacturer"], measurement=b"\xab" * 4)
    part = with_gpus(part, ["manufacturer"])
    part += "\n" + section("tdx", anchors=["sha256:" + "a1" * 32], measurement=b"m")
    policy = parse_policy((before.rstrip() + f"\n{part}\n" + mark + after).encode(), source="p")
    rows = {row.label: row for row in describe(policy)[1].rows}
    assert rows["sim"].open_end
    assert (rows["snp vouched for by"].value, rows["snp vouched for by"].open_end) == (
        "manufacturer",
        False,
    )
    assert rows["tdx vouched for by"].open_end
    assert rows["snp measurement"].value == "abababab"
    assert rows["snp with nvidia measres"].value == "success"
    assert rows["snp with nvidia vouched for by"].value == "manufacturer"
    assert rows["snp reported_tcb"].value == "at least {snp: 20, microcode: 200}"
    assert rows["snp debug"].value == "false"
    assert rows["tdx rtmr1"].value == "not checked: the test fixes other parts"
    assert rows["tdx rtmr1"].open_end
    alone = describe(replace(policy, roots_of_trust=replace(policy.roots_of_trust, sim=None)))
    assert "sim" not in {row.label for row in alone[1].rows}
    assert "none" not in {row.label for row in alone[1].rows}
