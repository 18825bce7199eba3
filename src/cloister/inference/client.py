"""Ask an attested server: numpy in, numpy out, bit for bit.

Example::

    from cloister.inference import Client

    client = Client("https://10.0.0.7:8443", trust="domain.json", identity="spiffe://clinic/…/*")
    print(client.predict(images))

A successful handshake means that the key service admitted the server under a policy: its
certificate says which (`client.peer.policy_hash`), and whether hardware vouched for it.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self
from urllib.parse import quote, urlsplit

import numpy as np

from cloister.crypto.x509 import Identity, PeerCertificate
from cloister.errors import (
    CloisterError,
    ConfigError,
    IdentityError,
    MalformedError,
    RemoteProtocolError,
    UnavailableError,
)
from cloister.inference.channel import Channel
from cloister.inference.message import BINARY_HEADER, Body, read_response, write_request
from cloister.inference.service import HTTPRequest, HTTPResponse
from cloister.inference.tensor import DATATYPES, Array, TensorSpec, read_shape
from cloister.inference.text_tensor import TEXTS
from cloister.network.tls import Credential, client_context

__all__ = [
    "Client",
    "Exchanger",
    "ModelClient",
    "ModelDescription",
    "authority_of",
    "read_identity",
]

_MAX_RESPONSE_BYTES: Final = 256 * 2**20
_MAX_DOMAIN_BYTES: Final = 65536
_BATCH_BYTES: Final = 8 * 2**20  # well below the server's limit on a body
_ANSWER_HEAD_BYTES: Final = 4096  # what an answer has beside its tensors, more than enough
_MOST_NAMES: Final = 20
_TEXT_BYTES: Final = 256  # of an element without a fixed size
_OK, _BUSY, _LATE = 200, 503, 504
_CLIENT_ERRORS: Final = range(400, 500)


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a server says about a model."""

    name: str
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Exchanger(Protocol):
    """What carries requests to one server and brings its responses."""

    @property
    def where(self) -> str:
        """The address, for messages."""

    @property
    def peer(self) -> PeerCertificate:
        """What the server proved."""

    def exchange(self, request: HTTPRequest) -> HTTPResponse:
        """Return the response to a request that may be repeated."""

    def close(self) -> None:
        """Close what is open; the next exchange opens it again."""


