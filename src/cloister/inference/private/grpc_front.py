"""The Open Inference Protocol over gRPC, each call turned into the HTTP request that says the same.

For the proxy: what is behind it speaks HTTP inside envelopes. Every tensor travels in binary.

Spec: private-query-v1, clauses PQ-75 to PQ-77.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import quote

from cloister.errors import MalformedError, MissingExtraError, UnavailableError
from cloister.inference.message import BINARY_HEADER
from cloister.inference.private.grpc_messages import METHODS, SERVICE, messages
from cloister.inference.private.grpc_tensors import contents_to_binary, json_to_binary
from cloister.inference.service import HTTPRequest, HTTPResponse

__all__ = ["GRPCFront", "Translation"]

Forward = Callable[[HTTPRequest], HTTPResponse]
_OK: Final = 200
_HTTP_ONLY: Final = ("model_repository",)  # no call here is one of its
_OURS: Final = frozenset({"binary_data", "binary_data_size", "binary_data_output"})
_CODES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Refusal(Exception):  # noqa: N818  # the name that gRPC's side reads
    """The call has no answer; carries the name of gRPC's status, and a sentence."""

    def __init__(self, status: str, sentence: str) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Translation:
    """Each method as a function from message to message."""

    def __init__(self, forward: Forward) -> None:
        """Take what carries HTTP requests, and raises nothing."""
        self._forward = forward
        self._messages = messages()

    def call(self, method: str, request: Any) -> Any:
        """Return the answer to a call of one of `METHODS`.

        Raises:
            Refusal: There is none.
        """
        calls: Mapping[str, Callable[[Any], Any]] = {
            "ServerLive": lambda _: self._new("ServerLive", live=self._ready("/v2/health/live")),
            "ServerReady": lambda _: self._new(
                "ServerReady", ready=self._ready("/v2/health/ready")
            ),
            "ModelReady": lambda asked: self._new(
                "ModelReady", ready=self._ready(_target(asked.name, asked.version) + "/ready")
            ),
            "ServerMetadata": self._server,
            "ModelMetadata": self._model,
            "ModelInfer": self._infer,
        }
        try:
            return calls[method](request)
        except MalformedError as e:
            raise Refusal("INVALID_ARGUMENT", e.public) from e

    def _new(self, method: str, **fields: Any) -> Any:
        return self._messages[f"{method}Response"](**fields)

    def _ready(self, target: str) -> bool:
        return self._forward(HTTPRequest("GET", target, {}, b"")).status == _OK

    def _server(self, _: Any) -> Any:
        record = self._get("/v2")
        fields = {name: record.get(name) for name in ("name", "version", "extensions")}
        if isinstance(fields["extensions"], list):
            fields["extensions"] = [each for each in fields["extensions"] if each not in _HTTP_ONLY]
        return self._filled("ServerMetadata", fields)

    def _model(self, asked: Any) -> Any:
        record = self._get(_target(asked.name, asked.version))
        names = ("name", "versions", "platform", "inputs", "outputs")
        return self._filled("ModelMetadata", {name: record.get(name) for name in names})

    def _filled(self, method: str, fields: Mapping[str, Any]) -> Any:
        try:
            return self._new(method, **fields)
        except (TypeError, ValueError, AttributeError) as e:
            raise _odd() from e

    def _infer(self, asked: Any) -> Any:
        response = self._forward(_to_http(asked))
        _require_ok(response)
        text = response.headers.get(BINARY_HEADER, "")
        size = int(text) if text.isascii() and text.isdigit() else len(response.body)
        try:
            return self._from_http(_json(response.body[:size]), response.body[size:])
        except (KeyError, TypeError, ValueError, AttributeError, MalformedError) as e:
            raise _odd() from e

    def _from_http(self, record: Mapping[str, Any], rest: bytes) -> Any:
        answer = self._new(
            "ModelInfer",
            model_name=record["model_name"],
            model_version=record.get("model_version", ""),
            id=record.get("id", ""),
        )
        for output in record["outputs"]:
            tensor = answer.outputs.add(
                name=output["name"], datatype=output["datatype"], shape=output["shape"]
            )
            size = (output.get("parameters") or {}).get("binary_data_size")
            if size is None:
                raw = json_to_binary(output["data"], tensor.datatype)
            else:
                raw, rest = rest[:size], rest[size:]
                if len(raw) != size:
                    raise ValueError("cut off")
            answer.raw_output_contents.append(raw)
        return answer

    def _get(self, target: str) -> Mapping[str, Any]:
        response = self._forward(HTTPRequest("GET", target, {}, b""))
        _require_ok(response)
        try:
            return _json(response.body)
        except ValueError as e:
            raise _odd() from e


