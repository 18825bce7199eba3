"""Plans: signed, read strictly, and refused where they contradict themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.partition.graph import Cut, TensorInfo
from cloister.partition.plan import MAX_PLAN_BYTES, SIGNATURE_LABEL, read_plan, sign_plan
from cloister.partition.plan_facts import EqualityFacts, Plan
from cloister.partition.sealing import PLAN_FILE
from cloister.partition.thresholds import Threshold
from cloister.testing.partition import SampleCut
from cloister.wire import decode, encode

KEY = SigningKey(b"s" * 32)
OTHER = SigningKey(b"o" * 32)


def good(**changes: Any) -> bytes:
    return SampleCut(**changes).make().exposed[PLAN_FILE]


def plan(**changes: Any) -> Plan:
    return replace(read_plan(good(), signers=(KEY.public,)).plan, **changes)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A plan whose fields were changed, signed again by its owner."""
    outer: Any = decode(good(), max_bytes=MAX_PLAN_BYTES)
    inner: Any = decode(outer["plan"], max_bytes=MAX_PLAN_BYTES)
    change(inner)
    said = encode(inner)
    return encode(outer | {"plan": said, "signature": KEY.sign(SIGNATURE_LABEL, said)})


def code_of(data: bytes) -> str:
    with pytest.raises(CloisterError) as caught:
        read_plan(data, signers=(KEY.public,))
    return caught.value.code


@pytest.mark.parametrize("changes", [{}, {"back": None}, {"labels": None}])
def test_a_signed_plan_is_read(changes: dict[str, Any]) -> None:
    """What was signed is what is read, and signing it again gives the same bytes."""
    data = good(**changes)
    signed = read_plan(data, signers=(KEY.public,))
    assert signed.data == data
    assert sign_plan(signed.plan, KEY).data == data
    assert signed.plan.signer == KEY.public
    assert [part.role for part in signed.plan.parts] == (
        ["front", "middle"] if "back" in changes else ["front", "middle", "back"]
    )
    assert signed.plan.back_position == (None if "back" in changes else 3)


def test_the_signature_is_the_named_signers() -> None:
    """A changed byte, another's signature, another's plan, or nobody who is expected."""
    outer: Any = decode(good(), max_bytes=MAX_PLAN_BYTES)
    said = outer["plan"]
    renamed = said.replace(b"sample", b"simple")
    for wrong in (
        outer | {"plan": renamed},
        outer | {"signature": OTHER.sign(SIGNATURE_LABEL, said)},
        outer | {"signature": KEY.sign(b"cloister/another-label/v1", said)},
        outer | {"signature": bytes(64)},
    ):
        assert code_of(encode(wrong)) == "package.signer"
    assert code_of(good(key=OTHER)) == "package.signer"
    with pytest.raises(CloisterError) as caught:
        read_plan(good(), signers=())
    assert caught.value.code == "package.signer"


def test_a_key_signs_in_its_own_name_only() -> None:
    """A plan that names another signer is not signed."""
    with pytest.raises(CloisterError) as caught:
        sign_plan(plan(), OTHER)
    assert caught.value.code == "config.value"


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.update(format="cloister/partition-plan/v2"),
        lambda p: p.update(more=1),
        lambda p: p.pop("name"),
        lambda p: p.update(name=""),
        lambda p: p.update(name="a\nb"),
        lambda p: p.update(made=-1),
        lambda p: p.update(model_sha256=bytes(31)),
        lambda p: p.update(model_format="pickle"),
        lambda p: p.update(inputs=[]),
        lambda p: p["front"].update(position=0),
        lambda p: p["front"].update(tensors=[]),
        lambda p: p["front"].update(tensors=["t2", "t2"]),
        lambda p: p["back"].update(position=2),
        lambda p: p["parts"].pop(),
        lambda p: p["parts"].reverse(),
        lambda p: p.pop("back"),
        lambda p: p["parts"].append(p["parts"][0]),
        lambda p: p["parts"][0].update(role="side"),
        lambda p: p["parts"][0].update(format="keras"),
        lambda p: p["parts"][0].update(format="litert"),
        lambda p: p["parts"][0].update(size=0),
        lambda p: p["parts"][0].update(size=2**31 + 1),
        lambda p: p["parts"][0].update(sha256=b""),
        lambda p: p["parts"][0]["inputs"].append(p["parts"][0]["inputs"][0]),
        lambda p: p["parts"][0]["inputs"][0].update(shape=[-2]),
        lambda p: p["parts"][0]["inputs"][0].update(shape=[1] * 9),
        lambda p: p["parts"][0]["inputs"][0].update(shape=[True]),
        lambda p: p["parts"][0].update(inputs=[]),
        lambda p: p.update(labels_sha256=bytes(31)),
        lambda p: p.update(labels_sha256=None),
        lambda p: p["equality"].update(trials=0),
        lambda p: p["equality"].update(worst="0"),
        lambda p: p["equality"].update(worst="nan"),
        lambda p: p["equality"].update(worst="-0.0"),
        lambda p: p["equality"].update(worst="0.00"),
        lambda p: p["equality"].update(worst="1e-05"),
        lambda p: p["equality"].update(bound="none"),
        lambda p: p.update(report_sha256=b""),
        lambda p: p.update(thresholds=[]),
        lambda p: p.update(thresholds=["decoder.ssim.worst_decile<=0.350"]),
        lambda p: p.update(thresholds=["decoder.ssim.worst_decile>=0.35"]),
        lambda p: p.update(thresholds=["decoder.ssim.mean<=0.3"] * 65),
        lambda p: p.update(signer=bytes(31)),
    ],
)
def test_what_is_no_plan_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    """Even if its owner signed it: unknown words, missing fields, contradictions."""
    assert code_of(changed(change)) == "plan.malformed"


def test_other_bytes_are_refused() -> None:
    """Another version, a field more, bytes behind, no CBOR at all, or too many."""
    outer: Any = decode(good(), max_bytes=MAX_PLAN_BYTES)
    assert code_of(encode(outer | {"version": 2})) == "plan.malformed"
    assert code_of(encode(outer | {"more": 2})) == "plan.malformed"
    assert code_of(good() + b"\0") == "wire.malformed"
    assert code_of(good()[:-1]) == "wire.malformed"
    assert code_of(b"") == "wire.malformed"
    assert code_of(bytes(MAX_PLAN_BYTES + 1)) == "wire.too-large"


@pytest.mark.parametrize(
    "changes",
    [
        {"equality": EqualityFacts(runtime="x", trials=1, worst=float("nan"), bound=0.0)},
        {"equality": EqualityFacts(runtime="x", trials=1, worst=0.1, bound=0.01)},
        {"front": Cut(0, ("t2",))},
        {"thresholds": ()},
        {"inputs": (TensorInfo("t", "float32", (-7,)),)},
    ],
)
def test_what_nobody_could_read_is_not_signed(changes: dict[str, Any]) -> None:
    """The writer holds to the same form."""
    with pytest.raises(CloisterError) as caught:
        sign_plan(plan(**changes), KEY)
    assert caught.value.code == "plan.malformed"


def test_small_differences_are_kept_exactly() -> None:
    """Numbers come back as the doubles that they were."""
    equality = EqualityFacts(runtime="x", trials=3, worst=1.1920929e-07, bound=1e-05)
    thresholds = (Threshold.parse("decoder.ssim.worst_decile<=0.123456789"),)
    signed = sign_plan(plan(equality=equality, thresholds=thresholds), KEY)
    assert signed.plan.equality == equality
    assert signed.plan.thresholds == thresholds
