"""`cloister evidence`: verdicts of simulated manufacturers' evidence, and mistakes of its user."""

from __future__ import annotations

import base64
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloister.cli import evidence
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.testing.manufacturers import der
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.tpm import SimulatedTpm
from unit.cli.conftest import Door

NOW = 1_800_000_000
INSTANT = dt.datetime.fromtimestamp(NOW, dt.UTC).isoformat()
NONCE = bytes(range(64))
POLICY = """
evidence_policy: cloister/v1
kind: tdx
anchors: ["sha256:{anchor}"]
claims:
  measurement: {{one_of: ["{measurement}"]}}
  report_data: {{unchecked: given by another rule}}
  rtmr0: {{unchecked: firmware is not pinned here}}
  rtmr1: {{unchecked: firmware is not pinned here}}
  rtmr2: {{unchecked: firmware is not pinned here}}
  rtmr3: {{unchecked: firmware is not pinned here}}
  status: {{one_of: [{status}]}}
  advisories: {{within: []}}
  debug: {{one_of: [clear]}}
  sept_ve_disable: {{one_of: [set]}}
  mr_service_td: {{unchecked: no service TDs here}}
  migratable: {{one_of: [clear]}}
"""

TPM_POLICY = """
evidence_policy: cloister/v1
kind: tpm
anchors: [manufacturer]
claims:
  measurement: {unchecked: not known here}
  report_data: {unchecked: the command gives it}
  revocation_checked: {one_of: [clear]}
"""


def run(*words: str | Path) -> Result:
    """Run a command."""
    return CliRunner().invoke(evidence.app, [str(word) for word in words])


def code(*words: str | Path) -> str:
    """The code of a command that is refused before anything is judged."""
    error = run(*words).exception
    assert isinstance(error, CloisterError), error
    return error.code


class Quoted:
    """A simulated TD's quote and collateral in a folder."""

    def __init__(self, folder: Path, **case: Any) -> None:
        self.intel = SimulatedIntel(b"seed", at=NOW)
        minted = self.intel.mint(IntelCase("tdx5", report_data=NONCE, **case))
        self.quote, self.collateral = folder / "quote.bin", folder / "collateral.json"
        self.quote.write_bytes(minted.quote)
        self.collateral.write_text(json.dumps(dict(minted.bundle)))
        self.anchor = "sha256:" + self.intel.anchor.hex()
        self.words = ("verify", self.quote, "--kind", "tdx", "--at", INSTANT)
        self.given = ("--endorsements", self.collateral, "--anchor", self.anchor)

    def judge(self, *words: str | Path) -> tuple[int, dict[str, Any]]:
        """Judge it under the simulated root."""
        done = run(*self.words, *self.given, *words, "--json")
        return done.exit_code, json.loads(done.stdout)


def test_accepted_evidence_says_what_it_is_and_what_nobody_looked_at(tmp_path: Path) -> None:
    """A simulated manufacturer's is never rooted in hardware."""
    status, record = Quoted(tmp_path).judge()
    assert (status, record["verdict"], record["status"]) == (0, "accept", "UpToDate")
    assert record["hardware_rooted"] is False
    assert record["claims"]["report_data"] == NONCE.hex()
    left_out = {each["rule"]: each["reason"] for each in record["not_checked"]}
    assert left_out["report_data"] == "no policy was given"


def test_under_the_manufacturers_root_a_simulated_one_is_refused(tmp_path: Path) -> None:
    """Without `--anchor` only the pinned roots count."""
    quoted = Quoted(tmp_path)
    done = run(*quoted.words, "--endorsements", quoted.collateral, "--json")
    assert done.exit_code == 77
    assert json.loads(done.stdout)["reasons"][0]["code"] == "endorsement.anchor"


@pytest.mark.parametrize(
    ("case", "claims"),
    [
        ({"status": "OutOfDate"}, ["status"]),
        ({"debug": True}, ["debug"]),
        ({"attributes": 0}, ["sept_ve_disable"]),
    ],
)
def test_what_the_defaults_refuse(tmp_path: Path, case: dict[str, Any], claims: list[str]) -> None:
    """With every reason, what was expected, and what was found."""
    status, record = Quoted(tmp_path, **case).judge()
    assert status == 77
    found = [each["detail"].partition(":")[0] for each in record["reasons"]]
    assert set(claims) <= set(found)
    assert all(each["expected"] and each["found"] for each in record["reasons"])


