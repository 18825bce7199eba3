"""`cloister evidence policy --from-corim`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from typer.testing import CliRunner, Result

from cloister.cli.evidence_policy import reference_values
from cloister.cli.policy import app as lint_app
from cloister.errors import ConfigError
from unit.cli.test_evidence import code, run

VECTORS: Final = Path(__file__).parents[3] / "docs/spec/vectors/reference-values-v1"
AT: Final = "2027-01-15T08:00:00Z"  # 1 800 000 000


class Case:
    """A vector as files."""

    def __init__(self, folder: Path, name: str) -> None:
        case = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
        self.file, self.key = folder / f"{name}.corim", folder / f"{name}.pem"
        self.file.write_bytes(bytes.fromhex(case["file"]))
        if "key" in case:
            public = load_der_public_key(bytes.fromhex(case["key"]))
            self.key.write_bytes(
                public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            )
        self.words = ("policy", "--from-corim", self.file, "--kind", case["kind"], "--at", AT)
        self.rules: dict[str, Any] = case.get("rules", {})


@pytest.mark.spec("REF-5", "REF-30")
def test_a_signed_file_becomes_a_policy_that_lint_knows(tmp_path: Path) -> None:
    """Printed, or written to a new file."""
    case = Case(tmp_path, "signed")
    done = run(*case.words, "--key", case.key)
    assert done.exit_code == 0, done.exception
    assert "# From the CoRIM cloister-vector, signed by ACME Inc.\n" in done.stdout
    assert case.rules["measurement"]["one_of"][0] in done.stdout
    out = tmp_path / "policy.yaml"
    words = (*case.words, "--key", case.key, "-o", out)
    record = json.loads(run(*words, "--json").stdout)
    assert record["signer"] == "ACME Inc."
    assert record["claims"] == ["measurement", "rtmr1", "rtmr2"]
    assert record["policy"] == out.read_text() == done.stdout
    assert code(*words) == "config.exists"
    out.unlink()
    assert "is written: measurement, rtmr1, rtmr2" in run(*words).stdout


@pytest.mark.spec("REF-5", "REF-7")
def test_whose_values_are_taken_is_said(tmp_path: Path) -> None:
    """By a key, or by the word that nobody signed; never by neither or both."""
    signed, plain = Case(tmp_path, "signed"), Case(tmp_path, "unsigned")
    other = Case(tmp_path, "signed-p256")
    assert code(*signed.words) == "config.missing"
    assert code(*signed.words, "--key", signed.key, "--unsigned") == "config.value"
    assert code(*signed.words, "--unsigned") == "corim.signature"
    assert code(*signed.words, "--key", other.key) == "corim.signature"
    assert code(*plain.words, "--key", signed.key) == "corim.signature"
    assert run(*plain.words, "--unsigned").exit_code == 0
    assert json.loads(run(*plain.words, "--unsigned", "--json").stdout)["signer"] is None
    signed.key.write_text("no key")
    assert code(*signed.words, "--key", signed.key) in {"certificate.malformed", "corim.signature"}


@pytest.mark.spec("REF-16")
def test_what_is_unread_is_said_three_times(tmp_path: Path) -> None:
    """On standard error, in the record, and in the policy."""
    case = Case(tmp_path, "unread")
    done = run(*case.words, "--unsigned")
    record = json.loads(run(*case.words, "--unsigned", "--json").stdout)
    assert len(record["unread"]) == 8
    for line in record["unread"]:
        assert f"warning: not in the policy: {line}" in done.stderr
        assert f"# NOT in this policy: {line[:70]}" in record["policy"]


@pytest.mark.spec("REF-26")
def test_states_are_chosen(tmp_path: Path) -> None:
    """Where together they would accept mixtures."""
    case = Case(tmp_path, "mixtures")
    words = (*case.words, "--unsigned")
    assert code(*words) == "config.value"
    first = json.loads(run(*words, "--state", "1", "--json").stdout)
    second = json.loads(run(*words, "--state", "2", "--json").stdout)
    assert first["policy"] != second["policy"]
    assert len(first["states"]) == 2
    assert code(*words, "--state", "3") == "config.value"


@pytest.mark.spec("REF-32")
def test_a_policy_is_filled(tmp_path: Path) -> None:
    """The file's claims are replaced, everything else stays."""
    case = Case(tmp_path, "signed")
    words = (*case.words, "--key", case.key)
    before = run(*words).stdout.replace("manufacturer", "sha256:" + "ab" * 32)
    before = before.replace(case.rules["rtmr1"]["one_of"][0], "44" * 48)
    before = before.replace('["UpToDate"]', '["UpToDate", "OutOfDate"]')
    old = tmp_path / "old.yaml"
    old.write_text(before)
    record = json.loads(run(*words, "--fill", old, "--json").stdout)
    assert record["claims"] == ["rtmr1"]
    assert '["sha256:' + "ab" * 32 in record["policy"]
    assert '"OutOfDate"' in record["policy"]
    assert "44" * 48 not in record["policy"]
    assert code(*words, "--fill", tmp_path / "nowhere") == "config.file"


