"""Typed contents and the binary form."""

import struct
from typing import Any

import pytest

pytest.importorskip("google.protobuf.descriptor_pb2")

from cloister.errors import MalformedError
from cloister.inference.private.grpc_messages import messages
from cloister.inference.private.grpc_tensors import contents_to_binary, json_to_binary


def contents(**fields: Any) -> Any:
    return messages()["InferTensorContents"](**fields)


@pytest.mark.parametrize(
    ("datatype", "fields", "binary"),
    [
        ("FP32", {"fp32_contents": [1, -0.5]}, struct.pack("<2f", 1, -0.5)),
        ("FP64", {"fp64_contents": [0.1]}, struct.pack("<d", 0.1)),
        ("INT8", {"int_contents": [-128, 127]}, b"\x80\x7f"),
        ("INT64", {"int64_contents": [-(2**63)]}, struct.pack("<q", -(2**63))),
        ("UINT16", {"uint_contents": [65535]}, b"\xff\xff"),
        ("UINT64", {"uint64_contents": [2**64 - 1]}, b"\xff" * 8),
        ("BOOL", {"bool_contents": [True, False]}, b"\1\0"),
        ("BYTES", {"bytes_contents": [b"ab", b""]}, b"\2\0\0\0ab\0\0\0\0"),
    ],
)
@pytest.mark.spec("PQ-76")
def test_contents_have_one_binary_form(
    datatype: str, fields: dict[str, Any], binary: bytes
) -> None:
    """Little-endian, in the field of the datatype."""
    assert contents_to_binary(contents(**fields), datatype) == binary


@pytest.mark.parametrize(
    ("datatype", "fields"),
    [
        ("FP16", {"fp32_contents": [1]}),
        ("FP32", {"fp64_contents": [1]}),
        ("FP32", {"fp32_contents": [1], "int_contents": [1]}),
        ("INT8", {"int_contents": [128]}),
        ("UINT8", {"uint_contents": [256]}),
        ("none", {}),
    ],
)
@pytest.mark.spec("PQ-76")
def test_other_contents_are_malformed(datatype: str, fields: dict[str, Any]) -> None:
    """Of another field, of two, or outside of the datatype."""
    with pytest.raises(MalformedError) as found:
        contents_to_binary(contents(**fields), datatype)
    assert found.value.code == "message.malformed"


def test_answers_in_json() -> None:
    """As servers give them that have no binary form of a tensor."""
    assert json_to_binary(["é"], "BYTES") == b"\2\0\0\0\xc3\xa9"
    assert json_to_binary([1, 2], "FP32") == struct.pack("<2f", 1, 2)
    for data, datatype in ((None, "FP32"), ([1], "BYTES"), (["a"], "FP32"), ([1], "none")):
        with pytest.raises(MalformedError):
            json_to_binary(data, datatype)
