"""What a valid policy probably does not mean: findings with a severity, a code and a line.

An `error` is something that cannot work or that undoes the policy's purpose; `require_sound`
refuses it. A `warning` deserves a second look. A `note` says what the policy leaves open, so that
whoever approves it has read it once in plain words.

Spec: release-policy-v1, clauses POL-70 to POL-73; evidence-policy-v1, clauses EVP-20 to EVP-27.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cloister.attestation.evidence_rules import Field
from cloister.errors import ConfigError, MalformedError
from cloister.keyservice.policy.evidence import (
    diagnose_evidence_policy,
    is_evidence_policy,
)
from cloister.keyservice.policy.lint_budgets import findings_of_budgets
from cloister.keyservice.policy.lint_evidence import findings_of_evidence
from cloister.keyservice.policy.lint_evidence_policy import (
    findings_beside_references,
    findings_of_evidence_policy,
)
from cloister.keyservice.policy.lint_networks import findings_of_networks
from cloister.keyservice.policy.lint_secrets import findings_of_secrets
from cloister.keyservice.policy.lint_workload import findings_of_workload
from cloister.keyservice.policy.model import CodeVolume, Policy, SimRoot, Unchecked, VolumeRule
from cloister.keyservice.policy.node import PolicyProblem, join, place_of
from cloister.keyservice.policy.reader import diagnose
from cloister.tee.corim import ReferenceValues
from cloister.tee.registry import by_name

__all__ = ["Finding", "Severity", "lint", "lint_text", "require_sound"]

Severity = Literal["error", "warning", "note"]
_ORDER: Final[Mapping[str, int]] = {"error": 0, "warning": 1, "note": 2}
_CLOCKS_DIFFER_S: Final = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a policy.

    Attributes:
        severity: `error`, `warning` or `note`.
        code: Stable name, such as `lint.code-root`.
        path: Where in the policy.
        line: From 1; 0 where there is no text.
        column: From 1; 0 likewise.
        message: What it is and why it matters, in a sentence.
        hint: What to do, or empty.
    """

    severity: Severity
    code: str
    path: str
    line: int
    column: int
    message: str
    hint: str = ""

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "severity": self.severity,
            "code": self.code,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "hint": self.hint or None,
        }


def lint_text(
    data: bytes, *, source: str, references: Callable[[str], ReferenceValues] | None = None
) -> tuple[Finding, ...]:
    """Find everything in a text: what makes it no policy, or else what `lint` finds.

    Args:
        data: Untrusted.
        source: What the text is called, for messages.
        references: For evidence policies: the reference values for a kind, to compare with.

    Raises:
        MalformedError: `policy.too-large`.
        ConfigError: There are reference values, and this is no evidence policy (`config.value`).
    """
    if is_evidence_policy(data):
        return _lint_evidence(data, source=source, references=references)
    if references is not None:
        raise ConfigError(
            f"{source} is no evidence policy, and reference values are for those",
            code="config.value",
        )
    diagnosis = diagnose(data, source=source)
    if diagnosis.policy is not None:
        return lint(diagnosis.policy, positions=diagnosis.positions)
    return _problems(diagnosis.problems)


def _lint_evidence(
    data: bytes, *, source: str, references: Callable[[str], ReferenceValues] | None
) -> tuple[Finding, ...]:
    diagnosis = diagnose_evidence_policy(data, source=source, fields=_table)
    policy = diagnosis.policy
    if policy is None:
        return _problems(diagnosis.problems)
    table = _table(policy.kind) or ()
    found = list(findings_of_evidence_policy(policy, table))
    if references is not None:
        found += findings_beside_references(policy, table, references(policy.kind))
    return _placed(found, diagnosis.positions)


def _table(kind: str) -> Sequence[Field] | None:
    root = by_name(kind)
    return None if root is None else root.fields()


def _problems(problems: Iterable[PolicyProblem]) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            "error",
            "policy.malformed" if problem.malformed else "policy.invalid",
            problem.path,
            problem.line,
            problem.column,
            problem.message,
            problem.hint,
        )
        for problem in problems
    )


def _placed(
    findings: Iterable[tuple[Severity, str, str, str]], positions: Mapping[str, tuple[int, int]]
) -> tuple[Finding, ...]:
    """Add places and hints; errors first, then by line."""
    found: list[Finding] = []
    for severity, code, path, message in findings:
        line, column = place_of(path, positions) or ((1, 1) if positions else (0, 0))
        found.append(Finding(severity, code, path, line, column, message, _HINTS.get(code, "")))
    return tuple(sorted(found, key=lambda f: (_ORDER[f.severity], f.line, f.column)))


