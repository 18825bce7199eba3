"""`cloister source`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from cloister.cli import source
from cloister.cli.main import app
from cloister.crypto.digest import digest_to_text
from cloister.errors import CloisterError
from cloister.keyservice.policy import parse_policy
from cloister.keyservice.policy.secret_rules import ExportedToService
from cloister.keyservice.source_store import SourceStore
from cloister.testing.keyservice import ServiceBench
from cloister.testing.secrets import EXTERNAL, secret_policy
from unit.cli.conftest import Door


@pytest.fixture
def place(door: Door) -> list[str]:
    """The words that say where."""
    (door.folder / "ca.pem").write_bytes(door.bench.domain.ca)
    return ["lab", "vault", "--address", "vault.example:8200", "--ca", str(door.folder / "ca.pem")]


def test_a_source_is_added_from_a_file_listed_and_removed(door: Door, place: list[str]) -> None:
    """Its token is one line of a file, and is in no answer."""
    (door.folder / "token").write_bytes(b"hvs.planted\n")
    found = door.record("source", "add", *place, "--token-file", "token")
    assert found == {"namespace": "lab", "source": "vault", "address": "vault.example:8200"}
    held = SourceStore(door.bench.store).source("lab", "vault")
    assert held is not None
    assert held.token == b"hvs.planted"
    listed = door.record("source", "list", "lab")
    assert [each["name"] for each in listed["sources"]] == ["vault"]
    assert "planted" not in str(listed)
    assert door.record("source", "remove", "lab", "vault") == {
        "namespace": "lab",
        "source": "vault",
    }
    assert door.record("source", "list", "lab")["sources"] == []


def test_a_token_comes_from_standard_input(door: Door, place: list[str]) -> None:
    """Never from an argument, where other processes could read it."""
    done = CliRunner().invoke(app, ["source", "add", *place], input=b"hvs.planted\n")
    assert done.exit_code == 0, done.output
    assert "planted" not in done.output
    assert "source vault of lab" in done.output
    held = SourceStore(door.bench.store).source("lab", "vault")
    assert held is not None
    assert held.token == b"hvs.planted"


def test_a_person_types_a_token_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, which the terminal does not show."""
    asked: list[object] = []

    def prompt(what: str, *, hide_input: bool) -> str:
        asked.append((what, hide_input))
        return "typed"

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(typer, "prompt", prompt)
    assert source._token(None, 10) == b"typed"
    assert asked == [("token", True)]


def test_people_see_what_is_wanted_and_why_it_is_not_there(door: Door, place: list[str]) -> None:
    """Before a try, and after one."""
    (door.folder / "token").write_bytes(b"hvs.planted")
    done = door.call("source", "add", *place, "--token-file", "token")
    assert done.exit_code == 0
    door.bench.apply(secret_policy(door.bench, secrets=EXTERNAL))
    assert "not tried yet" in door.call("source", "list", "lab").output
    (errand,) = door.bench.service.external.errands()
    door.bench.service.external.note_trouble(errand, code="source.refused", message="answered 403")
    shown = door.call("source", "list", "lab").output
    assert "lab/keeper/db@1" in shown
    assert "source.refused" in shown
    assert "is gone" in door.call("source", "remove", "lab", "vault").output


@pytest.mark.parametrize("size", [None, 20_000])
def test_an_authority_that_cannot_be_read_is_refused(door: Door, size: int | None) -> None:
    """Missing, or longer than any."""
    ca = door.folder / "other.pem"
    if size is not None:
        ca.write_bytes(b"x" * size)
    done = door.call("source", "add", "lab", "vault", "--address", "v:1", "--ca", Path(ca))
    assert isinstance(done.exception, CloisterError)
    assert done.exception.code == "config.file"


def test_another_key_service_is_pinned_from_its_public_facts(door: Door, tmp_path: Path) -> None:
    """As its owner gave them; listed for people and programs, and removed."""
    other = ServiceBench.create(tmp_path, "far.test")
    given = tmp_path / "given"
    given.mkdir()
    (given / "domain.json").write_bytes((other.domain.directory / "domain.json").read_bytes())
    words = ["lab", "partner", "--address", "far.test:8400", "--of", str(given)]
    found = door.record("source", "pin", *words)
    assert found == {
        "namespace": "lab",
        "source": "partner",
        "address": "far.test:8400",
        "trust_domain": "far.test",
        "service": other.domain.identity.text,
    }
    assert "far.test at far.test:8400" in door.call("source", "pin", *words).output
    held = SourceStore(door.bench.store).service("lab", "partner")
    assert held is not None
    assert (held.reference, held.hpke_key) == (other.domain.service, other.domain.hpke.raw)
    (listed,) = door.record("source", "list", "lab")["services"]
    assert (listed["name"], listed["trust_domain"]) == ("partner", "far.test")
    shown = door.call("source", "list", "lab").output
    assert "partner" in shown
    assert "far.test" in shown
    assert door.call("source", "remove", "lab", "partner").exit_code == 0
    assert door.record("source", "list", "lab")["services"] == []
    other.close()


def test_an_entry_is_what_the_other_policy_takes(door: Door) -> None:
    """Pasted under `export` as it is."""
    done = door.call("source", "entry", "lab", "keeper", "--lifetime", "3600")
    assert done.exit_code == 0, done.output
    secrets = f"\n  key: {{symmetric: {{bytes: 16}}, export: [{done.output.strip()}]}}\n"
    text = secret_policy(door.bench, name="source", secrets=secrets)
    (entry,) = (parse_policy(text.encode(), source="p").secrets or {})["key"].export or ()
    assert isinstance(entry, ExportedToService)
    assert entry.service == door.bench.domain.identity.text
    assert (entry.namespace, entry.policy, entry.lifetime) == ("lab", "keeper", 3600)
    assert entry.measurement == (digest_to_text(door.bench.domain.service.measurements[0]),)
