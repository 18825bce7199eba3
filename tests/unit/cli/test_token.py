"""`cloister token`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloister.attestation.ear import issue_ear
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult, NotChecked, RuleHit
from cloister.cli import settings
from cloister.cli.main import app
from cloister.crypto.jose import TokenSigningKey, jwks_document, to_base64url
from cloister.errors import CloisterError
from cloister.keyservice.clock import read_clock
from cloister.testing.keyservice import MEASUREMENT, ServiceBench, policy_text

KEY = TokenSigningKey.generate("EdDSA")
NONCE = b"n" * 16
RESULT = AttestationResult(
    policy=b"p" * 32,
    workload="train",
    root_of_trust="sim",
    hardware_rooted=False,
    anchor=b"a" * 32,
    measurement=b"m" * 32,
    security_version=3,
    debug=False,
    launch=LaunchMeasurement(b"c" * 32, b"r" * 32),
    checked=(RuleHit("roots_of_trust", "x", "y"),),
    not_checked=(NotChecked("workloads.train.runtime", "daily\x1b[2J"),),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A token that was issued now, and the key set to judge it by."""
    token = issue_ear(
        RESULT,
        key=KEY,
        issuer="https://keys.example",
        audience="rp",
        nonce=NONCE,
        at=read_clock().at,
        lifetime_s=300,
    )
    (tmp_path / "token").write_text(token + "\n")
    (tmp_path / "jwks.json").write_bytes(jwks_document([KEY.public]))
    return tmp_path


def call(folder: Path, *words: str, **changes: str) -> Result:
    wanted = {
        "jwks": str(folder / "jwks.json"),
        "audience": "rp",
        "nonce": to_base64url(NONCE),
    } | changes
    options = [word for name, value in wanted.items() for word in (f"--{name}", value)]
    return CliRunner().invoke(app, ["token", "verify", str(folder / "token"), *options, *words])


def code(result: Result) -> object:
    return getattr(result.exception, "code", None)


def test_what_a_token_establishes_is_shown(folder: Path) -> None:
    """For people, who see that it is simulated and no control character, and for machines."""
    said = call(folder, "--accept-simulated")
    assert said.exit_code == 0, said.output
    for each in ("warning (SIMULATED", "https://keys.example", "train", "hardware: -33", "daily"):
        assert each in said.stdout
    assert "\x1b" not in said.stdout
    record: dict[str, Any] = json.loads(call(folder, "--accept-simulated", "--json").stdout)
    assert record["hardware_rooted"] is False
    assert record["appraisals"][0]["label"] == "train"


def test_simulation_and_warnings_are_accepted_only_on_demand(folder: Path) -> None:
    """And accepting a warning does not accept simulation."""
    assert code(call(folder)) == "token.simulated"
    assert code(call(folder, "--accept-warning")) == "token.simulated"


def test_what_does_not_hold_is_refused(folder: Path) -> None:
    """With the code of the reason."""
    (folder / "other.json").write_bytes(jwks_document([TokenSigningKey.generate("ES256").public]))
    wrong: dict[str, dict[str, str]] = {
        "token.audience": {"audience": "other"},
        "token.nonce": {"nonce": to_base64url(b"m" * 16)},
        "token.key-unknown": {"jwks": str(folder / "other.json")},
        "token.malformed": {"jwks": str(folder / "token")},
        "config.file": {"jwks": str(folder / "none")},
        "config.value": {"nonce": "a+b="},
        "caller.misuse": {"nonce": "AAAA"},
    }
    for expected, changes in wrong.items():
        assert code(call(folder, "--accept-simulated", **changes)) == expected


def test_a_file_that_is_no_token_is_refused(folder: Path) -> None:
    """Not text, and too long."""
    (folder / "token").write_bytes(b"\xff\xfe")
    assert code(call(folder)) == "token.malformed"
    (folder / "token").write_bytes(b"a" * 300_000)
    assert code(call(folder)) == "wire.too-large"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceBench]:
    """A key service in this process, at the time of this machine."""
    bench = ServiceBench.create(tmp_path)
    bench.clock.at = read_clock().at
    connection = settings.Connection(bench.domain, "", bench)
    monkeypatch.setattr(settings, "connect", lambda _domain: connection)
    yield bench
    bench.close()


def test_keys_are_what_a_token_is_judged_by(bench: ServiceBench, tmp_path: Path) -> None:
    """A member's token, and the file that `keys` wrote, are enough."""
    bench.register_volumes()
    release = bench.release_client().release(
        policy=bench.apply(policy_text(bench)),
        workload="serve",
        instance="run-1",
        measurement=MEASUREMENT,
        attester=bench.attester(),
    )
    token = bench.member(release.bundle).token(audience="rp", nonce=NONCE)
    (tmp_path / "token").write_text(token)
    file = tmp_path / "jwks.json"
    found = CliRunner().invoke(app, ["token", "keys", str(file), "--json"])
    assert json.loads(found.stdout) == {
        "file": str(file),
        "issuer": "example.test/cloister-keyservice",
    }
    judged = call(tmp_path, "--accept-simulated", "--json")
    assert json.loads(judged.stdout)["issuer"] == "example.test/cloister-keyservice"


def test_keys_overwrites_nothing(bench: ServiceBench, tmp_path: Path) -> None:
    """What relying parties pin is not replaced by accident."""
    file = tmp_path / "jwks.json"
    assert "example.test" in CliRunner().invoke(app, ["token", "keys", str(file)]).stdout
    before = file.read_bytes()
    for target, code in ((file, "config.exists"), (tmp_path / "no" / "x", "config.file")):
        found = CliRunner().invoke(app, ["token", "keys", str(target)])
        assert isinstance(found.exception, CloisterError)
        assert found.exception.code == code
    assert file.read_bytes() == before
