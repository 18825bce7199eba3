"""Packages of cut models: made, written, and opened with every check before a byte is used.

A package has two sides. The exposed one is a folder that anybody may see and change: the plan, the
leakage report, the middle part. The secret one lies in a volume that only the enclave opens: the
same plan, front, back and labels, and a copy of the exposed files beside them. A package is opened
by its plan, and what the plan does not vouch for is not used.

Spec: partition-plan-v1; `open_exposed` and `open_secret` have its steps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloister.crypto.digest import same_bytes, sha256
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import ConfigError, TamperedError
from cloister.partition.graph import Cut, Graph, PartFile
from cloister.partition.leakage import LeakageReport
from cloister.partition.plan import MAX_PLAN_BYTES, SignedPlan, read_plan, sign_plan
from cloister.partition.plan_facts import EqualityFacts, PartFacts, Plan
from cloister.partition.report import MAX_REPORT_BYTES, read_report
from cloister.partition.sealing import (
    LABELS_FILE,
    MAX_LABELS_BYTES,
    PLAN_FILE,
    REPORT_FILE,
    Reading,
    folder_reading,
    memory_reading,
    part_file,
    read_labels,
    write_labels,
)
from cloister.partition.thresholds import Held, Threshold, judge
from cloister.partition.wiring import require_wiring

__all__ = [
    "Exposed",
    "Package",
    "PackageFiles",
    "Parts",
    "make_package",
    "open_exposed",
    "open_package",
    "open_secret",
    "require_about",
    "write_exposed",
]


@dataclass(frozen=True, slots=True)
class Parts:
    """A model in parts.

    Attributes:
        front: Secret.
        middle: Exposed.
        back: Secret; None where the middle goes to the model's end.
    """

    front: PartFile
    middle: PartFile
    back: PartFile | None


@dataclass(frozen=True, slots=True)
class PackageFiles:
    """A package's files by name, in memory.

    Attributes:
        exposed: What anybody may see.
        secret: What is only ever written into a volume.
    """

    exposed: Mapping[str, bytes]
    secret: Mapping[str, bytes]

    @property
    def volume(self) -> Mapping[str, bytes]:
        """All of it, as it goes into one volume, so that serving needs no other."""
        return {**self.exposed, **self.secret}


@dataclass(frozen=True, slots=True)
class Exposed:
    """The exposed side of a package whose signature, digests and report hold.

    Attributes:
        signed: The plan.
        report: The report that passed.
        held: The thresholds that it passed, with the numbers.
        middle: The exposed part.
    """

    signed: SignedPlan
    report: LeakageReport
    held: tuple[Held, ...]
    middle: PartFile


@dataclass(frozen=True, slots=True)
class Package:
    """A whole package, checked.

    Attributes:
        plan: What its owner signed.
        report: The report that passed.
        front: Secret.
        middle: Exposed.
        back: Secret; None where the middle goes to the model's end.
        labels: Secret, in the order of the model's last axis; None where there are none.
    """

    plan: Plan
    report: LeakageReport
    front: PartFile
    middle: PartFile
    back: PartFile | None
    labels: tuple[str, ...] | None


def make_package(
    *,
    name: str,
    made: int,
    model_sha256: bytes,
    graph: Graph,
    front: Cut,
    back: Cut | None,
    parts: Parts,
    labels: tuple[str, ...] | None,
    salt: bytes,
    equality: EqualityFacts,
    report: bytes,
    thresholds: Sequence[Threshold],
    key: SigningKey,
) -> PackageFiles:
    """Make a package in memory, and open it as others do before it is returned.

    Args:
        name: What people call the model.
        made: When, in Unix seconds.
        model_sha256: Of the whole model's file.
        graph: The whole model's.
        front: Where the exposed part begins.
        back: Where it ends; None where it goes to the model's end.
        parts: The model in parts; the caller has compared them with the whole.
        labels: In the order of the model's last axis; secret.
        salt: 32 secret random bytes, fresh for this package.
        equality: How parts and whole were compared.
        report: The leakage report's file.
        thresholds: What it must pass.
        key: The owner's.

    Raises:
        AppraisalError: `model.refused`: the report does not pass.
        ConfigError: `config.value`: the report is about another model or cut.
        MalformedError: The report is none, or parts do not fit together.
    """
    files = {"front": parts.front, "middle": parts.middle, "back": parts.back}
    facts = tuple(_facts(role, part) for role, part in files.items() if part is not None)
    listed = None if labels is None else write_labels(labels, salt=salt)
    plan = Plan(
        name=name,
        made=made,
        model_sha256=model_sha256,
        model_format=graph.format,
        inputs=graph.inputs,
        outputs=graph.outputs,
        front=front,
        back=back,
        parts=facts,
        labels_sha256=None if listed is None else sha256(listed),
        equality=equality,
        report_sha256=sha256(report),
        thresholds=tuple(thresholds),
        signer=key.public,
    )
    signed = sign_plan(plan, key)
    exposed = {PLAN_FILE: signed.data, REPORT_FILE: report}
    secret = {PLAN_FILE: signed.data}
    for part in facts:
        side = exposed if part.role == "middle" else secret
        found = files[part.role]
        if found is not None:
            side[part_file(part.role, part.format)] = found.data
    if listed is not None:
        secret[LABELS_FILE] = listed
    made_files = PackageFiles(exposed, secret)
    open_secret(
        open_exposed(memory_reading(exposed), signers=(key.public,), thresholds=thresholds),
        memory_reading(secret),
    )
    return made_files


def write_exposed(folder: Path, files: PackageFiles) -> None:
    """Write the exposed side into a folder that is missing or empty; the plan comes last.

    Raises:
        ConfigError: `config.exists`: the folder holds something; `config.file`: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(
                f"{folder} is not empty", code="config.exists", hint="name a new folder"
            )
        for name in sorted(files.exposed, key=lambda each: each == PLAN_FILE):
            (folder / name).write_bytes(files.exposed[name])
    except FileExistsError as e:
        raise ConfigError(f"{folder} is no folder", code="config.exists") from e
    except OSError as e:
        raise ConfigError(f"cannot write {folder}: {e.strerror}", code="config.file") from e


