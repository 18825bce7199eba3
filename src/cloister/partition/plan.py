"""What a package of a cut model is: its parts by their digests, signed by the model's owner.

A plan is public: it lies beside the exposed part. Nothing in it is secret, and what could be
guessed and then confirmed (the labels) is digested with a salt that only the secret side has.

Spec: partition-plan-v1.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.signature import PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import ConfigError, IdentityError, MalformedError
from cloister.partition.graph import Cut, TensorInfo
from cloister.partition.leakage import FORMATS
from cloister.partition.plan_facts import EqualityFacts, PartFacts, Plan
from cloister.partition.thresholds import MAX_THRESHOLDS, Threshold
from cloister.wire import Fields, Value, encode

__all__ = [
    "MAX_PART_BYTES",
    "MAX_PLAN_BYTES",
    "PART_FORMATS",
    "ROLES",
    "SIGNATURE_LABEL",
    "EqualityFacts",
    "PartFacts",
    "Plan",
    "SignedPlan",
    "read_plan",
    "sign_plan",
]

FORMAT: Final = "cloister/partition-plan/v1"
SIGNATURE_LABEL: Final = b"cloister/partition-plan-signature/v1"
MAX_PLAN_BYTES: Final = 2**20
MAX_PART_BYTES: Final = 2**31
ROLES: Final = ("front", "middle", "back")
PART_FORMATS: Final = ("onnx", "litert")
MAX_POSITION: Final = 2**20
MAX_TENSORS: Final = 1024
MAX_NAME: Final = 512
MAX_RANK: Final = 8
MAX_SIZE: Final = 2**40
MAX_LABELS: Final = 2**20
_MAX_TRIALS: Final = 2**32
_MAX_NUMBER: Final = 40
_WHAT: Final = "partition plan"
_CODE: Final = "plan.malformed"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class SignedPlan:
    """A plan whose signature holds. Made by `read_plan` and `sign_plan`, which check.

    Attributes:
        plan: What it says.
        data: Its bytes, as they lie in the package.
    """

    plan: Plan
    data: bytes


def sign_plan(plan: Plan, key: SigningKey) -> SignedPlan:
    """Sign a plan; the result has been read again as others read it.

    Raises:
        ConfigError: `config.value`: the key is not the one that the plan names.
        MalformedError: `plan.malformed`: no reader would take it.
    """
    if key.public != plan.signer:
        raise ConfigError("the plan names another signer", code="config.value")
    said = _written(plan)
    outer: dict[str, Value] = {
        "version": _VERSION,
        "plan": said,
        "signature": key.sign(SIGNATURE_LABEL, said),
    }
    return read_plan(encode(outer), signers=(key.public,))


def read_plan(data: bytes, *, signers: Collection[VerifyingKey]) -> SignedPlan:
    """Read a plan from untrusted bytes.

    Args:
        data: Untrusted.
        signers: Whose plans are taken; never empty.

    Raises:
        MalformedError: `plan.malformed`, `wire.malformed` or `wire.too-large`.
        IdentityError: `package.signer`: somebody else signed, or nobody.

    Spec: PP-1 to PP-12; the steps have the same order.
    """
    outer = Fields.decode(data, what=_WHAT, max_bytes=MAX_PLAN_BYTES, code=_CODE)
    outer.constant("version", _VERSION)
    said = outer.octets("plan", max_length=MAX_PLAN_BYTES)
    signature = outer.octets("signature", length=SIGNATURE_BYTES)
    outer.end()
    plan = _read(said)
    if plan.signer not in signers:
        raise IdentityError(
            "the package is signed by somebody who is not expected",
            code="package.signer",
            hint=f"it names {plan.signer.text}; if that is the owner's key, name it",
        )
    error = IdentityError("the package's signature does not hold", code="package.signer")
    plan.signer.verify(SIGNATURE_LABEL, said, signature, error=error)
    return SignedPlan(plan, data)


def _read(said: bytes) -> Plan:
    fields = Fields.decode(said, what=_WHAT, max_bytes=MAX_PLAN_BYTES, code=_CODE)
    fields.constant("format", FORMAT)
    plan = Plan(
        name=_name(fields, "name"),
        made=fields.integer("made"),
        model_sha256=fields.octets("model_sha256", length=DIGEST_BYTES),
        model_format=_word(fields, "model_format", FORMATS),
        inputs=_infos(fields, "inputs"),
        outputs=_infos(fields, "outputs"),
        front=_cut(fields.submap("front")),
        back=_cut(fields.submap("back")) if fields.has("back") else None,
        parts=tuple(_part(each) for each in fields.array("parts", max_items=len(ROLES))),
        labels_sha256=fields.octets("labels_sha256", length=DIGEST_BYTES)
        if fields.has("labels_sha256")
        else None,
        equality=_equality(fields.submap("equality")),
        report_sha256=fields.octets("report_sha256", length=DIGEST_BYTES),
        thresholds=_thresholds(fields),
        signer=VerifyingKey(fields.octets("signer", length=PUBLIC_BYTES)),
    )
    fields.end()
    _require_consistent(plan)
    return plan


def _require_consistent(plan: Plan) -> None:
    roles = ROLES if plan.back is not None else ROLES[:2]
    if tuple(each.role for each in plan.parts) != roles:
        raise _malformed(f"the parts are not {', '.join(roles)}")
    if len({each.format for each in plan.parts}) != 1:
        raise _malformed("the parts have different formats")
    if plan.front.position < 1:
        raise _malformed("there is nothing in front of the exposed part")
    if plan.back is not None and plan.back.position <= plan.front.position:
        raise _malformed("the exposed part ends before it begins")
    if plan.equality.worst > plan.equality.bound:
        raise _malformed("the parts differ more from the whole than the bound allows")


def _part(value: Value) -> PartFacts:
    fields = Fields(value, what=f"{_WHAT}.parts", code=_CODE)
    found = PartFacts(
        role=_word(fields, "role", ROLES),
        format=_word(fields, "format", PART_FORMATS),
        sha256=fields.octets("sha256", length=DIGEST_BYTES),
        size=fields.integer("size", minimum=1, maximum=MAX_PART_BYTES),
        inputs=_infos(fields, "inputs"),
        outputs=_infos(fields, "outputs"),
    )
    fields.end()
    return found


def _infos(fields: Fields, name: str) -> tuple[TensorInfo, ...]:
    found = tuple(_info(each) for each in fields.array(name, max_items=MAX_TENSORS))
    if not found or len({each.name for each in found}) != len(found):
        raise _malformed(f"{name} is empty, or has a tensor twice")
    return found


def _info(value: Value) -> TensorInfo:
    fields = Fields(value, what=f"{_WHAT}.tensor", code=_CODE)
    name, datatype = _name(fields, "name"), _name(fields, "datatype")
    shape = fields.array("shape", max_items=MAX_RANK)
    fields.end()
    if not all(type(size) is int and -1 <= size <= MAX_SIZE for size in shape):
        raise _malformed("a shape has something that is no size")
    return TensorInfo(name, datatype, tuple(size for size in shape if type(size) is int))


def _cut(fields: Fields) -> Cut:
    position = fields.integer("position", maximum=MAX_POSITION)
    tensors = tuple(fields.texts("tensors", max_items=MAX_TENSORS, max_length=MAX_NAME))
    fields.end()
    if not all(tensors) or not tensors or len(set(tensors)) != len(tensors):
        raise _malformed("a cut has no tensors, or one of them twice")
    return Cut(position, tensors)


def _equality(fields: Fields) -> EqualityFacts:
    found = EqualityFacts(
        runtime=_name(fields, "runtime"),
        trials=fields.integer("trials", minimum=1, maximum=_MAX_TRIALS),
        worst=_share(fields, "worst"),
        bound=_share(fields, "bound"),
    )
    fields.end()
    return found


def _share(fields: Fields, name: str) -> float:
    """Take a number from 0 to 1, in the one spelling that its double has."""
    text = fields.text(name, max_length=_MAX_NUMBER)
    try:
        value = float(text)
    except ValueError as e:
        raise _malformed(f"{name} is no number") from e
    if not 0 <= value <= 1 or repr(abs(value)) != text:
        raise _malformed(f"{name} is not between 0 and 1, or not in its shortest form")
    return value


def _thresholds(fields: Fields) -> tuple[Threshold, ...]:
    texts = fields.texts("thresholds", max_items=MAX_THRESHOLDS, max_length=MAX_NAME)
    try:
        found = tuple(Threshold.parse(text) for text in texts)
    except ConfigError as e:
        raise _malformed("something is no threshold") from e
    if not found or [each.text for each in found] != texts:
        raise _malformed("there are no thresholds, or one is not in its one form")
    return found


def _name(fields: Fields, name: str) -> str:
    value = fields.text(name, max_length=MAX_NAME)
    if not value or not value.isprintable():
        raise _malformed(f"{name} is empty, or has characters that cannot be shown")
    return value


def _word(fields: Fields, name: str, words: tuple[str, ...]) -> str:
    value = fields.text(name, max_length=MAX_NAME)
    if value not in words:
        raise _malformed(f"{name} is not one of {', '.join(words)}")
    return value


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"{_WHAT}: {problem}", code=_CODE)


def _written(plan: Plan) -> bytes:
    value: dict[str, Value] = {
        "format": FORMAT,
        "name": plan.name,
        "made": plan.made,
        "model_sha256": plan.model_sha256,
        "model_format": plan.model_format,
        "inputs": [_info_value(each) for each in plan.inputs],
        "outputs": [_info_value(each) for each in plan.outputs],
        "front": _cut_value(plan.front),
        "parts": [
            {
                "role": part.role,
                "format": part.format,
                "sha256": part.sha256,
                "size": part.size,
                "inputs": [_info_value(each) for each in part.inputs],
                "outputs": [_info_value(each) for each in part.outputs],
            }
            for part in plan.parts
        ],
        "equality": {
            "runtime": plan.equality.runtime,
            "trials": plan.equality.trials,
            "worst": repr(float(plan.equality.worst)),
            "bound": repr(float(plan.equality.bound)),
        },
        "report_sha256": plan.report_sha256,
        "thresholds": [each.text for each in plan.thresholds],
        "signer": plan.signer.raw,
    }
    if plan.back is not None:
        value["back"] = _cut_value(plan.back)
    if plan.labels_sha256 is not None:
        value["labels_sha256"] = plan.labels_sha256
    return encode(value)


def _cut_value(cut: Cut) -> Value:
    return {"position": cut.position, "tensors": list(cut.tensors)}


def _info_value(info: TensorInfo) -> Value:
    return {"name": info.name, "datatype": info.datatype, "shape": list(info.shape)}