class ModelClient:
    """A client of one server, whatever carries its requests.

    It may be shared between threads; queries go one at a time.
    """

    def __init__(
        self,
        channel: Exchanger,
        *,
        model: str | None,
        batch_bytes: int,
        answer_bytes: Callable[[str], int] | None = None,
    ) -> None:
        """Take what carries requests.

        Args:
            channel: To the one server.
            model: The model's name; None where the server has one model.
            batch_bytes: Larger inputs are sent in several queries, cut along the first axis.
            answer_bytes: How long an answer to a target may be, where that is bounded.
        """
        self._channel = channel
        self._model = model
        self._batch_bytes = batch_bytes
        self._answer_bytes = answer_bytes
        self._description: ModelDescription | None = None
        self._lock = threading.RLock()

    @property
    def peer(self) -> PeerCertificate:
        """What the server proved: identity, policy hash, whether hardware vouches for it."""
        with self._lock:
            return self._channel.peer

    def describe(self) -> ModelDescription:
        """Return what the server says about the model; asked once, and when a query fails."""
        with self._lock:
            if self._description is None:
                name = self._model if self._model is not None else self._only_model()
                record = self._get(f"/v2/models/{quote(name, safe='')}")
                self._description = _description(record, name)
            return self._description

    def predict(self, inputs: Any) -> Any:
        """Return the model's outputs for `inputs`.

        Where the server has another version by now, by whose shapes the query fails or its answer
        does not fit, it is asked once more.

        Args:
            inputs: An array for a model with one input, or arrays by name. Types that convert
                without loss are converted.

        Returns:
            An array for a model with one output, else arrays by name. Classes are arrays of texts,
            `score:number:label`.

        Raises:
            ConfigError: Shape or type is not what the model takes.
            IdentityError: The server is not the expected one.
            UnavailableError: Nobody there, too slow, or busy.
        """
        with self._lock:
            known = self._description
            try:
                outputs = self._predict(inputs)
            except (ConfigError, RemoteProtocolError):
                if known is None or not self._has_changed(known):
                    raise
                outputs = self._predict(inputs)
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))

    def close(self) -> None:
        """Close the connection; another is opened when needed."""
        with self._lock:
            self._channel.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _predict(self, inputs: Any) -> dict[str, Array]:
        model = self.describe()
        arrays = _arrays(inputs, model)
        parts = [self._query(model, part) for part in self._batches(arrays, model)]
        return {
            spec.name: np.concatenate([part[spec.name] for part in parts])
            if len(parts) > 1
            else parts[0][spec.name]
            for spec in model.outputs
        }

    def _has_changed(self, known: ModelDescription) -> bool:
        """Ask for the description anew; tell whether the server has another model by now."""
        self._description = None
        try:
            return self.describe() != known
        except CloisterError:
            return False

    def _query(self, model: ModelDescription, arrays: Mapping[str, Array]) -> dict[str, Array]:
        body = write_request(arrays, outputs=[spec.name for spec in model.outputs])
        request = HTTPRequest("POST", _target(model), body.headers, body.data)
        response = self._channel.exchange(request)
        _require_ok(response, self._channel.where)
        text = response.headers.get(BINARY_HEADER)
        json_bytes = int(text) if text is not None and text.isdecimal() else None
        try:
            return read_response(Body(response.body, json_bytes), outputs=model.outputs)
        except MalformedError as e:
            raise _odd(self._channel.where) from e

    def _batches(
        self, arrays: Mapping[str, Array], model: ModelDescription
    ) -> Iterator[Mapping[str, Array]]:
        rows = _rows(arrays)
        step = self._rows_in_one_query(arrays, model, rows)
        if step is None or rows is None or step >= rows:
            yield arrays
            return
        for first in range(0, rows, step):
            yield {name: array[first : first + step] for name, array in arrays.items()}

    def _rows_in_one_query(
        self, arrays: Mapping[str, Array], model: ModelDescription, rows: int | None
    ) -> int | None:
        """Return how many rows fit, or None where inputs cannot be cut by rows."""
        first = {spec.shape[:1] for spec in (*model.inputs, *model.outputs)}
        if rows is None or rows == 0 or len(first) != 1:
            return None
        ((size,),) = first
        if size > 0:
            return size if rows % size == 0 else None
        one = max(sum(array.nbytes for array in arrays.values()) // rows, 1)
        step = max(self._batch_bytes // one, 1)
        if self._answer_bytes is None:
            return step
        room = self._answer_bytes(_target(model)) - _ANSWER_HEAD_BYTES
        return max(min(step, room // _row_bytes(model)), 1)

    def _only_model(self) -> str:
        names = self._get("/v2").get("models", [])  # who lists none is asked by name
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _odd(self._channel.where)
        if len(names) != 1:
            shown = ", ".join(_clean(name) for name in names[:_MOST_NAMES]) or "none listed"
            raise ConfigError(
                "the server has not one model alone; say which",
                code="config.missing",
                hint=f"model=… in Python, --model … on the command line; it has: {shown}",
            )
        return str(names[0])

    def _get(self, target: str) -> dict[str, Any]:
        response = self._channel.exchange(HTTPRequest("GET", target, {}, b""))
        _require_ok(response, self._channel.where)
        try:
            record = json.loads(response.body)
        except (ValueError, RecursionError) as e:
            raise _odd(self._channel.where) from e
        if not isinstance(record, dict):
            raise _odd(self._channel.where)
        return record


class Client(ModelClient):
    """A client of one server. It may be shared between threads; queries go one at a time."""

    def __init__(
        self,
        url: str,
        *,
        trust: str | Path | bytes,
        identity: str,
        model: str | None = None,
        credential: Credential | None = None,
        timeout_s: float = 30.0,
        batch_bytes: int = _BATCH_BYTES,
    ) -> None:
        """Say who is to be asked; nothing is opened yet.

        Args:
            url: `https://host:port`; only a way to get there.
            trust: The trust domain's `domain.json`, as a path; or its CA certificate, as PEM bytes.
            identity: SPIFFE ID that the server must prove; the instance may be `*`.
            model: The model's name; may be left out where the server has one model.
            credential: The client's own certificate, where the server asks for one.
            timeout_s: For each exchange, connecting included.
            batch_bytes: Larger inputs are sent in several queries, cut along the first axis.

        Raises:
            ConfigError: An argument that cannot be meant.
        """
        expected = read_identity(identity)
        context = client_context(
            ca_pem=trust if isinstance(trust, bytes) else authority_of(Path(trust), expected),
            expected=expected,
            credential=credential,
            clock=_now,
        )
        channel = Channel(
            _address(url),
            context=context,
            timeout_s=timeout_s,
            max_response_bytes=_MAX_RESPONSE_BYTES,
        )
        super().__init__(channel, model=model, batch_bytes=batch_bytes)


def _arrays(inputs: Any, model: ModelDescription) -> dict[str, Array]:
    if not isinstance(inputs, Mapping):
        if len(model.inputs) != 1:
            names = ", ".join(spec.name for spec in model.inputs)
            raise ConfigError(f"the model takes arrays by name: {names}", code="config.value")
        inputs = {model.inputs[0].name: inputs}
    if set(inputs) != {spec.name for spec in model.inputs}:
        names = ", ".join(spec.name for spec in model.inputs)
        raise ConfigError(f"the model takes {names}", code="config.value")
    return {spec.name: _fitting(np.asarray(inputs[spec.name]), spec) for spec in model.inputs}


def _fitting(array: Array, spec: TensorSpec) -> Array:
    wanted = DATATYPES[spec.datatype]
    if not np.can_cast(array.dtype, wanted, "safe"):
        raise ConfigError(
            f"input {spec.name} is {array.dtype}, and the model takes {wanted.name}",
            code="config.value",
            hint=f"convert it yourself where you mean it: .astype('{wanted.name}'), and before "
            "numpy.save where it is a file; numbers in a .json file have no type to convert",
        )
    fits = array.ndim == len(spec.shape) and all(
        want in {-1, size} for size, want in zip(array.shape[1:], spec.shape[1:], strict=True)
    )
    if not fits:
        raise ConfigError(
            f"input {spec.name} has shape {list(array.shape)}, "
            f"and the model takes {list(spec.shape)}",
            code="config.value",
            hint="an example alone needs a first axis: array[None]"
            if array.ndim == len(spec.shape) - 1
            else None,
        )
    return array.astype(wanted, copy=False)


def _target(model: ModelDescription) -> str:
    return f"/v2/models/{quote(model.name, safe='')}/infer"


def _row_bytes(model: ModelDescription) -> int:
    """How long one row of every output is, in binary."""
    sizes = {name: dtype.itemsize for name, dtype in DATATYPES.items()}
    rows = (
        math.prod(spec.shape[1:]) * sizes.get(spec.datatype, _TEXT_BYTES) for spec in model.outputs
    )
    return max(sum(rows), 1)


def _rows(arrays: Mapping[str, Array]) -> int | None:
    rows = {array.shape[0] if array.ndim else None for array in arrays.values()}
    return rows.pop() if len(rows) == 1 else None


def _description(record: Mapping[str, Any], name: str) -> ModelDescription:
    try:
        return ModelDescription(
            name,
            str(record["platform"]),
            _specs(record["inputs"]),
            _specs(record["outputs"]),
        )
    except (KeyError, TypeError, MalformedError) as e:
        raise RemoteProtocolError(
            "the server describes its model in no way that is known", code="protocol.remote"
        ) from e


def _specs(items: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    specs: list[TensorSpec] = []
    for item in items:
        name, datatype = item["name"], item["datatype"]
        if not isinstance(name, str) or datatype not in {*DATATYPES, TEXTS} or not items:
            raise TypeError("not a tensor")
        open_axes = [size == -1 for size in item["shape"]]
        sizes = [0 if size == -1 else size for size in item["shape"]]
        shape = read_shape(sizes, name=name)
        pairs = zip(open_axes, shape, strict=True)
        specs.append(TensorSpec(name, datatype, tuple(-1 if free else n for free, n in pairs)))
    return tuple(specs)


def _require_ok(response: HTTPResponse, where: str) -> None:
    if response.status == _OK:
        return
    sentence = _sentence(response.body)
    if response.status == _BUSY:
        raise UnavailableError(sentence, code="server.busy")
    if response.status == _LATE:
        raise UnavailableError(sentence, code="server.late")
    if response.status in _CLIENT_ERRORS:
        raise ConfigError(f"the server refused the query: {sentence}", code="config.value")
    raise RemoteProtocolError(f"the server at {where} failed: {sentence}", code="protocol.remote")


def _sentence(body: bytes) -> str:
    try:
        record = json.loads(body[:65536])
    except (ValueError, RecursionError):
        record = None
    text = record.get("error") if isinstance(record, dict) else None
    return _clean(str(text)) if text else "no reason given"


def _clean(text: str) -> str:
    """Return what a server says as one line of moderate length."""
    return "".join(c if c.isprintable() else " " for c in text[:500])


def _odd(where: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"the server at {where} answered in no way that is known", code="protocol.remote"
    )


def read_identity(uri: str) -> Identity:
    """Read the SPIFFE ID that a server must prove (`config.value`)."""
    try:
        return Identity.from_uri(uri)
    except CloisterError as e:
        raise ConfigError(
            "an identity is spiffe://<trust domain>/<namespace>/<policy>/<role>/<instance or *>",
            code="config.value",
        ) from e


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise ConfigError("not a URL", code="config.value") from e
    if parts.scheme != "https" or not host or port is None or parts.path not in {"", "/"}:
        raise ConfigError("a server's URL is https://host:port", code="config.value")
    return host, port


def authority_of(path: Path, expected: Identity) -> bytes:
    """Return the CA of the trust domain that `domain.json` describes, as PEM.

    Raises:
        ConfigError: It describes none (`config.file`).
        IdentityError: It is another domain than the one of the identity (`identity.peer`).
    """
    try:
        with path.open("rb") as file:
            facts = json.loads(file.read(_MAX_DOMAIN_BYTES))
        ca, name = facts["ca"], facts["name"]
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise ConfigError(f"{path} is not a trust domain", code="config.file") from e
    if not isinstance(ca, str) or not isinstance(name, str):
        raise ConfigError(f"{path} is not a trust domain", code="config.file")
    if name != expected.trust_domain:
        raise IdentityError(
            f"{path} is the trust domain {name}, and the identity is of {expected.trust_domain}",
            code="identity.peer",
        )
    return ca.encode()


def _now() -> int:
    return int(time.time())  # noqa: TID251  # the caller's process is this module's edge
