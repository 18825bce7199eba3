"""`cloister endorsements`: from a fake manufacturer's service to a verdict."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloister.attestation.endorsement_bundle import Collected, EndorsementBundle
from cloister.attestation.evidence import Endorsement
from cloister.cli import endorsements
from cloister.cli.main import app
from cloister.crypto.chain import Certificate
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.testing.endorsers import BOARD, FakeEndorsers
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.cca import SimulatedCca
from cloister.testing.manufacturers.intel import IntelCase
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.testing.vault import http_answer
from endorsing_bench import AUTHORITY, INTEL, MINTED, NOW
from evidence_samples import folder

OTHER = SigningKey(b"\x05" * 32)
TDX = ("--anchor", "sha256:" + INTEL.anchor.hex())


def instant(at: int) -> str:
    """As `--at` takes it."""
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat()


@dataclass(frozen=True)
class Shop:
    """Services, and somebody in a folder of his own."""

    endorsers: FakeEndorsers
    folder: Path

    def run(self, *words: str | Path) -> Result:
        """Run a command; what it raises is in the result."""
        return CliRunner().invoke(app, [str(word) for word in words])

    def call(self, *words: str | Path) -> Result:
        """Run a command of `endorsements`."""
        return self.run("endorsements", *words)

    def code(self, *words: str | Path) -> str:
        """The code with which it ends."""
        error = self.call(*words).exception
        assert isinstance(error, CloisterError), error
        return error.code

    def record(self, *words: str | Path) -> dict[str, Any]:
        """Run a command of `endorsements` with `--json`; it must succeed."""
        done = self.call(*words, "--json")
        assert done.exit_code == 0, (done.output, done.exception)
        return dict(json.loads(done.stdout))

    def write(self, name: str, data: bytes) -> Path:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    def judge(self, evidence: Path, kind: str, *words: str | Path) -> tuple[int, dict[str, Any]]:
        """The verdict about evidence: exit status and record."""
        done = self.run("evidence", "verify", evidence, "--kind", kind, *words, "--json")
        if isinstance(done.exception, CloisterError):
            return done.exception.exit_status, {"code": done.exception.code}
        return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A simulated Intel's, for a start."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    authority = tmp_path / "authority.pem"
    authority.write_bytes(AUTHORITY.pem)
    with FakeEndorsers(AUTHORITY, at=NOW) as endorsers:
        monkeypatch.setenv("CLOISTER_SOURCES", " ".join(endorsers.sources))
        monkeypatch.setenv("CLOISTER_SOURCES_AUTHORITY", str(authority))
        endorsers.intel(MINTED)
        yield Shop(endorsers, tmp_path)


def test_from_the_service_to_the_verdict(shop: Shop) -> None:
    """Accepted under the simulated root, refused under the pinned one."""
    quote = shop.write("quote.bin", MINTED.quote)
    made = shop.record("fetch", quote, "--kind", "tdx", "-o", "b.cbor")
    assert (made["items"], made["file"]) == (1, "b.cbor")
    assert shop.judge(quote, "tdx", "--endorsements", "b.cbor", *TDX)[0] == 0
    status, record = shop.judge(quote, "tdx", "--endorsements", "b.cbor")
    assert (status, record["reasons"][0]["code"]) == (77, "endorsement.anchor")
    shown = shop.record("show", "b.cbor")
    assert (shown["own"], shown["judged"], shown["collector"]) == (True, False, made["collector"])
    (item,) = shown["items"]
    assert (item["what"], item["about"]) == (
        "Intel's collateral",
        "TDX 00906ed50000, evaluation 18",
    )
    assert item["until"] == made["until"]
    assert "localhost" in shop.call("show", "b.cbor").stdout


def test_stale_and_missing_are_not_refused(shop: Shop) -> None:
    """75 says that nothing was decided; another platform's collateral does not vouch."""
    quote = shop.write("quote.bin", MINTED.quote)
    shop.record("fetch", quote, "--kind", "tdx", "-o", "b.cbor")
    late = ("--at", instant(NOW + 90 * 86400))
    status, record = shop.judge(quote, "tdx", "--endorsements", "b.cbor", *TDX, *late)
    assert (status, record["decided"]) == (75, False)
    assert record["reasons"][0]["code"] == "endorsement.stale"
    shop.endorsers.intel(INTEL.mint(IntelCase("tdx5", fmspc=bytes(6))))
    shop.record("fetch", "--kind", "tdx", "--fmspc", "00" * 6, "-o", "other.cbor")
    status, record = shop.judge(quote, "tdx", "--endorsements", "other.cbor", *TDX)
    assert (status, record["reasons"][0]["code"]) == (75, "endorsement.missing")