def lint(policy: Policy, *, positions: Mapping[str, tuple[int, int]]) -> tuple[Finding, ...]:
    """Find what is wrong or left open in a valid policy, errors first, then by line.

    Args:
        policy: A valid policy.
        positions: Path to (line, column), from a `Diagnosis`; `{}` where there was no text.
    """
    return _placed(_all(policy), positions)


def require_sound(policy: Policy) -> None:
    """Refuse a policy that `lint` finds errors in; the key service asks this before it applies one.

    Raises:
        MalformedError: `policy.invalid`, with the first error; `detail` has all of them.
    """
    errors = [f for f in lint(policy, positions={}) if f.severity == "error"]
    if errors:
        first = errors[0]
        raise MalformedError(
            f"{first.path}: {first.message}",
            code="policy.invalid",
            detail="\n".join(f"{f.code} {f.path}: {f.message}" for f in errors),
            hint=first.hint or "cloister policy lint shows every finding with its line",
        )


def _all(policy: Policy) -> Iterator[tuple[Severity, str, str, str]]:
    yield from _roots_of_trust(policy)
    yield from _volumes(policy)
    yield from _people(policy)
    yield from _certificates(policy)
    for name, workload in policy.workloads.items():
        yield from findings_of_workload(policy, workload, join("workloads", name))
    yield from findings_of_networks(policy)
    yield from findings_of_secrets(policy)
    yield from findings_of_budgets(policy)


def _roots_of_trust(policy: Policy) -> Iterator[tuple[Severity, str, str, str]]:
    roots = policy.roots_of_trust
    if not roots.names:
        message = "no root of trust is named, so all evidence is refused and no key is released"
        yield "error", "lint.no-root-of-trust", "roots_of_trust", message
    if roots.sim is not None:
        yield from _sim(roots.sim, "roots_of_trust.sim", beside=bool(roots.genuine))
    for name, root in roots.genuine.items():
        yield from findings_of_evidence(name, root, join("roots_of_trust", name))


def _sim(root: SimRoot, path: str, *, beside: bool) -> Iterator[tuple[Severity, str, str, str]]:
    if beside:
        message = (
            "simulated evidence is accepted beside that of hardware: whoever has a platform's key "
            "needs no hardware"
        )
        yield "warning", "lint.simulated", path, message
    else:
        message = "simulated evidence is accepted: nothing in this policy is rooted in hardware"
        yield "note", "lint.simulated", path, message
    if root.debug == "accepted":
        message = "a platform that can be inspected from outside is accepted"
        yield "warning", "lint.debug", f"{path}.debug", message
    for name, check in (("measurement", root.measurement), ("minimum_svn", root.minimum_svn)):
        if isinstance(check, Unchecked):
            yield "note", "lint.unchecked", f"{path}.{name}", f"not checked: {check.unchecked}"
    if isinstance(root.measurement, Unchecked):
        message = (
            "the launcher is not checked, and it is what measures code and runtime: "
            "both measurements are only as good as whoever runs it"
        )
        yield "warning", "lint.launcher-unchecked", f"{path}.measurement", message


def _volumes(policy: Policy) -> Iterator[tuple[Severity, str, str, str]]:
    mounts = [mount for w in policy.workloads.values() for mount in w.volumes.values()]
    used = {name for mount in mounts for name in mount.names}
    used |= {w.code.volume for w in policy.workloads.values() if isinstance(w.code, CodeVolume)}
    names: dict[str, str] = {}
    for name, volume in policy.volumes.items():
        if name not in used:
            message = f"no workload uses volume {name}"
            yield "warning", "lint.volume-unused", join("volumes", name), message
        if volume.id in names:
            message = f"volume {name} has the same id as volume {names[volume.id]}"
            yield "error", "lint.volume-twice", join("volumes", name) + ".id", message
        names.setdefault(volume.id, name)
        yield from _regions(policy, name, volume)


