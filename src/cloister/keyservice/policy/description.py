"""A policy in words: headings with rows, in a stable order, for a person who has to approve it.

Data only; the command line prints it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.attestation.evidence_rules import Unchecked as ClaimUnchecked
from cloister.attestation.evidence_rules import wanted
from cloister.crypto.digest import digest_to_text
from cloister.keyservice.policy.canonical import policy_hash
from cloister.keyservice.policy.evidence import MANUFACTURER
from cloister.keyservice.policy.model import (
    CodeVolume,
    EvidenceRoot,
    Mount,
    Policy,
    SimRoot,
    Unchecked,
    VolumeRule,
    Workload,
)
from cloister.keyservice.policy.network_rules import Cluster, Ports
from cloister.keyservice.policy.networks import cluster_ports
from cloister.keyservice.policy.secret_rules import Exported, ExportedToService, SecretRule
from cloister.keyservice.policy.templates import parse_template

__all__ = ["Row", "Section", "describe", "say_secret", "secrets_of"]


@dataclass(frozen=True, slots=True)
class Row:
    """A label and what it says; `open_end` marks what the policy leaves unchecked."""

    label: str
    value: str
    open_end: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its rows."""

    title: str
    rows: tuple[Row, ...]

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "title": self.title,
            "rows": [
                {"label": row.label, "value": row.value, "unchecked": row.open_end}
                for row in self.rows
            ],
        }


def describe(policy: Policy) -> tuple[Section, ...]:
    """Return every fact of a policy, in words; names within a section are sorted."""
    sections = [
        Section(
            f"Policy {policy.namespace}/{policy.name}",
            (
                Row("hash", digest_to_text(policy_hash(policy))),
                Row("replaces", policy.predecessor),
                *_people(policy),
                Row("certificates last", _lifetime(policy.certificate_lifetime)),
            ),
        ),
        Section("Accepted environments", tuple(_environments(policy))),
        Section(
            "Volumes",
            tuple(
                row
                for name, volume in sorted(policy.volumes.items())
                for row in _volume(name, volume)
            ),
        ),
    ]
    if policy.has_templates:
        sections.append(Section("Secrets", tuple(_secrets(policy))))
    if policy.cluster is not None:
        sections.append(Section("Cluster", tuple(_cluster(policy, policy.cluster))))
    if policy.budgets:
        sections.append(Section("Budgets", tuple(_budgets(policy))))
    sections += [
        Section(f"Workload {name}", tuple(_workload(policy, workload)))
        for name, workload in sorted(policy.workloads.items())
    ]
    return tuple(sections)


_REGIONS: Final[Mapping[str, str]] = {
    "encrypted": "encrypted: the operator neither reads nor changes it",
    "authenticated": "authenticated: the operator reads it, and cannot change it",
    "plain": "plain: a folder of the operator's, who reads and changes it",
    "ephemeral": "ephemeral: in memory, forgotten when the run ends",
}
_SHOWN_TO_THE_OPERATOR: Final = frozenset({"authenticated", "plain"})


def _volume(name: str, volume: VolumeRule) -> Iterator[Row]:
    yield Row(name, f"{volume.id}, state {volume.root}")
    for path, found in sorted((volume.regions or {}).items()):
        yield Row(f"{name}:{path}", _REGIONS[found], open_end=found in _SHOWN_TO_THE_OPERATOR)


def _secrets(policy: Policy) -> Iterator[Row]:
    for name, rule in sorted((policy.secrets or {}).items()):
        yield Row(name, say_secret(rule))
        for target in rule.export or ():
            yield _importer(name, target)
    for name, source in sorted((policy.imports or {}).items()):
        yield Row(name, f"imported: {source.secret} of {source.namespace}/{source.policy}")


def _importer(name: str, target: Exported | ExportedToService) -> Row:
    label, policy = f"{name} may be imported by", f"{target.namespace}/{target.policy}"
    if isinstance(target, Exported):
        return Row(label, policy)
    said = (
        f"{policy} of {target.trust_domain}, key service {target.service}, on "
        f"{target.root_of_trust} platform {', '.join(target.anchors)} with image "
        f"{', '.join(target.measurement)}, security version at least {target.minimum_svn}, debug "
        f"{target.debug}; asks again after {target.lifetime} s"
    )
    return Row(label, said, open_end=target.debug == "accepted")


def secrets_of(policy: Policy, workload: Workload) -> tuple[Row, ...]:
    """Return the secrets that a workload's templates name, by name and kind.

    Raises:
        MalformedError: A template cannot be read; lint says which.
    """
    if not policy.has_templates:
        return ()
    texts = [*workload.command, *workload.environment.values()]
    texts += [file.content for file in (workload.files or {}).values()]
    used = {found.name for text in texts for found in parse_template(text).references}
    return tuple(row for row in _secrets(policy) if row.label in used)


def say_secret(rule: SecretRule) -> str:
    """Return a secret's kind and epochs in words."""
    older = ", ".join(str(epoch) for epoch in rule.readable or ())
    kind = rule.kind
    if rule.external is not None:
        kind = f"external: {rule.external.field} of {rule.external.path} at {rule.external.source}"
    if rule.remote is not None:
        far = rule.remote
        part = f"{far.part} of " if far.part else ""
        kind = (
            f"remote: {part}{far.secret}@{far.epoch} of {far.namespace}/{far.policy} at key "
            f"service {far.source}"
        )
    return f"{kind}, epoch {rule.current}" + (f"; readable: {older}" if older else "")


