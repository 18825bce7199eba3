"""`cloister evidence collect` of every kind that attests, and `verify` of what it wrote."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloister.cli import evidence
from cloister.errors import CloisterError
from cloister.tee import kernel
from cloister.testing.azure import Firmware, MetadataFake
from cloister.testing.kernel import FakeRegisters, FakeTsm
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureTd, SimulatedAzureVm
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.testing.manufacturers.tpm import SimulatedTpm
from cloister.testing.nvml import FakeNvml
from cloister.testing.swtpm import SoftwareTpm

NOW = 1_800_000_000
INSTANT = dt.datetime.fromtimestamp(NOW, dt.UTC).isoformat()
NONCE = bytes(range(64))
POLICY = """
evidence_policy: cloister/v1
kind: tpm
anchors: ["sha256:{anchor}"]
claims:
  measurement: {{one_of: ["{measurement}"]}}
  report_data: {{unchecked: the command gives it}}
  revocation_checked: {{one_of: [set]}}
"""


def run(*words: str | Path) -> Result:
    """Run a command."""
    return CliRunner().invoke(evidence.app, [str(word) for word in words])


def record(*words: str | Path) -> dict[str, Any]:
    """Run one that succeeds; returns its object."""
    done = run(*words, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def code(*words: str | Path) -> str:
    """The code of one that does not."""
    error = run(*words).exception
    assert isinstance(error, CloisterError), error
    return error.code


def collect(folder: Path, kind: str, *words: str | Path, nonce: bytes = NONCE) -> Path:
    """Collect evidence into a folder."""
    out = folder / "evidence.cbor"
    made = record("collect", out, "--kind", kind, "--nonce", nonce.hex(), *words)
    assert made["files"][0] == str(out)
    assert {str(each) for each in folder.glob("evidence.cbor*")} == set(made["files"])
    return out


def verify(out: Path, kind: str, *words: str | Path, nonce: bytes = NONCE) -> dict[str, Any]:
    """Judge it; it must be accepted over this nonce, and not over another."""
    asked = ("verify", out, "--kind", kind, "--at", INSTANT, *words)
    assert run(*asked, "--nonce", nonce[::-1].hex()).exit_code == 77
    found = record(*asked, "--nonce", nonce.hex())
    assert found["verdict"] == "accept"
    return found


def files(folder: Path, bodies: list[bytes]) -> list[str | Path]:
    """Write endorsements; returns the words that name them."""
    words: list[str | Path] = []
    for number, body in enumerate(bodies):
        path = folder / f"given-{number}"
        path.write_bytes(body)
        words += ["--endorsements", path]
    return words


@pytest.mark.parametrize("key", ["ecc", "rsa"])
def test_a_tpms_quote_with_its_key_pinned(tmp_path: Path, swtpm: SoftwareTpm, key: str) -> None:
    """The key lies beside it; nobody trusts it for that."""
    out = collect(tmp_path, "tpm", "--tpm", swtpm.path, "--ak", key)
    pem = tmp_path / "evidence.cbor.ak.pem"
    verify(out, "tpm", "--endorsements", pem)
    unpinned = run("verify", out, "--kind", "tpm", "--nonce", NONCE.hex())
    assert unpinned.exit_code == 77
    shorter = tmp_path / "short"
    shorter.mkdir()
    verify(
        collect(shorter, "tpm", "--tpm", swtpm.path, "--ak", key, nonce=NONCE[:32]),
        "tpm",
        "--endorsements",
        pem,
        nonce=NONCE[:32],
    )


def test_what_runs_since_is_refused_by_a_policy(tmp_path: Path, swtpm: SoftwareTpm) -> None:
    """A register that is extended is another measurement."""
    words = ("--tpm", swtpm.path, "--pcrs", "0,4,7")
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    out = collect(before, "tpm", *words)
    claims = verify(out, "tpm", "--endorsements", before / "evidence.cbor.ak.pem")["claims"]
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        POLICY.format(anchor=claims["ak"], measurement=claims["measurement"]), "utf-8"
    )
    assert run("verify", out, "--kind", "tpm", "--policy", policy).exit_code == 0
    swtpm.extend(4, b"l" * 32)
    later = collect(after, "tpm", *words)
    assert run("verify", later, "--kind", "tpm", "--policy", policy).exit_code == 77


def test_a_certified_key_under_a_handle(
    tmp_path: Path, swtpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its certificate is written beside; the maker's chain and root are the verifier's to bring."""
    maker = SimulatedTpm(b"maker", now=NOW)
    public = swtpm.persist(0x81010003)
    swtpm.store(0x01C101D0, maker.certificate(spki=public.spki))
    monkeypatch.setenv("CLOISTER_TPM", str(swtpm.path))
    words = ("--ak", "0x81010003", "--ak-certificate", "0x01c101d0", "--bank", "sha384")
    out = collect(tmp_path, "tpm", *words)
    chain, *lists = maker.endorsements()
    above = chain.body.split(b"-----END CERTIFICATE-----\n", 1)[1]
    given = files(tmp_path, [above, *(each.body for each in lists)])
    anchor = ("--anchor", f"sha256:{maker.anchor.hex()}")
    beside = ("--endorsements", tmp_path / "evidence.cbor.endorsement-1")
    verify(out, "tpm", *beside, *given, *anchor)


