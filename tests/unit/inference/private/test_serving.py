"""The options of a private server."""

import argparse
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, ReleaseDeniedError
from cloister.inference.private.channel import Pins, PrivateChannel
from cloister.inference.private.gate import CODE_FIELD
from cloister.inference.private.keys import PrivateKeys, read_keys
from cloister.inference.private.request_auth import Principal
from cloister.inference.private.serving import OUTER_CLIENTS, add_options, checked, gate_of
from cloister.inference.service import HTTPRequest, InferenceService
from cloister.inference.tensor import TensorSpec
from cloister.launcher.desk import Desk as LaunchersDesk
from cloister.launcher.passed_desk import Desk
from cloister.testing.certificates import POLICY_HASH, FakeDomain
from cloister.testing.private import NOW, Doubling, served
from cloister.testing.serving import write_identity

DOMAIN = FakeDomain("clinic.example", at=NOW)
KEY = SigningKey(bytes(range(32)))
ALICE = "alice=" + KEY.public.text


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-request-bytes", type=int, default=1 << 20)
    add_options(parser)
    return checked(parser.parse_args(words))


def gate(tmp_path: Path, *words: str, clients: Any = OUTER_CLIENTS) -> Any:
    folder = tmp_path / "identity"
    if not folder.exists():
        write_identity(folder, DOMAIN.credential("serve"), ca_pem=DOMAIN.ca_pem)
    return gate_of(
        InferenceService({"a": Doubling(), "b": Doubling()}),
        options("--private", *words),
        clients=clients,
        identity=folder,
        models=["a", "b"],
        clock=lambda: NOW,
    )


def statement(found: Any) -> PrivateKeys:
    shown = found.handle(HTTPRequest("GET", "/private/keys", {}, b""))
    return PrivateKeys.from_bytes(read_keys(shown.body)[0])


def test_what_the_arguments_say_is_in_the_keys(tmp_path: Path) -> None:
    """Sizes for all and for one, limits and lifetime."""
    made = gate(
        tmp_path, "--asker", ALICE, "--answer-bytes", "2048", "--answer-bytes", "b=4096",
        "--key-lifetime", "600",
    )  # fmt: skip
    keys = statement(made)
    assert dict(keys.sizes.models) == {"a": 2048, "b": 4096}
    assert (keys.sizes.other, keys.request_bytes) == (2048, 1 << 20)
    assert keys.not_after - keys.not_before == 600


@pytest.mark.spec("PQ-24")
def test_somebody_may_ask(tmp_path: Path) -> None:
    """A principal of the arguments or a client of the listener's rule; nobody is an error."""
    assert statement(gate(tmp_path, clients=(DOMAIN.identity("client"),)))
    with pytest.raises(ConfigError) as found:
        gate(tmp_path)
    assert found.value.code == "config.missing"


@pytest.mark.spec("PQ-25")
@pytest.mark.parametrize(
    "words",
    [
        ["--asker", ALICE, "--asker", "alice=" + SigningKey(bytes(32)).public.text],
        ["--asker", ALICE, "--asker", ALICE],
        ["--asker", "alice"],
        ["--asker", ALICE[:-1]],
        ["--asker", "spiffe://a=" + ALICE.partition("=")[2]],
        ["--asker", ALICE, "--answer-bytes", "1000"],
        ["--asker", ALICE, "--answer-bytes", "c=2048"],
        ["--asker", ALICE, "--answer-bytes", "a="],
        ["--asker", ALICE, "--answer-bytes", "1e9"],
        ["--asker", ALICE, "--key-lifetime", "59"],
        ["--asker", ALICE, "--rate", "0"],
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, words: list[str]) -> None:
    """Is refused before anything is served."""
    with pytest.raises(ConfigError) as found:
        gate(tmp_path, *words)
    assert found.value.code == "config.value"


class Wide(Doubling):
    """A model that takes long to describe."""

    inputs = tuple(TensorSpec(f"input-{number}", "FP32", (-1, 4)) for number in range(30))


def test_what_describes_a_model_has_room(tmp_path: Path) -> None:
    """A client that cannot be told what a model takes cannot ask it."""
    folder = write_identity(tmp_path / "id", DOMAIN.credential("serve"), ca_pem=DOMAIN.ca_pem)

    def start(*words: str) -> None:
        gate_of(
            InferenceService({"a": Wide()}),
            options("--private", "--asker", ALICE, *words),
            clients=OUTER_CLIENTS,
            identity=folder,
            models=["a"],
            clock=lambda: NOW,
        )

    start("--answer-bytes", "1024", "--answer-bytes", "a=4096")
    with pytest.raises(ConfigError, match="/v2/models/a") as found:
        start("--answer-bytes", "1024")
    assert found.value.code == "config.value"


def test_options_of_private_queries_need_private() -> None:
    """They would change nothing."""
    for words in (["--asker", ALICE], ["--outer-plain"], ["--budget", "q"]):
        with pytest.raises(ConfigError) as found:
            options(*words)
        assert found.value.code == "config.value"


@pytest.mark.spec("PQ-44")
def test_a_budget_is_spent_at_the_launchers_desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model is asked, in the asker's name; nothing left, and it is not asked."""
    spent: list[tuple[str, str, int]] = []

    def spend(budget: str, principal: str, amount: int) -> int:
        if len(spent) == 1:
            raise ReleaseDeniedError("nothing is left", code="budget.spent")
        spent.append((budget, principal, amount))
        return 0

    launchers = LaunchersDesk(spend)
    passed = Desk(socket.socket(fileno=os.dup(launchers.filenos()["desk"])))
    launchers.start()
    monkeypatch.setattr(Desk, "passed", lambda *_, **__: passed)
    made = gate(tmp_path, "--asker", ALICE, "--budget", "queries")
    row = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
    pins = Pins(DOMAIN.ca_pem, DOMAIN.identity("serve"), POLICY_HASH)
    with served(made) as url, passed:
        channel = PrivateChannel(
            url, pins=pins, asker=Principal("alice", KEY), clock=lambda: NOW, timeout_s=10
        )
        answers = [
            channel.exchange(HTTPRequest(method, target, {}, body))
            for method, target, body in (
                ("GET", "/v2/models/a", b""),
                ("POST", "/v2/models/a/infer", row),
                ("POST", "/v2/models/a/infer", row),
            )
        ]
        channel.close()
    launchers.close()
    assert [each.status for each in answers] == [200, 200, 403]
    assert answers[2].headers[CODE_FIELD] == "budget.spent"
    assert spent == [("queries", "alice", 1)]


def test_a_budget_needs_a_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the launcher passes where the policy says so."""
    monkeypatch.delenv("LISTEN_FDNAMES", raising=False)
    with pytest.raises(ConfigError) as found:
        gate(tmp_path, "--asker", ALICE, "--budget", "queries")
    assert found.value.code == "config.missing"