def _people(policy: Policy) -> Iterator[Row]:
    board = policy.approval
    if board is None:
        yield Row("a successor needs", "the approvals that the namespace's charter asks for")
    else:
        said = f"{board.threshold} of {len(board.approvers)}, within {board.timeout} s"
        yield Row("a successor needs", said, open_end=board.threshold == 1)
        yield Row("approvers", ", ".join(board.approvers))
    if policy.access is not None and policy.access.readers:
        yield Row("further readers", ", ".join(policy.access.readers))


def _environments(policy: Policy) -> Iterator[Row]:
    if not policy.roots_of_trust.names:
        yield Row("none", "all evidence is refused")
    root = policy.roots_of_trust.sim
    if root is not None:
        yield from _simulated(root)
    for name, section in sorted(policy.roots_of_trust.genuine.items()):
        yield from _genuine(name, section)


def _simulated(root: SimRoot) -> Iterator[Row]:
    yield Row("sim", "simulated: no hardware vouches for it", open_end=True)
    yield Row("sim platforms", ", ".join(root.anchors))
    yield _check("sim launcher", root.measurement)
    yield _check("sim security version", root.minimum_svn)
    yield Row("sim debug", root.debug, open_end=root.debug == "accepted")


def _genuine(name: str, root: EvidenceRoot) -> Iterator[Row]:
    others = [each for each in root.anchors if each != MANUFACTURER]
    yield Row(f"{name} vouched for by", ", ".join(root.anchors), open_end=bool(others))
    for path, rule in sorted(root.claims.items()):
        yield Row(
            f"{name} {path}",
            f"not checked: {rule.reason}" if isinstance(rule, ClaimUnchecked) else wanted(rule),
            open_end=isinstance(rule, ClaimUnchecked),
        )
    for device, section in sorted(root.devices.items()):
        yield from _genuine(f"{name} with {device}", section)


def _workload(policy: Policy, workload: Workload) -> Iterator[Row]:
    if isinstance(workload.code, CodeVolume):
        rule = policy.volumes.get(workload.code.volume)
        state = rule.root if rule is not None else "not declared"
        yield Row("code", f"volume {workload.code.volume}, state {state}")
    else:
        yield Row("code", ", ".join(workload.code.digests))
    yield _check("runtime", workload.runtime)
    yield Row("command", " ".join(_word(word) for word in workload.command))
    for name, value in sorted(workload.environment.items()):
        yield Row(f"environment {name}", value)
    for path, file in sorted((workload.files or {}).items()):
        yield Row(f"file {path}", f"in memory, mode {file.bits:04o}")
    for point, mount in sorted(workload.volumes.items()):
        does = "reads" if mount.access == "read" else "reads and writes"
        if isinstance(mount, Mount):
            yield Row(f"at {point}", f"{does} volume {mount.volume}")
        else:
            of = ", ".join(f"{index}: {name}" for index, name in enumerate(mount.shards))
            yield Row(f"at {point}", f"{does} the volume of its own instance alone; {of}")
    for name, listener in sorted(workload.listen.items()):
        port = f"port {listener.port}" if listener.port else "a port of the launcher's choice"
        who = _check("", listener.clients)
        yield Row(f"listens as {name}", f"{port}; clients: {who.value}", open_end=who.open_end)
    yield from _instances(workload)
    yield from _network(workload)
    if workload.cells is not None:
        yield Row("cells", "it may make them, and so has more of the kernel", open_end=True)
    shown = workload.output.logs == "pass"
    yield Row("logs", "shown to the operator" if shown else "discarded", open_end=shown)


def _instances(workload: Workload) -> Iterator[Row]:
    said = workload.instances
    if said is None:
        return
    yield Row("instances", f"at most {said.maximum} at the same time")
    if said.restarts is not None:
        yield Row("restarts", f"at most {said.restarts}, by whoever runs all of them")


def _network(workload: Workload) -> Iterator[Row]:
    for other, ports in sorted((workload.connections or {}).items()):
        yield Row(f"connects to {other}", _ports(ports))
    for name, rule in sorted((workload.egress or {}).items()):
        said = (
            f"{_ports(rule.ports)}: outside of the job, and protected by what the program does; at "
            f"most {rule.bytes} bytes in one run, {rule.rate} in a second"
        )
        yield Row(f"sends to {name}", said, open_end=True)


def _cluster(policy: Policy, cluster: Cluster) -> Iterator[Row]:
    yield Row("framework", cluster.framework)
    for (role, index), port in cluster_ports(policy).items():
        yield Row(f"{role}-{index}", f"port {port}")


def _budgets(policy: Policy) -> Iterator[Row]:
    for name, rule in sorted((policy.budgets or {}).items()):
        anybody = rule.principals == "any"
        whose = "any name" if anybody else f"each of {', '.join(rule.principals)}"
        said = f"at most {rule.limit} in {whose}, ever; spent by {', '.join(rule.roles)}"
        yield Row(name, said, open_end=anybody)


def _ports(ports: Ports) -> str:
    if ports == "any":
        return "every port"
    return ("port " if len(ports) == 1 else "ports ") + ", ".join(str(port) for port in ports)


def _lifetime(seconds: int | None) -> str:
    return "a day" if seconds is None else f"{seconds} s, unless renewed"


def _check(label: str, check: tuple[str, ...] | int | Unchecked) -> Row:
    if isinstance(check, Unchecked):
        return Row(label, f"not checked: {check.unchecked}", open_end=True)
    return Row(label, f"at least {check}" if isinstance(check, int) else ", ".join(check))


def _word(word: str) -> str:
    import shlex  # noqa: PLC0415  # only whoever shows a policy pays for it

    return shlex.quote(word)
