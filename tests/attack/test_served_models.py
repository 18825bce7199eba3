"""P47: one version answers a query, with its own rows, and tells no more than is configured."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.catalogue import look, wanted
from cloister.inference.classification import Labels
from cloister.inference.model_config import Batching, Classification, ModelConfig
from cloister.inference.onnx_model import ONNXModel
from cloister.inference.registry import Registry, Shelf
from cloister.inference.service import HTTPRequest, InferenceService
from unit.inference.served import Half, Scores, registry_of, served

JOINED = ModelConfig(batching=Batching(16))
TOLD = ModelConfig(classification=Classification(1))


def post(service: InferenceService, target: str, record: object) -> tuple[int, Any]:
    request = HTTPRequest("POST", target, {}, json.dumps(record).encode())
    response = service.handle(request)
    return response.status, json.loads(response.body)


def tensor(*values: float) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [len(values)], "data": list(values)}


@pytest.mark.spec("SRV-44", "SRV-51")
def test_no_answer_is_of_two_versions_or_of_another_query() -> None:
    """Threads ask without pause while versions are swapped and queries joined."""
    versions = {str(n): served("h", str(n), Half(1000.0 * n), config=JOINED) for n in range(1, 4)}
    registry = Registry({"h": Shelf({"1": versions["1"]})})
    service = InferenceService(registry)
    stop = threading.Event()
    wrong: list[Any] = []
    answered: set[str] = set()

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            values = (rng.integers(0, 400, rng.integers(1, 5)) * 2.0).tolist()
            status, record = post(service, "/v2/models/h/infer", {"inputs": [tensor(*values)]})
            number = 1000.0 * int(record.get("model_version", 0))
            expected = [value / 2 + number for value in values]
            if status != 200 or record["outputs"][0]["data"] != expected:
                wrong.append((values, record))
            answered.add(record.get("model_version", ""))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for turn in range(300):
        now = {str(n): versions[str(n)] for n in range(1, turn % 3 + 2)}
        registry.replace({"h": Shelf(now)})
        threading.Event().wait(0.003)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert wrong == []
    assert answered == {"1", "2", "3"}


@pytest.mark.spec("SRV-70")
def test_scores_that_stay_inside_leave_by_no_door() -> None:
    """Neither protocol, no parameter and no page gives more than the configured class."""
    asked = served("s", "1", Scores(), labels=Labels(["a", "b", "c"]), config=TOLD)
    service = InferenceService(registry_of(asked))
    x = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [0.25, 0.5, 0.125]}
    rows = {"instances": [[0.25, 0.5, 0.125]]}
    examples = {"examples": [{"x": [0.25, 0.5, 0.125]}]}
    infer = "/v2/models/s/infer"
    attempts = [
        (infer, {"inputs": [x]}),
        (infer, {"inputs": [x], "outputs": [{"name": "scores"}]}),
        (infer, {"inputs": [x], "parameters": {"classification": 0}}),
        (infer, {"inputs": [x], "parameters": {"classification": 3}}),
        (infer, {"inputs": [x], "outputs": [{"name": "scores",
                                             "parameters": {"classification": 2}}]}),
        ("/v1/models/s:predict", rows),
        ("/v1/models/s:predict", {"inputs": [[0.25, 0.5, 0.125]]}),
        ("/v1/models/s:classify", examples),
        ("/v1/models/s:regress", examples),
    ]  # fmt: skip
    for target, record in attempts:
        status, answer = post(service, target, record)
        text = json.dumps(answer)
        assert status in {200, 400}
        assert "0.25" not in text
        assert "0.125" not in text
        assert ("0.5" in text) == (status == 200)


@pytest.mark.spec("SRV-40")
def test_a_catalogue_leads_nowhere_else(tmp_path: Path) -> None:
    """No link is followed, and no name leaves the folder."""
    outside = tmp_path / "outside" / "1"
    outside.mkdir(parents=True)
    (outside / "model.onnx").write_bytes(b"secret")
    models = tmp_path / "models"
    (models / "m").mkdir(parents=True)
    (models / "link").symlink_to(outside.parent)
    (models / "m" / "1").symlink_to(outside)
    assert wanted(look(models, latest=9)) == {}
    service = InferenceService(registry_of(served("m", "1", Half())))
    for target in (
        "/v2/models/../outside",
        "/v2/models/%2e%2e/versions/1",
        "/v1/models/..:predict",
    ):
        status, _ = post(service, target, {})
        assert status in {400, 404}


@pytest.mark.spec("SRV-61")
def test_a_model_does_not_make_the_server_read_files(tmp_path: Path) -> None:
    """A tensor that lies elsewhere is refused, and the file is not opened."""
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    from unit.inference.onnx_models import half_plus  # noqa: PLC0415  # where it is installed

    trap = tmp_path / "weights"
    trap.write_bytes(bytes(4))
    model = onnx.load_model_from_string(half_plus(1.0))
    found = model.graph.initializer[0]
    found.ClearField("raw_data")
    found.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", str(trap)), ("length", "4")):
        entry = found.external_data.add()
        entry.key, entry.value = key, value
    before = trap.stat().st_atime_ns
    with pytest.raises(MalformedError) as caught:
        ONNXModel(model.SerializeToString(), threads=1)
    assert caught.value.code == "model.malformed"
    assert trap.stat().st_atime_ns == before


@pytest.mark.spec("SRV-54")
def test_who_floods_a_model_keeps_nobody_waiting_beyond_their_time() -> None:
    """Late queries end where they wait, and are not computed."""
    gate, begun = threading.Event(), threading.Event()

    class Slow(Half):
        calls = 0

        def predict(self, inputs: Any) -> Any:
            Slow.calls += 1
            begun.set()
            assert gate.wait(20)
            return super().predict(inputs)

    service = InferenceService(registry_of(served("h", "1", Slow())))
    question = {"inputs": [tensor(1.0)], "parameters": {"timeout": 20_000}}
    first = threading.Thread(
        target=post, args=(service, "/v2/models/h/infer", {"inputs": [tensor(1.0)]})
    )
    first.start()
    assert begun.wait(10)
    statuses = [post(service, "/v2/models/h/infer", question)[0] for _ in range(5)]
    gate.set()
    first.join(20)
    assert statuses == [503] * 5
    assert Slow.calls == 1