def test_one_bundle_for_many_machines(shop: Shop) -> None:
    """Each gets what is about it; collected once."""
    other = INTEL.mint(IntelCase("tdx4", fmspc=bytes(6), platform="other"))
    shop.endorsers.intel(other)
    first, second = shop.write("1", MINTED.quote), shop.write("2", other.quote)
    made = shop.record("fetch", first, second, first, "--kind", "tdx", "-o", "b.cbor")
    assert made["items"] == 2
    for quote in (first, second):
        assert shop.judge(quote, "tdx", "--endorsements", "b.cbor", *TDX)[0] == 0


def test_amds_report_without_its_processor_takes_a_word(shop: Shop) -> None:
    """And no guess; with it, its certificate, chain and list come."""
    amd = SimulatedAmd(b"seed", "Milan", now=NOW)
    chip = amd.chip()
    shop.endorsers.amd(amd, chip)
    report = shop.write("report.bin", chip.report(version=2))
    words = ("fetch", report, "--kind", "snp", "-o", "b.cbor")
    assert shop.code(*words) == "config.missing"
    assert not shop.endorsers.asked
    assert shop.record(*words, "--product", "Milan")["items"] == 3
    anchor = ("--anchor", "sha256:" + amd.anchor.hex())
    status, record = shop.judge(report, "snp", "--endorsements", "b.cbor", *anchor)
    assert (status, record["claims"]["revocation_checked"]) == (0, True)
    status, record = shop.judge(report, "snp", "--endorsements", "b.cbor")
    assert (status, record["reasons"][0]["code"]) == (77, "endorsement.anchor")


def test_a_providers_key_has_its_certificate_from_the_host(shop: Shop) -> None:
    """It lies beside the report, or is named."""
    amd = SimulatedAmd(b"seed", "Genoa", now=NOW)
    chip = amd.chip(kind="VLEK")
    shop.endorsers.amd(amd, chip)
    report = shop.write("vm/report.bin", chip.report())
    done = shop.call("fetch", report, "--kind", "snp", "-o", "a.cbor")
    assert "comes from the host" in done.stderr
    leaf = shop.write("vm/vlek.der", chip.certificate)
    anchor = ("--anchor", "sha256:" + amd.anchor.hex())
    for number, words in enumerate(([report.parent], [report, "--endorsements", leaf])):
        bundle = f"{number}.cbor"
        assert shop.record("fetch", *words, "--kind", "snp", "-o", bundle)["items"] == 3
        assert shop.judge(report, "snp", "--endorsements", bundle, *anchor)[0] == 0


def test_gpus_have_manifests_and_revocation(shop: Shop) -> None:
    """The chain of a bare report lies beside it and goes along."""
    maker = SimulatedNvidia("seed", at=NOW)
    gpu = maker.gpu("HOPPER")
    shop.endorsers.nvidia(maker, gpu)
    report = gpu.report(bytes(32), board=BOARD).to_bytes()
    path = shop.write("gpu/report.bin", report)
    assert shop.code("fetch", path, "--kind", "nvidia", "-o", "b.cbor") == "config.missing"
    assert gpu.chain.media_type == "application/pem-certificate-chain"
    shop.write("gpu/chain.pem", gpu.chain.body)
    shop.record("fetch", path.parent, "--kind", "nvidia", "-o", "b.cbor")
    anchors = [word for each in maker.anchors for word in ("--anchor", "sha256:" + each.hex())]
    status, record = shop.judge(path, "nvidia", "--endorsements", "b.cbor", *anchors)
    assert status == 0
    assert (record["claims"]["measres"], record["claims"]["revocation"]) == ("success", "good")
    status, record = shop.judge(path, "nvidia", "--endorsements", "b.cbor")
    assert (status, record["reasons"][0]["code"]) == (77, "endorsement.anchor")
    name = f"NV_GPU_DRIVER_GH100_{gpu.driver_version}"
    assert shop.record("fetch", "--kind", "nvidia", "--rim", name, "-o", "r.cbor")["items"] == 3


