"""Rules for the guest's agent, as text; no agent has read them here."""

from __future__ import annotations

import json
import re

from cloister.training.kubernetes.agent_policy import PATH, agent_policy

_IMAGE = f"registry.example.org/train@sha256:{'a' * 64}"
_COMMAND = ["/opt/cloister/enter", "run", "--index", "$(JOB_COMPLETION_INDEX)"]


def _facts(rules: str) -> dict[str, list[str]]:
    found = json.loads(rules.partition("rendered := ")[2])
    assert isinstance(found, dict)
    return found


def test_the_rules_name_image_arguments_and_mounts() -> None:
    """Each of them, and no pattern for any."""
    facts = _facts(agent_policy(_IMAGE, [_COMMAND], ["/etc/cloister"]))
    assert facts["image"] == _IMAGE
    assert facts["commands"] == [_COMMAND]
    assert "/etc/cloister" in facts["mounts"]
    assert "/opt/cloister" not in facts["mounts"]


def test_what_lets_an_operator_in_is_refused() -> None:
    """A shell, a file anywhere, other rules."""
    rules = agent_policy(_IMAGE, [_COMMAND], [])
    for request in ("ExecProcess", "CreateContainer", "CopyFile", "SetPolicy", "WriteStream"):
        assert f"default {request}Request := false\n" in rules
    allowed = re.findall(r"^default (\w+) := true$", rules, re.MULTILINE)
    assert not {"SetGuestDateTimeRequest", "ReseedRandomDevRequest", "AddSwapRequest"} & set(
        allowed
    )


def test_variables_are_those_that_every_container_has() -> None:
    """None that makes the interpreter load something else."""
    patterns = _facts(agent_policy(_IMAGE, [_COMMAND], []))["variables"]

    def passes(variable: str) -> bool:
        return any(re.search(pattern, variable) for pattern in patterns)

    assert passes(f"PATH={PATH}")
    assert passes("JOB_COMPLETION_INDEX=12")
    assert passes("KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443")
    for refused in (
        f"PATH=/x:{PATH}",
        "LD_PRELOAD=/x",
        "PYTHONPATH=/x",
        "JOB_COMPLETION_INDEX=1;",
        "HOSTNAME=a b",
        "XPATH=",
    ):
        assert not passes(refused), refused
