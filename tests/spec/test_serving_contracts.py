"""What is served against what others published: schemas, examples, and a client."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cloister.inference.classification import Labels
from cloister.inference.service import HTTPRequest, InferenceService
from unit.inference.served import Half, Pair, Scores, registry_of, served

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("CLOISTER_SHARED", ROOT.parent / "shared")) / "vectors"
NAMES = Labels(["null", "eins", "zwei"])
SERVICE = InferenceService(
    registry_of(
        served("half", "1", Half(2.0)),
        replace(served("half", "2", Half(3.0)), note="It is checked."),
        served("pair", "1", Pair()),
        served("scores", "1", Scores(), labels=NAMES),
        stable="1",
    )
)


def shared(name: str) -> Any:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no document at {path}")
    text = path.read_text("utf-8")
    return yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)


def ask(method: str, path: str, record: object = None) -> tuple[int, Any]:
    body = b"" if record is None else json.dumps(record).encode()
    response = SERVICE.handle(HTTPRequest(method, path, {}, body))
    return response.status, json.loads(response.body) if response.body else None


@pytest.mark.spec("SRV-1", "SRV-2", "SRV-3", "SRV-4")
@pytest.mark.parametrize("name", ["kserve/rest_predict_v2.yaml", "oip/open_inference_rest.yaml"])
@pytest.mark.parametrize(("model", "version"), [("half", "1"), ("half", "2"), ("scores", "1")])
def test_every_page_of_a_published_document_is_served(name: str, model: str, version: str) -> None:
    """Each path and method gives 200 and what it describes, for each version."""
    jsonschema = pytest.importorskip("jsonschema")
    document = shared(name)
    shape, data = ([2], [1.0, 2.0]) if model == "half" else ([1, 3], [0.25, 0.5, 0.125])
    tensor = {"name": "x", "datatype": "FP32", "shape": shape, "data": data}
    seen = 0
    for template, methods in document["paths"].items():
        path = template.replace("${MODEL_NAME}", model).replace("${MODEL_VERSION}", version)
        path = path.replace("{model_name}", model).replace("{model_version}", version)
        for method, page in methods.items():
            if method == "parameters":
                continue
            question = {"inputs": [tensor]} if method == "post" else None
            status, record = ask(method.upper(), path, question)
            assert status == 200, path
            content = page["responses"]["200"].get("content")
            if content is not None and record is not None:
                schema = content["application/json"]["schema"]
                jsonschema.validate(record, schema | {"components": document["components"]})
            seen += 1
    assert seen >= 6


@pytest.mark.spec("SRV-3")
def test_how_a_model_is_computed_is_told_where_there_is_something_to_tell() -> None:
    """As a parameter of its metadata; other versions have none."""
    _, told = ask("GET", "/v2/models/half/versions/2")
    assert told["parameters"] == {"note": "It is checked."}
    _, silent = ask("GET", "/v2/models/half/versions/1")
    assert "parameters" not in silent


def _without_names(signature: Any) -> Any:
    """Return a signature's sides with the form of each tensor, and no tensor's inner name."""
    return {
        side: {
            name: {key: value for key, value in info.items() if key != "name"}
            for name, info in signature[side].items()
        }
        for side in ("inputs", "outputs")
    } | {"method_name": signature["method_name"], "keys": sorted(signature)}


@pytest.mark.spec("SRV-82")
@pytest.mark.parametrize(
    "name",
    ["half_plus_two_model_metadata.json", "saved_model_half_plus_two_2_versions_metadata.json"],
)
def test_metadata_has_tensorflow_servings_form(name: str) -> None:
    """The same keys and types as what it says of its own example of the same model."""
    published = shared(f"tfserving/{name}")
    _, ours = ask("GET", "/v1/models/half/versions/1/metadata")
    theirs = published["metadata"]["signature_def"]["signature_def"]["serving_default"]
    found = ours["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert set(ours) == set(published)
    assert set(ours["model_spec"]) == set(published["model_spec"])
    expected = _without_names(theirs)
    dims = expected["inputs"]["x"]["tensor_shape"]["dim"]
    for side in ("inputs", "outputs"):
        for info in expected[side].values():
            info["tensor_shape"]["dim"] = dims[:1]  # theirs has rows of one number, ours numbers
    assert _without_names(found) == expected


@pytest.mark.spec("SRV-80", "SRV-81", "SRV-84")
def test_the_examples_of_tensorflow_servings_page() -> None:
    """Questions and answers as they stand there, for the same functions."""
    question = {"instances": [1.0, 2.0, 5.0]}
    assert ask("POST", "/v1/models/half:predict", question) == (
        200,
        {"predictions": [3.5, 4.0, 5.5]},
    )
    numbers = {"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}
    assert ask("POST", "/v1/models/half:regress", numbers) == (200, {"results": [3.5, 4.0]})
    assert ask("POST", "/v1/models/none:predict", {"instances": [1.0, 5.0]}) == (
        404,
        {"error": "Servable not found for request: Latest(none)"},
    )
    fine = {"error_code": "OK", "error_message": ""}
    status = {"version": "1", "state": "AVAILABLE", "status": fine}
    assert ask("GET", "/v1/models/pair") == (200, {"model_version_status": [status]})


@pytest.mark.spec("SRV-80")
def test_recorded_examples_of_tensorflow_serving() -> None:
    """Every recorded question about a model that we have too is answered the same."""
    examples = shared("tfserving/rest_examples.json")
    if not examples:
        pytest.skip("no recorded examples")
    for example in examples:
        status, record = ask("POST", example["path"], example["request"])
        assert (status, record) == (example.get("status", 200), example["response"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        response = SERVICE.handle(HTTPRequest(self.command, self.path, headers, body))
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    do_GET = do_POST = _answer  # noqa: N815  # the base class's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def triton() -> Iterator[Any]:
    """Triton's own client, of the pages in plain."""
    client = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found = client.InferenceServerClient(f"127.0.0.1:{server.server_port}")
    yield client, found
    found.close()
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.spec("SRV-2", "SRV-3", "SRV-6")
def test_tritons_client_reads_the_pages(triton: Any) -> None:
    """Health, metadata and index."""
    _, client = triton
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("half", "2")
    assert not client.is_model_ready("half", "9")
    assert client.get_server_metadata()["name"] == "cloister"
    assert client.get_model_metadata("pair")["versions"] == ["1"]
    index = client.get_model_repository_index()
    assert {(each["name"], each["version"], each["state"]) for each in index} >= {
        ("half", "2", "READY"),
        ("pair", "1", "READY"),
    }