def _regions(
    policy: Policy, name: str, volume: VolumeRule
) -> Iterator[tuple[Severity, str, str, str]]:
    """Say what the operator gets to see, or to change, of a volume."""
    roles = policy.workloads.values()
    is_code = any(isinstance(w.code, CodeVolume) and w.code.volume == name for w in roles)
    is_written = any(
        name in mount.names and mount.access == "write"
        for role in roles
        for mount in role.volumes.values()
    )
    for path, found in (volume.regions or {}).items():
        place = join(join("volumes", name) + ".regions", path)
        if found == "plain":
            message = "the operator reads and changes what lies here, and his sockets here work"
            yield "warning", "lint.region-plain", place, message
            if is_code:
                message = "code from a plain folder is the operator's code"
                yield "error", "lint.region-code", place, message
        elif found == "authenticated":
            message = "the operator reads what lies here"
            yield "note", "lint.region-readable", place, message
            if is_written:
                message = "the operator reads what workloads write here"
                yield "warning", "lint.region-output", place, message


def _people(policy: Policy) -> Iterator[tuple[Severity, str, str, str]]:
    board = policy.approval
    if board is not None and board.threshold == 1:
        message = (
            "one of these approvers alone replaces this policy, with any volumes of the namespace"
        )
        yield "warning", "lint.one-approver", "approval.threshold", message
    elif board is not None:
        message = "the approvers named here replace this policy, and not those of the charter"
        yield "note", "lint.own-board", "approval", message
    if policy.access is not None and policy.access.readers:
        message = "the keys named here read this policy and its earlier versions"
        yield "note", "lint.readers", "access.readers", message


def _certificates(policy: Policy) -> Iterator[tuple[Severity, str, str, str]]:
    lifetime = policy.certificate_lifetime
    if lifetime is not None and lifetime < _CLOCKS_DIFFER_S:
        message = f"clocks may differ by {_CLOCKS_DIFFER_S} s, which is longer than {lifetime} s"
        yield "warning", "lint.certificate-lifetime", "certificate_lifetime", message


_HINTS: Final[Mapping[str, str]] = {
    "lint.no-root-of-trust": "add roots_of_trust.sim, or another root of trust",
    "lint.code-root": "write the state that `cloister volume verify` shows as root: sha256:…",
    "lint.volume-undeclared": "declare it under volumes:",
    "lint.mount-system": "choose a path of its own, such as /data",
    "lint.mount-overlap": "mount each volume beside the others",
    "lint.command-program": "write python, or the absolute path of a program",
    "lint.script-nowhere": "write the path under which the workload sees the script",
    "lint.environment-loader": "remove it; what runs is named by code and command",
    "lint.environment-secret": "declare it under secrets: and write ${secret:NAME}",
    "lint.secret-template": "write ${secret:NAME@EPOCH.PART}; $${ is a literal ${",
    "lint.secret-unknown": "declare it under secrets: or imports:",
    "lint.secret-epoch": "list it under readable, or leave the epoch out",
    "lint.secret-readable": "list epochs that were current before",
    "lint.secret-twice": "give the import a name of its own",
    "lint.secret-weak": "make it longer",
    "lint.export-renewed": "let the other side have a certificate of its own",
    "lint.export-twice": "leave one of them out",
    "lint.secret-authority": "declare it: {authority: {common_name: …, lifetime_days: …}}",
    "lint.secret-binary": "write .hex or .base64 behind the name",
    "lint.secret-in-command": "put it in environment or files, if the program can read it there",
    "lint.file-place": "choose a place of its own, such as /run/secrets/token",
    "lint.region-code": "leave the plain region out, or put it on another volume",
    "lint.region-output": "write results to an encrypted region, unless they are public",
    "lint.egress": "leave out what the job can do without",
    "lint.budget-any": "name the principals, if they are known",
    "lint.cluster-unconnected": "add connections from one to the other: any, or a list of ports",
    "lint.cluster-port": "add the ports of its tasks; `cloister policy show` lists them",
    "lint.launcher-unchecked": "name the digest that `cloister doctor` shows, or that of the image",
    "lint.platform-unjudged": "write status: {one_of: [UpToDate]}, or reported_tcb: {at_least: …}",
    "lint.revocation-unchecked": "write {one_of: [set]}, and let the key service have the list",
    "lint.nothing-checked": "give at least one claim a value or a bound",
    "lint.always": "say {unchecked: <reason>}, if that is meant",
    "lint.at-least-zero": "say {unchecked: <reason>}, if that is meant",
    "lint.value-length": "copy the value again, whole: `cloister evidence show` has it in full",
    "lint.value-unset": "leave out one of the two rules",
    "lint.reference-unread": "`cloister evidence policy --fill` takes the file's values over",
    "lint.reference-unset": "leave it out, or ask the file's author",
    "lint.anchor-nobody": "name the key or root that you trust: sha256:…",
    "lint.measurement-unchecked": "`cloister measure` computes it from an image",
}