def test_mistakes_are_named(tmp_path: Path) -> None:
    """Files that are none, kinds that there are not, other instants."""
    case = Case(tmp_path, "signed")
    words = ("policy", "--kind", "tdx", "--unsigned", "--from-corim")
    assert code(*words, tmp_path / "nowhere") == "config.file"
    assert code(*words, case.key) == "corim.malformed"
    assert (
        code("policy", "--kind", "vax", "--unsigned", "--from-corim", case.file) == "config.value"
    )
    assert code("policy", "--kind", "sgx", "--from-corim", case.file, "--key", case.key) == (
        "config.missing"
    )
    with pytest.raises(ConfigError):
        reference_values(case.file, "tdx", None, unsigned=False, at=0)
    expired = Case(tmp_path, "expired")
    assert code(*expired.words, "--key", expired.key) == "corim.validity"


@pytest.mark.spec("EVP-27")
def test_lint_compares_a_policy_with_a_file(tmp_path: Path) -> None:
    """Judged by the key that is named, as for a policy."""
    case = Case(tmp_path, "signed")
    path = tmp_path / "policy.yaml"
    path.write_text(run(*case.words, "--key", case.key).stdout)

    def lint(*words: str | Path) -> Result:
        return CliRunner().invoke(lint_app, ["lint", str(path), *(str(word) for word in words)])

    words = ("--corim", case.file, "--corim-key", case.key)
    assert lint(*words).exit_code == 0, lint(*words).output
    path.write_text(path.read_text().replace(case.rules["rtmr1"]["one_of"][0], "44" * 48))
    done = lint(*words)
    assert done.exit_code == 1
    assert "[lint.reference-unread]" in done.stdout
    assert "[lint.reference-unset]" in done.stdout
    assert lint("--corim", case.file).exit_code == 1  # signed, and no key was named
    assert getattr(lint("--corim", case.file).exception, "code", "") == "corim.signature"
    assert getattr(lint("--corim-key", case.key).exception, "code", "") == "config.value"


@pytest.mark.spec("REF-30", "REF-31")
def test_values_that_were_computed_become_a_policy(tmp_path: Path) -> None:
    """By claim; what the claim never has is refused."""
    first, second = "11" * 48, "22" * 48
    words = ("policy", "--kind", "tdx", "--value", f"measurement={first}")
    done = run(*words, "--value", f"rtmr2={second}", "--value", f"measurement={second}")
    assert done.exit_code == 0, done.exception
    assert f'measurement: {{one_of: ["{first}", "{second}"]}}' in done.stdout
    assert f'rtmr2: {{one_of: ["{second}"]}}' in done.stdout
    assert "# From the command line\n" in done.stdout
    case = Case(tmp_path, "signed")
    both = (*case.words, "--key", case.key, "--value")
    assert f'rtmr3: {{one_of: ["{first}"]}}' in run(*both, f"rtmr3={first}").stdout
    assert code(*both, f"rtmr1={first}") == "config.value"
    for wrong in ("measurement=zz", "status=aa", "nothing=aa", "measurement"):
        assert code("policy", "--kind", "tdx", "--value", wrong) in {
            "config.value",
            "policy.invalid",
        }
    assert code("policy", "--kind", "tdx", "--value", "measurement=aa") == "policy.invalid"
    assert code("policy", "--kind", "tdx") == "config.missing"
    assert code(*words, "--unsigned") == "config.value"