class GRPCFront:
    """A gRPC server on the loopback address."""

    def __init__(
        self, forward: Forward, *, max_bytes: int, workers: int = 8, waiting: int = 64
    ) -> None:
        """Take what carries requests, and the limits; nothing is opened yet.

        Args:
            forward: Carries HTTP requests, and raises nothing.
            max_bytes: Longest message.
            workers: Calls that are worked on at one time.
            waiting: Calls that wait or are; one more is told to come back.

        Raises:
            MissingExtraError: gRPC is not installed.
        """
        try:
            import grpc  # noqa: PLC0415  # of an extra
        except ImportError as e:
            raise MissingExtraError(
                "gRPC needs the packages grpcio and protobuf",
                code="extra.missing",
                hint="install cloister[grpc]",
            ) from e
        self._grpc = grpc
        self._translation = Translation(forward)
        self._workers = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="grpc")
        self._server = grpc.server(
            self._workers,
            handlers=[grpc.method_handlers_generic_handler(SERVICE, self._handlers())],
            options=[
                ("grpc.max_receive_message_length", max_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=waiting,
        )

    def start(self, address: tuple[str, int]) -> int:
        """Listen, and return the port.

        Raises:
            UnavailableError: The address is taken (`server.unreachable`).
        """
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        try:
            port: int = self._server.add_insecure_port(f"{host}:{address[1]}")
        except RuntimeError as e:
            raise UnavailableError(
                f"cannot listen at {host}:{address[1]}",
                code="server.unreachable",
                detail=str(e),
                hint="something listens there already; name another place: --grpc HOST:PORT",
            ) from e
        self._server.start()
        return port

    def close(self) -> None:
        """End, after a moment for calls in progress."""
        self._server.stop(grace=1).wait()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _handlers(self) -> dict[str, Any]:
        made = messages()
        return {
            method: self._grpc.unary_unary_rpc_method_handler(
                self._behaviour(method),
                request_deserializer=made[f"{method}Request"].FromString,
                response_serializer=made[f"{method}Response"].SerializeToString,
            )
            for method in METHODS
        }

    def _behaviour(self, method: str) -> Callable[[Any, Any], Any]:
        def answer(request: Any, context: Any) -> Any:
            try:
                return self._translation.call(method, request)
            except Refusal as e:
                context.abort(self._grpc.StatusCode[e.status], e.sentence)

        return answer


def _to_http(asked: Any) -> HTTPRequest:
    raw = list(asked.raw_input_contents)
    if raw and len(raw) != len(asked.inputs):
        raise MalformedError(
            "raw_input_contents has one item for each input", code="message.malformed"
        )
    if raw and any(tensor.HasField("contents") for tensor in asked.inputs):
        raise MalformedError("inputs are raw or have contents", code="message.malformed")
    if not raw:
        raw = [contents_to_binary(tensor.contents, tensor.datatype) for tensor in asked.inputs]
    record: dict[str, Any] = {
        "parameters": {**_parameters(asked), "binary_data_output": True},
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": {**_parameters(tensor), "binary_data_size": len(data)},
            }
            for tensor, data in zip(asked.inputs, raw, strict=True)
        ],
        "outputs": [
            {"name": wish.name, "parameters": {**_parameters(wish), "binary_data": True}}
            for wish in asked.outputs
        ],
    }
    if asked.id:
        record["id"] = asked.id
    head = json.dumps(record, separators=(",", ":")).encode()
    headers = {"content-type": "application/octet-stream", BINARY_HEADER: str(len(head))}
    target = _target(asked.model_name, asked.model_version) + "/infer"
    return HTTPRequest("POST", target, headers, b"".join([head, *raw]))


def _parameters(message: Any) -> dict[str, Any]:
    """Return a message's parameters, but those that say how tensors travel."""
    found: dict[str, Any] = {}
    for name, value in message.parameters.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is not None and name not in _OURS:
            found[name] = getattr(value, choice)
    return found


def _target(name: str, version: str) -> str:
    end = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v2/models/{quote(name, safe='')}{end}"


def _require_ok(response: HTTPResponse) -> None:
    if response.status == _OK:
        return
    try:
        sentence = str(_json(response.body[:65536])["error"])[:500]
    except (ValueError, KeyError):
        sentence = "no reason given"
    raise Refusal(_CODES.get(response.status, "INTERNAL"), sentence)


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        record = json.loads(data)
    except RecursionError as e:
        raise ValueError("too deep") from e
    if not isinstance(record, dict):
        raise ValueError("not an object")  # noqa: TRY004  # as json does
    return record


def _odd() -> Refusal:
    return Refusal("INTERNAL", "the server answered in no way that is known")