def test_the_nonce_is_compared_whole(tmp_path: Path) -> None:
    """Neither a part of it nor another one will do."""
    quoted = Quoted(tmp_path)
    assert quoted.judge("--nonce", NONCE.hex())[0] == 0
    for other in (NONCE[:32].hex(), bytes(64).hex()):
        status, record = quoted.judge("--nonce", other)
        assert (status, record["reasons"][0]["found"]) == (77, NONCE.hex())
    assert code(*quoted.words, *quoted.given, "--nonce", "xyz") == "config.value"


def test_missing_and_stale_collateral_decides_nothing(tmp_path: Path) -> None:
    """Another status than a refusal."""
    quoted = Quoted(tmp_path)
    quoted.collateral.rename(tmp_path / "elsewhere")
    done = run(*quoted.words, "--anchor", quoted.anchor, "--json")
    assert (done.exit_code, json.loads(done.stdout)["decided"]) == (75, False)
    quoted = Quoted(tmp_path)
    late = dt.datetime.fromtimestamp(NOW + 90 * 86400, dt.UTC).isoformat()
    words = ("verify", quoted.quote, "--kind", "tdx", "--at", late, *quoted.given, "--json")
    done = run(*words)
    assert (done.exit_code, json.loads(done.stdout)["decided"]) == (75, False)
    assert json.loads(done.stdout)["reasons"][0]["code"] == "endorsement.stale"


def test_a_policy_says_what_is_wanted(tmp_path: Path) -> None:
    """Its anchors count, its values count, and `--nonce` beside it."""
    quoted, policy = Quoted(tmp_path), tmp_path / "policy.yaml"
    words = (*quoted.words, "--endorsements", quoted.collateral, "--policy", policy, "--json")
    _, record = quoted.judge()
    facts = {"anchor": quoted.intel.anchor.hex(), "measurement": record["claims"]["measurement"]}
    policy.write_text(POLICY.format(**facts, status="UpToDate"))
    assert run(*words, "--nonce", NONCE.hex()).exit_code == 0
    policy.write_text(POLICY.format(**facts, status="OutOfDate"))
    assert run(*words).exit_code == 77
    policy.write_text(POLICY.format(**facts | {"measurement": "00" * 48}, status="UpToDate"))
    assert run(*words).exit_code == 77
    policy.write_text(POLICY.format(**facts | {"anchor": "00" * 32}, status="UpToDate"))
    assert run(*words).exit_code == 77


def test_a_policy_that_is_none_is_the_users_mistake(tmp_path: Path) -> None:
    """Not a verdict about the evidence."""
    quoted, policy = Quoted(tmp_path), tmp_path / "policy.yaml"
    words = (*quoted.words, "--policy", policy)
    assert code(*words) == "config.file"
    policy.write_text("a: 1")
    assert code(*words) == "policy.invalid"
    policy.write_text(
        POLICY.format(anchor="00" * 32, measurement="00", status="UpToDate").replace(
            "kind: tdx", "kind: sim"
        )
    )
    assert code(*words) == "policy.invalid"


def test_revocation_is_left_out_by_name_where_no_list_was_given(tmp_path: Path) -> None:
    """And looked at where one was; a revoked issuer is refused."""
    amd = SimulatedAmd(b"seed", "Milan", now=NOW)
    chip = amd.chip()
    (tmp_path / "report.bin").write_bytes(chip.report(version=3))
    words: list[str | Path] = ["verify", tmp_path / "report.bin", "--kind", "snp", "--at", INSTANT]
    words += ["--anchor", "sha256:" + amd.anchor.hex()]
    for number, each in enumerate(amd.endorsements(chip)):
        if each.media_type != "application/pkix-crl":
            path = tmp_path / f"endorsement-{number}"
            path.write_bytes(each.body)
            words += ["--endorsements", path]
    record = json.loads(run(*words, "--json").stdout)
    assert record["verdict"] == "accept", record
    left_out = {each["rule"]: each["reason"] for each in record["not_checked"]}
    assert left_out["revocation_checked"] == "no revocation list was given"
    listed = tmp_path / "list.der"
    listed.write_bytes(amd.revocations())
    record = json.loads(run(*words, "--endorsements", listed, "--json").stdout)
    assert record["verdict"] == "accept"
    assert "revocation_checked" not in {each["rule"] for each in record["not_checked"]}
    serial = amd.issuer_serial("VCEK")
    listed.write_bytes(amd.revocations(serials=(serial,)))
    done = run(*words, "--endorsements", listed, "--json")
    assert (done.exit_code, json.loads(done.stdout)["reasons"][0]["code"]) == (
        77,
        "endorsement.revoked",
    )


