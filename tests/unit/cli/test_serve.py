"""`cloister serve`: a policy where there is none, and a start where there is one."""

from __future__ import annotations

from typing import Any

import pytest

from cloister.cli import run, settings
from cloister.errors import ConfigError
from cloister.keyservice.policy import parse_policy
from cloister.launcher.code import read_code
from cloister.launcher.local import LocalFacts
from cloister.testing.keyservice import policy_text
from cloister.volume.opening import create_volume
from unit.cli.conftest import Door

_FACTS = LocalFacts("ed25519:" + "ab" * 32, b"l" * 32, b"r" * 32, 1)


@pytest.fixture
def drafted(door: Door, monkeypatch: pytest.MonkeyPatch) -> Door:
    """A policy was written for a catalogue."""
    monkeypatch.setattr(settings, "measure_local", lambda *_, **__: _FACTS)
    create_volume(door.folder / "models", b"k" * 32)
    found = door.call("serve", "models", "--catalogue", "--any-client", "a test of serving")
    assert found.exit_code == 0, found.output
    assert "cloister policy apply serve.yaml" in found.stdout
    return door


def test_a_policy_is_written_for_a_model_server(drafted: Door) -> None:
    """Newest state of the volume, one listener, the server's words, and code that is fixed."""
    policy = parse_policy((drafted.folder / "serve.yaml").read_bytes(), source="serve.yaml")
    role = policy.workloads["serve"]
    assert tuple(role.command[2:]) == ("cloister.inference.server", "--models", "/models")
    assert role.listen["predict"].port == 8443
    assert policy.volumes["models"].root == "latest"
    digest = read_code(drafted.folder / "serve-code").digest().hex()
    assert f"sha256:{digest}" in (drafted.folder / "serve.yaml").read_text()


def test_a_policy_that_is_in_force_is_the_predecessor(drafted: Door) -> None:
    """A mistake is corrected by deleting the file and writing it anew; the code's place is told."""
    assert "predecessor: none" in (drafted.folder / "serve.yaml").read_text()
    applied = drafted.record("policy", "apply", "serve.yaml")
    (drafted.folder / "serve.yaml").unlink()
    found = drafted.call("serve", "models", "--catalogue", "--any-client", "another reason")
    assert found.exit_code == 0, found.output
    assert applied["hash"] in (drafted.folder / "serve.yaml").read_text()
    assert "serve-code" in found.stdout
    drafted.record("policy", "apply", "serve.yaml")


def test_a_policy_that_is_there_is_started(drafted: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the code that was written beside it; clients are told three lines."""
    started: list[dict[str, Any]] = []

    def command(file: Any, **more: Any) -> None:
        started.append({"file": file, **more})
        for piece in (
            b"model loaded version=dig",
            b"its/1\nserving po",
            b"rt=8443\nserving port=1\n",
        ):
            run._WATCHER.get()(piece)

    monkeypatch.setattr(run, "command", command)
    found = drafted.call("serve", "--host", "127.0.0.9")
    assert found.exit_code == 0, found.output
    [request] = started
    assert (str(request["file"]), request["workload"]) == ("serve.yaml", "serve")
    assert (str(request["code"]), request["host"]) == ("serve-code", "127.0.0.9")
    assert found.stderr.count('Client("https://127.0.0.9:8443", trust="') == 1
    assert f'{drafted.bench.domain.directory}/domain.json"' in found.stderr
    assert '/default/serve/serve/*", model="digits")' in found.stderr


def test_a_server_that_does_not_come_up_is_not_advertised(
    drafted: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients are told nothing before the model is served."""
    monkeypatch.setattr(run, "command", lambda *_, **__: None)
    found = drafted.call("serve")
    assert found.exit_code == 0, found.output
    assert "Client(" not in found.stderr


def test_every_word_of_run_is_said() -> None:
    """What `cloister run` takes is passed on, and nothing that it does not take."""
    import inspect  # noqa: PLC0415  # only here

    from cloister.cli import serve  # noqa: PLC0415  # only here

    source = inspect.getsource(serve._run)
    for name in list(inspect.signature(run.command).parameters)[1:]:
        assert f"{name}=" in source


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("models", "--catalogue"), "config.exists"),
        (("--policy", "none.yaml"), "config.missing"),
        (("models", "--policy", "new.yaml", "--catalogue"), "config.value"),
        (("models", "--policy", "new.yaml"), "config.missing"),
        (("--policy", "other.yaml"), "config.value"),
    ],
)
def test_words_that_cannot_be_meant(drafted: Door, arguments: tuple[str, ...], code: str) -> None:
    """A volume for a policy that is there, none for one that is not, nobody who may ask."""
    (drafted.folder / "other.yaml").write_text(policy_text(drafted.bench))
    found = drafted.call("serve", *arguments)
    assert isinstance(found.exception, ConfigError)
    assert found.exception.code == code
    assert not (drafted.folder / "new.yaml").exists()
