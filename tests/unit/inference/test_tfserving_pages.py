"""TensorFlow Serving's pages, without sockets."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cloister.inference.classification import Labels
from cloister.inference.model_config import Classification, ModelConfig
from cloister.inference.service import HTTPRequest, InferenceService
from cloister.inference.tensor import Array, TensorSpec
from unit.inference.served import Half, Pair, Scores, registry_of, served

CONFIG = ModelConfig(classification=Classification(2, at_least=0.2))
REGISTRY = registry_of(
    served("half_plus_three", "122", Half(2.0)),
    served("half_plus_three", "123", Half(3.0)),
    served("pair", "1", Pair()),
    served("scores", "1", Scores()),
    served("classes", "1", Scores(), labels=Labels(["a", "b", "c"]), config=CONFIG),
    stable="122",
)
REGISTRY.replace(REGISTRY.shelves, refused={("half_plus_three", 124): "model.malformed"})
SERVICE = InferenceService(REGISTRY)


def ask(method: str, target: str, record: object = None) -> tuple[int, Any]:
    body = b"" if record is None else json.dumps(record).encode()
    response = SERVICE.handle(HTTPRequest(method, target, {}, body))
    return response.status, json.loads(response.body)


@pytest.mark.spec("SRV-80")
def test_predictions_by_version_and_label() -> None:
    """The newest, one that is named, one that has a label."""
    question = {"instances": [1.0, 2.0, 5.0]}
    base = "/v1/models/half_plus_three"
    assert ask("POST", f"{base}:predict", question) == (200, {"predictions": [3.5, 4.0, 5.5]})
    old = (200, {"predictions": [2.5, 3.0, 4.5]})
    assert ask("POST", f"{base}/versions/122:predict", question) == old
    assert ask("POST", f"{base}/labels/stable:predict?x=1", question) == old
    assert ask("POST", f"{base}:predict", {"inputs": [1.0]}) == (200, {"outputs": [3.5]})


@pytest.mark.spec("SRV-81")
def test_classes_and_numbers_for_examples() -> None:
    """All classes by their numbers; or as configured, with labels; or one number each."""
    examples = [{"x": [0.25, 0.5, 0.125]}, {"x": [0.0, 0.125, 1.0]}]
    question = {"examples": examples}
    assert ask("POST", "/v1/models/scores:classify", question) == (200, {"results": [
        [["1", 0.5], ["0", 0.25], ["2", 0.125]], [["2", 1.0], ["1", 0.125], ["0", 0.0]],
    ]})  # fmt: skip
    assert ask("POST", "/v1/models/classes:classify", question) == (200, {"results": [
        [["b", 0.5], ["a", 0.25]], [["c", 1.0], ["", 0.0]],
    ]})  # fmt: skip
    numbers = {"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1}, {"x": 2}]}
    assert ask("POST", "/v1/models/half_plus_three:regress", numbers) == (
        200,
        {"results": [3.5, 4.0]},
    )
    status, record = ask("POST", "/v1/models/scores:regress", question)
    assert (status, list(record)) == (400, ["error"])


class Huge(Scores):
    """Scores that may be beyond every number."""

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with np.errstate(all="ignore"):
            return {"scores": inputs["x"] * np.float32(4)}


def classify(row: list[float], *, at_least: float | None) -> tuple[int, Any]:
    config = ModelConfig(classification=Classification(3, at_least=at_least))
    service = InferenceService(registry_of(served("h", "1", Huge(), config=config)))
    body = json.dumps({"examples": [{"x": row}]}).encode()
    response = service.handle(HTTPRequest("POST", "/v1/models/h:classify", {}, body))
    return response.status, json.loads(response.body)


@pytest.mark.spec("SRV-85")
def test_scores_that_json_cannot_say_are_refused() -> None:
    """As they are where they are asked for as numbers."""
    status, record = classify([3e38, 2, 3], at_least=None)
    assert status == 400
    assert "NaN or infinity" in record["error"]


@pytest.mark.spec("SRV-70")
@pytest.mark.parametrize("hidden", [-0.25, 0.125, -3e38, -1e-45, 0.0])
def test_of_a_score_below_the_bound_no_bit_is_left(hidden: float) -> None:
    """Neither its sign nor that it was beyond every number."""
    status, record = classify([1, hidden, 0.0], at_least=2.0)
    assert (status, repr(record)) == (200, repr({"results": [[["0", 4.0], ["", 0.0], ["", 0.0]]]}))


@pytest.mark.spec("SRV-81")
def test_an_output_without_axes_has_no_classes() -> None:
    """The caller is told."""

    class Total(Scores):
        outputs = (TensorSpec("y", "FP32", ()),)

        def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return {"y": np.asarray(inputs["x"].sum())}

    service = InferenceService(registry_of(served("t", "1", Total())))
    body = json.dumps({"examples": [{"x": [1, 2, 3]}]}).encode()
    for verb in ("classify", "regress"):
        response = service.handle(HTTPRequest("POST", f"/v1/models/t:{verb}", {}, body))
        assert response.status == 400


@pytest.mark.spec("SRV-70")
def test_predict_tells_no_scores_where_classes_are_configured() -> None:
    """By this interface as little as by the other."""
    question = {"instances": [[0.25, 0.5, 0.125]]}
    assert ask("POST", "/v1/models/classes:predict", question) == (
        200,
        {"predictions": [["0.5:1:b", "0.25:0:a"]]},
    )
    _, record = ask("GET", "/v1/models/classes/metadata")
    outputs = record["metadata"]["signature_def"]["signature_def"]["serving_default"]["outputs"]
    assert outputs["scores"]["dtype"] == "DT_STRING"


@pytest.mark.spec("SRV-82")
def test_states_of_versions() -> None:
    """All, one, one by label; those that were refused have their code."""
    base = "/v1/models/half_plus_three"
    _, record = ask("GET", base)
    states = {each["version"]: each["state"] for each in record["model_version_status"]}
    assert states == {"122": "AVAILABLE", "123": "AVAILABLE", "124": "END"}
    ok = {"error_code": "OK", "error_message": ""}
    one = {"model_version_status": [{"version": "122", "state": "AVAILABLE", "status": ok}]}
    assert ask("GET", f"{base}/versions/122") == (200, one)
    assert ask("GET", f"{base}/labels/stable") == (200, one)
    assert ask("GET", f"{base}/metadata")[1]["model_spec"]["version"] == "123"


@pytest.mark.spec("SRV-84")
@pytest.mark.parametrize(("method", "target", "status", "says"), [
    ("POST", "/v1/models/half:predict", 404, "Servable not found for request: Latest(half)"),
    ("GET", "/v1/models/half", 404, "Servable not found for request: Latest(half)"),
    ("GET", "/v1/models/half/metadata", 404, "Servable not found for request: Latest(half)"),
    ("POST", "/v1/models/pair/versions/7:predict", 404,
     "Servable not found for request: Specific(pair, 7)"),
    ("GET", "/v1/models/pair/versions/7", 404, "Servable not found for request: Specific(pair, 7)"),
    ("POST", "/v1/models/pair/labels/x:predict", 404,
     "Servable not found for request: Labelled(pair, x)"),
    ("GET", "/v1/models/pair/labels/x", 404, "Servable not found for request: Labelled(pair, x)"),
    ("POST", "/v1/models/pair:other", 400, "Malformed request: POST /v1/models/pair:other"),
    ("POST", "/v1/models/pair", 400, "Malformed request: POST /v1/models/pair"),
    ("GET", "/v1/models/pair:predict", 400, "Malformed request: GET /v1/models/pair:predict"),
    ("GET", "/v1/", 400, "Malformed request: GET /v1/"),
    ("GET", "/v1/models/pair/versions/x", 400, "Malformed request: GET /v1/models/pair/versions/x"),
])  # fmt: skip
def test_refusals_say_what_tensorflow_serving_says(
    method: str, target: str, status: int, says: str
) -> None:
    """Status and sentence."""
    assert ask(method, target, {"instances": [1]}) == (status, {"error": says})