def test_one_file_with_the_whole_chain_of_a_chip(tmp_path: Path) -> None:
    """Its own certificate, its issuer's and the root's, with the words that tools put between."""
    amd = SimulatedAmd(b"whole", "Genoa", now=NOW)
    chip = amd.chip()
    report, whole = tmp_path / "report.bin", tmp_path / "chain.pem"
    report.write_bytes(chip.report())
    leaf = der.pem(chip.certificate)
    anchor = f"sha256:{amd.anchor.hex()}"
    words = ("verify", report, "--kind", "snp", "--at", INSTANT, "--anchor", anchor)
    for text in (
        leaf + amd.chain(),
        b"# SEV-VCEK\n" + leaf + b"# the rest\n" + amd.chain(),
        (leaf + amd.chain()).replace(b"\n", b"\r\n"),
    ):
        whole.write_bytes(text)
        done = run(*words, "--endorsements", whole, "--json")
        assert done.exit_code == 0, done.output
    whole.write_bytes(amd.chain())
    assert run(*words, "--endorsements", whole, "--json").exit_code != 0


def test_a_folder_of_a_tpm_and_the_key_that_the_user_pins(tmp_path: Path) -> None:
    """The key in the folder vouches for nothing by itself."""
    tpm = SimulatedTpm(b"seed", now=NOW)
    parts = tpm.quote(b"nonce")
    (tmp_path / "quote.msg").write_bytes(parts.message)
    (tmp_path / "quote.sig").write_bytes(parts.signature)
    values = {str(index): value.hex() for index, value in enumerate(tpm.pcrs("sha256"))}
    (tmp_path / "pcrs.json").write_text(json.dumps({"pcrs": values}))
    (tmp_path / "event_log.bin").write_bytes(parts.event_log)
    pem = "-----BEGIN PUBLIC KEY-----\n" + _base64(tpm.ak) + "-----END PUBLIC KEY-----\n"
    (tmp_path / "ak_pub.pem").write_text(pem)
    words = ("verify", tmp_path, "--kind", "tpm", "--at", INSTANT, "--nonce", b"nonce".hex())
    assert run(*words, "--json").exit_code == 77
    for option in ("--endorsements", "--anchor"):
        done = run(*words, option, tmp_path / "ak_pub.pem", "--json")
        assert done.exit_code == 0, done.output
    # Neither the folder, nor a policy that trusts somebody else, takes the key that came along.
    folder, policy = tmp_path / "came-along", tmp_path / "policy.yaml"
    folder.mkdir()
    (folder / "ak_pub.pem").write_text(pem)
    record = json.loads(run(*words, "--endorsements", folder, "--json").stdout)
    assert record["reasons"][0]["code"] == "endorsement.anchor"
    policy.write_text(TPM_POLICY)
    given = ("--endorsements", tmp_path / "ak_pub.pem", "--policy", policy, "--json")
    record = json.loads(run(*words, *given).stdout)
    assert record["reasons"][0]["code"] == "endorsement.anchor"
    (tmp_path / "pcrs.json").write_text(json.dumps({"pcrs": {}}))
    done = run(*words, "--endorsements", tmp_path / "ak_pub.pem", "--json")
    assert json.loads(done.stdout)["reasons"][0]["code"] == "evidence.malformed"


