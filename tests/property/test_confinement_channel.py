"""Messages, frames and models survive the way, and hostile bytes have one meaning or none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.cleanroom.description import ModelDescription, parameters, weights
from cloister.cleanroom.encoding import DTYPES, Limits, Message, decode, encode
from cloister.cleanroom.frames import Deframer, frames_for, idle, split
from cloister.errors import MalformedError

LIMITS = Limits(1 << 20)
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8).filter(
    lambda key: not key.startswith("=")
)
VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def some_array(draw: st.DrawFn) -> Any:
    """Any bits, in any type and shape."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    bits = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
    return (bits & 1 if dtype.kind == "b" else bits).view(dtype).reshape(shape)


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
MESSAGES = st.builds(
    Message,
    st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.dictionaries(NAMES, some_array(), max_size=3),
)


@pytest.mark.spec("CC-1", "CC-60")
@given(MESSAGES)
def test_a_message_survives(message: Message) -> None:
    """All of it, and it has one spelling."""
    data = encode(message)
    found = decode(data, LIMITS)
    assert (found.kind, found.fields) == (message.kind, message.fields)
    assert repr(found.fields).count("-0.0") == repr(message.fields).count("-0.0")
    assert sorted(found.arrays) == sorted(message.arrays)
    for name, array in message.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
    assert encode(found) == data


@given(MESSAGES, st.data())
def test_a_changed_message_is_another_one_or_none(message: Message, data: st.DataObject) -> None:
    """No two byte strings are read as the same message."""
    original = encode(message)
    changed = bytearray(original)
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(changed, LIMITS)
    except MalformedError:
        return
    assert encode(found) == changed


@given(MESSAGES, st.integers(0), st.binary(max_size=16))
def test_a_cut_or_longer_message_is_none(message: Message, cut: int, more: bytes) -> None:
    """Every length is the only one."""
    data = encode(message)
    for other in (data[: cut % len(data)], data + more):
        if len(other) != len(data):
            with pytest.raises(MalformedError):
                decode(other, LIMITS)


@pytest.mark.spec("CC-21", "CC-22", "CC-23")
@given(
    st.lists(st.none() | st.binary(min_size=1, max_size=300), max_size=8),
    st.sampled_from([64, 72, 256]),
)
def test_frames_carry_messages(messages: list[bytes | None], frame: int) -> None:
    """Busy or idle, all frames have one size, and nothing else comes out."""
    frames: list[bytes] = []
    for message in messages:
        frames += [idle(frame)] if message is None else split(message, frame)
    assert len(frames) == sum(1 if m is None else frames_for(len(m), frame) for m in messages)
    assert {len(each) for each in frames} <= {frame}
    deframer = Deframer(frame, 300)
    found = [got for each in frames if (got := deframer.feed(each)) is not None]
    assert found == [message for message in messages if message is not None]
    assert deframer.between


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    """A description of layers that fit."""
    layers: list[dict[str, Any]] = []
    before = "input"
    for number in range(draw(st.integers(0, 6))):
        kind = draw(
            st.sampled_from(["conv2d", "max_pool2d", "batch_norm", "activation", "dropout"])
        )
        options: dict[str, Any] = {
            "conv2d": {"filters": draw(st.integers(1, 4)), "kernel": [draw(st.integers(1, 3)), 1]},
            "max_pool2d": {"padding": "same", "strides": [1, draw(st.integers(1, 2))]},
            "batch_norm": {"epsilon": draw(st.floats(1e-6, 1))},
            "activation": {"function": draw(st.sampled_from(["relu", "gelu", "softmax"]))},
            "dropout": {"rate": draw(st.floats(0, 0.9))},
        }[kind]
        layers.append({"kind": kind, "name": f"l{number}", "inputs": [before], **options})
        before = f"l{number}"
    layers.append({"kind": "flatten", "name": "flat", "inputs": [before]})
    layers.append({"kind": "dense", "name": "out", "inputs": ["flat"], "units": 3})
    return {
        "version": 1,
        "input_shape": [draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 3))],
        "classes": 3,
        "layers": layers,
        "optimizer": {"kind": "adam", "rate": draw(st.floats(1e-6, 1))},
        "batch": draw(st.integers(1, 100)),
    }


@pytest.mark.spec("CC-40", "CC-45")
@given(models())
def test_a_model_survives(fields: dict[str, Any]) -> None:
    """What is left out is written out, and means the same."""
    model = ModelDescription.from_fields(fields)
    again = ModelDescription.from_fields(model.to_fields())
    assert again == model
    assert parameters(model) == sum(int(np.prod(weight.shape)) for weight in weights(again))


ANYTHING: Any = st.recursive(
    VALUES | st.floats() | st.sampled_from(["input", "out", "flat", "dense", "sgd", "same"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(models(), st.data())
def test_a_model_with_anything_anywhere_is_read_or_refused(
    fields: dict[str, Any], data: st.DataObject
) -> None:
    """Nothing but our error comes out."""
    places: list[dict[str, Any]] = [fields, fields["optimizer"], *fields["layers"]]
    place = data.draw(st.sampled_from(places))
    known = st.sampled_from([*place, "augment", "schedule", "inputs", "kernel", "units"])
    place[data.draw(known)] = data.draw(ANYTHING)
    try:
        found = ModelDescription.from_fields(fields)
    except MalformedError as e:
        code = e.code
    else:
        assert ModelDescription.from_fields(found.to_fields()) == found
        code = "description.malformed"
    assert code == "description.malformed"
