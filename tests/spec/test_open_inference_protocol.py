"""Responses and requests against the protocol's own OpenAPI document."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cloister.inference.message import Body, InferenceRequest, OutputWish, write_response
from cloister.inference.model import LiteRTModel
from cloister.inference.service import HTTPRequest, InferenceService

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("CLOISTER_SHARED", ROOT.parent / "shared"))
PAGE = SHARED / "vectors" / "oip" / "open_inference_rest.yaml"
MODEL = ROOT / "tests" / "data" / "models" / "digits.tflite"

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
jsonschema = pytest.importorskip("jsonschema")
if not PAGE.exists():
    pytest.skip(f"no OpenAPI document at {PAGE}", allow_module_level=True)
DOCUMENT: dict[str, Any] = yaml.safe_load(PAGE.read_text("utf-8"))
SERVICE = InferenceService({"digits": LiteRTModel(MODEL.read_bytes(), threads=1)})


def conforms(record: object, name: str) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema.validate(record, schema)


def ask(method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    response = SERVICE.handle(HTTPRequest(method, path, {}, body))
    return response.status, json.loads(response.body) if response.body else None


def question(**changes: object) -> dict[str, Any]:
    data = np.linspace(0, 1, 64, dtype=np.float32).tolist()
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 8, 8, 1], "data": data}
    return {"id": "42", "inputs": [tensor | changes]}


@pytest.mark.spec("SRV-1", "SRV-2", "SRV-3", "SRV-4")
def test_every_page_of_the_document_is_served() -> None:
    """Each path and method of the document gives 200, and what it describes."""
    assert len(DOCUMENT["paths"]) == 6
    for template, methods in DOCUMENT["paths"].items():
        path = template.replace("${MODEL_NAME}", "digits").replace("${MODEL_VERSION}", "1")
        for method, page in methods.items():
            if method == "parameters":
                continue
            body = json.dumps(question()).encode() if method == "post" else b""
            for short in {path, re.sub("/versions/1", "", path)}:
                status, record = ask(method.upper(), short, body)
                assert status == 200, short
                content = page["responses"]["200"].get("content")
                if content is not None:
                    conforms(record, content["application/json"]["schema"]["$ref"].split("/")[-1])


@pytest.mark.spec("SRV-4")
def test_the_answer_is_the_models() -> None:
    """Bit for bit, through JSON in both directions."""
    conforms(question(), "inference_request")
    _, record = ask("POST", "/v2/models/digits/infer", json.dumps(question()).encode())
    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8, 1)
    expected = LiteRTModel(MODEL.read_bytes(), threads=1).predict({"image": image})["output_0"]
    output = record["outputs"][0]
    assert output["shape"] == [1, 10]
    assert np.array(output["data"], np.float32).tobytes() == expected.tobytes()
    assert record["id"] == "42"


@pytest.mark.spec("SRV-5", "SRV-10")
def test_refusals_have_the_documents_form() -> None:
    """An object with `error`, and status 400 for what is wrong with a request."""
    for changes in ({"datatype": "FP64"}, {"shape": [8, 8]}, {"data": []}, {"name": "other"}):
        body = json.dumps(question(**changes)).encode()
        status, record = ask("POST", "/v2/models/digits/infer", body)
        assert status == 400
        conforms(record, "inference_error_response")
        assert list(record) == ["error"]


@pytest.mark.spec("SRV-12")
def test_binary_responses_conform_but_for_data() -> None:
    """The extension leaves out `data`, and nothing else."""
    request = InferenceRequest("7", {}, (OutputWish("y", binary=True),))
    answer: Body = write_response(request, {"y": np.ones(3, np.float32)}, model="m", version="1")
    record = json.loads(answer.data[: answer.json_bytes])
    assert "data" not in record["outputs"][0]
    record["outputs"][0]["data"] = []
    conforms(record, "inference_response")
