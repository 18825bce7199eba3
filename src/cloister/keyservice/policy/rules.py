"""The rules of a policy for one workload, each judged by itself: expected, found, verdict.

`appraise` stops at the first rule that does not hold; `explain` shows all of them. Both read this
list, so that an explanation cannot disagree with a decision.

Everything here is pure. Claims are facts from evidence whose signature has been verified, and
whose report data the caller has found to bind the launch measurement; this module trusts both.

Spec: release-policy-v1, clauses POL-50 to POL-61.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from cloister.attestation.claims import Claims
from cloister.attestation.evidence_rules import Field, as_text, claim, judge
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import NotChecked
from cloister.attestation.verdict import require_complete
from cloister.crypto.digest import digest_from_text, digest_to_text, same_bytes, sha256
from cloister.keyservice.policy.evidence_roots import accepted_roots, root_named, table_of
from cloister.keyservice.policy.model import (
    CodeDigests,
    CodeVolume,
    EvidenceRoot,
    Policy,
    SimRoot,
    Unchecked,
    Workload,
)
from cloister.keyservice.policy.node import join

__all__ = ["NO_DEVICES", "Rule", "Verdict", "rules"]

Verdict = Literal["holds", "refused", "unchecked", "not reached"]

NO_DEVICES: Final[Mapping[str, Claims]] = MappingProxyType({})
_MAX_SHOWN: Final = 8
_MAX_TEXT: Final = 1000
_KEY_PREFIX: Final = "ed25519:"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy, judged.

    Attributes:
        number: The step of the procedure.
        path: The rule's place in the policy.
        expected: What it wants; never a secret.
        found: What there is; never a secret.
        verdict: Whether it holds.
        code: What refusing by this rule is called.
        sentence: Why it does not hold, for people; empty where it does.
        nearest: The reference value that came closest, where one may help.
        reason: Why its author left it out, where the verdict is `unchecked`.
    """

    number: int
    path: str
    expected: str
    found: str
    verdict: Verdict
    code: str
    sentence: str = ""
    nearest: str = ""
    reason: str = ""


def rules(
    policy: Policy,
    workload: str,
    claims: Claims,
    *,
    measurement: LaunchMeasurement,
    volume_roots: Mapping[str, bytes],
    devices: Mapping[str, Claims] = NO_DEVICES,
) -> Iterator[Rule]:
    """Yield every rule that applies, in the order in which they decide.

    Args:
        policy: The policy in force.
        workload: The role that is asked for; untrusted.
        claims: From verified evidence.
        measurement: Bound by that evidence.
        volume_roots: Name of a volume in the policy to the state that is anchored for its `id`;
            a volume that is not registered is absent.
        devices: Kind to what genuine evidence of accelerators says that was bound to the
            processor's; where the policy asks for some and none is here, that refuses.
    """
    # 1  The policy has this workload.
    role = policy.workloads.get(workload)
    yield _workload_is_named(policy, workload)
    # 2 to 6  The environment.
    yield from _environment_rules(policy, claims, devices)
    if role is None:
        for number, path in ((7, "code"), (8, "runtime"), (9, "volumes")):
            yield Rule(number, f"workloads.?.{path}", "", "", "not reached", "")
        return
    base = join("workloads", workload)
    # 7  The code is the code that the policy names.
    yield _code(policy, role, base, measurement)
    # 8  So is the runtime.
    yield _digest_rule(
        8,
        f"{base}.runtime",
        role.runtime,
        measurement.runtime,
        code="appraisal.runtime",
        what="the interpreter with its installed distributions is",
    )
    # 9  Every volume that the workload gets is declared, registered, and in the state asked for.
    yield from _volumes(policy, role, base, volume_roots)


def _workload_is_named(policy: Policy, workload: str) -> Rule:
    named = workload in policy.workloads
    return Rule(
        1,
        join("workloads", workload) if named else "workloads",
        _some(tuple(policy.workloads)),
        _cut(workload),
        "holds" if named else "refused",
        "release.workload-unknown",
        "" if named else f"policy {policy.name} has no workload of that name",
    )


def _environment_rules(
    policy: Policy, claims: Claims, devices: Mapping[str, Claims]
) -> Iterator[Rule]:
    # 2  The root of trust is named; an empty set names none.
    named = policy.roots_of_trust.names
    kind = claims.root_of_trust
    root = policy.roots_of_trust.sim if kind == "sim" else policy.roots_of_trust.genuine.get(kind)
    honest = root is None or not claims.hardware_rooted or root_named(kind).hardware_rooted
    yield Rule(
        2,
        "roots_of_trust",
        _some(named) if named else "none: this policy accepts no evidence",
        claims.root_of_trust if honest else f"{claims.root_of_trust}, claiming hardware",
        "holds" if root is not None and honest else "refused",
        "appraisal.root-of-trust",
        ""
        if root is not None and honest
        else f"the policy does not accept {_cut(claims.root_of_trust)} as a root of trust",
    )
    if root is None:
        for number, name in ((3, "anchors"), (4, "measurement"), (5, "debug"), (6, "minimum_svn")):
            yield Rule(number, f"roots_of_trust.?.{name}", "", "", "not reached", "")
        return
    base = join("roots_of_trust", kind)
    if isinstance(root, SimRoot):
        yield from _sim(root, base, claims)
    else:
        yield from _genuine(root, base, claims)
        yield from _devices(root, f"{base}.devices", devices)


