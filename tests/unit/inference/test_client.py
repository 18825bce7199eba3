"""Arguments of a client, judged before anything is opened."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from cloister.errors import (
    CloisterError,
    ConfigError,
    IdentityError,
    RemoteProtocolError,
    UnavailableError,
)
from cloister.inference import Client
from cloister.inference import client as module
from cloister.inference.service import HTTPRequest, HTTPResponse, InferenceService
from cloister.inference.tensor import Array, TensorSpec
from cloister.testing.certificates import FakeDomain

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)
SERVER_ID = DOMAIN.identity("serve").uri


class Halving:
    """A model of two rows at a time."""

    platform = "test"
    inputs = (TensorSpec("x", "FP32", (2, 3)),)
    outputs = (TensorSpec("y", "FP32", (2, 3)),)

    def __init__(self) -> None:
        self.asked = 0

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.asked += 1
        return {"y": inputs["x"] / 2}


class Direct:
    """A channel that ends in a service of this process."""

    where = "here"

    def __init__(self, service: InferenceService) -> None:
        self._service = service

    def exchange(self, request: HTTPRequest) -> HTTPResponse:
        return self._service.handle(request)

    def close(self) -> None:
        """Nothing is open."""


def direct(service: InferenceService, **options: object) -> Client:
    client = Client("https://x:1", trust=DOMAIN.ca_pem, identity=SERVER_ID, **options)
    client._channel = Direct(service)
    return client


def test_a_model_of_fixed_rows_is_asked_as_often_as_needed() -> None:
    """Six rows are three queries of two; five cannot be cut."""
    model = Halving()
    client = direct(InferenceService({"half": model}))
    rows = np.arange(18, dtype=np.float32).reshape(6, 3)
    assert client.predict(rows).tolist() == (rows / 2).tolist()
    assert model.asked == 3
    with pytest.raises(ConfigError):
        client.predict(rows[:5])


def test_a_server_of_several_models_needs_a_name() -> None:
    """Guessing is not asking."""
    service = InferenceService({"a": Halving(), "b": Halving()})
    with pytest.raises(ConfigError) as caught:
        direct(service).predict(np.zeros((2, 3), np.float32))
    assert caught.value.code == "config.missing"
    assert direct(service, model="b").describe().name == "b"
    assert "a, b" in (caught.value.hint or "")


def test_an_example_alone_is_told_what_it_lacks() -> None:
    """Its first axis; of any other shape nothing is guessed."""
    client = direct(InferenceService({"half": Halving()}))
    for shape, expected in (((3,), "first axis"), ((2, 4), "None")):
        with pytest.raises(ConfigError) as caught:
            client.predict(np.zeros(shape, np.float32))
        assert expected in str(caught.value.hint)


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 1), (3,), ()])
def test_shapes_are_compared_with_the_models(shape: tuple[int, ...]) -> None:
    """One that fits is sent, others are not."""
    client = direct(InferenceService({"half": Halving()}))
    if shape == (2, 3):
        assert client.predict(np.ones(shape, np.float16)).dtype == np.float32
        return
    with pytest.raises(ConfigError) as caught:
        client.predict(np.ones(shape, np.float32))
    assert caught.value.code == "config.value"


def test_a_reason_from_the_server_is_shown_clean() -> None:
    """Control characters of a server reach no terminal."""
    assert module._sentence(b'{"error": "a\\u001b[2Jb"}') == "a [2Jb"
    for body in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000):
        assert module._sentence(body) == "no reason given"


@pytest.mark.parametrize(
    ("url", "changes", "code"),
    [
        ("http://127.0.0.1:1", {}, "config.value"),
        ("https://127.0.0.1", {}, "config.value"),
        ("https://127.0.0.1:99999", {}, "config.value"),
        ("https://127.0.0.1:1/path", {}, "config.value"),
        ("nonsense", {}, "config.value"),
        ("https://127.0.0.1:1", {"identity": "me"}, "config.value"),
        ("https://127.0.0.1:1", {"trust": "/nowhere/domain.json"}, "config.file"),
        ("https://127.0.0.1:1", {"trust": __file__}, "config.file"),
        ("https://127.0.0.1:1", {"trust": b"nonsense"}, "certificate.malformed"),
    ],
)
def test_a_client_that_cannot_be_meant(url: str, changes: dict[str, object], code: str) -> None:
    """Arguments are judged before anything is opened."""
    options: dict[str, object] = {"trust": DOMAIN.ca_pem, "identity": SERVER_ID}
    with pytest.raises(CloisterError) as caught:
        Client(url, **(options | changes))
    assert caught.value.code == code


def test_a_domain_file_of_another_name_is_refused(tmp_path: Path) -> None:
    """The authority of one trust domain vouches for no identity of another."""
    domain = tmp_path / "domain.json"
    domain.write_text(json.dumps({"name": "other.example", "ca": DOMAIN.ca_pem.decode()}))
    with pytest.raises(IdentityError) as caught:
        Client("https://127.0.0.1:1", trust=domain, identity=SERVER_ID)
    assert caught.value.code == "identity.peer"


def test_an_answer_that_came_too_late_may_be_asked_for_again() -> None:
    """As one that never began."""
    response = HTTPResponse(504, b'{"error": "too late"}')
    with pytest.raises(UnavailableError, match="too late") as caught:
        module._require_ok(response, "here")
    assert caught.value.code == "server.late"
    assert caught.value.retryable


def test_classes_are_texts() -> None:
    """A server's description may have them, and an answer then does."""
    tensor = {"name": "y", "datatype": "BYTES", "shape": [-1, 1]}
    (spec,) = module._specs([tensor])
    assert spec == TensorSpec("y", "BYTES", (-1, 1))
    with pytest.raises(TypeError):
        module._specs([tensor | {"datatype": "STRING"}])


