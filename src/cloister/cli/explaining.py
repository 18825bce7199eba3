"""Judge this machine by a policy, rule by rule, with evidence made and verified here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import ReportData
from cloister.attestation.measurement import LaunchMeasurement
from cloister.cli import console, settings
from cloister.cli.evidence_explaining import WOULD_HOLD, WOULD_NOT_HOLD
from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import ConfigError, ReleaseDeniedError
from cloister.keyservice.clock import read_clock
from cloister.keyservice.policy import Policy, parse_policy
from cloister.keyservice.policy.explain import Explanation, explain, rule_changes
from cloister.keyservice.policy.model import CodeVolume, Workload
from cloister.keyservice.policy.rules import NO_DEVICES
from cloister.keyservice.session import establish
from cloister.launcher.attesting import (
    Vouching,
    choose_kind,
    hardware_attester,
    knows_nothing,
)
from cloister.launcher.code import read_code
from cloister.launcher.local import layout_of, runtime_digest
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.verifier import SimVerifier
from cloister.volume.opening import observe

if TYPE_CHECKING:
    from cloister.launcher.owner import Owner
    from cloister.tee.offers import Machine

__all__ = ["dry_run", "explain_here"]

_REPORT_DATA: Final = ReportData(bytes(64))  # binds nothing: an explanation releases nothing
_NONCE: Final = bytes(32)


def explain_here(
    file: Path,
    *,
    workload: str,
    code: Path | None,
    domain: Path | None,
    quiet: bool,
    root_of_trust: str = "",
    vouching: Vouching = knows_nothing,
    machine: Machine | None = None,
) -> Explanation:
    """Return what the key service would find, as far as this machine can know.

    Args:
        file: The policy.
        workload: The role.
        code: The folder of plain code, where the policy digests one.
        domain: The trust domain.
        quiet: No progress.
        root_of_trust: The kind of evidence, where several would do.
        vouching: Gives what vouches for this machine's hardware.
        machine: Where its interfaces of attestation are; None for this machine.
    """
    policy = parse_policy(settings.read_policy_bytes(file), source=str(file))
    role = policy.workloads.get(workload)
    if role is None:
        raise ReleaseDeniedError(
            f"policy {policy.name} has no workload {workload}",
            code="release.workload-unknown",
            hint=f"it has {', '.join(policy.workloads)}",
        )
    roots = policy.roots_of_trust
    # A policy that accepts nothing is explained as well: by what this platform would show.
    kind = choose_kind(roots, machine, named=root_of_trust) if roots.names else "sim"
    with console.progress("measuring the runtime", quiet=quiet) as step:
        if kind == "sim":
            facts = settings.measure_local(domain, program=role.command[0], progress=step)
            runtime, claims, devices = facts.runtime, _simulated(domain), NO_DEVICES
        else:
            runtime = runtime_digest(
                layout_of(role.command[0]),
                None,
                cache_directory=file.parent,
                at=read_clock().at,
                progress=step,
                fingerprint=None,
            )
            claims, devices = _genuine(kind, policy, machine, vouching)
    measured = LaunchMeasurement(_code(policy, role, file.parent, code), runtime)
    anchored = _anchored_roots(policy, settings.owner(domain))
    return explain(policy, workload, claims, measured, volume_roots=anchored, devices=devices)


def _simulated(domain: Path | None) -> Claims:
    platform = settings.find_domain(domain).platform()
    verifier = SimVerifier((platform.anchor,))
    return verifier.verify(SimAttester(platform).collect(_REPORT_DATA), (), at=read_clock().at)


def _genuine(
    kind: str, policy: Policy, machine: Machine | None, vouching: Vouching
) -> tuple[Claims, Mapping[str, Claims]]:
    """Collect and verify as a release would; what does not hold is raised as there."""
    attester = hardware_attester(kind, policy.roots_of_trust, machine, vouching=vouching)
    found = attester.answer(_REPORT_DATA, nonce=_NONCE)
    return establish(
        found.evidence,
        found.endorsements,
        policy,
        nonce=_NONCE,
        request=_REPORT_DATA,
        own=(),
        at=read_clock().at,
    )


def dry_run(before: Explanation, after: Explanation, *, as_json: bool) -> int:
    """Show what another policy would say otherwise; returns the exit status of a dry run."""
    changes = rule_changes(before, after)
    holds = after.refused_by is None
    if as_json:
        console.emit(
            {
                "dry_run": True,
                "would_hold": holds,
                "policy": after.as_record()["policy"],
                "rules": after.as_record()["rules"],
                "changes": [
                    {"rule": each.path, "before": each.before, "after": each.after}
                    for each in changes
                ],
            }
        )
    else:
        console.lines("dry run: nothing is decided here, and nothing may rely on it")
        for each in changes:
            console.lines(f"change: {each.path}: {each.before} -> {each.after}")
        if not changes:
            console.lines("no rule says something else than before")
        console.lines("each rule would hold" if holds else "not every rule would hold")
    return WOULD_HOLD if holds else WOULD_NOT_HOLD


def _code(policy: Policy, role: Workload, base: Path, code: Path | None) -> bytes:
    if isinstance(role.code, CodeVolume):
        location = policy.volumes[role.code.volume].location
        return observe(base / location).root if location else bytes(DIGEST_BYTES)
    if code is None:
        raise ConfigError(
            "the policy digests plain code", code="config.missing", hint="name it with --code"
        )
    return read_code(code).digest()


def _anchored_roots(policy: Policy, owner: Owner) -> dict[str, bytes]:
    known = {record["id"]: record["root"] for record in owner.client.status().volumes}
    roots: dict[str, bytes] = {}
    for name, rule in policy.volumes.items():
        root = known.get(bytes.fromhex(rule.id))
        if isinstance(root, bytes):
            roots[name] = root
    return roots