def _sim(root: SimRoot, base: str, claims: Claims) -> Iterator[Rule]:
    # 3  The platform is one of those named. Claims carry the SHA-256 of its public key.
    known = any(
        same_bytes(sha256(bytes.fromhex(key.removeprefix(_KEY_PREFIX))), claims.anchor)
        for key in root.anchors
    )
    yield Rule(
        3,
        f"{base}.anchors",
        _some(root.anchors),
        f"a key with SHA-256 {claims.anchor.hex()}",
        "holds" if known else "refused",
        "appraisal.root-of-trust",
        "" if known else "the policy does not name this platform's key",
    )
    # 4  The launcher's image.
    yield _digest_rule(
        4,
        f"{base}.measurement",
        root.measurement,
        claims.measurement,
        code="appraisal.measurement",
        what="the launcher's image is",
    )
    # 5  Not inspectable, unless the policy accepts that.
    allowed = root.debug == "accepted" or not claims.debug
    yield Rule(
        5,
        f"{base}.debug",
        root.debug,
        "inspectable" if claims.debug else "not inspectable",
        "holds" if allowed else "refused",
        "appraisal.debug",
        "" if allowed else "the platform can be inspected from outside (debug)",
    )
    # 6  New enough.
    yield _svn(root, f"{base}.minimum_svn", claims.security_version)


def _genuine(root: EvidenceRoot, base: str, claims: Claims) -> Iterator[Rule]:
    """Judge by the evidence policy's own words; measurement and debug have their usual places."""
    # 3  The manufacturer, or another whose root the policy names, vouched for the platform.
    known = any(
        same_bytes(anchor, claims.anchor) for anchor in accepted_roots(claims.root_of_trust, root)
    )
    yield Rule(
        3,
        f"{base}.anchors",
        _some(root.anchors),
        f"sha256:{claims.anchor.hex()}",
        "holds" if known else "refused",
        "appraisal.root-of-trust",
        "" if known else "the policy does not name the root that vouched for this platform",
    )
    table = table_of(claims.root_of_trust)
    require_complete(table, root.claims)
    # 4 and 5  The launcher's image, and debug; 6  every other claim, in the table's order.
    named = [field for field in table if field.path in root.claims]
    for field in sorted(named, key=lambda each: _places(each.path)[0]):
        number, code = _places(field.path)
        path = join(f"{base}.claims", field.path)
        judged = judge(field, root.claims[field.path], claims)
        if isinstance(judged, NotChecked):
            left_out = Unchecked(unchecked=judged.reason)
            yield _unchecked(number, path, _claimed(field, claims), code=code, rule=left_out)
            continue
        yield Rule(
            number,
            path,
            _cut(judged.expected),
            _cut(judged.found),
            "holds" if judged.holds else "refused",
            code,
            "" if judged.holds else f"the evidence is not what the policy asks for: {field.about}",
        )


def _devices(root: EvidenceRoot, base: str, devices: Mapping[str, Claims]) -> Iterator[Rule]:
    # 6  Accelerators beside the processor: those that are asked for, and no others.
    for kind in sorted({*root.devices, *devices}):
        section, said = root.devices.get(kind), devices.get(kind)
        if section is None or said is None or said.root_of_trust != kind:
            yield Rule(
                6,
                join(base, kind),
                "evidence of it" if section is not None else "no evidence of it",
                "none" if said is None else "some",
                "refused",
                "appraisal.root-of-trust",
                f"the policy and the evidence do not agree about {kind} beside the processor",
            )
            continue
        for rule in _genuine(section, join(base, kind), said):
            code = "appraisal.claim" if rule.code != "appraisal.root-of-trust" else rule.code
            yield replace(rule, number=6, code=code)


def _places(path: str) -> tuple[int, str]:
    """Return the step that judges a claim, and what refusing by it is called."""
    if path == "measurement":
        return 4, "appraisal.measurement"
    if path == "debug":
        return 5, "appraisal.debug"
    return 6, "appraisal.claim"


def _claimed(field: Field, claims: Claims) -> str:
    return _cut(as_text(claim(claims, field.path)))


