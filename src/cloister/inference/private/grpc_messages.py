"""The messages of the Open Inference Protocol's gRPC service, built from the table below.

The table is the source: `protobuf` makes classes of it when they are first wanted, in a pool of
their own, so that other packages with the same names can live beside them. Names and numbers are
those of `grpc_predict_v2` in the protocol's specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from cloister.errors import MissingExtraError

__all__ = ["METHODS", "SERVICE", "messages"]

SERVICE: Final = "inference.GRPCInferenceService"
METHODS: Final = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
)
"""Each takes `<method>Request` and gives `<method>Response`."""

_PACKAGE: Final = "inference"
_TENSOR: Final = ("1 name string", "2 datatype string", "3 shape *int64")
_PARAMETERS: Final = "parameters map:InferParameter"
_TABLE: Final[Mapping[str, Sequence[str]]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("1 live bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("1 ready bool",),
    "ModelReadyRequest": ("1 name string", "2 version string"),
    "ModelReadyResponse": ("1 ready bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("1 name string", "2 version string", "3 extensions *string"),
    "ModelMetadataRequest": ("1 name string", "2 version string"),
    "ModelMetadataResponse": (
        "1 name string",
        "2 versions *string",
        "3 platform string",
        "4 inputs *ModelMetadataResponse.TensorMetadata",
        "5 outputs *ModelMetadataResponse.TensorMetadata",
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": (
        "1 bool_param ?bool",
        "2 int64_param ?int64",
        "3 string_param ?string",
        "4 double_param ?double",
        "5 uint64_param ?uint64",
    ),
    "InferTensorContents": (
        "1 bool_contents *bool",
        "2 int_contents *int32",
        "3 int64_contents *int64",
        "4 uint_contents *uint32",
        "5 uint64_contents *uint64",
        "6 fp32_contents *float",
        "7 fp64_contents *double",
        "8 bytes_contents *bytes",
    ),
    "ModelInferRequest": (
        "1 model_name string",
        "2 model_version string",
        "3 id string",
        f"4 {_PARAMETERS}",
        "5 inputs *ModelInferRequest.InferInputTensor",
        "6 outputs *ModelInferRequest.InferRequestedOutputTensor",
        "7 raw_input_contents *bytes",
    ),
    "ModelInferRequest.InferInputTensor": (
        *_TENSOR,
        f"4 {_PARAMETERS}",
        "5 contents InferTensorContents",
    ),
    "ModelInferRequest.InferRequestedOutputTensor": ("1 name string", f"2 {_PARAMETERS}"),
    "ModelInferResponse": (
        "1 model_name string",
        "2 model_version string",
        "3 id string",
        f"4 {_PARAMETERS}",
        "5 outputs *ModelInferResponse.InferOutputTensor",
        "6 raw_output_contents *bytes",
    ),
    "ModelInferResponse.InferOutputTensor": (
        *_TENSOR,
        f"4 {_PARAMETERS}",
        "5 contents InferTensorContents",
    ),
}
"""Messages and their fields: number, name, type. `*` is repeated, `?` one of the message's choices,
`map:` a map from text; a type that is no scalar is a message."""


@cache
def messages() -> Mapping[str, Any]:
    """Return the classes of all messages by name.

    Raises:
        MissingExtraError: `protobuf` is not installed.
    """
    try:
        from google.protobuf import (  # noqa: PLC0415  # of an extra
            descriptor_pb2,
            descriptor_pool,
            message_factory,
        )
    except ImportError as e:
        raise MissingExtraError(
            "gRPC needs the packages grpcio and protobuf",
            code="extra.missing",
            hint="install cloister[grpc]",
        ) from e
    file = descriptor_pb2.FileDescriptorProto(
        name="cloister/open_inference.proto", package=_PACKAGE, syntax="proto3"
    )
    made: dict[str, Any] = {}
    for name, fields in _TABLE.items():
        outer, _, inner = name.partition(".")
        message = made[outer].nested_type.add() if inner else file.message_type.add()
        message.name = inner or outer
        made[name] = message
        for field in fields:
            _add(message, name, field, descriptor_pb2.FieldDescriptorProto)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _TABLE
    }


def _add(message: Any, owner: str, text: str, form: Any) -> None:
    number, name, kind = text.split()
    field = message.field.add(name=name, number=int(number), label=form.LABEL_OPTIONAL)
    if kind.startswith("map:"):
        _add_map(message, owner, field, kind.removeprefix("map:"), form)
        return
    if kind.startswith("*"):
        field.label = form.LABEL_REPEATED
    if kind.startswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    _set_type(field, kind.lstrip("*?"), form)


def _add_map(message: Any, owner: str, field: Any, value: str, form: Any) -> None:
    """A map is a repeated message with key and value."""
    entry = message.nested_type.add(name=f"{field.name.capitalize()}Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=form.LABEL_OPTIONAL, type=form.TYPE_STRING)
    _set_type(entry.field.add(name="value", number=2, label=form.LABEL_OPTIONAL), value, form)
    field.label = form.LABEL_REPEATED
    _set_type(field, f"{owner}.{entry.name}", form)


def _set_type(field: Any, kind: str, form: Any) -> None:
    scalar = getattr(form, f"TYPE_{kind.upper()}", None)
    if scalar is None:
        field.type, field.type_name = form.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = scalar