def test_what_takes_long_is_said(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, and not to machines."""
    monkeypatch.setattr(endorsements, "_SLOW_S", 0.02)
    quote = shop.write("quote.bin", MINTED.quote)
    for words in ((), ("--json",)):
        hold = threading.Event()
        shop.endorsers.faults = [lambda _, hold=hold: hold.wait(0.3)] * 2
        done = shop.call(
            "fetch", quote, "--kind", "tdx", "--anew", "-o", "b.cbor", "--replace", *words
        )
        assert done.exit_code == 0
        for said in ("asking for TCB info of 00906ed50000", "is busy or away"):
            assert (said in done.stderr) == (not words)


def test_without_evidence_the_rest_has_to_be_said(shop: Shop) -> None:
    """A model, a product, a manifest; or nothing is fetched."""
    amd = SimulatedAmd(b"seed", "Turin", now=NOW)
    shop.endorsers.amd(amd, amd.chip())
    words = ("fetch", "--kind", "snp", "--product", "turin", "-o", "amd.cbor")
    assert shop.record(*words)["items"] == 2
    for words in (
        ("--kind", "tdx"),
        ("--kind", "snp"),
        ("--kind", "nvidia"),
    ):
        assert shop.code("fetch", *words, "-o", "x.cbor") == "config.missing"
    for words in (
        ("--kind", "tdx", "--fmspc", "xx"),
        ("--kind", "tdx", "--fmspc", "00"),
        ("--kind", "tdx", "--fmspc", "00906ed50000", "--ca", "other"),
        ("--kind", "nvidia", "--rim", "../x"),
        ("--kind", "nitro", "--fmspc", "00906ed50000"),
        ("--kind", "tdx", "--fmspc", "00906ed50000", "--offline", "--anew"),
    ):
        assert shop.code("fetch", *words, "-o", "x.cbor") == "config.value"
    assert not (shop.folder / "x.cbor").exists()


def test_a_warm_cache_needs_no_network(shop: Shop) -> None:
    """A cold one says that something is missing, with 75."""
    quote = shop.write("quote.bin", MINTED.quote)
    words = ("fetch", quote, "--kind", "tdx", "--offline", "-o", "b.cbor")
    assert shop.code(*words) == "endorsement.missing"
    shop.record("fetch", quote, "--kind", "tdx", "-o", "a.cbor")
    shop.endorsers.shelf.clear()
    shop.record(*words)
    assert len(shop.endorsers.asked) == 4
    assert shop.judge(quote, "tdx", "--endorsements", "b.cbor", *TDX)[0] == 0


def test_a_source_that_does_not_help_leaves_no_bundle(shop: Shop) -> None:
    """Busy is 75, unknown is 72; each by its code, and with --json as an object."""
    quote = shop.write("quote.bin", MINTED.quote)
    words = ("fetch", quote, "--kind", "tdx", "-o", "b.cbor")
    shop.endorsers.faults = [http_answer(429, b"", "Retry-After: 900")]
    assert shop.code(*words) == "server.busy"
    shop.endorsers.faults = []
    assert shop.code(*words) == "server.busy"  # it is left alone for as long as it said
    assert len(shop.endorsers.asked) == 1
    elsewhere = ("--cache", shop.folder / "elsewhere")
    shop.endorsers.shelf.clear()
    assert shop.code(*words, *elsewhere) == "endorsement.source"
    other = ("--authority", shop.write("other.pem", b"x"))
    assert shop.code(*words, *elsewhere, *other) == "certificate.malformed"
    assert not (shop.folder / "b.cbor").exists()


def test_nothing_is_overwritten_but_what_may_be(shop: Shop) -> None:
    """Before anybody is asked."""
    quote = shop.write("quote.bin", MINTED.quote)
    bundle = shop.write("b.cbor", b"mine")
    words = ("fetch", quote, "--kind", "tdx", "-o", bundle)
    assert shop.code(*words) == "config.exists"
    assert shop.code("import", quote, "-o", bundle) == "config.exists"
    assert not shop.endorsers.asked
    shop.record(*words, "--replace")
    shop.record(*words, "--replace", "--anew")
    assert shop.call("check", bundle).exit_code == 0
    assert [each.name for each in shop.folder.glob(".*")] == []


def bundle_of(shop: Shop, *endorsements: Endorsement, key: SigningKey = OTHER) -> Path:
    """A bundle by somebody else."""
    items = [Collected(each, "https://a.example/x", NOW) for each in endorsements]
    return shop.write("other.cbor", EndorsementBundle.make(items, key)[1])


def test_another_collectors_bundle_is_refused_by_name(shop: Shop) -> None:
    """With the word that would take it, everywhere but where it is only shown."""
    bundle = bundle_of(shop, *MINTED.endorsements)
    quote = shop.write("quote.bin", MINTED.quote)
    words = ("--endorsements", bundle, *TDX)
    for own in (False, True):
        if own:
            shop.record("fetch", quote, "--kind", "tdx", "-o", "own.cbor")
        assert shop.judge(quote, "tdx", *words) == (77, {"code": "endorsement.collector"})
        assert shop.code("check", bundle) == "endorsement.collector"
        assert shop.code("import", bundle, "-o", "x.cbor") == "endorsement.collector"
        assert shop.record("show", bundle)["own"] is False
    named = ("--collector", OTHER.public.text)
    assert shop.judge(quote, "tdx", *words, *named)[0] == 0
    assert shop.call("check", bundle, *named).exit_code == 0
    # Who is named stands in the own one's place.
    assert shop.code("check", "own.cbor", *named) == "endorsement.collector"
    error = shop.call("check", bundle).exception
    assert isinstance(error, CloisterError)
    assert f"--collector {OTHER.public.text}" in (error.hint or "")


def test_a_check_has_four_ends(shop: Shop) -> None:
    """Fine, stale, unreadable, and a signature that does not hold."""
    named = ("--collector", OTHER.public.text)
    bundle = bundle_of(shop, *MINTED.endorsements)
    assert shop.call("check", bundle, *named, "--at", instant(NOW)).exit_code == 0
    for late in (NOW - 2 * 86400, NOW + 30 * 86400):
        done = shop.call("check", bundle, *named, "--at", instant(late), "--json")
        assert done.exit_code == 75
        (item,) = json.loads(done.stdout)["items"]
        assert item["state"] == "stale"
        assert "TCB info" in item["out_of_time"]
    assert "TCB info" in shop.call("check", bundle, *named, "--at", instant(late)).stderr
    bad = bundle_of(shop, *MINTED.endorsements, Endorsement("application/pkix-crl", b"x"))
    done = shop.call("check", bad, *named, "--json")
    states = {each["state"] for each in json.loads(done.stdout)["items"]}
    assert (done.exit_code, states) == (71, {"counts", "unreadable"})
    data = bad.read_bytes()
    bad.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    error = shop.call("check", bad, *named).exception
    assert isinstance(error, CloisterError)
    assert (error.code, error.exit_status) == ("endorsement.signature", 77)
    assert shop.code("show", bad) == "endorsement.signature"
    bad.write_bytes(b"\xa3 no bundle")
    error = shop.call("check", bad, *named).exception
    assert isinstance(error, CloisterError)
    assert error.exit_status == 71


def test_what_is_shown_moves_no_cursor(shop: Shop) -> None:
    """Names in endorsements and sources are others' words."""
    items = [Collected(MINTED.endorsements[0], "\x1b[2J\nhttps://a.example", NOW)]
    bundle = shop.write("b.cbor", EndorsementBundle.make(items, OTHER)[1])
    assert "\x1b[2J" not in shop.call("show", bundle).output


def test_loose_files_become_a_bundle(shop: Shop) -> None:
    """In any form; in a folder what vouches for nothing is left, in a bundle nothing changes."""
    amd = SimulatedAmd(b"seed", "Milan", now=NOW)
    chip = amd.chip()
    report = shop.write("vm/report.bin", chip.report())
    shop.write("vm/vcek.der", chip.certificate)
    shop.write("vm/chain.pem", amd.chain())
    shop.write("vm/readme.txt", b"hello")
    listed = shop.write("list.crl", amd.revocations())
    kept = bundle_of(shop, *MINTED.endorsements)
    named = ("--collector", OTHER.public.text)
    made = shop.record("import", report.parent, listed, kept, *named, "-o", "b.cbor")
    assert made["items"] == 4
    sources = {each["source"] for each in shop.record("show", "b.cbor")["items"]}
    assert sources == {
        str(report.parent / "vcek.der"),
        str(report.parent / "chain.pem"),
        str(listed),
        "https://a.example/x",
    }
    anchor = ("--anchor", "sha256:" + amd.anchor.hex())
    assert shop.judge(report, "snp", "--endorsements", "b.cbor", *anchor)[0] == 0
    for path in (report, shop.write("empty", b"")):
        assert shop.code("import", path, "-o", "x.cbor") == "endorsement.malformed"
    (shop.folder / "nothing").mkdir()
    assert shop.code("import", shop.folder / "nothing", "-o", "x.cbor") == "config.missing"


@pytest.mark.spec("EB-15")
def test_a_key_in_a_bundle_is_pinned_by_nobody(shop: Shop) -> None:
    """It has to be named where evidence is judged; a bare PEM key is not taken at all."""
    cca = SimulatedCca("seed")
    bundle = bundle_of(shop, cca.key)
    token = shop.write("token.cbor", b"token")
    named = ("--endorsements", bundle, "--collector", OTHER.public.text)
    assert shop.judge(token, "cca", *named) == (65, {"code": "config.missing"})
    pem = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    assert shop.code("import", shop.write("ak.pem", pem), "-o", "x.cbor") == "config.value"


def test_a_file_that_was_named_stands_before_a_bundles(shop: Shop) -> None:
    """For its kind of endorsement, where one of each is taken."""
    amd = SimulatedAmd(b"seed", "Milan", now=NOW)
    chip = amd.chip()
    bundle = bundle_of(shop, *amd.endorsements(chip))
    report = shop.write("report.bin", chip.report())
    intermediate = Certificate.from_der(amd.issuers["VCEK"])
    revoked = shop.write("list.crl", amd.revocations(serials=(intermediate.serial,)))
    words = ("--collector", OTHER.public.text, "--anchor", "sha256:" + amd.anchor.hex())
    given = ("--endorsements", bundle)
    assert shop.judge(report, "snp", *given, *words)[0] == 0
    status, record = shop.judge(report, "snp", *given, "--endorsements", revoked, *words)
    assert (status, record["reasons"][0]["code"]) == (77, "endorsement.revoked")


def test_genuine_samples_can_be_imported_and_judged(shop: Shop) -> None:
    """A real report's folder with AMD's chain and list, where they are here."""
    base = folder("snp")
    amd = base / "_amd"
    made = shop.record(
        "import", base / "coco-milan" / "vcek.der", amd / "milan_vcek_ask_ark.pem",
        amd / "milan.crl.der", amd / "genoa.crl.der", "-o", "b.cbor",
    )  # fmt: skip
    assert made["items"] == 4
    facts = json.loads((base / "coco-milan" / "sample.json").read_text())
    at = next(each["verify_at"] for each in facts["checks"] if "crl" in each)
    status, record = shop.judge(
        base / "coco-milan" / "report.bin", "snp", "--endorsements", "b.cbor", "--at", at
    )
    assert (status, record["hardware_rooted"]) == (0, True)
