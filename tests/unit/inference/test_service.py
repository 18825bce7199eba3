"""The protocol's pages, without sockets."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.asking import Asking
from cloister.inference.classification import Labels
from cloister.inference.message import BINARY_HEADER, Body, read_response
from cloister.inference.metrics import Metrics
from cloister.inference.registry import Registry
from cloister.inference.service import HTTPRequest, InferenceService
from cloister.inference.tensor import Array, TensorSpec
from unit.inference.served import Half, Scores, registry_of, served


class Doubling:
    """A model that doubles, and breaks at nine."""

    platform = "test"
    inputs = (TensorSpec("x", "FP32", (-1,)),)
    outputs = (TensorSpec("y", "FP32", (-1,)),)

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if 9 in inputs["x"]:
            raise MalformedError("the model is damaged", code="model.malformed")
        return {"y": inputs["x"] * 2}


SERVICE = InferenceService({"double": Doubling()})


def ask(
    method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, Any, Mapping[str, str]]:
    response = SERVICE.handle(HTTPRequest(method, target, headers or {}, body))
    return response.status, json.loads(response.body) if response.body else None, response.headers


def question(*values: float) -> bytes:
    x = {"name": "x", "datatype": "FP32", "shape": [len(values)], "data": list(values)}
    return json.dumps({"id": "7", "inputs": [x]}).encode()


@pytest.mark.spec("SRV-1", "SRV-2", "SRV-3")
def test_the_pages_that_describe() -> None:
    """Server, health and model pages say what they must."""
    for target in ("/v2", "/v2/"):
        status, record, _ = ask("GET", target)
        assert (status, record["name"]) == (200, "cloister")
        assert record["extensions"] == ["binary_tensor_data", "classification", "model_repository"]
        assert record["models"] == ["double"]
    for target, said in {
        "/v2/health/live": {"live": True}, "/v2/health/ready": {"ready": True},
        "/v2/models/double/ready": None, "/v2/models/double/versions/1/ready": None,
    }.items():  # fmt: skip
        assert ask("GET", target)[:2] == (200, said)
    for target in ("/v2/models/double", "/v2/models/double/", "/v2/models/double/versions/1"):
        status, record, _ = ask("GET", target)
        assert status == 200
        assert record == {
            "name": "double",
            "versions": ["1"],
            "platform": "test",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
        }


@pytest.mark.spec("SRV-4")
@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_a_model_answers(version: str) -> None:
    """With its name, its version, the caller's mark and the tensor."""
    status, record, headers = ask("POST", f"/v2/models/double{version}/infer?x=1", question(1, 2.5))
    assert status == 200
    assert record == {
        "model_name": "double",
        "model_version": "1",
        "id": "7",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [2.0, 5.0]}],
    }
    assert headers["content-type"] == "application/json"


@pytest.mark.spec("SRV-12")
def test_a_model_answers_in_binary() -> None:
    """The header says where JSON ends."""
    x = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
    head = json.dumps({"inputs": [x], "parameters": {"binary_data_output": True}}).encode()
    values = np.array([1, 3], np.float32)
    request = HTTPRequest(
        "POST", "/v2/models/double/infer", {BINARY_HEADER: str(len(head))}, head + values.tobytes()
    )
    response = SERVICE.handle(request)
    assert response.status == 200
    cut = int(response.headers[BINARY_HEADER])
    assert response.body[cut:] == (values * 2).tobytes()


@pytest.mark.spec("SRV-5")
@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/double/versions/2", 404),
        ("GET", "/v2/models/double/nothing", 404),
        ("GET", "/v2/models/../double", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/models/double/infer", 405),
        ("POST", "/v2", 405),
        ("POST", "/v2/models/double", 405),
        ("DELETE", "/v2/models/double", 405),
        ("POST", "/v2/health/live", 405),
    ],
)
def test_other_pages_and_methods_are_refused(method: str, target: str, status: int) -> None:
    """With the protocol's error object, and the method that would do."""
    found, record, headers = ask(method, target)
    assert found == status
    assert isinstance(record["error"], str)
    assert ("allow" in headers) == (status == 405)


