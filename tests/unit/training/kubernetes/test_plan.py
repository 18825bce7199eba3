"""What runs where, decided from a policy and choices."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloister.errors import ConfigError
from cloister.training.kubernetes.plan import Address, host_of
from unit.training.kubernetes.rendering import IMAGE, plan, policy_text


def test_each_workload_is_a_role_with_its_instances() -> None:
    """Numbered where they have a network, alone where they have none."""
    made = plan()
    facts = {
        each.role: (each.name, each.pods, each.indexed, each.networked, each.restarts, each.endless)
        for each in made.roles
    }
    assert facts == {
        "chief": ("digits-chief", 1, True, True, 3, False),
        "ps": ("digits-ps", 2, True, True, 0, True),
        "judge": ("digits-judge", 1, False, False, 0, False),
    }


def test_a_pods_command_is_a_run_of_its_role() -> None:
    """With a number, peers and a relay where it has a network, and without where it has none."""
    chief, _, judge = plan().roles
    assert chief.command == (
        *("/opt/cloister/enter", "run", "/etc/cloister/policy.yaml", "--workload", "chief"),
        *("--domain", "/etc/cloister", "--root-of-trust", "tdx"),
        *("--volume", "code=/volumes/code", "--volume", "model=/volumes/model"),
        *("--host", "0.0.0.0", "--index", "$(JOB_COMPLETION_INDEX)"),  # noqa: S104  # of the guest
        *("--peers", "/etc/cloister/peers", "--relay", "0.0.0.0:8443"),
    )
    assert judge.command[-1] == "model=/volumes/model"
    assert not {"--index", "--peers", "--relay", "--host"} & set(judge.command)


def test_a_guest_without_nftables_is_told_of() -> None:
    """Where there is a relay at all."""
    chief, _, judge = plan(fixed_ports=True).roles
    assert chief.command[-1] == "--fixed-ports"
    assert "--fixed-ports" not in judge.command


def test_plain_code_is_in_the_image() -> None:
    """Its digest is in the policy, so nobody is trusted to bring it."""
    text = policy_text().replace(
        "code: {volume: code}", f'code: {{digests: ["sha256:{"e" * 64}"]}}'
    )
    text = text.replace("/code: {volume: code, access: read}, ", "").replace(
        "/code: {volume: code, access: read}", ""
    )
    made = plan(text)
    assert all("--code /opt/cloister/code" in " ".join(each.command) for each in made.roles)


@pytest.mark.parametrize("jobset", [False, True])
def test_peers_have_the_names_of_their_pods(*, jobset: bool) -> None:
    """A line for each instance with a network."""
    made = plan(jobset=jobset)
    middle = "-0" if jobset else ""
    assert made.configuration["peers"] == (
        f"chief-0 digits-chief{middle}-0.digits:8443\n"
        f"ps-0 digits-ps{middle}-0.digits:8443\n"
        f"ps-1 digits-ps{middle}-1.digits:8443\n"
    )
    assert host_of("digits", made.roles[1], 1, jobset=jobset) == f"digits-ps{middle}-1.digits"


def test_a_claim_is_only_read_where_every_mount_is() -> None:
    """One who writes needs it so."""
    chief, ps, _ = plan().roles
    assert chief.claims == {"code": ("code-store", True), "model": ("model-store", False)}
    assert ps.claims == {"code": ("code-store", True)}


def test_the_digest_is_of_the_rules_and_not_of_the_policy() -> None:
    """So that a policy can name it, without an end to naming."""
    first = plan()
    line = f'      mr_config_id: {{one_of: ["{first.init.digest}"]}}\n'
    second = plan(policy_text(claims=line))
    assert (first.bound, second.bound) == (False, True)
    assert first.init == second.init
    assert plan(policy_text(claims=line.replace(first.init.digest, "0" * 96))).bound is False


@pytest.mark.parametrize(
    "change",
    [{"image": IMAGE.replace("aa@", "ab@").replace("a" * 64, "b" * 64)}, {"relay_port": 9000}],
)
def test_another_image_or_command_has_another_digest(change: dict[str, Any]) -> None:
    """What is pinned is what runs."""
    assert plan(**change).init.digest != plan().init.digest


def test_rules_of_somebodys_own_are_taken() -> None:
    """Of Kata's genpolicy, for one."""
    made = plan(agent_policy="package agent_policy\n")
    assert "'''\npackage agent_policy\n'''" in made.init.text


