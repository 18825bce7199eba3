"""A federation in one process: Flower's own apps, strategies and mods, without its network.

What Flower's SuperLink and SuperNodes do is hand messages around. This hands them from a ServerApp
straight to ClientApps, so that a strategy, a mod or an attack is tried in milliseconds. Arrays
cross as Flower's own bytes, so that what cannot be sent fails here as it would there.
"""

from __future__ import annotations

import sys
import tomllib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from flwr.app import Context, Message, RecordDict
from flwr.app.error import Error
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.serverapp.grid import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = ["Alteration", "LocalGrid", "importing", "run_locally"]

_RUN: Final = 1
# What a node sends instead of its answer; for sites that lie.
Alteration = Callable[[Message], Message]


class LocalGrid(Grid):
    """Flower's interface between a ServerApp and its nodes, with the nodes behind it.

    Attributes:
        sent: Every answer, as the ServerApp got it.
    """

    def __init__(
        self,
        client: Callable[[Message, Context], Message],
        nodes: Sequence[Mapping[str, Any]],
        *,
        settings: Mapping[str, Any],
        altered: Mapping[int, Alteration],
    ) -> None:
        """Have one node for each node configuration, numbered from 1."""
        self._client = client
        self._contexts = {
            number: Context(
                run_id=_RUN,
                node_id=number,
                node_config=dict(config),
                state=RecordDict(),
                run_config=dict(settings),
            )
            for number, config in enumerate(nodes, 1)
        }
        self._altered = altered
        self._answers: dict[str, Message] = {}
        self.sent: list[Message] = []

    def set_run(self, run: Run) -> None:
        """There is one run only."""

    @property
    def run(self) -> Run:
        """The one run."""
        return Run.create_empty(_RUN)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message as Flower does."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return all nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Have each node answer at once."""
        return [self._deliver(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Give out answers, each once."""
        known = [each for each in message_ids if each in self._answers]
        return [self._answers.pop(each) for each in known]

    def send_and_receive(
        self,
        messages: Iterable[Message],
        *,
        timeout: float | None = None,  # noqa: ARG002  # Flower's signature
    ) -> Iterable[Message]:
        """Push, then pull."""
        return self.pull_messages(self.push_messages(messages))

    def _deliver(self, message: Message) -> str:
        number = uuid.uuid4().hex
        node = message.metadata.dst_node_id
        message.metadata.__dict__["_message_id"] = number
        received = message_from_proto(message_to_proto(message))
        try:
            answer = self._client(received, self._contexts[node])
        except Exception as e:  # noqa: BLE001  # as Flower does: an app's error is an answer
            answer = Message(Error(code=1, reason=str(e)), reply_to=received)
        if node in self._altered:
            answer = self._altered[node](answer)
        self._answers[number] = message_from_proto(message_to_proto(answer))
        self.sent.append(self._answers[number])
        return number


def run_locally(
    app: Path,
    nodes: Sequence[Mapping[str, Any]],
    *,
    settings: Mapping[str, Any],
    folder: Path,
    altered: Mapping[int, Alteration],
) -> LocalGrid:
    """Run a Flower app's ServerApp, in `folder`, with its ClientApp at each node.

    Args:
        app: The app's folder.
        nodes: The node configuration of each site.
        settings: Over the app's own.
        folder: Where the ServerApp writes.
        altered: What some nodes, numbered from 1, send instead of their answers.
    """
    project = tomllib.loads((app / "pyproject.toml").read_text("utf-8"))["tool"]["flwr"]["app"]
    config = project["config"] | dict(settings)
    components = project["components"]
    # Messages are made in the name of a task; here all are made by one.
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = _RUN, 0, _RUN
    with importing(app), chdir(folder):
        client = _load(components["clientapp"])
        server = _load(components["serverapp"])
        grid = LocalGrid(client, nodes, settings=config, altered=altered)
        server(
            grid,
            Context(run_id=_RUN, node_id=0, node_config={}, state=RecordDict(), run_config=config),
        )
    return grid


def _load(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


@contextmanager
def importing(app: Path) -> Iterator[None]:
    """Import from an app's folder, and forget afterwards: apps use the same names."""
    before = set(sys.modules)
    sys.path.insert(0, str(app))
    try:
        yield
    finally:
        sys.path.remove(str(app))
        for name, module in list(sys.modules.items()):
            if name not in before and str(getattr(module, "__file__", "")).startswith(str(app)):
                del sys.modules[name]
