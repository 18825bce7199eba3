"""`python -m cloister.training.federated.node`: one site's SuperNode, in a process of its own.

Started by `site`, never by hand. The SuperNode is Flower's own loop; given to it is a state that
takes no app but this workload's, and beside it stand the Runtime interface at loopback, what
starts ClientApps, and a look every few seconds whether the run is over.

How it ended is one file, written before the process ends: no file means that it ended badly.

Spec: federation-v1, clauses FED-4, FED-5 and FED-18.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn
from flwr.supercore.app_utils import start_parent_process_monitor
from flwr.supercore.fab import Fab
from flwr.supercore.object_store import ObjectStore, ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeState, NodeStateFactory
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState
from flwr.supernode.start_client_internal import start_client_internal

from cloister.errors import AppraisalError, ConfigError
from cloister.training.federated.app import App, read_app, require_same_app
from cloister.training.federated.gate import FORMAT
from cloister.training.federated.logs import log_to_stdout
from cloister.training.federated.tasks import Tasks

__all__ = ["Ending", "OwnAppOnly", "main"]

_LOOK_S: Final = 2.0
_START_S: Final = 30.0
_MAX_ANSWER: Final = 4096
_LOG: Final = logging.getLogger("cloister.federated")


class Ending:
    """The first reason for which a site ends; later ones do not replace it."""

    def __init__(self, place: Path) -> None:
        """Keep where it is written."""
        self._place = place
        self._lock = threading.Lock()
        self._known = False

    def note(self, record: dict[str, Any]) -> None:
        """Write a reason, if there is none yet."""
        with self._lock:
            if not self._known:
                self._known = True
                part = self._place.with_suffix(".part")
                part.write_text(json.dumps(record), "utf-8")
                part.replace(self._place)


class OwnAppOnly(InMemoryNodeState):
    """Flower's state of a SuperNode, which takes one app with one set of settings.

    Flower stores run and app before it does anything with either: an error here ends its loop.

    Spec: FED-4, FED-5.
    """

    def __init__(self, store: ObjectStore, *, own: App, ending: Ending) -> None:
        """Keep what may run."""
        super().__init__(store)
        self._own = own
        self._ending = ending

    def store_run(self, run: Run) -> None:
        """Take a run of this app with these settings."""
        self._require(content=None, digest=run.fab_hash, settings=run.override_config)
        super().store_run(run)

    def store_fab(self, fab: Fab) -> str:
        """Take this app's bundle, whatever it is called."""
        self._require(content=fab.content, digest=fab.hash_str, settings=self._own.settings)
        return str(super().store_fab(fab))

    def _require(self, *, content: bytes | None, digest: str, settings: Any) -> None:
        try:
            require_same_app(self._own, content=content, digest=digest, settings=dict(settings))
        except AppraisalError as e:
            self._ending.note({"ended": "refused"} | e.as_record())
            raise


class _Factory(NodeStateFactory):
    """Gives the one state that there is."""

    def __init__(self, *, own: App, ending: Ending) -> None:
        objects = ObjectStoreFactory()
        super().__init__(objectstore_factory=objects)
        self.own = OwnAppOnly(objects.store(), own=own, ending=ending)
        self.state_instance = self.own

    def state(self) -> NodeState:
        return self.own


def main(arguments: Sequence[str]) -> int:
    """Take part until the run is over; the arguments are one JSON object, from `site`."""
    log_to_stdout()
    options = json.loads(arguments[0])
    home = Path(options["home"])
    ending = Ending(home / "ending.json")
    try:
        own = read_app(Path(options["app"]), options["settings"])
    except ConfigError as e:
        ending.note({"ended": "no-app"} | e.as_record())
        return e.exit_status
    _LOG.info("app %s %s %s", own.name, own.version, own.digest[:16])
    start_parent_process_monitor(os.getppid())
    factory = _Factory(own=own, ending=ending)
    server, address = _serve(factory)
    tasks = Tasks(
        address, "flwr-clientapp", home=home, folder=home / "work", environment=os.environ
    )
    watch = threading.Thread(
        target=_watch,
        args=(f"http://{options['link']}/v1/cloister/sites/{options['index']}", ending),
        name="watch",
        daemon=True,
    )
    watch.start()
    try:
        start_client_internal(
            state_factory=factory,
            server_address=options["link"],
            node_config=options["node"],
            insecure=True,
            max_wait_time=options["wait"],
            isolation="process",
            runtime_api_address=address,
            runtime_dependency_install=False,
        )
    except SystemExit:
        pass  # Flower ends processes by itself; what `ending` holds decides
    finally:
        ending.note({"ended": "lost"})
        tasks.stop()
        server.should_exit = True
    return 0


def _serve(factory: NodeStateFactory) -> tuple[uvicorn.Server, str]:
    """Serve the Runtime interface, at loopback, for the ClientApps of this site."""
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    config = uvicorn.Config(
        create_app(state_factory=factory), log_config=None, access_log=False, proxy_headers=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="runtime", daemon=True
    )
    thread.start()
    begin = time.monotonic()
    while not server.started:
        if not thread.is_alive() or time.monotonic() - begin > _START_S:
            raise RuntimeError("the Runtime interface did not start")
        time.sleep(0.05)
    return server, f"{host}:{port}"


def _watch(url: str, ending: Ending) -> None:
    """Ask the link how the run is, and end this process when it is over."""
    with httpx.Client(timeout=_LOOK_S * 5, trust_env=False) as client:
        while True:
            state = _ask(client, url)
            if state in {"completed", "failed"}:
                ending.note({"ended": state})
                os.kill(os.getpid(), signal.SIGTERM)
                return
            time.sleep(_LOOK_S)


def _ask(client: httpx.Client, url: str) -> str:
    try:
        answer = client.get(url)
        found = json.loads(answer.content[:_MAX_ANSWER])
        if answer.status_code == httpx.codes.OK and found.get("format") == FORMAT:
            return str(found.get("run"))
    except (httpx.HTTPError, ValueError, AttributeError):
        pass  # the SuperNode's own calls meet the same, and it gives up in its time
    return "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