class Narrow:
    """Another version: of the same input it gives less, or it takes one of another width."""

    platform = "test"

    def __init__(self, takes: int, gives: int) -> None:
        self.inputs = (TensorSpec("x", "FP32", (-1, takes)),)
        self.outputs = (TensorSpec("y", "FP32", (-1, gives)),)
        self.asked = 0

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.asked += 1
        return {"y": inputs["x"][:, : self.outputs[0].shape[1]]}


class Reloading(Direct):
    """A server that may serve another version from one query to the next."""

    def __init__(self, model: Narrow) -> None:
        self.described = 0
        self.load(model)

    def load(self, model: Narrow) -> None:
        self._service = InferenceService({"m": model})

    def exchange(self, request: HTTPRequest) -> HTTPResponse:
        self.described += request.target == "/v2/models/m"
        return super().exchange(request)


def test_another_version_is_noticed() -> None:
    """Whether its answers have another shape, it refuses the query, or it would take another."""
    client = Client("https://x:1", trust=DOMAIN.ca_pem, identity=SERVER_ID)
    client._channel = channel = Reloading(Narrow(4, 4))
    rows = np.ones((1, 4), np.float32)
    assert client.predict(rows).shape == (1, 4)
    channel.load(Narrow(4, 2))
    assert client.predict(rows).shape == (1, 2)
    channel.load(Narrow(3, 3))
    with pytest.raises(ConfigError, match="takes"):
        client.predict(rows)
    assert client.predict(rows[:, :3]).shape == (1, 3)
    channel.load(Narrow(4, 4))
    assert client.predict(rows).shape == (1, 4)
    assert channel.described == 4


def test_a_query_of_the_same_version_is_not_repeated() -> None:
    """One that is refused is refused; nor is one that failed by a first description."""
    client = Client("https://x:1", trust=DOMAIN.ca_pem, identity=SERVER_ID)
    model = Narrow(4, 5)  # it gives what it is given, and says that it gives more
    client._channel = channel = Reloading(model)
    for count in (1, 2, 3):
        with pytest.raises(RemoteProtocolError):
            client.predict(np.ones((1, 4), np.float32))
        assert (channel.described, model.asked) == (count, count)
    with pytest.raises(ConfigError):
        client.predict(np.ones((1, 3), np.float32))
    assert (channel.described, model.asked) == (4, 3)
