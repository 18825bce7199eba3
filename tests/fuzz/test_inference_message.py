"""Hostile bodies: every reader returns arrays or raises MalformedError."""

import json

from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import MalformedError
from cloister.inference.message import BINARY_HEADER, Body, read_request, read_response
from cloister.inference.service import HTTPRequest, InferenceService
from cloister.inference.tensor import DATATYPES, TensorSpec

SPECS = (TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "BOOL", (1,)))
SERVICE = InferenceService({})
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "c"]) | values,
        "datatype": st.sampled_from(sorted(DATATYPES)) | values,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | values,
    },
    optional={
        "data": st.lists(st.floats() | st.integers() | st.booleans(), max_size=6) | values,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 9)}) | values,
    },
)
messages = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=3) | values},
    optional={"outputs": st.lists(values, max_size=2), "id": values, "parameters": values},
)


def read(body: Body) -> None:
    for call in (
        lambda: read_request(body, inputs=SPECS, outputs=SPECS),
        lambda: read_response(body, outputs=SPECS),
    ):
        try:
            call()
        except MalformedError as e:
            code = e.code
        else:
            code = "message.malformed"
        assert code == "message.malformed"


@given(st.binary(max_size=300), st.none() | st.integers(-5, 400))
def test_any_bytes(data: bytes, json_bytes: int | None) -> None:
    """Noise is refused in one way only."""
    read(Body(data, json_bytes))


@given(messages, st.binary(max_size=12))
def test_any_message(message: object, rest: bytes) -> None:
    """JSON of about the right form is read or refused."""
    head = json.dumps(message).encode()
    read(Body(head + rest, len(head)))
    response = json.dumps({"outputs": message["inputs"]}).encode()
    read(Body(response + rest, len(response)))


@given(
    st.sampled_from(["GET", "POST", "PUT"]),
    st.text(max_size=40).map(lambda text: "/v2/models/" + text) | st.text(max_size=40),
    st.binary(max_size=50),
    st.none() | st.text(max_size=8),
)
def test_any_request(method: str, target: str, body: bytes, header: str | None) -> None:
    """Every request gets a response."""
    headers = {} if header is None else {BINARY_HEADER: header}
    assert SERVICE.handle(HTTPRequest(method, target, headers, body)).status in {200, 404, 405}