def _svn(root: SimRoot, path: str, found: int) -> Rule:
    code = "appraisal.svn"
    if isinstance(root.minimum_svn, Unchecked):
        return _unchecked(6, path, str(found), code=code, rule=root.minimum_svn)
    holds = found >= root.minimum_svn
    return Rule(
        6,
        path,
        f"at least {root.minimum_svn}",
        str(found),
        "holds" if holds else "refused",
        code,
        "" if holds else f"the platform's security version {found} is too old",
    )


def _code(policy: Policy, role: Workload, base: str, measurement: LaunchMeasurement) -> Rule:
    code = "appraisal.code"
    if isinstance(role.code, CodeDigests):
        path = f"{base}.code.digests"
        return _digest_rule(
            7, path, role.code.digests, measurement.code, code=code, what="the code tree is"
        )
    return _volume_code(policy, role.code, f"{base}.code.volume", measurement)


def _volume_code(
    policy: Policy, code: CodeVolume, path: str, measurement: LaunchMeasurement
) -> Rule:
    found = digest_to_text(measurement.code)
    volume = policy.volumes.get(code.volume)
    if volume is None or volume.root == "latest":
        wants = "a volume with an exact root"
        says = "no such volume" if volume is None else "root: latest"
        sentence = f"the policy pins no state of the code volume {code.volume}"
        return Rule(7, path, wants, says, "refused", "appraisal.code", sentence)
    return _digest_rule(
        7,
        join("volumes", code.volume) + ".root",
        (volume.root,),
        measurement.code,
        code="appraisal.code",
        what=f"the state of the code volume {code.volume} is {found}, which is",
    )


def _volumes(
    policy: Policy, role: Workload, base: str, volume_roots: Mapping[str, bytes]
) -> Iterator[Rule]:
    # A volume has one state however often it is used: judged once, at its first use.
    uses: dict[str, str] = {}
    if isinstance(role.code, CodeVolume):
        uses[role.code.volume] = f"{base}.code.volume"
    for point, mount in role.volumes.items():
        # Of shards all: what holds for one instance holds for each.
        for name, place in mount.places(join(f"{base}.volumes", point)).items():
            uses.setdefault(name, place)
    for name, path in uses.items():
        yield _volume(policy, path, name, volume_roots)


def _volume(policy: Policy, path: str, name: str, volume_roots: Mapping[str, bytes]) -> Rule:
    rule = policy.volumes.get(name)
    if rule is None:
        sentence = f"the policy declares no volume {name}"
        return Rule(
            9,
            path,
            _some(tuple(policy.volumes)),
            name,
            "refused",
            "release.volume-unknown",
            sentence,
        )
    found = volume_roots.get(name)
    if found is None:
        wants = f"volume {rule.id}, registered"
        sentence = f"the key service has no volume {rule.id} ({name})"
        return Rule(9, path, wants, "not registered", "refused", "release.volume-unknown", sentence)
    if rule.root == "latest":
        return Rule(9, path, "latest", digest_to_text(found), "holds", "appraisal.volume-root")
    return _digest_rule(
        9,
        join("volumes", name) + ".root",
        (rule.root,),
        found,
        code="appraisal.volume-root",
        what=f"the anchored state of volume {name} is",
    )


def _digest_rule(
    number: int,
    path: str,
    references: tuple[str, ...] | Unchecked,
    found: bytes,
    *,
    code: str,
    what: str,
) -> Rule:
    shown = f"sha256:{found.hex()}"
    if isinstance(references, Unchecked):
        return _unchecked(number, path, shown, code=code, rule=references)
    holds = any(same_bytes(digest_from_text(reference), found) for reference in references)
    return Rule(
        number,
        path,
        _some(references),
        shown,
        "holds" if holds else "refused",
        code,
        "" if holds else f"{what} not one that the policy names",
        "" if holds else _nearest(shown, references),
    )


def _unchecked(number: int, path: str, found: str, *, code: str, rule: Unchecked) -> Rule:
    return Rule(number, path, "anything", found, "unchecked", code, reason=rule.unchecked)


def _nearest(found: str, references: tuple[str, ...]) -> str:
    """Return the reference that shares the longest beginning: a typing mistake, if any does."""
    best, length = "", len("sha256:") + 3
    for reference in references:
        same = next(
            (i for i, (a, b) in enumerate(zip(found, reference, strict=False)) if a != b),
            min(len(found), len(reference)),
        )
        if same > length:
            best, length = reference, same
    return best


def _some(values: tuple[str, ...]) -> str:
    shown = ", ".join(values[:_MAX_SHOWN])
    more = len(values) - _MAX_SHOWN
    if not values:
        return "none"
    head = "" if len(values) == 1 else "one of "
    return _cut(head + shown + (f" and {more} more" if more > 0 else ""))


def _cut(text: str) -> str:
    clean = text
    if not text.isprintable():
        clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= _MAX_TEXT else clean[: _MAX_TEXT - 1] + "…"
