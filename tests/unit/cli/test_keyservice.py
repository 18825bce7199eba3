"""`cloister keyservice`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloister.cli.main import app
from cloister.errors import CloisterError, ConfigError
from cloister.keyservice import server, witness_server
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.view.access import offline_id
from cloister.keyservice.view.token import ViewToken
from cloister.keyservice.view_grants import ViewGrants
from cloister.testing.keyservice import MEASUREMENT, policy_text
from unit.cli.conftest import Door


def test_status_lists_what_is_there(door: Door, plain: Path) -> None:
    """For people as tables; nothing secret is in them."""
    assert door.record("keyservice", "status") == {"policies": [], "volumes": [], "log_size": 0}
    made = door.record("volume", "seal", plain, "store")
    found = door.call("keyservice", "status")
    assert "Volumes" in found.stdout
    assert "log: 1 entries" in found.stdout
    [record] = door.record("keyservice", "status")["volumes"]
    assert record["id"] == made["id"]
    assert "key" not in record


def test_serve_runs_the_server_for_this_domain(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status is the command's."""
    calls: list[list[str]] = []
    monkeypatch.setattr(server, "main", lambda words, **_: calls.append(words) or 7)
    found = door.call("keyservice", "serve", "--listen", "127.0.0.1:0")
    assert found.exit_code == 7
    domain = str(door.bench.domain.directory)
    door.call("keyservice", "serve", "--listen", "h:1", "--database", "postgresql://u@h/d")
    door.call("keyservice", "serve", "--external-source", "v:1", "--external-source", "w:2")
    assert calls == [
        ["--domain", domain, "--listen", "127.0.0.1:0"],
        ["--domain", domain, "--listen", "h:1", "--database", "postgresql://u@h/d"],
        ["--domain", domain, "--external-source", "v:1", "--external-source", "w:2"],
    ]