@pytest.mark.spec("SRV-4", "SRV-12", "SRV-13", "SRV-53")
@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_asks(triton: Any, *, binary: bool) -> None:
    """Numbers there and back, in both forms, with a timeout."""
    http, client = triton
    a, b = http.InferInput("a", [2], "INT32"), http.InferInput("b", [2, 2], "BOOL")
    a.set_data_from_numpy(np.int32([3, 4]), binary_data=binary)
    b.set_data_from_numpy(np.array([[True, False], [True, True]]), binary_data=binary)
    wishes = [http.InferRequestedOutput(name, binary_data=binary) for name in ("not", "twice")]
    found = client.infer("pair", [a, b], outputs=wishes, request_id="7", timeout=5_000_000)
    assert found.as_numpy("twice").tolist() == [6, 8]
    assert found.as_numpy("not").tolist() == [[False, True], [False, False]]
    assert found.get_response()["id"] == "7"


@pytest.mark.spec("SRV-70", "SRV-71")
@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_asks_for_classes(triton: Any, *, binary: bool) -> None:
    """With its own parameter; it reads them as it reads Triton's."""
    http, client = triton
    x = http.InferInput("x", [1, 3], "FP32")
    x.set_data_from_numpy(np.float32([[0.25, 0.5, 0.125]]))
    wish = http.InferRequestedOutput("scores", binary_data=binary, class_count=2)
    found = client.infer("scores", [x], outputs=[wish]).as_numpy("scores")
    texts = [each.decode() if isinstance(each, bytes) else each for each in found.ravel()]
    assert texts == ["0.5:1:eins", "0.25:0:null"]
