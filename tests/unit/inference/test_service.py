"""The protocol's pages, without sockets."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.message import BINARY_HEADER
from cloister.inference.service import HTTPRequest, InferenceService
from cloister.inference.tensor import Array, TensorSpec


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
    for target in ("/v2/health/live", "/v2/health/ready", "/v2/models/double/ready",
                   "/v2/models/double/versions/1/ready"):  # fmt: skip
        assert ask("GET", target)[:2] == (200, None)
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