def test_an_azure_vm_on_snp(tmp_path: Path, swtpm: SoftwareTpm) -> None:
    """From the vTPM alone."""
    vm = SimulatedAzureVm(b"cli", now=NOW)
    Firmware(swtpm, vm.hcl)
    out = collect(tmp_path, "azure-snp", "--tpm", swtpm.path)
    given = files(tmp_path, [each.body for each in vm.endorsements()])
    verify(out, "azure-snp", *given, "--anchor", f"sha256:{vm.amd.anchor.hex()}")
    words = ("collect", tmp_path / "x", "--nonce", NONCE.hex(), "--tpm", swtpm.path)
    assert code(*words, "--kind", "azure-tdx") == "machine.attester"
    assert code(*words, "--kind", "azure-snp", "--user-data", "00") == "config.value"
    assert not (tmp_path / "x").exists()


def test_an_azure_vm_on_tdx(tmp_path: Path, swtpm: SoftwareTpm) -> None:
    """With the metadata service's quote."""
    td = SimulatedAzureTd(b"cli", now=NOW)
    collateral: list[bytes] = []

    def quote(report: bytes) -> bytes:
        minted = td.mint(report)
        collateral.append(minted.collateral)
        return minted.quote

    Firmware(swtpm, td.hcl)
    with MetadataFake(quote) as metadata:
        words = ("--tpm", swtpm.path, "--metadata", metadata.address)
        out = collect(tmp_path, "azure-tdx", *words)
    given = files(tmp_path, collateral[:1])
    verify(out, "azure-tdx", *given, "--anchor", f"sha256:{td.intel.anchor.hex()}")


def test_the_gpus_of_a_machine(tmp_path: Path, nvml: FakeNvml) -> None:
    """Over 32 bytes, with their certificates in it."""
    maker = SimulatedNvidia("cli", at=NOW)
    gpu = maker.gpu("HOPPER")
    nvml.put("report0", gpu.report(NONCE[:32]).to_bytes())
    nvml.put("certificates0", gpu.chain.body)
    out = collect(tmp_path, "nvidia", "--nvml", nvml.library, nonce=NONCE[:32])
    _, *given = maker.endorsements(gpu)
    words = files(tmp_path, [each.body for each in given])
    for anchor in maker.anchors:
        words += ["--anchor", f"sha256:{anchor.hex()}"]
    verify(out, "nvidia", *words, nonce=NONCE[:32])


def test_a_trust_domain_and_a_guest_through_configfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the place that is named; certificates of SNP's host come beside."""
    intel = SimulatedIntel(b"cli", at=NOW)
    minted = [intel.mint(IntelCase("tdx4", report_data=NONCE))]
    root = tmp_path / "tsm"
    fake = FakeTsm(root, "tdx_guest", make=lambda _blob: minted[0].quote)
    monkeypatch.setattr("cloister.tee.tsm.LinuxFiles", lambda: fake)
    for folder in ("tdx", "snp"):
        (tmp_path / folder).mkdir()
    out = collect(tmp_path / "tdx", "tdx", "--tsm", root)
    given = files(tmp_path, [minted[0].collateral])
    verify(out, "tdx", *given, "--anchor", f"sha256:{intel.anchor.hex()}")

    amd = SimulatedAmd(b"cli", "Milan", now=NOW)
    chip = amd.chip()
    fake.provider = "sev_guest"
    fake.make = lambda blob: chip.report(report_data=blob)
    out = collect(tmp_path / "snp", "snp", "--tsm", root, "--vmpl", "1")
    given = files(tmp_path, [each.body for each in amd.endorsements(chip)])
    verify(out, "snp", *given, "--anchor", f"sha256:{amd.anchor.hex()}")
    absent = ("collect", tmp_path / "x", "--kind", "snp", "--nonce", NONCE.hex())
    assert code(*absent, "--tsm", tmp_path / "none") == "machine.attester"


