"""`cloister secret`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from cloister.cli import secret
from cloister.cli.main import app
from cloister.keyservice.secret_store import SecretStore
from cloister.testing.secrets import EVERY_KIND, EXTERNAL, secret_policy
from unit.cli.conftest import Door


@pytest.fixture
def policy(door: Door) -> Path:
    """A policy with secrets of every kind, applied."""
    file = door.folder / "policy.yaml"
    text = secret_policy(
        door.bench, secrets=EVERY_KIND, environment='{A: "${secret:db}${secret:token}"}'
    )
    file.write_text(text)
    door.record("policy", "apply", file)
    return file


def test_a_value_is_put_from_a_file_and_listed_without_it(door: Door, policy: Path) -> None:
    """Byte for byte; the list has kinds, epochs and public parts."""
    (door.folder / "value").write_bytes(b"planted\n")
    found = door.record("secret", "put", policy, "token", "--file", "value")
    assert found == {"policy": "lab/keeper", "secret": "token", "epoch": 1}
    record = door.record("secret", "list", policy)
    assert "planted" not in str(record)
    kinds = {secret["name"]: (secret["kind"], secret["present"]) for secret in record["secrets"]}
    assert kinds["token"] == ("opaque", True)
    assert kinds["ca"] == ("authority", True)
    ca = next(secret for secret in record["secrets"] if secret["name"] == "ca")
    assert ca["public"]["certificate"].startswith("-----BEGIN CERTIFICATE-----")


def test_a_value_is_put_from_standard_input(door: Door, policy: Path) -> None:
    """Byte for byte; never from an argument, where other processes could read it."""
    runner = CliRunner()
    done = runner.invoke(app, ["secret", "put", str(policy), "token"], input=b"planted\x00\n")
    assert done.exit_code == 0
    assert "planted" not in done.output
    held = SecretStore(door.bench.store).secret("lab", "keeper", "token", 1)
    assert held is not None
    assert held.parts["value"] == b"planted\x00\n"


def test_a_person_types_a_value_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, which the terminal does not show."""
    asked: list[object] = []

    def prompt(what: str, *, hide_input: bool) -> str:
        asked.append((what, hide_input))
        return "typed"

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(typer, "prompt", prompt)
    assert secret._value(None, 10, what="token") == b"typed"
    assert asked == [("token", True)]


def test_people_get_a_table(door: Door, policy: Path) -> None:
    """With what has still to be put."""
    shown = door.call("secret", "list", policy).stdout
    assert "to be put" in shown
    assert "password" in shown
    (door.folder / "value").write_bytes(b"planted")
    assert "epoch 1" in door.call("secret", "put", policy, "token", "-f", "value").stdout


@pytest.mark.parametrize(
    ("name", "size", "code"),
    [
        ("token", 0, "config.value"),
        ("token", 65537, "config.value"),
        ("token", 4097, "message.malformed"),
        ("db", 1, "config.missing"),
        ("nobody", 1, "config.missing"),
    ],
)
def test_a_value_that_the_policy_does_not_want_is_refused(
    door: Door, policy: Path, name: str, size: int, code: str
) -> None:
    """By length, kind or name."""
    (door.folder / "value").write_bytes(b"x" * size)
    found = door.call("secret", "put", policy, name, "--file", "value")
    assert getattr(found.exception, "code", None) == code


def test_a_file_that_cannot_be_read_is_named(door: Door, policy: Path) -> None:
    """`config.file`."""
    found = door.call("secret", "put", policy, "token", "--file", "nowhere")
    assert getattr(found.exception, "code", None) == "config.file"


def test_show_names_secrets_by_kind(door: Door, policy: Path) -> None:
    """Their values are in no policy."""
    shown = door.call("policy", "show", policy).stdout
    assert "db: password, epoch 1" in shown


def test_people_see_what_is_still_to_be_fetched(door: Door) -> None:
    """Nobody has to put it."""
    file = door.folder / "external.yaml"
    file.write_text(secret_policy(door.bench, secrets=EXTERNAL))
    door.record("policy", "apply", file)
    assert "to be" in door.call("secret", "list", file).stdout
    assert "put" not in door.call("secret", "list", file).stdout