def test_the_processor_is_the_only_one_that_is_accepted_or_the_one_that_is_named() -> None:
    """Nothing is chosen silently."""
    assert (plan(policy_text("snp")).root, plan(policy_text("snp")).runtime_class) == (
        "snp",
        "kata-qemu-snp",
    )
    both = policy_text("tdx", "snp")
    assert plan(both, root="snp").init.claim == "host_data"
    assert plan(both, root="tdx", runtime_class="kata-cc").runtime_class == "kata-cc"
    with pytest.raises(ConfigError, match="of one kind") as caught:
        plan(both)
    assert caught.value.code == "config.value"
    with pytest.raises(ConfigError, match="no evidence of snp"):
        plan(root="snp")


def test_the_key_service_is_where_pods_can_reach_it() -> None:
    """Its address is the operator's to say, and its keys are the trust domain's."""
    made = plan(keyservice="http://keys.example.org:8400")
    assert made.keyservice == Address("keys.example.org", 8400)
    assert json.loads(made.configuration["domain.json"])["url"] == "http://keys.example.org:8400"
    assert (plan().keyservice.network, made.keyservice.network) == ("10.1.2.3/32", None)


def test_a_namespace_of_the_policy_is_in_the_name() -> None:
    """Two tenants may have policies of one name."""
    names = {plan(policy_text(namespace=each)).name for each in ("default", "clinic", "lab/one")}
    assert len(names) == 3
    assert "digits" in names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": "registry.example.org/train:latest"}, "by its digest"),
        ({"image": f"registry.example.org/Train@sha256:{'a' * 64}"}, "by its digest"),
        ({"image": f"train@sha256:{'a' * 63}"}, "by its digest"),
        ({"image": f"train@sha256:{'a' * 64}\n"}, "by its digest"),
        ({"claims": {"code": "code-store"}}, "volume model"),
        ({"claims": {"code": "c", "model": "m", "data": "d"}}, "no volume data"),
        ({"claims": {"code": "C", "model": "m"}}, "no name of a claim"),
        ({"receipts": "a/b"}, "no name of a claim"),
        ({"runtime_class": "a b"}, "no name of a runtime class"),
        ({"namespace": "a.b"}, "no namespace"),
        ({"cpu": "4 cores"}, "no quantity"),
        ({"memory": "-1Gi"}, "no quantity"),
        ({"scratch": "Gi"}, "no quantity"),
        ({"relay_port": 0}, "no port"),
        ({"relay_port": 65536}, "no port"),
        ({"keyservice": "embedded"}, "cannot reach"),
        ({"keyservice": "unix:///run/keys"}, "cannot reach"),
        ({"keyservice": "http://keys.example.org"}, "cannot reach"),
        ({"keyservice": "http://keys.example.org:port"}, "cannot reach"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], words: str) -> None:
    """Before a file is written."""
    with pytest.raises(ConfigError, match=words) as caught:
        plan(**change)
    assert caught.value.code == "config.value"


def test_simulation_alone_is_refused() -> None:
    """Its key would have to be in a manifest."""
    text = policy_text()
    roots = text[text.index("  tdx:") : text.index("volumes:")]
    sim = f"""\
  sim:
    anchors: ["ed25519:{"a1" * 32}"]
    measurement: ["sha256:{"b2" * 32}"]
    minimum_svn: 1
    debug: refused
"""
    with pytest.raises(ConfigError, match="no manifest carries") as caught:
        plan(text.replace(roots, sim))
    assert caught.value.code == "config.value"