def test_witness_runs_one_for_the_named_logs(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each origin with its key; the server's status is the command's."""
    calls: list[witness_server.WitnessSettings] = []
    monkeypatch.setattr(witness_server, "main", lambda found: calls.append(found) or 7)
    key = door.bench.domain.identity
    words = ("keyservice", "witness", "--state", "w", "--name", "w.example")
    found = door.call(*words, "--origin", "a/log", "--service-key", key.text)
    assert found.exit_code == 7
    assert calls == [
        witness_server.WitnessSettings(Path("w"), "w.example", "127.0.0.1:0", {"a/log": key})
    ]


@pytest.mark.parametrize(
    ("origins", "keys", "code"),
    [
        (["a"], [], "config.value"),
        (["a", "a"], ["k", "k"], "config.value"),
        (["a"], ["x"], "wire.malformed"),
    ],
)
def test_witness_wants_one_key_for_each_log(
    door: Door, origins: list[str], keys: list[str], code: str
) -> None:
    """And each log once."""
    words = ["keyservice", "witness", "--state", "w", "--name", "w"]
    text = door.bench.domain.identity.text
    words += [word for origin in origins for word in ("--origin", origin)]
    words += [word for key in keys for word in ("--service-key", text if key == "k" else key)]
    if not keys:
        words += ["--service-key", text, "--service-key", text]
    found = door.call(*words)
    assert getattr(found.exception, "code", None) == code


def test_pin_says_which_images_the_service_may_run(door: Door) -> None:
    """The owner's word after an update; the old ones go unless they are kept."""
    directory = door.bench.domain.directory
    first = door.record("keyservice", "pin", "--measurement", "sha256:" + "ab" * 32)
    assert first["pinned"] == ["sha256:" + "ab" * 32]
    assert TrustDomain.load(directory).service.measurements == (b"\xab" * 32,)
    second = door.record("keyservice", "pin", "--keep")
    assert second["before"] == first["pinned"]
    assert second["pinned"][0] == first["pinned"][0]
    assert len(second["pinned"]) == 2
    found = door.call("keyservice", "pin")
    assert "pinned   sha256:" in found.stdout


def test_pin_is_for_whoever_has_the_owners_key(door: Door) -> None:
    """Others may pin what they like in a copy of their own; here it would only mislead."""
    (door.bench.domain.directory / "owner" / "owner.key").unlink()
    found = door.call("keyservice", "pin")
    assert isinstance(found.exception, ConfigError)
    assert found.exception.code == "config.missing"


@pytest.fixture
def job(door: Door) -> Door:
    """A job with a member of each workload, and an empty one of another name."""
    bench = door.bench
    bench.register_volumes()
    policy = bench.apply(policy_text(bench, instances="instances: {maximum: 3}"))
    bench.apply(policy_text(bench, name="letters"))
    for workload in ("train", "serve"):
        bench.release_client().release(
            policy=policy,
            workload=workload,
            instance=f"{workload}-1",
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )
    return door


def test_members_lists_jobs(job: Door) -> None:
    """Each workload with how many there are, and may be."""
    found = job.record("keyservice", "members")["jobs"]
    assert [(each["name"], each["epoch"]) for each in found] == [("digits", 2), ("letters", 0)]
    assert found[0]["workloads"]["train"] == {"live": 1, "maximum": 3}
    assert found[1]["workloads"]["train"] == {"live": 0, "maximum": None}
    assert "lab/letters" in job.call("keyservice", "members").stdout


@pytest.mark.parametrize("name", ["digits", "lab/digits"])
def test_members_lists_a_job(job: Door, name: str) -> None:
    """Checked, and without anything secret."""
    found = job.record("keyservice", "members", name)
    assert (found["namespace"], found["name"], found["epoch"]) == ("lab", "digits", 2)
    assert [each["instance"] for each in found["members"]] == ["serve-1", "train-1"]
    assert found["members"][0]["identity"] == "spiffe://example.test/lab/digits/serve/serve-1"
    shown = job.call("keyservice", "members", name).stdout
    assert "epoch 2" in shown
    assert "train-1" in shown


def test_budgets_lists_what_was_spent(job: Door) -> None:
    """In numbers, and by name; a budget that there is not is said to be none."""
    bench = job.bench
    more = "budgets:\n  queries: {limit: 5, principals: any, roles: [serve]}\n"
    policy = bench.apply(policy_text(bench, name="room", more=more))
    release = bench.release_client().release(
        policy=policy,
        workload="serve",
        instance="serve-1",
        measurement=MEASUREMENT,
        attester=bench.attester(),
    )
    bench.member(release.bundle).spend("queries", "alice", 2)
    words = ("keyservice", "budgets", "lab/room")
    (found,) = job.record(*words)["budgets"]
    assert found == {
        "name": "queries",
        "limit": 5,
        "floor": 0,
        "names": 1,
        "total": 2,
        "spent": {},
    }
    (found,) = job.record(*words, "queries")["budgets"]
    assert found["spent"] == {"alice": 2}
    assert "queries" in job.call(*words).stdout
    assert "alice" in job.call(*words, "queries").stdout
    refused = job.call(*words, "other")
    assert isinstance(refused.exception, ConfigError)
    assert refused.exception.code == "config.missing"
    assert job.record("keyservice", "budgets", "digits") == {"budgets": []}


def test_expel_takes_a_member_out(job: Door) -> None:
    """And says at which epoch the job is."""
    words = ("keyservice", "expel", "digits")
    assert job.record(*words, "train", "train-1") == {
        "workload": "train",
        "instance": "train-1",
        "epoch": 3,
    }
    assert "epoch 4" in job.call(*words, "serve", "serve-1").stdout
    assert job.record("keyservice", "members", "digits")["members"] == []
    found = job.call(*words, "serve", "serve-1")
    assert isinstance(found.exception, CloisterError)
    assert found.exception.code == "release.not-member"


@pytest.mark.parametrize("name", ["numbers", "ward/digits"])
def test_a_job_that_is_not_there_is_missing(job: Door, name: str) -> None:
    """The hint says how to see which there are."""
    found = job.call("keyservice", "members", name)
    assert isinstance(found.exception, CloisterError)
    assert found.exception.code == "config.missing"


def test_serve_passes_the_logs_format_on(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """And refuses one that there is not."""
    calls: list[list[str]] = []
    monkeypatch.setattr(server, "main", lambda words, **_: calls.append(words) or 0)
    assert door.call("keyservice", "serve", "--log-format", "json").exit_code == 0
    assert calls[0][2:] == ["--log-format", "json"]
    error = door.call("keyservice", "serve", "--log-format", "xml").exception
    assert isinstance(error, ConfigError)
    assert error.code == "config.value"


@pytest.mark.spec("KH-21")
def test_a_view_token_is_made_offline(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is not asked; the token is for it, and nothing else is printed."""
    door.bench.down = True
    found = door.call("keyservice", "view-token", "--offline", "--hours", "2", "--scope", "metrics")
    domain, at = door.bench.domain, read_clock().at
    token = ViewToken.from_text(
        found.stdout.strip(), service=domain.identity, owner=domain.owner, at=at
    )
    assert token.scope == "metrics"
    assert at + 7190 < token.expires <= at + 7200
    assert found.stdout.count("\n") == 1


def test_a_view_token_needs_the_owners_key(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the public facts alone makes none."""
    (door.bench.domain.directory / "owner" / "owner.key").unlink()
    error = door.call("keyservice", "view-token", "--offline").exception
    assert isinstance(error, ConfigError)
    assert error.code == "config.missing"


def test_the_doctor_says_what_is_risky_and_fails_on_problems(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For people and machines; a problem is the exit status."""
    found = door.record("keyservice", "doctor", "--listen", "0.0.0.0:1")["findings"]
    states = {finding["name"]: finding["state"] for finding in found}
    assert states["address"] == states["owner's key"] == states["clock"] == "warning"
    assert states["files"] == states["state"] == "ok"
    door.bench.domain.keyservice_directory.chmod(0o755)
    said = door.call("keyservice", "doctor", "--json")
    assert said.exit_code == ConfigError.exit_status
    assert "keyservice (0755)" in said.stdout


def test_view_tokens_are_issued_listed_and_revoked(door: Door) -> None:
    """By identity; the list has no token."""
    text = door.call("keyservice", "view-token", "--namespace", "lab").stdout.strip()
    found = door.record("keyservice", "view-tokens", "lab")["tokens"]
    assert [each["scope"] for each in found] == ["view"]
    assert text not in str(found)
    assert found[0]["id"] in door.call("keyservice", "view-tokens", "lab").stdout
    words = ("keyservice", "revoke-view-token", found[0]["id"])
    error = door.call(*words).exception
    assert isinstance(error, ConfigError)
    assert error.code == "config.missing"
    done = door.record(*words, "--namespace", "lab")
    assert done == {"namespace": "lab", "token": found[0]["id"]}
    assert door.record("keyservice", "view-tokens", "lab")["tokens"] == []


def test_a_services_own_endorsements_are_handed_on(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With whose bundles are taken: of nobody where nobody is named."""
    asked: list[server.ServerSettings] = []

    def main(arguments: list[str], **_: object) -> int:
        asked.append(server._read_arguments(arguments))
        return 0

    monkeypatch.setattr(server, "main", main)
    words = ("--endorsements", "a", "--endorsements", "b")
    assert door.call("keyservice", "serve", *words).exit_code == 0
    words += ("--collector", "k", "--collector", "l")
    assert door.call("keyservice", "serve", *words).exit_code == 0
    assert [each.endorsements for each in asked] == [(Path("a"), Path("b"))] * 2
    assert [each.collectors for each in asked] == [(), ("k", "l")]
    with pytest.raises(ConfigError) as e:
        server._collectors(["k"])
    assert e.value.code == "config.value"


def test_a_token_made_offline_is_revoked_by_its_text(door: Door) -> None:
    """Which standard input brings; nothing shows it again."""
    text = door.call("keyservice", "view-token", "--offline").stdout
    done = CliRunner().invoke(app, ["keyservice", "revoke-view-token", "--offline"], input=text)
    assert done.exit_code == 0, done.output
    assert "no good any more" in done.output
    assert ViewGrants(door.bench.store).is_revoked(offline_id(text.strip()))
    assert text.strip() not in done.output


@pytest.mark.parametrize(
    "words", [(), ("xyz",), ("0" * 31,), ("0" * 32, "--offline"), ("0" * 31 + "A",)]
)
def test_what_names_no_view_token_is_refused(door: Door, words: tuple[str, ...]) -> None:
    """Before anything is asked."""
    error = door.call("keyservice", "revoke-view-token", *words).exception
    assert isinstance(error, ConfigError)
    assert error.code == "config.value"
    error = door.call("keyservice", "view-token", "--offline", "--namespace", "lab").exception
    assert isinstance(error, ConfigError)
    assert error.code == "config.value"