def open_package(
    exposed: Path,
    secret: Path,
    *,
    signers: Collection[VerifyingKey],
    thresholds: Sequence[Threshold],
) -> Package:
    """Open a package whose secret side is a mounted volume.

    Args:
        exposed: Untrusted.
        secret: A folder that only the owner's volume is mounted on.
        signers: Whose packages are taken.
        thresholds: What the report must pass, whatever its owner asked of it.

    Raises:
        AppraisalError: `model.refused`: the report does not pass; it names the number.
        IdentityError: `package.signer`: not signed by one of these.
        TamperedError: `package.tampered`: a file is another than the plan says, or the two sides
            are of different packages.
        MalformedError: Something does not parse, or parts do not fit together.
        ConfigError: A file is missing or cannot be read.
    """
    opened = open_exposed(folder_reading(exposed), signers=signers, thresholds=thresholds)
    return open_secret(opened, folder_reading(secret))


def open_exposed(
    read: Reading, *, signers: Collection[VerifyingKey], thresholds: Sequence[Threshold]
) -> Exposed:
    """Open the exposed side; see `open_package`. Every check comes before a part is returned.

    Spec: PP-24; the steps have the same order.
    """
    signed = read_plan(read(PLAN_FILE, MAX_PLAN_BYTES), signers=signers)
    plan = signed.plan
    require_wiring(plan)
    data = read(REPORT_FILE, MAX_REPORT_BYTES)
    _require_digest(data, plan.report_sha256, REPORT_FILE)
    report = read_report(data)
    require_about(report, plan.model_sha256, plan.model_format)
    _require_cut(report, plan)
    judge(report, front=plan.front.position, back=plan.back_position, thresholds=plan.thresholds)
    held = judge(report, front=plan.front.position, back=plan.back_position, thresholds=thresholds)
    middle = _read_part(read, plan, "middle")
    if middle is None:  # the plan's reader sees to it
        raise _tampered("the package has no middle part")
    return Exposed(signed, report, held, middle)


def open_secret(exposed: Exposed, read: Reading) -> Package:
    """Open the secret side that belongs to an exposed one; see `open_package`.

    Spec: PP-25; the steps have the same order.
    """
    plan = exposed.signed.plan
    if not same_bytes(read(PLAN_FILE, MAX_PLAN_BYTES), exposed.signed.data):
        raise _tampered("the exposed and the secret side are of different packages")
    front = _read_part(read, plan, "front")
    if front is None:  # the plan's reader sees to it
        raise _tampered("the package has no front part")
    back = _read_part(read, plan, "back")
    labels = None
    if plan.labels_sha256 is not None:
        data = read(LABELS_FILE, MAX_LABELS_BYTES)
        _require_digest(data, plan.labels_sha256, LABELS_FILE)
        labels = read_labels(data)
    return Package(plan, exposed.report, front, exposed.middle, back, labels)


def require_about(report: LeakageReport, model_sha256: bytes, model_format: str) -> None:
    """Raise unless a report is about this model.

    Raises:
        ConfigError: `config.value`.
    """
    if (report.model.sha256, report.model.format) != (model_sha256, model_format):
        raise ConfigError(
            "the leakage report is about another model",
            code="config.value",
            hint="cloister model assess this one",
        )


def _require_cut(report: LeakageReport, plan: Plan) -> None:
    cut = report.cut(plan.front.position)
    if cut is not None and cut.tensors != plan.front.tensors:
        raise ConfigError(
            f"the leakage report has other tensors at position {plan.front.position}",
            code="config.value",
            hint="cloister model assess this model again",
        )


def _read_part(read: Reading, plan: Plan, role: str) -> PartFile | None:
    facts = plan.part(role)
    if facts is None:
        return None
    name = part_file(role, facts.format)
    data = read(name, facts.size)
    if len(data) != facts.size:
        raise _tampered(f"{name} has not the size that the package's plan says")
    _require_digest(data, facts.sha256, name)
    return PartFile(facts.format, data, facts.inputs, facts.outputs)


def _require_digest(data: bytes, expected: bytes, name: str) -> None:
    if not same_bytes(sha256(data), expected):
        raise _tampered(f"{name} is not the file that the package's plan names")


def _facts(role: str, part: PartFile) -> PartFacts:
    return PartFacts(
        role=role,
        format=part.format,
        sha256=sha256(part.data),
        size=len(part.data),
        inputs=part.inputs,
        outputs=part.outputs,
    )


def _tampered(problem: str) -> TamperedError:
    return TamperedError(
        problem, code="package.tampered", hint="take both sides of the package from its owner again"
    )
