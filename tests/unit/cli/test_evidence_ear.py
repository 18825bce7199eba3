"""`cloister evidence verify --ear`: a verdict that somebody else reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloister.attestation.ear import VerifiedEar, verify_ear
from cloister.attestation.ear_verdict import VerdictFacts
from cloister.cli import token
from cloister.cli.evidence_ear import read_token_key
from cloister.crypto.digest import digest_to_text, sha256
from cloister.crypto.jose import KeySet, TokenSigningKey
from cloister.errors import CloisterError, ConfigError
from unit.cli.test_evidence import NONCE, NOW, POLICY, Quoted, code, run

TOLD = ("--ear-issuer", "me", "--ear-audience", "rp")


class Told:
    """A key, its JWKS, and where the token goes."""

    def __init__(self, folder: Path) -> None:
        self.key, self.jwks, self.out = (folder / name for name in ("key", "jwks", "token"))
        done = CliRunner().invoke(token.app, ["new-key", str(self.key), str(self.jwks)])
        assert done.exit_code == 0, done.exception
        self.words = ("--ear", self.key, "-o", self.out, *TOLD)

    def read(self, **changes: Any) -> VerifiedEar:
        """Read the token as the relying party does."""
        wanted: dict[str, Any] = {
            "jwks": KeySet.from_bytes(self.jwks.read_bytes()),
            "audience": "rp",
            "nonce": NONCE,
            "at": NOW,
            "accept_simulated": True,
            "at_least": "warning",
        }
        return verify_ear(self.out.read_text().strip(), **(wanted | changes))


def test_a_verdict_is_read_elsewhere(tmp_path: Path) -> None:
    """With the nonce that the evidence answered, and of the instant that it was judged at."""
    quoted, told = Quoted(tmp_path), Told(tmp_path)
    status, record = quoted.judge("--nonce", NONCE.hex(), *told.words)
    assert (status, record["verdict"]) == (0, "accept")
    found = told.read()
    assert (found.issuer, found.issued_at, found.status) == ("me", NOW, "warning")
    [run_] = found.appraisals
    assert isinstance(run_.facts, VerdictFacts)
    assert dict(run_.facts.claims or {}) == record["claims"]
    assert [each.rule for each in run_.facts.not_checked] == [
        each["rule"] for each in record["not_checked"]
    ]
    assert run_.policies == ()
    assert run_.vector["hardware"] == -33
    with pytest.raises(CloisterError) as caught:
        told.read(accept_simulated=False)
    assert caught.value.code == "token.simulated"


def test_the_policy_is_named_by_its_digest(tmp_path: Path) -> None:
    """And what it leaves out stands in the token."""
    quoted, told, policy = Quoted(tmp_path), Told(tmp_path), tmp_path / "policy.yaml"
    _, record = quoted.judge()
    facts = {"anchor": quoted.intel.anchor.hex(), "measurement": record["claims"]["measurement"]}
    policy.write_text(POLICY.format(**facts, status="UpToDate"))
    status, _ = quoted.judge("--policy", policy, "--nonce", NONCE.hex(), *told.words)
    assert status == 0
    [run_] = told.read().appraisals
    assert run_.policies == (digest_to_text(sha256(policy.read_bytes())),)
    assert isinstance(run_.facts, VerdictFacts)
    reasons = {each.rule: each.reason for each in run_.facts.not_checked}
    assert reasons["rtmr0"] == "firmware is not pinned here"


@pytest.mark.parametrize(
    ("case", "status"),
    [({"debug": True}, 77), ({"forged": frozenset({"quote"})}, 77), ({}, 75)],
)
def test_a_refusal_is_signed_too_and_nobody_accepts_it(
    tmp_path: Path, case: dict[str, Any], status: int
) -> None:
    """The exit status is that of the verdict."""
    quoted, told = Quoted(tmp_path, **case), Told(tmp_path)
    if not case:  # nothing vouches
        quoted.collateral.rename(tmp_path / "elsewhere")
        quoted.given = ("--anchor", quoted.anchor)
    assert quoted.judge("--nonce", NONCE.hex(), *told.words)[0] == status
    with pytest.raises(CloisterError) as caught:
        told.read()
    assert caught.value.code == "token.status"


def test_a_nonce_beside_the_evidences(tmp_path: Path) -> None:
    """What the relying party gave out, where it is not what the evidence answers."""
    quoted, told = Quoted(tmp_path), Told(tmp_path)
    assert quoted.judge("--ear-nonce", "ab" * 16, *told.words)[0] == 0
    assert told.read(nonce=b"\xab" * 16).status == "warning"
    with pytest.raises(CloisterError) as caught:
        told.read()
    assert caught.value.code == "token.nonce"


def test_half_of_what_a_token_needs_is_a_mistake(tmp_path: Path) -> None:
    """Before anything is judged, and nothing is written."""
    quoted, told = Quoted(tmp_path), Told(tmp_path)
    words, nonce = quoted.words, ("--nonce", NONCE.hex())
    ear, out = ("--ear", told.key), ("-o", told.out)
    for given, expected in (
        ((*ear, *nonce), "config.missing"),
        ((*ear, *out, *nonce), "config.missing"),
        ((*ear, *out, *TOLD), "config.missing"),
        ((*ear, *TOLD, *nonce), "config.missing"),
        ((*out, *TOLD, *nonce), "config.missing"),
        ((*told.words, "--ear-nonce", "ab"), "config.missing"),
        ((*told.words, "--ear-nonce", "xy"), "config.value"),
        (("--ear", tmp_path / "nowhere", *out, *TOLD, *nonce), "config.missing"),
    ):
        assert code(*words, *quoted.given, *given) == expected, given
    assert not told.out.exists()
    told.out.write_text("mine")
    assert code(*words, *quoted.given, *nonce, *told.words) == "config.exists"
    assert told.out.read_text() == "mine"


def test_a_key_is_its_owners_only(tmp_path: Path) -> None:
    """And one of the two kinds that sign tokens."""
    told = Told(tmp_path)
    assert told.key.stat().st_mode & 0o077 == 0
    assert "PRIVATE" not in told.jwks.read_text()
    assert (
        json.loads(told.jwks.read_text())["keys"][0]["kid"] == read_token_key(told.key).public.kid
    )
    told.key.chmod(0o640)
    with pytest.raises(ConfigError):
        read_token_key(told.key)
    for data in (b"", b"x", told.jwks.read_bytes(), b"-----BEGIN PRIVATE KEY-----\nAA\n"):
        other = tmp_path / "other"
        other.unlink(missing_ok=True)
        other.touch(0o600)
        other.write_bytes(data)
        with pytest.raises(ConfigError):
            read_token_key(other)


def test_a_key_of_openssl_is_read(tmp_path: Path) -> None:
    """PKCS#8 in PEM, of either kind."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415  # where it is used
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    for algorithm in ("EdDSA", "ES256"):
        key = TokenSigningKey.generate(algorithm)
        path = tmp_path / algorithm
        path.touch(0o600)
        path.write_bytes(key._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        assert read_token_key(path).public == key.public


def test_people_read_what_a_token_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cloister token verify` is the reader."""
    import base64  # noqa: PLC0415  # where it is used

    from cloister.keyservice import clock  # noqa: PLC0415  # where it is used

    quoted, told = Quoted(tmp_path), Told(tmp_path)
    assert quoted.judge("--nonce", NONCE.hex(), *told.words)[0] == 0
    now = clock.read_clock()
    monkeypatch.setattr(clock, "read_clock", lambda: dataclasses.replace(now, at=NOW))
    nonce = base64.urlsafe_b64encode(NONCE).decode().rstrip("=")
    words = ["verify", str(told.out), "--jwks", str(told.jwks), "--audience", "rp"]
    words += ["--nonce", nonce, "--accept-simulated"]
    done = CliRunner().invoke(token.app, words)
    assert done.exit_code == 0, done.exception
    assert "evidence: accept UpToDate" in done.stdout
    done = CliRunner().invoke(token.app, [*words, "--json"])
    record = json.loads(done.stdout)["appraisals"][0]["cloister"]
    assert (record["verdict"], record["root_of_trust"]) == ("accept", "tdx")


def test_without_a_token_nothing_changes(tmp_path: Path) -> None:
    """No file, no key."""
    quoted = Quoted(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert run(*quoted.words, *quoted.given).exit_code == 0
    assert sorted(tmp_path.iterdir()) == before