def test_an_enclave_through_gramine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose files are where the environment says."""
    intel = SimulatedIntel(b"cli", at=NOW)
    minted = intel.mint(IntelCase("sgx3", report_data=NONCE))
    root = tmp_path / "attestation"
    root.mkdir()
    (root / "attestation_type").write_bytes(b"dcap")
    (root / "user_report_data").write_bytes(b"")
    (root / "quote").write_bytes(minted.quote)
    monkeypatch.setenv("CLOISTER_GRAMINE", str(root))
    out = collect(tmp_path, "sgx")
    given = files(tmp_path, [minted.collateral])
    verify(out, "sgx", *given, "--anchor", f"sha256:{intel.anchor.hex()}")


@pytest.mark.parametrize(
    ("kind", "nonce"),
    [
        *((kind, size) for kind in ("sim", "sgx", "tdx", "snp") for size in (0, 32, 63, 65)),
        *((kind, size) for kind in ("tpm", "azure-snp", "azure-tdx") for size in (0, 65)),
        *(("nvidia", size) for size in (0, 31, 64)),
    ],
)
def test_each_kind_binds_what_it_can(
    tmp_path: Path, kind: str, nonce: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is cut or padded, and nothing is asked before."""
    monkeypatch.setenv("CLOISTER_TPM", "/dev/null")
    out = tmp_path / "out"
    assert code("collect", out, "--kind", kind, "--nonce", "00" * nonce) == "config.value"
    assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--ak", "dsa"),
        ("--ak", "0x01c10001"),
        ("--ak", "nv:0x81000003"),
        ("--ak", "nv:"),
        ("--ak-certificate", "zz"),
        ("--ak-certificate", "0x81000003"),
        ("--bank", "md5"),
        ("--pcrs", "7,0"),
        ("--pcrs", "24"),
        ("--pcrs", "-1"),
        ("--pcrs", "0, 1"),
        ("--user-data", "xy"),
    ],
)
def test_words_that_cannot_be_meant(tmp_path: Path, words: tuple[str, str]) -> None:
    """Are told before the TPM is asked; `/dev/null` would not answer."""
    given = ("--kind", "tpm", "--nonce", NONCE.hex(), "--tpm", "/dev/null")
    assert code("collect", tmp_path / "out", *given, *words) == "config.value"


def test_where_there_is_nothing_it_says_so(tmp_path: Path) -> None:
    """And leaves no file; what is verified only says where evidence comes from."""
    nowhere = tmp_path / "nowhere"
    words = (
        *("--tpm", nowhere, "--tsm", nowhere, "--gramine", nowhere, "--nvml", nowhere),
        *("--metadata", "http://127.0.0.1:9"),
    )
    for kind in ("sgx", "tdx", "snp", "tpm", "azure-snp", "azure-tdx", "nvidia"):
        nonce = NONCE[:32] if kind == "nvidia" else NONCE
        given = ("collect", tmp_path / "out", "--kind", kind, "--nonce", nonce.hex())
        assert code(*given, *words) == "machine.attester"
    for kind, hint in (("nitro", "/dev/nsm"), ("cca", "realm")):
        error = run("collect", tmp_path / "out", "--kind", kind, "--nonce", NONCE.hex()).exception
        assert isinstance(error, CloisterError)
        assert error.code == "config.value"
        assert hint in (error.hint or "")
    assert not (tmp_path / "out").exists()


def test_a_log_that_is_not_there_is_not_left_out(tmp_path: Path, swtpm: SoftwareTpm) -> None:
    """Whoever names one wants it."""
    given = ("--kind", "tpm", "--nonce", NONCE.hex(), "--tpm", swtpm.path)
    none = ("--event-log", tmp_path / "none")
    assert code("collect", tmp_path / "out", *given, *none) == "machine.attester"


def test_a_runtime_register_is_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new value is told; others' registers and digests are refused."""
    fake = FakeRegisters(tmp_path)
    monkeypatch.setattr("cloister.tee.runtime_registers.LinuxFiles", lambda: fake)
    monkeypatch.setenv("CLOISTER_REGISTERS", str(tmp_path))
    digest = "ab" * 48
    made = record("extend", digest)
    assert made == {"register": 3, "value": fake.values[3].hex()}
    assert run("extend", digest, "--register", "2").stdout.strip() == fake.values[2].hex()
    assert code("extend", digest, "--register", "1") == "attester.failed"
    for wrong in (("extend", "ab"), ("extend", "zz" * 48), ("extend", digest, "--register", "4")):
        assert code(*wrong) == "config.value"
    monkeypatch.setattr("cloister.tee.runtime_registers.LinuxFiles", kernel.LinuxFiles)
    assert code("extend", digest) == "machine.attester"