@pytest.mark.spec("SRV-10")
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"nonsense", {}, 400),
        (question(1).replace(b"FP32", b"FP64"), {}, 400),
        (question(), {}, 400),
        (question(1), {BINARY_HEADER: "x"}, 400),
        (question(1), {BINARY_HEADER: "-1"}, 400),
        (question(1), {BINARY_HEADER: "9" * 20}, 400),
        (question(1e38, 3e38), {}, 400),
        (question(9), {}, 500),
    ],
)
def test_questions_that_cannot_be_answered(
    body: bytes, headers: Mapping[str, str], status: int
) -> None:
    """The caller's mistakes are 400, the model's are 500; both say why."""
    with np.errstate(over="ignore"):
        found, record, _ = ask("POST", "/v2/models/double/infer", body, headers)
    assert found == status
    assert record["error"]


def test_a_models_name_is_a_name() -> None:
    """It stands in a path, so it has no slash."""
    for name in ("", "a/b", "..", "a b"):
        with pytest.raises(MalformedError):
            InferenceService({name: Doubling()})


def service_of(registry: Registry, **more: Any) -> InferenceService:
    return InferenceService(registry, **more)


def get(service: InferenceService, target: str, method: str = "GET") -> tuple[int, Any]:
    response = service.handle(HTTPRequest(method, target, {}, b""))
    return response.status, json.loads(response.body) if response.body else None


@pytest.mark.spec("SRV-2", "SRV-3", "SRV-6")
def test_several_versions_are_described() -> None:
    """All that are served, and those that were refused; a model that is gone is not ready."""
    registry = registry_of(served("h", "1", Half(1)), served("h", "2", Half(2)))
    registry.replace(registry.shelves, refused={("h", 3): "model.malformed"})
    service = service_of(registry)
    assert get(service, "/v2/models/h")[1]["versions"] == ["1", "2"]
    for method in ("GET", "POST"):
        status, index = get(service, "/v2/repository/index", method)
        assert status == 200
        assert [(each["version"], each["state"], each["reason"]) for each in index] == [
            ("1", "READY", ""), ("2", "READY", ""), ("3", "UNAVAILABLE", "model.malformed"),
        ]  # fmt: skip
    assert get(service, "/v2/repository/index", "PUT")[0] == 405
    assert get(service, "/v2/models/h/versions/3/ready")[0] == 404
    assert get(service, "/v2/health/ready")[0] == 200
    registry.replace({})
    assert get(service, "/v2/health/ready")[0] == 503
    assert get(service, "/v2/health/live")[0] == 200
    assert get(service, "/v2/models/h/ready")[0] == 404


@pytest.mark.spec("SRV-4")
def test_the_version_asked_for_answers() -> None:
    """The newest where none is; and it says which."""
    service = service_of(registry_of(served("h", "9", Half(1)), served("h", "10", Half(2))))
    for version, expected in (("", "10"), ("/versions/9", "9"), ("/versions/10", "10")):
        request = HTTPRequest("POST", f"/v2/models/h{version}/infer", {}, question(0))
        record = json.loads(service.handle(request).body)
        assert record["model_version"] == expected
        assert record["outputs"][0]["data"] == [1.0 if expected == "9" else 2.0]


@pytest.mark.spec("SRV-53", "SRV-54")
@pytest.mark.parametrize(("timeout", "status"), [(1, 503), (0, 200), (10**7, 200), (-1, 400),
                                                 ("1", 400), (1.5, 400)])  # fmt: skip
def test_a_query_may_say_how_long_it_waits(timeout: object, status: int) -> None:
    """In microseconds; one whose time is over is told when to come back."""
    moments = iter(range(1000))
    registry = registry_of(served("h", "1", Half(1)))
    asking = Asking(clock=lambda: -1e6) if timeout == 1 else Asking()
    service = service_of(registry, asking=asking, clock=lambda: float(next(moments)))
    record = json.loads(question(0)) | {"parameters": {"timeout": timeout}}
    body = json.dumps(record).encode()
    response = service.handle(HTTPRequest("POST", "/v2/models/h/infer", {}, body))
    assert response.status == status
    assert ("retry-after" in response.headers) == (status == 503)


