"""Calls of gRPC as HTTP requests; the standard client is in tests/integration/test_proxy.py."""

import json
import struct
import threading
from collections import Counter
from typing import Any

import pytest

pytest.importorskip("google.protobuf.descriptor_pb2")

from cloister.inference.private.grpc_front import GRPCFront, Refusal, Translation
from cloister.inference.private.grpc_messages import messages
from cloister.inference.service import HTTPRequest, HTTPResponse, InferenceService
from cloister.testing.private import Doubling


class Recording:
    """Forwards to a service, or answers what it was told to."""

    def __init__(self, response: HTTPResponse | None = None) -> None:
        self.response = response
        self.asked: list[HTTPRequest] = []
        self._service = InferenceService({"double": Doubling()})

    def __call__(self, request: HTTPRequest) -> HTTPResponse:
        self.asked.append(request)
        return self.response or self._service.handle(request)


def infer(**fields: Any) -> Any:
    request = messages()["ModelInferRequest"](model_name="double", **fields)
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    return request


RAW = struct.pack("<4f", 1, 2, 3, 4)


@pytest.mark.spec("PQ-75")
def test_an_inference_with_contents_or_raw() -> None:
    """The same question, the same answer, raw."""
    forward = Recording()
    typed = infer(id="7", model_version="1")
    typed.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
    typed.parameters["priority"].int64_param = 3
    typed.parameters["binary_data_output"].bool_param = False
    typed.outputs.add(name="y")
    for request in (typed, infer(raw_input_contents=[RAW])):
        answer = Translation(forward).call("ModelInfer", request)
        assert list(answer.raw_output_contents) == [struct.pack("<4f", 2, 4, 6, 8)]
        assert (answer.outputs[0].name, list(answer.outputs[0].shape)) == ("y", [1, 4])
    assert forward.asked[0].target == "/v2/models/double/versions/1/infer"
    size = int(forward.asked[0].headers["inference-header-content-length"])
    said = json.loads(forward.asked[0].body[:size])
    assert said["parameters"] == {"priority": 3, "binary_data_output": True}
    assert said["id"] == "7"


@pytest.mark.spec("PQ-75")
def test_metadata_and_health() -> None:
    """Of the server and of a model."""
    call = Translation(Recording()).call
    made = messages()
    assert call("ServerLive", made["ServerLiveRequest"]()).live
    assert call("ServerReady", made["ServerReadyRequest"]()).ready
    assert call("ModelReady", made["ModelReadyRequest"](name="double")).ready
    assert not call("ModelReady", made["ModelReadyRequest"](name="../v2")).ready
    server = call("ServerMetadata", made["ServerMetadataRequest"]())
    assert (server.name, list(server.extensions)) == (
        "cloister", ["binary_tensor_data", "classification"],
    )  # fmt: skip
    model = call("ModelMetadata", made["ModelMetadataRequest"](name="double"))
    assert (model.platform, model.inputs[0].name, list(model.inputs[0].shape)) == (
        "test", "x", [-1, 4],
    )  # fmt: skip
    down = Translation(Recording(HTTPResponse(503, b""))).call
    assert not down("ServerLive", made["ServerLiveRequest"]()).live


@pytest.mark.spec("PQ-75")
def test_one_call_too_many_is_told_to_come_back() -> None:
    """Of a hundred at one time, 64 wait for their answers."""
    grpc = pytest.importorskip("grpc", reason="needs the extra grpc")
    answering, refused = threading.Event(), threading.Semaphore(0)

    def forward(_: HTTPRequest) -> HTTPResponse:
        answering.wait(60)
        return HTTPResponse(200, b"")

    front = GRPCFront(forward, max_bytes=2**20)
    made = messages()
    with grpc.insecure_channel(f"127.0.0.1:{front.start(('127.0.0.1', 0))}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerLive",
            request_serializer=made["ServerLiveRequest"].SerializeToString,
            response_deserializer=made["ServerLiveResponse"].FromString,
        )
        calls = [call.future(made["ServerLiveRequest"]()) for _ in range(100)]
        for each in calls:
            each.add_done_callback(lambda _: refused.release())
        assert all(refused.acquire(timeout=60) for _ in range(36))
        answering.set()
        codes = Counter(each.code().name for each in calls)
    front.close()
    assert codes == {"OK": 64, "RESOURCE_EXHAUSTED": 36}


@pytest.mark.spec("PQ-76")
def test_questions_that_cannot_be_meant() -> None:
    """Raw and contents, too few raw, another datatype's field."""
    both = infer(raw_input_contents=[RAW])
    both.inputs[0].contents.fp32_contents.append(1)
    few = infer(raw_input_contents=[RAW, RAW])
    other = infer()
    other.inputs[0].contents.int_contents.append(1)
    for request in (both, few, other, infer(raw_input_contents=[RAW[:-1]])):
        with pytest.raises(Refusal) as found:
            Translation(Recording()).call("ModelInfer", request)
        assert found.value.status == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (HTTPResponse(404, b'{"error":"no such model"}'), "NOT_FOUND"),
        (HTTPResponse(401, b"["), "UNAUTHENTICATED"),
        (HTTPResponse(503, b""), "UNAVAILABLE"),
        (HTTPResponse(418, b""), "INTERNAL"),
        (HTTPResponse(200, b"[]"), "INTERNAL"),
        (HTTPResponse(200, b"{}"), "INTERNAL"),
        (HTTPResponse(200, b'{"model_name":"a","outputs":[{"name":"y"}]}'), "INTERNAL"),
        (
            HTTPResponse(
                200,
                b'{"model_name":"a","outputs":[{"name":"y","datatype":"FP32","shape":[1],'
                b'"parameters":{"binary_data_size":4}}]}',
            ),
            "INTERNAL",
        ),
    ],
)
def test_what_comes_back_is_an_answer_or_a_status(response: HTTPResponse, status: str) -> None:
    """Refusals by their class, and whatever is no answer."""
    with pytest.raises(Refusal) as found:
        Translation(Recording(response)).call("ModelInfer", infer(raw_input_contents=[RAW]))
    assert found.value.status == status
