"""Flower's SuperLink in this process, behind the gate, and the little that is asked of it.

Spec: federation-v1, clauses FED-7 and FED-10.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import flwr.superlink.main as flower
import uvicorn
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest, StopRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.transport_pb2 import Scalar as ScalarMessage
from flwr.supercore.constant import NOOP_FEDERATION_ID
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from google.protobuf.message import DecodeError

from cloister.errors import UnavailableError
from cloister.training.federated.app import App, Scalar
from cloister.training.federated.gate import Gate

__all__ = ["RunState", "SuperLink"]

_START_S: Final = 30.0
_STEP_S: Final = 0.05
_STOP_S: Final = 10.0
_ONLINE: Final = "online"
_LOG: Final = logging.getLogger(__name__)
# Sites ask every two seconds.
_PRESENT_S: Final = 8.0


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run is.

    Attributes:
        over: Whether it has ended.
        completed: Whether it ended well.
        details: Flower's words about an end that was not.
    """

    over: bool
    completed: bool
    details: str


class SuperLink:
    """Serves from construction until `stop`.

    Attributes:
        address: Where the workload's own processes reach all of it.
    """

    def __init__(self, outer: socket.socket, *, sites: int, most: int) -> None:
        """Start serving.

        Args:
            outer: Where sites connect; listening already.
            sites: How many there are to be.
            most: The longest body from a site, in bytes.

        Raises:
            UnavailableError: `federated.link`: it did not start.
        """
        inner = socket.create_server(("127.0.0.1", 0))
        host, port = inner.getsockname()
        self.address: Final = f"{host}:{port}"
        self._failed: dict[int, int] = {}
        self._seen: dict[int, float] = {}
        self._sites = sites
        self._told = "waiting"
        application = flower.create_app()
        self._state: Any = application.state.linkstate_factory.state()
        gate = Gate(
            application,
            inner=(host, port),
            most=most,
            on_replies=self._look,
            on_site=self._greet,
        )
        config = uvicorn.Config(
            gate,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [outer, inner]}, name="superlink"
        )
        self._thread.start()
        self._await_start()
        self._client: Any = ControlHttpClient.from_server_address(
            self.address,
            insecure=True,
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr")],
        )

    def sites(self) -> tuple[int, ...]:
        """Return the numbers of the sites that asked within the last seconds."""
        now = time.monotonic()
        return tuple(sorted(site for site, at in list(self._seen.items()) if now - at < _PRESENT_S))

    def tell(self, state: str) -> None:
        """Have sites that ask be told `waiting`, `running`, `completed` or `failed`."""
        self._told = state

    def nodes(self) -> frozenset[int]:
        """Return Flower's own numbers of the sites that are connected."""
        found = self._state.get_node_info(statuses=[_ONLINE])
        return frozenset(node.node_id for node in found)

    def failed(self) -> dict[int, int]:
        """Return how often which of Flower's numbers answered with an error, if ever."""
        return dict(self._failed)

    def start_run(self, app: App) -> int:
        """Start the one run; returns its number."""
        answer = self._client.StartRun(
            StartRunRequest(
                fab=Fab(hash_str=app.digest, content=app.bundle),
                override_config={key: _message(value) for key, value in app.settings.items()},
                federation=NOOP_FEDERATION_ID,
            )
        )
        return int(answer.run_id)

    def run_state(self, run: int) -> RunState:
        """Look how a run is doing."""
        status = self._client.ListRuns(ListRunsRequest(run_id=run)).run_dict[run].status
        over = status.status == "finished"
        return RunState(over, over and status.sub_status == "completed", str(status.details))

    def stop_run(self, run: int) -> None:
        """Have a run end; its processes are told."""
        self._client.StopRun(StopRunRequest(run_id=run))

    def stop(self) -> None:
        """Stop serving."""
        self._client.close()
        self._server.should_exit = True
        self._thread.join(_STOP_S)

    def _await_start(self) -> None:
        begin = time.monotonic()
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() - begin > _START_S:
                self._server.should_exit = True
                raise UnavailableError("the SuperLink did not start", code="federated.link")
            time.sleep(_STEP_S)

    def _greet(self, site: int) -> str | None:
        if site >= self._sites:
            return None
        self._seen[site] = time.monotonic()
        return self._told

    def _look(self, body: bytes) -> None:
        """Note who answers with an error; what does not parse is the SuperLink's to refuse."""
        try:
            request: Any = PushMessagesRequest.FromString(body)
        except DecodeError:
            return
        errors = sum(message.HasField("error") for message in request.messages_list)
        if errors:
            node = int(request.node.node_id)
            self._failed[node] = self._failed.get(node, 0) + errors
            # What it says came from a hospital; Flower's own log shows it where the app lets it.
            _LOG.info("a site answered with an error")


def _message(value: Scalar) -> Any:
    if isinstance(value, bool):
        return ScalarMessage(bool=value)
    if isinstance(value, int):
        return ScalarMessage(sint64=value)
    if isinstance(value, float):
        return ScalarMessage(double=value)
    return ScalarMessage(string=value)
