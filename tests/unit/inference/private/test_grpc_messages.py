"""The table of gRPC messages against the standard client's."""

from typing import Any

import pytest

pytest.importorskip("google.protobuf.descriptor_pb2")

from cloister.inference.private.grpc_messages import METHODS, SERVICE, messages


def fields(descriptor: Any) -> dict[str, tuple[int, int, bool]]:
    return {
        field.name: (field.number, field.type, field.is_repeated) for field in descriptor.fields
    }


def test_names_and_numbers_are_the_standard_clients() -> None:
    """Field by field; what only one side has is listed here."""
    theirs = pytest.importorskip("tritonclient.grpc.service_pb2")
    compared = 0
    for name, made in messages().items():
        outer, _, inner = name.partition(".")
        other = getattr(theirs, outer)
        other = getattr(other, inner) if inner else other
        ours, standard = fields(made.DESCRIPTOR), fields(other.DESCRIPTOR)
        assert {each: ours[each] for each in standard if each in ours} == {
            each: standard[each] for each in standard if each in ours
        }
        assert set(ours) == set(standard), name
        compared += len(ours)
    assert compared > 50
    service = theirs.DESCRIPTOR.services_by_name[SERVICE.partition(".")[2]]
    for method in METHODS:
        found = service.methods_by_name[method]
        assert found.input_type.full_name == f"inference.{method}Request"
        assert found.output_type.full_name == f"inference.{method}Response"


def test_messages_survive_the_wire() -> None:
    """Maps, choices and repeated messages."""
    made = messages()
    request = made["ModelInferRequest"](model_name="a", raw_input_contents=[b"x"])
    request.parameters["p"].double_param = 0.5
    request.inputs.add(name="i", datatype="FP32", shape=[1, -1])
    again = made["ModelInferRequest"].FromString(request.SerializeToString())
    assert again == request
    assert again.parameters["p"].WhichOneof("parameter_choice") == "double_param"