@pytest.mark.spec("SRV-70", "SRV-71")
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("where", ["output", "request"])
def test_classes_are_asked_for_as_of_triton(where: str, *, binary: bool) -> None:
    """By a parameter of the output, or of the request; in JSON or in binary."""
    service = service_of(registry_of(served("s", "1", Scores(), labels=Labels(["a", "b", "c"]))))
    parameters = {"classification": 2}
    x = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [0.25, 0.5, 0.125]}
    record: dict[str, Any] = {"inputs": [x], "parameters": {"binary_data_output": binary}}
    if where == "output":
        record["outputs"] = [{"name": "scores", "parameters": parameters}]
    else:
        record["parameters"] |= parameters
    request = HTTPRequest("POST", "/v2/models/s/infer", {}, json.dumps(record).encode())
    response = service.handle(request)
    cut = int(response.headers.get(BINARY_HEADER, len(response.body)))
    answer = json.loads(response.body[:cut])["outputs"][0]
    assert (answer["datatype"], answer["shape"]) == ("BYTES", [1, 2])
    specs = [TensorSpec("scores", "BYTES", (-1, 2))]
    body = Body(response.body, cut if binary else None)
    assert read_response(body, outputs=specs)["scores"].tolist() == [["0.5:1:b", "0.25:0:a"]]
    assert binary == (cut < len(response.body))


@pytest.mark.spec("SRV-90", "SRV-91")
def test_numbers_are_a_page_only_where_that_was_said() -> None:
    """By model, page and status; what a client names and nobody serves has no line of its own."""
    registry = registry_of(served("h", "1", Half(1)))
    assert get(service_of(registry), "/metrics")[0] == 404
    service = service_of(registry, show_metrics=True)
    for name in ("h", "evil", "evil2"):
        service.handle(HTTPRequest("POST", f"/v2/models/{name}/infer", {}, question(0)))
    service.handle(HTTPRequest("POST", "/v1/models/h:predict", {}, b'{"instances": [1]}'))
    response = service.handle(HTTPRequest("GET", "/metrics", {}, b""))
    lines = response.body.decode().splitlines()
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'cloister_queries_total{model="h",page="infer",status="200"} 1' in lines
    assert 'cloister_queries_total{model="",page="infer",status="404"} 2' in lines
    assert 'cloister_queries_total{model="h",page="predict",status="200"} 1' in lines
    assert "cloister_model_versions 1" in lines
    assert "evil" not in response.body.decode()
    assert get(service, "/metrics", "POST")[0] == 405


def test_what_nobody_foresaw_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """The connection goes on, and the log does not have the query."""

    class Odd(Doubling):
        def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            raise RuntimeError(str(inputs["x"].tolist()))

    metrics = Metrics()
    service = InferenceService({"odd": Odd()}, metrics=metrics)
    response = service.handle(HTTPRequest("POST", "/v2/models/odd/infer", {}, question(4711)))
    assert response.status == 500
    assert list(json.loads(response.body)) == ["error"]
    assert "error=RuntimeError" in caplog.text
    assert "4711" not in caplog.text + response.body.decode()
    assert 'status="500"} 1' in metrics.page({}).decode()


@pytest.mark.spec("SRV-12")
@pytest.mark.parametrize("target", ["/v2/models/double/infer", "/v1/models/double:predict"])
def test_a_compressed_body_is_refused_by_its_header(target: str) -> None:
    """And not as a body that is no JSON, which it is as well."""
    for coding in ("gzip", "deflate", "gzip, identity", ""):
        status, record, headers = ask("POST", target, b"\x1f\x8b", {"content-encoding": coding})
        assert status == 415
        assert "Content-Encoding" in record["error"]
        assert headers["accept-encoding"] == "identity"
    for coding in ("identity", "Identity"):
        assert ask("POST", target, b"", {"content-encoding": coding})[0] == 400