def _base64(data: bytes) -> str:
    return base64.encodebytes(data).decode()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--kind", "vax"), "config.value"),
        (("--kind", "tdx", "--at", "yesterday"), "config.value"),
        (("--kind", "tdx", "--at", "2026-01-01T00:00:00"), "config.value"),
        (("--kind", "tdx", "--anchor", "sha256:00"), "config.value"),
        (("--kind", "tdx", "--anchor", "nowhere.pem"), "config.file"),
        (("--kind", "tdx", "--endorsements", "nowhere.json"), "config.file"),
        (("--kind", "sim"), "config.missing"),
        (("--kind", "cca"), "config.missing"),
    ],
)
def test_a_mistake_of_the_users_is_no_verdict(
    tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    """It has its own code, and nothing was judged."""
    assert code("verify", Quoted(tmp_path).quote, *words) == expected


def test_evidence_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """By its form, with a verdict."""
    path = tmp_path / "quote.bin"
    path.write_bytes(b"not a quote")
    words = ("verify", path, "--kind", "tdx", "--at", INSTANT, "--json")
    assert run(*words).exit_code == 77
    record = json.loads(run(*words).stdout)
    assert (record["verdict"], record["decided"]) == ("reject", True)
    assert record["claims"] == {}


def test_show_judges_nothing_and_says_so(tmp_path: Path) -> None:
    """Whatever the quote says is shown, forged or not."""
    quoted = Quoted(tmp_path, status="Revoked")
    done = run("show", quoted.quote, "--kind", "tdx", "--json")
    record = json.loads(done.stdout)
    assert (done.exit_code, record["judged"]) == (0, False)
    assert record["parts"]["report"]["report_data"] == NONCE.hex()
    text = run("show", quoted.quote, "--kind", "tdx")
    assert "not judged" in text.stderr
    assert NONCE.hex() in text.stdout


def test_people_read_words(tmp_path: Path) -> None:
    """The verdict first, then reasons, then what nobody looked at."""
    good, bad = Quoted(tmp_path), tmp_path / "bad"
    text = run(*good.words, *good.given).stdout
    assert text.startswith("accepted, status UpToDate\nrooted in hardware: no\n")
    [left_out] = [line for line in text.splitlines() if line.startswith("not checked")]
    assert left_out.startswith("not checked (no policy was given): measurement, ")
    assert "report_data" in left_out
    bad.mkdir()
    refused = Quoted(bad, debug=True)
    text = run(*refused.words, *refused.given).stdout
    assert text.startswith("refused, status UpToDate")
    assert "debug" in text


@pytest.mark.parametrize("kind", ["sim", "sgx", "tdx", "snp", "tpm", "azure-snp", "azure-tdx"])
def test_the_claims_of_a_kind_are_listed(kind: str) -> None:
    """For whoever writes a policy."""
    record = json.loads(run("fields", "--kind", kind, "--json").stdout)
    required = [each["claim"] for each in record["claims"] if each["required"]]
    assert "report_data" in required
    assert "report_data" in run("fields", "--kind", kind).stdout


def test_simulated_evidence_is_collected_and_judged(door: Door) -> None:
    """Under the platform's key, which nobody trusts unasked."""
    nonce, out = NONCE.hex(), Path("evidence.cbor")
    made = door.record("evidence", "collect", out, "--kind", "sim", "--nonce", nonce)
    assert made["files"] == ["evidence.cbor"]
    anchor = door.bench.domain.anchors["sim"][0].text
    words = ("evidence", "verify", out, "--kind", "sim", "--nonce", nonce)
    record = door.record(*words, "--anchor", anchor)
    assert (record["verdict"], record["hardware_rooted"]) == ("accept", False)
    other = SigningKey(b"o" * 32).public.text
    assert door.call(*words, "--anchor", other).exit_code == 77
    assert code("collect", out, "--kind", "sim", "--nonce", nonce) == "config.exists"


@pytest.mark.parametrize("kind", ["sgx", "tdx", "snp"])
def test_where_there_is_no_tee_nothing_is_collected(tmp_path: Path, kind: str) -> None:
    """It says so, and leaves no file."""
    words = ("collect", tmp_path / "out", "--kind", kind, "--nonce", NONCE.hex())
    assert code(*words) == "machine.attester"
    assert not (tmp_path / "out").exists()


def test_what_is_bound_has_64_bytes(tmp_path: Path) -> None:
    """Nothing is padded."""
    for nonce in ("00" * 32, "zz", ""):
        words = ("collect", tmp_path / "out", "--kind", "sim", "--nonce", nonce)
        assert code(*words) == "config.value"
    assert code("collect", tmp_path / "out", "--kind", "nitro", "--nonce", NONCE.hex()) == (
        "config.value"
    )
